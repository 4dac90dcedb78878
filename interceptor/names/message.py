"""DNS messages as scripts handle them. What nobody changes travels as the bytes it came in."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, ClassVar, Final, TypeVar

from twisted.names import dns

from interceptor.names.records import Record
from interceptor.names.registry import CLASS, OPCODE, RCODE, TYPE
from interceptor.names.wire import (
    LONGEST_MESSAGE,
    OPT,
    RESPONSE,
    TRUNCATED,
    MalformedError,
    Reader,
    Sections,
    WireQuestion,
    WireRecord,
    Writer,
    name_labels,
    name_text,
    with_id,
)

UDP_SIZE: Final = 1232
"""Bytes of a datagram that no network has to cut (what resolvers agreed on in 2020)."""

_SMALLEST: Final = 512
"""What everybody takes (RFC 1035 section 4.2.1)."""

_M = TypeVar("_M", bound="Message")


def _flag(bit: int, what: str) -> Any:
    def get(message: Message) -> bool:
        return bool(message._flags & bit)

    def set(message: Message, value: bool) -> None:
        message._flags = message._flags | bit if value else message._flags & ~bit

    return property(get, set, doc=what)


class Message:
    """What requests and responses have in common.

    ``name``, ``type`` and ``cls`` are those of the question: ``www.example.com`` (in the case in
    which it was asked, without the final dot), ``A``, ``IN``. ``answers``, ``authority`` and
    ``additional`` are lists of `Record`; the pseudo record of EDNS (RFC 6891) is not among them,
    and is kept. Timestamps are in seconds since the epoch.
    """

    __slots__ = (
        "_flags",
        "_lists",
        "_opt",
        "_question",
        "_sections",
        "_wire",
        "id",
        "timestamp_end",
        "timestamp_start",
    )

    is_response: ClassVar[bool]

    authoritative = _flag(0x0400, "AA: the server is an authority for the name.")
    truncated = _flag(TRUNCATED, "TC: the rest did not fit; over TCP there is more.")
    recursion_desired = _flag(0x0100, "RD: whoever asks wants to be spared asking others.")
    recursion_available = _flag(0x0080, "RA: the server asks others.")
    authentic_data = _flag(0x0020, "AD: the data was validated (RFC 4035).")
    checking_disabled = _flag(0x0010, "CD: the data need not be validated (RFC 4035).")

    id: int
    timestamp_start: float | None
    timestamp_end: float | None

    def __init__(self, number: int, flags: int, question: WireQuestion | None) -> None:
        self.id = number
        self._flags = flags
        self._question = question
        self._opt: WireRecord | None = None
        self._wire: bytes | None = None
        self._sections: Sections | None = None
        self._lists: tuple[list[Record], list[Record], list[Record]] | None = ([], [], [])
        self.timestamp_start = self.timestamp_end = None

    @classmethod
    def from_wire(cls: type[_M], data: bytes) -> _M:
        """Read a message. Raises `interceptor.errors.RemoteProtocolError`, ``dns-malformed``."""
        sections = Reader(data).sections()
        header = sections.header
        if header.is_response is not cls.is_response:
            raise MalformedError("a response was sent as a request, or the other way round")
        if len(sections.questions) > 1:
            # RFC 9619: nobody ever agreed on what that should mean.
            raise MalformedError(f"the message has {len(sections.questions)} questions")
        made = cls.__new__(cls)
        Message.__init__(made, header.id, header.flags, (*sections.questions, None)[0])
        made._wire = data
        made._sections = sections
        made._lists = None
        made._opt = next((each for each in sections.records[2] if each.type == OPT), None)
        made.timestamp_start = made.timestamp_end = time.time()
        return made

    # The question

    @property
    def question(self) -> WireQuestion | None:
        """The question as it is in the message; None where there is none."""
        return self._question

    def _asked(self) -> WireQuestion:
        return self._question or WireQuestion((), 0, 0)

    @property
    def name(self) -> str:
        """The name that is asked for, without a final dot; ``.`` is the root."""
        return name_text(self._asked().labels)

    @name.setter
    def name(self, name: str) -> None:
        asked = self._asked()
        self._question = WireQuestion(name_labels(name), asked.type, asked.cls)

    @property
    def type(self) -> str:
        """What is asked for: ``A``, ``AAAA``, ``MX`` …; ``TYPE65280`` is one without a name."""
        return TYPE.name(self._asked().type)

    @type.setter
    def type(self, type: str | int) -> None:
        asked = self._asked()
        self._question = WireQuestion(asked.labels, TYPE.number(type), asked.cls)

    @property
    def cls(self) -> str:
        """The class, as a rule ``IN``."""
        return CLASS.name(self._asked().cls)

    @cls.setter
    def cls(self, cls: str | int) -> None:
        asked = self._asked()
        self._question = WireQuestion(asked.labels, asked.type, CLASS.number(cls))

    # The header

    @property
    def opcode(self) -> str:
        """What is to be done: ``QUERY``, ``NOTIFY``, ``UPDATE`` and so on."""
        return OPCODE.name(self._flags >> 11 & 0xF)

    @opcode.setter
    def opcode(self, opcode: str | int) -> None:
        self._flags = self._flags & ~0x7800 | OPCODE.number(opcode) << 11

    @property
    def rcode(self) -> str:
        """How it went: ``NOERROR``, ``NXDOMAIN``, ``REFUSED`` and so on."""
        extended = 0 if self._opt is None else self._opt.ttl >> 24 << 4
        return RCODE.name(extended | self._flags & 0xF)

    @rcode.setter
    def rcode(self, rcode: str | int) -> None:
        number = RCODE.number(rcode)
        if self._opt is not None:
            self._opt = _opt(self._opt.cls, self._opt.ttl & 0xFFFFFF | number >> 4 << 24, self._opt)
        elif number > 0xF:
            raise ValueError(f"{rcode} needs EDNS, which the client does not speak")
        self._flags = self._flags & ~0xF | number & 0xF

    # EDNS

    @property
    def edns(self) -> bool:
        """Whether the message has the pseudo record of EDNS (RFC 6891)."""
        return self._opt is not None

    @property
    def udp_size(self) -> int:
        """How many bytes of a datagram its sender takes: 512 without EDNS."""
        return _SMALLEST if self._opt is None else max(_SMALLEST, self._opt.cls)

    # The records

    @property
    def answers(self) -> list[Record]:
        """The answer section."""
        return self._records(0)

    @answers.setter
    def answers(self, records: Iterable[Record]) -> None:
        self._records(0)[:] = records

    @property
    def authority(self) -> list[Record]:
        """The authority section: who knows, or the SOA record of a negative answer."""
        return self._records(1)

    @authority.setter
    def authority(self, records: Iterable[Record]) -> None:
        self._records(1)[:] = records

    @property
    def additional(self) -> list[Record]:
        """The additional section, but for the pseudo record of EDNS."""
        return self._records(2)

    @additional.setter
    def additional(self, records: Iterable[Record]) -> None:
        self._records(2)[:] = records

    def _records(self, section: int) -> list[Record]:
        if self._lists is None:
            made = [list(map(Record.from_wire, records)) for records in self._all_but_opt()]
            self._lists = (made[0], made[1], made[2])
        return self._lists[section]

    def _all_but_opt(self) -> list[list[WireRecord]]:
        sections = self._sections
        assert sections is not None
        first, second, third = map(list, sections.records)
        return [first, second, [each for each in third if each.type != OPT]]

    # Bytes

    @property
    def edited(self) -> bool:
        """Whether it differs from the bytes that came, the id aside; also if it never came."""
        sections = self._sections
        if sections is None or self._wire is None:
            return True
        opt = next((each for each in sections.records[2] if each.type == OPT), None)
        came = (sections.header.flags, (*sections.questions, None)[0], opt)
        if (self._flags, self._question, self._opt) != came:
            return True
        return self._lists is not None and self._wire_lists() != self._all_but_opt()

    def _wire_lists(self) -> list[list[WireRecord]]:
        return [[record.to_wire() for record in self._records(section)] for section in range(3)]

    def to_wire(self) -> bytes:
        """Return the bytes: those that came, but for the id, unless something was changed.

        Raises `ValueError` where what a script made of it is no message.
        """
        wire = self._wire
        if wire is not None and not self.edited:
            return wire if self.id == wire[0] << 8 | wire[1] else with_id(wire, self.id)
        writer = Writer()
        if self._question is not None:
            writer.question(self._question)
        sections = self._wire_lists()
        if self._opt is not None:
            sections[2].append(self._opt)
        for number, records in enumerate(sections, 1):
            for record in records:
                writer.record(number, record)
        if writer.size > LONGEST_MESSAGE:
            raise ValueError(f"a DNS message cannot have {writer.size} bytes")
        return writer.finish(self.id, self._flags)

    def to_twisted(self) -> dns.Message:
        """Return a copy as a `twisted.names.dns.Message`."""
        message = dns.Message()
        message.fromStr(self.to_wire())
        return message

    def copy(self: _M) -> _M:
        """Return an independent copy."""
        made = self.__class__.__new__(self.__class__)
        Message.__init__(made, self.id, self._flags, self._question)
        made._opt, made._wire, made._sections = self._opt, self._wire, self._sections
        made.timestamp_start, made.timestamp_end = self.timestamp_start, self.timestamp_end
        if self._lists is None:
            made._lists = None
        else:
            one, two, three = ([each.copy() for each in records] for records in self._lists)
            made._lists = (one, two, three)
        return made

    def same_as(self, other: object) -> bool:
        """Whether both say the same."""
        return type(other) is type(self) and self.to_wire() == other.to_wire()


class Request(Message):
    """A question to a resolver. All of it may be changed before it is passed on."""

    __slots__ = ()

    is_response = False

    @classmethod
    def make(
        cls,
        name: str,
        type: str | int = "A",
        *,
        recursion_desired: bool = True,
        udp_size: int | None = UDP_SIZE,
    ) -> Request:
        """Make a question with a random id; ``udp_size`` None is one without EDNS."""
        question = WireQuestion(name_labels(name), TYPE.number(type), 1)
        made = cls(secrets.randbits(16), 0x0100 if recursion_desired else 0, question)
        if udp_size is not None:
            made._opt = _opt(udp_size)
        made.timestamp_start = made.timestamp_end = time.time()
        return made

    def __repr__(self) -> str:
        return f"<dns.Request {self.name} {self.type}>"


class Response(Message):
    """An answer, from a resolver or from a hook."""

    __slots__ = ()

    is_response = True

    @classmethod
    def make(
        cls,
        request: Request,
        answers: str | Record | Iterable[str | Record] = (),
        *,
        rcode: str | int = "NOERROR",
        ttl: int = 60,
        authoritative: bool = False,
    ) -> Response:
        """Make an answer to ``request``.

        A text in ``answers`` is the data of a record of the name and type that are asked for, which
        may be kept for ``ttl`` seconds: an address, as a rule. Addresses that are not of the type
        that is asked for are left out, so that ``["192.0.2.1", "2001:db8::1"]`` answers ``A`` and
        ``AAAA``, and any other question with nothing. Raises `ValueError` for what is no data.
        """
        # Its operation and RD are the request's (RFC 1035 section 4.1.1), CD too (RFC 4035).
        made = cls(request.id, RESPONSE | 0x0080 | request._flags & 0x7910, request.question)
        made.authoritative = authoritative
        if request.edns:
            made._opt = _opt(UDP_SIZE)
        made.rcode = rcode
        if isinstance(answers, str | Record):
            answers = (answers,)
        for answer in answers:
            if isinstance(answer, Record):
                made.answers.append(answer)
            elif not _other_address(request.type, answer):
                made.answers.append(Record(request.name, request.type, answer, ttl, request.cls))
        made.timestamp_start = made.timestamp_end = time.time()
        return made

    def as_truncated(self, request: Request) -> bytes:
        """Return what is sent over UDP where the whole does not fit: the client asks over TCP."""
        made = Response(request.id, self._flags | TRUNCATED, self._question)
        made._opt = self._opt
        return made.to_wire()

    def put_under(self, request: Request) -> None:
        """Make the answer to another question one to ``request``.

        Where the names differ, that of ``request`` becomes an alias of the other (``CNAME``), which
        is what clients understand.
        """
        asked, answered = request.question, self._question
        if asked is None or answered is None or asked == answered:
            return
        if asked.labels != answered.labels and self.rcode == "NOERROR":
            shortest = min((record.ttl for record in self.answers), default=60)
            alias = Record(request.name, "CNAME", self.name, shortest, request.cls)
            self.answers.insert(0, alias)
        self._question = asked

    def __repr__(self) -> str:
        return f"<dns.Response {self.rcode} {self.name} {self.type}>"


def _opt(size: int, ttl: int = 0, old: WireRecord | None = None) -> WireRecord:
    return WireRecord((), OPT, size, ttl, b"" if old is None else old.data)


def _other_address(kind: str, text: str) -> bool:
    """Whether ``text`` is an address, and ``kind`` is not about such."""
    try:
        version = ip_address(text).version
    except ValueError:
        return False
    return kind not in ("TXT", "SPF", "A" if version == 4 else "AAAA")
