"""Framing decided for every version, and the small parsers it rests on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.wire.framing import (
    CONTENT_LENGTH,
    FIELD_KINDS,
    INVALID_NAME,
    FieldKinds,
    connection_options,
    is_end_to_end,
    named_by_connection,
    request_framing,
    response_framing,
    wanted_upgrade,
)
from interceptor.wire.httphead import parse_authority

H2 = b"HTTP/2.0"


class HTTP2FramingTests(SynchronousTestCase):
    """Streams end messages there (RFC 9113 section 8.1); lengths are still checked."""

    def test_until_the_stream_ends(self) -> None:
        framing, host = request_framing(b"POST", H2, ((b"host", b"a"),), "repair")
        self.assertEqual((framing.kind, framing.length, framing.keep_alive), ("eof", None, True))
        self.assertEqual(host, b"a")
        framing = response_framing(b"GET", H2, 200, (), "repair")
        self.assertEqual((framing.kind, framing.length, framing.keep_alive), ("eof", None, True))

    def test_announced_length(self) -> None:
        fields = ((b"content-length", b"5"),)
        framing, _ = request_framing(b"POST", H2, fields, "repair")
        self.assertEqual((framing.kind, framing.length), ("length", 5))
        framing = response_framing(b"GET", H2, 200, fields, "repair")
        self.assertEqual((framing.kind, framing.length), ("length", 5))

    def test_connection_fields_are_errors(self) -> None:
        for field in (
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"close"),
            (b"keep-alive", b"5"),
            (b"proxy-connection", b"close"),
            (b"upgrade", b"websocket"),
            (b"te", b"gzip"),
        ):
            error = self.assertRaises(
                RemoteProtocolError, request_framing, b"GET", H2, (field,), "pass"
            )
            self.assertEqual((error.code, error.status), ("connection-field", 400), field)
            error = self.assertRaises(
                RemoteProtocolError, response_framing, b"GET", H2, 200, (field,), "pass"
            )
            self.assertEqual((error.code, error.status), ("response-connection-field", 502), field)

    def test_what_has_a_place(self) -> None:
        fields = ((b"te", b"trailers"), (b"proxy-authorization", b"Basic Zm9v"))
        framing, _ = request_framing(b"GET", H2, fields, "reject")
        self.assertEqual(framing.anomalies, ())

    def test_bad_lengths(self) -> None:
        fields = ((b"content-length", b"5"), (b"content-length", b"6"))
        error = self.assertRaises(RemoteProtocolError, request_framing, b"POST", H2, fields, "pass")
        self.assertEqual(error.code, "length-conflict")


class FieldKindsTests(SynchronousTestCase):
    """One look-up classifies a name in any case."""

    def test_any_case(self) -> None:
        self.assertEqual(FIELD_KINDS[b"cOnTeNt-LeNgTh"], CONTENT_LENGTH)
        self.assertEqual(FIELD_KINDS[b"X-Other"], 0)

    def test_names_that_are_none(self) -> None:
        for name in (b"", b"a b", b"a:", b"a\r\n", b"\xe4", b"a\0", b" a"):
            self.assertEqual(FIELD_KINDS[name], INVALID_NAME, name)

    def test_memory_is_bounded(self) -> None:
        kinds = FieldKinds(limit=10)
        for number in range(100):
            self.assertEqual(kinds[b"x-%d" % number], 0)
        self.assertEqual(kinds[b"X" * 1000], 0)
        self.assertEqual(len(kinds), 10)
        self.assertEqual(kinds[b"content-length"], CONTENT_LENGTH)


class ConnectionFieldTests(SynchronousTestCase):
    """What the Connection field may take out of a message, and what it may not."""

    def test_options(self) -> None:
        self.assertEqual(connection_options(b" Close ,,\tX-Y"), {b"close", b"x-y"})
        self.assertEqual(connection_options(b"a," * 100), {b"a"})

    def test_named_fields(self) -> None:
        options = connection_options(
            b"close, Upgrade, X-Hop, Authorization, If-Match, Sec-Fetch-Mode"
        )
        self.assertEqual(named_by_connection(options), {b"x-hop"})
        self.assertEqual(named_by_connection(connection_options(b"keep-alive")), frozenset())

    def test_framing_fields_cannot_be_named(self) -> None:
        options = connection_options(b"Transfer-Encoding, Content-Length, Host, Trailer, TE")
        self.assertEqual(named_by_connection(options), frozenset())

    def test_end_to_end(self) -> None:
        for name in (
            b"host",
            b"cookie",
            b"content-length",
            b"x-forwarded-for",
            b"sec-websocket-key",
        ):
            self.assertTrue(is_end_to_end(name), name)
        for name in (b"x-hop", b"keep-alive", b"te", b"dnt"):
            self.assertFalse(is_end_to_end(name), name)

    def test_upgrade_without_h2c(self) -> None:
        self.assertEqual(wanted_upgrade(b"websocket"), b"websocket")
        self.assertEqual(wanted_upgrade(b"H2C, a/1 ,b"), b"a/1, b")
        self.assertIsNone(wanted_upgrade(b"h2c"))
        self.assertIsNone(wanted_upgrade(b""))


class AuthorityTests(SynchronousTestCase):
    """Host and port (RFC 3986 section 3.2)."""

    def test_accepted(self) -> None:
        for text, expected in (
            (b"a.example", (b"a.example", None)),
            (b"A_b-c~.:1", (b"A_b-c~.", 1)),
            (b"192.0.2.1:65535", (b"192.0.2.1", 65535)),
            (b"[2001:db8::1]", (b"2001:db8::1", None)),
            (b"[::ffff:192.0.2.1]:8080", (b"::ffff:192.0.2.1", 8080)),
            (b"a:", (b"a", None)),
        ):
            self.assertEqual(parse_authority(text), expected)

    def test_refused(self) -> None:
        for text in (
            b"",
            b":80",
            b"a:0",
            b"a:65536",
            b"a:123456",
            b"a:+1",
            b"a:1:2",
            b"a@b",
            b"a b",
            b"a/",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"a%41",
            b"a,b",
            b"\xe4",
            b"a\0",
            b"[]",
            b"[::1",
            b"[1:2:3]",
            b"[::1]x",
            b"[fe80::1%eth0]",
            b"a" * 256,
        ):
            self.assertRaises(ValueError, parse_authority, text)
