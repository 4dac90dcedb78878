"""What is promised in milliseconds.

The name keeps trial's discovery away: these tests run by themselves, after all others, because
they mean nothing on a machine that is busy with something else (``make timing``).
"""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tests.functional.harness import FunctionalTestCase, ProxyProcess, reactor, sleep
from tests.functional.origins import EventStream, Fixed, tree

EVENTS = 50
INTERVAL = 0.2
LATEST = 0.020
"""Seconds that an event may need from the origin's write to the client."""

HELD = 5.0
"""Seconds that a hook holds its own flow."""

SLOW_REQUESTS = 8
CLIENTS = 8
P99 = 0.050
"""Seconds within which 99 of 100 of the other requests are answered."""


class EventClient(Protocol):
    """Reads an event stream and notes when each event arrived."""

    def __init__(self) -> None:
        self.arrivals: dict[int, float] = {}
        self.received = b""
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        now = reactor().seconds()
        self.received += data
        for number in re.findall(rb"data: (\d+)\n\n", self.received):
            self.arrivals.setdefault(int(number), now)
        if self.received.endswith(b"0\r\n\r\n") and not self.done.called:
            self.done.callback(None)


class GetClient(Protocol):
    """Sends one GET after another on one connection; answers have a Content-Length."""

    def __init__(self) -> None:
        self.buffer = b""
        self.waiting: Deferred[bytes] | None = None

    async def get(self, url: str) -> bytes:
        """Give the whole response."""
        assert self.transport is not None
        host = url.split("/")[2]
        self.waiting = Deferred()
        self.transport.write(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return await self.waiting

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        assert length is not None, head
        if len(body) >= int(length[1]):
            response, self.buffer = self.buffer, b""
            waiting, self.waiting = self.waiting, None
            if waiting is not None:
                waiting.callback(response)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self.waiting is not None and reason is not None:
            self.waiting.errback(reason)


class TimingTestCase(FunctionalTestCase):
    """Clients live in this process, so that their clock is the origin's."""

    async def connect(self, proxy: ProxyProcess, client: Protocol) -> ITransport:
        """Connect a client to the proxy; the connection is closed when the test ends."""
        endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", proxy.port)
        await connectProtocol(endpoint, client)
        assert client.transport is not None
        self.addCleanup(client.transport.loseConnection)
        return client.transport


class EventStreamTests(TimingTestCase):
    async def test_events_arrive_one_by_one_with_a_response_hook_loaded(self):
        ended = self.directory / "ended"
        script = self.write(
            "hooks.py",
            f"def response(flow):\n    open({str(ended)!r}, 'w').write(flow.request.path)\n",
        )
        events = EventStream(EVENTS, INTERVAL)
        origin = await self.start_site(tree(events=events))
        proxy = await self.start_proxy(scripts=[script])
        client = EventClient()
        transport = await self.connect(proxy, client)
        transport.write(
            f"GET {origin.url}/events HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n\r\n".encode()
        )
        await client.done
        self.assertEqual(sorted(client.arrivals), list(range(1, EVENTS + 1)))
        delays = [
            client.arrivals[number] - written for number, written in enumerate(events.written, 1)
        ]
        print(f"event stream: latest {max(delays) * 1000:.1f} ms")
        self.assertLessEqual(max(delays), LATEST)
        # The hook runs at the stream's end, of which the client may know first.
        for _ in range(100):
            if ended.exists() and ended.read_text():
                break
            await sleep(0.02)
        self.assertEqual(ended.read_text(), "/events")


class OtherFlowsTests(TimingTestCase):
    """A hook that takes its time holds its own flow and no other."""

    async def check(self, script: str) -> None:
        """Hold some requests in a hook; measure what others need meanwhile."""
        origin = await self.start_site(tree(fast=Fixed(b"fast"), slow=Fixed(b"slow")))
        proxy = await self.start_proxy(scripts=[self.write("hooks.py", script)])
        now = reactor().seconds
        finished: list[float] = []
        began = now()

        async def slow() -> None:
            client = GetClient()
            await self.connect(proxy, client)
            response = await client.get(f"{origin.url}/slow")
            self.assertTrue(response.endswith(b"\r\n\r\nslow"), response)
            finished.append(now() - began)

        times: list[float] = []

        async def fast() -> None:
            client = GetClient()
            await self.connect(proxy, client)
            while now() - began < HELD - 0.5:
                sent = now()
                response = await client.get(f"{origin.url}/fast")
                times.append(now() - sent)
                self.assertTrue(response.endswith(b"\r\n\r\nfast"), response)
                await sleep(0.005)

        held = gatherResults([Deferred.fromCoroutine(slow()) for _ in range(SLOW_REQUESTS)])
        await gatherResults([Deferred.fromCoroutine(fast()) for _ in range(CLIENTS)])
        early = list(finished)
        await held
        p99 = sorted(times)[len(times) * 99 // 100]
        print(f"{len(times)} other requests: p99 {p99 * 1000:.1f} ms")
        self.assertGreater(len(times), 500)
        self.assertLess(p99, P99)
        self.assertEqual(early, [])
        self.assertGreaterEqual(min(finished), HELD)
        self.assertLess(max(finished), HELD + 2)

    async def test_a_hook_that_awaits(self):
        await self.check(
            f"""\
from twisted.internet import reactor, task


async def request(flow):
    if flow.request.path == "/slow":
        await task.deferLater(reactor, {HELD})
"""
        )

    async def test_a_hook_that_blocks_its_thread(self):
        await self.check(
            f"""\
import time

from interceptor.script import concurrent


@concurrent
def request(flow):
    if flow.request.path == "/slow":
        time.sleep({HELD})
"""
        )
