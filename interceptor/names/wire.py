"""The structure of DNS messages (RFC 1035 section 4): taken apart, checked, put together.

Whatever a peer sends is only ever read through here. Names may be compressed, but a pointer leads
backwards, a name has at most 255 bytes, and the work for one message is bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from interceptor.errors import RemoteProtocolError

HEADER: Final = struct.Struct("!6H")
QUESTION: Final = struct.Struct("!HH")
RECORD: Final = struct.Struct("!HHIH")

LONGEST_MESSAGE: Final = 65535
LONGEST_NAME: Final = 255
LONGEST_LABEL: Final = 63

RESPONSE: Final = 0x8000
TRUNCATED: Final = 0x0200

OPT: Final = 41

_MOST_STEPS: Final = 100_000
"""Labels and pointers that are followed in one message; honest ones of 64 KiB need a quarter."""

_FARTHEST: Final = 0x3FFF
"""The last place in a message that a pointer can name."""

# Where the data of a record has names that may be compressed (RFC 1035 section 3.3, RFC 3597
# section 4): bytes before them, and how many there are. What is behind them is kept.
_NAMES_IN: Final = {
    2: (0, 1),  # NS
    3: (0, 1),  # MD
    4: (0, 1),  # MF
    5: (0, 1),  # CNAME
    6: (0, 2),  # SOA
    7: (0, 1),  # MB
    8: (0, 1),  # MG
    9: (0, 1),  # MR
    12: (0, 1),  # PTR
    14: (0, 2),  # MINFO
    15: (2, 1),  # MX
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    33: (6, 1),  # SRV
    39: (0, 1),  # DNAME
}

Labels = tuple[bytes, ...]
"""A name: its labels, without the root's."""


class MalformedError(RemoteProtocolError):
    """A DNS message that cannot be understood."""

    code = "dns-malformed"

    def __init__(self, message: str) -> None:
        super().__init__(message, self.code)


@dataclass(frozen=True, slots=True)
class Header:
    """The first twelve bytes; ``counts`` are those of the four sections."""

    id: int
    flags: int
    counts: tuple[int, int, int, int]

    @classmethod
    def read(cls, data: bytes) -> Header:
        """Read it. Raises `MalformedError`."""
        if len(data) < HEADER.size:
            raise MalformedError(f"a message of {len(data)} bytes has no whole header")
        number, flags, *counts = HEADER.unpack_from(data)
        return cls(number, flags, (counts[0], counts[1], counts[2], counts[3]))

    @property
    def is_response(self) -> bool:
        """Whether the message answers another."""
        return bool(self.flags & RESPONSE)


@dataclass(frozen=True, slots=True)
class WireQuestion:
    """An entry of the question section."""

    labels: Labels
    type: int
    cls: int

    def same_as(self, other: WireQuestion) -> bool:
        """Whether both ask the same; letters of either case are the same letters (RFC 4343)."""
        if (self.type, self.cls) != (other.type, other.cls):
            return False
        return wire_name(self.labels).lower() == wire_name(other.labels).lower()


@dataclass(frozen=True, slots=True)
class WireRecord:
    """A record; no name in its ``data`` is compressed any more."""

    labels: Labels
    type: int
    cls: int
    ttl: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sections:
    """A whole message, taken apart. ``records`` are the answers, authorities and additions."""

    header: Header
    questions: tuple[WireQuestion, ...]
    records: tuple[tuple[WireRecord, ...], tuple[WireRecord, ...], tuple[WireRecord, ...]]


class Reader:
    """Reads one message. Each method raises `MalformedError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = HEADER.size
        self._steps = 0
        self.header = Header.read(data)

    def questions(self) -> tuple[WireQuestion, ...]:
        """Read the question section."""
        read = []
        for _ in range(self.header.counts[0]):
            labels = self._name()
            read.append(WireQuestion(labels, *QUESTION.unpack(self._take(QUESTION.size))))
        return tuple(read)

    def sections(self) -> Sections:
        """Read everything; of a truncated message, what is there whole."""
        questions = self.questions()
        sections: list[tuple[WireRecord, ...]] = []
        cut = False
        for count in self.header.counts[1:]:
            records: list[WireRecord] = []
            try:
                while not cut and len(records) < count:
                    records.append(self._record())
            except MalformedError:
                # RFC 2181 section 9: what is there of a truncated message may end anywhere.
                if not self.header.flags & TRUNCATED:
                    raise
                cut = True
            sections.append(tuple(records))
        return Sections(self.header, questions, (sections[0], sections[1], sections[2]))

    def _record(self) -> WireRecord:
        labels = self._name()
        kind, cls, ttl, length = RECORD.unpack(self._take(RECORD.size))
        start = self._at
        data = self._take(length)
        names = _NAMES_IN.get(kind)
        if names is not None and length:
            data = self._uncompressed(start, length, *names)
        return WireRecord(labels, kind, cls, ttl, data)

    def _uncompressed(self, start: int, length: int, before: int, names: int) -> bytes:
        end = start + length
        self._at = start
        parts = [self._take(before)]
        parts += [wire_name(self._name()) for _ in range(names)]
        if self._at > end:
            raise MalformedError("the data of a record is longer than it says")
        parts.append(self._data[self._at : end])
        self._at = end
        return b"".join(parts)

    def _take(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if end > len(self._data):
            raise MalformedError("the message ends in the middle")
        self._at = end
        return self._data[start:end]

    def _name(self) -> Labels:
        data = self._data
        labels: list[bytes] = []
        at = limit = self._at
        end: int | None = None
        size = 1
        while True:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise MalformedError("the names of the message take too many steps")
            if at >= len(data):
                raise MalformedError("a name ends in the middle")
            length = data[at]
            if length >= 0xC0:
                if at + 1 >= len(data):
                    raise MalformedError("a name ends in the middle")
                target = (length & 0x3F) << 8 | data[at + 1]
                if end is None:
                    end = at + 2
                # Backwards only, so that there is no going round in circles.
                if not HEADER.size <= target < limit:
                    raise MalformedError("a name's pointer does not lead backwards")
                at = limit = target
                continue
            if length > LONGEST_LABEL:
                raise MalformedError("a name has a label of an unknown kind")
            at += 1
            if not length:
                break
            size += length + 1
            if size > LONGEST_NAME:
                raise MalformedError(f"a name is longer than {LONGEST_NAME} bytes")
            if at + length > len(data):
                raise MalformedError("a name ends in the middle")
            labels.append(data[at : at + length])
            at += length
        self._at = at if end is None else end
        return tuple(labels)


class Writer:
    """Puts a message together; names of records are compressed."""

    def __init__(self) -> None:
        self._parts = bytearray(HEADER.size)
        self._places: dict[Labels, int] = {}
        self._counts = [0, 0, 0, 0]

    @property
    def size(self) -> int:
        """Bytes so far, the header's included."""
        return len(self._parts)

    def question(self, question: WireQuestion) -> None:
        """Add to the question section."""
        self._name(question.labels)
        self._parts += QUESTION.pack(question.type, question.cls)
        self._counts[0] += 1

    def record(self, section: int, record: WireRecord) -> None:
        """Add to section 1 (answers), 2 (authority) or 3 (additional)."""
        self._name(record.labels)
        self._parts += RECORD.pack(record.type, record.cls, record.ttl, len(record.data))
        self._parts += record.data
        self._counts[section] += 1

    def finish(self, number: int, flags: int) -> bytes:
        """Return the message."""
        HEADER.pack_into(self._parts, 0, number, flags, *self._counts)
        return bytes(self._parts)

    def _name(self, labels: Labels) -> None:
        while labels:
            place = self._places.get(labels)
            if place is not None:
                self._parts += struct.pack("!H", 0xC000 | place)
                return
            if len(self._parts) <= _FARTHEST:
                self._places[labels] = len(self._parts)
            self._parts.append(len(labels[0]))
            self._parts += labels[0]
            labels = labels[1:]
        self._parts.append(0)


def with_id(data: bytes, number: int) -> bytes:
    """Return a message under another id."""
    return number.to_bytes(2, "big") + data[2:]


def read_name(data: bytes, at: int = 0) -> Labels:
    """Read a name that is not compressed. Raises `MalformedError`."""
    labels = []
    while at < len(data) and 0 < data[at] <= LONGEST_LABEL:
        labels.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    if at >= len(data) or data[at]:
        raise MalformedError("not a name")
    return tuple(labels)


def wire_name(labels: Labels) -> bytes:
    """Return a name as a message has it, not compressed."""
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'."\\;()@$')


def name_text(labels: Labels) -> str:
    r"""Return a name as people write it: ``www.example.com``, and ``.`` for the root.

    What would not be read as a part of a label is escaped (RFC 1035 section 5.1).
    """
    return ".".join([_label_text(label) for label in labels]) or "."


def _label_text(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii")
    return "".join([_escaped(byte) for byte in label])


def _escaped(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return f"\\{chr(byte)}" if 0x20 < byte < 0x7F else f"\\{byte:03d}"


def name_labels(text: str) -> Labels:
    """Read a name as people write it, with or without the final dot. Raises `ValueError`.

    Names outside of ASCII become A-labels (RFC 5891).
    """
    if not text.isascii():
        # Rare, and its tables take a while to load.
        import idna

        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"not a DNS name: {text!r}: {error}") from None
    labels = [_unescaped(part, text) for part in _split(text.removesuffix("."))] if text else []
    if text in ("", "."):
        return ()
    if not all(0 < len(label) <= LONGEST_LABEL for label in labels):
        raise ValueError(f"not a DNS name: {text[:300]!r}")
    if len(wire_name(tuple(labels))) > LONGEST_NAME:
        raise ValueError(f"longer than a DNS name can be: {text[:300]!r}")
    return tuple(labels)


def _split(text: str) -> list[str]:
    if "\\" not in text:
        return text.split(".")
    parts, part, escaped = [], "", False
    for character in text:
        if character == "." and not escaped:
            parts.append(part)
            part = ""
            continue
        escaped = character == "\\" and not escaped
        part += character
    return [*parts, part]


def _unescaped(part: str, name: str) -> bytes:
    if "\\" not in part:
        return part.encode("ascii")
    label = bytearray()
    at = 0
    while at < len(part):
        if part[at] != "\\":
            label += part[at].encode("ascii")
            at += 1
        elif part[at + 1 : at + 4].isdigit() and len(part) >= at + 4:
            number = int(part[at + 1 : at + 4])
            if number > 255:
                raise ValueError(f"not a DNS name: {name[:300]!r}")
            label.append(number)
            at += 4
        elif at + 1 < len(part):
            label += part[at + 1].encode("ascii")
            at += 2
        else:
            raise ValueError(f"not a DNS name: {name[:300]!r}")
    return bytes(label)
