"""Timers that do not care when somebody sets the clock."""

from __future__ import annotations

import time

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.steadytime import keep_steady_time


class Reactor(ReactorBase):
    """A reactor that waits for nothing."""

    def installWaker(self) -> None:
        pass


class SteadyTimeTests(SynchronousTestCase):
    def test_another_clock(self):
        reactor = Reactor()
        self.assertIs(reactor.seconds, time.time)
        keep_steady_time(reactor)
        self.assertIs(reactor.seconds, time.monotonic)
        keep_steady_time(reactor)
        called: list[int] = []
        reactor.callLater(0, called.append, 1)
        far = reactor.callLater(3600, called.append, 2)
        self.patch(time, "time", lambda: 2e9)
        reactor.runUntilCurrent()
        self.assertEqual(called, [1])
        far.cancel()

    def test_what_is_scheduled_already(self):
        reactor = Reactor()
        called: list[int] = []
        soon = reactor.callLater(0, called.append, 1)
        far = reactor.callLater(3600, called.append, 2)
        keep_steady_time(reactor)
        self.assertLess(abs(far.getTime() - time.monotonic() - 3600), 60)
        reactor.runUntilCurrent()
        self.assertEqual((called, soon.active(), far.active()), ([1], False, True))
        far.reset(7200)
        self.assertGreater(far.getTime() - time.monotonic(), 7000)
        far.cancel()

    def test_a_clock_of_another_kind(self):
        clock = Clock()
        keep_steady_time(clock)
        clock.advance(1)
        self.assertEqual(clock.seconds(), 1)
        keep_steady_time(object())
