"""What is the same of every HTTP/2 connection: its streams, its windows, and how they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire import http2frames as frames
from interceptor.wire.framing import Mode
from interceptor.wire.hpack import HPACKDecoder, HPACKEncoder
from interceptor.wire.http2fields import STATIC_ENTRIES, classify
from interceptor.wire.http2limits import Budget, HTTP2Limits, Settings
from interceptor.wire.httpevents import StreamReset

_MOST_RESETS_KNOWN: Final = 1024


class Stream:
    """One stream that is not over in both directions.

    ``send_window`` is what the peer lets us send, ``receive_window`` what we let it send.
    ``held`` were delivered and are not yet acknowledged, ``credit`` are acknowledged and the peer
    has not been told. ``expected`` is what the peer announced as Content-Length, ``announced``
    what we did; -1 is nothing.
    """

    __slots__ = (
        "announced",
        "credit",
        "ended",
        "expected",
        "final_head",
        "held",
        "informational",
        "method",
        "receive_window",
        "received",
        "send_window",
        "sent_end",
        "sent_head",
    )

    def __init__(self, send_window: int, receive_window: int) -> None:
        self.send_window = send_window
        self.receive_window = receive_window
        self.held = 0
        self.credit = 0
        self.expected = -1
        self.received = 0
        self.announced = -1
        # The peer has ended its direction, we have ended ours.
        self.ended = False
        self.sent_end = False
        self.sent_head = False
        # The peer's head, or final head, was received.
        self.final_head = False
        self.informational = 0
        self.method = b""


class HTTP2State(ABC):
    """What both codecs keep, and the rules of windows and of ends."""

    _is_client: ClassVar[bool]

    def __init__(self, limits: HTTP2Limits, mode: Mode, settings: Settings) -> None:
        self._limits = limits
        self._mode = mode
        self._out: list[bytes | memoryview] = []
        self._events: deque[tuple[int, Any]] = deque()
        self._error: RemoteProtocolError | None = None
        self._now = 0.0

        self._streams: dict[int, Stream] = {}
        # Streams that were reset, the last ones; True where late frames may come, as we did it.
        self._reset: dict[int, bool] = {}
        self._highest_remote = 0
        self._goaway_sent = frames.MAX_STREAM_ID
        self._goaway_received: int | None = None

        # What we set: in force when it is acknowledged.
        self._shown: deque[Settings] = deque((settings,))
        self._own = dict(settings)
        self._receive_initial = frames.DEFAULT_WINDOW
        self._receive_window = frames.DEFAULT_WINDOW
        self._window_size = frames.DEFAULT_WINDOW
        self._credit = 0
        self._held = 0
        initial = self._own.get(frames.INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW)
        # How far the connection's window may be opened, in the end.
        self._most_window = limits.connection_window
        # From here on the peer is told what was acknowledged.
        self._worth_telling = max(1, initial >> 1)
        # What the peer set.
        self._peer: dict[int, int] = {}
        self._peer_settings: Settings | None = None
        self._send_initial = frames.DEFAULT_WINDOW
        self._send_frame = frames.DEFAULT_FRAME_SIZE
        self._send_window = frames.DEFAULT_WINDOW

        table_size = self._own.get(frames.HEADER_TABLE_SIZE, 0)
        self._decoder = HPACKDecoder(STATIC_ENTRIES, classify, table_size)
        self._encoder = HPACKEncoder()

        # Frames of messages in both directions: what budgets are measured by.
        self._messages = 0
        self._resets = Budget(limits.resets)
        self._settings = Budget(limits.settings)
        self._pings = Budget(limits.pings)
        self._empty_frames = Budget(limits.empty_frames)
        self._window_updates = Budget(limits.window_updates)
        self._idle_frames = Budget(limits.idle_frames)

    # What there is to know

    @property
    def closed(self) -> bool:
        """Whether the connection is of no more use: the peer broke the protocol."""
        return self._error is not None

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` has something."""
        return bool(self._out)

    @property
    def held(self) -> int:
        """How many bytes were delivered and are not yet acknowledged."""
        return self._held

    @property
    def open_streams(self) -> int:
        """How many streams are not over in both directions."""
        return len(self._streams)

    @property
    def last_stream_id(self) -> int:
        """The highest stream that the peer has opened."""
        return self._highest_remote

    @property
    def peer_settings(self) -> dict[int, int]:
        """What the peer has set, by identifier. Treat as immutable."""
        return self._peer

    def data_to_send(self) -> bytes:
        """Return what is to be written, and forget it."""
        out = self._out
        if not out:
            return b""
        data: bytes = out[0] if len(out) == 1 and type(out[0]) is bytes else b"".join(out)
        out.clear()
        return data

    # Faults

    def _connection_fault(self, h2_code: int, message: str, code: str) -> RemoteProtocolError:
        """End the connection; return the error to be raised. RFC 9113 section 5.4.1."""
        if self._error is None:
            self._error = self._blame(RemoteProtocolError(message, code))
            self._out.append(
                frames.goaway_frame(self._highest_remote, h2_code, message.encode()[:100])
            )
        return self._error

    def _blame(self, error: RemoteProtocolError) -> RemoteProtocolError:
        """Let an error have the status for a peer that is a server, if it is one."""
        if self._is_client:
            error.status = 502
        return error

    def timed_out(self) -> RemoteProtocolError:
        """End the connection, as the peer did not complete what it had begun; return the error."""
        return self._flood_fault("a frame or a head was not completed in time", "h2-timeout")

    def _flood_fault(self, message: str, code: str) -> RemoteProtocolError:
        return self._connection_fault(frames.ENHANCE_YOUR_CALM, message, code)

    def _on_connection(self, what: str) -> RemoteProtocolError:
        return self._connection_fault(
            frames.PROTOCOL_ERROR, f"{what} came on stream 0", "h2-frame-invalid"
        )

    def _wrong_size(self, what: str, size: int) -> RemoteProtocolError:
        return self._connection_fault(
            frames.FRAME_SIZE_ERROR, f"{what} has {size} bytes", "h2-frame-size"
        )

    @abstractmethod
    def _is_idle(self, stream_id: int) -> bool:
        """Whether nobody has opened that stream."""

    @abstractmethod
    def _fault(self, message: str, code: str) -> RemoteProtocolError:
        """Return the error for a malformed message of the peer's."""

    def _spend_idle(self) -> None:
        if self._idle_frames.spend(self._now, self._messages):
            raise self._flood_fault("there are too many frames without use", "h2-idle-frames")

    # Windows of ours

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Credit data that was delivered and that the other side has accepted.

        The peer is told when it is worth a frame. Of a stream that was reset nothing needs to be
        acknowledged; it does no harm.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id in self._reset:
                return
        else:
            stream.held -= size
            if not stream.ended:
                self._credit_stream(stream_id, stream, size)
        size = min(size, self._held)
        self._held -= size
        self._credit_connection(size)

    def _credit_stream(self, stream_id: int, stream: Stream, size: int) -> None:
        stream.credit += size
        if stream.credit >= self._worth_telling:
            stream.receive_window += stream.credit
            self._out.append(frames.window_update_frame(stream_id, stream.credit))
            stream.credit = 0

    def _credit_connection(self, size: int) -> None:
        self._credit += size
        if self._credit >= self._window_size >> 1 and self._error is None:
            self._receive_window += self._credit
            self._out.append(frames.window_update_frame(0, self._credit))
            self._credit = 0

    def _grow_window(self, size: int) -> None:
        """Open the connection's window to ``size`` bytes; it cannot be made smaller."""
        if size > self._window_size:
            increment = size - self._window_size
            self._window_size = size
            self._receive_window += increment
            self._out.append(frames.window_update_frame(0, increment))

    def relieve(self) -> None:
        """Open the connection's window where what nobody takes has used up most of it.

        A stream that is not read so leaves room for the others. To be called when all that came was
        delivered; there is an end to it: the window may become larger by
        `HTTP2Limits.connection_window` than what was shown first.
        """
        size = self._window_size
        if self._held > size >> 1 and size < self._most_window:
            self._grow_window(min(self._most_window, size + self._held))

    # The end of streams

    def _drop(self, stream_id: int) -> Stream | None:
        """Forget a stream that ends before its time."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.held:
            held = min(stream.held, self._held)
            self._held -= held
            self._credit_connection(held)
        return stream

    def _remember(self, stream_id: int, bear: bool = True) -> None:
        """Remember that a stream was reset; ``bear`` with late frames of it."""
        known = self._reset
        known[stream_id] = bear
        if len(known) > _MOST_RESETS_KNOWN:
            del known[next(iter(known))]

    def _spend_reset(self) -> None:
        if self._resets.spend(self._now, 0):
            raise self._flood_fault("there are too many reset streams", "h2-rapid-reset")

    def _stream_fault(self, stream_id: int, h2_code: int, message: str, code: str) -> StreamReset:
        return self._give_up(stream_id, h2_code, self._blame(RemoteProtocolError(message, code)))

    def _malformed(self, stream_id: int, error: RemoteProtocolError) -> StreamReset:
        """RFC 9113 section 8.1.1."""
        return self._give_up(stream_id, frames.PROTOCOL_ERROR, error)

    def _give_up(self, stream_id: int, h2_code: int, error: RemoteProtocolError) -> StreamReset:
        """Reset a stream on which the peer broke the protocol; RFC 9113 section 5.4.2."""
        self._out.append(frames.rst_stream_frame(stream_id, h2_code))
        self._drop(stream_id)
        self._remember(stream_id)
        self._spend_reset()
        return StreamReset(h2_code, str(error), error)
