"""Requests by HTTP/2: what they become, and what is malformed; RFC 9113 section 8."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.framing import Mode
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.httpevents import Data, EndOfMessage, StreamReset
from tests.wire.http2feeding import (
    GET,
    POST,
    Compressor,
    Pairs,
    data,
    describe,
    feed,
    headers,
    new_server,
    read_requests,
)

PROTOCOL_ERROR = 1


def replaced(fields: Pairs, name: bytes, value: bytes | None) -> Pairs:
    """Return fields with another value in place of one, or without it."""
    return [
        (each, old if each != name else value or b"")
        for each, old in fields
        if each != name or value is not None
    ]


class HeadTestCase(SynchronousTestCase):
    def head(self, fields: Pairs, end: bool = True, **options: Any) -> HTTP2RequestHead:
        result = read_requests(headers(1, fields, end), **options)
        self.assertIsNone(result.error)
        self.assertEqual(len(result.events), 1)
        stream_id, event = result.events[0]
        self.assertEqual(stream_id, 1)
        self.assertIsInstance(event, HTTP2RequestHead, describe(event))
        return event


class RequestTests(HeadTestCase):
    def test_get(self):
        head = self.head([*GET, (b"user-agent", b"me"), (b"accept", b"*/*")])
        request = head.request
        self.assertEqual(request.method, "GET")
        self.assertEqual(request.url, "https://example.com/path?q=1")
        self.assertEqual((request.host, request.port), ("example.com", 443))
        self.assertEqual(request.authority, "example.com")
        self.assertEqual(request.http_version, "HTTP/2.0")
        self.assertEqual(request.first_line_format, "relative")
        self.assertEqual(request.headers.fields, ((b"user-agent", b"me"), (b"accept", b"*/*")))
        self.assertIsNone(request.headers.raw)
        self.assertEqual(request.anomalies, ())
        self.assertTrue(head.end_of_message)
        self.assertEqual((head.framing.kind, head.framing.length), ("none", 0))
        self.assertIsNone(head.protocol)
        self.assertEqual(head.priority, b"")

    def test_timestamp_is_the_time_given(self):
        codec = new_server()
        (head,) = feed(codec, headers(1, GET, True), now=1234.5).of(1)
        self.assertEqual(head.request.timestamp_start, 1234.5)

    def test_body_of_unknown_length(self):
        result = read_requests(headers(1, POST) + data(1, b"abc") + data(1, b"def", True))
        self.assertEqual(result.of(1)[0].framing.kind, "eof")
        self.assertEqual(result.body(1), b"abcdef")
        self.assertTrue(result.of(1)[-1].end_of_message)

    def test_body_of_announced_length(self):
        head = [*POST, (b"content-length", b"6")]
        result = read_requests(headers(1, head) + data(1, b"abc") + data(1, b"def", True))
        self.assertEqual(result.of(1)[0].framing.kind, "length")
        self.assertEqual(result.of(1)[0].framing.length, 6)
        self.assertEqual(result.body(1), b"abcdef")

    def test_length_of_zero(self):
        fields = [*POST, (b"content-length", b"0")]
        self.assertEqual(self.head(fields).framing.kind, "none")
        result = read_requests(headers(1, fields) + data(1, b"", True))
        self.assertEqual([describe(event) for event in result.of(1)][1:], [("Data", b"", True)])

    def test_end_in_a_frame_of_its_own(self):
        result = read_requests(headers(1, POST) + data(1, b"abc") + data(1, b"", True))
        self.assertEqual(result.body(1), b"abc")
        self.assertTrue(result.of(1)[-1].end_of_message)

    def test_trailers(self):
        compressor = Compressor()
        sent = compressor.headers(1, POST) + data(1, b"abc")
        sent += compressor.headers(1, [(b"grpc-status", b"0"), (b"x-sum", b"1")], True)
        result = read_requests(sent)
        end = result.of(1)[-1]
        self.assertIsInstance(end, EndOfMessage)
        self.assertEqual(end.trailers.fields, ((b"grpc-status", b"0"), (b"x-sum", b"1")))

    def test_options_asterisk(self):
        request = self.head(replaced(replaced(GET, b":method", b"OPTIONS"), b":path", b"*")).request
        self.assertEqual(request.path, "*")

    def test_connect(self):
        head = self.head([(b":method", b"CONNECT"), (b":authority", b"example.com:443")], False)
        self.assertEqual(head.request.first_line_format, "authority")
        self.assertEqual(head.request.authority, "example.com:443")
        self.assertEqual((head.request.host, head.request.port), ("example.com", 443))
        self.assertEqual(head.framing.kind, "tunnel")

    def test_extended_connect(self):
        fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
        head = self.head(fields, False, connect_protocol=True)
        self.assertEqual(head.protocol, b"websocket")
        self.assertEqual(head.request.url, "https://example.com/path?q=1")
        self.assertEqual(head.request.first_line_format, "relative")
        self.assertEqual(head.framing.kind, "tunnel")

    def test_host_field_instead_of_authority(self):
        head = self.head([*replaced(GET, b":authority", None), (b"host", b"example.com:8443")])
        self.assertEqual((head.request.host, head.request.port), ("example.com", 8443))
        self.assertEqual(head.request.authority, "")
        self.assertEqual(head.request.pretty_host, "example.com")

    def test_host_field_that_agrees(self):
        for host in (b"example.com", b"EXAMPLE.com:443"):
            self.assertEqual(self.head([*GET, (b"host", host)]).request.anomalies, ())

    def test_host_field_that_differs(self):
        head = self.head([*GET, (b"host", b"other.example")])
        self.assertEqual(head.request.anomalies, ("host-mismatch",))
        self.assertEqual(head.request.headers.fields, ((b"host", b"example.com"),))
        self.assertEqual(head.framing.anomalies, ("host-mismatch",))

    def test_ipv6(self):
        request = self.head(replaced(GET, b":authority", b"[::1]:8443")).request
        self.assertEqual((request.host, request.port), ("::1", 8443))

    def test_scheme_in_capitals(self):
        self.assertEqual(self.head(replaced(GET, b":scheme", b"HTTP")).request.port, 80)

    def test_te_trailers(self):
        fields = [*GET, (b"te", b"trailers")]
        self.assertEqual(self.head(fields).request.headers.fields, ((b"te", b"trailers"),))

    def test_expectation(self):
        head = self.head([*POST, (b"expect", b"100-continue")], False)
        self.assertTrue(head.framing.expect_continue)

    def test_cookies_stay_in_pieces(self):
        fields = [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
        request = self.head([*GET, *fields]).request
        self.assertEqual(request.headers.fields, tuple(fields))
        self.assertEqual(request.cookies["b"], "2")

    def test_repeated_lengths_are_an_anomaly(self):
        fields = [*POST, (b"content-length", b"3"), (b"content-length", b"3")]
        head = self.head(fields, False)
        self.assertEqual(head.request.anomalies, ("length-repeated",))
        self.assertEqual(head.framing.length, 3)

    def test_repeated_heads_are_told_apart(self):
        codec = new_server()
        compressor = Compressor()
        found = []
        for number in range(6):
            fields = [*GET, (b"x-turn", b"%d" % (number % 2))]
            (head,) = feed(codec, compressor.headers(2 * number + 1, fields, True)).of(
                2 * number + 1
            )
            found.append(head.request)
        self.assertEqual([request.headers["x-turn"] for request in found], list("010101"))
        self.assertEqual(len({id(request.headers) for request in found}), 6)
        found[2].headers["x-turn"] = "changed"
        self.assertEqual(found[4].headers["x-turn"], "0")


class ToleratedTests(HeadTestCase):
    """What ``http_framing`` decides about."""

    def refuse(self, fields: Pairs, mode: Mode) -> None:
        result = read_requests(headers(1, fields, True), mode=mode)
        self.assertEqual(result.resets, {1: PROTOCOL_ERROR})

    def check(self, field: tuple[bytes, bytes], becomes: bytes, anomaly: str, passes: str) -> None:
        for mode in ("reject", "repair", "pass"):
            if mode in passes:
                request = self.head([*GET, field], mode=mode).request
                self.assertEqual(request.headers.fields, ((field[0], becomes),))
                self.assertEqual(request.anomalies, (anomaly,))
            else:
                self.refuse([*GET, field], mode)

    def test_eight_bit_value(self):
        self.check((b"x-name", b"caf\xc3\xa9"), b"caf\xc3\xa9", "value-8bit", "repair pass")

    def test_white_space_around_a_value(self):
        self.check((b"x-name", b" \tvalue "), b"value", "value-padded", "repair pass")

    def test_control_bytes(self):
        self.check((b"x-name", b"a\x01b"), b"a\x01b", "value-control", "pass")

    def test_odd_name(self):
        self.check((b"x(name)", b"value"), b"value", "name-invalid", "pass")

    def test_fragment(self):
        fields = replaced(GET, b":path", b"/a#b")
        self.refuse(fields, "reject")
        request = self.head(fields).request
        self.assertEqual((request.path, request.anomalies), ("/a", ("target-fragment",)))
        self.assertEqual(self.head(fields, mode="pass").request.path, "/a#b")

    def test_host_mismatch(self):
        self.refuse([*GET, (b"host", b"other.example")], "reject")


class MalformedTests(SynchronousTestCase):
    """A fault is the end of its stream, in every setting, and of nothing else."""

    def refuse(
        self,
        fields: Pairs,
        code: str = "head-malformed",
        *,
        end: bool = True,
        then: bytes = b"",
        **options,
    ) -> None:
        compressor = Compressor()
        for mode in ("reject", "repair", "pass"):
            compressor = Compressor()
            sent = compressor.headers(1, fields, end) + then + compressor.headers(3, GET, True)
            result = read_requests(sent, mode, **options)
            self.assertIsNone(result.error)
            event = result.of(1)[-1]
            self.assertIsInstance(event, StreamReset)
            self.assertEqual((event.code, event.error.code), (PROTOCOL_ERROR, code))
            self.assertFalse(event.retryable)
            self.assertEqual(result.resets, {1: PROTOCOL_ERROR})
            self.assertIsInstance(result.of(3)[0], HTTP2RequestHead)

    def test_missing_pseudo_headers(self):
        for name in (b":method", b":scheme", b":path"):
            self.refuse(replaced(GET, name, None))

    def test_no_host_at_all(self):
        self.refuse(replaced(GET, b":authority", None), "host-missing")
        self.refuse(replaced(GET, b":authority", b""), "host-missing")

    def test_repeated_pseudo_headers(self):
        for name, value in GET:
            self.refuse([*GET, (name, value)])

    def test_pseudo_header_after_a_field(self):
        self.refuse([*GET[:3], (b"x-name", b"value"), GET[3]])

    def test_unknown_pseudo_header(self):
        self.refuse([(b":name", b"value"), *GET])
        self.refuse([(b":", b"value"), *GET])

    def test_pseudo_header_of_responses(self):
        self.refuse([(b":status", b"200"), *GET])

    def test_protocol_that_was_not_offered(self):
        self.refuse([(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]])

    def test_protocol_without_connect(self):
        self.refuse([*GET, (b":protocol", b"websocket")], connect_protocol=True)

    def test_methods_that_are_none(self):
        for method in (b"", b"G ET", b"GET\r\nX: y", b"GET /", b"GE\x00T"):
            self.refuse(replaced(GET, b":method", method))

    def test_paths_that_are_none(self):
        for path in (
            b"",
            b"path",
            b"https://example.com/",
            b"/a b",
            b"/a\r\nX: y",
            b"/a\x00",
            b"/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /x",
            b"#",
            b"*",
            b"/a\x7f",
        ):
            self.refuse(replaced(GET, b":path", path), "target-invalid")

    def test_schemes_that_are_not_served(self):
        for scheme in (b"", b"ftp", b"https\r\n", b"http://x"):
            self.refuse(replaced(GET, b":scheme", scheme), "scheme-unsupported")

    def test_authorities_that_are_none(self):
        for authority in (
            b"user@example.com",
            b"example.com/path",
            b"example.com:0",
            b"example.com:65536",
            b"exa mple.com",
            b"example.com\r\nX: y",
            b"example.com\x00",
            b"example.com,other",
            b"[::1",
        ):
            self.refuse(replaced(GET, b":authority", authority), "target-invalid")

    def test_host_fields_that_are_none(self):
        self.refuse([*GET, (b"host", b"a b")], "host-invalid")
        self.refuse([*GET, (b"host", b"a"), (b"host", b"b")], "host-invalid")
        fields = [*replaced(GET, b":authority", None), (b"host", b"user@example.com")]
        self.refuse(fields, "host-invalid")

    def test_capital_letters_in_names(self):
        self.refuse([*GET, (b"X-Name", b"value")])
        self.refuse([*GET, (b"Content-Length", b"0")])

    def test_names_that_are_none(self):
        for name in (
            b"",
            b"x name",
            b"x-name ",
            b" x-name",
            b"x\r\nname",
            b"x\x00",
            b"x:y",
            b"transfer-encoding:",
            b"x\xff",
            b"x\x7f",
        ):
            self.refuse([*GET, (name, b"value")])

    def test_values_that_would_end_a_line(self):
        for value in (b"a\rb", b"a\nb", b"a\r\nX: y", b"a\x00b", b"\r", b"a\r\n"):
            self.refuse([*GET, (b"x-name", value)])

    def test_connection_fields(self):
        for name, value in (
            (b"connection", b"close"),
            (b"connection", b"x-name"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"),
            (b"transfer-encoding", b""),
            (b"upgrade", b"h2c"),
            (b"http2-settings", b"AAA"),
            (b"te", b"gzip"),
            (b"te", b"trailers, chunked"),
        ):
            self.refuse([*GET, (name, value)], "connection-field")

    def test_connect_with_more_than_an_authority(self):
        connect = [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]
        self.refuse([*connect, (b":scheme", b"https")], end=False)
        self.refuse([*connect, (b":path", b"/")], end=False)
        self.refuse(connect[:1], end=False)

    def test_connect_without_a_port(self):
        fields = [(b":method", b"CONNECT"), (b":authority", b"example.com")]
        self.refuse(fields, "target-invalid", end=False)

    def test_connect_with_a_length(self):
        fields = [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b"content-length", b"5")]
        self.refuse(fields, "framing-conflict", end=False)

    def test_lengths_that_are_none(self):
        for value in (b"", b"-1", b"+1", b"0x1", b"1 2", b"1" * 19):
            self.refuse([*POST, (b"content-length", value)], "length-invalid", end=False)

    def test_lengths_that_differ(self):
        fields = [*POST, (b"content-length", b"1"), (b"content-length", b"2")]
        self.refuse(fields, "length-conflict", end=False)

    def test_length_without_content(self):
        self.refuse([*POST, (b"content-length", b"5")], "length-mismatch")

    def test_more_content_than_announced(self):
        fields = [*POST, (b"content-length", b"3")]
        self.refuse(fields, "length-mismatch", end=False, then=data(1, b"abcd"))
        self.refuse(fields, "length-mismatch", end=False, then=data(1, b"abc") + data(1, b"d"))

    def test_less_content_than_announced(self):
        fields = [*POST, (b"content-length", b"3")]
        self.refuse(fields, "length-mismatch", end=False, then=data(1, b"ab", True))
        self.refuse(fields, "length-mismatch", end=False, then=data(1, b"ab") + data(1, b"", True))


class MalformedTrailersTests(SynchronousTestCase):
    def refuse(self, trailers: Pairs, code: str, *, end: bool = True, head: Pairs = POST) -> None:
        compressor = Compressor()
        sent = compressor.headers(1, head) + data(1, b"abc") + compressor.headers(1, trailers, end)
        result = read_requests(sent + compressor.headers(3, GET, True))
        self.assertIsNone(result.error)
        event = result.of(1)[-1]
        self.assertIsInstance(event, StreamReset)
        self.assertEqual((event.code, event.error.code), (PROTOCOL_ERROR, code))
        self.assertIsInstance(result.of(3)[0], HTTP2RequestHead)

    def test_pseudo_headers(self):
        self.refuse([(b":path", b"/")], "head-malformed")

    def test_no_end_of_the_stream(self):
        self.refuse([(b"x-name", b"value")], "head-malformed", end=False)

    def test_framing_fields(self):
        for name in (b"content-length", b"transfer-encoding", b"connection", b"host", b"te"):
            self.refuse([(name, b"1")], "trailer-forbidden")

    def test_names_and_values(self):
        self.refuse([(b"X-Name", b"value")], "head-malformed")
        self.refuse([(b"x-name", b"a\r\nb")], "head-malformed")

    def test_less_content_than_announced(self):
        head = [*POST, (b"content-length", b"5")]
        self.refuse([(b"x-name", b"value")], "length-mismatch", head=head)

    def test_in_a_tunnel(self):
        head = [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]
        self.refuse([(b"x-name", b"value")], "head-malformed", head=head)


class LimitTests(SynchronousTestCase):
    def test_head_too_large(self):
        compressor = Compressor()
        sent = compressor.headers(1, [*GET, (b"x-name", b"v" * 900)], True)
        sent += compressor.headers(3, GET, True)
        result = read_requests(sent, header_list_size=1000)
        (event,) = result.of(1)
        self.assertEqual((event.code, event.error.code), (11, "head-too-large"))
        self.assertEqual(event.error.status, 431)
        self.assertIsInstance(result.of(3)[0], HTTP2RequestHead)

    def test_too_many_fields(self):
        compressor = Compressor()
        sent = compressor.headers(1, [*GET, *[(b"x-name", b"v")] * 7], True)
        sent += compressor.headers(3, [*GET, *[(b"x-name", b"v")] * 6], True)
        result = read_requests(sent, field_count=10)
        (event,) = result.of(1)
        self.assertEqual((event.code, event.error.code), (11, "too-many-fields"))
        self.assertIsInstance(result.of(3)[0], HTTP2RequestHead)

    def test_trailers_too_large(self):
        compressor = Compressor()
        sent = compressor.headers(1, POST) + compressor.headers(1, [(b"x", b"v" * 1000)], True)
        result = read_requests(sent, header_list_size=1000)
        self.assertEqual(result.of(1)[-1].error.code, "head-too-large")

    def test_a_block_far_too_large_ends_the_connection(self):
        block = b"\x00\x01x\x7f\xff\xff\x03" + b"v" * 40000
        first = headers(1, GET, True)[9:]
        sent = b"\x00\x00" + bytes((len(first),)) + b"\x01\x01\x00\x00\x00\x01" + first
        for begin in range(0, len(block), 16000):
            piece = block[begin : begin + 16000]
            sent += len(piece).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + piece
        result = read_requests(sent, header_list_size=1000)
        self.assertEqual(result.code, "h2-head-too-large")
        self.assertEqual(result.goaway, (0, 11))


class DataTests(SynchronousTestCase):
    def test_data_of_the_next_frames_comes_along(self):
        codec = new_server()
        sent = headers(1, POST) + data(1, b"a" * 9) + data(1, b"b" * 9) + data(1, b"c" * 9, True)
        result = feed(codec, sent + headers(3, GET, True))
        self.assertEqual(
            [describe(event) for event in result.of(1)[1:]],
            [("Data", b"a" * 9 + b"b" * 9 + b"c" * 9, True)],
        )
        self.assertEqual(len(result.of(3)), 1)

    def test_data_is_delivered_before_its_frame_is_whole(self):
        codec = new_server()
        frame = data(1, b"abcdef", True)
        result = feed(codec, headers(1, POST) + frame[:11], frame[11:13], frame[13:])
        pieces = [event for event in result.of(1) if isinstance(event, Data)]
        self.assertEqual([piece.data for piece in pieces], [b"ab", b"cd", b"ef"])
        self.assertEqual([piece.end_of_message for piece in pieces], [False, False, True])

    def test_streams_are_told_apart(self):
        compressor = Compressor()
        sent = compressor.headers(1, POST) + compressor.headers(3, POST)
        sent += data(1, b"a") + data(3, b"b") + data(1, b"c", True) + data(3, b"d", True)
        result = read_requests(sent)
        self.assertEqual(result.body(1), b"ac")
        self.assertEqual(result.body(3), b"bd")
