"""Closing real sockets at the end of a turn."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from interceptor.net.addresses import as_pair
from interceptor.net.directclose import close
from interceptor.net.memory import HalfCloseRecorder, MemoryLink, Recorder, RecorderFactory
from tests.functional.test_net_transports import LOTS, Connecting


class CloseTests(TestCase):
    timeout = 30

    async def until(self, condition):
        while not condition():
            await deferLater(cast(Any, reactor), 0.001)

    async def joined(self, make=Recorder):
        near, far = Recorder(), make()
        port = cast(Any, reactor).listenTCP(0, RecorderFactory(lambda: far), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number = as_pair(port.getHost())[1]
        cast(Any, reactor).connectTCP("127.0.0.1", number, Connecting(near))
        await self.until(lambda: near.transport and far.transport)
        for each in (near, far):
            self.addCleanup(self.leave, each)
        return near, far

    async def leave(self, protocol):
        protocol.transport.abortConnection()
        await self.until(lambda: protocol.lost)

    async def test_not_before_the_end_of_the_turn(self):
        near, far = await self.joined()
        close(near.transport)
        close(near.transport)
        self.assertIs(near.lost, None)
        await self.until(lambda: near.lost and far.lost)
        self.assertEqual((near.lost_with, far.lost_with), (ConnectionDone, ConnectionDone))

    async def test_nothing_is_read_any_more(self):
        near, far = await self.joined()
        close(near.transport)
        far.write(b"late")
        await self.until(lambda: near.lost)
        self.assertEqual(near.data, b"")

    async def test_what_was_written_leaves_first(self):
        near, far = await self.joined()
        near.write(b"x" * LOTS)
        close(near.transport)
        await self.until(lambda: far.lost)
        self.assertEqual((len(far.data), near.lost_with), (LOTS, ConnectionDone))

    async def test_what_is_written_until_then_leaves_too(self):
        near, far = await self.joined()
        close(near.transport)
        near.write(b"x" * LOTS)
        await self.until(lambda: far.lost)
        self.assertEqual((len(far.data), near.lost_with), (LOTS, ConnectionDone))

    async def test_an_abort_overtakes_it(self):
        near, far = await self.joined()
        close(near.transport)
        near.transport.abortConnection()
        await self.until(lambda: near.lost and far.lost)
        self.assertEqual(near.lost_with, ConnectionAborted)

    async def test_after_a_half_close(self):
        near, far = await self.joined(HalfCloseRecorder)
        near.transport.loseWriteConnection()
        await self.until(lambda: far.ended)
        close(near.transport)
        await self.until(lambda: near.lost)
        self.assertEqual(near.lost_with, ConnectionDone)

    async def test_one_that_fails_does_not_keep_the_others(self):
        first, _ = await self.joined()
        second, _ = await self.joined()

        def fail(reason: Failure) -> None:
            first.lost = reason
            raise ZeroDivisionError

        first.connectionLost = fail
        close(first.transport)
        close(second.transport)
        await self.until(lambda: second.lost)
        self.assertTrue(first.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class OtherTransportTests(SynchronousTestCase):
    def test_they_close_by_themselves(self):
        near = Recorder()
        link = MemoryLink(near, Recorder())
        close(near.transport)
        link.flush()
        self.assertEqual(near.lost_with, ConnectionDone)
