"""What `test_over_http2` leaves out says something about HTTP/1: here is what holds in HTTP/2."""

from __future__ import annotations

from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import CONNECT, GET, OK, EventTestCase, Guard, Hooks, Waiting
from tests.layers.h2peers import Fields, H2Client, H2Origin, H2Peer, ok

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL = 0, 1, 2, 8
"""RFC 9113 section 7."""


class HTTP2TestCase(EventTestCase):
    """Makes proxies whose clients and servers speak HTTP/2 without TLS."""

    def begun(self, *addons: object, **options: Any) -> tuple[MemoryProxy, H2Client, EventRecorder]:
        """Return a proxy with a recorder in front of ``addons``, and a client of it."""
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, **{"h2_cleartext": True, **options})
        client = H2Client(proxy)
        recorder.events.clear()
        return proxy, client, recorder

    def connect(self, client: H2Client, early: bytes = b"") -> int:
        """Ask for a tunnel, and send ``early`` without waiting for the answer."""
        return self.send(client, [(":method", "CONNECT"), (":authority", "example.test:80")], early)

    def send(
        self,
        client: H2Client,
        head: list[tuple[str, str]],
        early: bytes = b"",
        *,
        end: bool = False,
    ) -> int:
        """Send a head as it is, and some data with it."""
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, head, end_stream=end)
        if early:
            client.h2.send_data(stream, early)
        client.go()
        return stream

    def serves_on(self, client: H2Client) -> None:
        """Check that another stream of the connection is served."""
        stream = client.request("/other")
        self.assertIn(stream, client.finished)
        self.assertEqual(client.goaway, [])


class MessageTests(HTTP2TestCase):
    """What hooks see, and what leaves."""

    def test_argument_of_requestheaders(self) -> None:
        seen: list[Any] = []

        def requestheaders(flow: HTTPFlow) -> None:
            request = flow.request
            seen.append((request.method, request.url, request.http_version, request.headers["X-A"]))
            seen.append((request.first_line_format, request.raw_content, request.timestamp_end))
            seen.append((request.pretty_host, flow.response, flow.live, flow.mode))

        _, client, _ = self.begun(Hooks(requestheaders=requestheaders))
        client.request("/a?b=c", ("x-a", "1"), method="POST", end=False)
        self.assertEqual(
            seen,
            [
                ("POST", "http://example.test/a?b=c", "HTTP/2.0", "1"),
                ("absolute", None, None),
                ("example.test", None, True, "regular"),
            ],
        )

    def test_argument_of_responseheaders(self) -> None:
        seen: list[Any] = []

        def responseheaders(flow: HTTPFlow) -> None:
            response = flow.response
            assert response is not None
            seen.append((response.status_code, response.reason, response.http_version))
            seen.append((response.headers["X-A"], response.raw_content, response.timestamp_end))

        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "404"), ("x-a", "1")])
            peer.h2.send_data(stream, b"no", end_stream=True)

        proxy, client, _ = self.begun(Hooks(responseheaders=responseheaders))
        H2Origin(proxy, answer)
        client.request()
        self.assertEqual(seen, [(404, "", "HTTP/2.0"), ("1", None, None)])

    def test_changes_in_responseheaders(self) -> None:
        def responseheaders(flow: HTTPFlow) -> None:
            response = flow.response
            assert response is not None
            response.status_code = 203
            response.reason = "Changed"
            response.headers["X-Added"] = "1"

        proxy, client, _ = self.begun(Hooks(responseheaders=responseheaders))
        H2Origin(proxy, ok)
        stream = client.request("/a")
        self.assertEqual(
            client.heads[stream],
            [[(b":status", b"203"), (b"content-type", b"text/plain"), (b"x-added", b"1")]],
        )
        self.assertEqual(client.bodies[stream], b"/a")

    def test_order_of_fields(self) -> None:
        fields = [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]

        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(b":status", b"200"), *fields], end_stream=True)

        seen: list[Fields] = []
        read = Hooks(
            requestheaders=lambda flow: flow.request.headers["X-B"],
            responseheaders=lambda flow: flow.response.headers["X-B"],
        )
        proxy, client, _ = self.begun(read)
        origin = H2Origin(proxy, answer)
        head = [(":method", "GET"), (":authority", "example.test"), (":scheme", "http")]
        text = [(name.decode(), value.decode()) for name, value in fields]
        stream = self.send(client, [*head, (":path", "/"), *text], end=True)
        seen = [origin.peers[0].heads[1][0], client.heads[stream][0]]
        for head_seen in seen:
            kept = [field for field in head_seen if not field[0].startswith(b":")]
            self.assertEqual(kept, fields)

    def test_body_until_the_end_of_the_connection(self) -> None:
        """A server of HTTP/1 ends its body with the connection: here it ends with the stream."""
        proxy, client, recorder = self.begun(h2_upstream="never")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\n\r\nhello")
        stream = client.request()
        self.assertNotIn("response", recorder.names)
        origin.close()
        self.assertEqual(client.heads[stream], [[(b":status", b"200")]])
        self.assertEqual(client.bodies[stream], b"hello")
        self.assertIn(stream, client.finished)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.raw_content, b"hello")

    def test_offer_of_an_upgrade_is_not_passed_on(self) -> None:
        proxy = self.proxy(h2_cleartext=True, h2_upstream="always")
        origin = H2Origin(proxy, ok)
        client = proxy.client()
        upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"
        client.send(GET.replace(b"\r\n\r\n", upgrade))
        self.assertEqual(self.response(client).status_code, 200)
        [(peer, stream)] = origin.requests
        names = {name for name, _ in peer.heads[stream][0]}
        self.assertEqual(names & {b"upgrade", b"connection"}, set())


class EndTests(HTTP2TestCase):
    """A message that does not come to its end never looks as if it did."""

    def check_reset(
        self, client: H2Client, stream: int, recorder: EventRecorder, code: str
    ) -> None:
        self.assertIn(stream, client.resets)
        self.assertNotEqual(client.resets[stream], NO_ERROR)
        self.assertNotIn(stream, client.finished)
        self.assertEqual(self.code(recorder), code)
        self.assertEqual(self.ends(recorder), ["error"])

    def streaming(self, **options: Any) -> tuple[MemoryProxy, H2Client, EventRecorder]:
        addon = Hooks(
            requestheaders=lambda flow: setattr(flow.request, "stream", True),
            responseheaders=lambda flow: setattr(flow.response, "stream", True),
        )
        return self.begun(addon, **options)

    def test_truncated_response_of_http1(self) -> None:
        proxy, client, recorder = self.streaming(h2_upstream="never")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        stream = client.request()
        self.assertEqual(client.bodies[stream], b"abc")
        origin.close()
        self.check_reset(client, stream, recorder, "response-truncated")

    def test_truncated_response(self) -> None:
        """By the loss of the connection, by RST_STREAM, and by an end that comes too early."""

        def lost(peer: H2Peer) -> None:
            peer.transport.loseConnection()

        def reset(peer: H2Peer) -> None:
            peer.h2.reset_stream(1, INTERNAL_ERROR)

        def short(peer: H2Peer) -> None:
            peer.h2.end_stream(1)

        for how, code in (
            (lost, "response-truncated"),
            (reset, "stream-reset"),
            (short, "response-length-mismatch"),
        ):
            proxy, client, recorder = self.streaming()
            origin = H2Origin(proxy)
            stream = client.request()
            peer = origin.peers[0]
            peer.h2.send_headers(1, [(":status", "200"), ("content-length", "10")])
            peer.h2.send_data(1, b"abc")
            origin.go()
            self.assertEqual(client.bodies[stream], b"abc")
            how(peer)
            origin.go()
            self.check_reset(client, stream, recorder, code)

    def test_request_that_is_cut_off(self) -> None:
        """What was promised by ``content-length`` and did not come is no request."""
        for begun in (self.begun, self.streaming):
            proxy, client, recorder = begun()
            origin = H2Origin(proxy)
            stream = client.request("/", ("content-length", "5"), method="POST", end=False)
            client.send_body(stream, b"hel", end=True)
            self.check_reset(client, stream, recorder, "length-mismatch")
            self.assertEqual(origin.requests, [])
            for peer in origin.peers:
                self.assertEqual(peer.resets, {1: CANCEL})
            self.assertNotIn("request", recorder.names)

    def test_killed_in_the_body(self) -> None:
        proxy, client, recorder = self.streaming()
        origin = H2Origin(proxy)
        upload = client.request("/", method="POST", end=False)
        client.send_body(upload, b"some")
        other = client.request("/other")
        recorder.arguments("requestheaders")[0].kill()
        proxy.flush()
        peer = origin.peers[0]
        self.assertEqual((peer.resets, peer.bodies[1]), ({1: CANCEL}, b"some"))
        self.check_reset(client, upload, recorder, "killed")
        ok(peer, 3)
        origin.go()
        self.assertIn(other, client.finished)

    def test_killed_in_the_body_of_a_response(self) -> None:
        proxy, client, recorder = self.streaming()
        origin = H2Origin(proxy)
        stream, other = client.request(), client.request("/other")
        peer = origin.peers[0]
        peer.h2.send_headers(1, [(":status", "200")])
        peer.h2.send_data(1, b"some")
        origin.go()
        recorder.arguments("responseheaders")[0].kill()
        proxy.flush()
        self.check_reset(client, stream, recorder, "killed")
        self.assertEqual(peer.resets, {1: CANCEL})
        ok(peer, 3)
        origin.go()
        self.assertIn(other, client.finished)

    def test_failing_callable(self) -> None:
        def fail(data: bytes) -> bytes:
            if not data:
                raise ValueError("no good")
            return data

        self.check_callable(fail, "stream-failed")

    def test_killing_callable(self) -> None:
        def kill(data: bytes) -> bytes:
            if not data:
                self.flows[-1].kill()
            return data

        self.check_callable(kill, "killed")

    def check_callable(self, stream_callable: Any, code: str) -> None:
        for side in ("request", "response"):
            self.flows: list[HTTPFlow] = []

            def headers(flow: HTTPFlow, side: str = side) -> None:
                self.flows.append(flow)
                getattr(flow, side).stream = stream_callable

            proxy, client, recorder = self.begun(Hooks(**{f"{side}headers": headers}))
            origin = H2Origin(proxy, ok)
            stream = client.request("/", method="POST", body=b"hello")
            [peer] = origin.peers
            if side == "request" and code == "stream-failed":
                # Nothing was answered yet: there can still be a page.
                self.assertEqual(client.status(stream), b"502")
                self.assertEqual(self.code(recorder), code)
            else:
                self.check_reset(client, stream, recorder, code)
            if side == "request":
                self.assertEqual((peer.bodies[1], peer.resets), (b"hello", {1: CANCEL}))
                self.assertEqual(origin.requests, [])
            else:
                self.assertEqual(client.bodies[stream], b"/")


class RefusalTests(HTTP2TestCase):
    """One stream is refused; the connection serves the others."""

    def test_tunnel(self) -> None:
        for status in (403, 407, 302, 500):
            page = Response.make(status, b"not for you")
            proxy, client, recorder = self.begun(
                Hooks(http_connect=lambda flow, page=page: setattr(flow, "response", page))
            )
            H2Origin(proxy, ok)
            stream = self.connect(client, b"early")
            self.assertEqual(client.status(stream), b"%d" % status)
            self.assertEqual(client.bodies[stream], b"not for you")
            # The client is asked to stop (RFC 9113 section 8.1).
            self.assertEqual(client.resets, {stream: NO_ERROR})
            self.assertEqual(recorder.names, ["http_connect"])
            self.assertEqual(proxy.network.attempts, [])
            self.serves_on(client)

    def test_server(self) -> None:
        refused: list[Any] = []

        def serverconnect(conn: Any) -> None:
            if not refused:
                refused.append(conn)
                conn.refuse("not there")

        proxy, client, recorder = self.begun(Hooks(serverconnect=serverconnect))
        H2Origin(proxy, ok)
        stream = client.request()
        self.assertEqual(client.status(stream), b"502")
        self.assertIn(b"not there", client.bodies[stream])
        self.assertEqual(recorder.names[-2:], ["serverconnect", "error"])
        self.assertEqual(self.code(recorder), "refused-by-hook")
        self.serves_on(client)

    def test_malformed_head(self) -> None:
        """It is met by ``error`` alone, with a request to be relied on."""
        good = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        for head in (
            good[:3],
            good[1:],
            [*good, (":path", "/")],
            [*good, ("connection", "close")],
            [*good, ("x", "a\r\nb: c")],
            [*good, ("x\r\nb", "c")],
            [*good, ("X", "a")],
        ):
            proxy, client, recorder = self.begun()
            stream = self.send(client, head, end=True)
            self.assertEqual(client.resets, {stream: PROTOCOL_ERROR}, head)
            self.assertEqual(recorder.names, ["error"], head)
            [flow] = recorder.arguments("error")
            self.assertEqual(flow.request.method, "?")
            self.assertTrue(flow.error.code and flow.error.msg)
            H2Origin(proxy, ok)
            self.serves_on(client)

    def half_a_head(self, **options: Any) -> tuple[MemoryProxy, H2Client, EventRecorder]:
        proxy, client, recorder = self.begun(**options)
        # A HEADERS frame without END_HEADERS.
        client.write(b"\0\0\1\1\0\0\0\0\1\x82")
        proxy.flush()
        return proxy, client, recorder

    def test_head_that_never_ends(self) -> None:
        proxy, client, recorder = self.half_a_head(head_timeout=5.0)
        proxy.advance(5.1)
        self.assertEqual(len(client.goaway), 1)
        self.assertEqual(self.ends(recorder), ["error"])
        proxy.advance(10)
        self.assertTrue(client.ended or client.lost is not None)

    def test_head_that_is_cut_off(self) -> None:
        proxy, client, recorder = self.half_a_head()
        client.transport.loseConnection()
        proxy.flush()
        self.assertEqual(recorder.names, ["clientdisconnect"])
        self.assertEqual(proxy.environment.sessions, set())

    def test_body_that_is_too_large(self) -> None:
        for fields, end in (((("content-length", "101"),), False), ((), True)):
            proxy, client, recorder = self.begun(body_size_limit=100)
            H2Origin(proxy, ok)
            stream = client.request("/", *fields, method="POST", end=False)
            if end:
                client.send_body(stream, bytes(101))
            self.assertEqual(client.status(stream), b"413")
            self.assertEqual(client.resets, {stream: NO_ERROR})
            self.assertEqual(self.code(recorder), "body-too-large")
            self.assertEqual(proxy.network.attempts, [])
            self.serves_on(client)

    def test_body_that_never_ends(self) -> None:
        proxy, client, recorder = self.begun(body_timeout=5.0)
        H2Origin(proxy, ok)
        stream = client.request("/", method="POST", end=False)
        proxy.advance(5.1)
        self.assertEqual(client.status(stream), b"408")
        self.assertEqual(client.resets, {stream: NO_ERROR})
        self.assertEqual(self.code(recorder), "body-timeout")
        self.serves_on(client)

    def test_server_that_keeps_silent(self) -> None:
        proxy, client, recorder = self.begun(read_timeout=5.0)
        origin = H2Origin(proxy, lambda peer, stream: ok(peer, stream) if stream > 1 else None)
        stream = client.request()
        proxy.advance(5.1)
        self.assertEqual(client.status(stream), b"504")
        self.assertIn(stream, client.finished)
        self.assertEqual(self.code(recorder), "read-timeout")
        self.serves_on(client)
        self.assertEqual(len(origin.peers), 1)


class PauseTests(HTTP2TestCase):
    """Who waits, waits alone."""

    def test_intercepted(self) -> None:
        def request(flow: HTTPFlow) -> None:
            if flow.request.path == "/paused":
                flow.intercept()

        for upstream in ("mirror", "never"):
            proxy, client, recorder = self.begun(Hooks(request=request), h2_upstream=upstream)
            if upstream == "never":
                proxy.origin().respond(OK)
            else:
                H2Origin(proxy, ok)
            paused = client.request("/paused")
            self.assertEqual(recorder.names, ["requestheaders", "request", "intercept"])
            self.serves_on(client)
            self.assertNotIn(paused, client.heads)
            recorder.arguments("intercept")[0].resume()
            proxy.flush()
            self.assertIn(paused, client.finished)
            self.assertEqual(self.ends(recorder), ["response", "response"])

    def test_others_do_not_wait_for_the_hook_of_a_streamed_response(self) -> None:
        waiting = Waiting()

        def response(flow: HTTPFlow) -> Any:
            return waiting(flow) if flow.request.path == "/" else None

        proxy, client, recorder = self.begun(
            Hooks(
                responseheaders=lambda flow: setattr(flow.response, "stream", True),
                response=response,
            )
        )
        H2Origin(proxy, ok)
        client.request()
        self.assertTrue(waiting.called)
        self.serves_on(client)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.ends(recorder), ["response", "response"])


GOOD = [(":method", "POST"), (":scheme", "http"), (":authority", "example.test"), (":path", "/")]


class GuardTests(HTTP2TestCase):
    """Addons that fail closed: nothing reaches a server before their hook has answered."""

    def guarded(self, **options: Any) -> tuple[MemoryProxy, H2Client, H2Origin, Waiting]:
        waiting = Waiting()
        proxy, client, _ = self.begun(
            Hooks(requestheaders=lambda flow: setattr(flow.request, "stream", True)),
            Guard(request=waiting),
            **{"stream_large_bodies": 1000, "stream_grpc": True, **options},
        )
        return proxy, client, H2Origin(proxy, ok), waiting

    def test_evasions(self) -> None:
        """Whatever the kind of the body, and however it comes."""
        for fields, pieces in (
            ((("content-type", "application/grpc"), ("te", "trailers")), (b"\0\0\0\0\1a",)),
            ((("content-type", "application/grpc+proto"),), (b"\0\0\0\0", b"\1a")),
            ((("content-type", "text/event-stream"),), (b"data: a\n\n",)),
            ((("expect", "100-continue"),), (b"hello",)),
            ((("content-length", "5000"),), (bytes(2500), bytes(2500))),
            ((), (bytes(2000),) * 3),
            ((), (b"", b"a", b"", b"b")),
            ((), ()),
        ):
            proxy, client, origin, waiting = self.guarded()
            stream = self.send(client, [*GOOD, *fields])
            for piece in pieces:
                client.h2.send_data(stream, piece)
                client.go()
                self.assertEqual(proxy.network.attempts, [], fields)
            self.assertFalse(waiting.called)
            client.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
            client.go()
            self.assertEqual((len(waiting.arguments), proxy.network.attempts), (1, []), fields)
            waiting.go_on()
            proxy.flush()
            [(peer, sent)] = origin.requests
            self.assertEqual(peer.bodies[sent], b"".join(pieces))

    def test_behind_a_stream_that_was_let_through(self) -> None:
        """That there is a connection already changes nothing."""
        proxy, client, origin, waiting = self.guarded()
        client.request("/1")
        waiting.go_on()
        proxy.flush()
        [peer] = origin.peers
        heard = len(peer.data)
        client.request("/2", ("content-type", "application/grpc"), method="POST", body=b"hello")
        self.assertEqual((len(waiting.arguments), len(peer.data)), (2, heard))
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(origin.requests), 2)

    def test_failing_hook(self) -> None:
        for hook in (lambda flow: 1 / 0, lambda flow: flow.kill()):
            proxy, client, _ = self.begun(Guard(request=hook))
            stream = client.request("/", ("content-type", "application/grpc"), body=b"hello")
            self.assertEqual(proxy.network.attempts, [])
            self.assertIn(stream, client.finished | set(client.resets))

    def test_extended_connect_for_anything(self) -> None:
        """RFC 8441 section 4: what nobody has offered is no way past the hooks."""
        for protocol in ("websocket", "connect-udp", "other"):
            proxy, client, _, _ = self.guarded()
            head = [(":method", "CONNECT"), (":protocol", protocol), *GOOD[1:]]
            stream = self.send(client, head, b"hello")
            self.assertEqual(proxy.network.attempts, [], protocol)
            self.assertNotEqual(client.heads.get(stream, [[(b":status", b"")]])[0][0][1], b"200")

    def test_upgrades(self) -> None:
        """RFC 9113 section 8.2.2: what asks for one is malformed."""
        for fields in (
            [("connection", "upgrade"), ("upgrade", "h2c")],
            [("upgrade", "websocket")],
            [("transfer-encoding", "chunked")],
            [("te", "gzip")],
        ):
            proxy, client, _, waiting = self.guarded()
            stream = self.send(client, [*GOOD, *fields], end=True)
            self.assertEqual(client.resets, {stream: PROTOCOL_ERROR}, fields)
            self.assertEqual((waiting.called, proxy.network.attempts), (False, []))

    def test_data_behind_a_connect(self) -> None:
        """What is sent into a tunnel that is not open yet, and may never be."""
        waiting = Waiting()
        proxy, client, _ = self.begun(Guard(http_connect=waiting))
        stream = self.connect(client, b"\0early")
        self.assertEqual((len(waiting.arguments), proxy.network.attempts), (1, []))
        origin = self.raw_origin(proxy)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.status(stream), b"200")
        self.assertEqual(origin.protocols[0].data, b"\0early")

    def test_request_behind_a_connect(self) -> None:
        proxy, client, _, waiting = self.guarded()
        origin = self.raw_origin(proxy)
        self.connect(client, b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(len(waiting.arguments), 1)
        self.assertEqual([peer.data for peer in origin.protocols], [b""])

    def test_http2_in_a_tunnel(self) -> None:
        """Opened by a client of HTTP/1."""
        waiting = Waiting()
        proxy = self.proxy(Guard(request=waiting), h2_cleartext=True)
        origin = proxy.origin()
        client: MemoryClient = proxy.client()
        client.send(CONNECT)
        inner = H2Peer(True)
        inner.makeConnection(client.peer.transport)
        client.link.client.protocol = inner
        proxy.flush()
        inner.h2.send_headers(1, GOOD, end_stream=True)
        inner.flush()
        proxy.flush()
        self.assertEqual((len(waiting.arguments), origin.received), (1, b""))
        self.assertEqual(waiting.arguments[0].request.http_version, "HTTP/2.0")
