"""Requests and responses: bytes that stay as they came, edits, answers from nothing."""

from __future__ import annotations

from twisted.names import dns as names
from twisted.trial.unittest import SynchronousTestCase

from interceptor.dns import Record, Request, Response
from interceptor.errors import RemoteProtocolError
from interceptor.names.registry import RCODE, TYPE
from tests.names.test_wire import QUESTION, message, record

# EDNS with a cookie (RFC 7873): a pseudo record with data.
OPT = b"\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08ABCDEFGH"
ANSWER = record(b"\xc0\x0c", 1, b"\xc0\0\2\1")


def response(flags: int = 0x8180) -> bytes:
    return message(QUESTION + ANSWER + OPT, 1, 1, 0, 1, flags=flags)


class MessageTests(SynchronousTestCase):
    def test_a_request(self):
        request = Request.from_wire(message(QUESTION + OPT, 1, 0, 0, 1, flags=0x0110))
        self.assertEqual(
            (request.name, request.type, request.cls, request.opcode, request.id),
            ("www.example.com", "A", "IN", "QUERY", 7),
        )
        self.assertTrue(request.recursion_desired and request.checking_disabled and request.edns)
        self.assertFalse(request.truncated or request.authentic_data)
        self.assertEqual(request.udp_size, 4096)
        self.assertEqual(request.additional, [])

    def test_what_is_only_looked_at_stays_as_it_came(self):
        # Bits without a meaning, and bytes behind the end, as well.
        data = response(flags=0x81C0) + b"behind"
        read = Response.from_wire(data)
        self.assertEqual(read.answers[0].data, "192.0.2.1")
        self.assertEqual((read.authority, read.rcode), ([], "NOERROR"))
        self.assertFalse(read.edited)
        self.assertEqual(read.to_wire(), data)
        read.id = 99
        self.assertEqual(read.to_wire(), b"\0\x63" + data[2:])

    def test_a_change_that_is_taken_back_is_none(self):
        read = Response.from_wire(response())
        read.answers[0].ttl = 1
        self.assertTrue(read.edited)
        read.answers[0].ttl = 60
        self.assertFalse(read.edited)

    def test_edits(self):
        read = Response.from_wire(response())
        read.answers[0].data = "192.0.2.2"
        read.answers.append(Record("www.example.com", "A", "192.0.2.3"))
        read.authoritative = True
        again = Response.from_wire(read.to_wire())
        self.assertEqual([each.data for each in again.answers], ["192.0.2.2", "192.0.2.3"])
        self.assertTrue(again.authoritative and again.recursion_available)
        # EDNS is kept, its options included.
        self.assertIn(OPT[:8], read.to_wire())
        self.assertTrue(read.to_wire().endswith(b"ABCDEFGH"))
        self.assertEqual(read.to_twisted().answers[1].payload, names.Record_A("192.0.2.3", 60))

    def test_sections_may_be_set(self):
        read = Response.from_wire(response())
        read.authority = [Record("example.com", "NS", "ns.example")]
        read.additional = [Record("ns.example", "A", "192.0.2.9")]
        read.answers = []
        again = Response.from_wire(read.to_wire())
        self.assertEqual((again.answers, again.authority[0].data), ([], "ns.example"))
        self.assertEqual([each.name for each in again.additional], ["ns.example"])

    def test_another_question(self):
        request = Request.from_wire(message())
        request.name, request.type, request.cls = "other.example", "TXT", "CH"
        again = Request.from_wire(request.to_wire())
        self.assertEqual((again.name, again.type, again.cls), ("other.example", "TXT", "CH"))

    def test_no_question(self):
        # RFC 7873 section 5.4: asking for a cookie only.
        request = Request.from_wire(message(b"", 0))
        self.assertIsNone(request.question)
        self.assertEqual((request.name, request.type), (".", "TYPE0"))
        self.assertEqual(request.to_wire(), message(b"", 0))

    def test_what_is_refused(self):
        for data in (message(QUESTION * 2, 2), response(), b"", message()[:20]):
            error = self.assertRaises(RemoteProtocolError, Request.from_wire, data)
            self.assertEqual(error.code, "dns-malformed")
        self.assertRaises(RemoteProtocolError, Response.from_wire, message())

    def test_copies(self):
        read = Response.from_wire(response())
        before = read.copy()
        read.answers[0].ttl = 1
        after = read.copy()
        read.answers.clear()
        self.assertEqual((before.answers[0].ttl, after.answers[0].ttl), (60, 1))
        self.assertTrue(before.same_as(Response.from_wire(response())))
        self.assertFalse(before.same_as(after) or before.same_as(None))

    def test_too_large(self):
        made = Response.make(Request.make("a"))
        made.answers = [Record("a", "TXT", "x" * 255)] * 300
        self.assertRaises(ValueError, made.to_wire)

    def test_names_of_numbers(self):
        self.assertEqual((TYPE.name(65), TYPE.number("https")), ("HTTPS", 65))
        self.assertEqual((TYPE.name(9999), TYPE.number("type9999")), ("TYPE9999", 9999))
        self.assertEqual(RCODE.number("NXDOMAIN"), 3)
        for name in ("NOPE", "TYPE65536", -1, "CLASS1"):
            self.assertRaises(ValueError, TYPE.number, name)


class MakeTests(SynchronousTestCase):
    def test_an_answer(self):
        request = Request.from_wire(message(QUESTION + OPT, 1, 0, 0, 1, flags=0x0110))
        made = Response.from_wire(Response.make(request, "192.0.2.1", ttl=5).to_wire())
        self.assertEqual(str(made.answers[0]), "www.example.com 5 IN A 192.0.2.1")
        self.assertEqual((made.id, made.rcode, made.question), (7, "NOERROR", request.question))
        self.assertTrue(made.recursion_desired and made.checking_disabled)
        self.assertTrue(made.recursion_available and made.edns)
        self.assertFalse(made.authoritative)

    def test_edns_only_where_it_was_asked_for(self):
        self.assertFalse(Response.make(Request.from_wire(message())).edns)

    def test_addresses_of_the_family_that_is_asked_for(self):
        both = ["192.0.2.1", "2001:db8::1"]
        for kind, answers in (("A", both[:1]), ("AAAA", both[1:]), ("HTTPS", []), ("MX", [])):
            made = Response.make(Request.make("a.example", kind), both)
            self.assertEqual([each.data for each in made.answers], answers)

    def test_refusals(self):
        for rcode in ("REFUSED", "NXDOMAIN", "BADVERS"):
            made = Response.make(Request.make("a"), rcode=rcode)
            self.assertEqual(Response.from_wire(made.to_wire()).rcode, rcode)
        self.assertRaises(
            ValueError, Response.make, Request.make("a", udp_size=None), rcode="BADVERS"
        )

    def test_records(self):
        alias = Record("a", "CNAME", "b")
        made = Response.make(Request.make("a"), [alias, Record("b", "A", "192.0.2.1")])
        self.assertEqual(made.answers[0], alias)

    def test_what_is_no_data(self):
        self.assertRaises(ValueError, Response.make, Request.make("a"), "nonsense")

    def test_truncated(self):
        request = Request.make("a")
        made = Response.make(request, "192.0.2.1")
        short = Response.from_wire(made.as_truncated(request))
        self.assertTrue(short.truncated and short.edns)
        self.assertEqual((short.answers, short.question), ([], request.question))

    def test_put_under_another_name(self):
        asked = Request.make("asked.example")
        made = Response.make(Request.make("other.example"), "192.0.2.1", ttl=7)
        made.put_under(asked)
        self.assertEqual(made.name, "asked.example")
        self.assertEqual(
            [str(each) for each in made.answers],
            ["asked.example 7 IN CNAME other.example", "other.example 7 IN A 192.0.2.1"],
        )
        made.put_under(asked)
        self.assertEqual(len(made.answers), 2)

    def test_there_are_no_aliases_of_names_that_do_not_exist(self):
        made = Response.make(Request.make("other.example"), rcode="NXDOMAIN")
        made.put_under(Request.make("asked.example"))
        self.assertEqual((made.name, made.answers), ("asked.example", []))
