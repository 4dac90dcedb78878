"""A reactor for tests of what writes in threads."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock


class ThreadClock(Clock):
    """A clock that keeps calls from threads until `run_from_threads`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None:
        self._calls.put(lambda: callable(*args))

    def run_from_threads(self) -> None:
        """Wait for one call from a thread, and make it."""
        self._calls.get(timeout=10)()

    def turn(self) -> None:
        """One turn of the reactor: what is due now."""
        self.advance(0)
