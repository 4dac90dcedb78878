"""What both HTTP/2 codecs share, and the half of it that sends (RFC 9113).

Nothing is sent that the peer's windows do not allow: who sends asks `HTTP2Codec.sendable`.
"""

from __future__ import annotations

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.wire import http2frames as frames
from interceptor.wire.framing import Fields
from interceptor.wire.http2reader import HTTP2Reader
from interceptor.wire.http2state import Stream
from interceptor.wire.http2write import Prepared, prepare_fields


class HTTP2Codec(HTTP2Reader):
    """One end of an HTTP/2 connection."""

    _prepared: tuple[Fields, bool, int | None, bool, Prepared] | None = None

    def _prepare(
        self, fields: Fields, challenge: bool, length: int | None, announce: bool = False
    ) -> Prepared:
        """Return what `prepare_fields` does, at once where the fields are those of the last time.

        Codecs that read repeated heads hand out the same fields again.
        """
        known = self._prepared
        if (
            known is not None
            and known[0] is fields
            and known[1] == challenge
            and known[2] == length
            and known[3] == announce
        ):
            return known[4]
        prepared = prepare_fields(fields, challenge, length, announce)
        self._prepared = (fields, challenge, length, announce, prepared)
        return prepared

    def _stream(self, stream_id: int) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None or stream.sent_end:
            raise LocalProtocolError(
                f"nothing can be sent on stream {stream_id}", "message-incomplete"
            )
        return stream

    def sendable(self, stream_id: int) -> int:
        """Return how many bytes of data may be sent on a stream now; 0 where it is over."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.sent_end:
            return 0
        window = min(stream.send_window, self._send_window)
        return window if window > 0 else 0

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool = False) -> None:
        """Send body bytes, no more than `sendable` allows.

        Raises `LocalProtocolError`, with code ``body-too-long`` or ``body-too-short`` where it is
        not what Content-Length said.
        """
        stream = self._stream(stream_id)
        length = len(data)
        if length and (length > stream.send_window or length > self._send_window):
            raise LocalProtocolError("the window is not open", "message-incomplete")
        announced = stream.announced
        if announced >= 0:
            stream.announced = announced = announced - length
            if announced < 0:
                raise LocalProtocolError("the body is longer than announced", "body-too-long")
            if end_stream and announced:
                raise too_short(announced)
        stream.send_window -= length
        self._send_window -= length
        # Whatever the size of its frames, what is much gives the peer much to do.
        self._messages += 1 + (length >> 14)
        most = self._send_frame
        out = self._out
        flags = frames.END_STREAM if end_stream else 0
        if length <= most:
            out.append(frames.frame_head(length, frames.DATA, flags, stream_id))
            if length:
                out.append(data)
        else:
            view = memoryview(data)
            for begin in range(0, length, most):
                piece = view[begin : begin + most]
                size = len(piece)
                last = flags if begin + size == length else 0
                out.append(frames.frame_head(size, frames.DATA, last, stream_id))
                out.append(piece)
        if end_stream:
            self._sent_end(stream_id, stream)

    def end_stream(self, stream_id: int) -> None:
        """End our direction of a stream. Raises `LocalProtocolError` as `send_data` does."""
        self.send_data(stream_id, b"", True)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """Send trailers, which end our direction of a stream.

        Fields that must not be there are left out. Raises `LocalProtocolError` as `send_data` does,
        or with code ``header-invalid``.
        """
        stream = self._stream(stream_id)
        if stream.announced > 0:
            raise too_short(stream.announced)
        fields = tuple(
            field
            for field in prepare_fields(trailers.fields, False, None).fields
            if field[0] not in (b"content-length", b"te")
        )
        if not fields:
            self.end_stream(stream_id)
            return
        self._messages += 1
        block = self._encoder.encode(fields)
        self._out.append(frames.header_frames(stream_id, block, True, self._send_frame))
        self._sent_end(stream_id, stream)

    def _sent_end(self, stream_id: int, stream: Stream) -> None:
        stream.sent_end = True
        if stream.ended:
            del self._streams[stream_id]

    def reset(self, stream_id: int, code: int = frames.CANCEL) -> None:
        """Give a stream up; nothing is done where it is over."""
        if self._drop(stream_id) is not None:
            self._out.append(frames.rst_stream_frame(stream_id, code))
            self._remember(stream_id)

    def goaway(
        self, last_stream_id: int | None = None, code: int = frames.NO_ERROR, debug: bytes = b""
    ) -> None:
        """Tell the peer that no new streams are wanted above ``last_stream_id``.

        None is the highest that was opened. To go away gracefully (RFC 9113 section 6.8), say
        2^31-1 first, and the highest a round trip later. Streams up to it go on.
        """
        last = self._highest_remote if last_stream_id is None else last_stream_id
        self._goaway_sent = min(last, self._goaway_sent)
        self._out.append(frames.goaway_frame(self._goaway_sent, code, debug))

    def ping(self, payload: bytes = bytes(8)) -> None:
        """Send PING with eight bytes, which come back in `PingAcknowledged`."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))


def too_short(missing: int) -> LocalProtocolError:
    """Return the error for a body that ends before its Content-Length."""
    return LocalProtocolError(f"{missing} bytes of the body are missing", "body-too-short")
