"""Responses that are read: framing, faults that pass with a mark, faults that do not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError
from interceptor.model.http import Request
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import CONNECTION_CLOSED, NEED_DATA, Data, ResponseHead
from tests.wire.feeding import NOW, client_codec, head, pull, read_response
from tests.wire.feeding import Message as Transcript

OK = b"HTTP/1.1 200 OK"
L5 = b"Content-Length: 5"

# What servers really send: (data, anomaly, is the field block kept as it is?). Passes in ``repair``
# and ``pass`` with its anomaly, and is a 502 in ``reject``. The body is always ``hello``.
FAULTY: dict[str, tuple[bytes, str, bool]] = {
    "space inside a name": (head(OK, L5, b"X Frame Options: DENY"), "name-invalid", True),
    "brackets in a name": (head(OK, L5, b"X[1](2)<3>: a"), "name-invalid", True),
    "slash in a name": (head(OK, L5, b"P3P/1: a"), "name-invalid", True),
    "quote in a name": (head(OK, L5, b'"Expires": 0'), "name-invalid", True),
    "8-bit name": (head(OK, L5, b"X\xe4: a"), "name-invalid", True),
    "control byte in a cookie": (head(OK, L5, b"Set-Cookie: a=\x01\x1fb"), "value-control", True),
    "del in a value": (head(OK, L5, b"X: a\x7f"), "value-control", True),
    "8-bit value": (head(OK, L5, b"X: \xe4\xff"), "value-8bit", True),
    "8-bit file name": (head(OK, L5, "X: fil\u00e9".encode()), "value-8bit", True),
    "no reason": (head(b"HTTP/1.1 200", L5), "reason-missing", True),
    "lower-case version": (head(b"http/1.1 200 OK", L5), "version-case", True),
    "mixed-case version": (head(b"Http/1.1 200 OK", L5), "version-case", True),
    "two spaces in the status line": (head(b"HTTP/1.1  200 OK", L5), "status-line-odd", True),
    "obs-fold": (head(OK, L5, b"X: a", b"\tb"), "obs-fold", False),
    "folded to nothing": (head(OK, L5, b"X: a", b" "), "obs-fold", False),
    "length twice": (head(OK, L5, L5), "length-repeated", True),
    "length in a list": (head(OK, b"Content-Length: 5, 5"), "length-repeated", True),
    "length with zeros": (head(OK, b"Content-Length: 0005"), "length-not-canonical", True),
    "space before a colon": (head(OK, b"Content-Length : 5"), "space-before-colon", False),
    "line without colon": (head(OK, b"HTTP/1.1 200 OK", L5), "field-malformed", False),
    "field without name": (head(OK, b": a", L5), "field-malformed", False),
    "space before the first field": (head(OK, b" X: a", L5), "leading-space", False),
    "bare lf everywhere": (b"HTTP/1.1 200 OK\nContent-Length: 5\nX: a\n\n", "bare-lf", False),
    "bare lf in the status line": (b"HTTP/1.1 200 OK\n" + head(L5), "bare-lf", True),
    "bare lf after a field": (b"HTTP/1.1 200 OK\r\nX: a\n" + head(L5), "bare-lf", False),
    "bare lf at the end": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n", "bare-lf", True),
    "nul in a value": (head(OK, L5, b"X: a\0b"), "value-control-replaced", False),
    "bare cr in a value": (head(OK, L5, b"X: a\rY: b"), "value-control-replaced", False),
    "cr cr lf": (head(OK, L5, b"X: a\r"), "value-control-replaced", False),
    "empty line before": (b"\r\n" + head(OK, L5), "leading-empty-line", True),
    "identity": (
        head(OK, b"Transfer-Encoding: identity", L5),
        "transfer-encoding-identity",
        True,
    ),
}

# Refused in every setting: (data, code).
REFUSED: dict[str, tuple[bytes, str]] = {
    "no http": (b"<html>\r\n\r\n", "response-malformed"),
    "tls alert": (b"\x15\x03\x03\x00\x02\x02\x28", "response-malformed"),
    "icy": (head(b"ICY 200 OK"), "response-malformed"),
    "http/2": (head(b"HTTP/2 200"), "response-malformed"),
    "http/3": (head(b"HTTP/3.0 200 OK"), "response-malformed"),
    "status of two digits": (head(b"HTTP/1.1 20 OK"), "response-malformed"),
    "status of four digits": (head(b"HTTP/1.1 2000 OK"), "response-malformed"),
    "status 0": (head(b"HTTP/1.1 000 OK"), "response-malformed"),
    "status text": (head(b"HTTP/1.1 OK"), "response-malformed"),
    "nul in the reason": (head(b"HTTP/1.1 200 O\0K"), "response-malformed"),
    "bare cr in the reason": (head(b"HTTP/1.1 200 O\rK"), "response-malformed"),
    "nul in a name": (head(OK, b"X\0: a"), "response-malformed"),
    "cr in a name": (head(OK, b"X\rY: a"), "response-malformed"),
    "lengths differ": (head(OK, L5, b"Content-Length: 6"), "response-length-conflict"),
    "lengths differ in a list": (head(OK, b"Content-Length: 5, 6"), "response-length-conflict"),
    "length no number": (head(OK, b"Content-Length: five"), "response-length-invalid"),
    "length negative": (head(OK, b"Content-Length: -1"), "response-length-invalid"),
    "length empty": (head(OK, b"Content-Length:"), "response-length-invalid"),
    "gzip coding": (
        head(OK, b"Transfer-Encoding: gzip, chunked"),
        "response-transfer-encoding-unknown",
    ),
    "chunked twice": (
        head(OK, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        "response-transfer-encoding-unknown",
    ),
    "unknown coding": (head(OK, b"Transfer-Encoding: x"), "response-transfer-encoding-unknown"),
    "unasked 101": (
        head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket"),
        "response-malformed",
    ),
    "many empty lines": (b"\r\n" * 9 + head(OK), "response-malformed"),
}


class FaultyResponsesTests(SynchronousTestCase):
    """Cosmetic faults reach the client, marked."""

    def test_each_passes_with_its_mark(self) -> None:
        for name, (data, anomaly, exact) in FAULTY.items():
            for mode in ("repair", "pass"):
                found = read_response(data + b"hello", mode)
                self.assertIsNone(found.error, (name, mode))
                self.assertEqual(found.body, b"hello", (name, mode))
                self.assertIn(anomaly, found.message.anomalies, (name, mode))
                self.assertEqual(found.framing.anomalies, found.message.anomalies)
                self.assertEqual(found.message.headers.raw is not None, exact, (name, mode))

    def test_each_is_refused_by_reject(self) -> None:
        for name, (data, _, _) in FAULTY.items():
            found = read_response(data + b"hello", "reject")
            assert found.error is not None, name
            self.assertTrue(found.error[0].startswith("response-"), (name, found.error))
            self.assertEqual(found.error[1], 502, name)

    def test_each_is_sent_on_as_it_came(self) -> None:
        for name, (data, anomaly, exact) in FAULTY.items():
            if not exact or "length" in anomaly or "identity" in anomaly or "line" in anomaly:
                continue
            found = read_response(data + b"hello")
            codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
            codec.receive_data(head(b"GET / HTTP/1.1", b"Host: a"))
            codec.next_event(NOW)
            sent = codec.send_message(None, found.message, found.body)
            if anomaly == "bare-lf":
                continue
            sent = sent.replace(b"Connection: close\r\n", b"")
            self.assertEqual(sent, data + b"hello", name)

    def test_a_changed_one_is_sent_on_too(self) -> None:
        # A hook that adds a field must not make a tolerated fault fatal.
        for name, (data, _, _) in FAULTY.items():
            found = read_response(data + b"hello")
            found.message.headers["X-Added"] = "1"
            codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
            sent = codec.send_message(None, found.message, found.body)
            again = read_response(sent)
            self.assertEqual(again.body, b"hello", name)
            self.assertEqual(again.message.headers["X-Added"], "1", name)

    def test_refused_in_every_setting(self) -> None:
        for name, (data, code) in REFUSED.items():
            for mode in ("reject", "repair", "pass"):
                found = read_response(data + b"hello", mode)
                self.assertEqual(found.error, (code, 502), (name, mode))

    def test_hostile_heads_take_linear_time(self) -> None:
        size = 1_000_000
        for data in (
            b"HTTP/1.1 200 " + b" " * size + b"\0\r\n\r\n",
            b"HTTP/1.1" + b" " * size + b"\r\n\r\n",
            OK + b"\r\n" + b"X:a\n" * (size // 4) + b"\rZ\r\n\r\n",
            OK + b"\r\nX: a\r\n" + b" b\n" * (size // 3) + b"\r\n",
            OK + b"\r\n" + b"\0" * size + b"\r\n\r\n",
        ):
            codec = client_codec(head_size=2 * size, field_count=size)
            codec.receive_data(data)
            pull(codec, Transcript())

    def test_repaired_values(self) -> None:
        found = read_response(head(OK, L5, b"X: a\0b\r", b"Y: c", b"  d") + b"hello")
        self.assertEqual(found.message.headers.fields[1:], ((b"X", b"a b"), (b"Y", b"c d")))

    def test_chunk_lines_that_pass(self) -> None:
        start = head(OK, b"Transfer-Encoding: chunked")
        for chunks in (
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\r\nX: a\n\n",
        ):
            found = read_response(start + chunks)
            self.assertEqual((found.body, found.error), (b"hello", None), chunks)
            self.assertEqual(read_response(start + chunks, "reject").complete, False, chunks)

    def test_many_chunks_that_are_odd_are_gathered(self) -> None:
        start = head(OK, b"Transfer-Encoding: chunked")
        for chunk, anomalies in (
            (b"1;a\r\nx\r\n", ()),
            (b"1 \r\nx\r\n", ("chunk-line-odd",)),
            (b"1\nx\r\n", ("chunk-line-odd",)),
            (b"1\r\nx\n", ("bare-lf",)),
        ):
            codec = client_codec(b"GET")
            codec.receive_data(start + chunk * 1000 + b"0\r\n\r\n")
            response = codec.next_event(NOW)
            assert isinstance(response, ResponseHead)
            event = codec.next_event(NOW)
            assert isinstance(event, Data)
            self.assertEqual(event.data, b"x" * 1000)
            self.assertEqual(response.response.anomalies, anomalies)

    def test_chunks_that_do_not(self) -> None:
        start = head(OK, b"Transfer-Encoding: chunked")
        for chunks in (b"+5\r\nhello", b"\r\n", b"x\r\n", b"5\r\nhelloXX", b"5;\0\r\nhello"):
            self.assertEqual(
                read_response(start + chunks).error, ("response-chunk-malformed", 502), chunks
            )


class ResponseFramingTests(SynchronousTestCase):
    """Where a response ends (RFC 9112 section 6.3)."""

    def test_counted(self) -> None:
        found = read_response(head(OK, L5) + b"hello", "reject")
        self.assertEqual((found.body, found.framing.kind), (b"hello", "length"))
        self.assertEqual(found.message.reason, "OK")

    def test_until_eof(self) -> None:
        found = read_response(head(OK) + b"hello", "reject", eof=True)
        self.assertEqual((found.body, found.framing.kind), (b"hello", "eof"))
        self.assertTrue(found.complete)
        self.assertFalse(found.framing.keep_alive)

    def test_chunked_with_trailers(self) -> None:
        data = head(OK, b"Transfer-Encoding: chunked") + b"5;a\r\nhello\r\n0\r\nX: y\r\n\r\n"
        found = read_response(data, "reject")
        self.assertEqual((found.body, found.trailers), (b"hello", ((b"X", b"y"),)))

    def test_no_body(self) -> None:
        for method, status, lines in (
            (b"HEAD", b"200", (b"Content-Length: 5",)),
            (b"HEAD", b"200", (b"Transfer-Encoding: chunked",)),
            (b"HEAD", b"200", ()),
            (b"GET", b"304", (b"Content-Length: 5",)),
            (b"GET", b"304", ()),
            (b"GET", b"204", ()),
            (b"GET", b"200", (b"Content-Length: 0",)),
        ):
            found = read_response(head(b"HTTP/1.1 " + status + b" x", *lines), "reject", method)
            self.assertEqual((found.complete, found.framing.kind), (True, "none"), (method, lines))
            self.assertEqual(found.message.anomalies, ())

    def test_a_204_that_announces_a_body(self) -> None:
        for line in (b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked"):
            data = head(b"HTTP/1.1 204 No Content", line)
            found = read_response(data)
            self.assertTrue(found.complete)
            self.assertEqual(found.message.anomalies, ("length-without-body",))
            self.assertEqual(
                read_response(data, "reject").error, ("response-framing-conflict", 502)
            )

    def test_length_and_chunked(self) -> None:
        data = head(OK, L5, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        found = read_response(data)
        self.assertEqual((found.body, found.framing.kind), (b"abc", "chunked"))
        self.assertEqual(found.message.anomalies, ("length-and-chunked",))
        self.assertFalse(found.framing.keep_alive)
        self.assertEqual(read_response(data, "reject").error, ("response-framing-conflict", 502))

    def test_chunked_in_http10(self) -> None:
        data = head(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"
        found = read_response(data)
        self.assertEqual(found.message.anomalies, ("chunked-in-http10",))
        self.assertFalse(found.framing.keep_alive)

    def test_keep_alive(self) -> None:
        def keeps(version: bytes, *lines: bytes) -> bool:
            found = read_response(head(version + b" 200 OK", b"Content-Length: 0", *lines))
            return bool(found.framing.keep_alive)

        self.assertTrue(keeps(b"HTTP/1.1"))
        self.assertFalse(keeps(b"HTTP/1.1", b"Connection: close"))
        self.assertFalse(keeps(b"HTTP/1.0"))
        self.assertTrue(keeps(b"HTTP/1.0", b"connection: Keep-Alive"))

    def test_informational(self) -> None:
        data = head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Early Hints", b"Link: a")
        found = read_response(data + head(OK, L5) + b"hello", "reject")
        self.assertEqual(found.informational, [100, 103])
        self.assertEqual((found.message.status_code, found.body), (200, b"hello"))

    def test_too_many_informational(self) -> None:
        data = head(b"HTTP/1.1 102 Processing") * 3
        self.assertEqual(read_response(data, informational=2).error, ("response-malformed", 502))

    def test_connect(self) -> None:
        lines = (b"HTTP/1.1 200 Connected", b"Content-Length: 5", b"Transfer-Encoding: x")
        found = read_response(head(*lines), "reject", b"CONNECT")
        self.assertEqual((found.complete, found.framing.kind), (True, "tunnel"))
        found = read_response(head(b"HTTP/1.1 403 No", L5) + b"hello", "reject", b"CONNECT")
        self.assertEqual((found.body, found.framing.kind), (b"hello", "length"))

    def test_upgrade(self) -> None:
        lines = (b"HTTP/1.1 101 Switching", b"Connection: Upgrade", b"Upgrade: websocket")
        found = read_response(head(*lines), "reject", b"UPGRADE")
        self.assertEqual((found.complete, found.framing.kind), (True, "tunnel"))
        self.assertEqual(found.framing.upgrade, b"websocket")

    def test_cut_off(self) -> None:
        for data in (
            b"HTTP/1.1 200",
            head(OK)[:-1],
            head(OK, L5),
            head(OK, L5) + b"hell",
            head(OK, b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
            head(b"HTTP/1.1 100 Continue"),
        ):
            self.assertEqual(read_response(data, eof=True).error, ("response-truncated", 502), data)

    def test_closed_before_any_byte(self) -> None:
        self.assertTrue(read_response(b"", eof=True).closed)

    def test_limits(self) -> None:
        data = head(OK, b"X: " + b"a" * 100)
        self.assertEqual(read_response(data, head_size=80).error, ("response-head-too-large", 502))
        self.assertEqual(
            read_response(head(OK, b"X: 1", b"Y: 2"), field_count=1).error,
            ("response-too-many-fields", 502),
        )


class ReuseTests(SynchronousTestCase):
    """Whether a server's connection may carry another request."""

    def finish(self, codec: HTTP1ClientCodec, data: bytes) -> bool:
        codec.receive_data(data)
        pull(codec, Transcript())
        return codec.reusable

    def test_after_a_whole_exchange(self) -> None:
        codec = client_codec()
        self.assertFalse(codec.reusable)
        self.assertTrue(self.finish(codec, head(OK, L5) + b"hello"))
        codec.next_cycle()
        self.assertTrue(codec.reusable)
        codec.send_message(Request.make("GET", "http://a/"), b"")
        self.assertTrue(self.finish(codec, head(b"HTTP/1.1 204 No Content")))

    def test_not_with_bytes_left_over(self) -> None:
        self.assertFalse(self.finish(client_codec(), head(OK, L5) + b"hello!"))

    def test_not_after_a_head_response_with_a_last_chunk(self) -> None:
        codec = client_codec(b"HEAD")
        data = head(OK, b"Transfer-Encoding: chunked")
        # Whether the last chunk comes with it or later makes no difference.
        self.assertFalse(self.finish(codec, data))
        self.assertFalse(self.finish(client_codec(b"HEAD"), data + b"0\r\n\r\n"))

    def test_not_with_a_request_body_unsent(self) -> None:
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
        codec.send_head(Request.make("POST", "http://a/"), 5)
        self.assertFalse(self.finish(codec, head(OK, L5) + b"hello"))

    def test_not_after_an_offer_to_upgrade_with_content(self) -> None:
        # Node and others take the content for the beginning of the new protocol.
        for length, reusable in ((0, True), (2, False), (None, False)):
            codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
            request = Request.make("POST", "http://a/")
            request.headers["Connection"] = "Upgrade"
            request.headers["Upgrade"] = "tcp"
            codec.send_head(request, length)
            codec.send_data(b"hi"[: 2 if length is None else length])
            codec.send_end(None)
            self.assertEqual(self.finish(codec, head(OK, L5) + b"hello"), reusable, length)

    def test_not_after_close_eof_or_tunnel(self) -> None:
        self.assertFalse(self.finish(client_codec(), head(OK, L5, b"Connection: close") + b"hello"))
        codec = client_codec()
        codec.receive_eof()
        self.assertFalse(self.finish(codec, head(OK, L5) + b"hello"))
        self.assertFalse(self.finish(client_codec(b"CONNECT"), head(OK)))

    def test_bytes_before_any_request(self) -> None:
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
        self.assertTrue(codec.reusable)
        codec.receive_data(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertIs(codec.next_event(NOW), NEED_DATA)
        self.assertFalse(codec.reusable)
        self.assertRaises(LocalProtocolError, codec.next_cycle)

    def test_closed_while_idle(self) -> None:
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
        codec.receive_eof()
        self.assertIs(codec.next_event(NOW), CONNECTION_CLOSED)

    def test_one_request_at_a_time(self) -> None:
        codec = client_codec()
        error = self.assertRaises(
            LocalProtocolError, codec.send_message, Request.make("GET", "http://a/"), b""
        )
        self.assertEqual(error.code, "message-incomplete")

    def test_streamed_body_is_not_copied(self) -> None:
        codec = client_codec()
        codec.receive_data(head(OK))
        assert isinstance(codec.next_event(NOW), ResponseHead)
        piece = bytes(1000)
        codec.receive_data(piece)
        event = codec.next_event(NOW)
        assert isinstance(event, Data)
        self.assertIs(event.data, piece)
