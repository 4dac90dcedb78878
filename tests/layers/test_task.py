"""Tasks, and what they wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor.layers.task import Task, Wakeup

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class StopError(Exception):
    """An order to stop."""


class WaitingMixin(_Case):
    """The tests, for whatever a task may wait for."""

    def make(self, forget: Any) -> Any:
        """Return what is awaited; ``forget`` is called when it is cancelled."""
        raise NotImplementedError

    def wake(self, waiting: Any) -> None:
        """End the wait."""
        raise NotImplementedError

    def setUp(self):
        self.seen: list[Any] = []
        self.waiting = self.make(lambda *_: self.seen.append("forgotten"))

    def start(self, coroutine: Any) -> Task:
        task = Task(coroutine, lambda error: self.seen.append(error))
        task.start()
        return task

    async def wait(self) -> None:
        await self.waiting
        self.seen.append("woken")

    def test_goes_on_when_woken(self):
        self.start(self.wait())
        self.assertEqual(self.seen, [])
        self.wake(self.waiting)
        self.assertEqual(self.seen, ["woken", None])

    def test_does_not_wait_for_what_is_over(self):
        self.wake(self.waiting)
        self.start(self.wait())
        self.assertEqual(self.seen, ["woken", None])

    def test_an_abort_ends_the_wait(self):
        task = self.start(self.wait())
        error = StopError()
        task.abort(error)
        self.assertEqual(self.seen, ["forgotten", error])
        self.assertTrue(task.done)

    def test_an_abort_from_within_takes_effect_at_the_wait(self):
        error = StopError()

        async def abort_and_wait() -> None:
            task.abort(error)
            await self.wait()

        task = Task(abort_and_wait(), self.seen.append)
        task.start()
        self.assertEqual(self.seen, ["forgotten", error])

    def test_may_go_on_after_an_abort(self):
        async def insist() -> None:
            try:
                await self.waiting
            except StopError:
                self.seen.append("stopped")
            self.waiting = self.make(lambda *_: None)
            await self.wait()

        self.start(insist()).abort(StopError())
        self.wake(self.waiting)
        self.assertEqual(self.seen, ["forgotten", "stopped", "woken", None])

    def test_a_discarded_one_says_nothing(self):
        task = self.start(self.wait())
        task.discard()
        self.assertEqual(self.seen, [])


class DeferredTests(WaitingMixin, SynchronousTestCase):
    def make(self, forget: Any) -> Deferred[None]:
        return Deferred(forget)

    def wake(self, waiting: Deferred[None]) -> None:
        waiting.callback(None)

    def test_a_failure_is_raised(self):
        self.start(self.wait())
        self.waiting.errback(StopError())
        self.assertIsInstance(self.seen[0], StopError)

    def test_a_cancelled_one_raises_that(self):
        self.start(self.wait())
        self.waiting.cancel()
        self.assertIsInstance(self.seen[1], CancelledError)


class WakeupTests(WaitingMixin, SynchronousTestCase):
    def make(self, forget: Any) -> Wakeup:
        return Wakeup(forget)

    def wake(self, waiting: Wakeup) -> None:
        waiting.wake()
