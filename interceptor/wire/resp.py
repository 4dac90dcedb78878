"""RESP, the serialization of Redis, versions 2 and 3: bytes become Python values and back.

What stands for what: bulk strings are ``bytes``, simple strings `Status`, errors `ErrorReply`,
integers and big numbers ``int``, doubles ``float``, booleans ``bool``, nulls ``None``, arrays
``list``, sets `SetReply`, pushes `PushReply`, maps ``dict``, verbatim strings `Verbatim`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.wire.messagecodec import Buffer

INCOMPLETE: Final = object()
"""What `RESPReader.read` returns while a value has not come completely."""

_DEEPEST: Final = 64
"""How deep values may be nested."""

_LINE: Final = 1 << 20
_SIZED: Final = frozenset(b"$!=")
_NULLABLE: Final = frozenset(b"$*")
_AGGREGATES: Final = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}\Z")
_LINE_END = re.compile(rb"[\r\n]")
_BIG = re.compile(rb"[+-]?[0-9]{1,4000}\Z")


class Status(bytes):
    """A simple string, such as ``OK``."""

    __slots__ = ()


class ErrorReply(bytes):
    """An error: its kind in capitals, a blank, its text."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """The first word, as in ``WRONGTYPE``."""
        return self.partition(b" ")[0].decode("utf-8", "replace")


class SetReply(list[Any]):
    """The members of a set, in the order in which they came."""


class PushReply(list[Any]):
    """What the server says unasked (RESP3)."""


class Verbatim(bytes):
    """A text with a format of three letters: ``txt`` or ``mkd``."""

    format = b"txt"

    @classmethod
    def of(cls, data: bytes) -> Verbatim:
        """Make one from what follows the length: the format, a colon, the text."""
        made = cls(data[4:])
        made.format = data[:3]
        return made


def malformed(what: str) -> RemoteProtocolError:
    """Return the error for bytes that are no RESP."""
    return RemoteProtocolError(f"this is no RESP: {what}", "redis-malformed")


class RESPReader:
    """Reads values from a buffer, of which it takes what it has understood."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Aggregates that are not complete: the type, how many items are still due, the items.
        self._open: list[tuple[int, list[Any], int]] = []
        # The type and the length of a string whose head has been read.
        self._string: tuple[int, int] | None = None
        self.attributes: dict[Any, Any] | None = None
        """What the server has said about the value read last, in front of it (RESP3)."""

    @property
    def is_open(self) -> bool:
        """Whether a part of a value was read."""
        return bool(self._open) or self._string is not None

    def read(self, buffer: Buffer) -> Any:
        """Return the next value; `INCOMPLETE` if it has not come completely.

        Raises `RemoteProtocolError`.
        """
        if not self.is_open:
            self.attributes = None
        while True:
            value = self._item(buffer)
            if value is INCOMPLETE:
                return value
            while self._open:
                kind, items, size = self._open[-1]
                items.append(value)
                if len(items) < size:
                    value = INCOMPLETE
                    break
                self._open.pop()
                value = self._aggregate(kind, items)
                if value is INCOMPLETE:
                    break
            if value is not INCOMPLETE:
                return value

    def _item(self, buffer: Buffer) -> Any:
        """Read one value that is not made of others, or an empty aggregate."""
        while True:
            if self._string is None:
                line = buffer.take_line(_LINE)
                if line is None:
                    return INCOMPLETE
                if line[-2:] != b"\r\n":
                    raise malformed("a line does not end in CRLF")
                if len(line) < 3:
                    raise malformed("a line is empty")
                kind, text = line[0], line[1:-2]
                if kind not in _SIZED and kind not in _AGGREGATES:
                    return _simple(kind, text)
                size = _integer(text)
                if size == -1 and kind in _NULLABLE:
                    return None
                if size < 0:
                    raise malformed(f"the size {size}")
                if kind in _SIZED:
                    if size > self._limit:
                        raise RemoteProtocolError(
                            f"a string has {size} bytes; the limit for a message is {self._limit}",
                            "message-too-large",
                        )
                    self._string = kind, size
                elif size:
                    if len(self._open) >= _DEEPEST:
                        raise malformed("values are nested too deep")
                    self._open.append((kind, [], size * _AGGREGATES[kind]))
                    continue
                else:
                    empty = self._aggregate(kind, [])
                    if empty is INCOMPLETE:
                        continue
                    return empty
            kind, size = self._string
            data = buffer.take(size + 2)
            if data is None:
                return INCOMPLETE
            if data[-2:] != b"\r\n":
                raise malformed("a string does not end where it should")
            self._string = None
            return _string(kind, data[:-2])

    def _aggregate(self, kind: int, items: list[Any]) -> Any:
        if kind == ord("*"):
            return items
        if kind == ord("~"):
            return SetReply(items)
        if kind == ord(">"):
            return PushReply(items)
        found = {_key(items[index]): items[index + 1] for index in range(0, len(items), 2)}
        if kind == ord("%"):
            return found
        if not self._open:
            self.attributes = found
        # What it is about comes next.
        return INCOMPLETE


def _key(value: Any) -> Any:
    """Make a value fit for a key: lists become tuples."""
    if isinstance(value, list):
        return tuple(_key(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _key(item)) for key, item in value.items())
    return value


def _simple(kind: int, text: bytes) -> Any:
    match chr(kind):
        case "+":
            return Status(text)
        case "-":
            return ErrorReply(text)
        case ":":
            return _integer(text)
        case "_" if not text:
            return None
        case "#" if text in (b"t", b"f"):
            return text == b"t"
        case ",":
            try:
                return float(text)
            except ValueError:
                raise malformed("a double is no number") from None
        case "(" if _BIG.match(text):
            return int(text)
    raise malformed(f"a value begins with {bytes((kind,))!r}")


def _string(kind: int, data: bytes) -> bytes:
    if kind == ord("!"):
        return ErrorReply(data)
    if kind == ord("="):
        if len(data) < 4 or data[3:4] != b":":
            raise malformed("a verbatim string has no format")
        return Verbatim.of(data)
    return data


def _integer(text: bytes) -> int:
    if not _INTEGER.match(text):
        raise malformed("a number is expected")
    return int(text)


def encode(value: Any, protocol: int = 3) -> bytes:
    """Return the bytes of a value.

    In version 2 of the ``protocol`` there are no maps, sets, doubles, booleans: what stands for
    them there is what Redis sends. Texts are written in UTF-8. Raises `LocalProtocolError` for what
    cannot be said.
    """
    parts: list[bytes] = []
    _write(parts, value, protocol >= 3)
    return b"".join(parts)


def _write(parts: list[bytes], value: Any, new: bool) -> None:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytearray):
        value = bytes(value)
    if isinstance(value, bytes):
        parts.append(_encode_string(value, new))
    elif value is None:
        parts.append(b"_\r\n" if new else b"$-1\r\n")
    elif isinstance(value, bool):
        parts.append((b"#t\r\n" if value else b"#f\r\n") if new else b":%d\r\n" % value)
    elif isinstance(value, int):
        sign = b":" if -(1 << 63) <= value < 1 << 63 else b"("
        parts.append(sign + str(value).encode() + b"\r\n")
    elif isinstance(value, float):
        text = repr(value).removesuffix(".0").encode()
        parts.append(b",%b\r\n" % text if new else _bulk(text))
    elif isinstance(value, dict):
        parts.append(b"%%%d\r\n" % len(value) if new else b"*%d\r\n" % (2 * len(value)))
        for key, item in value.items():
            _write(parts, key, new)
            _write(parts, item, new)
    elif isinstance(value, list | tuple | set | frozenset):
        sign = b"*"
        if new and isinstance(value, SetReply | set | frozenset):
            sign = b"~"
        elif new and isinstance(value, PushReply):
            sign = b">"
        parts.append(b"%b%d\r\n" % (sign, len(value)))
        for item in value:
            _write(parts, item, new)
    else:
        raise LocalProtocolError(
            f"a hook made a {type(value).__name__} of a value of Redis", "redis-invalid"
        )


def _encode_string(value: bytes, new: bool) -> bytes:
    if isinstance(value, Status | ErrorReply):
        if _LINE_END.search(value):
            raise LocalProtocolError(
                "a hook put a line's end into a simple string of Redis", "redis-invalid"
            )
        return (b"+" if isinstance(value, Status) else b"-") + value + b"\r\n"
    if new and isinstance(value, Verbatim):
        return b"=%d\r\n%b:%b\r\n" % (len(value) + 4, value.format, value)
    return _bulk(value)


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)
