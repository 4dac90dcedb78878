"""File descriptors: how many there may be, and what happens when they run short."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_MOST: Final = 65536
"""More than that is never asked for: programs that are started walk over all there may be."""

_PAUSE: Final = 0.1
"""Seconds after which it is looked again whether there are descriptors."""


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may, within reason; return how many.

    Systems start programs with a soft limit of 1024, for the sake of those that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


class DescriptorGuard:
    """Pauses listeners while fewer than ``headroom`` descriptors are left.

    So there are some for connections to servers, for files and for names, and new clients wait in
    the queue of the system instead of being dropped. The system gives the lowest number that is
    free: the number of an accepted socket tells how many are in use, at the cost of a comparison.

    ``on_short`` is called with how many there may be when listeners are paused.
    """

    def __init__(self, clock: IReactorTime, on_short: Callable[[int], object]) -> None:
        self.headroom = 0
        self._clock = clock
        self._on_short = on_short
        self._ports: list[Any] = []
        self._call: IDelayedCall | None = None

    @property
    def short(self) -> bool:
        """Whether listeners are paused."""
        return self._call is not None

    def add(self, port: Any) -> None:
        """Look after a listening port, where that accepts connections."""
        if hasattr(port, "stopReading") and hasattr(port, "factory"):
            self._ports.append(port)
            if self.short:
                port.stopReading()

    def clear(self) -> None:
        """Forget all ports."""
        self._ports.clear()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def accepted(self, descriptor: int) -> bool:
        """Note the descriptor of a connection that was accepted; False where it has to go again.

        That is so in the middle of a flood: Twisted accepts several connections at once, paused or
        not.
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            return True
        left = limit - descriptor
        headroom = min(self.headroom, limit // 4)
        if left > headroom:
            return True
        if self._call is None:
            for port in self._ports:
                port.stopReading()
            self._call = self._clock.callLater(_PAUSE, self._look)
            self._on_short(limit)
        return left > headroom // 2

    def _look(self) -> None:
        """Accept again if there are descriptors."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            lowest = limit
        else:
            os.close(lowest)
        if limit - lowest <= min(self.headroom, limit // 4):
            self._call = self._clock.callLater(_PAUSE, self._look)
            return
        self._call = None
        for port in self._ports:
            if not getattr(port, "disconnected", False):
                port.startReading()
