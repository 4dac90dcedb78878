"""Peers that speak UDP, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from tests.functional.harness import FunctionalTestCase, reactor

TIMEOUT = 20.0
"""Seconds that a datagram may take."""


class Peer(DatagramProtocol):
    """Notes what arrives, as pairs of datagram and sender; ``answer`` makes replies, if any."""

    noisy = False

    def __init__(self, answer: Callable[[bytes], bytes | None] | None = None) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self._answer = answer
        self._waiting: list[tuple[Callable[[list[bytes]], bool], Deferred[None]]] = []

    @property
    def port(self) -> int:
        """The port that it has."""
        assert self.transport is not None
        return int(self.transport.getHost().port)

    async def stop(self) -> None:
        """Close the socket."""
        port: Any = self.transport
        await port.stopListening()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append((datagram, addr))
        reply = None if self._answer is None else self._answer(datagram)
        if reply is not None:
            self.send(reply, addr)
        for entry in list(self._waiting):
            if entry[0](self.datagrams):
                self._waiting.remove(entry)
                entry[1].callback(None)

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send a datagram."""
        assert self.transport is not None
        self.transport.write(datagram, address)

    @property
    def datagrams(self) -> list[bytes]:
        """All that has arrived."""
        return [datagram for datagram, _ in self.received]

    async def until(self, count: int) -> list[bytes]:
        """Wait until so many datagrams have arrived, and return them all."""
        return await self.until_true(lambda datagrams: len(datagrams) >= count)

    async def until_true(self, condition: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Wait until a condition on the datagrams holds, and return them all."""
        if not condition(self.datagrams):
            waiting: Deferred[None] = Deferred()
            self._waiting.append((condition, waiting))
            waiting.addTimeout(TIMEOUT, reactor())
            await waiting
        return self.datagrams


class DatagramTestCase(FunctionalTestCase):
    """A test with peers."""

    def peer(
        self,
        answer: Callable[[bytes], bytes | None] | None = None,
        interface: str = "127.0.0.1",
        port: int = 0,
    ) -> Peer:
        """Return a peer with a socket that is closed when the test ends."""
        made = Peer(answer)
        listening = reactor().listenUDP(port, made, interface=interface, maxPacketSize=65535)
        self.addCleanup(listening.stopListening)
        return made
