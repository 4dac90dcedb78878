"""Turns for what may take long to decode: who has nothing of the kind waits for one at most.

Many small bodies that become large may arrive at once. Hooks that decode them one after the other
would hold up everybody for as long as all of them take together.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from interceptor.model.codings import Strain

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


_PAUSE: Final = 0.001
"""Seconds between two turns, for everybody else."""


class Turns:
    """Lets those who wait go on, one after the other, with a turn of the reactor between them.

    Where one has taken little time, the next goes on in the same turn: ``strain`` tells.
    """

    __slots__ = ("_clock", "_scheduled", "_waiting", "strain")

    def __init__(self, clock: IReactorTime) -> None:
        self.strain = Strain()
        self._clock = clock
        self._scheduled = False
        self._waiting: deque[Deferred[None]] = deque()

    def pass_by(self) -> None:
        """See to it that the next turn of the reactor is not taken for a crowded one."""
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(_PAUSE, self._next)

    def wait(self) -> Deferred[None]:
        """Fire when it is the caller's turn."""
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        self.pass_by()
        return waiting

    def _next(self) -> Any:
        self._scheduled = False
        self.strain.relax()
        while self._waiting and not self.strain.crowded:
            self._waiting.popleft().callback(None)
        if self._waiting:
            # Whoever comes in this turn lines up behind them.
            self.strain.crowded = True
        if self.strain.crowded:
            self.pass_by()
