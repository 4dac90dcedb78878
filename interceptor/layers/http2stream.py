"""One stream of an HTTP/2 connection as exchanges see it: what both directions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, succeed

from interceptor.layers.task import Wakeup
from interceptor.wire.httpevents import NEED_DATA, Data

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from interceptor.layers.http2connection import HTTP2Protocol
    from interceptor.model.headers import Headers
    from interceptor.net.sides import Side
    from interceptor.wire.httpevents import StreamReset


_SMALL: Final = 1024
_JOINED: Final = 4096


class HTTP2Stream(ABC):
    """Takes events from its connection until an exchange pulls them, and bytes until the peer does.

    Data that was pulled is credited to the peer only with the next pull: by then the other side has
    accepted it. Data to send waits here while the peer's window is closed; a writer looks at
    `write_paused` after each chunk, so that one chunk is all that waits.

    ``read_due`` and ``write_due`` are the times at which waiting in either direction fails; the
    connection looks after them for all of its streams with one timer.
    """

    __slots__ = (
        "_broken",
        "_events",
        "_out",
        "_out_end",
        "_readable",
        "_unacknowledged",
        "_writable",
        "input_ended",
        "listener",
        "output_ended",
        "protocol",
        "read_due",
        "stream_id",
        "write_due",
    )

    def __init__(self, protocol: HTTP2Protocol, stream_id: int) -> None:
        self.protocol = protocol
        self.stream_id = stream_id
        self._events: deque[Any] = deque()
        self._readable: Wakeup | None = None
        self._broken: Exception | None = None
        self._unacknowledged = 0
        self._out: deque[bytes | memoryview] = deque()
        # The end that has to wait for what is in `_out`: its trailers, in a tuple.
        self._out_end: tuple[Headers | None] | None = None
        self._writable: list[Deferred[None]] = []
        # The peer has ended its direction; we have ended ours, and it has left.
        self.input_ended = False
        self.output_ended = False
        self.read_due = self.write_due = inf
        # Who is told of events and of room to write, where no exchange pulls them.
        self.listener: Any = None

    @property
    def side(self) -> Side:
        """The side of the connection."""
        return self.protocol.side

    # From the connection

    def received(self, event: Any) -> None:
        """Take an event of this stream."""
        events = self._events
        if events and type(event) is Data and len(event.data) < _SMALL:
            self._join(event)
        else:
            events.append(event)
        readable = self._readable
        if readable is not None:
            self._readable = None
            readable.wake()
        elif self.listener is not None:
            self.listener.readable()

    def _join(self, event: Data) -> None:
        """Take a small piece of data behind what waits: it may come with the one before it.

        An object of its own for each would take many times its bytes.
        """
        last = self._events[-1]
        if type(last) is Data and len(last.data) < _JOINED:
            self._events[-1] = Data(last.data + event.data, event.end_of_message)
        else:
            self._events.append(event)

    @abstractmethod
    def was_reset(self, event: StreamReset) -> None:
        """The peer gave the stream up, or broke the protocol on it."""

    def broke(self, error: Exception) -> None:
        """Nothing more will come, and nothing more can be sent."""
        if self._broken is not None:
            return
        self._broken = error
        self.input_ended = self.output_ended = True
        self._out.clear()
        self._out_end = None
        self.write_due = inf
        writable, self._writable = self._writable, []
        for waiting in writable:
            waiting.errback(error)
        readable, self._readable = self._readable, None
        if readable is not None:
            readable.wake()
        if self.listener is not None:
            self.listener.broke(error)

    # Reading

    def next_event(self) -> Any:
        if self._unacknowledged:
            self._acknowledge()
        if self._events:
            self.read_due = inf
            event = self._events.popleft()
            if type(event) is Data:
                self._unacknowledged = len(event.data)
            return event
        if self._broken is not None:
            raise self._broken
        self._expect()
        return NEED_DATA

    @abstractmethod
    def _expect(self) -> None:
        """Set the deadline for what the exchange is about to wait for."""

    def _acknowledge(self) -> None:
        size, self._unacknowledged = self._unacknowledged, 0
        self.protocol.acknowledge(self.stream_id, size)

    def when_readable(self) -> Awaitable[None]:
        if self._events or self._broken is not None:
            return succeed(None)
        readable = self._readable = Wakeup(self._forget)
        return readable

    def _forget(self) -> None:
        self._readable = None

    def drop_unread(self) -> None:
        """Credit what nobody will read any more, so that the connection's window stays open."""
        size, self._unacknowledged = self._unacknowledged, 0
        for event in self._events:
            if type(event) is Data:
                size += len(event.data)
        self._events.clear()
        if size:
            self.protocol.acknowledge(self.stream_id, size)

    # Writing

    @property
    def write_paused(self) -> bool:
        return bool(self._out) or self.protocol.side.writing.paused

    def when_writable(self) -> Deferred[None]:
        if self._broken is not None:
            return fail(self._broken)
        if not self.write_paused:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._writable.remove)
        self._writable.append(waiting)
        if self.write_due == inf:
            self.write_due = self.protocol.due(self.protocol.settings.write_timeout)
        self.protocol.waiting[self] = None
        return waiting

    def send_data(self, data: bytes) -> None:
        if self.output_ended or not data:
            return
        protocol = self.protocol
        if not self._out and protocol.codec.sendable(self.stream_id) >= len(data):
            protocol.codec.send_data(self.stream_id, data, False)
        else:
            self._out.append(data)
            protocol.waiting[self] = None
            self.drain(len(data))
            if self._out and self.write_due == inf:
                self.write_due = protocol.due(protocol.settings.write_timeout)
        protocol.wrote()

    def send_last(self, data: bytes) -> None:
        """Send a body that is all there, and the end of the message."""
        codec = self.protocol.codec
        if not self._out and codec.sendable(self.stream_id) >= len(data):
            codec.send_data(self.stream_id, data, True)
            self._ended()
            self.protocol.wrote()
        else:
            self.send_data(data)
            self.send_end(None)

    def send_end(self, trailers: Headers | None) -> None:
        if self.output_ended:
            return
        if self._out:
            self._out_end = (trailers,)
        else:
            self._send_end(trailers)
            self.protocol.wrote()

    def _send_end(self, trailers: Headers | None) -> None:
        codec = self.protocol.codec
        if trailers:
            codec.send_trailers(self.stream_id, trailers)
        else:
            codec.end_stream(self.stream_id)
        self._ended()

    def _ended(self) -> None:
        """Our direction has ended."""
        self.output_ended = True
        self.write_due = inf
        self.protocol.half_done(self)

    def drain(self, most: int) -> bool:
        """Send what waits, as far as the windows allow and at most about ``most`` bytes.

        Returns whether anything was sent.
        """
        codec, out = self.protocol.codec, self._out
        sent = 0
        while out and sent < most:
            room = codec.sendable(self.stream_id)
            if room <= 0:
                break
            chunk = out[0]
            if len(chunk) <= room:
                out.popleft()
            else:
                rest = memoryview(chunk)
                chunk, out[0] = rest[:room], rest[room:]
            codec.send_data(self.stream_id, chunk, False)
            sent += len(chunk)
        if sent:
            # Each step of progress has the whole time.
            self.write_due = self.protocol.due(self.protocol.settings.write_timeout)
        if not out:
            end, self._out_end = self._out_end, None
            if end is not None:
                self._send_end(*end)
        return sent > 0

    def wake_writers(self) -> bool:
        """Let writers go on if there is room; return whether nobody waits any more."""
        while self._writable and not self.write_paused:
            self._writable.pop(0).callback(None)
        if self.listener is not None:
            if self.write_paused:
                return False
            self.listener.writable()
        if self._out or self._writable:
            return False
        self.write_due = inf
        return True

    # The end

    def reset(self, code: int) -> None:
        """Give the stream up (RFC 9113 section 5.4.2), in both directions."""
        if self._broken is None and not (self.input_ended and self.output_ended):
            self.protocol.reset(self, code)

    @abstractmethod
    def timed_out(self, *, reading: bool) -> None:
        """A deadline has passed."""
