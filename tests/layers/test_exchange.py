"""Exchanges, seen from both ends of a proxy in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from interceptor.http import Response
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.proxies import ProxyTestCase

GET = b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n"
POST = b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ExchangeTestCase(ProxyTestCase):
    """Runs whole exchanges."""


class OrderTests(ExchangeTestCase):
    """The order of events, and what has happened on the wire at each."""

    def test_plain_request(self):
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(
            recorder.names,
            [
                "next_layer",
                "requestheaders",
                "request",
                "serverconnect",
                "serverconnected",
                "responseheaders",
                "response",
            ],
        )
        self.assertEqual(client.received, OK)

    def test_connection_is_reused(self):
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        recorder.events.clear()
        client.send(GET)
        self.assertEqual(
            recorder.names, ["requestheaders", "request", "responseheaders", "response"]
        )
        self.assertEqual(len(origin.connections), 1)

    def test_no_connection_before_request_ends(self):
        seen: list[int] = []
        recorder = EventRecorder(request=lambda flow: seen.append(len(proxy.network.attempts)))
        proxy = self.proxy(recorder)
        proxy.origin().respond(OK)
        proxy.client().send(POST)
        self.assertEqual(seen, [0])

    def test_pipelined_requests_are_answered_in_order(self):
        proxy, client, _ = self.started()
        origin = proxy.origin().respond(lambda request: Response.make(200, request.path.encode()))
        client.send(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in (1, 2, 3)))
        bodies = [response.content for _ in range(3) if (response := client.response())]
        self.assertEqual(bodies, [b"/1", b"/2", b"/3"])
        self.assertEqual([request.path for request in origin.requests], ["/1", "/2", "/3"])

    def test_byte_by_byte(self):
        proxy = self.proxy(chunk=1)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        client.send(POST)
        self.assertEqual(client.received, OK)
        self.assertEqual(origin.requests[0].content, b"hello")

    def test_redirected_by_host(self):
        def elsewhere(flow: Any) -> None:
            flow.request.host = "other.test"
            flow.request.port = 8000

        proxy, client, _ = self.started(EventRecorder(request=elsewhere))
        other = proxy.origin("other.test", 8000).respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertIn(b"Host: other.test:8000\r\n", other.received)
        self.assertEqual(proxy.network.attempts, [("other.test", 8000)])

    def test_redirected_by_address(self):
        def elsewhere(server_conn: Any) -> None:
            server_conn.address = ("other.test", 8000)

        proxy, client, _ = self.started(EventRecorder(serverconnect=elsewhere))
        other = proxy.origin("other.test", 8000).respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertIn(b"Host: example.test\r\n", other.received)

    def test_hooks_change_both_messages(self):
        def request(flow: Any) -> None:
            flow.request.headers["X-Added"] = "1"
            flow.request.text = "changed"

        def response(flow: Any) -> None:
            flow.response.headers["X-Back"] = "2"
            flow.response.text = "other body"

        proxy, client, _ = self.started(EventRecorder(request=request, response=response))
        origin = proxy.origin().respond(OK)
        client.send(POST)
        answer = client.response()
        assert answer is not None
        self.assertEqual(origin.requests[0].content, b"changed")
        self.assertEqual(origin.requests[0].headers["X-Added"], "1")
        self.assertEqual(answer.content, b"other body")
        self.assertEqual(answer.headers["X-Back"], "2")


class AnswerTests(ExchangeTestCase):
    """Answers that a hook gives in the server's place."""

    def answered_in(self, event: str, data: bytes) -> tuple[MemoryProxy, Any, list[str]]:
        def answer(flow: Any) -> None:
            flow.response = Response.make(403, b"no")

        proxy, client, recorder = self.started(EventRecorder(**{event: answer}))
        proxy.origin().respond(OK)
        client.send(data)
        return proxy, client, recorder.names

    def test_in_requestheaders(self):
        proxy, client, names = self.answered_in("requestheaders", GET)
        self.assertEqual(client.response().content, b"no")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(names, ["next_layer", "requestheaders", "request", "response"])

    def test_in_request(self):
        proxy, client, names = self.answered_in("request", POST)
        self.assertEqual(client.response().content, b"no")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(names, ["next_layer", "requestheaders", "request", "response"])

    def test_before_the_body_is_there(self):
        head = b"PUT http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        proxy, client, names = self.answered_in("requestheaders", head)
        response = client.response()
        self.assertEqual(response.status_code, 403)
        self.assertEqual(response.headers["Connection"], "close")
        self.assertTrue(client.closed)
        self.assertEqual(names, ["next_layer", "requestheaders", "response"])
        self.assertEqual(proxy.network.attempts, [])

    def test_in_place_of_the_server(self):
        def answer(flow: Any) -> None:
            flow.response = Response.make(200, b"mine")

        proxy, client, recorder = self.started(EventRecorder(responseheaders=answer))
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        client.send(GET)
        response = client.response()
        assert response is not None
        self.assertEqual(response.content, b"mine")
        self.assertEqual(recorder.names[-1], "serverdisconnect")
        self.assertEqual(recorder.names.count("response"), 1)

    def test_connection_goes_on(self):
        _proxy, client, _ = self.started(
            EventRecorder(request=lambda flow: setattr(flow, "response", Response.make(200, b"x")))
        )
        client.send(POST)
        self.assertIsNotNone(client.response(b"POST"))
        client.send(POST)
        self.assertIsNotNone(client.response(b"POST"))
        self.assertFalse(client.closed)


class KillTests(ExchangeTestCase):
    """`Flow.kill` at every moment."""

    def kill_in(self, event: str, data: bytes = POST) -> tuple[Any, Any, EventRecorder]:
        proxy, client, recorder = self.started(EventRecorder(**{event: lambda flow: flow.kill()}))
        origin = proxy.origin().respond(OK)
        client.send(data)
        return origin, client, recorder

    def check_killed(self, client: MemoryClient, recorder: EventRecorder) -> None:
        self.assertEqual(client.received, b"")
        self.assertTrue(client.closed)
        [flow] = recorder.arguments("error")
        self.assertIn("killed", flow.error.msg)
        self.assertFalse(flow.live)
        self.assertNotIn("response", recorder.names)

    def test_in_requestheaders(self):
        _origin, client, recorder = self.kill_in("requestheaders")
        self.check_killed(client, recorder)
        self.assertNotIn("serverconnect", recorder.names)

    def test_in_request(self):
        _origin, client, recorder = self.kill_in("request")
        self.check_killed(client, recorder)
        self.assertNotIn("serverconnect", recorder.names)

    def test_in_responseheaders(self):
        _, client, recorder = self.kill_in("responseheaders")
        self.check_killed(client, recorder)

    def test_in_response(self):
        _, client, recorder = self.kill_in("response")
        self.assertEqual(client.received, b"")
        self.assertTrue(client.closed)
        self.assertNotIn("error", recorder.names)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.error.code, "killed")

    def test_while_the_server_is_silent(self):
        proxy, client, recorder = self.started()
        origin = proxy.origin()
        client.send(GET)
        [flow] = recorder.arguments("request")
        flow.kill()
        proxy.flush()
        self.check_killed(client, recorder)
        self.assertIsNotNone(origin.connections[0].lost)

    def test_in_the_middle_of_a_streamed_body(self):
        proxy, client, recorder = self.started(
            EventRecorder(responseheaders=lambda flow: setattr(flow.response, "stream", True))
        )
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.send(GET)
        self.assertTrue(client.received.endswith(b"abc"))
        [flow] = recorder.arguments("responseheaders")
        flow.kill()
        proxy.flush()
        self.assertTrue(client.closed)
        self.assertEqual(recorder.arguments("error"), [flow])
        self.assertNotIn("response", recorder.names)

    def test_by_a_hook_that_waits(self):
        async def kill(flow: Any) -> None:
            waiting: Deferred[None] = Deferred()
            proxy.clock.callLater(1, waiting.callback, None)
            await waiting
            flow.kill()

        proxy, client, recorder = self.started(EventRecorder(request=kill))
        client.send(GET)
        proxy.advance(1)
        self.check_killed(client, recorder)

    def test_while_a_hook_waits(self):
        cancelled: list[object] = []
        proxy, client, recorder = self.started(
            EventRecorder(request=lambda flow: Deferred(cancelled.append))
        )
        client.send(GET)
        [flow] = recorder.arguments("request")
        flow.kill()
        proxy.advance(0)
        self.check_killed(client, recorder)
        self.assertEqual(len(cancelled), 1)

    def test_the_next_request_is_not_touched(self):
        """An order to end one exchange must not hit the one behind it."""
        proxy, client, recorder = self.started(EventRecorder(response=lambda flow: None))
        proxy.origin().respond(OK)
        client.send(GET)
        [flow] = recorder.arguments("response")
        flow.kill()
        client.take()
        client.send(GET)
        self.assertEqual(client.received, OK)


class InterceptTests(ExchangeTestCase):
    """Flows that are paused and go on."""

    def test_pause_and_resume(self):
        proxy, client, recorder = self.started(EventRecorder(request=lambda flow: flow.intercept()))
        origin = proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(recorder.names[-1], "intercept")
        self.assertEqual(proxy.network.attempts, [])
        [flow] = recorder.arguments("request")
        flow.request.headers["X-Edited"] = "1"
        flow.resume()
        proxy.flush()
        self.assertEqual(recorder.names.count("intercept"), 1)
        self.assertEqual(recorder.names.count("resume"), 1)
        self.assertEqual(client.received, OK)
        self.assertEqual(origin.requests[0].headers["X-Edited"], "1")

    def test_kill_while_paused(self):
        proxy, client, recorder = self.started(EventRecorder(request=lambda flow: flow.intercept()))
        client.send(GET)
        recorder.arguments("request")[0].kill()
        proxy.flush()
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names[-2:], ["error", "clientdisconnect"])

    def test_client_leaves_while_paused(self):
        proxy, client, recorder = self.started(EventRecorder(request=lambda flow: flow.intercept()))
        client.send(GET)
        client.abort()
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.error.code, "client-disconnected")
        flow.resume()
        self.assertEqual(proxy.network.attempts, [])


class PolicyTests(ExchangeTestCase):
    """Hooks that fail."""

    def failing(self, event: str, policy: str) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        addon: Any = EventRecorder(**{event: lambda flow: 1 / 0})
        addon.error_policy = policy
        return self.started(addon)

    def test_continue(self):
        proxy, client, _ = self.failing("request", "continue")
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_kill_lets_not_one_byte_through(self):
        for event in ("requestheaders", "request"):
            proxy, client, recorder = self.failing(event, "kill")
            proxy.origin().respond(OK)
            client.send(POST)
            response = client.response(b"POST")
            assert response is not None
            self.assertEqual(response.status_code, 502)
            self.assertIn(b"hook-failed", response.content or b"")
            self.assertEqual(proxy.network.attempts, [])
            self.assertEqual(recorder.arguments("error")[0].error.code, "hook-failed")


class FailureTests(ExchangeTestCase):
    """What the client and the hooks learn of failures."""

    def code(self, recorder: EventRecorder) -> str:
        [flow] = recorder.arguments("error")
        return str(flow.error.code)

    def test_malformed_head(self):
        _, client, recorder = self.started()
        client.send(b"GET  HTTP\r\n\r\n")
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 400)
        self.assertIn("head-malformed", response.text or "")
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "head-malformed")

    def test_refused(self):
        _, client, recorder = self.started()
        client.send(GET)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertIn("connect-refused", response.text or "")
        self.assertEqual(self.code(recorder), "connect-refused")
        self.assertEqual(recorder.names[-4:-1], ["serverconnect", "serverconnect_failed", "error"])

    def test_slow_connect(self):
        proxy, client, recorder = self.started()
        proxy.network.stall(("example.test", 80))
        client.send(GET)
        proxy.advance(10)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 504)
        self.assertEqual(self.code(recorder), "connect-timeout")

    def test_silent_server(self):
        proxy, client, recorder = self.started(read_timeout=7)
        proxy.origin()
        client.send(GET)
        proxy.advance(6.9)
        self.assertEqual(client.received, b"")
        proxy.advance(0.2)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 504)
        self.assertEqual(self.code(recorder), "read-timeout")

    def test_server_that_closes(self):
        proxy, client, recorder = self.started()
        origin = proxy.origin()
        client.send(GET)
        origin.close()
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(self.code(recorder), "server-disconnected")

    def test_server_that_lies(self):
        proxy, client, recorder = self.started()
        proxy.origin().respond(b"SSH-2.0-OpenSSH\r\n\r\n")
        client.send(GET)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(self.code(recorder), "response-malformed")

    def test_server_that_speaks_something_else_is_told_at_once(self):
        proxy, client, recorder = self.started()
        proxy.origin().respond(b"SSH-2.0-OpenSSH\r\n")
        client.send(GET)
        self.assertEqual(self.code(recorder), "response-malformed")

    def test_stream_callable_that_never_answers(self):
        proxy, client, recorder = self.started(
            EventRecorder(
                responseheaders=lambda flow: setattr(
                    flow.response, "stream", lambda data: Deferred()
                )
            ),
            hook_timeout=3,
        )
        proxy.origin().respond(OK)
        client.send(GET)
        proxy.advance(3)
        self.assertEqual(self.code(recorder), "stream-failed")
        self.assertTrue(client.closed)

    def test_truncated_body_stays_truncated(self):
        proxy, client, recorder = self.started(
            EventRecorder(responseheaders=lambda flow: setattr(flow.response, "stream", True))
        )
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.send(GET)
        origin.close()
        self.assertTrue(client.received.endswith(b"abc"))
        self.assertIsNotNone(client.peer.lost)
        self.assertEqual(self.code(recorder), "response-truncated")

    def test_truncated_gathered_body(self):
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.send(GET)
        origin.close()
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(self.code(recorder), "response-truncated")

    def test_request_body_over_the_limit(self):
        proxy, client, recorder = self.started(body_size_limit=4)
        client.send(POST)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 413)
        self.assertEqual(self.code(recorder), "body-too-large")
        self.assertEqual(proxy.network.attempts, [])

    def test_chunked_request_body_over_the_limit(self):
        _proxy, client, _recorder = self.started(body_size_limit=4)
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n3\r\ndef\r\n"
        )
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 413)

    def test_bad_chunk(self):
        _, client, recorder = self.started()
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"xyz\r\n"
        )
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 400)
        self.assertTrue(client.closed)
        self.assertEqual(len(recorder.arguments("error")), 1)

    def test_hook_that_makes_a_message_invalid(self):
        def request(flow: Any) -> None:
            flow.request.headers.fields = ((b"X", b"a\r\nEvil: 1"),)

        proxy, client, recorder = self.started(EventRecorder(request=request))
        origin = proxy.origin().respond(OK)
        client.send(GET)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(self.code(recorder), "header-invalid")
        self.assertEqual(origin.received, b"")

    def test_client_leaves_while_the_server_works(self):
        proxy, client, recorder = self.started()
        origin = proxy.origin()
        client.send(GET)
        client.abort()
        self.assertEqual(self.code(recorder), "client-disconnected")
        self.assertIsNotNone(origin.connections[0].lost)
        self.assertEqual(recorder.names[-2:], ["clientdisconnect", "serverdisconnect"])

    def test_client_leaves_while_a_hook_waits(self):
        cancelled: list[object] = []
        _, client, recorder = self.started(
            EventRecorder(request=lambda flow: Deferred(cancelled.append))
        )
        client.send(GET)
        client.abort()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.code(recorder), "client-disconnected")

    def test_half_closed_client_gets_its_answer(self):
        proxy, client, _ = self.started()
        origin = proxy.origin()
        client.send(GET)
        client.end()
        origin.send(OK)
        self.assertEqual(client.received, OK)
        self.assertTrue(client.closed)

    def test_unfinished_request_of_a_half_closed_client(self):
        _, client, recorder = self.started()
        client.send(POST[:-2])
        client.end()
        self.assertEqual(len(recorder.arguments("error")), 1)
        self.assertTrue(client.closed)


class DeadlineTests(ExchangeTestCase):
    """Clients that take their time."""

    def test_slow_head(self):
        proxy, client, recorder = self.started(head_timeout=3)
        client.send(GET[:20])
        for _ in range(5):
            client.send(b"x")
            proxy.advance(1)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 408)
        self.assertEqual(recorder.arguments("error")[0].error.code, "head-timeout")

    def test_slow_body(self):
        proxy, client, recorder = self.started(body_timeout=3)
        client.send(POST[:-2])
        proxy.advance(3)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 408)
        self.assertEqual(recorder.arguments("error")[0].error.code, "body-timeout")

    def test_idle_connection_is_closed_without_a_word(self):
        proxy, client, recorder = self.started(idle_timeout=3)
        proxy.origin().respond(OK)
        client.send(GET)
        client.take()
        proxy.advance(3)
        self.assertEqual(client.received, b"")
        self.assertTrue(client.closed)
        self.assertNotIn("error", recorder.names)

    def test_client_that_never_speaks(self):
        proxy, client, _ = self.started(idle_timeout=3)
        proxy.advance(3)
        self.assertTrue(client.closed)

    def test_whole_exchange(self):
        proxy, client, recorder = self.started(total_timeout=3)
        proxy.origin()
        client.send(GET)
        proxy.advance(3)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 504)
        self.assertEqual(recorder.arguments("error")[0].error.code, "total-timeout")

    def test_head_that_comes_byte_by_byte_for_ever(self):
        proxy, client, recorder = self.started(read_timeout=3)
        origin = proxy.origin()
        client.send(GET)
        origin.send(b"HTTP/1.1 200 OK\r\n")
        for _ in range(6):
            origin.send(b"X")
            proxy.advance(0.5)
        self.assertEqual(recorder.arguments("error")[0].error.code, "read-timeout")

    def test_informational_responses_give_a_server_more_time(self):
        proxy, client, _ = self.started(read_timeout=3)
        origin = proxy.origin()
        client.send(GET)
        for _ in range(4):
            proxy.advance(2)
            origin.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        origin.send(OK)
        self.assertTrue(client.received.endswith(OK))

    def test_body_has_the_time_for_each_step(self):
        proxy, client, _ = self.started(read_timeout=3)
        origin = proxy.origin()
        client.send(GET)
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for byte in (b"a", b"b", b"c", b"d"):
            proxy.advance(2)
            origin.send(byte)
        self.assertTrue(client.received.endswith(b"abcd"))

    def test_a_waiting_hook_is_not_the_servers_fault(self):
        waiting: list[Deferred[None]] = []

        def hold(flow: Any) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[0]

        proxy, client, _ = self.started(
            EventRecorder(response=hold), read_timeout=3, hook_timeout=0
        )
        proxy.origin().respond(OK)
        client.send(GET)
        proxy.advance(100)
        waiting[0].callback(None)
        proxy.flush()
        self.assertEqual(client.received, OK)

    def test_nothing_is_left_on_the_clock(self):
        proxy, client, _ = self.started(total_timeout=30)
        proxy.origin().respond(OK)
        client.send(GET)
        client.close()
        proxy.flush()
        self.assertEqual(proxy.clock.getDelayedCalls(), [])


class StaleTests(ExchangeTestCase):
    """Kept connections that turn out to be dead."""

    def stale(self, data: bytes) -> tuple[MemoryProxy, MemoryClient, Any]:
        proxy, client, _ = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        client.take()
        # The next request meets a connection that closes instead of answering.
        origin._answers[:] = [self.close_then_serve(origin)]
        client.send(data)
        return proxy, client, origin

    def close_then_serve(self, origin: Any) -> Any:
        def answer(request: Any) -> bytes | None:
            if len(origin.connections) == 1:
                origin.connections[0].close()
                return None
            return OK

        return answer

    def test_get_is_sent_again(self):
        _, client, origin = self.stale(GET)
        self.assertEqual(client.received, OK)
        self.assertEqual(len(origin.connections), 2)

    def test_post_is_not(self):
        _, client, origin = self.stale(POST)
        response = client.response(b"POST")
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual([each.method for each in origin.requests], ["GET", "POST"])

    def test_server_that_is_slow_is_not_asked_again(self):
        for option, code in (("read_timeout", "read-timeout"), ("total_timeout", "total-timeout")):
            proxy, client, recorder = self.started(**{option: 3})
            origin = proxy.origin().respond(OK)
            client.send(GET)
            client.take()
            origin._answers[:] = [lambda request: None]
            client.send(GET)
            proxy.advance(3)
            response = client.response()
            assert response is not None
            self.assertEqual(response.status_code, 504)
            self.assertEqual(recorder.arguments("error")[0].error.code, code)
            self.assertEqual(len(origin.requests), 2)

    def test_connection_that_closed_before_is_not_used(self):
        proxy, client, _ = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        origin.close()
        client.take()
        client.send(POST)
        self.assertEqual(client.received, OK)
        self.assertEqual([each.method for each in origin.requests], ["GET", "POST"])

    def test_unasked_bytes_end_a_kept_connection(self):
        proxy, client, _ = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        client.take()
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertEqual(len(origin.connections), 2)

    def test_not_twice(self):
        proxy, client, _ = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        client.take()

        def close(request: Any) -> None:
            origin.connections[-1].close()

        origin._answers[:] = [close]
        client.send(GET)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(len(origin.requests), 3)
