"""State machines: peers that do whatever they may, in any order, and what must hold meanwhile."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.http import HTTPFlow, Request, Response
from interceptor.testing import MemoryClient, MemoryOrigin, MemoryProxy
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import (
    NEED_DATA,
    Data,
    EndOfMessage,
    RequestHead,
    ResponseHead,
)

_SETTINGS = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

_BODIES = st.binary(max_size=40)


class Direction:
    """One half of a conversation: what was sent of a message, and what was read."""

    def __init__(self) -> None:
        self.wire = b""
        self.begun = self.ended = self.seen = self.complete = False
        self.left: int | None = None
        self.sent = b""
        self.read = b""


class HTTP1Machine(RuleBasedStateMachine):
    """Both HTTP/1 codecs, joined by a wire that delivers as much at once as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.client = HTTP1ClientCodec(HTTP1Limits(), "repair")
        self.server = HTTP1ServerCodec(HTTP1Limits(), "repair")
        self.method = "GET"
        self.up, self.down = Direction(), Direction()

    @precondition(lambda self: not self.up.begun)
    @rule(
        method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
        length=st.none() | st.integers(0, 40),
    )
    def begin_request(self, method: str, length: int | None) -> None:
        self.method = method
        request = Request.make(method, "http://a.example/path")
        self.up.wire += self.client.send_head(request, length)
        self.up.begun = True
        self.up.left = length

    @precondition(lambda self: self.up.begun and not self.up.ended)
    @rule(body=_BODIES)
    def send_body(self, body: bytes) -> None:
        self._send(self.up, self.client, body)

    @precondition(lambda self: self.up.begun and not self.up.ended and not self.up.left)
    @rule()
    def end_request(self) -> None:
        self.up.wire += self.client.send_end()
        self.up.ended = True

    @precondition(lambda self: self.up.seen and not self.down.begun)
    @rule(
        status=st.sampled_from([200, 204, 304, 404]),
        length=st.none() | st.integers(0, 40),
        informational=st.booleans(),
    )
    def begin_response(self, status: int, length: int | None, informational: bool) -> None:
        if informational:
            early = Response.make(200)
            early.status_code = 103
            self.down.wire += self.server.send_informational(early)
        response = Response.make(200)
        response.status_code = status
        del response.headers["content-length"]
        self.down.wire += self.server.send_head(_request(self.method), response, length)
        self.down.begun = True
        bodiless = self.method == "HEAD" or status in (204, 304)
        self.down.left = 0 if bodiless else length

    @precondition(lambda self: self.down.begun and not self.down.ended)
    @rule(body=_BODIES)
    def send_response_body(self, body: bytes) -> None:
        self._send(self.down, self.server, body)

    @precondition(lambda self: self.down.begun and not self.down.ended and not self.down.left)
    @rule()
    def end_response(self) -> None:
        self.down.wire += self.server.send_end()
        self.down.ended = True

    def _send(self, direction: Direction, codec: Any, body: bytes) -> None:
        if direction.left is not None:
            body = body[: direction.left]
            direction.left -= len(body)
        if body:
            direction.wire += codec.send_data(body)
            direction.sent += body

    @precondition(lambda self: self.up.wire)
    @rule(size=st.integers(1, 60))
    def deliver_up(self, size: int) -> None:
        self._deliver(self.up, self.server, size)

    @precondition(lambda self: self.down.wire)
    @rule(size=st.integers(1, 60))
    def deliver_down(self, size: int) -> None:
        self._deliver(self.down, self.client, size)

    def _deliver(self, direction: Direction, codec: Any, size: int) -> None:
        codec.receive_data(direction.wire[:size])
        direction.wire = direction.wire[size:]
        while (event := codec.next_event(0.0)) is not NEED_DATA:
            if isinstance(event, (RequestHead, ResponseHead)):
                if isinstance(event, ResponseHead) and event.response.status_code < 200:
                    continue
                direction.seen = True
                direction.complete = event.end_of_message
            elif isinstance(event, Data):
                direction.read += event.data
                direction.complete = event.end_of_message
            else:
                assert isinstance(event, EndOfMessage)
                direction.complete = True

    @precondition(
        lambda self: self.up.ended and self.down.ended and self.up.complete and self.down.complete
    )
    @rule()
    def next_cycle(self) -> None:
        assert not self.up.wire
        assert not self.down.wire
        if self.client.reusable and self.server.keep_alive:
            self.client.next_cycle()
            self.server.next_cycle()
        else:
            self.client = HTTP1ClientCodec(HTTP1Limits(), "repair")
            self.server = HTTP1ServerCodec(HTTP1Limits(), "repair")
        self.up, self.down = Direction(), Direction()

    @invariant()
    def nothing_else_is_read(self) -> None:
        for direction in (self.up, self.down):
            assert direction.sent.startswith(direction.read)
            if direction.complete:
                assert direction.read == direction.sent, (direction.read, direction.sent)


def _request(method: str) -> Request:
    return Request.make(method, "http://a.example/path")


class Hooks:
    """An addon that does in each event what it was told to do next."""

    def __init__(self) -> None:
        self.next: dict[str, str] = {}
        self.waiting: list[Deferred[None]] = []
        self.begun: list[HTTPFlow] = []
        self.ends: list[tuple[str, HTTPFlow]] = []

    def _act(self, event: str, flow: HTTPFlow) -> Any:
        action = self.next.pop(event, "")
        if action == "wait":
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            return waiting
        if action == "kill":
            flow.kill()
        elif action == "answer":
            flow.response = Response.make(200, b"mine")
        elif action == "raise":
            raise ZeroDivisionError("on purpose")
        elif action == "stream":
            message = flow.request if event == "requestheaders" else flow.response
            if message is not None:
                message.stream = True
        elif action == "intercept":
            flow.intercept()
        return None

    def requestheaders(self, flow: HTTPFlow) -> Any:
        self.begun.append(flow)
        return self._act("requestheaders", flow)

    def request(self, flow: HTTPFlow) -> Any:
        return self._act("request", flow)

    def responseheaders(self, flow: HTTPFlow) -> Any:
        return self._act("responseheaders", flow)

    def sse_event(self, flow: HTTPFlow) -> Any:
        return self._act("sse_event", flow)

    def response(self, flow: HTTPFlow) -> Any:
        self.ends.append(("response", flow))
        return self._act("response", flow)

    def error(self, flow: HTTPFlow) -> Any:
        self.ends.append(("error", flow))
        return self._act("error", flow)


REQUESTS = (
    b"GET http://example.test/a HTTP/1.1\r\nHost: example.test\r\n\r\n",
    b"POST http://example.test/a HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello",
    b"POST http://example.test/a HTTP/1.1\r\nHost: example.test\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT http://example.test/a HTTP/1.1\r\nHost: example.test\r\nExpect: 100-continue\r\n"
    b"Content-Length: 5\r\n\r\nhello",
    b"GET http://nowhere.test/a HTTP/1.1\r\nHost: nowhere.test\r\n\r\n",
    b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n",
    b"nonsense\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n: c\n\ndata: b\n\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"nonsense\r\n\r\n",
)
ACTIONS = ("wait", "kill", "answer", "raise", "stream", "intercept")
EVENTS = ("requestheaders", "request", "responseheaders", "sse_event", "response", "error")


@implementer(ILogObserver)
class ProxyMachine(RuleBasedStateMachine):
    """A whole proxy in memory, its clients, its servers, its hooks, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[LogEvent] = []
        globalLogPublisher.addObserver(self)
        self.hooks = Hooks()
        self.proxy = MemoryProxy(
            self.hooks,
            hook_timeout=20,
            read_timeout=30,
            idle_timeout=60,
            tunnel_idle_timeout=90,
        )
        self.origin: MemoryOrigin = self.proxy.origin()
        self.clients: list[MemoryClient] = []
        self.unsent: dict[int, bytes] = {}

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.failures.append(event)

    # Clients

    @precondition(lambda self: len(self.clients) < 4)
    @rule(chunk=st.sampled_from([None, None, 1, 7]))
    def connect(self, chunk: int | None) -> None:
        self.clients.append(self.proxy.client(chunk))

    @precondition(lambda self: self.clients)
    @rule(
        which=st.integers(0, 3),
        request=st.sampled_from(REQUESTS),
        cut=st.integers(0, 120),
        event=st.sampled_from(EVENTS),
        action=st.sampled_from(("", "", *ACTIONS)),
    )
    def send(self, which: int, request: bytes, cut: int, event: str, action: str) -> None:
        if action:
            self.hooks.next[event] = action
        which %= len(self.clients)
        data = self.unsent.pop(which, b"") + request
        if cut:
            data, self.unsent[which] = data[:cut], data[cut:]
        self.clients[which].send(data)

    @precondition(lambda self: self.unsent)
    @rule()
    def send_the_rest(self) -> None:
        which, data = self.unsent.popitem()
        self.clients[which].send(data)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 3), how=st.sampled_from(["end", "close", "abort"]))
    def leave(self, which: int, how: str) -> None:
        getattr(self.clients[which % len(self.clients)], how)()

    # Servers

    @precondition(lambda self: self.origin.connections)
    @rule(which=st.integers(0, 7), response=st.sampled_from(RESPONSES), size=st.integers(1, 200))
    def answer(self, which: int, response: bytes, size: int) -> None:
        peer = self.origin.connections[which % len(self.origin.connections)]
        peer.write(response[:size])
        self.proxy.flush()

    @precondition(lambda self: self.origin.connections)
    @rule(which=st.integers(0, 7), how=st.sampled_from(["close", "abort"]))
    def drop(self, which: int, how: str) -> None:
        peer = self.origin.connections[which % len(self.origin.connections)]
        if how == "close":
            peer.close()
        else:
            peer.transport.abortConnection()
        self.proxy.flush()

    # Hooks and time

    @precondition(lambda self: self.hooks.waiting)
    @rule()
    def go_on(self) -> None:
        waiting = self.hooks.waiting.pop(0)
        if not waiting.called:
            waiting.callback(None)
        self.proxy.flush()

    @precondition(lambda self: self.hooks.begun)
    @rule(which=st.integers(0, 50), how=st.sampled_from(["kill", "intercept", "resume"]))
    def steer(self, which: int, how: str) -> None:
        getattr(self.hooks.begun[which % len(self.hooks.begun)], how)()
        self.proxy.flush()

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 11.0, 40.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.proxy.advance(seconds)

    # What must hold

    @invariant()
    def nothing_is_unexpected(self) -> None:
        assert not self.failures, self.failures[0]["log_failure"].getTraceback()

    @invariant()
    def a_flow_ends_once(self) -> None:
        ended = [id(flow) for _, flow in self.hooks.ends if flow in self.hooks.begun]
        assert len(ended) == len(set(ended)), self.hooks.ends

    def teardown(self) -> None:
        self.hooks.next.clear()
        try:
            for waiting in self.hooks.waiting:
                if not waiting.called:
                    waiting.callback(None)
            for client in self.clients:
                client.abort()
            for flow in self.hooks.begun:
                # Who said all and then resets is not noticed while nobody reads or writes there.
                flow.resume()
            self.proxy.flush()
            self.proxy.advance(1000)
            assert not self.proxy.environment.sessions, self.proxy.environment.sessions
            self.proxy.close()
            ended = {id(flow) for _, flow in self.hooks.ends}
            for flow in self.hooks.begun:
                assert id(flow) in ended, flow
            self.nothing_is_unexpected()
        finally:
            globalLogPublisher.removeObserver(self)


class MachineTests(SynchronousTestCase):
    def test_http1(self) -> None:
        run_state_machine_as_test(HTTP1Machine, settings=_SETTINGS)

    def test_proxy(self) -> None:
        run_state_machine_as_test(ProxyMachine, settings=_SETTINGS)
        # What hooks raised on purpose.
        self.flushLoggedErrors()
