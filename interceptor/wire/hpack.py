"""Header compression for HTTP/2 (RFC 7541): field lists to blocks and back.

Both directions remember strings that were coded before, across connections and bounded, because
the code itself is what takes time. A decoder has its caller judge each field when it first meets
it, rather than each time it is referred to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from interceptor.wire.hpacktables import (
    STATIC_FIELDS,
    Field,
    HPACKError,
    huffman_decode,
    huffman_encode,
)

Entry = tuple[Field, int, int]
"""A field as it was decoded: the field, what the caller's ``classify`` said of it, its size."""

_BOMB: Final = 4

# RFC 7541 section 4.2: two in a block are what an encoder needs.
_MOST_RESIZES: Final = 8

DEFAULT_TABLE_SIZE: Final = 4096
"""Bytes that a dynamic table holds unless a setting says otherwise; RFC 9113 section 6.5.2."""


class HPACKBombError(Exception):
    """A field list is so far beyond its limits that it is not worth to go on decoding."""


class HeaderListTooLargeError(Exception):
    """A field list is beyond its limits. The compression state is as it should be."""

    def __init__(self, message: str, too_many: bool) -> None:
        super().__init__(message)
        self.too_many = too_many


class SensitiveField(tuple[bytes, bytes]):
    """A field that no compressor on the way may put into its table; RFC 7541 section 6.2.3."""

    __slots__ = ()


class _Strings(dict[bytes, bytes]):
    """Short strings, and what they were coded to. Begins anew when it is full."""

    __slots__ = ("_code",)

    def __init__(self, code: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._code = code

    def __missing__(self, data: bytes) -> bytes:
        coded = self._code(data)
        if len(data) <= _WORTH_KEEPING:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[data] = coded
        return coded


_WORTH_KEEPING: Final = 128
_MOST_KEPT: Final = 2048

_decoded: Final = _Strings(huffman_decode)


def _encode_string(data: bytes) -> bytes:
    """Return a string literal, in Huffman code where that is shorter; RFC 7541 section 5.2."""
    coded = huffman_encode(data)
    if len(coded) < len(data):
        return _integer(len(coded), 7, 0x80) + coded
    return _integer(len(data), 7, 0) + data


def _integer(number: int, bits: int, first: int) -> bytes:
    """Return a number behind the bits ``first``; RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if number < most:
        return bytes((first | number,))
    out = bytearray((first | most,))
    number -= most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_encoded: Final = _Strings(_encode_string)


class HPACKDecoder:
    """Turns header blocks into fields.

    ``classify`` is called with name and value of each literal; ``static`` are the static table's
    entries, judged already (see `static_entries`). ``memo`` is the caller's: what is kept there by
    block stays true until the dynamic table changes, and is dropped then. It is worth to keep only
    what `decode` made while `changed` was False.
    """

    __slots__ = (
        "_classify",
        "_entries",
        "_limit",
        "_max_size",
        "_must_shrink",
        "_size",
        "_static",
        "changed",
        "memo",
    )

    def __init__(
        self,
        static: tuple[Entry | None, ...],
        classify: Callable[[bytes, bytes], int],
        limit: int = DEFAULT_TABLE_SIZE,
    ) -> None:
        self._static = static
        self._classify = classify
        # The newest entry is the last: index 62 is -1.
        self._entries: list[Entry] = []
        self._size = 0
        self._max_size = DEFAULT_TABLE_SIZE
        self._limit = max(limit, DEFAULT_TABLE_SIZE)
        self._must_shrink = False
        self.changed = False
        self.memo: dict[bytes, Any] = {}

    def set_limit(self, limit: int) -> None:
        """Bound the table size that the peer may choose: it has acknowledged our setting."""
        self._limit = limit
        # RFC 7541 section 4.2: then its next block must begin with a smaller size.
        self._must_shrink = limit < self._max_size

    def decode(self, block: bytes, max_size: int, max_count: int) -> list[Entry]:
        """Return the fields of a whole header block.

        ``max_size`` bounds their sizes together, as RFC 9113 section 6.5.2 counts them (32 more
        than the bytes of each field), ``max_count`` their number.

        Raises `HPACKError` for what cannot be decoded, and `HeaderListTooLargeError` for what is
        beyond the bounds, or `HPACKBombError` for what is far beyond them.
        """
        out: list[Entry] = []
        static = self._static
        table = self._entries
        self.changed = False
        size = at = resizes = 0
        length = len(block)
        oversize: HeaderListTooLargeError | None = None
        if self._must_shrink and block[:1] and block[0] & 0xE0 != 0x20:
            raise HPACKError("the table was not made smaller as it had to be")
        try:
            while at < length:
                first = block[at]
                at += 1
                if first >= 0x80:
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _read_integer(block, at, index)
                    if index >= 62:
                        entry: Entry | None = table[61 - index]
                    else:
                        entry = static[index]
                    if entry is None:
                        raise HPACKError("index 0 stands for nothing")
                elif first & 0xE0 == 0x20:
                    resizes += 1
                    if resizes > _MOST_RESIZES:
                        raise HPACKError("the table's size changes too often")
                    at = self._resize(block, at, first, bool(out or oversize))
                    continue
                else:
                    entry, at = self._literal(block, at, first)
                size += entry[2]
                if size > max_size or len(out) >= max_count:
                    # The rest is decoded, for the table's sake, and dropped; within reason.
                    if size > _BOMB * max_size:
                        raise HPACKBombError(f"a field list is far larger than {max_size} bytes")
                    oversize = oversize or self._too_large(size > max_size, max_size, max_count)
                else:
                    out.append(entry)
        except IndexError:
            raise HPACKError("a block ends too early, or refers to what is not there") from None
        if oversize is not None:
            raise oversize
        return out

    def _too_large(self, size: bool, max_size: int, count: int) -> HeaderListTooLargeError:
        if size:
            return HeaderListTooLargeError(f"the field list is larger than {max_size} bytes", False)
        return HeaderListTooLargeError(f"there are more than {count} fields", True)

    def _literal(self, block: bytes, at: int, first: int) -> tuple[Entry, int]:
        indexed = first & 0x40
        most = 0x3F if indexed else 0x0F
        index = first & most
        if index:
            if index == most:
                index, at = _read_integer(block, at, index)
            if index >= 62:
                name = self._entries[61 - index][0][0]
            else:
                known = self._static[index]
                assert known is not None
                name = known[0][0]
        else:
            name, at = _read_string(block, at)
        value, at = _read_string(block, at)
        field: Field = (name, value)
        if first & 0xF0 == 0x10:
            field = SensitiveField(field)
        size = len(name) + len(value) + 32
        entry = (field, self._classify(name, value), size)
        if indexed:
            self.changed = True
            self.memo.clear()
            self._size += size
            self._entries.append(entry)
            if self._size > self._max_size:
                self._evict()
        return entry, at

    def _resize(self, block: bytes, at: int, first: int, late: bool) -> int:
        size = first & 0x1F
        if size == 0x1F:
            size, at = _read_integer(block, at, size)
        if late:
            # RFC 7541 section 4.2
            raise HPACKError("the table's size changes amid a block")
        if size > self._limit:
            raise HPACKError(f"table size {size} is more than {self._limit}")
        self.changed = True
        self.memo.clear()
        self._must_shrink = False
        self._max_size = size
        self._evict()
        return at

    def _evict(self) -> None:
        gone = 0
        entries = self._entries
        while self._size > self._max_size:
            self._size -= entries[gone][2]
            gone += 1
        del entries[:gone]


def _read_integer(block: bytes, at: int, number: int) -> tuple[int, int]:
    """Read the rest of a number whose prefix was all ones; RFC 7541 section 5.1."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        number += (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 28:
            raise HPACKError("a number is too long")


def _read_string(block: bytes, at: int) -> tuple[bytes, int]:
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _read_integer(block, at, length)
    end = at + length
    if end > len(block):
        raise HPACKError("a string is longer than its block")
    data = block[at:end]
    return (_decoded[data] if first >= 0x80 else data), end


def static_entries(classify: Callable[[bytes, bytes], int]) -> tuple[Entry | None, ...]:
    """Return the static table for decoders with this ``classify``."""
    entries = [
        (field, classify(*field), len(field[0]) + len(field[1]) + 32) for field in STATIC_FIELDS
    ]
    return (None, *entries)


_STATIC_FIELDS: Final = {
    field: bytes((0x80 | index,)) for index, field in enumerate(STATIC_FIELDS, 1)
}
# The first of several entries with one name.
_STATIC_NAMES: Final = {
    field[0]: 62 - index for index, field in enumerate(reversed(STATIC_FIELDS), 1)
}

# Values that hardly come again would push out those that do.
_UNINDEXED: Final = frozenset(
    b":path age content-length content-range etag if-modified-since if-none-match last-modified"
    b" location set-cookie".split()
)
# RFC 7541 section 7.1.3: nobody else's requests on the connection can be used to guess them.
_SENSITIVE: Final = frozenset((b"authorization", b"proxy-authorization"))
_SHORT_SECRETS: Final = frozenset((b"cookie", b"set-cookie"))
_GUESSABLE: Final = 20


class HPACKEncoder:
    """Turns fields into header blocks."""

    __slots__ = (
        "_added",
        "_entries",
        "_fields",
        "_last_added",
        "_last_block",
        "_last_fields",
        "_max_size",
        "_names",
        "_resized",
        "_size",
    )

    def __init__(self) -> None:
        self._entries: deque[tuple[Field, int]] = deque()
        # Each with the number that `_added` was when it was put into the table.
        self._fields: dict[Field, int] = {}
        self._names: dict[bytes, int] = {}
        self._added = 0
        self._size = 0
        self._max_size = DEFAULT_TABLE_SIZE
        self._resized: tuple[int, ...] = ()
        # Fields that added no entry, and what became of them while there were so many.
        self._last_fields: tuple[Field, ...] | None = None
        self._last_added = 0
        self._last_block = b""

    def set_limit(self, limit: int) -> None:
        """Take the table size that the peer allows; more than the default is not made use of."""
        size = min(limit, DEFAULT_TABLE_SIZE)
        if size == self._max_size and not self._resized:
            return
        # RFC 7541 section 4.2: the smallest size since the last block, then the one to be used.
        least = min((*self._resized, size))
        self._resized = (size,) if least == size else (least, size)
        self._max_size = size
        self._evict()
        self._last_fields = None

    def encode(self, head: Iterable[Field], fields: tuple[Field, ...] = ()) -> bytes:
        """Return the header block of ``head`` and ``fields``; names have to be in lower case.

        Where ``fields`` are the very object that they were the last time, and no entry was added
        since, their part of the block is the same as well.
        """
        begin = b""
        if self._resized:
            begin = b"".join([_integer(size, 5, 0x20) for size in self._resized])
            self._resized = ()
        begin += self._encode(head)
        if not fields:
            return begin
        added = self._added
        if fields is self._last_fields and added == self._last_added:
            return begin + self._last_block
        block = self._encode(fields)
        if self._added == added:
            self._last_fields = fields
            self._last_added = added
            self._last_block = block
        return begin + block

    def _encode(self, fields: Iterable[Field]) -> bytes:
        out: list[bytes] = []
        add = out.append
        known = self._fields
        static = _STATIC_FIELDS
        for field in fields:
            code = static.get(field)
            if code is not None:
                add(code)
                continue
            number = known.get(field)
            if number is not None:
                index = 61 + self._added - number
                add(_INDEXED[index] if index < 127 else _integer(index, 7, 0x80))
            else:
                add(self._literal(field))
        return b"".join(out)

    def _literal(self, field: Field) -> bytes:
        name, value = field
        if (
            type(field) is SensitiveField
            or name in _SENSITIVE
            or (name in _SHORT_SECRETS and len(value) < _GUESSABLE)
        ):
            return self._name(name, 4, 0x10) + _encoded[value]
        size = len(name) + len(value) + 32
        if name in _UNINDEXED or size > self._max_size // 2:
            return self._name(name, 4, 0) + _encoded[value]
        literal = self._name(name, 6, 0x40) + _encoded[value]
        self._entries.append((field, size))
        self._fields[field] = self._names[name] = self._added
        self._added += 1
        self._size += size
        if self._size > self._max_size:
            self._evict()
        return literal

    def _name(self, name: bytes, bits: int, first: int) -> bytes:
        index = _STATIC_NAMES.get(name)
        if index is None:
            number = self._names.get(name)
            if number is None:
                return bytes((first,)) + _encoded[name]
            index = 61 + self._added - number
        return _integer(index, bits, first)

    def _evict(self) -> None:
        gone = self._added - len(self._entries)
        while self._size > self._max_size:
            field, size = self._entries.popleft()
            self._size -= size
            if self._fields.get(field) == gone:
                del self._fields[field]
            # A later entry may have taken the name over.
            if self._names.get(field[0]) == gone:
                del self._names[field[0]]
            gone += 1


_INDEXED: Final = [bytes((0x80 | index,)) for index in range(127)]
