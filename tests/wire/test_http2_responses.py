"""Responses by HTTP/2: what they become, and what is malformed; RFC 9113 section 8."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.httpevents import EndOfMessage, ResponseHead, StreamReset
from tests.wire.http2feeding import (
    OK,
    Compressor,
    Pairs,
    build,
    data,
    describe,
    feed,
    headers,
    new_client,
    read_responses,
)

PROTOCOL_ERROR = 1


class ResponseTests(SynchronousTestCase):
    def head(
        self, fields: Pairs, end: bool = True, method: str = "GET", **options: Any
    ) -> ResponseHead:
        result = read_responses(headers(1, fields, end), method, **options)
        self.assertIsNone(result.error)
        (event,) = result.of(1)
        self.assertIsInstance(event, ResponseHead, repr(describe(event)))
        return event

    def test_ok(self):
        head = self.head([*OK, (b"server", b"it"), (b"x-name", b"value")])
        response = head.response
        self.assertEqual((response.status_code, response.reason), (200, ""))
        self.assertEqual(response.http_version, "HTTP/2.0")
        self.assertEqual(response.headers.fields, ((b"server", b"it"), (b"x-name", b"value")))
        self.assertIsNone(response.headers.raw)
        self.assertTrue(head.end_of_message)

    def test_body_of_unknown_length(self):
        result = read_responses(headers(1, OK) + data(1, b"abc") + data(1, b"def", True))
        self.assertEqual(result.of(1)[0].framing.kind, "eof")
        self.assertEqual(result.body(1), b"abcdef")

    def test_body_of_announced_length(self):
        fields = [*OK, (b"content-length", b"3")]
        result = read_responses(headers(1, fields) + data(1, b"abc", True))
        self.assertEqual(result.of(1)[0].framing.length, 3)
        self.assertEqual(result.body(1), b"abc")

    def test_length_of_zero(self):
        fields = [*OK, (b"content-length", b"0")]
        self.assertEqual(self.head(fields).framing.kind, "none")
        result = read_responses(headers(1, fields) + data(1, b"", True))
        self.assertTrue(result.of(1)[1].end_of_message)

    def test_responses_without_a_body(self):
        fields = [(b"content-length", b"100")]
        for status, method in ((b"200", "HEAD"), (b"304", "GET")):
            head = self.head([(b":status", status), *fields], method=method)
            self.assertEqual(head.framing.kind, "none")
            self.assertTrue(head.end_of_message)
        self.assertEqual(self.head([(b":status", b"204")]).framing.kind, "none")

    def test_responses_without_a_body_whose_end_comes_later(self):
        result = read_responses(
            headers(1, [*OK, (b"content-length", b"9")]) + data(1, b"", True), "HEAD"
        )
        self.assertEqual(describe(result.of(1)[1]), ("Data", b"", True))

    def test_informational_responses(self):
        compressor = Compressor()
        sent = compressor.headers(1, [(b":status", b"100")])
        sent += compressor.headers(1, [(b":status", b"103"), (b"link", b"</a>")])
        sent += compressor.headers(1, OK, True)
        result = read_responses(sent)
        self.assertEqual([event.response.status_code for event in result.of(1)], [100, 103, 200])
        self.assertEqual([event.end_of_message for event in result.of(1)], [False, False, True])

    def test_trailers(self):
        compressor = Compressor()
        sent = compressor.headers(1, OK) + data(1, b"abc")
        sent += compressor.headers(1, [(b"grpc-status", b"0")], True)
        end = read_responses(sent).of(1)[-1]
        self.assertIsInstance(end, EndOfMessage)
        self.assertEqual(end.trailers.fields, ((b"grpc-status", b"0"),))

    def test_trailers_only(self):
        head = self.head([*OK, (b"grpc-status", b"5")])
        self.assertEqual(head.response.headers["grpc-status"], "5")
        self.assertTrue(head.end_of_message)

    def test_tunnel(self):
        result = read_responses(headers(1, OK) + data(1, b"abc"), "CONNECT")
        self.assertEqual(result.of(1)[0].framing.kind, "tunnel")
        self.assertEqual(result.body(1), b"abc")

    def test_anomalies(self):
        for field, becomes, anomaly in (
            ((b"x-name", b" value"), b"value", "value-padded"),
            ((b"x-name", b"a\x01b"), b"a\x01b", "value-control"),
            ((b"x(name)", b"value"), b"value", "name-invalid"),
            ((b"x-name", b"\xff"), b"\xff", "value-8bit"),
        ):
            head = self.head([*OK, field])
            self.assertEqual(head.response.headers.fields, ((field[0], becomes),))
            self.assertEqual(head.response.anomalies, (anomaly,))
            self.assertEqual(head.framing.anomalies, (anomaly,))
            result = read_responses(headers(1, [*OK, field], True), mode="reject")
            self.assertEqual(result.resets, {1: PROTOCOL_ERROR})

    def test_repeated_heads_are_told_apart_by_method(self):
        codec = new_client("GET", "HEAD", "GET")
        compressor = Compressor()
        compressor.headers(1, OK)
        fields = [*OK, (b"content-length", b"3")]
        block = compressor.block(fields)
        feed(codec, build(1, 4, 1, block))
        again = compressor.block(fields)
        ended = feed(codec, build(1, 5, 3, again)).of(3)[0]
        going_on = feed(codec, build(1, 4, 5, again)).of(5)[0]
        self.assertEqual((ended.framing.kind, going_on.framing.kind), ("none", "length"))


class MalformedTests(SynchronousTestCase):
    """A fault is the end of its stream, and of nothing else."""

    def refuse(
        self,
        fields: Pairs,
        code: str = "response-malformed",
        *,
        end: bool = True,
        then: bytes = b"",
        method: str = "GET",
    ) -> None:
        for mode in ("reject", "repair", "pass"):
            compressor = Compressor()
            sent = compressor.headers(1, fields, end) + then + compressor.headers(3, OK, True)
            result = read_responses(sent, method, "GET", mode=mode)
            self.assertIsNone(result.error)
            event = result.of(1)[-1]
            self.assertIsInstance(event, StreamReset)
            self.assertEqual((event.code, event.error.code), (PROTOCOL_ERROR, code))
            self.assertEqual(event.error.status, 502)
            self.assertEqual(result.resets, {1: PROTOCOL_ERROR})
            self.assertIsInstance(result.of(3)[0], ResponseHead)

    def test_status(self):
        for fields in (
            [],
            [*OK, *OK],
            [(b":status", b"")],
            [(b":status", b"20")],
            [(b":status", b"2000")],
            [(b":status", b"099")],
            [(b":status", b"abc")],
            [(b"x-name", b"value"), *OK],
            [(b":path", b"/"), *OK],
            [*OK, (b":method", b"GET")],
        ):
            self.refuse(fields)

    def test_switching_protocols(self):
        self.refuse([(b":status", b"101")], end=False)

    def test_informational_response_that_ends_the_stream(self):
        self.refuse([(b":status", b"103")])

    def test_data_before_a_head(self):
        result = read_responses(data(1, b"abc") + headers(3, OK, True), "GET", "GET")
        (event,) = result.of(1)
        self.assertEqual(event.error.code, "response-malformed")
        self.assertIsInstance(result.of(3)[0], ResponseHead)

    def test_data_after_an_informational_head(self):
        self.refuse([(b":status", b"100")], end=False, then=data(1, b"abc"))

    def test_names_and_values(self):
        for field in (
            (b"X-Name", b"value"),
            (b"x name", b"value"),
            (b"x:y", b"value"),
            (b"", b"value"),
            (b"x-name", b"a\r\nSet-Cookie: b"),
            (b"x-name", b"a\x00"),
        ):
            self.refuse([*OK, field])

    def test_connection_fields(self):
        for name, value in (
            (b"connection", b"close"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"websocket"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-connection", b"close"),
        ):
            self.refuse([*OK, (name, value)], "response-connection-field")

    def test_lengths(self):
        self.refuse([*OK, (b"content-length", b"x")], "response-length-invalid", end=False)
        fields = [*OK, (b"content-length", b"1"), (b"content-length", b"2")]
        self.refuse(fields, "response-length-conflict", end=False)
        fields = [*OK, (b"content-length", b"3")]
        code = "response-length-mismatch"
        self.refuse(fields, code)
        self.refuse(fields, code, end=False, then=data(1, b"abcd"))
        self.refuse(fields, code, end=False, then=data(1, b"ab", True))

    def test_content_where_none_can_be(self):
        code = "response-length-mismatch"
        self.refuse(OK, code, end=False, then=data(1, b"abc"), method="HEAD")
        self.refuse([(b":status", b"304")], code, end=False, then=data(1, b"abc"))
        self.refuse([(b":status", b"204")], code, end=False, then=data(1, b"abc"))

    def test_trailers(self):
        for trailers, end, code in (
            (OK, True, "response-malformed"),
            ([(b"x-name", b"value")], False, "response-malformed"),
            ([(b"content-length", b"3")], True, "response-trailer-forbidden"),
            ([(b"transfer-encoding", b"chunked")], True, "response-trailer-forbidden"),
        ):
            compressor = Compressor()
            sent = compressor.headers(1, OK) + data(1, b"abc")
            result = read_responses(sent + compressor.headers(1, trailers, end))
            self.assertEqual(result.of(1)[-1].error.code, code)

    def test_too_many_informational_responses(self):
        compressor = Compressor()
        sent = b"".join(compressor.headers(1, [(b":status", b"100")]) for _ in range(4))
        result = read_responses(sent, informational=3)
        self.assertEqual(result.of(1)[-1].error.code, "response-malformed")

    def test_head_too_large(self):
        compressor = Compressor()
        sent = compressor.headers(1, [*OK, (b"x-name", b"v" * 1000)]) + compressor.headers(
            3, OK, True
        )
        result = read_responses(sent, "GET", "GET", header_list_size=1000)
        (event,) = result.of(1)
        self.assertEqual(event.error.code, "response-head-too-large")
        self.assertIsInstance(result.of(3)[0], ResponseHead)


class PushTests(SynchronousTestCase):
    def test_push_is_an_error_where_it_was_ruled_out(self):
        promise = build(5, 4, 1, b"\x00\x00\x00\x02\x82\x84\x87")
        result = read_responses(promise)
        self.assertEqual(result.code, "h2-frame-unexpected")
        self.assertEqual(result.goaway, (0, PROTOCOL_ERROR))
