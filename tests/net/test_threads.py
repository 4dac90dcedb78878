"""Tests of `interceptor.net.threads`."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.net.threads import BlockingThreads

_PATIENCE = 10
"""Seconds after which a thread that should have answered is given up."""


@implementer(IReactorFromThreads)
class Mailbox:
    """A reactor reduced to what threads send it."""

    def __init__(self):
        self.calls: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, callable, *args, **kwargs):
        self.calls.put((callable, args, kwargs))

    def run_one(self):
        """Wait for one call and make it."""
        function, args, kwargs = self.calls.get(timeout=_PATIENCE)
        function(*args, **kwargs)


class BlockingThreadsTests(SynchronousTestCase):
    def setUp(self):
        self.mailbox = Mailbox()
        self.threads = BlockingThreads(self.mailbox, 2, "test")
        self.addCleanup(self.threads.stop)

    def test_fires_with_the_result(self):
        result = self.threads.run(lambda: 42)
        self.assertNoResult(result)
        self.mailbox.run_one()
        self.assertEqual(self.successResultOf(result), 42)

    def test_fails_with_the_error(self):
        result = self.threads.run(lambda: int("missing"))
        self.mailbox.run_one()
        self.failureResultOf(result, ValueError)

    def test_runs_in_a_thread_of_its_name(self):
        result = self.threads.run(lambda: threading.current_thread().name)
        self.mailbox.run_one()
        self.assertEqual(self.successResultOf(result), "test-1")

    def test_has_no_more_threads_than_it_may(self):
        barrier = threading.Barrier(2, timeout=_PATIENCE)

        def call():
            barrier.wait()
            return threading.current_thread().name

        results = [self.threads.run(call) for _ in range(6)]
        for _ in results:
            self.mailbox.run_one()
        self.assertEqual({self.successResultOf(each) for each in results}, {"test-1", "test-2"})

    def test_a_cancelled_call_is_not_made(self):
        threads = BlockingThreads(self.mailbox, 1, "test")
        self.addCleanup(threads.stop)
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        made: list[str] = []
        first = threads.run(lambda: go_on.wait(_PATIENCE))
        cancelled = threads.run(lambda: made.append("cancelled"))
        last = threads.run(lambda: made.append("last"))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        go_on.set()
        self.mailbox.run_one()
        self.mailbox.run_one()
        self.successResultOf(first)
        self.successResultOf(last)
        self.assertEqual(made, ["last"])

    def test_a_result_that_comes_too_late_is_dropped(self):
        result = self.threads.run(lambda: 42)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        again = self.threads.run(lambda: 43)
        while not again.called:
            self.mailbox.run_one()
        self.assertEqual(self.successResultOf(again), 43)

    def test_takes_no_calls_once_stopped(self):
        self.threads.stop()
        self.assertRaises(RuntimeError, self.threads.run, lambda: 42)

    def test_drops_results_once_stopped(self):
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        begun = threading.Event()

        def call():
            begun.set()
            go_on.wait(_PATIENCE)

        result = self.threads.run(call)
        begun.wait(_PATIENCE)
        self.threads.stop()
        go_on.set()
        self.mailbox.run_one()
        self.assertNoResult(result)
