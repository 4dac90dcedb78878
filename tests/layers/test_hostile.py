"""What misbehaving peers must not do to a proxy in memory. Each case was met with real programs."""

from __future__ import annotations

import errno
import gc
import tempfile
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import Response
from interceptor.model.body import Body
from interceptor.testing import EventRecorder, MemoryProxy

GET = b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class HostileTestCase(SynchronousTestCase):
    """Makes proxies that are closed at the end."""

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy


def post(length: int, *fields: bytes) -> bytes:
    """Return a POST with a body of ``length`` bytes."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return (
        b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n%bContent-Length: %d\r\n\r\n"
        % (lines, length)
    ) + b"x" * length


class ReleaseTests(HostileTestCase):
    """Bodies, and with them memory and temporary files, go when their exchange is over."""

    def living_bodies(self) -> int:
        return sum(isinstance(thing, Body) for thing in gc.get_objects())

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def test_idle_connection_keeps_no_body(self):
        before = self.living_bodies()
        recorder = EventRecorder("request", "response")
        proxy = self.proxy(recorder, body_memory_limit=10)
        proxy.origin().respond(lambda request: Response.make(200, b"x" * 100))
        client = proxy.client()
        client.send(post(100))
        self.assertIsNotNone(client.response())
        self.assertEqual(self.living_bodies(), before + 2)
        recorder.events.clear()
        self.assertEqual(self.living_bodies(), before)


class SlowPeerTests(HostileTestCase):
    """Peers that take their time, within the deadlines, get everything."""

    def test_reader_that_pauses_gets_the_end_of_a_last_response(self):
        for addons in ((), (EventRecorder("response"),)):
            proxy = self.proxy(*addons, close_timeout=5.0, write_timeout=60.0)
            proxy.origin().respond(
                lambda request: Response.make(200, b"x" * 300_000, {"Connection": "close"})
            )
            client = proxy.client()
            client.peer.transport.pauseProducing()
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            proxy.advance(30.0)
            client.peer.transport.resumeProducing()
            proxy.flush()
            response = client.response()
            assert response is not None
            self.assertEqual(response.content, b"x" * 300_000)

    def test_reader_that_never_reads_is_given_up(self):
        proxy = self.proxy(EventRecorder("response"), write_timeout=60.0)
        proxy.origin().respond(lambda request: Response.make(200, b"x" * 300_000))
        client = proxy.client()
        client.peer.transport.pauseProducing()
        client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        proxy.advance(59.0)
        self.assertEqual(len(proxy.environment.sessions), 1)
        proxy.advance(2.0)
        self.assertEqual(len(proxy.environment.sessions), 0)

    def test_client_that_closes_when_told_so_is_let_go_at_once(self):
        proxy = self.proxy()
        client = proxy.client()
        client.send(b"GET / HTTP/1.1\r\n no\r\n\r\n")
        self.assertTrue(client.closed)
        client.close()
        self.assertEqual(len(proxy.environment.sessions), 0)

    def test_client_that_lingers_is_given_up(self):
        proxy = self.proxy(close_timeout=5.0, write_timeout=60.0)
        client = proxy.client()
        client.send(b"GET / HTTP/1.1\r\n no\r\n\r\n")
        self.assertIn(b" 400 ", client.received)
        proxy.advance(6.0)
        self.assertEqual(len(proxy.environment.sessions), 0)

    def test_no_answer_is_due_while_the_request_is_still_sent(self):
        proxy = self.proxy(read_timeout=10.0)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        request = post(5)
        client.send(request[:-5])
        for byte in (b"h", b"e", b"l", b"l"):
            proxy.advance(9.0)
            client.send(byte)
        proxy.advance(9.0)
        self.assertEqual(client.received, b"")
        client.send(b"o")
        self.assertEqual(origin.requests[0].content, b"hello")
        self.assertEqual(client.received, OK)

    def test_an_answer_is_due_once_a_streamed_request_is_sent(self):
        proxy = self.proxy(read_timeout=10.0)
        proxy.origin()
        client = proxy.client()
        request = post(5)
        client.send(request[:-5])
        proxy.advance(20.0)
        client.send(request[-5:])
        proxy.advance(9.0)
        self.assertEqual(client.received, b"")
        proxy.advance(2.0)
        self.assertIn(b"read-timeout", client.received)


class LostReaderTests(HostileTestCase):
    """Peers that go while something is still to be written to them."""

    def assert_quiet(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_client_goes_between_pipelined_responses(self):
        recorder = EventRecorder("error")
        proxy = self.proxy(recorder)
        proxy.origin().respond(lambda request: Response.make(200, b"x" * 40_000))
        client = proxy.client()
        client.peer.transport.pauseProducing()
        client.send(GET * 10)
        client.abort()
        self.assert_quiet()
        self.assertEqual(len(proxy.environment.sessions), 0)

    def test_client_goes_in_a_gathered_response(self):
        recorder = EventRecorder("response", "error")
        proxy = self.proxy(recorder, body_memory_limit=1000)
        proxy.origin().respond(lambda request: Response.make(200, b"x" * 500_000))
        client = proxy.client()
        client.peer.transport.pauseProducing()
        client.send(GET)
        client.abort()
        self.assert_quiet()
        self.assertEqual(recorder.names, ["response"])
        flow = recorder.arguments("response")[0]
        self.assertEqual(flow.error.code, "client-disconnected")

    def server_goes(self, *events: str, **options: Any) -> bytes:
        """Send a large body to a server that reads nothing and then resets; return the answer."""

        def stop_reading(server_conn: Any) -> None:
            origin.connections[0].transport.pauseProducing()

        proxy = self.proxy(EventRecorder(*events, serverconnected=stop_reading), **options)
        origin = proxy.origin()
        client = proxy.client()
        client.send(post(500_000))
        origin.abort()
        return client.received

    def test_server_goes_in_a_streamed_request(self):
        answer = self.server_goes("error")
        self.assert_quiet()
        self.assertIn(b"502 Bad Gateway", answer)
        self.assertIn(b"server-reset", answer)

    def test_server_goes_in_a_gathered_request(self):
        answer = self.server_goes("request", body_memory_limit=1000)
        self.assert_quiet()
        self.assertIn(b"502 Bad Gateway", answer)
        self.assertIn(b"server-reset", answer)


class TurnTests(HostileTestCase):
    """No connection keeps the others waiting."""

    def test_pipelined_requests_take_turns(self):
        def answer(flow: Any) -> None:
            flow.response = Response.make(200)

        recorder = EventRecorder(request=answer)
        proxy = self.proxy(recorder)
        client = proxy.client()
        recorder.events.clear()
        client.peer.write(GET * 100)
        while not recorder.names.count("response"):
            proxy.network.pump()
        self.assertLess(recorder.names.count("response"), 100)
        proxy.advance(0)
        while client.response() is not None:
            pass
        proxy.flush()
        self.assertEqual(recorder.names.count("response"), 100)


def _put(flow: Any, name: str, value: object) -> None:
    setattr(flow, name, value)


class MisusedFlowTests(HostileTestCase):
    """Hooks that leave in a flow what cannot be sent: told by name, without a traceback."""

    def answered(self, event: str, action: Any, data: bytes = GET) -> tuple[bytes, Any]:
        """Return what the client gets, and the flow, when ``action`` is done in ``event``."""
        recorder = EventRecorder("requestheaders", **{event: action})
        proxy = self.proxy(recorder)
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(data)
        self.assertEqual(self.flushLoggedErrors(), [])
        return client.received, recorder.arguments("requestheaders")[0]

    def assert_answered(self, event: str, action: Any, code: str) -> None:
        answer, flow = self.answered(event, action)
        self.assertIn(b"502 Bad Gateway", answer)
        self.assertIn(code.encode(), answer)
        self.assertEqual(flow.error.code, code)

    def test_something_else_in_the_place_of_a_message(self):
        for value in (None, object(), "text"):
            for name, event in (("request", "request"), ("response", "response")):
                self.assert_answered(
                    event, partial(_put, name=name, value=value), f"{name}-removed"
                )

    def test_answers_that_are_not_final(self):
        def answer(flow: Any) -> None:
            flow.response = Response.make(100)

        def change(flow: Any) -> None:
            flow.response.status_code = 101

        for event in ("requestheaders", "request", "responseheaders", "response"):
            self.assert_answered(event, answer, "status-not-final")
        for event in ("responseheaders", "response"):
            self.assert_answered(event, change, "status-not-final")

    def test_tunnel_that_is_answered_with_no_final_response(self):
        def answer(flow: Any) -> None:
            flow.response = Response.make(100)

        proxy = self.proxy(EventRecorder(http_connect=answer))
        client = proxy.client()
        client.send(b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n")
        self.assertIn(b"status-not-final", client.received)


UPGRADE = (
    b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
    b"Connection: upgrade\r\nUpgrade: other\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"


class UpgradeTests(HostileTestCase):
    """Servers that switch protocols early, and hooks that do not let them."""

    def test_hook_refuses_the_upgrade(self):
        def replace(flow: Any) -> None:
            flow.response = Response.make(403, b"no")

        def change(flow: Any) -> None:
            flow.response.status_code = 403

        for event in ("responseheaders", "response"):
            for action in (replace, change):
                proxy = self.proxy(EventRecorder(**{event: action}))
                origin = proxy.origin().respond(SWITCHING + b"words")
                client = proxy.client()
                client.send(UPGRADE)
                self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
                client.send(b"other words")
                self.assertNotIn(b"words", client.received)
                self.assertNotIn(b"words", origin.received)

    def test_the_request_ends_before_the_tunnel_begins(self):
        proxy = self.proxy()
        origin = proxy.origin()
        client = proxy.client()
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
            b"Connection: upgrade\r\nUpgrade: other\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"a\r\n01234"
        )
        peer = origin.connections[0]
        origin.send(SWITCHING)
        peer.take()
        client.send(b"56789\r\n0\r\n\r\nother")
        self.assertEqual(peer.take(), b"5\r\n56789\r\n0\r\n\r\nother")
        origin.send(b"words")
        self.assertTrue(client.received.endswith(b"\r\n\r\nwords"))


class FullDiskTests(HostileTestCase):
    """No temporary file can be made."""

    def setUp(self) -> None:
        def full(**settings: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(tempfile, "TemporaryFile", full)

    def test_gathered_bodies_fail_by_name(self):
        for event, data in (("request", post(5000)), ("response", GET)):
            recorder = EventRecorder("requestheaders", event)
            proxy = self.proxy(recorder, body_memory_limit=1000)
            proxy.origin().respond(lambda request: Response.make(200, b"x" * 5000))
            client = proxy.client()
            client.send(data)
            self.assertIn(b"500 Internal Server Error", client.received)
            self.assertIn(b"body-spool-failed", client.received)
            flow = recorder.arguments("requestheaders")[0]
            self.assertEqual(flow.error.code, "body-spool-failed")

    def test_want_of_a_copy_holds_nothing_up(self):
        recorder = EventRecorder("requestheaders")
        proxy = self.proxy(
            recorder,
            body_memory_limit=1000,
            store_streamed_bodies=True,
            store_streamed_limit=100_000,
        )
        proxy.origin().respond(lambda request: Response.make(200, b"y" * 5000))
        client = proxy.client()
        client.send(post(5000))
        response = client.response()
        assert response is not None
        self.assertEqual(response.content, b"y" * 5000)
        flow = recorder.arguments("requestheaders")[0]
        self.assertTrue(flow.metadata["request_truncated"])
        self.assertTrue(flow.metadata["response_truncated"])


class TunnelTests(HostileTestCase):
    """Peers of a tunnel that speak at the same time."""

    def test_server_speaks_while_the_client_has_spoken_already(self):
        def greet(server_conn: Any) -> None:
            # A transport that is paused may still deliver what it has taken from its socket.
            transport = origin.connections[0].transport
            transport.peer.protocol.dataReceived(b"220 hello\r\n")

        proxy = self.proxy(EventRecorder(serverconnected=greet))
        origin = proxy.origin("example.test", 25)
        client = proxy.client()
        client.send(
            b"CONNECT example.test:25 HTTP/1.1\r\nHost: example.test:25\r\n\r\n" + b"EHLO me\r\n"
        )
        self.assertTrue(client.received.endswith(b"\r\n\r\n220 hello\r\n"))
        self.assertEqual(origin.received, b"EHLO me\r\n")


class DesyncTests(HostileTestCase):
    """No message leaves in a form that its receiver could end elsewhere than we do."""

    FIELDS = b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n"
    BODY = b"5\r\nhello\r\n0\r\n\r\n"

    def test_connection_field_does_not_take_the_coding_out(self):
        for addons in ((), (EventRecorder("request", "response"),)):
            proxy = self.proxy(*addons)
            origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\n" + self.FIELDS + self.BODY)
            client = proxy.client()
            client.send(
                b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
                + self.FIELDS
                + self.BODY
            )
            expected = b"Transfer-Encoding: chunked\r\n\r\n" + self.BODY
            self.assertTrue(origin.received.endswith(expected), origin.received)
            self.assertTrue(client.received.endswith(expected), client.received)

    def test_connection_is_not_reused_after_http_1_0(self):
        proxy = self.proxy()
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        old = GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(
            b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"
        )
        client.send(old)
        client.send(GET)
        self.assertEqual(client.received.count(b"200 OK"), 2)
        self.assertEqual(len(origin.connections), 2)
