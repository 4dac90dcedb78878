"""A script that does to requests what their paths ask for, and counts what the proxy holds.

The paths are in `ACTIONS`. A request for `CENSUS` is answered with a JSON object: ``objects`` that
the garbage collector knows of by type, after it has collected, ``calls`` that the reactor has yet
to make by what they call, ``descriptors`` and ``threads``.
"""

from __future__ import annotations

import gc
import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import defer, reactor, task, threads

from interceptor import http

CENSUS: Final = "census.invalid"
"""The host that takes the census."""

_SOON = 0.001


def census() -> dict[str, Any]:
    """Count."""
    while gc.collect():
        pass
    clock: Any = reactor
    return {
        "objects": Counter(_name(type(thing)) for thing in gc.get_objects()),
        "calls": Counter(_function(call.func) for call in clock.getDelayedCalls()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _function(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"


def _answer(flow: http.HTTPFlow) -> None:
    flow.response = http.Response.make(200, b"from the script\n" * 64)


def _wait(flow: http.HTTPFlow) -> defer.Deferred[None]:
    clock: Any = reactor
    return task.deferLater(clock, _SOON)


async def _await(flow: http.HTTPFlow) -> None:
    await _wait(flow)


def _never(flow: http.HTTPFlow) -> defer.Deferred[None]:
    return defer.Deferred()


def _in_thread(flow: http.HTTPFlow) -> defer.Deferred[str]:
    return threads.deferToThread(str, flow.request.path)


def _fail(flow: http.HTTPFlow) -> None:
    raise ValueError("as asked for")


def _kill(flow: http.HTTPFlow) -> None:
    flow.kill()


def _intercept(flow: http.HTTPFlow) -> None:
    clock: Any = reactor
    flow.intercept()
    clock.callLater(_SOON, flow.resume)


def _edit(flow: http.HTTPFlow) -> None:
    flow.request.headers["X-Edited"] = "yes"
    flow.request.path = "/1k"


ACTIONS: Final[dict[str, Callable[[http.HTTPFlow], Any]]] = {
    "/answer": _answer,
    "/wait": _wait,
    "/await": _await,
    "/waits-for-ever": _never,
    "/thread": _in_thread,
    "/raise": _fail,
    "/kill": _kill,
    "/intercept": _intercept,
    "/edit": _edit,
}


def requestheaders(flow: http.HTTPFlow) -> None:
    """Look at a request's headers."""


def request(flow: http.HTTPFlow) -> Any:
    """Do what the path asks for."""
    if flow.request.host == CENSUS:
        flow.response = http.Response.make(200, json.dumps(census()).encode())
        return None
    action = ACTIONS.get(flow.request.path)
    return None if action is None else action(flow)


def responseheaders(flow: http.HTTPFlow) -> None:
    """Look at a response's headers."""


def response(flow: http.HTTPFlow) -> None:
    """Change a response."""
    assert flow.response is not None
    flow.response.headers["X-Seen"] = "yes"


def error(flow: http.HTTPFlow) -> None:
    """Look at a failure."""


def websocket_message(flow: http.HTTPFlow) -> None:
    """Look at a message."""
