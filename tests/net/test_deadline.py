"""Tests of `interceptor.net.deadline`."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.deadline import Deadline


class CountingClock(Clock):
    """Counts the timers that are made."""

    made = 0

    def callLater(self, delay, callable, *args, **kwargs):
        self.made += 1
        return super().callLater(delay, callable, *args, **kwargs)


class DeadlineTests(SynchronousTestCase):
    def setUp(self):
        self.clock = CountingClock()
        self.passed: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.passed.append(self.clock.seconds()))

    def test_passes_once(self):
        self.deadline.set(5)
        self.clock.pump([4.9, 0.1, 10])
        self.assertEqual(self.passed, [5])

    def test_is_active_until_it_passes(self):
        self.assertFalse(self.deadline.active)
        self.deadline.set(5)
        self.assertTrue(self.deadline.active)
        self.clock.advance(5)
        self.assertFalse(self.deadline.active)

    def test_tells_what_remains(self):
        self.assertIs(self.deadline.remaining, None)
        self.deadline.set(5)
        self.clock.advance(2)
        self.assertEqual(self.deadline.remaining, 3)

    def test_set_again_later(self):
        self.deadline.set(5)
        self.clock.advance(3)
        self.deadline.set(5)
        self.clock.pump([2, 2.9])
        self.assertEqual(self.passed, [])
        self.clock.advance(0.1)
        self.assertEqual(self.passed, [8])

    def test_set_again_sooner(self):
        self.deadline.set(300)
        self.deadline.set(5)
        self.clock.advance(5)
        self.assertEqual(self.passed, [5])

    def test_cleared(self):
        self.deadline.set(5)
        self.deadline.clear()
        self.clock.advance(10)
        self.assertEqual(self.passed, [])

    def test_set_after_it_was_cleared(self):
        self.deadline.set(5)
        self.deadline.clear()
        self.clock.advance(3)
        self.deadline.set(5)
        self.clock.pump([2, 3])
        self.assertEqual(self.passed, [8])

    def test_moving_it_makes_no_timers(self):
        for _ in range(100):
            self.deadline.set(60)
            self.clock.advance(0.01)
            self.deadline.clear()
            self.deadline.set(300)
            self.clock.advance(0.01)
        self.assertEqual(self.clock.made, 1)

    def test_a_cleared_one_leaves_no_timer_after_that_timer(self):
        self.deadline.set(5)
        self.deadline.clear()
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_is_one_timer_at_most(self):
        for seconds in (300, 200, 250, 100, 300):
            self.deadline.set(seconds)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stopping_leaves_no_timer(self):
        self.deadline.set(5)
        self.deadline.clear()
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_is_final(self):
        self.deadline.stop()
        self.deadline.stop()
        self.deadline.set(5)
        self.assertFalse(self.deadline.active)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_may_be_set_again_when_it_passes(self):
        def again():
            self.passed.append(self.clock.seconds())
            deadline.set(5)

        deadline = Deadline(self.clock, again)
        deadline.set(5)
        self.clock.pump([5, 5, 5])
        self.assertEqual(self.passed, [5, 10, 15])

    def test_may_be_stopped_when_it_passes(self):
        deadline = Deadline(self.clock, lambda: deadline.stop())
        deadline.set(5)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_to_wait_for(self):
        self.deadline.set(0)
        self.assertEqual(self.passed, [])
        self.clock.advance(0)
        self.assertEqual(self.passed, [0])

    def test_a_stopped_one_keeps_nobody_alive(self):
        class Owner:
            def __init__(self, clock):
                self.deadline = Deadline(clock, self.passed)

            def passed(self):
                pass

        owner = Owner(self.clock)
        owner.deadline.set(5)
        owner.deadline.stop()
        alive = weakref.ref(owner)
        gc.disable()
        self.addCleanup(gc.enable)
        del owner
        self.assertIs(alive(), None)
