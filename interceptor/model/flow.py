"""Flows: the mutable records that hooks see and the store keeps."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from interceptor.model.identified import Identified
from interceptor.model.keyed import Keyed

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response
    from interceptor.model.sse import EventStream

KILLED_MESSAGE = "flow killed by a script"
"""What ``flow.error.msg`` says after `Flow.kill`."""

_F = TypeVar("_F", bound="Flow")


class Error(Keyed):
    """Why a flow failed: ``msg`` for people, ``code`` for programs, and when (epoch seconds)."""

    __slots__ = ("code", "msg", "timestamp")

    def __init__(self, msg: str, timestamp: float | None = None, code: str = "") -> None:
        self.msg = msg
        self.timestamp = time.time() if timestamp is None else timestamp
        self.code = code

    def copy(self) -> Error:
        """Return an independent copy."""
        return Error(self.msg, self.timestamp, self.code)

    def _key(self) -> tuple[Any, ...]:
        return (self.msg, self.timestamp, self.code)

    def __str__(self) -> str:
        return self.msg

    def __repr__(self) -> str:
        return f"<Error {self.code or 'no-code'}: {self.msg}>"


class FlowControl(Protocol):
    """What a live exchange implements, so that hooks can steer it through their flow.

    Each method is called after the flow's own state was changed, and may call hooks at once.
    """

    def killed(self, flow: Any) -> None:
        """End the exchange: `Flow.kill` was called for the first time."""

    def intercepted(self, flow: Any) -> None:
        """Pause the exchange after the event it is in."""

    def resumed(self, flow: Any) -> None:
        """Let a paused exchange go on."""


class Flow(Identified):
    """What all kinds of flow have in common.

    ``mode`` is the proxy mode as it was written. ``marked`` and ``comment`` are for people.
    ``killed`` says that `kill` was called. Identity is lazy: ``id`` and ``metadata`` cost nothing
    until asked for.
    """

    __slots__ = (
        "_backup",
        "_control",
        "_metadata",
        "client_conn",
        "comment",
        "error",
        "intercepted",
        "killed",
        "marked",
        "mode",
        "server_conn",
        "timestamp_created",
    )

    type: str = ""

    client_conn: ClientConnection
    server_conn: ServerConnection
    mode: str
    error: Error | None
    intercepted: bool
    killed: bool
    marked: str | bool
    comment: str
    timestamp_created: float
    _control: FlowControl | None
    _metadata: dict[str, Any] | None
    _backup: tuple[Any, ...] | None

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: FlowControl | None = None,
    ) -> None:
        self.client_conn = client_conn
        self.server_conn = server_conn
        self.mode = mode
        self._control = control
        self.error = None
        self.intercepted = False
        self.killed = False
        self.marked = ""
        self.comment = ""
        self.timestamp_created = time.time()
        self._id = None
        self._metadata = None
        self._backup = None

    @property
    def metadata(self) -> dict[str, Any]:
        """A dictionary for whatever addons want to remember about this flow."""
        found = self._metadata
        if found is None:
            found = self._metadata = {}
        return found

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        self._metadata = value

    # Steering

    @property
    def live(self) -> bool:
        """Whether there is an exchange behind this flow that can still be steered."""
        return self._control is not None

    @property
    def killable(self) -> bool:
        """Whether `kill` would do anything."""
        return self._control is not None and not self.killed

    def detach(self) -> None:
        """Make the flow a mere record: the exchange calls this when it is over."""
        self._control = None

    def kill(self) -> None:
        """End the exchange: nothing more is forwarded. Does nothing when the flow is not live.

        Works at any time, also in the middle of a body and while intercepted. ``error`` is set,
        with code ``killed``, unless there is one already.
        """
        control = self._control
        if control is None or self.killed:
            return
        self.killed = True
        self.intercepted = False
        if self.error is None:
            self.error = Error(KILLED_MESSAGE, code="killed")
        control.killed(self)

    def intercept(self) -> None:
        """Pause the exchange after the current event, until `resume` or `kill`."""
        if self.intercepted or self.killed:
            return
        self.intercepted = True
        if self._control is not None:
            self._control.intercepted(self)

    def resume(self) -> None:
        """Let an intercepted exchange go on. Does nothing when it is not intercepted."""
        if not self.intercepted:
            return
        self.intercepted = False
        if self._control is not None:
            self._control.resumed(self)

    # State

    def copy(self: _F) -> _F:
        """Return an independent copy with an ``id`` of its own, which is not live.

        Of ``metadata`` the containers are copied, other objects shared.
        """
        made = self.__class__(self.client_conn.copy(), self.server_conn.copy(), self.mode)
        made.timestamp_created = self.timestamp_created
        made.killed = self.killed
        made._set_state(self._get_state())
        return made

    def backup(self, force: bool = False) -> None:
        """Remember the present state for `revert`; an older one is kept unless ``force``."""
        if self._backup is None or force:
            self._backup = self._get_state()

    def revert(self) -> None:
        """Go back to the state that `backup` remembered, if it did, and forget it."""
        state, self._backup = self._backup, None
        if state is not None:
            self._set_state(state)

    def modified(self) -> bool:
        """Return whether anything differs from the state that `backup` remembered."""
        return self._backup is not None and not self._matches(self._backup)

    def _get_state(self) -> tuple[Any, ...]:
        """Return copies of everything that `backup` keeps."""
        error = None if self.error is None else self.error.copy()
        metadata = None if self._metadata is None else _copy_containers(self._metadata, {})
        return (error, self.marked, self.comment, metadata)

    def _set_state(self, state: tuple[Any, ...]) -> None:
        """Take over what `_get_state` gave; the state is this flow's own from now on."""
        self.error, self.marked, self.comment, self._metadata = state[:4]

    def _matches(self, state: tuple[Any, ...]) -> bool:
        return (self.error, self.marked, self.comment, self._metadata or None) == (
            *state[:3],
            state[3] or None,
        )


def _copy_containers(value: Any, done: dict[int, Any]) -> Any:
    """Copy dictionaries, lists and sets all the way down, and pass on whatever else there is."""
    if id(value) in done:
        return done[id(value)]
    made: Any
    if type(value) is dict:
        made = done[id(value)] = {}
        for key, item in value.items():
            made[key] = _copy_containers(item, done)
        return made
    if type(value) is list:
        made = done[id(value)] = []
        made.extend(_copy_containers(item, done) for item in value)
        return made
    return set(value) if type(value) is set else value


class AnswerFlow(Flow, ABC):
    """A request and its response, which is None until there is one."""

    __slots__ = ("request", "response")

    request: Any
    response: Any

    def _get_state(self) -> tuple[Any, ...]:
        request = self.request
        return (
            *super()._get_state(),
            None if request is None else request.copy(),
            None if self.response is None else self.response.copy(),
        )

    def _set_state(self, state: tuple[Any, ...]) -> None:
        super()._set_state(state)
        self.request, self.response = state[4:6]

    def _matches(self, state: tuple[Any, ...]) -> bool:
        if not super()._matches(state):
            return False
        for mine, kept in ((self.request, state[4]), (self.response, state[5])):
            if mine is None or kept is None:
                if mine is not kept:
                    return False
            elif not mine.same_as(kept):
                return False
        return True

    @abstractmethod
    def _asked(self) -> str:
        """Say what was asked for."""

    @abstractmethod
    def _answered(self) -> str:
        """Say what was answered: nothing where nothing was."""

    def __repr__(self) -> str:
        what = "no request" if self.request is None else self._asked()
        answer = self._answered()
        if answer:
            what += f" -> {answer}"
        if self.error is not None:
            what += f" ({self.error.code or self.error.msg})"
        return f"<{type(self).__name__} {what}>"


class HTTPFlow(AnswerFlow):
    """One HTTP request and what became of it.

    ``request`` is there in every hook; ``response`` is None until there is one, from the server or
    from a hook. ``websocket`` holds the messages once the exchange became a WebSocket.
    """

    __slots__ = ("_sse", "_stream_agreed", "websocket")

    type: str = "http"

    request: Request
    response: Response | None
    websocket: Any
    # Not set until they are needed: one flow is made for every request.
    _sse: EventStream | None
    _stream_agreed: frozenset[object]

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: FlowControl | None = None,
    ) -> None:
        # Written out rather than passed to super(): one flow is made for every request.
        self.client_conn = client_conn
        self.server_conn = server_conn
        self.mode = mode
        self._control = control
        self.request = None  # type: ignore[assignment]  # set before anybody sees the flow
        self.response = None
        self.error = None
        self.websocket = None
        self.intercepted = False
        self.killed = False
        self.marked = ""
        self.comment = ""
        self.timestamp_created = time.time()
        self._id = None
        self._metadata = None
        self._backup = None

    @property
    def requestheaders(self) -> Headers:
        """The request's headers."""
        return self.request.headers

    @property
    def stream_agreed(self) -> frozenset[object]:
        """Which of those that must see every request before it is sent let this one stream."""
        return getattr(self, "_stream_agreed", frozenset())

    @stream_agreed.setter
    def stream_agreed(self, value: frozenset[object]) -> None:
        self._stream_agreed = value

    @property
    def sse(self) -> EventStream | None:
        """The events of the response, where it is an event stream that somebody listens to."""
        return getattr(self, "_sse", None)

    @sse.setter
    def sse(self, value: EventStream | None) -> None:
        self._sse = value

    def copy(self) -> HTTPFlow:
        made = super().copy()
        if self.sse is not None:
            made.sse = self.sse.copy()
        if self.websocket is not None:
            made.websocket = self.websocket.copy()
        return made

    def replace(
        self, pattern: str | bytes | re.Pattern[Any], repl: Any, flags: int = 0, count: int = 0
    ) -> int:
        """Replace a regular expression in request and response; return how often.

        ``count`` bounds the replacements in each of the two; 0 is no bound. See `Message.replace`.
        """
        done = self.request.replace(pattern, repl, flags, count)
        if self.response is not None:
            done += self.response.replace(pattern, repl, flags, count)
        return done

    def _asked(self) -> str:
        return f"{self.request.method} {self.request.pretty_url}"

    def _answered(self) -> str:
        return "" if self.response is None else str(self.response.status_code)
