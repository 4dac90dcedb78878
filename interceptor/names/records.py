"""Resource records as scripts handle them: texts in front of the records of `twisted.names`."""

from __future__ import annotations

import re
import socket
import struct
from io import BytesIO
from typing import Any, Final

from twisted.names import dns

from interceptor.names.registry import CLASS, TYPE
from interceptor.names.wire import WireRecord, name_labels, name_text, read_name, wire_name

_TOKENS: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)

_HOSTS: Final = frozenset((2, 5, 12, 39))
"""NS, CNAME, PTR and DNAME: the data is a single name."""

_MOST_TTL: Final = 0x7FFFFFFF

_KINDS: Final = dns.Message()
"""Knows which class of `twisted.names` a type has."""


class Record:
    r"""One resource record.

    ``name``, ``type``, ``cls`` and ``data`` are texts, ``ttl`` is in seconds. ``data`` is written
    as in zone files: ``192.0.2.1``, ``10 mail.example`` (MX), ``"some text"`` (TXT); names in it
    have no final dot. What has no such form here is ``\# 3 0a0b0c`` (RFC 3597). ``rdata`` is the
    same as bytes, ``payload`` the same as a record of `twisted.names.dns`; all three may be set.
    """

    __slots__ = ("_cls", "_labels", "_type", "rdata", "ttl")

    rdata: bytes
    ttl: int

    def __init__(
        self, name: str, type: str | int, data: str | bytes, ttl: int = 60, cls: str | int = "IN"
    ) -> None:
        """``data`` is a text as above, or the bytes themselves. Raises `ValueError`."""
        self.name = name
        self.type = type
        self.cls = cls
        if not 0 <= ttl <= _MOST_TTL:
            raise ValueError(f"not a time to live: {ttl!r}")
        self.ttl = ttl
        self.rdata = data if isinstance(data, bytes) else parse_data(self._type, data)

    @classmethod
    def from_wire(cls, record: WireRecord) -> Record:
        """Make one of what a message has."""
        made = cls.__new__(cls)
        made._labels = record.labels
        made._type = record.type
        made._cls = record.cls
        made.ttl = record.ttl
        made.rdata = record.data
        return made

    def to_wire(self) -> WireRecord:
        """Return what a message has. Raises `ValueError` where that is not possible."""
        if len(self.rdata) > 65535 or not 0 <= self.ttl <= 0xFFFFFFFF:
            raise ValueError(f"{self!r} does not fit into a message")
        return WireRecord(self._labels, self._type, self._cls, self.ttl, self.rdata)

    def copy(self) -> Record:
        """Return an independent copy."""
        return Record.from_wire(self.to_wire())

    @property
    def name(self) -> str:
        """Whose record it is, without a final dot; ``.`` is the root."""
        return name_text(self._labels)

    @name.setter
    def name(self, name: str) -> None:
        self._labels = name_labels(name)

    @property
    def type(self) -> str:
        """The type: ``A``, ``CNAME`` and so on; ``TYPE65280`` is one that has no name."""
        return TYPE.name(self._type)

    @type.setter
    def type(self, type: str | int) -> None:
        self._type = TYPE.number(type)

    @property
    def cls(self) -> str:
        """The class, as a rule ``IN``."""
        return CLASS.name(self._cls)

    @cls.setter
    def cls(self, cls: str | int) -> None:
        self._cls = CLASS.number(cls)

    @property
    def data(self) -> str:
        """The data as text."""
        return format_data(self._type, self.rdata)

    @data.setter
    def data(self, data: str) -> None:
        self.rdata = parse_data(self._type, data)

    @property
    def payload(self) -> Any:
        """The data as a record of `twisted.names.dns`: a new one each time; set it to change it."""
        found = _decode(self._type, self.rdata)
        return dns.UnknownRecord(self.rdata) if found is None else found

    @payload.setter
    def payload(self, payload: Any) -> None:
        self.rdata = _encode(payload)
        if payload.TYPE is not None:
            self._type = payload.TYPE

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            return self.to_wire() == other.to_wire()
        return NotImplemented

    def __str__(self) -> str:
        return f"{self.name} {self.ttl} {self.cls} {self.type} {self.data}"

    def __repr__(self) -> str:
        return f"<Record {self}>"


def _decode(kind: int, data: bytes) -> Any:
    """Return what `twisted.names` makes of data; None where it cannot."""
    make: Any = _KINDS.lookupRecordType(kind)
    if make is dns.UnknownRecord or (kind in (dns.TXT, dns.SPF) and not _whole_texts(data)):
        return None
    payload = make()
    stream = BytesIO(data)
    try:
        payload.decode(stream, len(data))
    except Exception:
        # Whatever the data of a peer may make it raise.
        return None
    return payload if stream.tell() == len(data) else None


def _whole_texts(data: bytes) -> bool:
    at = 0
    while at < len(data):
        at += data[at] + 1
    return at == len(data)


def _encode(payload: Any) -> bytes:
    stream = BytesIO()
    payload.encode(stream)
    return stream.getvalue()


def _name(name: Any) -> str:
    return name_text(tuple(label for label in name.name.split(b".") if label))


def _checked(text: str) -> bytes:
    """Return a name for a record of `twisted.names`, which checks nothing itself."""
    labels = name_labels(text)
    if any(b"." in label for label in labels):
        raise ValueError(f"a dot inside of a label cannot be written here: {text!r}")
    return b".".join(labels)


def _number(text: str, most: int = 65535) -> int:
    if not text.isdigit() or not text.isascii() or int(text) > most:
        raise ValueError(f"not a number up to {most}: {text!r}")
    return int(text)


def format_data(kind: int, data: bytes) -> str:
    """Return a record's data as text."""
    payload = _decode(kind, data)
    match payload:
        case dns.Record_A():
            return str(payload.dottedQuad())
        case dns.Record_AAAA():
            return socket.inet_ntop(socket.AF_INET6, payload.address)
        case dns.Record_MX():
            return f"{payload.preference} {_name(payload.name)}"
        case dns.Record_SRV():
            numbers = f"{payload.priority} {payload.weight} {payload.port}"
            return f"{numbers} {_name(payload.target)}"
        case dns.Record_TXT():
            return " ".join([_quoted(text) for text in payload.data])
        case dns.Record_SOA():
            names = f"{_name(payload.mname)} {_name(payload.rname)}"
            times = f"{payload.refresh} {payload.retry} {payload.expire} {payload.minimum}"
            return f"{names} {payload.serial} {times}"
        case dns.SimpleRecord() if kind in _HOSTS:
            # Not of the payload, which cannot tell dots inside of labels from others.
            return name_text(read_name(data))
    return f"\\# {len(data)} {data.hex()}".rstrip()


def parse_data(kind: int, text: str) -> bytes:
    """Return the data that a text stands for. Raises `ValueError`."""
    words = _words(text)
    if words[:1] == [r"\#"]:
        data = bytes.fromhex("".join(words[2:]))
        if words[1:2] != [str(len(data))]:
            raise ValueError(f"the length does not fit: {text!r}")
        return data
    try:
        return _encode(_payload(kind, words))
    except (OSError, IndexError, TypeError, struct.error) as error:
        raise ValueError(f"not the data of a {TYPE.name(kind)} record: {text!r}") from error


def _payload(kind: int, words: list[str]) -> Any:
    if kind in (dns.TXT, dns.SPF):
        texts = [part for word in words for part in _text_parts(word)]
        return dns.Record_TXT(*texts)
    counts = {dns.MX: 2, dns.SRV: 4, dns.SOA: 7}
    if len(words) != counts.get(kind, 1):
        raise ValueError(f"not the data of a {TYPE.name(kind)} record: {' '.join(words)!r}")
    if kind == dns.A:
        # `Record_A` would also take 127.1.
        socket.inet_pton(socket.AF_INET, words[0])
        return dns.Record_A(words[0])
    if kind == dns.AAAA:
        return dns.Record_AAAA(words[0])
    if kind == dns.MX:
        return dns.Record_MX(_number(words[0]), _checked(words[1]))
    if kind == dns.SRV:
        priority, weight, port = [_number(word) for word in words[:3]]
        return dns.Record_SRV(priority, weight, port, _checked(words[3]))
    if kind == dns.SOA:
        serial, refresh, retry, expire, minimum = [_number(word, 2**32 - 1) for word in words[2:]]
        return dns.Record_SOA(
            mname=_checked(words[0]),
            rname=_checked(words[1]),
            serial=serial,
            refresh=refresh,
            retry=retry,
            expire=expire,
            minimum=minimum,
        )
    if kind in _HOSTS:
        return dns.UnknownRecord(wire_name(name_labels(words[0])))
    raise ValueError(rf"the data of a {TYPE.name(kind)} record is written as \# LENGTH HEX")


def _words(text: str) -> list[str]:
    words = []
    for match in _TOKENS.finditer(text):
        quoted, plain = match.groups()
        words.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
    return words


def _quoted(text: bytes) -> str:
    shown = text.decode("utf-8", "surrogateescape")
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text_parts(word: str) -> list[bytes]:
    data = word.encode("utf-8", "surrogateescape")
    return [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
