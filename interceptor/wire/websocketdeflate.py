"""permessage-deflate (RFC 7692): what is negotiated, and the two directions of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from interceptor.errors import DecodeError, RemoteProtocolError
from interceptor.model.codings import Strain, Work
from interceptor.wire.websocketerrors import WebSocketError

EXTENSION: Final = "permessage-deflate"

_TAIL: Final = b"\x00\x00\xff\xff"
"""What every compressed message ends in, and is sent without (RFC 7692 section 7.2.1)."""

_SLICE: Final = 16384
"""Bytes that are inflated at once: what zlib does cannot be interrupted."""

_LARGE: Final = 65536
_SECONDS_PER_BYTE: Final = 3e-9
"""About how long it takes to inflate one."""

_MOST_ENDS: Final = 64
"""How many streams of DEFLATE may end in a slice: each costs much more than its bytes."""

_PARAMETERS: Final = frozenset(
    (
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    )
)

Parameters = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Extension:
    """One element of Sec-WebSocket-Extensions: its name, its parameters, and how it was written."""

    name: str
    parameters: Parameters
    written: bytes


@dataclass(frozen=True, slots=True)
class Direction:
    """How one peer compresses what it sends."""

    takeover: bool = True
    window_bits: int = 15


@dataclass(frozen=True, slots=True)
class Deflate:
    """What client and server have agreed on: how either compresses."""

    client: Direction = Direction()
    server: Direction = Direction()

    def of(self, from_client: bool) -> Direction:
        """The direction of what the client sends, or the server."""
        return self.client if from_client else self.server


_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def parse_extensions(values: Iterable[bytes]) -> list[Extension]:
    """Read the values of Sec-WebSocket-Extensions fields (RFC 6455 section 9.1).

    Raises `ValueError` where they are malformed.
    """
    found = []
    for value in values:
        for element in value.split(b","):
            written = element.strip(b" \t")
            if not written:
                continue
            name, *rest = [part.strip(b" \t") for part in written.split(b";")]
            parameters = []
            for part in rest:
                key, equals, argument = part.partition(b"=")
                argument = argument.strip(b" \t")
                if len(argument) > 1 and argument[:1] == argument[-1:] == b'"':
                    # RFC 6455 section 9.1: what is quoted has to be a token all the same.
                    argument = argument[1:-1].replace(b"\\", b"")
                if equals and not _is_token(argument):
                    raise ValueError(f"{part!r} is no parameter of an extension")
                parameters.append((_token(key), argument.decode("ascii") if equals else None))
            found.append(Extension(_token(name), tuple(parameters), written))
    return found


def _token(text: bytes) -> str:
    text = text.strip(b" \t")
    if not _is_token(text):
        raise ValueError(f"{text!r} is no token")
    return text.decode("ascii").lower()


def _is_token(text: bytes) -> bool:
    return bool(text) and _TOKEN.issuperset(text)


def _window_bits(value: str | None) -> int:
    # RFC 7692 section 7.1.2: no leading zeros.
    if value is None or not value.isdigit() or value[:1] == "0" or not 8 <= int(value) <= 15:
        raise ValueError(f"a window of {value} bits")
    return int(value)


def _checked(extension: Extension, answer: bool) -> dict[str, str | None]:
    parameters = dict(extension.parameters)
    if len(parameters) != len(extension.parameters):
        raise ValueError("a parameter is there twice")
    unknown = set(parameters) - _PARAMETERS
    if unknown:
        raise ValueError(f"unknown parameter {min(unknown)!r}")
    for name, value in parameters.items():
        if name.endswith("takeover"):
            if value is not None:
                raise ValueError(f"{name} has a value")
        elif value is not None or answer or name.startswith("server"):
            _window_bits(value)
    return parameters


def is_offer(extension: Extension) -> bool:
    """Whether it is a well-formed offer of permessage-deflate."""
    if extension.name != EXTENSION:
        return False
    try:
        _checked(extension, False)
    except ValueError:
        return False
    return True


def agreed(extensions: Iterable[Extension]) -> Deflate | None:
    """Return what the answer of a server agrees to; None where that is no compression.

    Raises `ValueError` for an extension that cannot have been offered, and for parameters that may
    not be.
    """
    found: Deflate | None = None
    for extension in extensions:
        if extension.name != EXTENSION:
            raise ValueError(f"the extension {extension.name!r} was not offered")
        if found is not None:
            raise ValueError(f"{EXTENSION} is there twice")
        parameters = _checked(extension, True)
        found = Deflate(
            *(
                Direction(
                    f"{who}_no_context_takeover" not in parameters,
                    _window_bits(parameters.get(f"{who}_max_window_bits", "15")),
                )
                for who in ("client", "server")
            )
        )
    return found


class Inflater:
    """Inflates what one peer sends, never beyond a limit.

    ``seconds`` is how much time of the processor that may take for one fragment; None is any.
    ``strain`` is told how much it has taken, about.
    """

    __slots__ = ("_direction", "_inflate", "_seconds", "_strain")

    def __init__(
        self, direction: Direction, seconds: float | None = None, strain: Strain | None = None
    ) -> None:
        self._direction = direction
        self._seconds = seconds
        self._strain = strain
        self._inflate = zlib.decompressobj(-direction.window_bits)

    def inflate(self, data: bytes, limit: int, final: bool) -> bytes:
        """Inflate a fragment; ``final`` if it is the message's last.

        Raises `WebSocketError`: 1009 for more than ``limit`` bytes or for too much work, 1007 for
        what is damaged.
        """
        out = self._step(data, limit) if len(data) <= _SLICE else self._slices(data, limit)
        if final:
            out += self._step(_TAIL, limit - len(out))
            if not self._direction.takeover:
                self._renew()
        if len(out) > _LARGE and self._strain is not None:
            self._strain.add(len(out) * _SECONDS_PER_BYTE)
        return out

    def _slices(self, data: bytes, limit: int) -> bytes:
        work = Work(self._seconds)
        work.begin()
        parts = []
        for start in range(0, len(data), _SLICE):
            part = self._step(data[start : start + _SLICE], limit)
            limit -= len(part)
            parts.append(part)
            try:
                work.check()
            except DecodeError:
                raise too_big("it takes too long to inflate a message (decode_timeout)") from None
        return b"".join(parts)

    def _step(self, data: bytes, limit: int) -> bytes:
        out = b""
        ends = 0
        while True:
            inflate = self._inflate
            try:
                # One byte more than may be says whether there is more.
                out += inflate.decompress(data, limit - len(out) + 1)
            except zlib.error as error:
                raise WebSocketError(
                    1007, f"a compressed message is damaged: {error}", "websocket-deflate-damaged"
                ) from None
            if len(out) > limit:
                raise too_big("a message inflates to more than may be")
            if not inflate.eof:
                return out
            # RFC 7692 section 7.2.3.4: a final block ends a stream of DEFLATE, not the message.
            data = inflate.unused_data
            self._renew()
            if not data:
                return out
            ends += 1
            if ends > _MOST_ENDS:
                raise too_big("a message has too many streams of DEFLATE in it")

    def _renew(self) -> None:
        self._inflate = zlib.decompressobj(-self._direction.window_bits)


class Deflater:
    """Compresses what is sent to one peer; made anew at any time, the peer can still inflate it."""

    __slots__ = ("_deflate", "_direction")

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._deflate = self._new()

    def _new(self) -> zlib._Compress:
        # zlib has no raw DEFLATE with a window of 2⁸; its 2⁹ refers back no further than 250 bytes.
        bits = max(9, self._direction.window_bits)
        return zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -bits)

    def deflate(self, data: bytes) -> bytes:
        """Compress a message."""
        deflate = self._deflate
        out = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
        if not self._direction.takeover:
            self._deflate = self._new()
        return out[:-4] or b"\0"


def too_big(message: str) -> RemoteProtocolError:
    """Return the error for what is over a limit."""
    return WebSocketError(1009, message, "websocket-too-big")
