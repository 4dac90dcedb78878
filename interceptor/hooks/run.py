"""One event on its way through the chain, from the first hook that did not answer at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from interceptor.errors import HookFailed
from interceptor.hooks.context import CURRENT
from interceptor.hooks.coroutines import is_future, run_coroutine
from interceptor.hooks.listener import Call
from interceptor.hooks.rules import HookRules
from interceptor.interfaces import ILayer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


class Raised:
    """The outcome of a hook that raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


_WAITING: Final = object()


class HookRun:
    """The state of one firing.

    ``position`` is the hook whose outcome `go_on` is given. With ``carries`` a returned layer
    replaces the argument and is the result.
    """

    __slots__ = (
        "_argument",
        "_calls",
        "_carries",
        "_deadline",
        "_outer",
        "_position",
        "_rules",
        "_started",
        "_waiting",
    )

    def __init__(
        self,
        rules: HookRules,
        calls: tuple[Call, ...],
        position: int,
        argument: Any,
        carries: bool = False,
    ) -> None:
        self._rules = rules
        self._calls = calls
        self._position = position
        self._argument = argument
        self._carries = carries
        self._outer: Deferred[Any] | None = None
        self._waiting: object = None
        self._deadline: IDelayedCall | None = None
        self._started = 0.0

    def go_on(self, outcome: Any) -> Any:
        """Take the outcome of the hook at ``position`` and call those behind it.

        Returns the result, or a Deferred of it; raises `HookFailed`.
        """
        result = self._advance(outcome)
        if result is _WAITING:
            self._outer = Deferred(self._cancelled)
            return self._outer
        return result

    def _advance(self, outcome: Any) -> Any:
        while True:
            if outcome is not None and self._take(outcome) is _WAITING:
                return _WAITING
            self._position += 1
            if self._position == len(self._calls):
                return self._argument if self._carries else None
            outcome = self._call(self._calls[self._position])
            if self._outer is not None and self._outer.called:
                # The hook itself had the firing cancelled, most likely by killing its flow.
                _discard(outcome)
                return _WAITING

    def _call(self, call: Call) -> Any:
        token = CURRENT.set(call.listener.binding)
        started = perf_counter()
        try:
            return call.hook(self._argument)
        except BaseException as error:
            return Raised(error)
        finally:
            CURRENT.reset(token)
            elapsed = perf_counter() - started
            call.record.add(elapsed)
            if elapsed > self._rules.stall:
                self._rules.stalled(call, elapsed)

    def _take(self, outcome: Any) -> object:
        """Use up what a hook answered; `_WAITING` if that is still to come."""
        call = self._calls[self._position]
        self._started = perf_counter()
        if type(outcome) is CoroutineType or _is_awaitable(outcome):
            coroutine = outcome if type(outcome) is CoroutineType else _awaiting(outcome)
            try:
                outcome = self._start(call, coroutine)
            except BaseException as error:
                outcome = Raised(error)
            if not isinstance(outcome, Deferred):
                self._count(call)
        if isinstance(outcome, Deferred):
            return self._wait(outcome)
        if isinstance(outcome, Raised):
            self._rules.failed(call, outcome.error)
        elif outcome is not None:
            self._value(call, outcome)
        return None

    def _start(self, call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
        rules = self._rules

        def timed(elapsed: float) -> None:
            if elapsed > rules.stall:
                rules.stalled(call, elapsed)

        return run_coroutine(coroutine, call.listener.binding, timed)

    def _wait(self, deferred: Deferred[Any]) -> object:
        arrived: list[Any] = []
        self._waiting = arrived
        deferred.addBoth(self._arrived, arrived, deferred)
        if arrived:
            self._settle(arrived[0])
            return None
        self._waiting = deferred
        if self._rules.timeout > 0:
            self._deadline = self._rules.clock.callLater(self._rules.timeout, self._overran)
        return _WAITING

    def _arrived(self, result: Any, arrived: list[Any], deferred: Deferred[Any]) -> Any:
        if self._waiting is arrived:
            arrived.append(result)
        elif self._waiting is deferred:
            self._stop_waiting()
            self._resume(lambda: self._settle(result))
        # Else it was cancelled, and nobody is interested any more.
        return None if isinstance(result, Failure) else result

    def _settle(self, result: Any) -> None:
        """Use up the result of what was waited for."""
        call = self._calls[self._position]
        self._count(call)
        if isinstance(result, Failure):
            self._rules.failed(call, _error_of(result))
        elif result is not None:
            self._value(call, result)

    def _count(self, call: Call) -> None:
        """Add the time since the hook itself returned."""
        elapsed = perf_counter() - self._started
        call.record.seconds += elapsed
        if elapsed > call.record.longest:
            call.record.longest = elapsed

    def _value(self, call: Call, value: Any) -> None:
        if self._carries and ILayer.providedBy(value):
            self._argument = value
        else:
            self._rules.returned(call, value)

    def _resume(self, settle: Callable[[], None]) -> None:
        outer = self._outer
        assert outer is not None
        try:
            settle()
            result = self._advance(None)
        except HookFailed:
            if not outer.called:
                outer.errback(Failure())
            return
        if result is not _WAITING:
            outer.callback(result)

    def _overran(self) -> None:
        self._deadline = None
        waiting = cast("Deferred[Any]", self._waiting)
        self._waiting = None
        call = self._calls[self._position]
        self._count(call)
        waiting.cancel()
        self._resume(lambda: self._rules.overran(call))

    def _cancelled(self, outer: Deferred[Any]) -> None:
        # Deferred.cancel fails ``outer`` with CancelledError when this returns; no policy asks.
        waiting = self._waiting
        self._stop_waiting()
        if isinstance(waiting, Deferred):
            waiting.cancel()

    def _stop_waiting(self) -> None:
        self._waiting = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _is_awaitable(outcome: object) -> bool:
    return not isinstance(outcome, Deferred) and (
        is_future(outcome) or hasattr(type(outcome), "__await__")
    )


def _error_of(failure: Failure) -> BaseException:
    assert failure.value is not None
    return failure.value.with_traceback(failure.getTracebackObject())


def _discard(outcome: object) -> None:
    if isinstance(outcome, Deferred):
        outcome.addErrback(lambda failure: None)
        outcome.cancel()
    elif isinstance(outcome, CoroutineType):
        outcome.close()


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable
