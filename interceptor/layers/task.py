"""Run one coroutine so that it can be aborted with a reason at whatever it is waiting for.

`twisted.internet.defer.Deferred.fromCoroutine` serves everywhere else. An exchange needs two
things more: to be stopped with *our* exception rather than with ``CancelledError``, also when the
order comes from inside its own call stack, and to wait twice per request for half the price.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Wakeup:
    """What one `Task`, and nobody else, awaits until `wake`: a third of a Deferred's price."""

    __slots__ = ("_forget", "_over", "_step")

    def __init__(self, forget: Callable[[], object]) -> None:
        """``forget`` is called if the task does not want to wait any more."""
        self._forget = forget
        self._over = False
        self._step: Callable[[object], object] | None = None

    def __await__(self) -> Generator[Wakeup, None, None]:
        if not self._over:
            yield self

    def wake(self) -> None:
        """Let the task go on, at once."""
        self._over = True
        step, self._step = self._step, None
        if step is not None:
            step(None)

    def cancel(self) -> None:
        """Implement what a task asks of a Deferred."""
        if not self._over:
            self._forget()
            self.wake()

    def addBoth(self, step: Callable[[object], object]) -> None:
        """Implement what a task asks of a Deferred."""
        if self._over:
            step(None)
        else:
            self._step = step

    def addErrback(self, errback: object) -> None:
        """Implement what a task asks of a Deferred: nothing, since it never fails."""


class Task:
    """A running coroutine that awaits only Deferreds, a `Wakeup`, or coroutines that do.

    ``finished`` is called once with None, or with the exception that ended the coroutine.
    """

    __slots__ = ("_abort", "_coroutine", "_finished", "_running", "_waiting", "done")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any] | Wakeup, Any, object],
        finished: Callable[[BaseException | None], object],
    ) -> None:
        self._coroutine = coroutine
        self._finished = finished
        self._abort: Exception | None = None
        self._waiting: Deferred[Any] | Wakeup | None = None
        self._running = False
        self.done = False

    def start(self) -> None:
        """Run up to the first wait."""
        self._step(None)

    def abort(self, error: Exception) -> None:
        """Raise ``error`` inside the coroutine: now if it waits, else as soon as it would wait.

        What it waits for is cancelled. A second order before the first took effect is ignored.
        """
        if self.done or self._abort is not None:
            return
        self._abort = error
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    def discard(self) -> None:
        """End the coroutine where it waits, without a word; ``finished`` is not called.

        For a wait that has lost its point and has nothing to clean up: it leaves nothing behind for
        the garbage collector.
        """
        if self.done or self._running:
            return
        self.done = True
        self._waiting = None
        self._finished = _ignore
        self._coroutine.close()

    def calm(self) -> None:
        """Take back an order that has not taken effect yet."""
        self._abort = None

    def _step(self, result: object) -> object:
        # Called back by the Deferred that was awaited. The coroutine reads a value from that
        # Deferred itself; a failure, whose owner is still calling us, has to be thrown.
        self._waiting = None
        self._running = True
        coroutine = self._coroutine
        try:
            if self._abort is not None:
                waiting = coroutine.throw(self._take_order())
            elif isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(coroutine)
            else:
                waiting = coroutine.send(None)
            while self._abort is not None:
                # It came while the coroutine ran, and takes effect at this wait.
                waiting.addErrback(_swallow)
                waiting.cancel()
                waiting = coroutine.throw(self._take_order())
        except StopIteration:
            self._end(None)
            return None
        except BaseException as raised:
            self._end(raised)
            return None
        self._running = False
        self._waiting = waiting
        waiting.addBoth(self._step)
        return None

    def _take_order(self) -> Exception:
        order, self._abort = self._abort, None
        assert order is not None
        return order

    def _end(self, error: BaseException | None) -> None:
        self._running = False
        self.done = True
        finished, self._finished = self._finished, _ignore
        finished(error)


def _ignore(error: BaseException | None) -> None:
    """Stand in for a callback that has been called, so that it is kept no longer."""


def _swallow(failure: Failure) -> None:
    """Drop the CancelledError of a wait that nobody waits for any more."""
