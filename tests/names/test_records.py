"""Records: texts, bytes, and the records of `twisted.names`."""

from __future__ import annotations

from twisted.names import dns as names
from twisted.trial.unittest import SynchronousTestCase

from interceptor.dns import Record

TEXTS = (
    ("A", "192.0.2.1"),
    ("AAAA", "2001:db8::1"),
    ("CNAME", "www.example.com"),
    ("NS", "ns.example"),
    ("PTR", r"a\.b.example"),
    ("DNAME", "example"),
    ("MX", "10 mail.example.com"),
    ("SRV", "0 5 5060 sip.example"),
    ("SOA", "ns.example host.example 1 7200 3600 1209600 300"),
    ("TXT", '"v=spf1 -all"'),
    ("TXT", r'"say \"hi\" \\ bye" "b"'),
    ("TXT", '""'),
    ("CAA", r"\# 4 00056973"),
    ("TYPE65280", r"\# 0"),
)


class RecordTests(SynchronousTestCase):
    def test_texts(self):
        for kind, text in TEXTS:
            record = Record("a.example", kind, text)
            self.assertEqual((record.type, record.data), (kind, text))

    def test_other_ways_to_write_them(self):
        self.assertEqual(Record("a", "TXT", "word").rdata, b"\4word")
        self.assertEqual(Record("a", "a", r"\# 4 c0 00 02 01").data, "192.0.2.1")
        self.assertEqual(Record("a", 1, b"\xc0\0\2\1").data, "192.0.2.1")
        self.assertEqual(len(Record("a", "TXT", "x" * 300).rdata), 302)
        self.assertEqual(str(Record("a", "A", "192.0.2.1", 5)), "a 5 IN A 192.0.2.1")

    def test_data_that_is_none_of_its_type_is_shown_as_bytes(self):
        for kind, data in (("A", b"abc"), ("CNAME", b"\3abc"), ("TXT", b"\5abc"), ("MX", b"\0")):
            self.assertEqual(Record("a", kind, data).data, f"\\# {len(data)} {data.hex()}")

    def test_what_is_no_data(self):
        for kind, text in (
            ("A", "127.1"),
            ("A", "192.0.2.1 192.0.2.2"),
            ("A", ""),
            ("AAAA", "192.0.2.1"),
            ("MX", "mail.example"),
            ("MX", "-1 mail.example"),
            ("MX", "65536 mail.example"),
            ("MX", r"1 a\.b"),
            ("SRV", "0 5 sip.example"),
            ("SOA", "a b 1 2 3 4 x"),
            ("SOA", "a b 1 2 3 4 4294967296"),
            ("SOA", "a b 1 4294967295 3 4 5"),
            ("CNAME", "a..b"),
            ("CAA", "0 issue ca.example"),
            ("A", r"\# 3 c0000201"),
            ("A", r"\# 4 xx"),
        ):
            self.assertRaises(ValueError, Record, "a", kind, text)
        self.assertRaises(ValueError, Record, "a", "NONSENSE", "x")
        self.assertRaises(ValueError, Record, "a", "A", "192.0.2.1", -1)

    def test_changes(self):
        record = Record("a.example", "A", "192.0.2.1")
        same = record.copy()
        record.data = "192.0.2.2"
        record.ttl = 5
        record.name = "b.example"
        self.assertNotEqual(record, same)
        self.assertEqual(str(record), "b.example 5 IN A 192.0.2.2")
        self.assertEqual(str(same), "a.example 60 IN A 192.0.2.1")

    def test_payloads(self):
        record = Record("a", "MX", "10 mail.example")
        self.assertEqual(record.payload, names.Record_MX(10, b"mail.example"))
        record.payload = names.Record_A("192.0.2.3")
        self.assertEqual((record.type, record.data), ("A", "192.0.2.3"))
        self.assertEqual(Record("a", "CAA", b"xyz").payload, names.UnknownRecord(b"xyz"))

    def test_what_fits_into_no_message(self):
        record = Record("a", "A", "192.0.2.1")
        record.rdata = bytes(65536)
        self.assertRaises(ValueError, record.to_wire)
