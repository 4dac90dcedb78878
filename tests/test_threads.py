"""Threads for calls that block."""

from __future__ import annotations

import threading
import time
import weakref
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.errors import InterceptorError
from interceptor.threads import DaemonThreads

_PATIENCE = 10
"""Seconds after which a thread that should have answered is given up."""


@implementer(IReactorFromThreads)
class Mailbox:
    """A reactor reduced to what threads send it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.put((callable, args, kwargs))

    def run_one(self) -> None:
        """Wait for one call and make it."""
        function, args, kwargs = self.calls.get(timeout=_PATIENCE)
        function(*args, **kwargs)


class Blocking:
    """A function that blocks until it is told to go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.go.wait(_PATIENCE)


class DaemonThreadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.mailbox = Mailbox()

    def threads(self, limit: int = 2) -> DaemonThreads:
        threads = DaemonThreads(self.mailbox, limit, "test")
        self.addCleanup(threads.stop)
        return threads

    def test_result_comes_back_in_the_reactors_thread(self) -> None:
        result = self.threads().run(threading.get_ident)
        self.assertNoResult(result)
        self.mailbox.run_one()
        self.assertNotEqual(self.successResultOf(result), threading.get_ident())

    def test_arguments(self) -> None:
        result = self.threads().run(lambda *args, **kwargs: (args, kwargs), 1, two=2)
        self.mailbox.run_one()
        self.assertEqual(self.successResultOf(result), ((1,), {"two": 2}))

    def test_error(self) -> None:
        result = self.threads().run(lambda: 1 / 0)
        self.mailbox.run_one()
        self.failureResultOf(result, ZeroDivisionError)

    def test_an_idle_thread_holds_on_to_nothing(self) -> None:
        class Large:
            pass

        result = self.threads().run(Large)
        self.mailbox.run_one()
        kept = weakref.ref(self.successResultOf(result))
        del result
        deadline = time.monotonic() + _PATIENCE
        while kept() is not None and time.monotonic() < deadline:
            time.sleep(0.001)
        self.assertIsNone(kept())

    def test_no_more_threads_than_the_limit(self) -> None:
        threads = self.threads(limit=2)
        go = threading.Event()
        results = [
            threads.run(lambda: (go.wait(_PATIENCE), threading.get_ident())) for _ in range(6)
        ]
        go.set()
        for _ in results:
            self.mailbox.run_one()
        idents = {self.successResultOf(result)[1] for result in results}
        self.assertLessEqual(len(idents), 2)

    def test_cancelled_before_it_began_it_never_does(self) -> None:
        threads = self.threads(limit=1)
        go = threading.Event()
        calls: list[int] = []
        first = threads.run(go.wait, _PATIENCE)
        second = threads.run(calls.append, 2)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        go.set()
        self.mailbox.run_one()
        self.successResultOf(first)
        last = threads.run(calls.append, 3)
        self.mailbox.run_one()
        self.successResultOf(last)
        self.assertEqual(calls, [3])

    def test_result_of_what_was_cancelled_is_dropped(self) -> None:
        blocking = Blocking()
        result = self.threads().run(blocking)
        blocking.begun.wait(_PATIENCE)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        blocking.go.set()
        self.mailbox.run_one()

    def test_stopping_waits_for_the_longest(self) -> None:
        threads = DaemonThreads(self.mailbox, 2, "test")
        blocking = Blocking()
        result = threads.run(blocking)
        blocking.begun.wait(_PATIENCE)
        stopped = threads.stop()
        again = threads.stop()
        self.assertNoResult(stopped)
        blocking.go.set()
        self.mailbox.run_one()
        self.successResultOf(result)
        self.mailbox.run_one()
        self.successResultOf(stopped)
        self.successResultOf(again)

    def test_what_never_began_fails_at_the_stop(self) -> None:
        threads = DaemonThreads(self.mailbox, 1, "test")
        blocking = Blocking()
        threads.run(blocking)
        blocking.begun.wait(_PATIENCE)
        waiting = threads.run(lambda: None)
        threads.stop()
        self.failureResultOf(waiting, InterceptorError)
        blocking.go.set()

    def test_stopping_what_never_began(self) -> None:
        self.successResultOf(DaemonThreads(self.mailbox, 2, "test").stop())

    def test_nothing_begins_after_the_stop(self) -> None:
        threads = self.threads()
        threads.stop()
        self.failureResultOf(threads.run(lambda: None), InterceptorError)

    def test_threads_have_names(self) -> None:
        result = self.threads().run(lambda: threading.current_thread().name)
        self.mailbox.run_one()
        self.assertEqual(self.successResultOf(result), "test-1")

    def test_there_are_as_many_as_there_may_be(self) -> None:
        barrier = threading.Barrier(2, timeout=_PATIENCE)

        def call() -> str:
            barrier.wait()
            return threading.current_thread().name

        threads = self.threads()
        results = [threads.run(call) for _ in range(6)]
        for _ in results:
            self.mailbox.run_one()
        self.assertEqual({self.successResultOf(each) for each in results}, {"test-1", "test-2"})
