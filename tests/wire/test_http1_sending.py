"""What is sent: untouched bytes, hop-by-hop fields, framing made true, nothing that splits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Mode
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import RequestHead, ResponseHead
from tests.wire.feeding import NOW, client_codec, head, read_response

HOST = b"Host: a.example"
GET = b"GET / HTTP/1.1"
OK = b"HTTP/1.1 200 OK"


def server_codec(*lines: bytes, mode: Mode = "repair") -> tuple[HTTP1ServerCodec, Request]:
    """A codec that has read the head of a request."""
    codec = HTTP1ServerCodec(HTTP1Limits(), mode)
    codec.receive_data(head(*(lines or (GET, HOST))))
    event = codec.next_event(NOW)
    assert isinstance(event, RequestHead)
    return codec, event.request


def new_client(mode: Mode = "repair", form: str = "origin") -> HTTP1ClientCodec:
    return HTTP1ClientCodec(HTTP1Limits(), mode, form)


def forwarded(*lines: bytes, body: bytes = b"", mode: Mode = "repair") -> bytes:
    """What becomes of a request that nobody touched."""
    _, request = server_codec(*lines, mode=mode)
    return new_client(mode).send_message(request, body)


def received(*lines: bytes, method: bytes = b"GET") -> Response:
    codec = client_codec(method)
    codec.receive_data(head(*lines))
    event = codec.next_event(NOW)
    assert isinstance(event, ResponseHead)
    return event.response


def returned(*lines: bytes, body: bytes = b"", request: tuple[bytes, ...] = ()) -> bytes:
    """What becomes of a response that nobody touched."""
    codec, message = server_codec(*request)
    method = message.method_bytes
    return codec.send_message(message, received(*lines, method=method), body)


class UntouchedRequestsTests(SynchronousTestCase):
    """Requests leave as they came, but for what concerns one connection only."""

    def test_bytes_case_and_order(self) -> None:
        lines = (GET, b"hOST:a.example", b"X-b:  1  ", b"x-A:\t2", b"X-b: 3", b"accept:")
        self.assertEqual(forwarded(*lines), head(*lines))

    def test_absolute_form_becomes_origin_form(self) -> None:
        sent = forwarded(b"GET http://a.example/x?y HTTP/1.1", HOST)
        self.assertEqual(sent, head(b"GET /x?y HTTP/1.1", HOST))

    def test_absolute_form_to_a_proxy(self) -> None:
        _, request = server_codec(b"GET http://a.example:81/x HTTP/1.1", b"Host: a.example:81")
        sent = new_client(form="absolute").send_message(request, b"")
        self.assertEqual(sent, head(b"GET http://a.example:81/x HTTP/1.1", b"Host: a.example:81"))

    def test_asterisk_and_ipv6_to_a_proxy(self) -> None:
        _, request = server_codec(b"OPTIONS http://[::1] HTTP/1.1", b"Host: [::1]")
        sent = new_client(form="absolute").send_message(request, b"")
        self.assertEqual(sent, head(b"OPTIONS http://[::1] HTTP/1.1", b"Host: [::1]"))

    def test_connect(self) -> None:
        _, request = server_codec(b"CONNECT [::1]:443 HTTP/1.1", b"Host: [::1]:443")
        sent = new_client().send_message(request, b"")
        self.assertEqual(sent, head(b"CONNECT [::1]:443 HTTP/1.1", b"Host: [::1]:443"))

    def test_old_version_stays_and_gets_a_host(self) -> None:
        sent = forwarded(b"GET http://a.example/ HTTP/1.0")
        self.assertEqual(sent, head(b"GET / HTTP/1.0", HOST))

    def test_hop_by_hop_fields_go(self) -> None:
        for drop in (
            (b"Connection: keep-alive",),
            (b"connection: close",),
            (b"Connection: close, X-Hop", b"x-hop: 1", b"X-HOP: 2"),
            (b"X-Hop: 1", b"Connection:", b"Connection: x-hop"),
            (b"Keep-Alive: timeout=5",),
            (b"Proxy-Connection: keep-alive",),
            (b"Proxy-Authorization: Basic Zm9v",),
            (b"Proxy-Authenticate: Basic",),
            (b"TE: gzip",),
            (b"Upgrade: websocket",),
            (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        ):
            for lines in ((*drop, HOST, b"X: y"), (HOST, *drop, b"X: y"), (HOST, b"X: y", *drop)):
                sent = forwarded(GET, *lines)
                self.assertEqual(sent, head(GET, HOST, b"X: y"), lines)

    def test_connection_cannot_take_end_to_end_fields_away(self) -> None:
        lines = (b"Authorization: a", b"Cookie: b", b"X-Forwarded-For: c", b"Content-Type: d")
        names = b"Connection: close, authorization, Cookie, X-Forwarded-For, Content-Type, Host"
        self.assertEqual(forwarded(GET, HOST, names, *lines), head(GET, HOST, *lines))

    def test_te_trailers_survives(self) -> None:
        sent = forwarded(GET, HOST, b"TE: deflate, trailers", b"Connection: TE, close")
        self.assertEqual(sent, head(GET, HOST, b"TE: trailers", b"Connection: TE"))
        self.assertEqual(
            forwarded(GET, b"te: trailers", HOST),
            head(GET, b"te: trailers", HOST, b"Connection: TE"),
        )

    def test_upgrade_is_forwarded_in_its_place(self) -> None:
        lines = (HOST, b"Connection: keep-alive, Upgrade", b"X: y", b"Upgrade: h2c, websocket")
        self.assertEqual(
            forwarded(GET, *lines),
            head(GET, HOST, b"Connection: Upgrade", b"X: y", b"Upgrade: websocket"),
        )

    def test_upgrade_that_is_not_forwarded(self) -> None:
        _, request = server_codec(GET, HOST, b"Connection: Upgrade", b"Upgrade: websocket")
        sent = new_client().send_message(request, b"", upgrade=False)
        self.assertEqual(sent, head(GET, HOST))

    def test_bodies(self) -> None:
        post = b"POST / HTTP/1.1"
        length = b"content-length: 5"
        self.assertEqual(
            forwarded(post, HOST, length, b"X: y", body=b"hello"),
            head(post, HOST, length, b"X: y") + b"hello",
        )
        coding = b"transfer-encoding: Chunked"
        self.assertEqual(
            forwarded(post, HOST, coding, b"X: y", body=b"hello"),
            head(post, HOST, coding, b"X: y") + b"5\r\nhello\r\n0\r\n\r\n",
        )
        self.assertEqual(forwarded(post, HOST, coding), head(post, HOST, coding) + b"0\r\n\r\n")

    def test_repaired_lengths(self) -> None:
        post = b"POST / HTTP/1.1"
        clean = head(post, HOST, b"Content-Length: 5") + b"hello"
        for lines in (
            (b"Content-Length: 005",),
            (b"Content-Length: 5, 5",),
            (b"Content-Length: 5", b"Content-Length: 5"),
        ):
            for mode in ("repair", "pass"):
                self.assertEqual(forwarded(post, HOST, *lines, body=b"hello", mode=mode), clean)

    def test_repaired_fold(self) -> None:
        sent = forwarded(GET, HOST, b"X:  a", b"  b", b"Y: c")
        self.assertEqual(sent, head(GET, HOST, b"X: a b", b"Y: c"))

    def test_cosmetic_faults_in_pass(self) -> None:
        lines = (GET, HOST, b"X Y: a\x01", b"Z: \xff")
        self.assertEqual(forwarded(*lines, mode="pass"), head(*lines))


class ChangedRequestsTests(SynchronousTestCase):
    """What a hook, or another protocol, put in."""

    def send(self, request: Request, body: bytes = b"", mode: Mode = "repair") -> bytes:
        return new_client(mode).send_message(request, body)

    def refused(self, request: Request, mode: Mode = "repair") -> None:
        error = self.assertRaises(LocalProtocolError, self.send, request, b"", mode)
        self.assertEqual(error.code, "header-invalid")

    def test_fields_are_sent_in_order(self) -> None:
        _, request = server_codec(GET, HOST, b"Connection: keep-alive", b"x:y")
        request.headers["X-Added"] = "1"
        self.assertEqual(self.send(request), head(GET, HOST, b"x: y", b"X-Added: 1"))

    def test_a_body_that_changed_its_length(self) -> None:
        _, request = server_codec(b"POST / HTTP/1.1", HOST, b"Content-Length: 5", b"X: y")
        self.assertEqual(
            self.send(request, b"longer body"),
            head(b"POST / HTTP/1.1", HOST, b"X: y", b"Content-Length: 11") + b"longer body",
        )

    def test_a_body_that_was_added(self) -> None:
        _, request = server_codec(GET, HOST)
        self.assertEqual(self.send(request, b"x"), head(GET, HOST, b"Content-Length: 1") + b"x")

    def test_an_empty_post_says_so(self) -> None:
        request = Request.make("POST", "http://a.example/", None)
        self.assertEqual(self.send(request), head(b"POST / HTTP/1.1", HOST, b"Content-Length: 0"))

    def test_unknown_length(self) -> None:
        _, request = server_codec(b"PUT / HTTP/1.0", HOST, b"Content-Length: 5")
        codec = new_client()
        self.assertEqual(
            codec.send_head(request, None),
            head(b"PUT / HTTP/1.1", HOST, b"Transfer-Encoding: chunked"),
        )
        self.assertEqual(codec.send_data(b"hello world"), b"b\r\nhello world\r\n")
        self.assertEqual(codec.send_data(b""), b"")
        trailers = Headers([("X-Sum", "1"), ("Content-Length", "3"), ("Host", "b")])
        self.assertEqual(codec.send_end(trailers), b"0\r\nX-Sum: 1\r\n\r\n")

    def test_trailers_make_a_gathered_body_chunked(self) -> None:
        request = Request.make("POST", "http://a.example/", b"hi")
        request.trailers = Headers([("X-Sum", "1")])
        self.assertEqual(
            self.send(request, b"hi"),
            head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
            + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
        )

    def test_a_counted_body_is_counted(self) -> None:
        codec = new_client()
        codec.send_head(Request.make("POST", "http://a.example/", None), 5)
        self.assertEqual(codec.send_data(b"hel"), b"hel")
        error = self.assertRaises(LocalProtocolError, codec.send_end)
        self.assertEqual(error.code, "body-too-short")
        error = self.assertRaises(LocalProtocolError, codec.send_data, b"lo!")
        self.assertEqual(error.code, "body-too-long")

    def test_nothing_can_split_the_message(self) -> None:
        for name, value in (
            (b"X", b"a\r\nY: b"),
            (b"X", b"a\nY: b"),
            (b"X", b"a\rY: b"),
            (b"X", b"a\0"),
            (b"X", b"a\r\n"),
            (b"X\r\nY", b"a"),
            (b"X\n", b"a"),
            (b"Transfer-Encoding: chunked\r\nX", b"a"),
            (b"Content-Length:5", b""),
            (b":path", b"/"),
            (b"X Y", b"a"),
            (b"X ", b"a"),
            (b" X", b"a"),
            (b"", b"a"),
            (b"Content-Length ", b"5"),
        ):
            request = Request.make("GET", "http://a.example/")
            request.headers = Headers.from_wire(((b"Host", b"a"), (name, value)), None)
            self.refused(request)
            if name != b"X Y":
                self.refused(request, "pass")
            response = Response.make(200, b"")
            response.headers = Headers.from_wire(((name, value),), None)
            codec, got = server_codec()
            if name != b"X Y":
                error = self.assertRaises(
                    LocalProtocolError, codec.send_message, got, response, b""
                )
                self.assertEqual(error.code, "header-invalid")

    def test_start_lines_cannot_be_split(self) -> None:
        for attribute, value in (
            ("path_bytes", b"/ HTTP/1.1\r\nX: y"),
            ("path_bytes", b"/a b"),
            ("method_bytes", b"GET /\r\n"),
            ("method_bytes", b""),
        ):
            request = Request.make("GET", "http://a.example/")
            setattr(request, attribute, value)
            self.refused(request)
        request = Request.make("GET", "http://a.example/")
        del request.headers["Host"]
        request.host_bytes = b"a\r\nX: y"
        self.refused(request)
        for reason in (b"a\r\nX: y", b"a\n", b"\0"):
            codec, got = server_codec()
            response = Response.make(200, b"")
            response.reason_bytes = reason
            self.assertRaises(LocalProtocolError, codec.send_message, got, response, b"")
            response.reason_bytes = reason * 100
            self.assertRaises(LocalProtocolError, codec.send_message, got, response, b"")

    def test_framing_fields_are_made_true(self) -> None:
        request = Request.make("POST", "http://a.example/", b"hello")
        request.headers.add("Content-Length", "7")
        request.headers.add("Connection", "close")
        self.assertEqual(
            self.send(request, b"hello"),
            head(b"POST / HTTP/1.1", HOST, b"Content-Length: 5") + b"hello",
        )
        request.headers["Transfer-Encoding"] = "gzip"
        sent = self.send(request, b"hello")
        self.assertEqual(
            sent,
            head(b"POST / HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
            + b"5\r\nhello\r\n0\r\n\r\n",
        )

    def test_headers_of_another_message(self) -> None:
        # The other's block is still as received; what is dropped is found in it, not remembered.
        _, first = server_codec(GET, HOST)
        _, other = server_codec(
            b"POST / HTTP/1.1", b"Connection: X", b"Content-Length: 3", HOST, b"X: y"
        )
        first.headers = other.headers
        self.assertEqual(self.send(first), head(GET, HOST))

    def test_two_hosts(self) -> None:
        request = Request.make("GET", "http://a.example/")
        request.headers.add("host", "b")
        self.refused(request)

    def test_another_version(self) -> None:
        request = Request.make("GET", "http://a.example/")
        request.http_version = "HTTP/2.0"
        self.assertEqual(self.send(request), head(GET, HOST))


class UntouchedResponsesTests(SynchronousTestCase):
    """Responses leave as they came, but for what concerns one connection only."""

    def test_bytes_case_and_order(self) -> None:
        lines = (b"HTTP/1.1 200 all  fine", b"x-B:1", b"content-length:   5 ", b"X-a: 2", b"x-B:3")
        self.assertEqual(returned(*lines, body=b"hello"), head(*lines) + b"hello")

    def test_empty_and_missing_reason(self) -> None:
        for line in (b"HTTP/1.1 200 ", b"HTTP/1.1 200"):
            lines = (line, b"Content-Length: 0")
            self.assertEqual(returned(*lines), head(*lines))

    def test_hop_by_hop_fields_go(self) -> None:
        length = b"Content-Length: 0"
        for drop in (
            (b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
            (b"Connection: close",),
            (b"Connection: X-Hop", b"X-Hop: 1"),
            (b"Proxy-Connection: close",),
            (b"Proxy-Authenticate: Basic",),
            (b"Proxy-Authentication-Info: a=b",),
            (b"Upgrade: h2,h2c", b"Connection: Upgrade"),
        ):
            self.assertEqual(returned(OK, *drop, length), head(OK, length), drop)
            self.assertEqual(returned(OK, length, *drop), head(OK, length), drop)

    def test_a_407_keeps_its_challenge(self) -> None:
        lines = (
            b"HTTP/1.1 407 Proxy Authentication Required",
            b"Proxy-Authenticate: Basic",
            b"Content-Length: 0",
        )
        self.assertEqual(returned(*lines), head(*lines))

    def test_chunked(self) -> None:
        lines = (OK, b"transfer-encoding: chunked", b"X: y")
        self.assertEqual(returned(*lines, body=b"hello"), head(*lines) + b"5\r\nhello\r\n0\r\n\r\n")

    def test_length_and_chunked(self) -> None:
        sent = returned(OK, b"Content-Length: 99", b"Transfer-Encoding: chunked", body=b"hi")
        self.assertEqual(sent, head(OK, b"Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\n\r\n")

    def test_an_absent_body_is_announced_once(self) -> None:
        coding = b"Transfer-Encoding: chunked"
        for fields in ((b"Content-Length: 5", coding), (coding, b"Content-Length: 5")):
            sent = returned(OK, *fields, request=(b"HEAD / HTTP/1.1", HOST))
            self.assertEqual(sent, head(OK, coding))

    def test_heads_without_body(self) -> None:
        for request, lines in (
            (b"HEAD / HTTP/1.1", (OK, b"Content-Length: 5")),
            (b"HEAD / HTTP/1.1", (OK, b"Transfer-Encoding: chunked")),
            (b"HEAD / HTTP/1.1", (OK, b"X: y")),
            (GET, (b"HTTP/1.1 304 Not Modified", b"Content-Length: 5")),
            (GET, (b"HTTP/1.1 304 Not Modified", b"ETag: x")),
            (GET, (b"HTTP/1.1 204 No Content", b"Content-Length: 0")),
            (GET, (b"HTTP/1.1 204 No Content", b"X: y")),
        ):
            self.assertEqual(returned(*lines, request=(request, HOST)), head(*lines))

    def test_a_204_loses_a_length(self) -> None:
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            sent = returned(b"HTTP/1.1 204 No Content", line)
            self.assertEqual(sent, head(b"HTTP/1.1 204 No Content"))

    def test_connect(self) -> None:
        request = (b"CONNECT a:1 HTTP/1.1", b"Host: a:1")
        sent = returned(OK, b"Content-Length: 5", b"X: y", request=request)
        self.assertEqual(sent, head(OK, b"X: y"))
        lines = (b"HTTP/1.1 403 No", b"Content-Length: 2")
        self.assertEqual(returned(*lines, body=b"no", request=request), head(*lines) + b"no")

    def test_switching_protocols(self) -> None:
        lines = (b"HTTP/1.1 101 Switching", b"Upgrade: websocket", b"Connection: Upgrade", b"X: y")
        codec, request = server_codec()
        sent = codec.send_head(request, received(*lines, method=b"UPGRADE"), None)
        self.assertEqual(sent, head(*lines))

    def test_informational(self) -> None:
        codec, _ = server_codec()
        response = received(b"HTTP/1.1 103 Early Hints", b"Link: a", b"Connection: close")
        self.assertEqual(
            codec.send_informational(response), head(b"HTTP/1.1 103 Early Hints", b"Link: a")
        )
        codec, _ = server_codec(b"GET / HTTP/1.0")
        self.assertEqual(codec.send_informational(response), b"")


class ResponseConnectionTests(SynchronousTestCase):
    """Whether and how the client's connection goes on."""

    length = b"Content-Length: 0"

    def exchange(self, request: tuple[bytes, ...], *lines: bytes) -> tuple[bytes, bool]:
        codec, message = server_codec(*request)
        sent = codec.send_message(message, received(*lines), b"")
        return sent, codec.keep_alive

    def test_plain(self) -> None:
        found = self.exchange((GET, HOST), OK, self.length)
        self.assertEqual(found, (head(OK, self.length), True))

    def test_the_client_closes(self) -> None:
        found = self.exchange((GET, HOST, b"Connection: close"), OK, self.length)
        self.assertEqual(found, (head(OK, self.length, b"Connection: close"), False))

    def test_the_servers_close_is_not_ours(self) -> None:
        found = self.exchange((GET, HOST), OK, b"Connection: close", self.length)
        self.assertEqual(found, (head(OK, self.length), True))

    def test_old_client(self) -> None:
        found = self.exchange((b"GET / HTTP/1.0",), OK, self.length)
        self.assertEqual(found, (head(OK, self.length, b"Connection: close"), False))
        keep = b"Connection: keep-alive"
        found = self.exchange((b"GET / HTTP/1.0", keep), OK, self.length)
        self.assertEqual(found, (head(OK, self.length, keep), True))

    def test_old_server(self) -> None:
        lines = (b"HTTP/1.0 200 OK", self.length)
        found = self.exchange((GET, HOST), *lines)
        self.assertEqual(found, (head(*lines, b"Connection: keep-alive"), True))

    def test_asked_to_close(self) -> None:
        codec, request = server_codec()
        sent = codec.send_message(request, received(OK, self.length), b"", close=True)
        self.assertEqual(sent, head(OK, self.length, b"Connection: close"))
        self.assertFalse(codec.keep_alive)

    def test_no_request(self) -> None:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        response = Response.make(400, b"no", {"Content-Type": "text/plain"})
        sent = codec.send_message(None, response, b"no")
        self.assertIn(b"Connection: close\r\n", sent)
        self.assertTrue(sent.endswith(b"\r\n\r\nno"))
        self.assertFalse(codec.keep_alive)

    def test_the_last_requests_method_is_forgotten(self) -> None:
        codec, request = server_codec(b"HEAD / HTTP/1.1", HOST)
        codec.send_message(request, received(OK, self.length), b"")
        codec.next_cycle()
        sent = codec.send_message(None, Response.make(400, b"no"), b"no")
        self.assertTrue(sent.endswith(b"no"))

    def test_not_while_the_request_is_unread(self) -> None:
        codec, request = server_codec(b"POST / HTTP/1.1", HOST, b"Content-Length: 5")
        codec.send_message(request, received(OK, self.length), b"")
        self.assertFalse(codec.keep_alive)
        codec.receive_data(b"hello")
        codec.next_event(NOW)
        self.assertTrue(codec.keep_alive)

    def test_unknown_length(self) -> None:
        codec, request = server_codec()
        sent = codec.send_head(request, received(OK, b"X: y"), None)
        self.assertEqual(sent, head(OK, b"X: y", b"Transfer-Encoding: chunked"))
        self.assertEqual(codec.send_data(b"hello"), b"5\r\nhello\r\n")
        self.assertFalse(codec.keep_alive)
        self.assertEqual(codec.send_end(), b"0\r\n\r\n")
        self.assertTrue(codec.keep_alive)

    def test_unknown_length_to_an_old_client(self) -> None:
        keep = b"Connection: keep-alive"
        codec, request = server_codec(b"GET / HTTP/1.0", keep)
        response = received(OK, b"Transfer-Encoding: chunked")
        sent = codec.send_head(request, response, None)
        self.assertEqual(sent, head(OK, b"Connection: close"))
        self.assertEqual(codec.send_data(b"hello"), b"hello")
        self.assertEqual(codec.send_end(Headers([("X", "y")])), b"")
        self.assertFalse(codec.keep_alive)

    def test_gathered_chunked_body_to_an_old_client(self) -> None:
        codec, request = server_codec(b"GET / HTTP/1.0", b"Connection: keep-alive")
        response = received(OK, b"Transfer-Encoding: chunked")
        self.assertEqual(
            codec.send_message(request, response, b"hello"),
            head(OK, b"Connection: keep-alive", b"Content-Length: 5") + b"hello",
        )
        self.assertTrue(codec.keep_alive)

    def test_head_suppresses_a_body(self) -> None:
        codec, request = server_codec(b"HEAD / HTTP/1.1", HOST)
        response = Response.make(200, b"hello")
        self.assertTrue(codec.send_message(request, response, b"hello").endswith(b"\r\n\r\n"))
        codec, request = server_codec(b"HEAD / HTTP/1.1", HOST)
        request.method = "GET"
        codec.send_head(request, response, 5)
        self.assertEqual((codec.send_data(b"hello"), codec.send_end()), (b"", b""))
        self.assertTrue(codec.keep_alive)

    def test_trailers(self) -> None:
        codec, request = server_codec()
        response = received(OK, b"Transfer-Encoding: chunked")
        response.trailers = Headers([("X-Sum", "1")])
        sent = codec.send_message(request, response, b"hello")
        self.assertTrue(sent.endswith(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"))
        found = read_response(sent)
        self.assertEqual(found.trailers, ((b"X-Sum", b"1"),))

    def test_a_trailer_cannot_split(self) -> None:
        codec, request = server_codec()
        codec.send_head(request, received(OK), None)
        for field in ((b"X", b"a\r\n\r\nHTTP/1.1"), (b"X\r\n", b"a"), (b"", b"")):
            trailers = Headers.from_wire((field,), None)
            self.assertRaises(LocalProtocolError, codec.send_end, trailers)
