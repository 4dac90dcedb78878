"""Field blocks and targets: from bytes to fields, strictly on the fast path, by rule off it.

The common, clean block costs one pass of a regular expression and one count of control bytes. Only
a block that fails them is looked at line by line, and there each fault is refused or tolerated by
name (RFC 9112 sections 2.2 and 5, RFC 9110 section 5.5).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.model.secrets import quoted
from interceptor.wire.framing import (
    FIELD_KINDS,
    HOST,
    INVALID_NAME,
    Fields,
    Mode,
    request_fault,
    response_fault,
)

# One match per line, in which it stays; the groups are the name and the value without its outer
# white space. Nothing backtracks but what is white at a value's end, and that once.
_FIELD = re.compile(rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+((?:.*[^\r\n \t])?+)[ \t]*+\r\n")
CONTROLS: Final = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"
"""Every control byte but the tab."""
_LINE_BREAKERS = re.compile(rb"[\r\0]")
# Controls that cannot end a line or a string anywhere: a fault, but a cosmetic one.
_COSMETIC_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_TOKEN = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
_LENIENT_NAME = re.compile(rb"[^\x00-\x20\x7f:](?:[^\x00-\x1f\x7f:]*[^\x00-\x20\x7f:])?")


def is_lenient_name(name: bytes) -> bool:
    """Whether a field name, though no token, cannot be taken for anything but a name."""
    return _LENIENT_NAME.fullmatch(name) is not None


def scan_fields(block: bytes) -> Fields | None:
    """Return the fields of a block without faults (but for 8-bit values), else None."""
    fields = tuple(_FIELD.findall(block))
    # Each match has one CR and one LF. Are there no other controls, then no line was left out, and
    # no value holds a bare CR, a bare LF or anything else that might end it early.
    if len(block) - len(block.translate(None, CONTROLS)) == 2 * len(fields):
        return fields
    return None


def parse_fields(
    block: bytes, mode: Mode, is_response: bool
) -> tuple[Fields, bytes | None, tuple[str, ...]]:
    """Parse a field block: lines with their CRLF, without the empty line that ends it.

    Returns the fields, the block itself when line i of it is field i as it may be sent on (else
    None), and the names of the anomalies. Raises `RemoteProtocolError` with code
    ``head-malformed`` or ``response-malformed``.
    """
    fields = scan_fields(block)
    if fields is None:
        return _FaultyBlock(mode, is_response).parse(block)
    if block.isascii():
        return fields, block, ()
    if mode == "reject":
        raise _malformed("a field value has 8-bit bytes", is_response)
    return fields, block, ("value-8bit",)


def _malformed(message: str, is_response: bool) -> RemoteProtocolError:
    if is_response:
        return response_fault(message, "malformed")
    return request_fault(message, "head-malformed")


class _FaultyBlock:
    """The slow path: what a block has wrong with it, line by line.

    A request is refused for all but obs-fold; ``pass`` lets odd names and harmless control bytes
    through too. A response is refused only where it has no single meaning.
    """

    def __init__(self, mode: Mode, is_response: bool) -> None:
        self._mode = mode
        self._is_response = is_response
        self._fields: list[tuple[bytes, bytes]] = []
        self._anomalies: dict[str, None] = {}
        self._exact = True
        self._last_taken = False
        self._folded: list[bytes] = []

    def parse(self, block: bytes) -> tuple[Fields, bytes | None, tuple[str, ...]]:
        lines = block.split(b"\n")
        # What follows the last line end is empty.
        del lines[-1]
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            else:
                self._tolerate("a line of the head ends in a bare LF", "bare-lf", exact=False)
            if line[:1] in (b" ", b"\t"):
                self._fold(line)
            else:
                self._unfold()
                self._add(line)
        self._unfold()
        if not block.isascii():
            self._mark("a field value has 8-bit bytes", "value-8bit")
        fields = tuple(self._fields)
        return fields, block if self._exact else None, tuple(self._anomalies)

    def _mark(self, message: str, anomaly: str) -> None:
        if self._mode == "reject":
            raise _malformed(message, self._is_response)
        self._anomalies[anomaly] = None

    def _tolerate(self, message: str, anomaly: str, *, exact: bool = True) -> None:
        """Let a fault of a response pass; of a request only a cosmetic one, in ``pass``."""
        if not self._is_response and not (exact and self._mode == "pass"):
            raise _malformed(message, False)
        self._mark(message, anomaly)
        self._exact = self._exact and exact

    def _fold(self, line: bytes) -> None:
        # RFC 9112 section 5.2: a proxy rejects an obs-fold or replaces it with a space. Not where
        # it decides about framing or routing: parsers differ about what follows the fold.
        if not self._fields and not self._last_taken:
            self._tolerate("white space before the first field", "leading-space", exact=False)
            return
        if not self._last_taken:
            return
        name = self._fields[-1][0]
        if not self._is_response and FIELD_KINDS[name] != 0:
            raise _malformed(f"field {name!r} is folded", False)
        self._mark("a field is folded", "obs-fold")
        self._exact = False
        more = self._clean(line.strip(b" \t"))
        if more:
            self._folded.append(more)

    def _unfold(self) -> None:
        if self._folded:
            name, value = self._fields[-1]
            pieces = [value, *self._folded] if value else self._folded
            self._fields[-1] = (name, b" ".join(pieces))
            self._folded = []

    def _add(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        self._last_taken = False
        if not colon or not name:
            self._tolerate(f"{quoted(line, 80)} is no field", "field-malformed", exact=False)
            return
        if FIELD_KINDS[name] == INVALID_NAME:
            name = self._faulty_name(name)
        self._fields.append((name, self._clean(value.strip(b" \t"))))
        self._last_taken = True

    def _faulty_name(self, name: bytes) -> bytes:
        if name[-1:] in (b" ", b"\t"):
            # RFC 9112 section 5.1: 400 for a request, removed from a response.
            self._tolerate("white space before a colon", "space-before-colon", exact=False)
            name = name.rstrip(b" \t")
            if FIELD_KINDS[name] != INVALID_NAME:
                return name
        # What becomes the name of a field of framing or routing by overlooking what has no place in
        # it may be that to somebody.
        likely = FIELD_KINDS[_NO_TOKEN.sub(b"", name)]
        if (
            likely > 0
            or _LENIENT_NAME.fullmatch(name) is None
            or not (self._is_response or name.isascii())
        ):
            raise _malformed(f"{name[:80]!r} is no field name", self._is_response)
        self._tolerate(f"{name[:80]!r} is no field name", "name-invalid")
        return name

    def _clean(self, value: bytes) -> bytes:
        if _LINE_BREAKERS.search(value) is not None:
            # RFC 9110 section 5.5: reject, or replace by a space. Never as it is.
            self._tolerate("a field value holds CR or NUL", "value-control-replaced", exact=False)
            value = _LINE_BREAKERS.sub(b" ", value).strip(b" \t")
        if _COSMETIC_CONTROL.search(value) is not None:
            self._tolerate("a field value holds control bytes", "value-control")
        return value


# Authorities

_AUTHORITY = re.compile(
    rb"(?:([A-Za-z0-9\-._~]{1,255})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?"
)


@lru_cache(maxsize=512)
def parse_authority(text: bytes) -> tuple[bytes, int | None]:
    """Split ``host[:port]`` (RFC 3986 section 3.2) into host and port, None where it has no port.

    An IPv6 address loses its brackets. Stricter than the grammar: no user information, no
    percent-encoding and none of the sub-delimiters, since no name that can be resolved has them
    and programs differ in what they make of them. Raises `ValueError`.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        if b"@" in text:
            raise ValueError("it has user information")
        raise ValueError("it is no host and port")
    host, literal, port = match.groups()
    if literal is not None:
        IPv6Address(literal.decode("ascii"))
        host = literal
    if not port:
        return host, None
    number = int(port)
    if not 1 <= number <= 65535:
        raise ValueError("the port is out of range")
    return host, number


_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*+)://([^/?#]*+)(.*+)")
DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}


def split_absolute(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split an absolute-form target into lower-case scheme, authority and what follows; or None."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    scheme, authority, path = match.groups()
    if scheme != b"http":
        scheme = scheme.lower()
    return scheme, authority, path


def replace_host(fields: Fields, authority: bytes) -> Fields:
    """Put an authority into the Host field; or before all others when there is none."""
    if any(FIELD_KINDS[name] == HOST for name, _ in fields):
        return tuple(
            (name, authority) if FIELD_KINDS[name] == HOST else (name, value)
            for name, value in fields
        )
    return ((b"Host", authority), *fields)
