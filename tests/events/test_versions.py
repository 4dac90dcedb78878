"""Messages without bodies, HTTP/1.0 on either side, and what the events see of it."""

from __future__ import annotations

from interceptor.http import HTTPFlow
from tests.events.cases import (
    GET,
    LAST_CHUNK,
    OK,
    OK_CHUNKED,
    POST,
    EventTestCase,
    Hooks,
    chunk,
    set_stream,
)

HEAD = GET.replace(b"GET", b"HEAD")
OLD_GET = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
STREAMING = Hooks(responseheaders=set_stream("response"))


class NoBodyTests(EventTestCase):
    """HEAD, 204 and 304 (RFC 9110 section 6.4.1)."""

    ANSWERS = (
        (HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (HEAD, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n"),
    )

    def test_events_and_wire(self) -> None:
        for addons in ((), (STREAMING,)):
            for request, answer in self.ANSWERS:
                proxy, client, recorder = self.started(*addons)
                proxy.origin().respond(answer, OK)
                client.send(request + GET)
                self.assertEqual(client.received, answer + OK)
                self.assertEqual(self.ends(recorder), ["response", "response"])
                flow = recorder.arguments("response")[0]
                self.assertEqual(flow.response.raw_content, b"")

    def test_body_given_by_a_hook(self) -> None:
        """It is not sent, but the length that would be is."""

        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.content = b"hello"

        proxy, client, _ = self.hooked(response=response)
        proxy.origin().respond(OK[:-2])
        client.send(HEAD)
        self.assertEqual(client.received, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    def test_status_changed_to_one_without(self) -> None:
        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.status_code = 204

        proxy, client, _ = self.hooked(response=response)
        proxy.origin().respond(OK)
        client.send(GET + GET)
        self.assertNotIn(b"ok", client.received)
        self.assertEqual(client.received.count(b"HTTP/1.1 204 "), 2)

    def test_method_changed_by_a_hook(self) -> None:
        """The server answers what it was asked; the client gets what it can expect."""

        def to_get(flow: HTTPFlow) -> None:
            flow.request.method = "GET"

        def to_head(flow: HTTPFlow) -> None:
            flow.request.method = "HEAD"

        proxy, client, _ = self.hooked(requestheaders=to_get)
        proxy.origin().respond(OK)
        client.send(HEAD + HEAD)
        self.assertEqual(client.received, OK[:-2] * 2)
        proxy, client, _ = self.hooked(requestheaders=to_head)
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        client.send(GET + GET)
        self.assertEqual([self.response(client).content for _ in range(2)], [b"", b""])


class OldClientTests(EventTestCase):
    """Clients that speak HTTP/1.0."""

    def test_closed_after_the_response(self) -> None:
        for addons in ((), (STREAMING,)):
            proxy, client, recorder = self.started(*addons)
            proxy.origin().respond(OK)
            client.send(OLD_GET)
            self.assertEqual(self.response(client).content, b"ok")
            self.assertTrue(client.closed)
            self.assertEqual(self.ends(recorder), ["response"])
            [flow] = recorder.arguments("response")
            self.assertEqual(flow.request.http_version, "HTTP/1.0")

    def test_kept_where_it_asks_for_that(self) -> None:
        proxy, client, _ = self.started()
        proxy.origin().respond(OK)
        old = OLD_GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
        client.send(old)
        self.assertEqual(self.response(client).content, b"ok")
        self.assertFalse(client.closed)
        client.send(old)
        self.assertEqual(self.response(client).content, b"ok")

    def test_never_chunked(self) -> None:
        chunked = OK_CHUNKED + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK
        for addons in ((), (STREAMING,)):
            proxy, client, _ = self.started(*addons)
            proxy.origin().respond(chunked)
            client.send(OLD_GET)
            self.assertNotIn(b"chunked", client.received)
            self.assertTrue(client.received.endswith(b"\r\n\r\nhello"))
            self.assertTrue(client.closed)

    def test_truncation_can_be_told(self) -> None:
        """Where the end of the connection ends the body, only a reset says that it is short."""
        proxy, client, recorder = self.started(STREAMING)
        origin = proxy.origin().respond(OK_CHUNKED + chunk(b"hel"))
        client.send(OLD_GET)
        self.assertTrue(client.received.endswith(b"hel"))
        origin.close()
        self.assertFalse(client.peer.ended)
        self.assertIsNotNone(client.peer.lost)
        self.assertEqual(self.ends(recorder), ["error"])


class OldServerTests(EventTestCase):
    """Servers that speak HTTP/1.0."""

    OLD = b"HTTP/1.0 200 OK\r\n\r\nhello"

    def test_body_until_the_end(self) -> None:
        for addons in ((), (STREAMING,)):
            proxy, client, recorder = self.started(*addons)
            origin = proxy.origin().respond(self.OLD)
            client.send(GET)
            origin.close()
            self.assertEqual(self.response(client).content, b"hello")
            [flow] = recorder.arguments("response")
            self.assertEqual(flow.response.http_version, "HTTP/1.0")
            self.assertEqual(self.ends(recorder), ["response"])

    def test_connection_is_not_used_again(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", OK)
        client.send(GET + GET)
        self.assertEqual([self.response(client).content for _ in range(2)], [b"ok", b"ok"])
        self.assertEqual(recorder.names.count("serverconnect"), 2)

    def test_kept_where_it_says_so(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
        )
        client.send(GET + GET)
        self.assertEqual(recorder.names.count("serverconnect"), 1)


class ReverseTests(EventTestCase):
    """Reverse mode: the same events, and a fixed destination."""

    MODE = "reverse:http://example.test:8000"
    LOCAL = b"GET /a HTTP/1.1\r\nHost: public.test\r\n\r\n"

    def test_events(self) -> None:
        proxy, client, recorder = self.started(mode=self.MODE)
        origin = proxy.origin(port=8000).respond(OK)
        client.send(self.LOCAL)
        self.assertEqual(
            recorder.names,
            "next_layer requestheaders request serverconnect serverconnected responseheaders "
            "response".split(),
        )
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.mode, self.MODE)
        self.assertEqual(flow.request.url, "http://example.test:8000/a")
        self.assertEqual(origin.requests[0].headers["Host"], "example.test:8000")

    def test_hook_sends_it_elsewhere(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"

        proxy, client, _ = self.hooked({"mode": self.MODE}, requestheaders=requestheaders)
        other = proxy.origin("other.test", 8000).respond(OK)
        client.send(self.LOCAL)
        self.assertEqual(client.received, OK)
        self.assertEqual(len(other.requests), 1)

    def test_host_field_may_be_kept(self) -> None:
        proxy, client, _ = self.started(mode=self.MODE, keep_host_header=True)
        origin = proxy.origin(port=8000).respond(OK)
        client.send(self.LOCAL)
        self.assertEqual(origin.requests[0].headers["Host"], "public.test")

    def test_post(self) -> None:
        proxy, client, _ = self.started(mode=self.MODE)
        origin = proxy.origin(port=8000).respond(OK)
        client.send(POST)
        self.assertEqual(origin.requests[0].content, b"hello")
