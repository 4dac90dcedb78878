"""The memory of everything but gathered bodies that waits in the proxy, under one bound.

That is data of HTTP/2 streams that nobody has taken yet, messages that are not complete, and the
latest messages that flows keep. Up to `FREE` bytes of each connection are not counted: the number
of connections bounds those, and nothing has to be done for the many that never hold more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interceptor.errors import InterceptorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.layers.allowances import Allowances

FREE: Final = 65536
"""Bytes that each may hold without being counted."""

_STEP: Final = 65536
"""By how much what flows keep grows at a time."""


class BufferMemory:
    """Counts what all connections and flows hold together."""

    __slots__ = ("_allowance", "_waiting", "taken")

    def __init__(self, allowances: Allowances) -> None:
        self.taken = 0
        self._allowance = allowances.of("buffer_memory_total", lambda: self.taken)
        self._waiting: dict[Callable[[], object], None] = {}

    @property
    def full(self) -> bool:
        """Whether there is more than there may be."""
        allowance = self._allowance
        if self.taken > allowance.mark:
            allowance.ask()
        return self.taken > allowance.limit

    def change(self, amount: int) -> None:
        """Count so much more or less, and tell those who wait for room."""
        self.taken += amount
        if amount < 0 and self._waiting and self.taken <= self._allowance.limit:
            waiting, self._waiting = self._waiting, {}
            for call in waiting:
                call()

    def when_room(self, call: Callable[[], object]) -> None:
        """Call this once there is room again."""
        self._waiting[call] = None

    def forget(self, call: Callable[[], object]) -> None:
        """Do not call it any more."""
        self._waiting.pop(call, None)

    def error(self, what: str) -> InterceptorError:
        """Return the error for what there is no room for."""
        return InterceptorError(
            f"{what}: what waits in the proxy has filled {self._allowance.total} bytes of memory "
            "(buffer_memory_total)",
            "buffer-memory-full",
        )


class Account:
    """What one connection or flow holds of a `BufferMemory`; ``counted`` is what it was told."""

    __slots__ = ("_memory", "counted")

    def __init__(self, memory: BufferMemory) -> None:
        self._memory = memory
        self.counted = 0

    def update(self, size: int) -> bool:
        """Hold ``size`` bytes now; False where that is more than there is room for."""
        if size <= FREE:
            size = 0
        change = size - self.counted
        if change:
            self.counted = size
            self._memory.change(change)
        return not (change > 0 and self._memory.full)

    def room(self, size: int, limit: int) -> int:
        """Ask for room to keep ``size`` bytes, and some more; return how much there is.

        It is at most ``limit``, and never less than `FREE` where that is not lower.
        """
        before = self.counted
        wanted = min((size // _STEP + 1) * _STEP, limit)
        if wanted <= FREE or self.update(wanted):
            return wanted
        self.update(before)
        return min(max(before, FREE), limit)

    def close(self) -> None:
        """Hold nothing."""
        self.update(0)
