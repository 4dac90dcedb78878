"""A few threads for calls that block and cannot be interrupted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from interceptor.errors import InterceptorError

_T = TypeVar("_T")


class _Job(NamedTuple):
    deferred: Deferred[Any]
    context: Context
    call: Callable[[], Any]


class DaemonThreads:
    """At most ``limit`` threads, made when they are needed, for calls that block.

    Unlike those of `twisted.python.threadpool.ThreadPool` they are daemons: a look-up that hangs in
    the C library, or a hook that never returns, does not keep the program from ending. ``limit`` is
    at least 1, and may be changed at any time; ``name`` begins the names of the threads.
    """

    def __init__(self, reactor: IReactorFromThreads, limit: int, name: str) -> None:
        self.limit = limit
        self._name = name
        self._reactor = reactor
        self._condition = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._alive = 0
        self._idle = 0
        self._made = 0
        self._stopping: Deferred[None] | None = None

    def run(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> Deferred[_T]:
        """Call ``function`` in a thread, in a copy of the present context.

        The Deferred is fired in the reactor's thread. Cancelling it gives up waiting: what has
        begun cannot be interrupted, what has not begun never does. After `stop` it fails at once.
        """
        deferred: Deferred[_T] = Deferred(lambda deferred: None)
        if self._stopping is not None:
            deferred.errback(_shutting_down())
            return deferred
        job = _Job(deferred, copy_context(), lambda: function(*args, **kwargs))
        with self._condition:
            self._jobs.append(job)
            if len(self._jobs) > self._idle and self._alive < self.limit:
                self._alive += 1
                self._made += 1
                name = f"{self._name}-{self._made}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
            else:
                self._condition.notify()
        return deferred

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires once every thread has ended, so after the longest call.

        The Deferreds of what never began fail.
        """
        stopped: Deferred[None] = Deferred(lambda deferred: None)
        with self._condition:
            if self._stopping is not None:
                self._stopping.chainDeferred(stopped)
                return stopped
            self._stopping = stopped
            dropped = list(self._jobs)
            self._jobs.clear()
            self._condition.notify_all()
            none_left = not self._alive
        for job in dropped:
            if not job.deferred.called:
                job.deferred.errback(_shutting_down())
        if none_left:
            stopped.callback(None)
        return stopped

    def _work(self) -> None:
        while self._do_next():
            # While it waits for the next job, the thread holds on to nothing of the last one.
            pass

    def _do_next(self) -> bool:
        job = self._next()
        if job is None:
            return False
        if not job.deferred.called:
            try:
                result = job.context.run(job.call)
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(_answer, job.deferred, result)
        return True

    def _next(self) -> _Job | None:
        """The next job; None when this thread shall end, of which it is no longer counted then."""
        with self._condition:
            while True:
                if self._stopping is not None or self._alive > self.limit:
                    self._alive -= 1
                    if self._stopping is not None and not self._alive:
                        self._reactor.callFromThread(_answer, self._stopping, None)
                    return None
                if self._jobs:
                    return self._jobs.popleft()
                self._idle += 1
                self._condition.wait()
                self._idle -= 1


def _shutting_down() -> InterceptorError:
    return InterceptorError("the proxy is shutting down", "shutting-down")


def _answer(deferred: Deferred[Any], result: Any) -> None:
    if deferred.called:
        return
    if isinstance(result, Failure):
        deferred.errback(result)
    else:
        deferred.callback(result)
