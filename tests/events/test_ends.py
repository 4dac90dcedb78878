"""How flows end: in exactly one of ``response`` and ``error``, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from interceptor.http import Error, HTTPFlow
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import (
    CHUNKED,
    ENDS,
    GET,
    LAST_CHUNK,
    OK,
    OK_CHUNKED,
    POST,
    EventTestCase,
    Guard,
    Hooks,
    Waiting,
    answering,
    chunk,
    post,
    set_stream,
)

SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
STREAMING = Hooks(requestheaders=set_stream("request"), responseheaders=set_stream("response"))


class Scene:
    """A proxy, a client and an origin, and what the table below does with them."""

    def __init__(
        self, proxy: MemoryProxy, client: MemoryClient, recorder: EventRecorder, answer: Any
    ) -> None:
        self.proxy, self.client, self.recorder = proxy, client, recorder
        self.origin = proxy.origin()
        if answer is not None:
            self.origin.respond(answer)

    @property
    def flow(self) -> Any:
        """The flow, whichever of its events came first."""
        flows = [argument for _, argument in self.recorder.events if isinstance(argument, HTTPFlow)]
        return flows[0]


def nothing(scene: Scene) -> None:
    """Let things take their course."""


def client_resets(scene: Scene) -> None:
    scene.client.abort()


def client_half_closes(scene: Scene) -> None:
    scene.client.end()


def server_closes(scene: Scene) -> None:
    scene.origin.close()


def server_resets(scene: Scene) -> None:
    scene.origin.abort()


def server_answers(scene: Scene) -> None:
    scene.origin.send(OK)


def killed(scene: Scene) -> None:
    scene.flow.kill()
    scene.proxy.flush()


def killed_twice(scene: Scene) -> None:
    killed(scene)
    killed(scene)
    scene.client.abort()


def paused_and_resumed(scene: Scene) -> None:
    scene.flow.resume()
    scene.proxy.flush()


def much_later(scene: Scene) -> None:
    for _ in range(40):
        scene.proxy.advance(10)


Case = tuple[str, str, bytes, Any, Callable[[Scene], None], tuple[object, ...]]

CASES: tuple[Case, ...] = (
    # What it shows, the end, what the client sends, what the server answers, what happens then,
    # and the addons.
    ("all is well", "response", GET, OK, nothing, ()),
    ("all is well, with bodies", "response", POST, OK_CHUNKED + LAST_CHUNK, nothing, ()),
    ("all is well, streamed", "response", POST, OK, nothing, (STREAMING,)),
    ("body until EOF", "response", GET, b"HTTP/1.0 200 OK\r\n\r\nabc", server_closes, ()),
    (
        "body until EOF, streamed",
        "response",
        GET,
        b"HTTP/1.0 200 OK\r\n\r\nabc",
        server_closes,
        (STREAMING,),
    ),
    ("error status", "response", GET, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", nothing, ()),
    ("HTTP/1.0", "response", b"GET http://example.test/ HTTP/1.0\r\n\r\n", OK, nothing, ()),
    ("half-closed client", "response", GET, OK, client_half_closes, ()),
    (
        "answered in requestheaders",
        "response",
        GET,
        OK,
        nothing,
        (Hooks(requestheaders=answering()),),
    ),
    (
        "answered before the body",
        "response",
        post(100),
        OK,
        nothing,
        (Hooks(requestheaders=answering()),),
    ),
    ("answered in request", "response", POST, OK, nothing, (Hooks(request=answering()),)),
    (
        "answered in responseheaders",
        "response",
        GET,
        SHORT,
        nothing,
        (Hooks(responseheaders=answering()),),
    ),
    ("replaced in response", "response", GET, OK, nothing, (Hooks(response=answering()),)),
    ("early answer", "response", post(100) + b"some", None, server_answers, (STREAMING,)),
    ("failing hooks", "response", GET, OK, nothing, (Hooks(request=lambda flow: 1 / 0),)),
    (
        "paused in request",
        "response",
        GET,
        OK,
        paused_and_resumed,
        (Hooks(request=lambda flow: flow.intercept()),),
    ),
    (
        "paused in response",
        "response",
        GET,
        OK,
        paused_and_resumed,
        (Hooks(response=lambda flow: flow.intercept()),),
    ),
    (
        "killed in response",
        "response",
        GET,
        OK,
        nothing,
        (Hooks(response=lambda flow: flow.kill()),),
    ),
    (
        "failing closed in response",
        "response",
        GET,
        OK,
        nothing,
        (Guard(response=lambda flow: 1 / 0),),
    ),
    ("client gone in response", "response", GET, OK, client_resets, (Hooks(response=Waiting()),)),
    ("killed while response waits", "response", GET, OK, killed, (Hooks(response=Waiting()),)),
    ("response waits for ever", "response", GET, OK, much_later, (Hooks(response=Waiting()),)),
    ("malformed head", "error", b"GET http://example.test/\r\n\r\n", None, nothing, ()),
    ("no HTTP at all", "error", b"\x00\x01\x02", None, nothing, ()),
    ("not for a proxy", "error", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, nothing, ()),
    ("head that never ends", "error", GET[:30], None, much_later, ()),
    ("head that is cut off", "error", GET[:30], None, client_half_closes, ()),
    ("body that never ends", "error", POST[:-1], None, much_later, ()),
    ("body that is cut off", "error", POST[:-1], None, client_half_closes, ()),
    ("bad chunk", "error", CHUNKED + b"xyz\r\n", None, nothing, ()),
    (
        "bad chunk, streamed",
        "error",
        CHUNKED + chunk(b"a") + b"xyz\r\n",
        None,
        nothing,
        (STREAMING,),
    ),
    ("client gone in the body", "error", POST[:-1], None, client_resets, ()),
    ("client gone in a streamed body", "error", POST[:-1], None, client_resets, (STREAMING,)),
    ("client gone while waiting", "error", GET, None, client_resets, ()),
    ("client gone in a hook", "error", GET, None, client_resets, (Hooks(request=Waiting()),)),
    (
        "client gone in responseheaders",
        "error",
        GET,
        OK,
        client_resets,
        (Hooks(responseheaders=Waiting()),),
    ),
    ("client gone in a streamed response", "error", GET, SHORT, client_resets, (STREAMING,)),
    ("client gone in a gathered response", "error", GET, SHORT, client_resets, ()),
    (
        "client gone while paused",
        "error",
        GET,
        None,
        client_resets,
        (Hooks(request=lambda flow: flow.intercept()),),
    ),
    ("silent server", "error", GET, None, much_later, ()),
    ("server that closes", "error", GET, None, server_closes, ()),
    ("server that resets", "error", GET, None, server_resets, ()),
    (
        "server that resets a streamed request",
        "error",
        POST[:-1],
        None,
        server_resets,
        (STREAMING,),
    ),
    ("server that lies", "error", GET, b"220 hello\r\n\r\n", nothing, ()),
    ("truncated response", "error", GET, SHORT, server_closes, ()),
    ("truncated response, streamed", "error", GET, SHORT, server_closes, (STREAMING,)),
    ("response that is reset", "error", GET, SHORT, server_resets, (STREAMING,)),
    ("response that never ends", "error", GET, SHORT, much_later, ()),
    ("bad chunk of a response", "error", GET, OK_CHUNKED + b"xyz\r\n", nothing, ()),
    (
        "bad chunk, streamed",
        "error",
        GET,
        OK_CHUNKED + chunk(b"a") + b"xyz\r\n",
        nothing,
        (STREAMING,),
    ),
    ("unreachable", "error", GET.replace(b"example", b"nobody"), None, nothing, ()),
    ("refused", "error", GET, OK, nothing, (Hooks(serverconnect=lambda conn: conn.refuse()),)),
    (
        "killed in requestheaders",
        "error",
        GET,
        OK,
        nothing,
        (Hooks(requestheaders=lambda flow: flow.kill()),),
    ),
    ("killed in request", "error", POST, OK, nothing, (Hooks(request=lambda flow: flow.kill()),)),
    (
        "killed in responseheaders",
        "error",
        GET,
        OK,
        nothing,
        (Hooks(responseheaders=lambda flow: flow.kill()),),
    ),
    ("killed in the body", "error", POST[:-1], None, killed, ()),
    ("killed in a streamed body", "error", POST[:-1], None, killed, (STREAMING,)),
    ("killed while waiting", "error", GET, None, killed_twice, ()),
    ("killed in a gathered response", "error", GET, SHORT, killed, ()),
    ("killed in a streamed response", "error", GET, SHORT, killed_twice, (STREAMING,)),
    (
        "killed while paused",
        "error",
        GET,
        None,
        killed,
        (Hooks(request=lambda flow: flow.intercept()),),
    ),
    (
        "answered and killed",
        "error",
        GET,
        None,
        nothing,
        (Hooks(request=answering()), Hooks(request=lambda flow: flow.kill())),
    ),
    ("failing closed", "error", POST, OK, nothing, (Guard(request=lambda flow: 1 / 0),)),
    ("overrunning", "error", POST, OK, much_later, (Guard(request=Waiting()),)),
    (
        "killed in error",
        "error",
        GET,
        None,
        server_closes,
        (Hooks(error=lambda flow: flow.kill()),),
    ),
    ("failing in error", "error", GET, None, server_closes, (Guard(error=lambda flow: 1 / 0),)),
    ("waiting in error", "error", GET, None, server_closes, (Hooks(error=Waiting()),)),
)


class EndTests(EventTestCase):
    """The table."""

    cases: ClassVar[tuple[Case, ...]] = CASES

    def run_case(self, case: Case) -> Scene:
        _, _, data, answer, then, addons = case
        proxy, client, recorder = self.started(*addons)
        scene = Scene(proxy, client, recorder, answer)
        client.send(data)
        then(scene)
        # Whatever is left must not make another end.
        client.abort()
        much_later(scene)
        return scene

    def test_exactly_one(self) -> None:
        for case in self.cases:
            recorder = self.run_case(case).recorder
            self.assertEqual(self.ends(recorder), [case[1]], case[0])

    def test_flow_is_over(self) -> None:
        for case in self.cases:
            scene = self.run_case(case)
            [flow] = [argument for name, argument in scene.recorder.events if name in ENDS]
            self.assertFalse(flow.live, case[0])
            self.assertIsNotNone(flow.request, case[0])
            if case[1] == "response":
                self.assertIsNotNone(flow.response, case[0])
            else:
                self.assertTrue(flow.error.msg and flow.error.code, case[0])
                self.assertGreater(flow.error.timestamp, 0, case[0])

    def test_nothing_is_left(self) -> None:
        for case in self.cases:
            scene = self.run_case(case)
            self.assertEqual(scene.recorder.names.count("clientdisconnect"), 1, case[0])
            for begun, *ended in (("serverconnected", "serverdisconnect"),):
                self.assertEqual(
                    scene.recorder.names.count(begun),
                    sum(map(scene.recorder.names.count, ended)),
                    case[0],
                )
            self.assertEqual(scene.proxy.environment.sessions, set(), case[0])
            self.assertEqual(scene.proxy.clock.getDelayedCalls(), [], case[0])

    def test_order(self) -> None:
        order = ["requestheaders", "request", "responseheaders", *ENDS]
        for case in self.cases:
            names = [name for name in self.run_case(case).recorder.names if name in order]
            self.assertEqual(sorted(names, key=order.index), names, case[0])


class ErrorTests(EventTestCase):
    """``error(flow)``, and ``flow.error`` without it."""

    def test_argument(self) -> None:
        _, client, recorder = self.started()
        client.send(GET)
        [flow] = recorder.arguments("error")
        self.assertIsInstance(flow.error, Error)
        self.assertEqual(flow.error.code, "connect-refused")
        self.assertIn("connection refused", flow.error.msg)
        self.assertEqual(str(flow.error), flow.error.msg)
        self.assertIsNone(flow.response)
        self.assertEqual(flow.request.url, "http://example.test/")

    def test_waited_for(self) -> None:
        """The page goes out after the hook: it may look at what it is told."""
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(error=waiting)
            client.send(GET)
            self.assertEqual(client.received, b"")
            waiting.go_on()
            proxy.flush()
            self.assertEqual(self.response(client).status_code, 502)

    def test_response_that_had_begun_is_there(self) -> None:
        proxy, client, recorder = self.started(STREAMING)
        origin = proxy.origin().respond(SHORT)
        client.send(GET)
        origin.close()
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.response.status_code, 200)

    def test_of_a_head_that_nobody_understood(self) -> None:
        """There is a request to be relied on even then."""
        _, client, recorder = self.started()
        client.send(b"\x00\x01")
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.request.method, "?")
        self.assertEqual(flow.error.code, "head-malformed")
        self.assertEqual(recorder.names, ["next_layer", "error"])
        self.assertEqual(self.response(client).status_code, 400)

    def test_error_status_is_none(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        client.send(GET)
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.error)

    def test_set_without_the_event_once_response_has_begun(self) -> None:
        def kill(proxy: MemoryProxy, client: MemoryClient, flow: HTTPFlow) -> None:
            flow.kill()

        def leave(proxy: MemoryProxy, client: MemoryClient, flow: HTTPFlow) -> None:
            client.abort()

        for loss, code in ((kill, "killed"), (leave, "client-disconnected")):
            waiting = Waiting()
            proxy, client, recorder = self.hooked(response=waiting)
            proxy.origin().respond(OK)
            client.send(GET)
            [flow] = recorder.arguments("response")
            self.assertIsNone(flow.error)
            loss(proxy, client, flow)
            proxy.advance(0)
            self.assertEqual(flow.error.code, code)
            self.assertEqual(waiting.cancelled, 1)
            self.assertEqual(self.ends(recorder), ["response"])
            self.assertEqual(client.received, b"")

    def test_lost_while_the_response_is_sent(self) -> None:
        proxy, client, recorder = self.started(body_memory_limit=1000)
        size = 1_000_000
        proxy.origin().respond(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
        )
        client.link.client.pauseProducing()
        client.send(GET)
        [flow] = recorder.arguments("response")
        self.assertTrue(flow.live)
        client.abort()
        self.assertEqual(flow.error.code, "client-disconnected")
        self.assertEqual(self.ends(recorder), ["response"])

    def test_killed_while_the_response_is_sent(self) -> None:
        proxy, client, recorder = self.started(body_memory_limit=1000)
        size = 1_000_000
        proxy.origin().respond(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
        )
        client.link.client.pauseProducing()
        client.send(GET)
        recorder.arguments("response")[0].kill()
        client.link.client.resumeProducing()
        proxy.flush()
        self.assertLess(len(client.received), size)
        self.assertIsNotNone(client.peer.lost)
        self.assertEqual(self.ends(recorder), ["response"])

    def test_errors_message_may_be_set_by_the_killer(self) -> None:
        def request(flow: HTTPFlow) -> None:
            flow.error = Error("not on my watch", code="policy")
            flow.kill()

        _, client, recorder = self.hooked(request=request)
        client.send(GET)
        [flow] = recorder.arguments("error")
        self.assertEqual((flow.error.msg, flow.error.code), ("not on my watch", "policy"))

    def test_failing_error_hook_changes_nothing(self) -> None:
        for hook in (lambda flow: 1 / 0, Waiting()):
            proxy, client, _ = self.started(Guard(error=hook), hook_timeout=3)
            client.send(GET)
            proxy.advance(3)
            self.assertEqual(self.response(client).status_code, 502)


class KillTests(EventTestCase):
    """``flow.kill()``."""

    def test_message_says_so(self) -> None:
        _, client, recorder = self.hooked(request=lambda flow: flow.kill())
        client.send(GET)
        [flow] = recorder.arguments("error")
        self.assertIn("killed", flow.error.msg)
        self.assertTrue(flow.killed)

    def test_no_byte_upstream_after_it(self) -> None:
        proxy, client, recorder = self.started(STREAMING)
        origin = proxy.origin()
        client.send(POST[:-2])
        before = origin.received
        recorder.arguments("requestheaders")[0].kill()
        client.send(POST[-2:])
        proxy.flush()
        self.assertEqual(origin.received, before)
        self.assertIsNotNone(origin.connections[0].lost)

    def test_hooks_behind_the_killer_are_called(self) -> None:
        """They may look at ``flow.killed``."""
        seen: list[bool] = []
        _, client, _ = self.started(
            Hooks(request=lambda flow: flow.kill()),
            Hooks(request=lambda flow: seen.append(flow.killed)),
        )
        client.send(GET)
        self.assertEqual(seen, [True])

    def test_does_nothing_when_the_flow_is_over(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET)
        [flow] = recorder.arguments("response")
        flow.kill()
        client.send(GET)
        self.assertEqual(client.received, OK + OK)
        self.assertIsNone(flow.error)

    def test_other_flows_go_on(self) -> None:
        proxy, client, _ = self.hooked(request=lambda flow: flow.kill())
        other = proxy.client()
        client.send(GET)
        self.assertTrue(client.closed)
        self.assertFalse(other.closed)
