"""``requestheaders`` and ``request``: arguments, guarantees, and what a hook may change."""

from __future__ import annotations

from typing import Any

from interceptor.http import Headers, HTTPFlow, Request, Response
from tests.events.cases import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    OK,
    POST,
    EventTestCase,
    Guard,
    Hooks,
    Waiting,
    answering,
    chunk,
    set_stream,
)


class RequestHeadersTests(EventTestCase):
    """``requestheaders(flow)``: the head is there, the body is not."""

    def test_argument(self) -> None:
        seen: list[Any] = []

        def requestheaders(flow: HTTPFlow) -> None:
            request = flow.request
            seen.append(
                (
                    type(flow).__name__,
                    flow.live,
                    flow.response,
                    flow.error,
                    flow.mode,
                    request.method,
                    request.url,
                    request.first_line_format,
                    request.http_version,
                    request.headers["X-A"],
                    flow.requestheaders is request.headers,
                    request.raw_content,
                    request.timestamp_end,
                )
            )

        _, client, _ = self.hooked(requestheaders=requestheaders)
        client.send(
            b"POST http://example.test/a?b=c HTTP/1.1\r\nHost: example.test\r\nX-A: 1\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        url = "http://example.test/a?b=c"
        self.assertEqual(
            seen,
            [
                (
                    *("HTTPFlow", True, None, None, "regular", "POST", url, "absolute"),
                    *("HTTP/1.1", "1", True, None, None),
                )
            ],
        )

    def test_precedes_every_byte_upstream(self) -> None:
        for coroutine in (False, True):
            for data in (GET, POST, CHUNKED + chunk(b"hello") + LAST_CHUNK):
                waiting = Waiting(coroutine)
                proxy, client, _ = self.hooked(requestheaders=waiting)
                origin = proxy.origin().respond(OK)
                client.send(data)
                self.assertEqual(proxy.network.attempts, [])
                waiting.go_on()
                proxy.flush()
                self.assertEqual(client.received, OK)
                self.assertEqual(len(origin.requests), 1)

    def test_precedes_every_byte_upstream_byte_by_byte(self) -> None:
        """The same for bodies that stream, whatever arrives in whatever pieces."""
        for hooks in ({}, {"request": lambda flow: None}):
            waiting = Waiting()

            def requestheaders(flow: HTTPFlow, waiting: Waiting = waiting) -> Any:
                flow.request.stream = True
                return waiting(flow)

            proxy = self.proxy(Hooks(requestheaders=requestheaders, **hooks), chunk=1)
            origin = proxy.origin().respond(OK)
            client = proxy.client()
            for byte in CHUNKED + chunk(b"hello") + LAST_CHUNK:
                client.send(bytes((byte,)))
                if not waiting.called or waiting.arguments[0].request.method == "POST":
                    self.assertEqual(proxy.network.attempts, [])
            waiting.arguments[0].request.method = "PUT"
            waiting.go_on()
            proxy.flush()
            self.assertTrue(origin.received.startswith(b"PUT / HTTP/1.1\r\n"))
            self.assertEqual(origin.requests[0].content, b"hello")
            self.assertEqual(client.received, OK)

    def test_on_a_kept_connection(self) -> None:
        waiting = Waiting()

        def requestheaders(flow: HTTPFlow) -> Any:
            return waiting(flow) if flow.request.path == "/second" else None

        proxy, client, _ = self.hooked(requestheaders=requestheaders)
        origin = proxy.origin().respond(OK)
        client.send(GET)
        before = origin.received
        client.send(POST.replace(b"test/ ", b"test/second "))
        self.assertEqual(origin.received, before)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(origin.requests), 2)

    def test_pipelined_requests_wait_for_their_turn(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(requestheaders=waiting)
        proxy.origin().respond(OK)
        client.send(GET + GET)
        self.assertEqual(recorder.names.count("requestheaders"), 1)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(recorder.names[-3:], ["responseheaders", "response", "requestheaders"])
        self.assertEqual(client.received, OK)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, OK + OK)

    def test_changes_reach_the_server(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            request = flow.request
            request.method = "PUT"
            request.path = "/changed"
            request.headers["X-Added"] = "1"
            del request.headers["X-Gone"]

        for data in (GET, POST):
            proxy, client, _ = self.hooked(requestheaders=requestheaders)
            origin = proxy.origin().respond(OK)
            client.send(data.replace(b"\r\n\r\n", b"\r\nX-Gone: 1\r\n\r\n", 1))
            [request] = origin.requests
            self.assertEqual((request.method, request.path), ("PUT", "/changed"))
            self.assertIn("X-Added", request.headers)
            self.assertNotIn("X-Gone", request.headers)
            self.assertEqual(client.received, OK)

    def test_destination(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"
            flow.request.port = 8000
            flow.request.stream = True

        proxy, client, _ = self.hooked(requestheaders=requestheaders)
        other = proxy.origin("other.test", 8000).respond(OK)
        client.send(POST)
        self.assertEqual(client.received, OK)
        self.assertEqual(other.requests[0].headers["Host"], "other.test:8000")

    def test_url(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.url = "http://other.test:8000/there?x=1"

        proxy, client, _ = self.hooked(requestheaders=requestheaders)
        other = proxy.origin("other.test", 8000).respond(OK)
        client.send(GET)
        self.assertEqual(other.requests[0].path, "/there?x=1")

    def test_scheme_counts(self) -> None:
        """What a hook asks TLS for does not leave in clear text."""
        proxy, client, _ = self.hooked(
            requestheaders=lambda flow: setattr(flow.request, "scheme", "https")
        )
        origin = self.raw_origin(proxy)
        client.send(GET)
        self.assertTrue(origin.protocols[0].data.startswith(b"\x16\x03"))
        self.assertNotIn(b"GET", origin.protocols[0].data)

    def test_another_request(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request = Request.make("DELETE", "http://other.test/x")

        proxy, client, _ = self.hooked(requestheaders=requestheaders)
        other = proxy.origin("other.test").respond(OK)
        client.send(GET)
        self.assertEqual((other.requests[0].method, other.requests[0].path), ("DELETE", "/x"))
        self.assertEqual(client.received, OK)

    def test_next_addon_sees_the_changes(self) -> None:
        seen: list[str] = []
        _, client, _ = self.started(
            Hooks(requestheaders=lambda flow: setattr(flow.request, "path", "/changed")),
            Hooks(requestheaders=lambda flow: seen.append(flow.request.path)),
        )
        client.send(GET)
        self.assertEqual(seen, ["/changed"])

    def test_order_and_case_of_what_is_not_changed(self) -> None:
        proxy, client, _ = self.hooked(
            requestheaders=lambda flow: flow.request.headers.add("x-new", "1")
        )
        origin = proxy.origin().respond(OK)
        fields = b"HOST: example.test\r\nx-B: 1\r\nX-a:2\r\nx-b:  3\r\n"
        client.send(b"GET http://example.test/ HTTP/1.1\r\n" + fields + b"\r\n")
        self.assertEqual(
            origin.requests[0].headers.fields,
            (
                (b"HOST", b"example.test"),
                (b"x-B", b"1"),
                (b"X-a", b"2"),
                (b"x-b", b"3"),
                (b"x-new", b"1"),
            ),
        )


class RequestTests(EventTestCase):
    """``request(flow)``: all of the request is there, and none of it was sent."""

    def test_body(self) -> None:
        for data in (POST, CHUNKED + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK):
            self.check_body(data)

    def check_body(self, data: bytes) -> None:
        seen: list[Any] = []

        def request(flow: HTTPFlow) -> None:
            request = flow.request
            seen.append((request.raw_content, request.body, request.content, request.text))
            seen.append((request.timestamp_end is not None, list(proxy.network.attempts)))

        proxy, client, _ = self.hooked({"chunk": 1}, request=request)
        origin = proxy.origin().respond(OK)
        client.send(data)
        self.assertEqual(seen, [(b"hello", b"hello", b"hello", "hello"), (True, [])])
        self.assertEqual(origin.requests[0].content, b"hello")
        self.assertEqual(client.received, OK)

    def test_no_body_is_an_empty_one(self) -> None:
        seen: list[Any] = []
        _, client, _ = self.hooked(request=lambda flow: seen.append(flow.request.raw_content))
        client.send(GET)
        self.assertEqual(seen, [b""])

    def test_waited_for(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(request=waiting)
            origin = proxy.origin().respond(OK)
            client.send(POST)
            self.assertEqual(proxy.network.attempts, [])
            waiting.arguments[0].request.text = "other"
            waiting.go_on()
            proxy.flush()
            self.assertEqual(origin.requests[0].content, b"other")
            self.assertEqual(client.received, OK)

    def test_only_its_own_flow_waits(self) -> None:
        waiting = Waiting()

        def request(flow: HTTPFlow) -> Any:
            return waiting(flow) if flow.request.path == "/slow" else None

        proxy, slow, _ = self.hooked(request=request)
        proxy.origin().respond(OK)
        slow.send(GET.replace(b"test/ ", b"test/slow "))
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)
        self.assertEqual(slow.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(slow.received, OK)

    def test_changed_body_and_its_length(self) -> None:
        for data in (POST, CHUNKED + chunk(b"hello") + LAST_CHUNK, GET):
            proxy, client, _ = self.hooked(
                request=lambda flow: setattr(flow.request, "content", b"something longer")
            )
            origin = proxy.origin().respond(OK)
            client.send(data)
            self.assertEqual(origin.requests[0].content, b"something longer")
            self.assertEqual(client.received, OK)

    def test_body_set_before_it_was_read(self) -> None:
        """What ``requestheaders`` makes of a body that is still to come gives way to it."""
        proxy, client, _ = self.hooked(
            requestheaders=lambda flow: setattr(flow.request, "content", b"early"),
            request=lambda flow: None,
        )
        origin = proxy.origin().respond(OK)
        client.send(POST + GET)
        self.assertEqual([each.content for each in origin.requests], [b"hello", b"early"])

    def test_destination(self) -> None:
        def request(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"

        proxy, client, recorder = self.hooked(request=request)
        other = proxy.origin("other.test").respond(OK)
        client.send(POST)
        self.assertEqual(other.requests[0].content, b"hello")
        [conn] = recorder.arguments("serverconnect")
        self.assertEqual(conn.address, ("other.test", 80))

    def test_trailers(self) -> None:
        seen: list[Any] = []

        def request(flow: HTTPFlow) -> None:
            assert flow.request.trailers is not None
            seen.append(flow.request.trailers["X-Sum"])
            flow.request.trailers["X-Sum"] = "2"

        proxy, client, _ = self.hooked(request=request)
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + chunk(b"hello") + b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(seen, ["1"])
        self.assertTrue(origin.received.endswith(b"5\r\nhello\r\n0\r\nX-Sum: 2\r\n\r\n"))

    def test_trailers_of_the_hooks_own(self) -> None:
        def request(flow: HTTPFlow) -> None:
            flow.request.trailers = Headers([(b"X-Sum", b"3")])

        proxy, client, _ = self.hooked(request=request)
        origin = proxy.origin().respond(OK)
        client.send(POST)
        self.assertEqual(origin.requests[0].content, b"hello")
        assert origin.requests[0].trailers is not None
        self.assertEqual(origin.requests[0].trailers["X-Sum"], "3")

    def test_streamed_request_comes_after_its_last_byte(self) -> None:
        seen: list[Any] = []
        proxy, client, recorder = self.hooked(
            requestheaders=set_stream("request"),
            request=lambda flow: seen.append((origin.received[-4:], flow.request.raw_content)),
        )
        origin = proxy.origin().respond(OK)
        client.send(POST[:-2])
        self.assertTrue(origin.received.endswith(b"\r\n\r\nhel"))
        self.assertIn("serverconnected", recorder.names)
        self.assertNotIn("request", recorder.names)
        client.send(POST[-2:])
        self.assertIsNone(seen[0][1])
        self.assertEqual(client.received, OK)
        names = recorder.names
        self.assertLess(names.index("serverconnected"), names.index("request"))
        self.assertLess(names.index("request"), names.index("responseheaders"))

    def test_destination_of_a_streamed_request(self) -> None:
        messages = self.messages()
        proxy, client, _ = self.hooked(
            requestheaders=set_stream("request"),
            request=lambda flow: setattr(flow.request, "host", "other.test"),
        )
        origin = proxy.origin().respond(OK)
        client.send(POST)
        self.assertEqual(client.received, OK)
        self.assertEqual(len(origin.requests), 1)
        self.assertEqual(proxy.network.attempts, [("example.test", 80)])
        [text] = [text for text in messages.texts if "streamed request" in text]
        self.assertEqual(messages.levels[messages.texts.index(text)], "error")

    def test_response_to_a_streamed_request_waits_for_its_hook(self) -> None:
        """Each flow's events keep their order though the server has answered already."""
        waiting = Waiting()
        proxy, client, recorder = self.hooked(requestheaders=set_stream("request"), request=waiting)
        proxy.origin().respond(OK)
        client.send(POST)
        self.assertNotIn("response", recorder.names)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, OK)
        self.assertEqual(recorder.names[-1], "response")

    def test_hook_for_a_streamed_request_kills(self) -> None:
        async def later(flow: HTTPFlow) -> None:
            await waiting(flow)
            flow.kill()

        waiting = Waiting()
        for request in (lambda flow: flow.kill(), later):
            proxy, client, recorder = self.hooked(
                requestheaders=set_stream("request"), request=request
            )
            proxy.origin()
            client.send(POST)
            if request is later:
                waiting.go_on()
            proxy.advance(0)
            self.assertTrue(client.closed)
            self.assertEqual(self.ends(recorder), ["error"])
            self.assertEqual(self.code(recorder), "killed")

    def test_hook_for_a_streamed_request_fails_closed(self) -> None:
        for request in (lambda flow: 1 / 0, Waiting()):
            guard = Guard(requestheaders=set_stream("request"), request=request)
            proxy, client, recorder = self.started(guard, hook_timeout=3)
            proxy.origin()
            client.send(POST)
            proxy.advance(3)
            self.assertEqual(self.code(recorder), "hook-failed")
            self.assertTrue(client.closed)


class AnswerTests(EventTestCase):
    """``flow.response`` set in the place of the server's."""

    def test_server_is_sent_nothing(self) -> None:
        for event in ("requestheaders", "request"):
            for data in (GET, POST, CHUNKED + chunk(b"hello") + LAST_CHUNK):
                proxy, client, recorder = self.hooked(**{event: answering()})
                proxy.origin().respond(OK)
                client.send(data)
                self.assertEqual(self.response(client).content, b"mine")
                self.assertEqual(proxy.network.attempts, [])
                self.assertEqual(self.ends(recorder), ["response"])
                self.assertNotIn("responseheaders", recorder.names)

    def test_response_hook_may_change_it(self) -> None:
        _, client, _ = self.hooked(
            request=answering(),
            response=lambda flow: setattr(flow.response, "text", "changed"),
        )
        client.send(GET)
        self.assertEqual(self.response(client).content, b"changed")

    def test_after_waiting(self) -> None:
        for event in ("requestheaders", "request"):
            self.check_after_waiting(event)

    def check_after_waiting(self, event: str) -> None:
        async def hook(flow: HTTPFlow) -> None:
            await waiting(flow)
            flow.response = Response.make(403)

        waiting = Waiting()
        proxy, client, _ = self.hooked(**{event: hook})
        client.send(GET)
        self.assertEqual(client.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 403)
        self.assertEqual(proxy.network.attempts, [])

    def test_to_head(self) -> None:
        _, client, _ = self.hooked(request=answering())
        client.send(GET.replace(b"GET", b"HEAD"))
        self.assertIn(b"Content-Length: 4\r\n", client.received)
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assertFalse(client.closed)

    def test_of_a_streamed_request(self) -> None:
        """The body is not read, so that the connection ends with the answer."""

        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.stream = True
            flow.response = Response.make(403, b"no")

        _, client, recorder = self.hooked(requestheaders=requestheaders)
        client.send(CHUNKED + chunk(b"hello"))
        self.assertEqual(self.response(client).headers["Connection"], "close")
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names[:3], ["next_layer", "requestheaders", "response"])

    def test_large(self) -> None:
        _, client, _ = self.hooked(request=answering(200, bytes(300_000)))
        client.send(GET + GET)
        for _ in range(2):
            self.assertEqual(self.response(client).content, bytes(300_000))
