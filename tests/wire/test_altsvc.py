"""Offers of HTTP/3: found however they are written, and nothing else touched."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.headers import Headers
from interceptor.wire.altsvc import hide_http3, is_http3, without_http3
from interceptor.wire.framing import response_framing


class ValueTests(SynchronousTestCase):
    def test_protocol_ids(self):
        for name in (
            b"h3",
            b"h3-29",
            b"h3-Q050",
            b"H3",
            b"h%33",
            b"%68%33",
            b"hq",
            b"hq-interop",
            b"quic",
        ):
            self.assertTrue(is_http3(name), name)
        for name in (b"h2", b"h2c", b"http%2F1.1", b"h30", b"w=x", b"", b"clear", b"quick"):
            self.assertFalse(is_http3(name), name)

    def test_offers(self):
        for value, left, removed in (
            (b'h3=":443"; ma=86400', b"", [b'h3=":443"; ma=86400']),
            (b'h3=":443", h2=":443"', b'h2=":443"', [b'h3=":443"']),
            (b'h2="a:1";ma=1 ,h3-29=":443"', b'h2="a:1";ma=1', [b'h3-29=":443"']),
            (b'quic=":443"; v="46,43", h2=":1"', b'h2=":1"', [b'quic=":443"; v="46,43"']),
            (b'h2="h3=,"; x="a\\",h3=\\"", h3=":1"', b'h2="h3=,"; x="a\\",h3=\\""', [b'h3=":1"']),
            (b'h3 = ":1"', b"", [b'h3 = ":1"']),
        ):
            self.assertEqual(without_http3(value), (left, removed))

    def test_nothing_to_take_out(self):
        for value in (
            b"clear",
            b"",
            b",,",
            b' h2=":443" ,, h2c=":80"',
            b'h2=":443',
            b"nonsense",
            b'"',
        ):
            self.assertEqual(without_http3(value), (value, []))

    def test_what_can_be_read_in_two_ways_goes_as_a_whole(self):
        for value in (b'h3=":443', b'h2="a, h3=":443"', b'x", h3=":443"', b'h2="\\", h3=":443"x'):
            self.assertEqual(without_http3(value), (b"", [value]), value)

    def test_whatever_comes(self):
        pieces = [b"h3", b"h2", b"=", b'"', b",", b";", b" ", b"\\", b"ma=1", b"%33", b":443", b"h"]

        @settings(max_examples=500, deadline=None, database=None)
        @given(st.lists(st.sampled_from(pieces), max_size=20).map(b"".join))
        def check(value: bytes) -> None:
            left, removed = without_http3(value)
            if not removed:
                self.assertEqual(left, value)
            # What is left has no offers, however often it is asked.
            self.assertEqual(without_http3(left), (left, []))

        check()


class HeadersTests(SynchronousTestCase):
    RAW = (
        b'Server:x\r\nALT-SVC: h3=":1"\r\nalt-svc:h2=":2" , h3=":3"\r\n'
        b'Alt-Svc: h2=":4"\r\nX:  y \r\n'
    )
    FIELDS = (
        (b"Server", b"x"),
        (b"ALT-SVC", b'h3=":1"'),
        (b"alt-svc", b'h2=":2" , h3=":3"'),
        (b"Alt-Svc", b'h2=":4"'),
        (b"X", b"y"),
    )

    def test_lines_keep_their_bytes(self):
        headers, removed = hide_http3(Headers.from_wire(self.FIELDS, self.RAW))
        self.assertEqual(removed, [b'h3=":1"', b'h3=":3"'])
        self.assertEqual(
            headers.raw, b'Server:x\r\nalt-svc: h2=":2"\r\nAlt-Svc: h2=":4"\r\nX:  y \r\n'
        )
        self.assertEqual(headers.get_all("alt-svc"), ['h2=":2"', 'h2=":4"'])
        assert headers.raw is not None
        self.assertEqual(len(headers.fields), headers.raw.count(b"\r\n"))

    def test_without_lines(self):
        headers, _ = hide_http3(Headers.from_wire(self.FIELDS, None))
        self.assertIsNone(headers.raw)
        self.assertEqual(len(headers.fields), 4)

    def test_the_same_where_there_are_none(self):
        headers = Headers([("Alt-Svc", "clear")])
        self.assertIs(hide_http3(headers)[0], headers)


class FramingTests(SynchronousTestCase):
    def test_is_told(self):
        offer = ((b"Alt-svc", b"clear"),)
        length = ((b"Content-Length", b"5"),)
        for version in (b"HTTP/1.1", b"HTTP/2.0"):
            for status in (200, 103, 304):
                without = response_framing(b"GET", version, status, length, "repair")
                having = response_framing(b"GET", version, status, offer + length, "repair")
                self.assertTrue(having.alternatives)
                self.assertFalse(without.alternatives)
                self.assertEqual(
                    repr(having).replace("alternatives=True", "alternatives=False"), repr(without)
                )

    def test_stays_with_anomalies(self):
        framing = response_framing(b"GET", b"HTTP/1.1", 200, ((b"Alt-Svc", b"clear"),), "repair")
        self.assertTrue(framing.with_anomalies(("bare-lf",)).alternatives)
