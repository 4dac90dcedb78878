"""Running a hook's coroutine: in the context of its addon, with every step timed.

`twisted.internet.defer.Deferred.fromCoroutine` would do most of it, but a coroutine that never
waits shall cost no Deferred, each step shall be timed (a step is what can block the reactor), and
asyncio futures may be awaited where the asyncio reactor runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from time import perf_counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from interceptor.hooks.context import CURRENT, Binding


def is_future(value: object) -> bool:
    """Whether ``value`` is an asyncio future; said without importing asyncio."""
    return getattr(type(value), "_asyncio_future_blocking", None) is not None


def run_coroutine(
    coroutine: Coroutine[Any, Any, Any],
    binding: Binding,
    timed: Callable[[float], None],
) -> Any:
    """Start ``coroutine``; return its result if it never waits, else a Deferred of that.

    ``timed`` is called with the seconds that each step took. What the coroutine raises before it
    first waits is raised; later it is the Deferred's failure. Cancelling the Deferred cancels what
    the coroutine waits for.
    """
    context = copy_context()
    context.run(CURRENT.set, binding)
    started = perf_counter()
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration as stop:
        return stop.value
    finally:
        timed(perf_counter() - started)
    return _CoroutineRun(coroutine, context, timed).start(awaited)


class _CoroutineRun:
    __slots__ = ("_cancelled", "_context", "_coroutine", "_deferred", "_timed", "_waiting")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: Context,
        timed: Callable[[float], None],
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._timed = timed
        self._deferred: Deferred[Any] | None = None
        self._waiting: Any = None
        self._cancelled = False

    def start(self, awaited: Any) -> Any:
        ended, value = self._await(awaited)
        if ended:
            return value
        self._deferred = Deferred(self._cancel)
        return self._deferred

    def _await(self, awaited: Any) -> tuple[bool, Any]:
        """Wait for ``awaited`` and what follows: True and the coroutine's result, or False."""
        while True:
            if self._cancelled:
                # It cancelled itself while it ran, and now wants to wait.
                self._cancelled = False
                if isinstance(awaited, Deferred):
                    awaited.addErrback(lambda failure: None)
                    awaited.cancel()
                result: Any = Failure(CancelledError())
            elif isinstance(awaited, Deferred):
                # Something that has its result already is not waited for: that would recurse.
                arrived: list[Any] = []
                self._waiting = arrived
                awaited.addBoth(self._arrived, arrived)
                if not arrived:
                    self._waiting = awaited
                    return False, None
                result = arrived[0]
            elif is_future(awaited):
                self._waiting = awaited
                awaited.add_done_callback(self._future_done)
                return False, None
            elif awaited is None:
                result = None
            else:
                result = Failure(TypeError(f"a hook cannot await a {type(awaited).__name__}"))
            ended, awaited = self._step(result)
            if ended:
                return True, awaited

    def _step(self, result: Any) -> tuple[bool, Any]:
        started = perf_counter()
        try:
            if isinstance(result, Failure):
                throw = result.throwExceptionIntoGenerator
                return False, self._context.run(throw, self._coroutine)
            return False, self._context.run(self._coroutine.send, result)
        except StopIteration as stop:
            return True, stop.value
        finally:
            self._timed(perf_counter() - started)

    def _arrived(self, result: Any, arrived: list[Any]) -> Any:
        if self._waiting is arrived:
            arrived.append(result)
        else:
            self._go_on(result)
        # Another coroutine may wait for the same Deferred: what it is there for stays.
        return None if isinstance(result, Failure) else result

    def _future_done(self, future: Any) -> None:
        # The coroutine asks the future itself for its result, or its error.
        self._go_on(None)

    def _go_on(self, result: Any) -> None:
        self._waiting = None
        deferred = self._deferred
        assert deferred is not None
        try:
            ended, value = self._step(result)
            if not ended:
                ended, value = self._await(value)
        except BaseException:
            if not deferred.called:
                deferred.errback(Failure())
            return
        if ended and not deferred.called:
            if isinstance(value, Deferred):
                value.chainDeferred(deferred)
            else:
                deferred.callback(value)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        waiting = self._waiting
        if waiting is None or isinstance(waiting, list):
            self._cancelled = True
        else:
            waiting.cancel()
