"""A few threads for calls that block and cannot be interrupted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")


class BlockingThreads:
    """Runs blocking functions in at most `size` daemon threads, made when they are needed.

    Unlike `twisted.python.threadpool.ThreadPool` its threads are daemons and `stop` does not wait
    for them: a look-up that hangs in the C library must not hold up the end of the program. A call
    whose Deferred is cancelled before a thread took it up is never made.
    """

    def __init__(self, reactor: IReactorFromThreads, size: int, name: str) -> None:
        """`size` is at least 1; `name` begins the names of the threads."""
        self._reactor = reactor
        self._size = size
        self._name = name
        self._condition = threading.Condition()
        self._calls: deque[tuple[Deferred[Any], Callable[[], object]]] = deque()
        self._threads = 0
        self._idle = 0
        self._stopped = False

    def run(self, function: Callable[[], T]) -> Deferred[T]:
        """Call `function` in a thread and fire with what it returns, or fail with what it raises.

        Raises `RuntimeError` after `stop`.
        """
        result: Deferred[T] = Deferred()
        with self._condition:
            if self._stopped:
                raise RuntimeError("these threads have been stopped")
            self._calls.append((result, function))
            self._condition.notify()
            if self._idle < len(self._calls) and self._threads < self._size:
                self._threads += 1
                name = f"{self._name}-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        return result

    def stop(self) -> None:
        """Drop what has not begun, and let each thread end after its call. Results are dropped."""
        with self._condition:
            self._stopped = True
            self._calls.clear()
            self._condition.notify_all()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                while not self._calls and not self._stopped:
                    self._condition.wait()
                self._idle -= 1
                if self._stopped:
                    return
                result, function = self._calls.popleft()
            if result.called:
                continue
            outcome: object
            try:
                outcome = function()
            except Exception:
                outcome = Failure()
            self._reactor.callFromThread(self._deliver, result, outcome)
            del result, function, outcome

    def _deliver(self, result: Deferred[object], outcome: object) -> None:
        # A cancelled call has its result already.
        if result.called or self._stopped:
            return
        if isinstance(outcome, Failure):
            result.errback(outcome)
        else:
            result.callback(outcome)
