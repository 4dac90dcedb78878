"""The structure of DNS messages: what is read, what is refused, what is written."""

from __future__ import annotations

import struct

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.names.wire import (
    HEADER,
    Header,
    Reader,
    WireQuestion,
    WireRecord,
    Writer,
    name_labels,
    name_text,
    wire_name,
    with_id,
)

QUESTION = b"\3www\7example\3com\0\0\1\0\1"


def message(body: bytes = QUESTION, *counts: int, flags: int = 0x0100, number: int = 7) -> bytes:
    """A message with these counts of its sections, as a rule a single question."""
    four = (*(counts or (1,)), 0, 0, 0)[:4]
    return HEADER.pack(number, flags, *four) + body


def record(name: bytes, kind: int, data: bytes) -> bytes:
    """A record of class IN."""
    return name + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


class ReaderTests(SynchronousTestCase):
    def refused(self, data: bytes) -> str:
        error = self.assertRaises(RemoteProtocolError, lambda: Reader(data).sections())
        self.assertEqual(error.code, "dns-malformed")
        return str(error)

    def test_a_question(self):
        sections = Reader(message()).sections()
        self.assertEqual(sections.header, Header(7, 0x0100, (1, 0, 0, 0)))
        self.assertEqual(sections.questions, (WireQuestion((b"www", b"example", b"com"), 1, 1),))

    def test_every_cut_is_refused(self):
        data = message(QUESTION + record(b"\xc0\x0c", 1, b"\1\2\3\4"), 1, 1)
        Reader(data).sections()
        for end in range(len(data)):
            self.refused(data[:end])

    def test_a_truncated_message_may_end_anywhere(self):
        data = message(QUESTION + record(b"\xc0\x0c", 1, b"\1\2\3\4") * 2, 1, 2, flags=0x8200)
        for end in range(12 + len(QUESTION), len(data)):
            sections = Reader(data[:end]).sections()
            self.assertLessEqual(len(sections.records[0]), 1)
        self.refused(data[: 12 + len(QUESTION) - 1])

    def test_names_in_data_are_uncompressed(self):
        for kind, before in ((5, b""), (15, b"\0\5"), (33, b"\0\1\0\2\0\3")):
            data = message(QUESTION + record(b"\xc0\x0c", kind, before + b"\1a\xc0\x10"), 1, 1)
            [answer] = Reader(data).sections().records[0]
            self.assertEqual(answer.labels, (b"www", b"example", b"com"))
            self.assertEqual(answer.data, before + b"\1a\7example\3com\0")

    def test_data_that_is_longer_than_it_says(self):
        bad = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 1) + b"\1a\0"
        self.assertIn("longer than it says", self.refused(message(QUESTION + bad, 1, 1)))

    def test_a_record_without_data(self):
        # As in updates (RFC 2136 section 2.5.2).
        data = message(QUESTION + record(b"\xc0\x0c", 5, b""), 1, 0, 1)
        self.assertEqual(Reader(data).sections().records[1][0].data, b"")

    def test_pointers_lead_backwards_only(self):
        at = 12 + len(QUESTION)
        for target in (at, at + 1, at + 2, 0, 4, 11, 0x3FFF):
            name = struct.pack("!H", 0xC000 | target)
            data = message(QUESTION + record(name, 1, b"\1\2\3\4"), 1, 1)
            self.assertIn("backwards", self.refused(data))

    def test_a_loop_of_two(self):
        body = b"\xc0\x0e\xc0\x0c\0\1\0\1"
        self.assertIn("backwards", self.refused(message(body)))

    def test_unknown_labels(self):
        for byte in (b"\x40", b"\x80", b"\xbf"):
            self.assertIn("unknown kind", self.refused(message(byte + b"a\0\0\1\0\1")))

    def test_names_have_a_greatest_length(self):
        longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0"
        self.assertEqual(len(longest), 255)
        Reader(message(longest + b"\0\1\0\1")).sections()
        self.assertIn("255", self.refused(message(b"\1b" + longest + b"\0\1\0\1")))
        # Also where a name becomes so long by pointers.
        data = message(longest + b"\0\1\0\1" + record(b"\1b\xc0\x0c", 1, b"\1\2\3\4"), 1, 1)
        self.assertIn("255", self.refused(data))

    def test_the_work_is_bounded(self):
        # Long chains of pointers, which every record follows anew.
        start = 28
        targets = [start, *range(start + 1, start + 4000, 2)]
        chain = b"\0" + b"".join(struct.pack("!H", 0xC000 | target) for target in targets)
        head = b"\0" + struct.pack("!HH", 1, 1) + b"\0" + struct.pack("!HHIH", 10, 1, 0, len(chain))
        last = struct.pack("!H", 0xC000 | targets[-1])
        body = head + chain + (last + struct.pack("!HHIH", 1, 1, 0, 0)) * 3000
        self.assertIn("too many steps", self.refused(message(body, 1, 3001)))

    def test_what_twisted_writes(self):
        made = dns.Message(3, answer=1)
        made.addQuery(b"example.com", dns.MX)
        made.answers = [
            dns.RRHeader(b"example.com", dns.MX, payload=dns.Record_MX(5, b"mail.example.com")),
            dns.RRHeader(b"example.com", dns.TXT, payload=dns.Record_TXT(b"a", b"b")),
        ]
        made.additional = [dns.RRHeader(b"mail.example.com", payload=dns.Record_A("192.0.2.1"))]
        sections = Reader(made.toStr()).sections()
        self.assertEqual(
            sections.records[0][0].data, b"\0\5" + wire_name(name_labels("mail.example.com"))
        )
        self.assertEqual(sections.records[0][1].data, b"\1a\1b")
        self.assertEqual(sections.records[2][0].labels, (b"mail", b"example", b"com"))


class WriterTests(SynchronousTestCase):
    def test_what_is_written_is_read(self):
        writer = Writer()
        question = WireQuestion((b"www", b"example", b"com"), 1, 1)
        answer = WireRecord((b"WWW", b"example", b"com"), 1, 1, 60, b"\1\2\3\4")
        writer.question(question)
        for section in (1, 2, 3):
            writer.record(section, answer)
        data = writer.finish(9, 0x8180)
        sections = Reader(data).sections()
        self.assertEqual(sections.questions, (question,))
        self.assertEqual(sections.records, ((answer,), (answer,), (answer,)))
        # A name in another case is another name here; its end is not.
        self.assertEqual(data.count(b"example"), 1)

    def test_names_beyond_the_reach_of_pointers(self):
        writer = Writer()
        answer = WireRecord((b"early",), 16, 1, 60, b"x" * 200)
        late = WireRecord((b"late", b"example"), 16, 1, 60, b"x" * 200)
        for _ in range(100):
            writer.record(1, answer)
        for _ in range(3):
            writer.record(1, late)
        self.assertGreater(writer.size, 0x4000)
        records = Reader(writer.finish(1, 0x8000)).sections().records[0]
        self.assertEqual(records, (answer,) * 100 + (late,) * 3)

    def test_ids(self):
        self.assertEqual(with_id(message(), 0x1234), message(number=0x1234))


class NameTests(SynchronousTestCase):
    def test_texts(self):
        for text, labels in (
            (".", ()),
            ("www.example.com", (b"www", b"example", b"com")),
            ("_dmarc.Example", (b"_dmarc", b"Example")),
            ("*.a", (b"*", b"a")),
            (r"a\.b.c", (b"a.b", b"c")),
            (r"a\\b", (b"a\\b",)),
            (r"sp\032ce\000.\255", (b"sp ce\0", b"\xff")),
            ("1-2.in-addr.arpa", (b"1-2", b"in-addr", b"arpa")),
        ):
            self.assertEqual(name_labels(text), labels)
            self.assertEqual(name_text(labels), text)

    def test_the_final_dot_may_be_there(self):
        self.assertEqual(name_labels("a.b."), (b"a", b"b"))
        self.assertEqual(name_labels(""), ())

    def test_other_letters(self):
        self.assertEqual(name_labels("bücher.example"), (b"xn--bcher-kva", b"example"))

    def test_what_is_no_name(self):
        for text in (
            "a..b",
            ".a",
            "a" * 64,
            ".".join(["a" * 60] * 5),
            "a\\",
            r"\256",
            "\u00df..\u00e4",
        ):
            self.assertRaises(ValueError, name_labels, text)
