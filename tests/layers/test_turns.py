"""However much comes at once from one peer, the others have their turn meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import HTTPFlow
from interceptor.testing import MemoryClient, MemoryProxy
from tests.events.cases import OK
from tests.websockets import TEXT, frame, handshake, switching
from tests.wire import http2feeding as h2

OTHER = b"GET http://other.test/other HTTP/1.1\r\nHost: other.test\r\n\r\n"
COUNT = 3000


class Order:
    """Notes what hooks see, in the order in which they do."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def request(self, flow: HTTPFlow) -> None:
        self.seen.append("other" if flow.request.host == "other.test" else "busy")

    def requestheaders(self, flow: HTTPFlow) -> None:
        if flow.request.path == "/streamed":
            flow.request.stream = self._part

    def _part(self, data: bytes) -> bytes:
        self.seen.append("busy")
        return data

    def websocket_message(self, flow: Any) -> None:
        self.seen.append("busy")

    def sse_event(self, flow: Any) -> None:
        self.seen.append("busy")

    def smtp_command(self, flow: Any) -> None:
        self.seen.append("other" if flow.message.verb == "HELP" else "busy")


class TurnTests(SynchronousTestCase):
    """Another client, whose request comes at the same time as much of a busy one."""

    def start(self, mode: str = "regular", **options: Any) -> None:
        self.order = Order()
        self.proxy = MemoryProxy(self.order, mode=mode, **options)
        self.addCleanup(self.proxy.close)
        self.busy = self.proxy.client()
        self.other = self.proxy.client()
        if mode == "regular":
            self.proxy.origin("other.test").respond(OK)

    def check(self, client: MemoryClient | None, count: int) -> None:
        """Let all of it come; ``count`` is how often hooks hear of the busy client."""
        (self.other if client is None else client).peer.write(OTHER)
        self.order.seen.clear()
        self.proxy.flush()
        seen = self.order.seen
        self.assertEqual((seen.count("busy"), seen.count("other")), (count, 1))
        self.assertLess(seen.index("other"), len(seen) - 1)

    def test_http2_data(self) -> None:
        """Of two streams in turn, so that it cannot be joined."""
        self.start(h2_cleartext=True)
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"example.test"),
            (b":path", b"/streamed"),
        ]
        self.proxy.origin()
        self.busy.send(h2.HELLO + h2.headers(1, fields) + h2.headers(3, fields))
        data = b"".join(h2.data(1 + 2 * (n & 1), b"x") for n in range(COUNT))
        self.busy.peer.write(data)
        self.check(None, COUNT)

    def test_http2_fields(self) -> None:
        self.start(h2_cleartext=True)
        self.proxy.origin().respond(OK)
        fields = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"example.test"),
            (b":path", b"/"),
            *[(b"x", b"y")] * 900,
        ]
        self.busy.send(h2.HELLO)
        # From the second one on each field is a byte, as it is in the table.
        compressor = h2.Compressor()
        for stream in range(1, 41, 2):
            self.busy.peer.write(h2.build(h2.HEADERS, 5, stream, compressor.block(fields)))
        self.check(None, 20)

    def test_http2_data_of_a_server_that_leaves(self) -> None:
        """What it had said before is not lost."""
        self.start("reverse:http://example.test", h2_cleartext=True)
        origin = self.proxy.origin()
        self.busy.send(h2.HELLO)
        self.busy.send(h2.headers(1, h2.GET, True) + h2.headers(3, h2.GET, True))
        server = origin.connections[0]
        ok = [(b":status", b"200")]
        answer = h2.settings() + h2.headers(1, ok) + h2.headers(3, ok)
        answer += b"".join(h2.data(1 + 2 * (n & 1), b"x") for n in range(COUNT))
        server.write(answer + h2.data(1, b"y", True) + h2.data(3, b"z", True))
        server.close()
        self.proxy.flush()
        parsed = h2.parse(self.busy.received)
        bodies = set()
        for stream in (1, 3):
            data = [f.payload for f in parsed if f.kind == h2.DATA and f.stream_id == stream]
            bodies.add(b"".join(data))
        self.assertEqual(bodies, {b"x" * (COUNT // 2) + last for last in (b"y", b"z")})

    def test_websocket_messages(self) -> None:
        self.start()
        origin = self.proxy.origin()
        self.busy.send(handshake())
        origin.send(switching())
        self.busy.peer.write(frame(TEXT, b"x") * COUNT)
        self.check(None, COUNT)

    def test_events(self) -> None:
        self.start()
        origin = self.proxy.origin()
        self.busy.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        body = b"data\n\n" * COUNT
        origin.connections[0].write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        self.check(None, COUNT)

    def test_commands(self) -> None:
        self.order = Order()
        self.proxy = MemoryProxy(self.order, mode="reverse:smtp://example.test:25")
        self.addCleanup(self.proxy.close)
        origin = self.proxy.origin("example.test", 25)
        self.busy, self.other = self.proxy.client(), self.proxy.client()
        for server in origin.connections:
            server.write(b"220 hello\r\n")
        self.proxy.flush()
        self.busy.peer.write(b"NOOP\r\n" * COUNT)
        self.other.peer.write(b"HELP\r\n")
        self.order.seen.clear()
        self.proxy.flush()
        seen = self.order.seen
        self.assertEqual((seen.count("busy"), seen.count("other")), (COUNT, 1))
        self.assertLess(seen.index("other"), COUNT)


class UnansweredTests(SynchronousTestCase):
    """Clients that send on and on to a server that does not answer."""

    def check(self, mode: str, greeting: bytes, data: bytes) -> None:
        proxy = MemoryProxy(Order(), mode=mode)
        self.addCleanup(proxy.close)
        origin = proxy.origin("example.test", 25)
        client = proxy.client()
        for server in origin.connections:
            server.write(greeting)
        count = 0
        while client.link.server.reading and count < 64 << 20:
            client.send(data)
            count += len(data)
        self.assertLess(count, 64 << 20)
        # The server is given up in the end.
        proxy.advance(61)
        proxy.advance(61)
        self.assertTrue(client.closed)

    def test_commands(self) -> None:
        self.check("reverse:smtp://example.test:25", b"220 hello\r\n", b"NOOP\r\n" * 10_000)

    def test_what_follows_a_command_that_has_to_be_answered_first(self) -> None:
        self.check("reverse:smtp://example.test:25", b"220 hello\r\n", b"EHLO x\r\n" * 10_000)

    def test_large_commands(self) -> None:
        data = b"*2\r\n$4\r\nECHO\r\n$1000000\r\n" + bytes(1_000_000) + b"\r\n"
        self.check("reverse:redis://example.test:25", b"", data)
