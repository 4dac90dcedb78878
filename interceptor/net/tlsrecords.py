"""Counting TLS records as they pass, so that nobody asks OpenSSL for what is not there yet."""

from __future__ import annotations

from typing import Final

_HEADER: Final = 5
_LONGEST: Final = 16384 + 2048


class RecordCounter:
    """Tells how many records each piece of ciphertext completes (RFC 8446, section 5.1).

    Reading from a TLS session that has nothing costs as much as reading something, because it ends
    in an exception. Each record holds one piece of plaintext at most, so a session need not be
    read more often than records were completed. What is no TLS counts as one record per piece:
    OpenSSL shall look at it, and complain.
    """

    __slots__ = ("_broken", "_header", "_left")

    def __init__(self) -> None:
        self._header = b""
        # Bytes that the current record still lacks; 0 between two records.
        self._left = 0
        self._broken = False

    def feed(self, data: bytes) -> int:
        """Give the number of records that end within ``data``."""
        if self._broken:
            return 1
        if self._header:
            data = self._header + data
            self._header = b""
        size = len(data)
        end = self._left
        if end > size:
            self._left = end - size
            return 0
        count = 1 if end else 0
        while size - end >= _HEADER:
            length = data[end + 3] << 8 | data[end + 4]
            if length > _LONGEST or data[end + 1] != 3:
                self._broken = True
                return count + 1
            end += _HEADER + length
            if end > size:
                self._left = end - size
                return count
            count += 1
        self._left = 0
        self._header = data[end:]
        return count
