"""Masking of WebSocket payloads (RFC 6455 section 5.3), and taking payloads out of frames."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_BY_INTEGER: Final = 2048
"""Bytes up to which one large integer is quicker than four passes over every fourth byte."""


@lru_cache(maxsize=256)
def _repeated(length: int) -> int:
    """An integer that spreads a key of four bytes over ``length`` bytes when multiplied by it."""
    return int.from_bytes((b"\1\0\0\0" * ((length + 3) // 4))[:length], "little")


_TABLES: Final[dict[int, bytes]] = {}


def _table(key: int) -> bytes:
    table = _TABLES.get(key)
    if table is None:
        table = _TABLES[key] = bytes(byte ^ key for byte in range(256))
    return table


def mask(data: bytes, key: bytes) -> bytes:
    """Mask ``data`` with a ``key`` of four bytes, or take the mask off, which is the same."""
    length = len(data)
    if length > _BY_INTEGER:
        masked = bytearray(data)
        for lane in range(4):
            if key[lane]:
                masked[lane::4] = masked[lane::4].translate(_table(key[lane]))
        return bytes(masked)
    number = int.from_bytes(data, "little")
    stream = _repeated(length) * int.from_bytes(key, "little")
    if length & 3:
        stream &= (1 << (8 * length)) - 1
    return (number ^ stream).to_bytes(length, "little")


_HIGH: Final = bytes(range(0x80, 0x100))


def is_ascii(data: bytes, key: bytes) -> bool:
    """Whether ``data`` is ASCII once the mask is off: told without taking it off, if it is long."""
    if len(data) <= _BY_INTEGER:
        return mask(data, key).isascii()
    for lane in range(4):
        piece = data[lane::4]
        # The key turns the highest bit of all bytes of its lane round, or of none.
        if piece.translate(None, _HIGH) if key[lane] & 0x80 else not piece.isascii():
            return False
    return True


def rotated(key: bytes, position: int) -> bytes:
    """The key as it applies to a payload from ``position`` on."""
    shift = position & 3
    return key[shift:] + key[:shift] if shift else key


def payload_of(frames: bytes) -> bytes:
    """Return the payloads of well-formed frames that follow each other, joined and unmasked."""
    parts = []
    position, end = 0, len(frames)
    while position < end:
        second = frames[position + 1]
        length = second & 0x7F
        position += 2
        if length == 126:
            length = int.from_bytes(frames[position : position + 2], "big")
            position += 2
        elif length == 127:
            length = int.from_bytes(frames[position : position + 8], "big")
            position += 8
        if second & 0x80:
            key = frames[position : position + 4]
            position += 4
            parts.append(mask(frames[position : position + length], key))
        else:
            parts.append(frames[position : position + length])
        position += length
    return parts[0] if len(parts) == 1 else b"".join(parts)
