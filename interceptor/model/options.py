"""Typed options: declared once, checked on every change, told to whoever subscribed."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as replaced
from typing import Any, Final

from interceptor.errors import OptionsError
from interceptor.model.option import Option, Texts, resolve_type
from interceptor.model.wording import did_you_mean, shown

__all__ = ["Option", "Options", "Texts"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

# Inside the class `set` is the method.
_Names = set[str]
Subscriber = Callable[["Options", _Names], object]
"""What is told of changes: ``subscriber(options, updated)``; see `Options.subscribe`."""


class Options:
    """The current options of one proxy.

    ``options.name`` reads a value: it is a plain attribute, so that reading costs nothing.
    Hot code takes a snapshot and renews it from `subscribe`. ``options.name = value`` is short for
    `update`. A change is all or nothing: it is checked first, then every subscriber is told, and
    when one of them refuses with `OptionsError`, every option goes back to its old value and
    everyone is told again.
    """

    __slots__ = ("__dict__", "_declared", "_deferred", "_explicit", "_released", "_subscribers")

    _declared: dict[str, Option]
    _deferred: dict[str, tuple[object, str]]
    _released: dict[str, object]
    _explicit: frozenset[str]
    _subscribers: tuple[Subscriber, ...]

    def __init__(self, declarations: Iterable[Option] = ()) -> None:
        hide = object.__setattr__
        hide(self, "_declared", {})
        hide(self, "_deferred", {})
        hide(self, "_released", {})
        hide(self, "_explicit", frozenset())
        hide(self, "_subscribers", ())
        for option in declarations:
            self.declare(option)

    # -- reading ---------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Reached only where no such option is declared. Private names are looked up by copy and
        # pickle before there are any slots.
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(self._unknown(name))

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def keys(self) -> _Names:
        """The names of all declared options."""
        return set(self._declared)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values, in the order of declaration."""
        return [(name, self.__dict__[name]) for name in self._declared]

    def option(self, name: str) -> Option:
        """The declaration of ``name``. Raises `OptionsError` when there is none."""
        try:
            return self._declared[name]
        except KeyError:
            raise OptionsError(self._unknown(name)) from None

    def options(self) -> tuple[Option, ...]:
        """All declarations, in their order."""
        return tuple(self._declared.values())

    def is_set(self, name: str) -> bool:
        """Whether somebody gave ``name`` a value, be it the default's."""
        return name in self._explicit

    # -- changing --------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: object) -> None:
        self.update(**{name: value})

    def update(self, **values: object) -> None:
        """Change several options at once, with typed values.

        Raises `OptionsError`, and changes nothing, when a name is not declared, when a value does
        not fit, or when a subscriber refuses.
        """
        self.assign(values)

    def set(self, *assignments: str, source: str = "", defer: bool = False) -> None:
        """Change options from texts, each ``name=value``.

        Several texts for one sequence are its items. For ``source`` and ``defer`` and what is
        raised see `assign`.
        """
        texts: dict[str, list[str]] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                message = f"expected NAME=VALUE, not {shown(assignment)}"
                raise OptionsError(f"{source}: {message}" if source else message)
            texts.setdefault(name.strip(), []).append(text)
        self.assign(
            {name: Texts(items) for name, items in texts.items()}, source=source, defer=defer
        )

    def assign(
        self, values: Mapping[str, object], *, source: str = "", defer: bool = False
    ) -> None:
        """Change several options at once; values are typed, or `Texts`.

        ``source`` (a file's name, an environment variable's) is named by error messages. With
        ``defer`` a value for an option that is not declared is kept until it is, and
        `check_deferred` finds those that never were. Raises `OptionsError` like `update`.
        """
        changes: dict[str, object] = {}
        deferred: dict[str, tuple[object, str]] = {}
        try:
            for name, value in values.items():
                option = self._declared.get(name)
                if option is not None:
                    changes[name] = option.check(value)
                elif defer:
                    deferred[name] = (value, source)
                else:
                    raise OptionsError(self._unknown(name))
        except OptionsError as error:
            if source:
                raise OptionsError(f"{source}: {error}") from None
            raise
        self._change(changes)
        self._deferred.update(deferred)

    def reset(self, *names: str) -> None:
        """Give the options their defaults again; without names, all of them."""
        chosen = names or tuple(self._declared)
        self._change({name: self.option(name).default for name in chosen}, explicit=False)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback(options, updated)`` after every change, in the order of subscription.

        ``updated`` holds the names whose values are new; a change to the same value tells nobody.
        Raising `OptionsError` refuses the change. Returns a function that ends the subscription.
        """
        object.__setattr__(self, "_subscribers", (*self._subscribers, callback))

        def unsubscribe() -> None:
            rest = list(self._subscribers)
            if callback in rest:
                rest.remove(callback)
                object.__setattr__(self, "_subscribers", tuple(rest))

        return unsubscribe

    # -- declaring -------------------------------------------------------------------------------

    def add_option(
        self,
        name: str,
        type: object,
        default: object,
        help: str,
        choices: Sequence[str] | None = None,
        *,
        replace: bool = False,
    ) -> Option:
        """Declare an option; a value that was kept for it is its value at once.

        ``type`` is one of `KINDS` (``"size"``, ``"optional duration"``), or a Python type:
        ``bool``, ``int``, ``float``, ``str``, each also ``X | None``, or ``Sequence[str]``. With
        ``choices`` a text becomes a choice. ``replace`` allows a name that is declared otherwise
        already. Subscribers are not told. Raises `OptionsError` when anything of it is wrong.
        """
        kind, optional = resolve_type(name, type)
        if choices is not None:
            if kind not in ("str", "choice"):
                raise OptionsError(f"option `{name}`: only a text can have choices")
            kind = "choice"
        elif kind == "choice":
            raise OptionsError(f"option `{name}`: a choice needs choices")
        return self.declare(
            Option(name, kind, default, help, optional, tuple(choices or ())), replace=replace
        )

    def declare(self, option: Option, *, replace: bool = False) -> Option:
        """Declare an option from its `Option`; see `add_option`."""
        name = option.name
        if not _NAME.fullmatch(name):
            raise OptionsError(f"option {shown(name)}: a name is lower-case letters, digits and _")
        if hasattr(type(self), name):
            raise OptionsError(f"option `{name}`: the name is taken")
        default = option.check(option.default)
        if default != option.default or type(default) is not type(option.default):
            option = replaced(option, default=default)
        old = self._declared.get(name)
        if old == option:
            return old
        if old is not None and not replace:
            raise OptionsError(f"option `{name}`: already declared otherwise")
        value, given = self._value_for(option)
        self._declared[name] = option
        self.__dict__[name] = value
        self._deferred.pop(name, None)
        self._released.pop(name, None)
        self._mark((name,), explicit=given)
        return option

    def remove_option(self, name: str) -> None:
        """Take a declaration back. A value that somebody set is kept for the next declaration."""
        self.option(name)
        value = self.__dict__.pop(name)
        del self._declared[name]
        if name in self._explicit:
            self._released[name] = value
            self._mark((name,), explicit=False)

    def check_deferred(self) -> None:
        """Raise `OptionsError` when a value was given for an option that nobody declared.

        To be called once everything that declares options is loaded.
        """
        found = [
            f"{source}: {self._unknown(name)}" if source else self._unknown(name)
            for name, (_, source) in self._deferred.items()
        ]
        if found:
            raise OptionsError("; ".join(found))

    def snapshot(self) -> object:
        """All declarations and values, for `restore`."""
        return (
            dict(self._declared),
            dict(self.__dict__),
            dict(self._deferred),
            dict(self._released),
            self._explicit,
        )

    def restore(self, snapshot: object) -> None:
        """Go back to what `snapshot` gave. Subscribers are not told."""
        declared, values, deferred, released, explicit = typing.cast("tuple[Any, ...]", snapshot)
        for current, saved in (
            (self._declared, declared),
            (self.__dict__, values),
            (self._deferred, deferred),
            (self._released, released),
        ):
            current.clear()
            current.update(saved)
        object.__setattr__(self, "_explicit", explicit)

    def exported(self) -> dict[str, object]:
        """All that was given a value, as JSON can carry it, for `follow` in another process."""
        return {
            "values": {name: _plain(self.__dict__[name]) for name in sorted(self._explicit)},
            "deferred": {
                name: [_plain(value), isinstance(value, Texts), source]
                for name, (value, source) in self._deferred.items()
            },
        }

    def follow(self, exported: Mapping[str, Any]) -> None:
        """Take what `exported` gave, all at once; every other option gets its default.

        Values for options that are not declared yet are kept. Raises `OptionsError` like `update`,
        and changes nothing then.
        """
        given: dict[str, tuple[object, str]] = {
            name: (value, "") for name, value in exported["values"].items()
        }
        for name, (value, texts, source) in exported["deferred"].items():
            given[name] = (Texts(value) if texts else value, source)
        kept, explicit, released = dict(self._deferred), self._explicit, dict(self._released)
        changes: dict[str, object] = {}
        for name, option in self._declared.items():
            value, source = given.get(name, (option.default, ""))
            try:
                changes[name] = option.check(value)
            except OptionsError as error:
                raise OptionsError(f"{source}: {error}" if source else str(error)) from None
        self._deferred.clear()
        self._deferred.update({n: v for n, v in given.items() if n not in self._declared})
        self._released.clear()
        try:
            self._change(changes)
        except BaseException:
            self._deferred.clear()
            self._deferred.update(kept)
            self._released.clear()
            self._released.update(released)
            object.__setattr__(self, "_explicit", explicit)
            raise
        unset = self._declared.keys() - given.keys()
        object.__setattr__(self, "_explicit", self._explicit - unset)

    def __getstate__(self) -> object:
        # Subscribers belong to one process and one proxy: a copy has none.
        return self.snapshot()

    def __setstate__(self, state: object) -> None:
        Options.__init__(self)
        self.restore(state)

    # -- inside ----------------------------------------------------------------------------------

    def _change(self, changes: Mapping[str, object], *, explicit: bool = True) -> None:
        values = self.__dict__
        before, before_explicit = dict(values), self._explicit
        self._mark(changes, explicit=explicit)
        updated = {name for name, value in changes.items() if values[name] != value}
        if not updated:
            return
        values.update({name: changes[name] for name in updated})
        told = self._subscribers
        try:
            for callback in told:
                callback(self, updated.copy())
        except Exception as error:
            # A subscriber may have changed other options meanwhile: those go back as well.
            back = {n for n in before if n in self._declared and values[n] != before[n]}
            values.update({name: before[name] for name in back})
            new = self._explicit - before.keys()
            object.__setattr__(self, "_explicit", (before_explicit & self._declared.keys()) | new)
            for callback in self._subscribers:
                try:
                    callback(self, back | updated)
                except Exception as second:
                    error.add_note(f"and again when the old values were restored: {second!r}")
            raise

    def _value_for(self, option: Option) -> tuple[Any, bool]:
        """The first value of a new declaration, and whether somebody gave it."""
        name = option.name
        if name in self._deferred:
            kept, source = self._deferred[name]
            try:
                return option.check(kept), True
            except OptionsError as error:
                raise OptionsError(f"{source}: {error}" if source else str(error)) from None
        if name in self._explicit:
            kept = self.__dict__[name]
        elif name in self._released:
            kept = self._released[name]
        else:
            return option.default, False
        try:
            return option.check(kept), True
        except OptionsError:
            # A reloaded script may change its option's type: the old value means nothing then.
            return option.default, False

    def _mark(self, names: Iterable[str], *, explicit: bool) -> None:
        marked = self._explicit | set(names) if explicit else self._explicit - set(names)
        object.__setattr__(self, "_explicit", marked)

    def _unknown(self, name: str) -> str:
        near = did_you_mean(name, self._declared) or ": `interceptor options` lists them"
        return f"unknown option {shown(name)}{near}"


def _plain(value: object) -> object:
    """A value in the types that JSON has; what has none of them is given as text."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
