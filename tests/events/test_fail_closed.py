"""Addons whose error policy is ``kill``: no request gets past their ``request`` hook.

Whatever the client sends, and whatever other addons decide, nothing reaches the origin before the
hook has answered.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from interceptor.http import HTTPFlow, Response
from interceptor.testing import MemoryClient, MemoryProxy
from tests.events.cases import (
    CHUNKED,
    CONNECT,
    GET,
    LAST_CHUNK,
    OK,
    POST,
    EventTestCase,
    Guard,
    Hooks,
    Waiting,
    chunk,
    post,
    set_stream,
)

HOST = b"Host: example.test\r\n"

EVASIONS: dict[str, tuple[bytes, ...]] = {
    "plain": (POST,),
    "no body": (GET,),
    "no body that is announced": (post(0),),
    "gRPC": (post(5, b"Content-Type: application/grpc"), b"hello"),
    "gRPC, chunked": (
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/grpc+proto\r\n\r\n"),
        chunk(b"hello") + LAST_CHUNK,
    ),
    "event stream": (post(5, b"Content-Type: text/event-stream"), b"hello"),
    "large": (post(5000), bytes(5000)),
    "chunked": (CHUNKED, chunk(b"hello"), LAST_CHUNK),
    "large and chunked": (CHUNKED, *(chunk(bytes(1000)),) * 5, LAST_CHUNK),
    "trailers": (CHUNKED, chunk(b"hello"), b"0\r\nX-Sum: 1\r\n\r\n"),
    "chunk by chunk": (CHUNKED, b"1\r\na", b"\r\n1;x=y\r\nb\r\n", LAST_CHUNK),
    "upgrade": (GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"),),
    "upgrade with a body": (
        post(5, b"Connection: Upgrade", b"Upgrade: other"),
        b"hello",
    ),
    "upgrade to HTTP/2": (
        GET.replace(
            b"\r\n\r\n",
            b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AA\r\n\r\n",
        ),
    ),
    "HTTP/1.0": (POST.replace(b"HTTP/1.1", b"HTTP/1.0"),),
    "HTTP/1.0 without a Host": (b"GET http://example.test/ HTTP/1.0\r\n\r\n",),
    "expectation": (post(5, b"Expect: 100-continue"), b"hello"),
    "expectation, not waited for": (post(5, b"Expect: 100-continue") + b"hello",),
    "scheme in capitals": (b"GET HTTP://example.test/ HTTP/1.1\r\n" + HOST + b"\r\n",),
    "port": (b"GET http://example.test:80/ HTTP/1.1\r\n" + HOST + b"\r\n",),
    "no path": (b"GET http://example.test HTTP/1.1\r\n" + HOST + b"\r\n",),
    "asterisk": (b"OPTIONS http://example.test HTTP/1.1\r\n" + HOST + b"\r\n",),
    "another Host": (b"GET http://example.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",),
    "unknown method": (b"BREW http://example.test/ HTTP/1.1\r\n" + HOST + b"\r\n",),
    "method in lower case": (b"get http://example.test/ HTTP/1.1\r\n" + HOST + b"\r\n",),
    "empty lines before": (b"\r\n\r\n" + GET,),
    "HEAD": (GET.replace(b"GET", b"HEAD"),),
    "TRACE": (GET.replace(b"GET", b"TRACE"),),
    "close": (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),),
    "byte by byte": tuple(bytes((byte,)) for byte in POST),
}

IN_TUNNEL: dict[str, tuple[bytes, ...]] = {
    "plain": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n",),
    "absolute target": (GET,),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",),
    "byte by byte": tuple(bytes((byte,)) for byte in b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",),
    "empty line alone": (b"\r\n", b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n",),
    "method with a hyphen": (b"M-SEARCH / HTTP/1.1\r\n" + HOST + b"\r\n",),
    "long method": (b"X" * 30 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",),
    "short method": (b"Q / HTTP/1.1\r\n" + HOST + b"\r\n",),
}


class FailClosedTestCase(EventTestCase):
    """Checks that the hook is asked while the origin has heard nothing."""

    def send(self, client: MemoryClient, pieces: tuple[bytes, ...]) -> None:
        for piece in pieces:
            client.send(piece)

    def options(self) -> dict[str, Any]:
        # Both would make bodies stream that nobody guards.
        return {"stream_large_bodies": 1000, "stream_grpc": True}


class EvasionTests(FailClosedTestCase):
    """What a client might try."""

    def test_hook_is_asked_first(self) -> None:
        for name, pieces in EVASIONS.items():
            waiting = Waiting()
            proxy, client, _ = self.started(Guard(request=waiting), **self.options())
            origin = proxy.origin().respond(OK)
            self.send(client, pieces)
            self.assertEqual(len(waiting.arguments), 1, name)
            self.assertEqual(proxy.network.attempts, [], name)
            waiting.go_on()
            proxy.flush()
            self.assertEqual(len(origin.requests), 1, name)

    def test_failing_hook_lets_nothing_through(self) -> None:
        for name, pieces in EVASIONS.items():
            proxy, client, recorder = self.started(
                Guard(request=lambda flow: 1 / 0), **self.options()
            )
            proxy.origin().respond(OK)
            self.send(client, pieces)
            self.assertEqual(proxy.network.attempts, [], name)
            self.assertEqual(self.code(recorder), "hook-failed", name)
            self.assertTrue(client.closed, name)

    def test_killing_hook_lets_nothing_through(self) -> None:
        for name, pieces in EVASIONS.items():
            proxy, client, recorder = self.started(
                Guard(request=lambda flow: flow.kill()), **self.options()
            )
            self.send(client, pieces)
            self.assertEqual(proxy.network.attempts, [], name)
            self.assertEqual(self.code(recorder), "killed", name)

    def test_other_addons_cannot_let_it_stream(self) -> None:
        for name, pieces in EVASIONS.items():
            for stream in (True, lambda data: data):
                opener = Hooks(requestheaders=set_stream("request", stream))
                waiting = Waiting()
                guard = Guard(requestheaders=lambda flow: None, request=waiting)
                for addons in ((opener, Guard(request=waiting)), (opener, guard), (guard, opener)):
                    waiting.arguments.clear()
                    proxy, client, _ = self.started(*addons, **self.options())
                    origin = proxy.origin().respond(OK)
                    self.send(client, pieces)
                    self.assertEqual(len(waiting.arguments), 1, name)
                    self.assertEqual(proxy.network.attempts, [], name)
                    waiting.go_on()
                    proxy.flush()
                    self.assertEqual(len(origin.requests), 1, name)

    def test_pipelined_requests(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.started(Guard(request=waiting), **self.options())
        origin = proxy.origin().respond(OK)
        client.send(GET + POST + GET)
        for number in range(3):
            self.assertEqual(len(waiting.arguments), number + 1)
            self.assertEqual(len(origin.requests), number)
            waiting.go_on()
            proxy.flush()
        self.assertEqual(client.received, OK * 3)

    def test_reverse_mode(self) -> None:
        for target in (b"/", b"http://other.test/"):
            waiting = Waiting()
            proxy, client, _ = self.started(
                Guard(request=waiting), mode="reverse:http://example.test"
            )
            origin = proxy.origin().respond(OK)
            client.send(b"GET " + target + b" HTTP/1.1\r\nHost: other.test\r\n\r\n")
            self.assertEqual((len(waiting.arguments), proxy.network.attempts), (1, []))
            waiting.go_on()
            proxy.flush()
            self.assertEqual(len(origin.requests), 1)

    def test_too_large_to_be_gathered(self) -> None:
        for head in (post(50), post(50, b"Content-Type: application/grpc"), CHUNKED):
            proxy, client, _ = self.started(
                Guard(request=lambda flow: None), body_size_limit=20, stream_large_bodies=10
            )
            client.send(head + chunk(bytes(30)))
            self.assertEqual(self.response(client, b"POST").status_code, 413)
            self.assertEqual(proxy.network.attempts, [])

    def test_policy_of_the_whole_proxy(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.started(
            Hooks(requestheaders=set_stream("request")),
            Hooks(request=waiting),
            script_error_policy="kill",
        )
        client.send(POST)
        self.assertEqual((len(waiting.arguments), proxy.network.attempts), (1, []))


REFUSED_IN_TUNNEL = (
    b"GET /\r\n\r\n",
    b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET here HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\r\n" * 50 + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
"""What some servers take for a request and we for none."""


class TunnelTests(FailClosedTestCase):
    """The same inside of a CONNECT tunnel: HTTP there is met by the hooks."""

    cases: ClassVar[tuple[bytes, ...]] = REFUSED_IN_TUNNEL

    def tunnel(self, waiting: Waiting) -> tuple[MemoryProxy, MemoryClient, Any]:
        proxy, client, _ = self.started(Guard(request=waiting), **self.options())
        origin = proxy.origin().respond(OK)
        client.send(CONNECT)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
        return proxy, client, origin

    def test_hook_is_asked_first(self) -> None:
        for name, pieces in IN_TUNNEL.items():
            waiting = Waiting()
            proxy, client, origin = self.tunnel(waiting)
            self.send(client, pieces)
            self.assertEqual(len(waiting.arguments), 1, name)
            self.assertEqual(origin.received, b"", name)
            waiting.go_on()
            proxy.flush()
            self.assertEqual(len(origin.requests), 1, name)

    def test_request_behind_the_connect(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.started(Guard(request=waiting))
        origin = proxy.origin().respond(OK)
        client.send(CONNECT + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(len(waiting.arguments), 1)
        self.assertEqual(origin.received, b"")

    def test_what_no_request_should_look_like(self) -> None:
        for data in self.cases:
            for pieces in ((data,), tuple(bytes((byte,)) for byte in data)):
                waiting = Waiting()
                _, client, origin = self.tunnel(waiting)
                self.send(client, pieces)
                self.assertEqual((waiting.called, origin.received), (False, b""), data)
                self.assertTrue(client.closed, data)

    def test_half_a_request_line_and_a_long_pause(self) -> None:
        proxy, client, origin = self.tunnel(Waiting())
        client.send(b"GE")
        proxy.advance(proxy.options.tunnel_idle_timeout)
        client.send(b"T / HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(origin.received, b"")
        self.assertTrue(client.closed)

    def test_second_request(self) -> None:
        waiting = Waiting()
        proxy, client, origin = self.tunnel(waiting)
        request = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
        client.send(request + request)
        waiting.go_on()
        proxy.flush()
        self.assertEqual((len(waiting.arguments), len(origin.requests)), (2, 1))


class AgreementTests(FailClosedTestCase):
    """What makes a body stream past such a hook: its own addon's word."""

    def guard(self, requestheaders: Any) -> Guard:
        self.called: list[Any] = []
        return Guard(
            requestheaders=requestheaders,
            request=lambda flow: self.called.append(flow.request.raw_content),
        )

    def streams(self, *addons: object) -> bool:
        """Whether the beginning of a body goes through."""
        proxy, client, _ = self.started(*addons)
        origin = proxy.origin().respond(OK)
        client.send(POST[:-2])
        proxy.advance(0)
        before = bool(origin.connections) and origin.received.endswith(b"hel")
        client.send(POST[-2:])
        self.assertEqual(origin.requests[0].content, b"hello")
        self.assertEqual(client.received, OK)
        return before

    def test_own_word(self) -> None:
        self.assertTrue(self.streams(self.guard(set_stream("request"))))
        self.assertEqual(self.called, [None])

    def test_own_word_given_later(self) -> None:
        async def coroutine(flow: HTTPFlow) -> None:
            await self.later()
            flow.request.stream = True

        def deferred(flow: HTTPFlow) -> Deferred[None]:
            waiting = self.later()
            waiting.addCallback(lambda _: setattr(flow.request, "stream", True))
            return waiting

        for hook in (coroutine, deferred):
            self.waiting: list[Deferred[None]] = []
            proxy, client, _ = self.started(self.guard(hook))
            origin = proxy.origin().respond(OK)
            client.send(POST[:-2])
            self.waiting[0].callback(None)
            proxy.flush()
            self.assertTrue(origin.received.endswith(b"hel"))

    def later(self) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def test_nothing_said_later(self) -> None:
        async def coroutine(flow: HTTPFlow) -> None:
            await self.later()

        for hook in (coroutine, lambda flow: self.later()):
            self.waiting = []
            proxy, client, _ = self.started(
                Hooks(requestheaders=set_stream("request")), self.guard(hook)
            )
            proxy.origin().respond(OK)
            client.send(POST[:-2])
            self.waiting[0].callback(None)
            proxy.flush()
            self.assertEqual(proxy.network.attempts, [])

    def test_confirming_what_another_one_wants(self) -> None:
        opener = Hooks(requestheaders=set_stream("request"))
        self.assertTrue(self.streams(opener, self.guard(set_stream("request"))))

    def test_saying_nothing(self) -> None:
        opener = Hooks(requestheaders=set_stream("request"))
        self.assertFalse(self.streams(opener, self.guard(lambda flow: None)))
        self.assertEqual(self.called, [b"hello"])

    def test_every_guard_is_asked(self) -> None:
        first, second = self.guard(set_stream("request")), self.guard(lambda flow: None)
        self.assertFalse(self.streams(first, second))
        self.assertFalse(self.streams(second, first))
        self.assertTrue(self.streams(first, self.guard(set_stream("request"))))

    def test_taken_back_by_another_one(self) -> None:
        closer = Hooks(requestheaders=set_stream("request", False))
        self.assertFalse(self.streams(self.guard(set_stream("request")), closer))

    def test_one_without_a_request_hook_is_not_asked(self) -> None:
        guard = Guard(requestheaders=lambda flow: None)
        others = Hooks(requestheaders=set_stream("request"), request=lambda flow: None)
        self.assertTrue(self.streams(guard, others))
        self.assertTrue(self.streams(others, guard))

    def test_another_request(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request = flow.request.copy()

        opener = Hooks(requestheaders=set_stream("request"))
        self.assertFalse(self.streams(opener, self.guard(requestheaders)))

    def test_nobody_before_is_forgotten(self) -> None:
        """Addons behind the guard see what those before it set."""
        seen: list[Any] = []
        self.streams(
            Hooks(requestheaders=set_stream("request")),
            self.guard(lambda flow: seen.append(flow.request.stream)),
            Hooks(requestheaders=lambda flow: seen.append(flow.request.stream)),
        )
        self.assertEqual(seen, [False, True])

    def test_callable_of_another_one_is_applied_after(self) -> None:
        """What was gathered for the guard leaves through it all the same."""
        opener = Hooks(requestheaders=set_stream("request", lambda data: data.upper() or b"!"))
        for options in ({}, {"body_memory_limit": 2}):
            proxy, client, _ = self.started(opener, self.guard(lambda flow: None), **options)
            origin = proxy.origin().respond(OK)
            client.send(POST + CHUNKED + chunk(b"hel") + b"2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n")
            self.assertEqual(self.called, [b"hello", b"hello"])
            self.assertEqual([each.content for each in origin.requests], [b"HELLO!", b"HELLO!"])
            assert origin.requests[1].trailers is not None

    def test_callable_of_another_one_is_not_called_for_what_is_refused(self) -> None:
        called: list[bytes] = []

        def refuse(flow: HTTPFlow) -> None:
            flow.response = Response.make(403)

        opener = Hooks(requestheaders=set_stream("request", called.append))
        proxy, client, _ = self.started(opener, Guard(request=refuse))
        client.send(POST)
        self.assertEqual(self.response(client).status_code, 403)
        self.assertEqual((called, proxy.network.attempts), ([], []))


class HeadersTests(FailClosedTestCase):
    """The place where rules belong: ``requestheaders`` precedes everything by itself."""

    def test_nothing_gets_through(self) -> None:
        for name, pieces in EVASIONS.items():
            for hook in (lambda flow: 1 / 0, lambda flow: flow.kill()):
                proxy, client, _ = self.started(
                    Hooks(requestheaders=set_stream("request")), Guard(requestheaders=hook)
                )
                self.send(client, pieces)
                self.assertEqual(proxy.network.attempts, [], name)
                self.assertTrue(client.closed, name)
