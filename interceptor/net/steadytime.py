"""Timers that do not care when somebody sets the clock."""

from __future__ import annotations

import time
from typing import Any


def keep_steady_time(reactor: Any) -> None:
    """Have a reactor measure time by a clock that nobody sets.

    Most of Twisted's reactors go by the time of day: when that jumps forward every deadline passes
    at once, and when it jumps back none does for as long. This is for programs of their own; call
    it before the reactor runs. What is scheduled already keeps its distance.
    """
    if getattr(reactor, "seconds", None) is not time.time:
        # It has a clock of its own kind, as asyncio's loop, or was here already.
        return
    apart = time.monotonic() - time.time()
    reactor.seconds = time.monotonic
    for call in reactor.getDelayedCalls():
        call.time += apart
        call.seconds = time.monotonic
