"""``Expect: 100-continue`` (RFC 9110 section 10.1.1), and responses from 100 to 199."""

from __future__ import annotations

from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    OK,
    EventTestCase,
    Hooks,
    answering,
    chunk,
    post,
    set_stream,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = post(5, b"Expect: 100-continue")
CHUNKED_HEAD = CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")


class GatheredTests(EventTestCase):
    """Whoever wants the body before forwarding asks for it."""

    def test_asked_for(self) -> None:
        for head, body in ((HEAD, b"hello"), (CHUNKED_HEAD, chunk(b"hello") + LAST_CHUNK)):
            proxy, client, recorder = self.started()
            origin = proxy.origin().respond(OK)
            client.send(head)
            self.assertEqual(client.take(), CONTINUE)
            self.assertEqual(proxy.network.attempts, [])
            client.send(body)
            self.assertEqual(client.received, OK)
            self.assertEqual(origin.requests[0].content, b"hello")
            # Nothing is left to expect.
            self.assertNotIn("Expect", origin.requests[0].headers)
            self.assertEqual(self.ends(recorder), ["response"])

    def test_case_of_the_expectation(self) -> None:
        _, client, _ = self.started()
        client.send(post(5, b"expect: 100-Continue"))
        self.assertEqual(client.received, CONTINUE)

    def test_hook_sees_it(self) -> None:
        seen: list[str] = []
        _, client, _ = self.hooked(
            requestheaders=lambda flow: seen.append(flow.request.headers["Expect"]),
            request=lambda flow: None,
        )
        client.send(HEAD + b"hello")
        self.assertEqual(seen, ["100-continue"])

    def test_too_large_is_refused_instead(self) -> None:
        _, client, _ = self.started(body_size_limit=3)
        client.send(HEAD)
        response = self.response(client)
        self.assertEqual(response.status_code, 413)
        self.assertTrue(client.closed)

    def test_client_that_does_not_wait(self) -> None:
        proxy, client, _ = self.started()
        proxy.origin().respond(OK)
        client.send(HEAD + b"hello" + GET)
        self.assertEqual([self.response(client).content for _ in range(2)], [b"ok", b"ok"])

    def test_no_content_no_expectation(self) -> None:
        for data in (post(0, b"Expect: 100-continue"), GET[:-2] + b"Expect: 100-continue\r\n\r\n"):
            proxy, client, _ = self.started()
            proxy.origin().respond(OK)
            client.send(data)
            self.assertEqual(client.received, OK)

    def test_http_1_0(self) -> None:
        """An expectation of such a client is void."""
        for hooks in ({}, {"requestheaders": set_stream("request")}):
            proxy, client, _ = self.hooked(**hooks)
            origin = proxy.origin().respond(CONTINUE + OK)
            client.send(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
            self.assertEqual(self.response(client).content, b"ok")
            self.assertNotIn(b"100", client.received)
            self.assertEqual(origin.requests[0].content, b"hello")


class StreamedTests(EventTestCase):
    """The server decides."""

    def streamed(self, **hooks: Any) -> tuple[MemoryProxy, MemoryClient, Any, EventRecorder]:
        addon = Hooks(**{"requestheaders": set_stream("request"), **hooks})
        proxy, client, recorder = self.started(addon)
        origin = self.raw_origin(proxy)
        client.send(HEAD)
        return proxy, client, origin.protocols[0], recorder

    def test_forwarded(self) -> None:
        proxy, client, origin, recorder = self.streamed()
        self.assertIn(b"Expect: 100-continue\r\n", origin.take())
        self.assertEqual(client.received, b"")
        origin.write(CONTINUE)
        proxy.flush()
        self.assertEqual(client.take(), CONTINUE)
        client.send(b"hello")
        self.assertEqual(origin.data, b"hello")
        origin.write(OK)
        proxy.flush()
        self.assertEqual(client.received, OK)
        self.assertEqual(recorder.names.count("responseheaders"), 1)
        self.assertEqual(self.ends(recorder), ["response"])

    def test_refused_by_the_server(self) -> None:
        for status in (417, 413, 401):
            proxy, client, origin, recorder = self.streamed()
            origin.write(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
            proxy.flush()
            response = self.response(client)
            self.assertEqual((response.status_code, response.content), (status, b"no"))
            # The body was not sent, and may still come or not: neither connection goes on.
            self.assertEqual(response.headers["Connection"], "close")
            self.assertTrue(origin.ended)
            self.assertEqual(self.ends(recorder), ["response"])

    def test_server_that_does_not_say(self) -> None:
        proxy, client, origin, _ = self.streamed()
        client.send(b"hello")
        origin.write(OK)
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_client_that_gives_up(self) -> None:
        _, client, origin, recorder = self.streamed()
        client.abort()
        self.assertIsNotNone(origin.lost)
        self.assertEqual(self.code(recorder), "client-disconnected")

    def test_expectation_taken_away_by_a_hook(self) -> None:
        """The client waits all the same: then the proxy has to ask for the body."""

        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.stream = True
            del flow.request.headers["Expect"]

        proxy, client, origin, _ = self.streamed(requestheaders=requestheaders)
        self.assertNotIn(b"Expect", origin.data)
        self.assertEqual(client.take(), CONTINUE)
        client.send(b"hello")
        origin.write(OK)
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_large_body_that_streams_on(self) -> None:
        """It was asked for while it was gathered: the server is not asked again."""
        proxy, client, _ = self.started(stream_large_bodies=3)
        origin = self.raw_origin(proxy)
        client.send(CHUNKED_HEAD)
        self.assertEqual(client.take(), CONTINUE)
        client.send(chunk(b"hello"))
        self.assertNotIn(b"Expect", origin.protocols[0].data)
        self.assertTrue(origin.protocols[0].data.endswith(chunk(b"hello")))

    def test_server_that_cannot_be_reached(self) -> None:
        _, client, recorder = self.hooked(requestheaders=set_stream("request"))
        client.send(HEAD)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.code(recorder), "connect-refused")


class AnsweredTests(EventTestCase):
    """A hook answers: the body is never asked for."""

    def test_in_requestheaders(self) -> None:
        for head in (HEAD, CHUNKED_HEAD):
            proxy, client, recorder = self.hooked(
                requestheaders=answering(403, b"no"), request=lambda flow: None
            )
            client.send(head)
            self.assertNotIn(CONTINUE, client.received)
            response = self.response(client)
            self.assertEqual((response.status_code, response.content), (403, b"no"))
            self.assertEqual(response.headers["Connection"], "close")
            self.assertTrue(client.closed)
            self.assertEqual(proxy.network.attempts, [])
            self.assertEqual(self.ends(recorder), ["response"])

    def test_killed_in_requestheaders(self) -> None:
        _, client, recorder = self.hooked(requestheaders=lambda flow: flow.kill())
        client.send(HEAD)
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertEqual(self.code(recorder), "killed")


class InformationalTests(EventTestCase):
    """Responses from 102 to 199 are passed on, and are no events."""

    HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"

    def test_passed_on_at_once(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin()
        client.send(GET)
        origin.send(self.HINTS)
        self.assertEqual(client.take(), self.HINTS)
        self.assertNotIn("responseheaders", recorder.names)
        origin.send(self.HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
        self.assertEqual(client.received, self.HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
        self.assertEqual(self.ends(recorder), ["response"])
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.status_code, 200)

    def test_not_to_http_1_0(self) -> None:
        proxy, client, _ = self.started()
        proxy.origin().respond(self.HINTS + OK)
        client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertNotIn(b"103", client.received)
        self.assertEqual(self.response(client).content, b"ok")

    def test_server_that_leaves_after_it(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(self.HINTS)
        client.send(GET)
        client.take()
        origin.close()
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.ends(recorder), ["error"])

    def test_then_answered_by_a_hook(self) -> None:
        def responseheaders(flow: HTTPFlow) -> None:
            flow.response = Response.make(200, b"mine")

        proxy, client, _ = self.hooked(responseheaders=responseheaders)
        proxy.origin().respond(self.HINTS + OK)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"mine")
