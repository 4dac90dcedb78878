"""The declaration of one option: its type, and how values and texts become what it holds."""

from __future__ import annotations

import collections.abc
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from interceptor.errors import OptionsError
from interceptor.model.units import format_duration, format_size, parse_duration, parse_size
from interceptor.model.wording import shown, toml_text

KINDS: Final = ("bool", "int", "float", "str", "size", "duration", "choice", "sequence")
"""The names of the types that an option may have; any but ``sequence`` may be optional."""

_EXPECTED: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "size": "a size in bytes such as 512, 64k, 1m or 1g",
    "duration": "a duration such as 250ms, 5s or 1m",
    "sequence": "a list of texts",
}
_PYTHON_KINDS: Final[dict[object, str]] = {bool: "bool", int: "int", float: "float", str: "str"}
_TRUE: Final = frozenset(("true", "yes", "on", "1"))
_FALSE: Final = frozenset(("false", "no", "off", "0"))


class Texts(tuple[str, ...]):
    """Values of one option in text form, as they came from a command line or the environment.

    A sequence takes all of them, every other type the last one.
    """

    __slots__ = ()


class _UnfitError(Exception):
    """A value does not fit; the caller says which option that was."""


@dataclass(frozen=True, slots=True)
class Option:
    """The declaration of one option.

    ``kind`` is one of `KINDS`; an ``optional`` one may be ``None``, written as an empty text.
    Sizes are bytes, durations are seconds. ``minimum`` and ``maximum`` bound numbers, sizes and
    durations, both ends included. ``choices`` are the values of a choice, and may be those that a
    sequence is made of. ``group`` is the heading it is documented under.
    """

    name: str
    kind: str
    default: Any
    help: str
    optional: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    group: str = ""

    @property
    def expected(self) -> str:
        """What a value has to be, as error messages and the reference say it."""
        if self.kind == "choice":
            text = "one of " + ", ".join(self.choices)
        elif self.choices:
            text = "a list of " + ", ".join(self.choices)
        else:
            text = _EXPECTED[self.kind]
        if self.bounds:
            text += f", {self.bounds}"
        if self.optional:
            text += ", or an empty text for none"
        return text

    @property
    def bounds(self) -> str:
        """The range of a bounded value in words, else an empty text."""
        if self.minimum is not None and self.maximum is not None:
            return f"from {self._number(self.minimum)} to {self._number(self.maximum)}"
        if self.minimum is not None:
            return f"at least {self._number(self.minimum)}"
        if self.maximum is not None:
            return f"at most {self._number(self.maximum)}"
        return ""

    @property
    def type_name(self) -> str:
        """The type in words: ``optional size``, ``sequence of str``, ``choice``."""
        name = "sequence of str" if self.kind == "sequence" else self.kind
        return f"optional {name}" if self.optional else name

    def check(self, value: object) -> Any:
        """``value`` as this option holds it.

        Sizes and durations may also be texts (``"64k"``), since TOML has no such types; an empty
        text unsets what is optional. Raises `OptionsError` for anything else that does not fit.
        """
        if isinstance(value, Texts):
            return self.from_texts(value)
        if self.optional and (value is None or value == ""):
            return None
        try:
            return self._bounded(self._typed(value))
        except _UnfitError:
            raise self._refusal(value) from None

    def from_texts(self, texts: Sequence[str]) -> Any:
        """The value that was written as ``texts``: for a sequence all of them, else the last.

        One text of a sequence that looks like a TOML array (``["a", "b"]``) is read as one; one
        empty text is an empty sequence. Raises `OptionsError`.
        """
        if self.kind == "sequence":
            if len(texts) == 1:
                return self._sequence_from(texts[0])
            return self._sequence_of(texts)
        text = texts[-1]
        if self.optional and not text:
            return None
        try:
            return self._bounded(self._parsed(text))
        except _UnfitError:
            raise self._refusal(text) from None

    def to_text(self, value: object) -> str:
        """``value`` as `from_texts` reads it; of a sequence a TOML array."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.kind == "size" and isinstance(value, int):
            return format_size(value)
        if self.kind == "duration" and isinstance(value, float):
            return format_duration(value)
        if self.kind == "sequence" and isinstance(value, tuple):
            return "[" + ", ".join(toml_text(item) for item in value) + "]"
        return str(value)

    def _typed(self, value: object) -> Any:
        match self.kind:
            case "bool" if isinstance(value, bool):
                return value
            case "sequence":
                if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
                    return tuple(self._chosen(v) for v in value)
            case "str" | "choice" if isinstance(value, str):
                return self._chosen(value)
            case "size" | "duration" if isinstance(value, str):
                return self._parsed(value)
            case "int" | "size" if isinstance(value, int) and not isinstance(value, bool):
                return value
            case "float" | "duration":
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    return float(value)
        raise _UnfitError

    def _parsed(self, text: str) -> Any:
        try:
            match self.kind:
                case "bool":
                    word = text.strip().lower()
                    if word in _TRUE or word in _FALSE:
                        return word in _TRUE
                case "int":
                    return int(text)
                case "float":
                    return float(text)
                case "size":
                    return parse_size(text)
                case "duration":
                    return parse_duration(text)
                case _:
                    return self._chosen(text)
        except ValueError:
            pass
        raise _UnfitError

    def _chosen(self, text: str) -> str:
        if self.choices and text not in self.choices:
            raise _UnfitError
        return text

    def _bounded(self, value: Any) -> Any:
        if self.kind in ("int", "float", "size", "duration"):
            if not math.isfinite(value):
                raise _UnfitError
            if self.minimum is not None and value < self.minimum:
                raise _UnfitError
            if self.maximum is not None and value > self.maximum:
                raise _UnfitError
            if self.kind in ("size", "duration") and value < 0:
                raise _UnfitError
        return value

    def _sequence_from(self, text: str) -> tuple[str, ...]:
        if not text:
            return ()
        if not (text.startswith("[") and text.endswith("]")):
            return self._sequence_of((text,))
        import tomllib

        try:
            parsed = tomllib.loads(f"value = {text}")
            return typing.cast("tuple[str, ...]", self._typed(parsed["value"]))
        except (tomllib.TOMLDecodeError, _UnfitError):
            raise self._refusal(text) from None

    def _sequence_of(self, texts: Sequence[str]) -> tuple[str, ...]:
        for text in texts:
            if self.choices and text not in self.choices:
                raise self._refusal(text)
        return tuple(texts)

    def _number(self, number: float) -> str:
        if self.kind == "size":
            return format_size(int(number))
        if self.kind == "duration":
            return format_duration(number)
        return f"{number:g}"

    def _refusal(self, value: object) -> OptionsError:
        return OptionsError(f"option `{self.name}`: expected {self.expected}, not {shown(value)}")


def resolve_type(name: str, spec: object) -> tuple[str, bool]:
    """The kind and whether it is optional, from a kind's name or a Python type."""
    if isinstance(spec, str):
        optional = spec.startswith("optional ")
        kind = spec.removeprefix("optional ").removesuffix(" of str")
        if kind in KINDS and not (optional and kind == "sequence"):
            return kind, optional
    try:
        return _PYTHON_KINDS[spec], False
    except (KeyError, TypeError):
        pass
    origin, arguments = typing.get_origin(spec), typing.get_args(spec)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2:
        inner = [argument for argument in arguments if argument is not types.NoneType]
        if len(inner) == 1 and inner[0] in _PYTHON_KINDS:
            return _PYTHON_KINDS[inner[0]], True
    if origin in (collections.abc.Sequence, list) and arguments == (str,):
        return "sequence", False
    if origin is tuple and arguments == (str, ...):
        return "sequence", False
    expected = ", ".join(KINDS)
    raise OptionsError(f"option `{name}`: unknown type {shown(spec)}: expected {expected}")
