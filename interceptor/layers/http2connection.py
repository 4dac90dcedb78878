"""HTTP/2 on a side: what the protocols that face clients and servers have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

from interceptor.errors import RemoteProtocolError
from interceptor.layers.buffermemory import FREE, Account
from interceptor.net.gate import BACKLOG, MEMORY, PEER
from interceptor.net.sides import SideProtocol
from interceptor.wire.http2events import AltSvc, HTTP2RequestHead, WindowOpened
from interceptor.wire.http2limits import HTTP2Limits, Rate
from interceptor.wire.httpevents import NEED_DATA, Data, EndOfMessage, ResponseHead, StreamReset

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from interceptor.layers.environment import Environment, Settings
    from interceptor.layers.http2stream import HTTP2Stream
    from interceptor.net.sides import Side


@lru_cache(maxsize=8)
def codec_limits(settings: Settings) -> HTTP2Limits:
    """Return what the options allow a peer."""
    control = Rate(settings.h2_control_limit, settings.h2_control_limit, 2)
    return HTTP2Limits(
        concurrent_streams=settings.h2_max_streams,
        header_list_size=settings.head_size_limit,
        field_count=settings.header_count_limit,
        continuations=settings.h2_continuation_limit,
        table_size=settings.h2_table_size,
        initial_window=settings.h2_window,
        connection_window=settings.h2_connection_window,
        mirrored_window=settings.h2_mirror_budget,
        mirrored_connection_window=settings.h2_mirror_budget,
        resets=Rate(settings.h2_reset_limit, settings.h2_reset_limit),
        settings=control,
        pings=control,
        empty_frames=control,
        # Some clients open both windows again for each 4 KiB that they read, 8 times in 16 KiB; and
        # what is sent to them at once is as much as those windows.
        window_updates=Rate(
            10 * settings.h2_control_limit, settings.h2_control_limit, 16, saved=65536
        ),
        idle_frames=control,
    )


_TURN = 65536
"""Bytes that one stream may send before the next one has its turn."""

_MOST_IN_A_ROW = 256
"""Events of one connection before all others have their turn; 16 fields of a head count as one."""

_MOST_OVERHANG = 1 << 20
"""Bytes written to a full transport above which its peer is not read from."""


class Turn:
    """One call of ``dataReceived``: what it makes connections write leaves when it is over.

    A chunk that brings events for many streams makes many small writes on other connections. They
    leave together, without waiting for the reactor.
    """

    __slots__ = ("_depth", "_written")

    def __init__(self) -> None:
        self._depth = 0
        self._written: dict[HTTP2Protocol, None] = {}

    def wrote(self, protocol: HTTP2Protocol) -> None:
        """Let ``protocol`` flush: now, or at the end of the turn."""
        if self._depth:
            self._written[protocol] = None
        else:
            protocol.flush()

    def begin(self) -> None:
        """Collect what is written from now on."""
        self._depth += 1

    def end(self) -> None:
        """Let everything go that was written in the turn."""
        self._depth -= 1
        while not self._depth and self._written:
            written, self._written = self._written, {}
            for protocol in written:
                protocol.flush()


TURN = Turn()
"""There is one reactor, and one turn at a time."""


def _fields_of(event: Any) -> int:
    """Return how many fields an event has."""
    kind = type(event)
    if kind is HTTP2RequestHead:
        return len(event.request.headers.fields)
    if kind is ResponseHead:
        return len(event.response.headers.fields)
    if kind is EndOfMessage and event.trailers:
        return len(event.trailers.fields)
    return 0


class HTTP2Protocol(SideProtocol, ABC):
    """Hosts a codec, hands events to streams, and looks after what streams wait for.

    ``waiting`` has the streams that have something to send and no room for it. ``streams`` has
    those that are not over in both directions.
    """

    codec: Any
    settings: Settings

    def __init__(self, environment: Environment, settings: Settings) -> None:
        clock = environment.clock
        self.settings = settings
        self._buffer_memory = environment.buffer_memory
        # What streams hold, where that is much.
        self._holding: Account | None = None
        self.streams: dict[int, Any] = {}
        self.waiting: dict[HTTP2Stream, None] = {}
        self._clock = clock
        self._seconds = clock.seconds
        # What goes on with events that have come, when others have had their turn.
        self._later: IDelayedCall | None = None
        self._next_due = inf
        self._idle_due = inf
        # When the peer was last heard, when it was last asked for a sign of life, when it will be.
        self._heard = 0.0
        self._asked = -1.0
        self._ask_due = inf
        # When the rest of what the peer has begun to say has to be there.
        self._rest_of = 0
        self._rest_due = inf
        # Bytes that were written although the transport was full.
        self._overhang = 0
        self._lost: Exception | None = None

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.writing.on_change = self._transport_changed
        self.flush()

    # Bytes

    def dataReceived(self, data: bytes) -> None:
        self._heard = self._seconds()
        self.codec.receive_data(data)
        if self._later is None:
            self._go_on()

    def _go_on(self) -> None:
        """Act on what has come, as far as others need not wait for it."""
        later, self._later = self._later, None
        if self.side.closing:
            return
        TURN.begin()
        try:
            if self._take_events(_MOST_IN_A_ROW):
                self.codec.relieve()
                unfinished = self.codec.unfinished
                if unfinished != self._rest_of:
                    # A frame or a head has this time as a whole, however slowly it trickles in.
                    self._rest_of = unfinished
                    self._rest_due = self.due(self.settings.head_timeout) if unfinished else inf
            else:
                self.side.reading.pause(BACKLOG)
                self._later = self._clock.callLater(0, self._go_on)
            if self.codec.held > FREE or self._holding is not None:
                self._count_held()
            if self.codec.has_output:
                TURN.wrote(self)
        finally:
            TURN.end()
        if later is not None and self._later is None:
            self.side.reading.resume(BACKLOG)

    def _put_off(self) -> bool:
        """Take back that there is something to go on with; return whether there was."""
        later, self._later = self._later, None
        if later is None:
            return False
        later.cancel()
        return True

    def _take_events(self, most: float) -> bool:
        """Hand events to streams; False where ``most`` were, and there may be more.

        What has come before the connection was lost is handed out all the same.
        """
        codec, streams, now = self.codec, self.streams, time.time()
        count = 0
        while count < most:
            try:
                event = codec.next_event(now)
            except RemoteProtocolError as error:
                self._connection_failed(error)
                return True
            if event is NEED_DATA:
                return True
            count += 1
            stream_id, event = event
            if not stream_id:
                if type(event) is AltSvc:
                    self._alternative(None, event)
                else:
                    self._connection_event(event)
            else:
                stream = streams.get(stream_id)
                kind = type(event)
                if kind is not Data:
                    count += _fields_of(event) >> 4
                if kind is StreamReset:
                    self._stream_reset(stream, stream_id, event)
                elif kind is WindowOpened:
                    if stream is not None:
                        self._stream_opened(stream)
                elif kind is AltSvc:
                    self._alternative(stream, event)
                elif stream is None:
                    self._new_stream(stream_id, event)
                else:
                    if kind is EndOfMessage or event.end_of_message:
                        stream.input_ended = True
                        self.half_done(stream)
                    stream.received(event)
            if self.side.closing and not self.side.lost:
                return True
        return False

    def flush(self) -> None:
        """Write what the codec has to say."""
        if not self.side.closing:
            data = self.codec.data_to_send()
            if data:
                self.side.write(data)
                if self.side.writing.paused:
                    # What a peer makes us say has a bound, if it does not listen.
                    self._overhang += len(data)
                    if self._overhang > _MOST_OVERHANG:
                        self.side.reading.pause(PEER)

    def wrote(self) -> None:
        """The codec has something to say."""
        TURN.wrote(self)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Credit ``size`` bytes that the other side has taken."""
        codec = self.codec
        codec.acknowledge(stream_id, size)
        if codec.has_output:
            TURN.wrote(self)
        if self._holding is not None:
            self._count_held()

    # What is held

    def _count_held(self) -> None:
        """Count what streams have not taken yet; read no more where all connections hold too much.

        They are read from again when there is room, or this one holds little.
        """
        holding = self._holding
        if holding is None:
            holding = self._holding = Account(self._buffer_memory)
        held = 0 if self._lost is not None else self.codec.held
        if not holding.update(held) and not self.side.closing:
            self.side.reading.pause(MEMORY)
            self._buffer_memory.when_room(self._has_room)
        elif not holding.counted:
            self._holding = None
            self._buffer_memory.forget(self._has_room)
            self._has_room()

    def _has_room(self) -> None:
        self.side.reading.resume(MEMORY)

    # Events

    def _new_stream(self, stream_id: int, event: Any) -> None:
        """An event came for a stream that is not known, or not any more."""
        if type(event) is Data:
            self.acknowledge(stream_id, len(event.data))

    def _stream_reset(self, stream: Any, stream_id: int, event: StreamReset) -> None:
        if stream is not None:
            self.forget(stream)
            stream.was_reset(event)

    def _connection_event(self, event: Any) -> None:
        """Something happened to the whole connection: windows opened, settings changed, GOAWAY."""

    def _alternative(self, stream: Any, event: AltSvc) -> None:
        """The peer told of another place where it can be reached (RFC 7838 section 4)."""

    def _connection_failed(self, error: RemoteProtocolError) -> None:
        """The peer broke the protocol: the codec has a GOAWAY to send, and all streams are over."""
        self.flush()
        self.side.close(self.settings.close_timeout, linger=True)
        self._fail_streams(error)

    def _fail_streams(self, error: Exception) -> None:
        self._lost = error
        if self._holding is not None:
            self._count_held()
        self.waiting.clear()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.broke(error)

    # Streams

    def half_done(self, stream: Any) -> None:
        """One direction of a stream has ended: with the other one, it is over."""
        if stream.input_ended and stream.output_ended:
            self.forget(stream)

    def forget(self, stream: Any) -> None:
        """A stream is over."""
        self.waiting.pop(stream, None)
        if self.streams.pop(stream.stream_id, None) is not None and not self.streams:
            self.became_idle()

    def add(self, stream: Any) -> None:
        """There is another stream."""
        if not self.streams:
            self._ask_due = self.due(self.settings.h2_ping_interval)
        self.streams[stream.stream_id] = stream

    def became_idle(self) -> None:
        """There is no stream any more."""
        self._idle_due = self.due(self.settings.idle_timeout)

    def reset(self, stream: Any, code: int) -> None:
        """Send RST_STREAM, and forget the stream."""
        stream.input_ended = stream.output_ended = True
        stream.drop_unread()
        if stream.stream_id and self._lost is None:
            self.codec.reset(stream.stream_id, code)
            if self._holding is not None:
                self._count_held()
            self.forget(stream)
            self.wrote()

    # Room to write

    def _stream_opened(self, stream: Any) -> None:
        """There is room on one stream."""
        stream.drain(_TURN)
        if stream.wake_writers():
            self.waiting.pop(stream, None)

    def _transport_changed(self, full: bool) -> None:
        if not full:
            self._overhang = 0
            self.side.reading.resume(PEER)
            self.room()

    def room(self) -> None:
        """There may be room to write: let those who wait go on, each in its turn."""
        TURN.begin()
        try:
            moved = True
            while moved and not self.side.writing.paused:
                moved = False
                for stream in tuple(self.waiting):
                    moved = stream.drain(_TURN) or moved
                self.flush()
            for stream in tuple(self.waiting):
                if stream.wake_writers():
                    self.waiting.pop(stream, None)
        finally:
            TURN.end()

    # Deadlines

    def due(self, seconds: float) -> float:
        """Return the time that is ``seconds`` from now, and see to it that it is noticed."""
        due: float = self._seconds() + seconds
        if due < self._next_due:
            self._next_due = due
            self.side.deadline.set(seconds)
        return due

    def timed_out(self) -> None:
        now = self._seconds()
        self._next_due = inf
        TURN.begin()
        try:
            for stream in tuple(self.streams.values()):
                if stream.read_due <= now:
                    stream.read_due = inf
                    stream.timed_out(reading=True)
                if stream.write_due <= now:
                    stream.write_due = inf
                    stream.timed_out(reading=False)
        finally:
            TURN.end()
        if self.side.closing:
            return
        if self._rest_due <= now:
            self._rest_due = inf
            self.rest_timed_out()
            return
        if self._rest_due < inf:
            self.due(self._rest_due - now)
        if not self.streams:
            if self._idle_due <= now:
                self.idle_timed_out()
            else:
                self.due(self._idle_due - now)
            return
        if self._ask_due <= now and not self._alive(now):
            return
        due = min(min(stream.read_due, stream.write_due) for stream in self.streams.values())
        self.due(min(due, self._ask_due) - now)

    def _alive(self, now: float) -> bool:
        """Ask a peer that was silent for long for a sign of life; whether it may still be there."""
        interval = self.settings.h2_ping_interval
        if now - self._heard < interval:
            self._ask_due = self._heard + interval
            return True
        if self._asked > self._heard:
            self.side.abort()
            self._fail_streams(self.unanswered())
            return False
        self.codec.ping()
        self.flush()
        self._asked = now
        self._ask_due = now + interval
        return True

    @abstractmethod
    def unanswered(self) -> Exception:
        """Return the error that says that the peer is not there any more."""

    def rest_timed_out(self) -> None:
        """The peer did not complete a frame or a head that it had begun."""
        self._connection_failed(self.codec.timed_out())

    def idle_timed_out(self) -> None:
        """There was no stream for `idle_timeout` seconds."""
        self.close_gracefully()

    def close_gracefully(self) -> None:
        """Say goodbye, and close."""
        self.codec.goaway()
        self.flush()
        self.side.close(self.settings.close_timeout, linger=True)
