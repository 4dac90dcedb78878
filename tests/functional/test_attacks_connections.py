"""Attacks by connections themselves, by when answers come, and on several workers."""

from __future__ import annotations

import contextlib
import resource
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from tests.functional import test_attacks
from tests.functional.test_attacks import AttackCase, all_closed, send_until_refused
from tests.functional.test_hostile import MIB, OK, connected, get, read_until, reset


class FloodTests(AttackCase):
    """More connections than there are descriptors for."""

    DESCRIPTORS = 100

    async def test_descriptors_run_out(self):
        origin = await self.answering()
        proxy = await self.start(idle_timeout="4s")
        limits = (self.DESCRIPTORS, self.DESCRIPTORS)
        resource.prlimit(self.pid(proxy), resource.RLIMIT_NOFILE, limits)
        request = get(origin.port)

        def flood(beginning: bytes, resets: bool) -> None:
            for _ in range(3):
                with contextlib.ExitStack() as stack:
                    clients = []
                    for _ in range(300):
                        # One may be refused before it knows that it is connected.
                        with contextlib.suppress(ConnectionResetError):
                            clients.append(stack.enter_context(connected(proxy.port)))
                    for client in clients:
                        with contextlib.suppress(OSError):
                            client.sendall(beginning)
                    # Some are served, or wait for the rest of their request; none waits for ever.
                    all_closed(clients[:50])
                    for client in clients if resets else ():
                        reset(client)

        def silent_connections() -> None:
            flood(b"", False)

        def requests() -> None:
            flood(request, True)

        # Nobody can tell the new connections of somebody else from those of the flood.
        await self.withstood(proxy, silent_connections, requests, kept=True)
        self.assertIn(
            b"descriptors-short: of %d file descriptors" % self.DESCRIPTORS, proxy.process.err
        )
        self.assertNotIn(b"EMFILE", proxy.process.err)
        # Now that the flood is over others are welcome again.
        await self.withstood(proxy, lambda: None)


class EarlyAnswerTests(AttackCase):
    """Servers that answer while the request is still being sent."""

    async def test_answers_during_the_request(self):
        class Early(Protocol):
            """Answers what it has a head of, and goes on in some way."""

            transport: Any
            factory: Any
            answered = False

            def dataReceived(self, data: bytes) -> None:
                if self.answered:
                    return
                self.answered = True
                kind = self.factory.kind
                self.transport.write(OK if kind != "refuses" else REFUSAL)
                if kind == "stops":
                    self.transport.pauseProducing()
                elif kind == "closes":
                    self.transport.loseConnection()
                elif kind == "resets":
                    self.transport.abortConnection()

        factory: Any = Factory.forProtocol(Early)
        origin = await self.listen(factory)
        # Without hooks, which would have the request gathered before a server sees any of it.
        proxy = await self.start(
            script="",
            read_timeout="500ms",
            write_timeout="500ms",
            body_timeout="500ms",
            close_timeout="500ms",
            idle_timeout="4s",
        )
        large = get(origin.port, "", b"Content-Length: %d" % (1 << 29))
        chunked = get(origin.port, "", b"Transfer-Encoding: chunked")
        chunk = b"10000\r\n%b\r\n" % bytes(65536)

        def early(kind: str, *codes: bytes) -> None:
            factory.kind = kind
            for head, piece in ((large, bytes(65536)), (chunked, chunk)):
                for _ in range(10):
                    with connected(proxy.port) as client:
                        client.sendall(head + piece)
                        answer = b""
                        with contextlib.suppress(TimeoutError):
                            answer, _ = read_until(client, b"ok")
                        assert any(code in answer for code in codes), (kind, answer)
                        # The answer is here, and the request goes on and on.
                        client.settimeout(2.0)
                        send_until_refused(client, piece, 4 * MIB)
                # None of them reads, nor ends what it sends.
                with contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(connected(proxy.port)) for _ in range(20)]
                    for client in clients:
                        client.sendall(head + piece)
                    all_closed(clients)

        def reads_on() -> None:
            early("reads", b" 200 OK")

        def stops_reading() -> None:
            early("stops", b" 200 OK")

        def refuses() -> None:
            early("refuses", b" 413 ")

        def closes() -> None:
            early("closes", b" 200 OK")

        def resets() -> None:
            early("resets", b" 200 OK", b" 502 ")

        await self.withstood(proxy, reads_on, stops_reading, refuses, closes, resets)


class WorkersTests(test_attacks.SlowTests):
    """Two workers, of which an attack may hold one."""

    workers = 2


REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
