"""Who lets a request's body stream: guards have to say so themselves.

A guard is an addon that must not be passed by: it has a ``request`` hook, its error policy is
``kill``, and it does not merely observe. When its ``request`` hook is called, the body must not
have left yet; unless the guard itself set ``flow.request.stream`` in ``requestheaders``. That
somebody else set it does not count, so a guard's ``requestheaders`` is shown False, whatever those
before it made of it, and what it leaves there is its own word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from interceptor.hooks.listener import Listener
    from interceptor.model.flow import HTTPFlow


def asking(guard: Listener, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a guard's ``requestheaders`` hook, which notes on the flow whether it agrees."""

    def requestheaders(flow: HTTPFlow) -> Any:
        answer = _Answer(guard, flow)
        try:
            outcome = hook(flow)
        except BaseException:
            answer.note()
            raise
        if isinstance(outcome, Deferred):
            return outcome.addBoth(answer.pass_on)
        if hasattr(type(outcome), "__await__"):
            return answer.wait_for(outcome)
        answer.note()
        return outcome

    return requestheaders


def all_agreed(guards: frozenset[Listener], flow: HTTPFlow) -> bool:
    """Whether every one of ``guards`` lets the body of this flow's request stream."""
    return guards <= flow.stream_agreed


class _Answer:
    """What one guard makes of one flow's ``stream``."""

    __slots__ = ("_before", "_flow", "_guard", "_request")

    def __init__(self, guard: Listener, flow: HTTPFlow) -> None:
        self._guard = guard
        self._flow = flow
        self._request = flow.request
        self._before = flow.request.stream
        flow.request.stream = False

    def note(self) -> None:
        """Look at what the hook left; where that is nothing, restore what was there before."""
        request = self._flow.request
        if request.stream:
            self._flow.stream_agreed |= {self._guard}
        elif request is self._request:
            request.stream = self._before

    def pass_on(self, result: Any) -> Any:
        self.note()
        return result

    async def wait_for(self, outcome: Awaitable[Any]) -> Any:
        try:
            return await outcome
        finally:
            self.note()
