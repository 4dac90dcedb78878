"""Peers that leave, stall and flood, over real sockets: the proxy and its other users live on.

Hostile clients are blocking sockets in a thread; the origins live in the test's reactor.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import skipUnless

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from tests.functional.harness import FunctionalTestCase, Origin, ProxyProcess, reactor, sleep

HOOKS = """
def requestheaders(flow): pass
def request(flow): pass
def responseheaders(flow): pass
def response(flow): pass
"""
ANSWERS = """
from interceptor import http

def request(flow):
    if flow.request.path == "/answered":
        flow.response = http.Response.make(200, b"x")
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b"5\r\nhello\r\n5;name=value\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n"
PATIENCE = 15.0
MIB = 1 << 20


def reset(client: socket.socket) -> None:
    """Close a connection so that the peer sees a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextlib.contextmanager
def connected(port: int, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """Connect to the proxy."""
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", port))
        yield client


def read_until(client: socket.socket, end: bytes = b"") -> tuple[bytes, bool]:
    """Read up to ``end`` or the end of the connection; tell whether that was a clean one."""
    data = b""
    try:
        while not (end and data.endswith(end)):
            piece = client.recv(65536)
            if not piece:
                break
            data += piece
    except ConnectionError:
        return data, False
    return data, True


def get(port: int, path: str = "", *fields: bytes) -> bytes:
    """Return a GET for an origin on ``port``."""
    authority = b"127.0.0.1:%d" % port
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"GET http://%b/%b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
        authority,
        path.encode(),
        authority,
        lines,
    )


class Answering(Protocol):
    """Answers each request that has no body at once, any other when its last chunk has come."""

    transport: Any

    def connectionMade(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            if b"chunked" in head.lower():
                if not rest.endswith(b"\r\n\r\n"):
                    return
                rest = b""
            self.data = rest
            self.transport.write(OK)


class Leaving(Protocol):
    """Sends the beginning of an answer and leaves."""

    transport: Any

    def __init__(self, answer: bytes, resets: bool) -> None:
        self.answer = answer
        self.resets = resets

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer)
        if self.resets:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()


class Bystander:
    """Sends one request after another over a connection of its own, and measures the slowest."""

    def __init__(self, proxy: ProxyProcess, origin: Origin) -> None:
        self._port = proxy.port
        self._request = get(origin.port)
        self._stop = False
        self.served = 0
        self.slowest = 0.0

    def run(self) -> None:
        """Go on until `stop`; call this in a thread."""
        with connected(self._port) as client:
            while not self._stop:
                began = time.monotonic()
                client.sendall(self._request)
                data, _ = read_until(client, b"ok")
                assert data.startswith(b"HTTP/1.1 200 "), data
                self.served += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.005)

    def stop(self) -> None:
        self._stop = True


def descriptors(pid: int) -> int:
    """Count what a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int, field: str = "VmRSS") -> int:
    """Return how many bytes a process has, or had."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(rf"{field}:\s+(\d+) kB", status.read())
    assert found is not None
    return int(found[1]) * 1024


@skipUnless(os.path.isdir("/proc/self/fd"), "counts descriptors and memory in /proc")
class HostileTestCase(FunctionalTestCase):
    """Starts a proxy, and looks at what it holds."""

    def descriptors(self, proxy: ProxyProcess) -> int:
        return descriptors(self.pid(proxy))

    def memory(self, proxy: ProxyProcess, field: str = "VmRSS") -> int:
        return memory(self.pid(proxy), field)

    def pid(self, proxy: ProxyProcess) -> int:
        transport = proxy.process.transport
        assert transport is not None
        pid = transport.pid
        assert isinstance(pid, int)
        return pid

    async def hooked_proxies(self) -> list[ProxyProcess]:
        script = self.write("hooks.py", HOOKS)
        return [await self.start_proxy(), await self.start_proxy(scripts=[script])]

    async def answering(self) -> Origin:
        return await self.listen(Factory.forProtocol(Answering))

    async def unharmed(self, proxy: ProxyProcess, attack: Callable[[], object]) -> None:
        """Run an attack in a thread while a bystander is served; nothing may stay behind."""
        origin = await self.answering()
        bystander = Bystander(proxy, origin)
        served = deferToThread(bystander.run)
        while not bystander.served:
            await sleep(0.01)
        before = self.descriptors(proxy)
        try:
            await deferToThread(attack)
        finally:
            bystander.stop()
            await served
        self.assertLess(bystander.slowest, 0.5)
        deadline = reactor().seconds() + PATIENCE
        while self.descriptors(proxy) > before:
            self.assertLess(reactor().seconds(), deadline, "descriptors stay behind")
            await sleep(0.05)


class LeavingTests(HostileTestCase):
    """Peers that leave at every byte of an exchange."""

    async def test_clients(self):
        origin = await self.answering()
        request = get(origin.port, "", b"Transfer-Encoding: chunked") + BODY

        def attack(port: int) -> None:
            for offset in range(len(request)):
                with connected(port) as client:
                    client.sendall(request[:offset])
                with connected(port) as client:
                    client.sendall(request[:offset])
                    reset(client)
                with connected(port) as client:
                    client.sendall(request[:offset])
                    client.shutdown(socket.SHUT_WR)
                    answer, _ = read_until(client)
                    assert not answer or b" 400 " in answer, (offset, answer)
            for offset in range(len(OK)):
                for leave in (socket.socket.close, reset):
                    with connected(port) as client:
                        client.sendall(request)
                        client.recv(offset or 1, socket.MSG_WAITALL)
                        leave(client)

        for proxy in await self.hooked_proxies():
            await self.unharmed(proxy, partial(attack, proxy.port))

    async def test_servers(self):
        answers = (
            b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n" + OK,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        )
        left: list[bytes] = []
        resets = [False]

        class LeavingFactory(Factory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol:
                return Leaving(left[-1], resets[-1])

        origin = await self.listen(LeavingFactory())
        request = get(origin.port, "", b"Connection: close")

        def attack(port: int) -> None:
            for answer in answers:
                for offset in range(len(answer)):
                    left.append(answer[:offset])
                    for resets[0] in (False, True):
                        with connected(port) as client:
                            client.sendall(request)
                            data, clean = read_until(client)
                        # Never a clean end of a truncated message.
                        assert not clean or b"502 Bad Gateway" in data, (offset, data)

        for proxy in await self.hooked_proxies():
            await self.unharmed(proxy, partial(attack, proxy.port))


class FloodTests(HostileTestCase):
    """Peers that send more than anybody asked for."""

    async def test_pipelined_requests_and_small_chunks(self):
        origin = await self.answering()
        script = self.write("answers.py", ANSWERS)
        proxy = await self.start_proxy(scripts=[script])
        chunked = get(origin.port, "", b"Transfer-Encoding: chunked", b"Connection: close")

        def attack() -> None:
            with connected(proxy.port) as client:
                client.sendall(get(origin.port, "answered") * 1000)
                count = 0
                while count < 1000:
                    count += client.recv(65536).count(b"\r\n\r\nx")
            with connected(proxy.port) as client:
                client.sendall(chunked + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
                assert read_until(client)[0].endswith(b"ok")

        await self.unharmed(proxy, attack)

    async def test_endless_input_is_refused(self):
        proxy = await self.start_proxy()
        chunked = b"POST http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"
        cases = (
            (b"GET http://a/" + b"a" * 100_000, b"head-too-large"),
            (b"GET http://a/ HTTP/1.1\r\n" + b"X: y\r\n" * 50_000, b"head-too-large"),
            (b"\r\n" * 1000, b"head-malformed"),
            (chunked + b"X: y\r\n" * 2000 + b"\r\n", b"too-many-fields"),
        )

        def attack() -> None:
            for data, code in cases:
                with connected(proxy.port) as client:
                    with contextlib.suppress(ConnectionError):
                        client.sendall(data)
                    answer, _ = read_until(client)
                    assert code in answer, (code, answer)

        await self.unharmed(proxy, attack)


class SlowReaderTests(HostileTestCase):
    """Large bodies to and from peers that read slowly take no memory."""

    SIZE = 96 * MIB

    async def test_down(self):
        size = self.SIZE

        class Sending(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                self.left = size
                self.transport.registerProducer(self, False)

            def resumeProducing(self) -> None:
                if self.left:
                    self.left -= MIB
                    self.transport.write(b"x" * MIB)
                else:
                    self.transport.unregisterProducer()

            def stopProducing(self) -> None:
                self.left = 0

        origin = await self.listen(Factory.forProtocol(Sending))

        def download(port: int) -> int:
            with connected(port, 65536) as client:
                client.sendall(get(origin.port))
                received = count = 0
                while received < size:
                    received += len(client.recv(65536))
                    count += 1
                    if not count % 500:
                        time.sleep(0.02)
                return received

        for proxy in await self.hooked_proxies():
            before = self.memory(proxy)
            self.assertGreaterEqual(await deferToThread(download, proxy.port), size)
            self.assertLess(self.memory(proxy, "VmHWM") - before, 16 * MIB)

    async def test_up(self):
        size = self.SIZE

        class Taking(Protocol):
            transport: Any
            received = 0

            def dataReceived(self, data: bytes) -> None:
                self.received += len(data)
                if self.received >= size:
                    self.transport.write(OK)
                elif self.received // (8 * MIB) > (self.received - len(data)) // (8 * MIB):
                    self.transport.pauseProducing()
                    reactor().callLater(0.02, self.transport.resumeProducing)

        origin = await self.listen(Factory.forProtocol(Taking))

        def upload(port: int) -> bytes:
            with connected(port) as client:
                client.sendall(get(origin.port, "", b"Content-Length: %d" % size))
                for _ in range(size // MIB):
                    client.sendall(b"x" * MIB)
                return read_until(client, b"ok")[0]

        for proxy in await self.hooked_proxies():
            before = self.memory(proxy)
            self.assertIn(b" 200 OK", await deferToThread(upload, proxy.port))
            self.assertLess(self.memory(proxy, "VmHWM") - before, 16 * MIB)


class ResourceTests(HostileTestCase):
    """What the system withholds."""

    async def test_descriptors_run_out(self):
        """New clients wait; those that are there, and their connections to servers, go on."""
        origin = await self.answering()
        proxy = await self.start_proxy()
        request = get(origin.port)
        resource.prlimit(self.pid(proxy), resource.RLIMIT_NOFILE, (80, 80))

        def ask(client: socket.socket) -> bytes:
            client.sendall(request)
            return read_until(client, b"ok")[0]

        def attack() -> None:
            with connected(proxy.port) as bystander, contextlib.ExitStack() as stack:
                assert ask(bystander) == OK
                flood = [stack.enter_context(connected(proxy.port)) for _ in range(120)]
                for _ in range(3):
                    assert ask(bystander) == OK
                # There is one more of them, which needs a connection to the server.
                assert ask(flood[0]) == OK
                # The last one is in the queue, or was turned away.
                flood[-1].settimeout(0.3)
                with contextlib.suppress(OSError):
                    flood[-1].sendall(request)
                    assert flood[-1].recv(1) == b""

        await deferToThread(attack)
        self.assertIn(b"descriptors-short: of 80 file descriptors", proxy.process.err)
        self.assertNotIn(b"EMFILE", proxy.process.err)

        def serve() -> bytes:
            with connected(proxy.port) as client:
                with contextlib.suppress(OSError):
                    return ask(client)
                return b""

        # Connections that were waiting to be accepted come first.
        deadline = reactor().seconds() + PATIENCE
        while await deferToThread(serve) != OK:
            self.assertLess(reactor().seconds(), deadline, "nobody is served any more")
            await sleep(0.05)

    async def test_a_signal_leaves_exchanges_their_time(self):
        class Late(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                proxy.process.signal(signal.SIGTERM)
                reactor().callLater(0.3, self.transport.write, OK)

        origin = await self.listen(Factory.forProtocol(Late))
        proxy = await self.start_proxy()

        def ask() -> bytes:
            with connected(proxy.port), connected(proxy.port) as client:
                client.sendall(get(origin.port))
                return read_until(client)[0]

        self.assertTrue((await deferToThread(ask)).endswith(b"\r\n\r\nok"))
