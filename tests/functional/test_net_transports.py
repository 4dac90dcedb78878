"""What the gates and the memory link take for granted about transports, on real sockets too.

The same tests run over a memory link and over loopback TCP: should a new Twisted behave otherwise,
or the link be unlike a socket, one of the two classes shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from interceptor.net.addresses import as_pair
from interceptor.net.gate import PEER, ReadGate, WriteGate
from interceptor.net.memory import HalfCloseRecorder, MemoryLink, Recorder, RecorderFactory

if TYPE_CHECKING:
    _Case = TestCase
else:
    _Case = object

LOTS = 8 * 1024 * 1024
"""More than a socket's buffers hold on either side."""


class Connecting(ClientFactory):
    """Makes one given protocol for a client connection."""

    noisy = False

    def __init__(self, protocol):
        self.made = protocol

    def buildProtocol(self, addr):
        return self.made


class TransportContract(_Case):
    """The tests. `join` connects two protocols; `until` and `rest` let things happen."""

    near: Any
    far: Any

    async def join(self, near, far):
        raise NotImplementedError

    async def until(self, condition):
        raise NotImplementedError

    async def rest(self):
        raise NotImplementedError

    async def joined(self, make=HalfCloseRecorder):
        self.near, self.far = make(), make()
        await self.join(self.near, self.far)
        return self.near.transport, self.far.transport

    async def test_bytes_and_the_end(self):
        await self.joined(Recorder)
        self.near.write(b"hello")
        self.near.close()
        await self.until(lambda: self.near.lost and self.far.lost)
        self.assertEqual(self.far.data, b"hello")
        self.assertIs(self.near.lost_with, ConnectionDone)
        self.assertIs(self.far.lost_with, ConnectionDone)

    async def test_each_direction_ends_by_itself(self):
        await self.joined()
        self.near.write(b"question")
        self.near.close_write()
        await self.until(lambda: self.far.ended)
        self.far.write(b"answer")
        self.far.close_write()
        await self.until(lambda: self.near.ended)
        self.assertEqual((self.far.data, self.near.data), (b"question", b"answer"))
        self.assertTrue(self.near.write_ended)
        self.near.close()
        self.assertIs(self.near.lost_with, ConnectionDone)

    async def test_an_abort_is_seen_as_one(self):
        near, _ = await self.joined()
        near.abortConnection()
        await self.until(lambda: self.near.lost and self.far.lost)
        self.assertIs(self.near.lost_with, ConnectionAborted)
        self.assertIs(self.far.lost_with, ConnectionLost)

    async def test_a_paused_end_gets_nothing_and_notices_nothing(self):
        _, far = await self.joined()
        far.pauseProducing()
        self.near.write(b"hello")
        self.near.close_write()
        await self.rest()
        self.assertEqual((self.far.data, self.far.ended), (b"", False))
        far.resumeProducing()
        await self.until(lambda: self.far.ended)
        self.assertEqual(self.far.data, b"hello")

    async def test_closing_with_a_paused_producer_does_not_close(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        self.assertTrue(gate.paused)
        near.loseConnection()
        far.resumeProducing()
        await self.until(lambda: len(self.far.data) == LOTS and not gate.paused)
        await self.rest()
        self.assertIs(self.near.lost, None)
        gate.detach()
        await self.until(lambda: self.near.lost)

    async def test_half_closing_with_a_paused_producer_does_not_half_close(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        near.loseWriteConnection()
        far.resumeProducing()
        await self.until(lambda: len(self.far.data) == LOTS and not gate.paused)
        await self.rest()
        self.assertFalse(self.far.ended)

    async def test_a_gate_closes_a_full_transport(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        gate.close()
        far.resumeProducing()
        await self.until(lambda: self.near.lost and self.far.ended)
        self.assertEqual(len(self.far.data), LOTS)

    async def test_a_gate_half_closes_a_full_transport(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        gate.close_write()
        far.resumeProducing()
        await self.until(lambda: self.far.ended)
        self.assertEqual(len(self.far.data), LOTS)
        self.assertIs(self.near.lost, None)

    async def test_a_gate_opens_when_all_has_been_taken(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        waiting = gate.wait()
        await self.rest()
        self.assertNoResult(waiting)
        far.resumeProducing()
        await self.until(lambda: waiting.called)
        self.assertFalse(gate.paused)

    async def test_a_gate_fails_with_its_transport(self):
        near, far = await self.joined()
        far.pauseProducing()
        gate = WriteGate(near)
        self.near.write(b"x" * LOTS)
        waiting = gate.wait()
        far.abortConnection()
        await self.until(lambda: waiting.called)
        self.failureResultOf(waiting, ConnectionLost)

    async def test_an_ended_gate_hears_of_the_end_once(self):
        _, far = await self.joined()
        ends = []
        gate = ReadGate(far)

        def ended():
            ends.append(1)
            gate.end()

        self.far.readConnectionLost = ended
        self.near.close_write()
        await self.until(lambda: ends)
        gate.pause(PEER)
        gate.resume(PEER)
        await self.rest()
        self.assertEqual(ends, [1])


class MemoryLinkTests(TransportContract, TestCase):
    async def join(self, near, far):
        self.link = MemoryLink(near, far)

    async def until(self, condition):
        self.link.flush()
        self.assertTrue(condition())

    async def rest(self):
        self.link.flush()


class TCPTests(TransportContract, TestCase):
    timeout = 30

    async def join(self, near, far):
        factory = RecorderFactory(lambda: far)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        reactor.connectTCP("127.0.0.1", as_pair(port.getHost())[1], Connecting(near))
        await self.until(lambda: near.transport and far.transport)
        for each in (near, far):
            self.addCleanup(self.leave, each)

    async def leave(self, protocol):
        protocol.transport.abortConnection()
        await self.until(lambda: protocol.lost)

    async def until(self, condition):
        # The reactor's next turn, and the next: the test's own timeout bounds it.
        while not condition():
            await deferLater(reactor, 0.001)

    async def rest(self):
        """Let everything happen that is going to: some turns, with nothing left to wait for."""
        for _ in range(20):
            await deferLater(reactor, 0.001)
