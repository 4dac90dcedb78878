"""Bringing one addon to life: ``start``, ``load``, ``configure``, and the addons behind it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interceptor.errors import InterceptorError, ScriptError
from interceptor.hooks.beside import importable
from interceptor.hooks.bus import HookBus
from interceptor.hooks.context import Binding, Proxy
from interceptor.hooks.events import EVENTS, Event, arity_fault, near_miss
from interceptor.hooks.listener import POLICIES, Listener, Policy, find_hook
from interceptor.hooks.loader import Loader
from interceptor.hooks.tracebacks import cut_traceback

if TYPE_CHECKING:
    from interceptor.hooks.scripts import Script

_REPLACEMENTS: Final = 8
"""How often ``start`` may replace an addon by yet another one."""

_log = Logger(namespace="interceptor.hooks")


class Installed:
    """One addon of the chain, together with those that it brought along.

    ``given`` is what was added, ``script`` the script that it came from. ``listeners`` are what
    it became, in their order; ``option_names`` the options it declared, and ``loader`` knows what
    else. ``by_option``: it is there because the option ``scripts`` names it.
    """

    loader: Loader

    __slots__ = ("_has_run", "by_option", "given", "listeners", "loader", "option_names", "script")

    def __init__(self, given: object, script: Script | None) -> None:
        self.given = given
        self.script = script
        self.by_option = False
        self.listeners: list[Listener] = []
        self.option_names: list[str] = []
        self._has_run = False

    @property
    def name(self) -> str:
        """The name of the first addon, by which all of them go."""
        return self.listeners[0].name

    def listener_for(self, wanted: object) -> Listener | None:
        """The listener that ``wanted`` means: what was added, what it became, or a name."""
        for listener in self.listeners:
            if wanted is listener.addon or (isinstance(wanted, str) and wanted == listener.name):
                return listener
        return self.listeners[0] if wanted is self.given or wanted is self.script else None

    def first_run(self) -> bool:
        """Whether the event ``running`` is still due; it is not from then on."""
        due, self._has_run = not self._has_run, True
        return due


class Installation:
    """The steps that make an `Installed` of an addon. Whatever goes wrong is raised.

    ``others`` are the other addons of the chain; ``old`` is the one whose place it takes, so that
    it may have the same name and declare the same options anew.
    """

    def __init__(
        self,
        bus: HookBus,
        proxy: Proxy,
        others: Iterable[Installed],
        old: Installed | None = None,
    ) -> None:
        others = [other for other in others if other is not old]
        self._bus = bus
        self._proxy = proxy
        self._taken = {listener.name for other in others for listener in other.listeners}
        shared = {name for other in others for name in other.option_names}
        replaceable = set(old.option_names) - shared if old is not None else set()
        self._loader = Loader(
            proxy.options, shared, replaceable, bus.declared, None if old is None else old.loader
        )

    def install(self, given: object, script: Script | None = None) -> Installed:
        """Start, load and configure ``given`` and all that it brings along.

        Raises `OptionsError` as the addon raised it, and `ScriptError` for everything else; no
        option stays declared then.
        """
        options = self._proxy.options
        before, declared = options.snapshot(), self._bus.declared.snapshot()
        installed = Installed(given, script)
        installed.loader = self._loader
        try:
            self._grow(installed, given, None)
        except BaseException:
            options.restore(before)
            self._bus.declared.restore(declared)
            raise
        installed.option_names = self._loader.names
        return installed

    def install_script(self, script: Script) -> Installed:
        """Run the script's file, then `install` what it made."""
        with importable(script.directory):
            binding = Binding(self._proxy, self._free(script.name), script.arguments)
            module = script.execute(binding)
            try:
                installed = self.install(module, script)
            except BaseException:
                script.discard()
                raise
        script.note_files()
        return installed

    def _grow(self, installed: Installed, given: object, parent: Listener | None) -> None:
        if any(given is listener.addon for listener in installed.listeners):
            raise ScriptError(f"addon `{installed.name}` brings itself along in `addons`")
        listener = self._listener(given, parent, installed.script)
        listener = self._started(listener, installed.script)
        installed.listeners.append(listener)
        self._at_once(listener, "load", self._loader)
        report_faults(listener, self._bus.declared.events)
        options = self._proxy.options
        self._at_once(listener, "configure", options, options.keys())
        for addon in brought_along(listener.addon):
            self._grow(installed, addon, listener)

    def _started(self, listener: Listener, script: Script | None) -> Listener:
        for _ in range(_REPLACEMENTS):
            replacement = self._at_once(listener, "start")
            if replacement is None or replacement is listener.addon:
                self._taken.add(listener.name)
                return listener
            listener = self._listener(replacement, listener, script, listener.name)
        raise ScriptError(f"addon `{listener.name}`: `start` goes on replacing the addon")

    def _listener(
        self,
        addon: object,
        parent: Listener | None,
        script: Script | None,
        fallback: str | None = None,
    ) -> Listener:
        """What the bus shall know of ``addon``; what it does not say itself, its parent says.

        ``fallback`` is its name unless it states one.
        """
        name = self._free(name_of(addon, fallback))
        policy: Policy | None = getattr(addon, "error_policy", None)
        if policy is None:
            policy = parent.policy if parent is not None else None
        elif policy not in POLICIES:
            raise ScriptError(
                f"addon `{name}`: error_policy is {policy!r}; expected {' or '.join(POLICIES)}"
            )
        binding = Binding(self._proxy, name, script.arguments if script is not None else ())
        return Listener(
            addon,
            name,
            binding,
            policy=policy,
            observes_only=bool(getattr(addon, "observes_only", False)),
            owns=script.owns if script is not None else _owner_of(addon),
        )

    def _free(self, name: str) -> str:
        free, count = name, 1
        while free in self._taken:
            count += 1
            free = f"{name}-{count}"
        return free

    def _at_once(self, listener: Listener, event: str, *arguments: Any) -> Any:
        try:
            answer = self._bus.call(listener, event, *arguments)
        except InterceptorError:
            raise
        except (Exception, SystemExit) as error:
            text = cut_traceback(error, listener.owns)
            raise ScriptError(f"addon `{listener.name}`: `{event}` failed\n{text}") from error
        if isinstance(answer, Deferred) or inspect.isawaitable(answer):
            close = getattr(answer, "close", None)
            if close is not None:
                close()
            raise ScriptError(f"addon `{listener.name}`: `{event}` has to answer at once")
        return answer


def name_of(addon: object, fallback: str | None = None) -> str:
    """The name an addon goes by: its ``name``, a script's stem, or its class in lower case."""
    name = getattr(addon, "name", None)
    if isinstance(name, str) and name:
        return name
    if fallback is not None:
        return fallback
    if isinstance(addon, ModuleType):
        file = getattr(addon, "__file__", None)
        return Path(file).stem if file else addon.__name__.rpartition(".")[2]
    return (addon if isinstance(addon, type) else type(addon)).__name__.lower()


def brought_along(addon: object) -> Sequence[object]:
    """The addons in an addon's list ``addons``."""
    addons = getattr(addon, "addons", ())
    return addons if isinstance(addons, (list, tuple)) else ()


def faults_of(
    addon: object, events: Mapping[str, Event] = EVENTS
) -> Iterator[tuple[str, int, str]]:
    """What looks wrong with an addon's hooks: file, line (0 when unknown) and text of each."""
    for name, function in _functions_of(addon, events):
        event = events.get(name)
        text: str | None
        if event is not None:
            text = arity_fault(function, event)
        else:
            meant = near_miss(name, events)
            text = f"`{name}`: did you mean `{meant}`?" if meant is not None else None
            if meant is not None and find_hook(addon, meant) is not None:
                # Both are there: the other one is on purpose.
                text = None
        if text is not None:
            code = getattr(inspect.unwrap(function), "__code__", None)
            if code is None:
                yield "", 0, text
            else:
                yield code.co_filename, code.co_firstlineno, text


def report_faults(listener: Listener, events: Mapping[str, Event] = EVENTS) -> None:
    """Log what looks wrong with an addon's hooks."""
    for file, line, text in faults_of(listener.addon, events):
        _log.warn(
            "addon `{addon}`: {place}{text}",
            addon=listener.name,
            place=f"{file}:{line}: " if file else "",
            text=text,
            proxy=listener.binding.proxy,
        )


def _functions_of(
    addon: object, events: Mapping[str, Event]
) -> Iterator[tuple[str, Callable[..., Any]]]:
    if isinstance(addon, ModuleType):
        file = getattr(addon, "__file__", None)
        for name, value in list(vars(addon).items()):
            if inspect.isfunction(value) or name in events:
                code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
                if code is not None and code.co_filename == file and find_hook(addon, name):
                    yield name, value
        return
    for name in dir(type(addon)):
        if not name.startswith("_") and inspect.isroutine(getattr(type(addon), name, None)):
            value = find_hook(addon, name)
            if value is not None:
                yield name, value


def _owner_of(addon: object) -> Callable[[str], bool]:
    """Tells the source file in which an object's class is defined."""
    module = addon if isinstance(addon, ModuleType) else sys.modules.get(type(addon).__module__)
    file = getattr(module, "__file__", None)
    return lambda filename: filename == file
