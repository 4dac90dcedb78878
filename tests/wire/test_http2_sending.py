"""Messages written as HTTP/2, from HTTP/2 and from HTTP/1, and as HTTP/1 from HTTP/2."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Mode
from interceptor.wire.hpack import SensitiveField
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.http2 import AS_ANNOUNCED
from interceptor.wire.httpevents import RequestHead, ResponseHead
from tests.wire.http2feeding import (
    CONTINUATION,
    DATA,
    GET,
    HEADERS,
    NOW,
    POST,
    Compressor,
    Pairs,
    build,
    data,
    decode_heads,
    feed,
    headers,
    new_client,
    new_request,
    new_response,
    new_server,
    parse,
)


def by_http1(sent: bytes, scheme: bytes = b"https") -> Request:
    """Return a request as the HTTP/1 codec reads it."""
    codec = HTTP1ServerCodec(HTTP1Limits(), "repair", scheme)
    codec.receive_data(sent)
    event = codec.next_event(NOW)
    assert isinstance(event, RequestHead)
    return event.request


def response_by_http1(sent: bytes) -> Response:
    codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
    codec.send_message(Request.make("GET", "http://example.com/"), b"")
    codec.receive_data(sent)
    event = codec.next_event(NOW)
    assert isinstance(event, ResponseHead)
    return event.response


class RequestTests(SynchronousTestCase):
    def sent(self, request: Request, end: bool = True, **options: Any) -> Pairs:
        codec = new_client()
        codec.send_request(request, end, **options)
        ((stream_id, flags, fields),) = decode_heads(parse(codec.data_to_send()))
        self.assertEqual((stream_id, flags & 1), (1, int(end)))
        return fields

    def refuse(self, request: Request, code: str = "header-invalid", **options: Any) -> None:
        codec = new_client()
        with self.assertRaises(LocalProtocolError) as caught:
            codec.send_request(request, True, **options)
        self.assertEqual(caught.exception.code, code)
        # The next one is none the worse for it.
        self.assertFalse(codec.has_output)
        self.assertEqual(codec.send_request(new_request(), True), 1)

    def test_what_came_by_http2_leaves_as_it_came(self):
        fields = [
            (b"user-agent", b"me"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"te", b"trailers"),
        ]
        (head,) = feed(new_server(), headers(1, [*GET, *fields], True)).of(1)
        self.assertEqual(self.sent(head.request), [*GET, *fields])

    def test_what_came_by_http1(self):
        request = by_http1(
            b"GET /path?q=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: me\r\nX-Name:  value \r\n"
            b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
            b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n"
            b"TE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nCookie: a=1; b=2\r\n\r\n"
        )
        self.assertEqual(
            self.sent(request),
            [
                *GET,
                (b"user-agent", b"me"),
                (b"x-name", b"value"),
                (b"te", b"trailers"),
                (b"cookie", b"a=1; b=2"),
            ],
        )

    def test_chunked(self):
        request = by_http1(
            b"POST /path?q=1 HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.assertEqual(self.sent(request, False), POST)

    def test_authority(self):
        for sent, expected in (
            (b"GET / HTTP/1.1\r\nHost: Example.com:8443\r\n\r\n", b"Example.com:8443"),
            (b"GET http://a.example:80/ HTTP/1.1\r\nHost: a.example:80\r\n\r\n", b"a.example:80"),
            (b"GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", b"[::1]:8443"),
        ):
            self.assertEqual(dict(self.sent(by_http1(sent)))[b":authority"], expected)

    def test_authority_follows_the_host_that_a_hook_set(self):
        request = by_http1(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        request.host = "other.example"
        self.assertEqual(dict(self.sent(request))[b":authority"], b"other.example")
        (head,) = feed(new_server(), headers(1, GET, True)).of(1)
        head.request.host = "other.example"
        self.assertEqual(dict(self.sent(head.request))[b":authority"], b"other.example")

    def test_authority_stays_where_only_the_destination_changes(self):
        (head,) = feed(new_server(), headers(1, GET, True)).of(1)
        head.request.set_destination(b"http", b"10.0.0.1", 8080)
        fields = dict(self.sent(head.request))
        self.assertEqual((fields[b":authority"], fields[b":scheme"]), (b"example.com", b"http"))

    def test_authority_of_a_request_without_one(self):
        fields = [*GET[:2], GET[3], (b"host", b"example.com:8443")]
        (head,) = feed(new_server(), headers(1, fields, True)).of(1)
        sent = self.sent(head.request)
        self.assertIn((b":authority", b"example.com:8443"), sent)
        self.assertNotIn(b"host", dict(sent))

    def test_made_by_a_hook(self):
        request = Request.make("GET", "https://example.com/path?q=1", headers={"X-Name": "value"})
        self.assertEqual(self.sent(request), [*GET, (b"x-name", b"value")])

    def test_connect(self):
        fields = self.sent(new_request("CONNECT", "https://example.com/"), False)
        self.assertEqual(fields, [(b":method", b"CONNECT"), (b":authority", b"example.com:443")])

    def test_extended_connect(self):
        request = new_request(url="https://example.com/chat")
        request.method = "CONNECT"
        fields = self.sent(request, False, protocol=b"websocket")
        self.assertEqual(
            sorted(fields),
            sorted(
                [
                    (b":method", b"CONNECT"),
                    (b":protocol", b"websocket"),
                    (b":scheme", b"https"),
                    (b":path", b"/chat"),
                    (b":authority", b"example.com"),
                ]
            ),
        )

    def test_asterisk(self):
        request = new_request("OPTIONS")
        request.path = "*"
        self.assertIn((b":path", b"*"), self.sent(request))

    def test_lengths(self):
        field = (b"content-length", b"3")
        for length, stays in ((AS_ANNOUNCED, True), (3, True), (4, False), (None, False)):
            request = new_request("POST", fields=[field])
            self.assertEqual(field in self.sent(request, False, length=length), stays)

    def test_a_length_that_is_not_kept(self):
        self.refuse(new_request(fields=[(b"content-length", b"3")]), "body-too-short")
        codec = new_client()
        codec.send_request(new_request("POST", fields=[(b"content-length", b"3")]))
        with self.assertRaises(LocalProtocolError) as caught:
            codec.send_data(1, b"abcd")
        self.assertEqual(caught.exception.code, "body-too-long")
        codec = new_client()
        codec.send_request(new_request("POST", fields=[(b"content-length", b"3")]))
        codec.send_data(1, b"ab")
        for send in (codec.end_stream, lambda n: codec.send_trailers(n, Headers())):
            with self.assertRaises(LocalProtocolError) as caught:
                send(1)
            self.assertEqual(caught.exception.code, "body-too-short")
        codec.send_data(1, b"c", True)

    def test_what_a_hook_must_not_make_of_it(self):
        for name, value in (
            (b"x name", b"value\r\n"),
            (b"x-name", b"a\r\nb"),
            (b"x-name", b"a\x00b"),
            (b"x:y", b"value"),
            (b":path", b"/other"),
            (b"", b"value"),
            (b"x\n", b"value"),
        ):
            self.refuse(new_request(fields=[(name, value)]))
        for attribute, value in (
            ("path_bytes", b"/a b"),
            ("path_bytes", b"/a\r\nb"),
            ("path_bytes", b"a"),
            ("method_bytes", b"GE T"),
            ("method_bytes", b""),
            ("authority_bytes", b"a b"),
            ("authority_bytes", b"user@a"),
            ("authority_bytes", b"a\r\n"),
        ):
            request = new_request()
            setattr(request, attribute, value)
            self.refuse(request)
        self.refuse(new_request(), protocol=b"web socket")

    def test_names_become_lower_case(self):
        request = new_request(fields=[(b"X-Name", b"value"), (b"CONTENT-TYPE", b"text/plain")])
        self.assertEqual(
            self.sent(request)[4:], [(b"x-name", b"value"), (b"content-type", b"text/plain")]
        )

    def test_what_may_not_be_indexed(self):
        request = new_request(fields=[SensitiveField((b"x-key", b"secret"))])
        codec = new_client()
        codec.send_request(request, True)
        self.assertIn(b"\x10", parse(codec.data_to_send())[0].payload)
        self.assertEqual(codec._encoder._fields.keys() & {(b"x-key", b"secret")}, set())

    def test_large_heads_go_in_pieces(self):
        codec = new_client()
        value = bytes(range(33, 127)) * 500
        codec.send_request(new_request(fields=[(b"x-name", value)]), True, priority=bytes(5))
        frames = parse(codec.data_to_send())
        kinds = [frame.kind for frame in frames]
        self.assertEqual(kinds, [HEADERS] + [CONTINUATION] * (len(kinds) - 1))
        self.assertGreater(len(frames), 2)
        self.assertEqual(frames[0].flags, 0x21)
        self.assertEqual([frame.flags for frame in frames[1:]], [0] * (len(frames) - 2) + [4])
        self.assertEqual(max(len(frame.payload) for frame in frames), 16384)
        self.assertEqual(decode_heads(frames)[0][2][-1], (b"x-name", value))

    def test_ids(self):
        codec = new_client()
        self.assertEqual([codec.send_request(new_request(), True) for _ in range(3)], [1, 3, 5])
        self.assertEqual(codec.open_streams, 3)

    def test_trailers(self):
        codec = new_client()
        codec.send_request(new_request("POST"))
        codec.send_data(1, b"abc")
        trailers = Headers.from_wire(
            (
                (b"Grpc-Status", b"0"),
                (b"Connection", b"close"),
                (b"Content-Length", b"3"),
                (b"Transfer-Encoding", b"chunked"),
                (b"Host", b"a"),
            ),
            None,
        )
        codec.send_trailers(1, trailers)
        end = decode_heads(parse(codec.data_to_send()))[-1]
        self.assertEqual(end, (1, 5, [(b"grpc-status", b"0")]))

    def test_trailers_of_which_nothing_is_left(self):
        codec = new_client()
        codec.send_request(new_request("POST"))
        codec.data_to_send()
        codec.send_trailers(1, Headers.from_wire(((b"Host", b"a"),), None))
        self.assertEqual(parse(codec.data_to_send()), [(DATA, 1, 1, b"")])

    def test_faulty_trailers(self):
        codec = new_client()
        codec.send_request(new_request("POST"))
        with self.assertRaises(LocalProtocolError):
            codec.send_trailers(1, Headers.from_wire(((b"x-name", b"a\r\nb"),), None))


class ResponseTests(SynchronousTestCase):
    def sent(
        self, response: Response, request: Pairs = GET, end: bool = False, **options: Any
    ) -> tuple[bool, int, Pairs]:
        """Return whether our direction has ended, the flags and the fields."""
        codec = new_server()
        (head,) = feed(codec, headers(1, request)).of(1)
        ended = codec.send_response(1, head.request, response, end, **options)
        ((_, flags, fields),) = decode_heads(parse(codec.data_to_send()))
        return ended, flags, fields

    def test_what_came_by_http2_leaves_as_it_came(self):
        fields = [(b"server", b"it"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        (head,) = feed(new_client("GET"), headers(1, [(b":status", b"200"), *fields])).of(1)
        self.assertEqual(self.sent(head.response), (False, 4, [(b":status", b"200"), *fields]))

    def test_what_came_by_http1(self):
        response = response_by_http1(
            b"HTTP/1.1 404 Not Found\r\nServer: it\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
            b"Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n"
            b"Proxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\n\r\n"
        )
        fields = [(b":status", b"404"), (b"server", b"it"), (b"set-cookie", b"a=1")]
        self.assertEqual(self.sent(response), (False, 4, fields))

    def test_authentication_at_the_proxy(self):
        response = new_response(407, [(b"proxy-authenticate", b"Basic")])
        self.assertIn((b"proxy-authenticate", b"Basic"), self.sent(response)[2])

    def test_end_of_the_stream(self):
        self.assertEqual(self.sent(new_response(), end=True)[:2], (True, 5))

    def test_responses_without_a_body_end_at_once(self):
        length = (b"content-length", b"9")
        head: Pairs = [(b":method", b"HEAD"), *GET[1:]]
        ended, flags, fields = self.sent(new_response(200, [length]), head)
        self.assertEqual((ended, flags & 1), (True, 1))
        self.assertIn(length, fields)
        ended, flags, fields = self.sent(new_response(304, [length]), length=0)
        self.assertEqual((ended, flags & 1), (True, 1))
        self.assertIn(length, fields)
        ended, flags, fields = self.sent(new_response(204, [length]))
        self.assertEqual((ended, flags & 1), (True, 1))
        self.assertNotIn(length, fields)

    def test_what_the_client_asked_counts_and_not_what_a_hook_made_of_it(self):
        codec = new_server()
        (head,) = feed(codec, headers(1, [(b":method", b"HEAD"), *GET[1:]], True)).of(1)
        head.request.method = "GET"
        self.assertTrue(codec.send_response(1, head.request, new_response()))

    def test_tunnel(self):
        connect: Pairs = [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]
        response = new_response(200, [(b"content-length", b"0")])
        self.assertEqual(self.sent(response, connect), (False, 4, [(b":status", b"200")]))

    def test_lengths(self):
        field = (b"content-length", b"3")
        for length, stays in ((AS_ANNOUNCED, True), (3, True), (4, False), (None, False)):
            _, _, fields = self.sent(new_response(200, [field]), length=length)
            self.assertEqual(field in fields, stays)

    def test_a_length_that_is_not_kept(self):
        codec = new_server()
        feed(codec, headers(1, GET, True))
        with self.assertRaises(LocalProtocolError) as caught:
            codec.send_response(1, None, new_response(200, [(b"content-length", b"3")]), True)
        self.assertEqual(caught.exception.code, "body-too-short")
        codec.send_response(1, None, new_response(200, [(b"content-length", b"3")]))
        with self.assertRaises(LocalProtocolError) as caught:
            codec.send_data(1, b"abcd", True)
        self.assertEqual(caught.exception.code, "body-too-long")

    def test_informational(self):
        codec = new_server()
        feed(codec, headers(1, GET, True))
        codec.send_informational(
            1, new_response(103, [(b"Link", b"</a>"), (b"content-length", b"0")])
        )
        codec.send_informational(1, new_response(101, [(b"upgrade", b"websocket")]))
        codec.send_response(1, None, new_response(), True)
        codec_frames = parse(codec.data_to_send())
        self.assertEqual(
            decode_heads(codec_frames),
            [(1, 4, [(b":status", b"103"), (b"link", b"</a>")]), (1, 5, [(b":status", b"200")])],
        )

    def test_refused(self):
        for response in (
            new_response(200, [(b"x-name", b"a\r\nb")]),
            new_response(200, [(b":status", b"500")]),
            new_response(100),
            new_response(1000),
        ):
            codec = new_server()
            feed(codec, headers(1, GET, True))
            with self.assertRaises(LocalProtocolError) as caught:
                codec.send_response(1, None, response)
            self.assertEqual(caught.exception.code, "header-invalid")
            self.assertFalse(codec.has_output)

    def test_a_second_response(self):
        codec = new_server()
        feed(codec, headers(1, GET, True))
        codec.send_response(1, None, new_response())
        with self.assertRaises(LocalProtocolError):
            codec.send_response(1, None, new_response())

    def test_before_the_request_is_whole(self):
        codec, compressor = new_server(), Compressor()
        feed(codec, compressor.headers(1, POST))
        codec.send_response(1, None, new_response(413), True)
        self.assertEqual(codec.open_streams, 1)
        # RFC 9113 section 8.1: the client is asked to stop, without an error.
        codec.reset(1, 0)
        self.assertEqual(codec.open_streams, 0)
        self.assertIsNone(feed(codec, data(1, b"late", True)).error)


class AsHTTP1Tests(SynchronousTestCase):
    """What came by HTTP/2 is HTTP/1 as any other, and nothing in it can split a message."""

    def request(self, fields: Pairs, mode: Mode = "repair") -> Request:
        (head,) = feed(new_server(mode), headers(1, fields)).of(1)
        request: Request = head.request
        return request

    def written(self, request: Request, length: int | None = 0) -> bytes:
        return HTTP1ClientCodec(HTTP1Limits(), "repair").send_head(request, length)

    def test_request(self):
        request = self.request([*GET, (b"user-agent", b"me"), (b"te", b"trailers")])
        self.assertEqual(
            self.written(request),
            b"GET /path?q=1 HTTP/1.1\r\nHost: example.com\r\nuser-agent: me\r\nte: trailers\r\n"
            b"Connection: TE\r\n\r\n",
        )

    def test_cookies_are_joined(self):
        fields = [(b"cookie", b"a=1"), (b"x-name", b"value"), (b"cookie", b"b=2")]
        self.assertEqual(
            self.written(self.request([*GET, *fields])),
            b"GET /path?q=1 HTTP/1.1\r\nHost: example.com\r\ncookie: a=1; b=2\r\n"
            b"x-name: value\r\n\r\n",
        )

    def test_cookies_of_http1_stay_apart(self):
        request = by_http1(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n")
        request.headers["X-Name"] = "value"
        self.assertIn(b"Cookie: a=1\r\nCookie: b=2\r\n", self.written(request))

    def test_body_of_unknown_length_is_chunked(self):
        self.assertIn(b"Transfer-Encoding: chunked\r\n", self.written(self.request(POST), None))

    def test_host_is_what_the_client_named(self):
        request = self.request([GET[0], GET[1], (b":authority", b"Example.com:443"), GET[3]])
        request.set_destination(b"http", b"10.0.0.1", 8080)
        self.assertIn(b"Host: Example.com:443\r\n", self.written(request))

    def test_host_field_in_place_of_an_authority(self):
        request = self.request([*GET[:2], GET[3], (b"host", b"example.com:8443")])
        self.assertIn(b"\r\nhost: example.com:8443\r\n", self.written(request))
        self.assertEqual(self.written(request).lower().count(b"host:"), 1)

    def test_host_field_beside_an_authority(self):
        for host in (b"example.com", b"other.example"):
            written = self.written(self.request([*GET, (b"host", host)]))
            self.assertIn(b"host: example.com\r\n", written)
            self.assertEqual(written.lower().count(b"host:"), 1)

    def test_absolute_form(self):
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair", "absolute")
        written = codec.send_head(self.request([GET[0], (b":scheme", b"http"), *GET[2:]]), 0)
        self.assertTrue(written.startswith(b"GET http://example.com/path?q=1 HTTP/1.1\r\n"))

    def test_connect(self):
        request = self.request([(b":method", b"CONNECT"), (b":authority", b"example.com:443")])
        self.assertEqual(
            self.written(request),
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
        )

    def test_what_a_lenient_mode_let_in_is_not_written_strictly(self):
        request = self.request([*GET, (b"x(name)", b"value")], "pass")
        with self.assertRaises(LocalProtocolError):
            self.written(request)

    def test_nothing_reaches_an_http1_server_that_is_not_checked_again(self):
        for field in (
            (b"x-name", b"a\r\nX-Evil: 1"),
            (b"x-name\r\nx-evil", b"1"),
            (b"x-name", b"\x00"),
        ):
            request = new_request(fields=[field])
            with self.assertRaises(LocalProtocolError):
                self.written(request)
        for attribute, value in (
            ("path_bytes", b"/ HTTP/1.1\r\nX: y"),
            ("method_bytes", b"GET / HTTP/1.1\r\nX: y\r\n\r\nGET"),
            ("authority_bytes", b"a\r\nX: y"),
        ):
            request = new_request()
            setattr(request, attribute, value)
            with self.assertRaises(LocalProtocolError):
                self.written(request)

    def test_length_beside_a_body_of_another_length(self):
        request = self.request([*POST, (b"content-length", b"3")])
        self.assertIn(b"Content-Length: 5\r\n", self.written(request, 5))
        self.assertNotIn(b"content-length", self.written(request, 5))

    def response(self, fields: Pairs) -> Response:
        (head,) = feed(new_client("GET"), build(HEADERS, 4, 1, Compressor().block(fields))).of(1)
        response: Response = head.response
        return response

    def written_response(self, response: Response, length: int | None) -> bytes:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        codec.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        event = codec.next_event(NOW)
        assert isinstance(event, RequestHead)
        return codec.send_head(event.request, response, length)

    def test_response(self):
        response = self.response(
            [(b":status", b"404"), (b"server", b"it"), (b"content-length", b"3")]
        )
        self.assertEqual(
            self.written_response(response, 3),
            b"HTTP/1.1 404 Not Found\r\nserver: it\r\ncontent-length: 3\r\n\r\n",
        )

    def test_response_of_unknown_length(self):
        response = self.response([(b":status", b"299")])
        self.assertEqual(
            self.written_response(response, None),
            b"HTTP/1.1 299 \r\nTransfer-Encoding: chunked\r\n\r\n",
        )
