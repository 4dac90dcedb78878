"""A deadline that is cheap to move: it stores a time and re-arms its timer lazily."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls back once when a time that is moved often has passed.

    A connection moves its deadline several times for each message, while a reactor's timer costs
    microseconds to make and to cancel. So `set` and `clear` only store when the deadline is due;
    the one timer behind them is made when there is none that fires early enough, and on firing
    too early it arms itself again for the time stored by then. Only a deadline that is sooner
    than the running timer replaces that timer.

    The price is that a cleared deadline may leave one timer behind that does nothing. `stop`,
    which the owner calls when its connection is gone, cancels it.
    """

    __slots__ = ("_armed_for", "_call", "_callback", "_clock", "_due", "_seconds")

    def __init__(self, clock: IReactorTime, callback: Callable[[], object]) -> None:
        """`callback` is called without arguments, and may set this deadline again."""
        self._clock = clock
        self._seconds = clock.seconds
        self._callback = callback
        self._call: IDelayedCall | None = None
        self._due = inf
        # Infinite while no timer runs; minus infinity once stopped, so that no time is sooner.
        self._armed_for = inf

    @property
    def active(self) -> bool:
        """Whether a deadline is set and has not passed."""
        return self._due != inf and self._armed_for != -inf

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, never negative; None where none is set."""
        if not self.active:
            return None
        return max(0.0, self._due - self._seconds())

    def set(self, seconds: float) -> None:
        """Make the deadline due in `seconds` (at least 0) from now, whatever it was before.

        After `stop` this does nothing.
        """
        due = self._seconds() + seconds
        self._due = due
        if due < self._armed_for:
            self._arm(due)

    def clear(self) -> None:
        """Have no deadline until the next `set`."""
        self._due = inf

    def stop(self) -> None:
        """End this deadline for good, cancel its timer and forget the callback.

        May be called repeatedly. A deadline usually calls back its owner: forgetting that lets both
        be freed at once.
        """
        self._due = inf
        self._armed_for = -inf
        self._callback = _nothing
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _arm(self, due: float) -> None:
        if self._call is not None:
            # Not reset(): moving a reactor's timer to an earlier time searches all its timers.
            self._call.cancel()
        self._armed_for = due
        self._call = self._clock.callLater(max(0.0, due - self._seconds()), self._fire)

    def _fire(self) -> None:
        self._call = None
        self._armed_for = inf
        due = self._due
        if due == inf:
            return
        if due > self._seconds():
            self._arm(due)
            return
        self._due = inf
        self._callback()


def _nothing() -> None:
    """Take the place of a callback that must not be called any more."""
