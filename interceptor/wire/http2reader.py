"""HTTP/2 frames in, events out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire import http2frames as frames
from interceptor.wire.framing import Mode
from interceptor.wire.hpack import Entry, HeaderListTooLargeError, HPACKBombError
from interceptor.wire.hpacktables import HPACKError
from interceptor.wire.http2control import HTTP2Control
from interceptor.wire.http2limits import HTTP2Limits, Settings
from interceptor.wire.http2state import Stream
from interceptor.wire.httpevents import NEED_DATA, Data, NeedData, StreamReset

MOST_MEMO: Final = 64
"""So many header blocks are remembered with what they were found to mean,"""
WORTH_KEEPING: Final = 1024
"""but none larger than this, in bytes."""

_LARGEST_CONTROL_FRAME: Final = 65536


class HTTP2Reader(HTTP2Control):
    """Reads one frame at a time, when it is asked for the next event.

    What came before a fault is thus delivered before it. Data is passed on as it comes, without
    waiting for the end of its frame.
    """

    def __init__(self, limits: HTTP2Limits, mode: Mode, settings: Settings) -> None:
        super().__init__(limits, mode, settings)
        self._buffer = b""
        self._position = 0
        self._max_frame = self._own.get(frames.MAX_FRAME_SIZE, frames.DEFAULT_FRAME_SIZE)
        # What is left of the DATA frame that is being read: of its data, then of what to skip.
        self._data_stream = 0
        self._data_left = 0
        self._data_ends = False
        self._skip = 0
        # The header block that is not complete.
        self._block: list[bytes] | None = None
        self._block_stream = 0
        self._block_size = 0
        self._block_ends = False
        self._block_priority = b""
        self._block_promises = 0
        self._begun = 1

    @property
    def unfinished(self) -> int:
        """Whether the peer owes the rest of something that it has begun, other than of data.

        It is 0 if not, and the same number for as long as it is the same thing.
        """
        if self._block is not None or len(self._buffer) > self._position:
            return self._begun + (self._block is None and self._position > 0)
        return 0

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; none are taken once it broke the protocol."""
        if self._error is not None:
            return
        rest = len(self._buffer) - self._position
        if self._block is None and (self._position or not rest):
            self._begun += 1
        if not rest:
            self._buffer = data
        elif self._position:
            self._buffer = self._buffer[self._position :] + data
        else:
            self._buffer += data
        self._position = 0

    def next_event(self, now: float) -> tuple[int, Any] | NeedData:
        """Return a stream and its next event, `NEED_DATA` when there is none.

        ``now`` is the time in seconds. Raises `RemoteProtocolError` when the peer broke the
        connection's protocol; GOAWAY is among what is to be sent then.
        """
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise self._error
        self._now = now
        read_head = frames.read_head
        while True:
            if self._data_left:
                event = self._read_data()
                if event is not None:
                    return event
                if self._data_left:
                    self._let_go()
                    return NEED_DATA
            if self._skip:
                self._skip_bytes()
                if self._skip:
                    return NEED_DATA
            buffer, position = self._buffer, self._position
            available = len(buffer) - position
            if available < frames.HEAD_SIZE:
                if not available:
                    self._let_go()
                return NEED_DATA
            upper, lower, kind, flags, stream_id = read_head(buffer, position)
            length = upper << 8 | lower
            stream_id &= 0x7FFFFFFF
            if length > self._max_frame:
                raise self._connection_fault(
                    frames.FRAME_SIZE_ERROR,
                    f"a frame of {length} bytes is too large",
                    "h2-frame-size",
                )
            if self._peer_settings is None and (kind != frames.SETTINGS or flags & frames.ACK):
                # RFC 9113 section 3.4
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR, "the first frame is not SETTINGS", "h2-preface-invalid"
                )
            if self._block is not None and (
                kind != frames.CONTINUATION or stream_id != self._block_stream
            ):
                # RFC 9113 section 6.10
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR,
                    "a header block is interrupted",
                    "h2-frame-unexpected",
                )
            if kind == frames.DATA:
                if flags & frames.PADDED and available < 10 and length:
                    return NEED_DATA
                self._position = position + 9
                result = self._begin_data(length, flags, stream_id)
            elif kind > frames.CONTINUATION and kind != frames.ALTSVC:
                # RFC 9113 section 5.5
                self._position = position + 9
                self._skip = length
                self._spend_idle()
                continue
            else:
                end = position + 9 + length
                if length > _LARGEST_CONTROL_FRAME:
                    raise self._connection_fault(
                        frames.ENHANCE_YOUR_CALM,
                        f"a frame of {length} bytes is too large",
                        "h2-frame-size",
                    )
                if end > len(buffer):
                    return NEED_DATA
                self._position = end
                payload = buffer[position + 9 : end]
                result = self._HANDLERS[kind](self, flags, stream_id, payload)
            if result is not None:
                return stream_id, result
            if self._events:
                return self._events.popleft()

    def _let_go(self) -> None:
        """Hold on to nothing that was read."""
        self._buffer = b""
        self._position = 0

    def _skip_bytes(self) -> None:
        taken = min(self._skip, len(self._buffer) - self._position)
        self._position += taken
        self._skip -= taken

    # Data

    def _begin_data(self, length: int, flags: int, stream_id: int) -> Any:
        """Account for a DATA frame, and read what there is of it."""
        padding = 0
        data = length
        if flags & frames.PADDED:
            # RFC 9113 section 6.1
            if not length:
                raise self._connection_fault(
                    frames.FRAME_SIZE_ERROR, "a padded frame has no padding", "h2-frame-size"
                )
            padding = self._buffer[self._position]
            self._position += 1
            data = length - 1 - padding
            if data < 0:
                raise self._connection_fault(
                    frames.PROTOCOL_ERROR, "padding is longer than its frame", "h2-frame-invalid"
                )
        if length > self._receive_window:
            raise self._connection_fault(
                frames.FLOW_CONTROL_ERROR,
                "the peer sent more than the connection's window",
                "h2-flow-control",
            )
        self._receive_window -= length
        self._messages += 1
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended or not stream.final_head:
            return self._unwanted_data(stream, stream_id, length, data + padding)
        if length > stream.receive_window:
            self._skip = data + padding
            self._credit_connection(length)
            return self._stream_fault(
                stream_id,
                frames.FLOW_CONTROL_ERROR,
                "the peer sent more than the stream's window",
                "h2-flow-control",
            )
        stream.receive_window -= length
        ends = flags & frames.END_STREAM != 0
        stream.received += data
        expected = stream.expected
        if expected >= 0 and (stream.received > expected or (ends and stream.received != expected)):
            # RFC 9113 section 8.1.1
            self._skip = data + padding
            self._credit_connection(length)
            return self._malformed(
                stream_id,
                self._fault(
                    f"Content-Length is {expected}, and the content is not", "length-mismatch"
                ),
            )
        if length != data:
            # Padding is of no use to anybody: it is taken as soon as it is there.
            self._credit_connection(length - data)
            self._credit_stream(stream_id, stream, length - data)
        if not data:
            self._skip = padding
            if ends:
                return self._end(stream_id, stream, Data(b"", True))
            if self._empty_frames.spend(self._now, 0):
                raise self._flood_fault("there are too many empty DATA frames", "h2-empty-frames")
            return None
        stream.held += data
        self._held += data
        self._data_stream = stream_id
        self._data_left = data
        self._data_ends = ends
        self._skip = padding
        event = self._read_data()
        return None if event is None else event[1]

    def _read_data(self) -> tuple[int, Any] | None:
        """Deliver what has come of a DATA frame's data, and of those that follow it."""
        buffer, position = self._buffer, self._position
        left = self._data_left
        end = position + left
        available = len(buffer)
        if end > available:
            if position == available:
                return None
            end = available
        self._position = end
        self._data_left = left = left - (end - position)
        stream_id = self._data_stream
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended:
            # It was reset meanwhile, and all of it credited then.
            return None
        data = buffer if not position and end == available else buffer[position:end]
        if not left:
            if not self._data_ends and not self._skip and available - end > frames.HEAD_SIZE:
                data = self._join_data(stream_id, stream, data)
            if self._data_ends and not self._data_left:
                return stream_id, self._end(stream_id, stream, Data(data, True))
        return stream_id, Data(data, False)

    def _join_data(self, stream_id: int, stream: Stream, data: bytes) -> bytes:
        """Add the data of frames that follow at once, on the same stream and without a fault.

        What is there already need not be handled piece by piece; nothing is waited for.
        """
        buffer, begin = self._buffer, self._position
        available = len(buffer) - frames.HEAD_SIZE
        pieces = [data]
        while begin < available:
            upper, lower, kind, flags, other_id = frames.read_head(buffer, begin)
            length = upper << 8 | lower
            if (
                kind != frames.DATA
                or flags & frames.PADDED
                or other_id != stream_id
                or not 0 < length <= self._max_frame
                or length > self._receive_window
                or length > stream.receive_window
                or 0 <= stream.expected < stream.received + length
            ):
                break
            ends = flags & frames.END_STREAM != 0
            if ends and 0 <= stream.expected != stream.received + length:
                break
            self._receive_window -= length
            stream.receive_window -= length
            stream.received += length
            stream.held += length
            self._held += length
            self._messages += 1
            begin += frames.HEAD_SIZE
            end = begin + length
            pieces.append(buffer[begin:end])
            begin = end
            if end >= len(buffer):
                self._data_left = end - len(buffer)
                self._data_ends = ends
                begin = len(buffer)
                break
            if ends:
                self._data_ends = True
                break
        self._position = begin
        return b"".join(pieces) if len(pieces) > 1 else data

    def _end(self, stream_id: int, stream: Stream, event: Any) -> Any:
        """Note that the peer has ended its direction."""
        stream.ended = True
        if stream.sent_end:
            del self._streams[stream_id]
        return event

    def _unwanted_data(
        self, stream: Stream | None, stream_id: int, length: int, rest: int
    ) -> StreamReset | None:
        """Data where none can be; what came is credited, as nobody else will do it."""
        self._skip = rest
        self._credit_connection(length)
        if stream is not None:
            if stream.ended:
                # RFC 9113 section 5.1, half-closed (remote)
                return self._stream_fault(
                    stream_id,
                    frames.STREAM_CLOSED,
                    "data came after the end of the stream",
                    "h2-stream-closed",
                )
            return self._malformed(stream_id, self._fault("data came before a head", "malformed"))
        self._check_late(stream_id, "DATA")
        return None

    def _check_late(self, stream_id: int, what: str) -> None:
        """Raise unless a frame for an unknown stream may have been under way; section 5.1."""
        if self._is_idle(stream_id):
            raise self._connection_fault(
                frames.PROTOCOL_ERROR,
                f"{what} came on stream {stream_id}, which is idle",
                "h2-frame-unexpected",
            )
        if self._reset.get(stream_id) or stream_id > self._goaway_sent:
            self._spend_idle()
            return
        if stream_id in self._reset:
            # RFC 9113 section 5.1: after RST_STREAM of its own it must send nothing.
            self._out.append(frames.rst_stream_frame(stream_id, frames.STREAM_CLOSED))
            self._spend_reset()
            return
        raise self._connection_fault(
            frames.STREAM_CLOSED,
            f"{what} came on stream {stream_id}, which is over",
            "h2-stream-closed",
        )

    # Header blocks

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if not stream_id:
            raise self._on_connection("HEADERS")
        begin, end = 0, len(payload)
        if flags & frames.PADDED:
            if not end:
                raise self._connection_fault(
                    frames.FRAME_SIZE_ERROR, "a padded frame has no padding", "h2-frame-size"
                )
            begin, end = 1, end - payload[0]
        priority = b""
        if flags & frames.PRIORITY_FLAG:
            priority = payload[begin : begin + 5]
            begin += 5
        if begin > end:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR,
                "padding or priority is longer than its frame",
                "h2-frame-invalid",
            )
        block = payload[begin:end] if begin or end != len(payload) else payload
        ends = flags & frames.END_STREAM != 0
        if flags & frames.END_HEADERS:
            return self._on_block(stream_id, block, ends, priority)
        self._begin_block(stream_id, block)
        self._block_ends = ends
        self._block_priority = priority
        self._block_promises = 0
        return None

    def _begin_block(self, stream_id: int, block: bytes) -> None:
        self._block = [block]
        self._block_stream = stream_id
        self._block_size = len(block)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> Any:
        pieces = self._block
        if pieces is None:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR, "CONTINUATION continues nothing", "h2-frame-unexpected"
            )
        if len(pieces) > self._limits.continuations:
            raise self._flood_fault(
                f"a header block has more than {self._limits.continuations} CONTINUATION frames",
                "h2-continuation-flood",
            )
        pieces.append(payload)
        self._block_size += len(payload)
        # It is not worth it to decode what will be refused, not even for the table's sake.
        if self._block_size > 2 * self._limits.header_list_size:
            raise self._flood_fault("a header block is far too large", "h2-head-too-large")
        if not flags & frames.END_HEADERS:
            return None
        self._block = None
        block = b"".join(pieces)
        if self._block_promises:
            return self._on_promise(stream_id, self._block_promises, block)
        return self._on_block(stream_id, block, self._block_ends, self._block_priority)

    def _decode(self, block: bytes) -> list[Entry]:
        limits = self._limits
        try:
            return self._decoder.decode(block, limits.header_list_size, limits.field_count)
        except HPACKBombError as error:
            raise self._flood_fault(str(error), "h2-head-too-large") from error
        except HPACKError as error:
            # RFC 9113 section 4.3
            raise self._connection_fault(
                frames.COMPRESSION_ERROR, f"a header block is damaged: {error}", "h2-compression"
            ) from error

    @abstractmethod
    def _on_block(self, stream_id: int, block: bytes, ends: bool, priority: bytes) -> Any:
        """Handle a whole header block."""

    def _on_promise(self, stream_id: int, promised: int, block: bytes) -> Any:
        """Handle a whole promise of a push."""
        raise self._unasked_push()

    def _discard_block(self, block: bytes) -> None:
        """Decode a block that nobody wants, for the table's sake."""
        try:
            self._decode(block)
        except HeaderListTooLargeError:
            pass

    def _late_head(self, stream_id: int, block: bytes) -> StreamReset:
        """A block of fields came on a stream that the peer has ended."""
        self._discard_block(block)
        return self._stream_fault(
            stream_id,
            frames.STREAM_CLOSED,
            "a head came after the end of the stream",
            "h2-stream-closed",
        )

    def _faulty_block(
        self, stream_id: int, error: HeaderListTooLargeError | RemoteProtocolError
    ) -> StreamReset:
        """Give a stream up for its fields; raises what is the end of the connection."""
        if isinstance(error, HeaderListTooLargeError):
            return self._too_large(stream_id, error)
        if self._error is not None:
            raise error
        return self._malformed(stream_id, error)

    def _too_large(self, stream_id: int, error: HeaderListTooLargeError) -> StreamReset:
        if error.too_many:
            fault = self._fault(str(error), "too-many-fields")
        else:
            fault = self._fault(str(error), "head-too-large")
        fault.status = 502 if self._is_client else 431
        return self._give_up(stream_id, frames.ENHANCE_YOUR_CALM, fault)

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> Any:
        raise self._unasked_push()

    def _unasked_push(self) -> RemoteProtocolError:
        # RFC 9113 section 8.4: clients cannot push.
        return self._connection_fault(
            frames.PROTOCOL_ERROR, "PUSH_PROMISE came unasked", "h2-frame-unexpected"
        )

    # DATA is not among them: it is read as it comes.
    _HANDLERS: ClassVar[dict[int, Callable[..., Any]]] = {
        frames.HEADERS: _on_headers,
        frames.PRIORITY: HTTP2Control._on_priority,
        frames.RST_STREAM: HTTP2Control._on_rst_stream,
        frames.SETTINGS: HTTP2Control._on_settings,
        frames.PUSH_PROMISE: lambda self, *frame: self._on_push_promise(*frame),
        frames.PING: HTTP2Control._on_ping,
        frames.GOAWAY: HTTP2Control._on_goaway,
        frames.WINDOW_UPDATE: HTTP2Control._on_window_update,
        frames.CONTINUATION: _on_continuation,
        frames.ALTSVC: HTTP2Control._on_altsvc,
    }
