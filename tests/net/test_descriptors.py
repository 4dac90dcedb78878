"""Tests of `interceptor.net.descriptors`, with limits that are only pretended."""

from __future__ import annotations

import os
import resource
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.descriptors import DescriptorGuard, raise_descriptor_limit


class Port:
    """A listener that can be paused."""

    factory = None

    def __init__(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class DescriptorGuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[int] = []
        self.guard = DescriptorGuard(self.clock, self.told.append)
        self.guard.headroom = 20
        self.ports = [Port(), Port()]
        for port in self.ports:
            self.guard.add(port)
        self.lowest: int | None = 10
        self.limit = 1000
        self.patch(resource, "getrlimit", lambda which: (self.limit, self.limit))
        self.patch(os, "open", self.open)
        self.patch(os, "close", lambda descriptor: None)

    def open(self, *arguments: Any) -> int:
        if self.lowest is None:
            raise OSError("none left")
        return self.lowest

    def reading(self) -> list[bool]:
        return [port.reading for port in self.ports]

    def test_enough(self):
        self.assertTrue(self.guard.accepted(979))
        self.assertEqual((self.reading(), self.told), ([True, True], []))

    def test_listeners_pause_and_recover(self):
        self.assertTrue(self.guard.accepted(980))
        self.assertTrue(self.guard.short)
        self.assertEqual((self.reading(), self.told), ([False, False], [1000]))
        for self.lowest in (None, 985, 980):
            self.clock.advance(0.1)
            self.assertEqual(self.reading(), [False, False])
        self.lowest = 979
        self.clock.advance(0.1)
        self.assertEqual((self.reading(), self.guard.short), ([True, True], False))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.guard.accepted(980)
        self.assertEqual(self.told, [1000, 1000])

    def test_what_is_accepted_at_once_goes_once_half_is_used_up(self):
        kept = [self.guard.accepted(number) for number in (980, 985, 989, 990, 999)]
        self.assertEqual(kept, [True, True, True, False, False])
        self.assertEqual(self.told, [1000])

    def test_few_descriptors_have_less_headroom(self):
        self.limit = 40
        self.assertTrue(self.guard.accepted(29))
        self.assertFalse(self.guard.short)
        self.guard.accepted(30)
        self.assertTrue(self.guard.short)

    def test_no_limit(self):
        self.limit = resource.RLIM_INFINITY
        self.assertTrue(self.guard.accepted(10**6))

    def test_listeners_that_come_and_go(self):
        self.guard.accepted(985)
        late = Port()
        self.guard.add(late)
        self.assertFalse(late.reading)
        self.guard.add(object())
        self.guard.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RaiseTests(SynchronousTestCase):
    def raised(self, soft: int, hard: int, fails: bool = False) -> tuple[int, list[Any]]:
        calls: list[Any] = []

        def set(which: int, limits: tuple[int, int]) -> None:
            calls.append(limits)
            if fails:
                raise ValueError("not allowed")

        self.patch(resource, "getrlimit", lambda which: (soft, hard))
        self.patch(resource, "setrlimit", set)
        return raise_descriptor_limit(), calls

    def test_as_far_as_allowed(self):
        self.assertEqual(self.raised(1024, 4096), (4096, [(4096, 4096)]))

    def test_within_reason(self):
        for hard in (1 << 20, resource.RLIM_INFINITY):
            self.assertEqual(self.raised(1024, hard), (65536, [(65536, hard)]))

    def test_never_lowered(self):
        for soft in (100_000, resource.RLIM_INFINITY, 65536):
            self.assertEqual(self.raised(soft, resource.RLIM_INFINITY), (soft, []))

    def test_not_allowed(self):
        self.assertEqual(self.raised(1024, 4096, fails=True), (1024, [(4096, 4096)]))


class NumberTests(SynchronousTestCase):
    def test_the_system_gives_the_lowest_number(self):
        """What the guard relies on."""
        first = os.open(os.devnull, os.O_RDONLY)
        second = os.open(os.devnull, os.O_RDONLY)
        os.close(first)
        third = os.open(os.devnull, os.O_RDONLY)
        os.close(second)
        os.close(third)
        self.assertEqual(third, first)
