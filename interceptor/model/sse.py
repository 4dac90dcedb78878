"""Server-sent events: the records that hooks see, and may change, drop or add to."""

from __future__ import annotations

import re
import time
from typing import Any, Final, Protocol

from interceptor.errors import EventStreamError
from interceptor.model.keyed import Keyed

DEFAULT_TYPE: Final = "message"
"""What an event without a type of its own is dispatched as."""

_LINE_BREAK = re.compile("[\r\n]")


class ServerSentEvent(Keyed):
    """One event of an event stream, as a client understands it (WHATWG HTML, section 9.2.6).

    ``data`` is its text, lines separated by LF; bytes that are no UTF-8 are kept as surrogates.
    ``event`` is its type, ``message`` unless it says otherwise. ``id`` is what it makes the
    client's last event id, ``retry`` the milliseconds it asks clients to wait before they connect
    again; both are None where it says nothing. ``timestamp`` is in seconds since the epoch.
    ``raw`` are the bytes that came, None for an event of one's own: unless one of the four is
    changed, they are what leaves.
    """

    __slots__ = ("_data", "_event", "_id", "_retry", "_seen", "dropped", "raw", "timestamp")

    def __init__(
        self,
        data: str | None = None,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        """Make an event of one's own. Without ``data`` no client dispatches it."""
        self._data = None if data is None else _checked_data(data)
        self._event = _checked_type(event)
        self._id = _checked_id(id)
        self._retry = _checked_retry(retry)
        self._seen: tuple[Any, ...] | None = None
        self.raw: bytes | None = None
        self.dropped = False
        self.timestamp = time.time()

    @classmethod
    def from_wire(
        cls,
        raw: bytes,
        data: str | None,
        event: str | None,
        id: str | None,
        retry: int | None,
    ) -> ServerSentEvent:
        """Make what was received; nothing is checked."""
        self = cls.__new__(cls)
        self._data, self._event, self._id, self._retry = data, event or None, id, retry
        self._seen = (data, self._event, id, retry)
        self.raw = raw
        self.dropped = False
        self.timestamp = time.time()
        return self

    @property
    def data(self) -> str:
        """The text. Empty, too, where there is none at all: see `dispatches`."""
        return self._data or ""

    @data.setter
    def data(self, value: str) -> None:
        # What has no data at all is not made to have some by being given none.
        if value or self._data is not None:
            self._data = _checked_data(value)

    @property
    def event(self) -> str:
        """The type."""
        return self._event or DEFAULT_TYPE

    @event.setter
    def event(self, value: str | None) -> None:
        checked = _checked_type(value)
        if checked != self.event:
            self._event = None if checked == DEFAULT_TYPE else checked

    @property
    def id(self) -> str | None:
        """What becomes the client's last event id; None leaves that as it is."""
        return self._id

    @id.setter
    def id(self, value: str | None) -> None:
        self._id = _checked_id(value)

    @property
    def retry(self) -> int | None:
        """Milliseconds before a client connects again; None leaves that as it is."""
        return self._retry

    @retry.setter
    def retry(self, value: int | None) -> None:
        self._retry = _checked_retry(value)

    @property
    def dispatches(self) -> bool:
        """Whether clients see an event. One without data only sets the id or the time."""
        return self._data is not None

    @property
    def modified(self) -> bool:
        """Whether any of the four is not as it came; True for an event of one's own."""
        return self._seen is None or self._key() != self._seen

    def drop(self) -> None:
        """Do not pass this event on."""
        self.dropped = True

    def changes(self) -> dict[bytes, list[str]]:
        """Return the values of each field that is not as it came, by the field's name.

        A field that was removed has none; ``data`` has one for each line.
        """
        seen = self._seen or (None, None, None, None)
        changed: dict[bytes, list[str]] = {}
        for name, value, before in zip(_NAMES, self._key(), seen, strict=True):
            if value == before:
                continue
            if value is None:
                changed[name] = []
            elif name == b"data":
                changed[name] = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            else:
                changed[name] = [str(value)]
        return changed

    def copy(self) -> ServerSentEvent:
        """Return an independent copy."""
        made = ServerSentEvent.__new__(ServerSentEvent)
        for name in self.__slots__:
            setattr(made, name, getattr(self, name))
        return made

    def _key(self) -> tuple[Any, ...]:
        return (self._data, self._event, self._id, self._retry)

    def __repr__(self) -> str:
        data = self.data if len(self.data) <= 60 else self.data[:57] + "..."
        return f"<ServerSentEvent {self.event} {data!r}>"


_NAMES: Final = (b"data", b"event", b"id", b"retry")


def _checked_data(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"an event's data is str, not {type(value).__name__}")
    # What cannot be sent is found out where it is set, not where it is sent.
    value.encode("utf-8", "surrogateescape")
    return value


def _checked_type(value: str | None) -> str | None:
    return _checked_line(value, "type") or None


def _checked_id(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise ValueError(f"an event's id holds no NUL: {value!r}")
    return _checked_line(value, "id")


def _checked_line(value: str | None, what: str) -> str | None:
    if value is None:
        return None
    if _LINE_BREAK.search(_checked_data(value)) is not None:
        raise ValueError(f"an event's {what} is one line: {value!r}")
    return value


def _checked_retry(value: int | None) -> int | None:
    if value is None:
        return None
    if int(value) != value or value < 0:
        raise ValueError(f"an event's retry is a number of milliseconds: {value!r}")
    return int(value)


class EventStreamControl(Protocol):
    """What a live exchange implements, so that events can be added to its stream."""

    def injected(self, event: ServerSentEvent) -> None:
        """Send an event when its turn comes. Raises `InterceptorError` where it cannot be."""


class EventStream:
    """The events of one response, ``flow.sse``.

    ``events`` holds those that came or were injected, the latest last, up to a bound of memory;
    ``forgotten`` counts those before them that are no longer there. ``kept`` are their bytes,
    ``limit`` the most that may be.
    """

    __slots__ = ("_control", "events", "forgotten", "kept", "limit")

    def __init__(self, limit: int = 1 << 20, control: EventStreamControl | None = None) -> None:
        """``limit`` bounds, in bytes of their data, the events that are kept before the latest."""
        self.events: list[ServerSentEvent] = []
        self.forgotten = 0
        self.limit = limit
        self.kept = 0
        self._control = control

    @property
    def live(self) -> bool:
        """Whether the stream goes on, so that events can be injected."""
        return self._control is not None

    def inject(
        self,
        data: str | ServerSentEvent | None,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> ServerSentEvent:
        """Send the client an event of one's own, and return it. No ``sse_event`` is fired for it.

        It goes out at once, but behind an event that hooks are being asked about. Raises
        `InterceptorError` with code ``sse-ended`` where the stream is over, and ``sse-backlog``
        where more is waiting for the client than may be.
        """
        made = (
            data if isinstance(data, ServerSentEvent) else ServerSentEvent(data, event, id, retry)
        )
        if self._control is None:
            raise EventStreamError("the event stream is over", "sse-ended")
        self._control.injected(made)
        return made

    def add(self, event: ServerSentEvent) -> None:
        """Make this the latest event."""
        events = self.events
        events.append(event)
        self.kept += _size(event)
        while self.kept > self.limit and len(events) > 1:
            self.kept -= _size(events.pop(0))
            self.forgotten += 1

    def detach(self) -> None:
        """Make this a mere record: the exchange calls this when the stream is over."""
        self._control = None

    def copy(self) -> EventStream:
        """Return an independent copy, which is not live."""
        made = EventStream(self.limit)
        for event in self.events:
            made.add(event.copy())
        made.forgotten = self.forgotten
        return made

    def __repr__(self) -> str:
        return f"<EventStream, {self.forgotten + len(self.events)} events>"


def _size(event: ServerSentEvent) -> int:
    # What an object costs besides its text.
    return 256 + (len(event.data) if event.raw is None else 2 * len(event.raw))
