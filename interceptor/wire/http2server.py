"""The HTTP/2 codec that faces a client: reads requests, writes responses."""

from __future__ import annotations

from typing import Any, Final

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.model.http import Request, Response
from interceptor.wire import http2frames as frames
from interceptor.wire.framing import Mode, request_fault
from interceptor.wire.hpack import HeaderListTooLargeError
from interceptor.wire.http2connection import HTTP2Codec, too_short
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.http2fields import (
    RequestParts,
    parse_request,
    parse_trailers,
)
from interceptor.wire.http2limits import HTTP2Limits, HTTP2Mirror
from interceptor.wire.http2reader import MOST_MEMO, WORTH_KEEPING
from interceptor.wire.http2state import Stream
from interceptor.wire.http2write import AS_ANNOUNCED, prepare_fields
from interceptor.wire.httpevents import NEED_DATA, EndOfMessage, NeedData

_MOST_REFUSED_UNAWARE: Final = 1000


class HTTP2ServerCodec(HTTP2Codec):
    """Faces a client: reads requests, writes responses.

    ``connect_protocol`` offers extended CONNECT (RFC 8441) from the beginning.
    """

    _is_client = False

    def __init__(self, limits: HTTP2Limits, mode: Mode, *, connect_protocol: bool = False) -> None:
        settings = limits.settings_for_clients(connect_protocol)
        super().__init__(limits, mode, settings)
        self._connect_protocol = connect_protocol
        self._preface = True
        self._unaware = _MOST_REFUSED_UNAWARE
        self._opening = 0
        self._opening_after = 0
        self._priorities: list[tuple[int, bytes]] = []
        self._mirror: HTTP2Mirror | None = None
        self._out.append(frames.settings_frame(settings))
        self._grow_window(limits.connection_window)
        self._most_window += self._window_size

    @property
    def mirror(self) -> HTTP2Mirror | None:
        """What the client's connection looks like; None before its first request."""
        return self._mirror

    def enable_connect_protocol(self) -> None:
        """Offer extended CONNECT from now on; it cannot be taken back."""
        if not self._connect_protocol:
            self._connect_protocol = True
            settings = ((frames.ENABLE_CONNECT_PROTOCOL, 1),)
            self._shown.append(settings)
            self._out.append(frames.settings_frame(settings))

    # Reading

    def next_event(self, now: float) -> tuple[int, Any] | NeedData:
        if self._preface and self._error is None and not self._read_preface():
            return NEED_DATA
        return super().next_event(now)

    def _read_preface(self) -> bool:
        preface = frames.PREFACE
        beginning = self._buffer[: len(preface)]
        if not preface.startswith(beginning):
            raise self._connection_fault(
                frames.PROTOCOL_ERROR,
                f"{beginning!r} is not how HTTP/2 begins",
                "h2-preface-invalid",
            )
        if len(beginning) < len(preface):
            return False
        self._position = len(preface)
        self._preface = False
        return True

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id & 1 == 0 or stream_id > self._highest_remote

    def _fault(self, message: str, code: str) -> RemoteProtocolError:
        return request_fault(message, "head-malformed" if code == "malformed" else code)

    def _note_priority(self, stream_id: int, payload: bytes) -> None:
        if self._mirror is None and len(self._priorities) < 32:
            self._priorities.append((stream_id, payload))

    def _note_window_update(self, increment: int) -> None:
        if self._mirror is None:
            if not self._opening:
                self._opening_after = len(self._priorities)
            self._opening += increment

    def _on_block(self, stream_id: int, block: bytes, ends: bool, priority: bytes) -> Any:
        self._messages += 1
        stream = self._streams.get(stream_id)
        if stream is not None:
            return self._on_trailers(stream_id, stream, block, ends)
        if stream_id <= self._highest_remote or stream_id & 1 == 0:
            return self._on_late_block(stream_id, block)
        self._highest_remote = stream_id
        if stream_id > self._goaway_sent:
            self._discard_block(block)
            return None
        memo = self._decoder.memo
        parts: RequestParts | None = memo.get(block)
        if parts is None:
            try:
                entries = self._decode(block)
            except HeaderListTooLargeError as error:
                return self._too_large(stream_id, error)
            try:
                parts = parse_request(entries, self._mode, self._connect_protocol)
            except RemoteProtocolError as error:
                return self._malformed(stream_id, error)
            if not self._decoder.changed and len(block) <= WORTH_KEEPING:
                if len(memo) >= MOST_MEMO:
                    memo.clear()
                memo[block] = parts
        if len(self._streams) >= self._limits.concurrent_streams:
            # RFC 9113 section 5.1.2
            self._out.append(frames.rst_stream_frame(stream_id, frames.REFUSED_STREAM))
            self._remember(stream_id)
            if self._shown and self._unaware:
                # It may not have seen our limit yet.
                self._unaware -= 1
            else:
                self._spend_reset()
            return None
        if self._mirror is None:
            self._mirror = HTTP2Mirror.of(
                self._peer_settings or (),
                self._opening,
                self._priorities,
                parts.order,
                priority,
                self._opening_after,
            )
        framing = parts.framing_at_end if ends else parts.framing
        if ends and parts.framing.length:
            return self._malformed(
                stream_id,
                request_fault(
                    f"Content-Length is {parts.framing.length}, and there is no content",
                    "length-mismatch",
                ),
            )
        stream = Stream(self._send_initial, self._receive_initial)
        stream.method = parts.method
        stream.final_head = True
        stream.ended = ends
        length = framing.length
        if framing.kind == "length" and length is not None:
            stream.expected = length
        self._streams[stream_id] = stream
        return HTTP2RequestHead(parts.request(self._now), framing, ends, parts.protocol, priority)

    def _on_late_block(self, stream_id: int, block: bytes) -> None:
        if stream_id & 1 == 0:
            # RFC 9113 section 5.1.1
            raise self._connection_fault(
                frames.PROTOCOL_ERROR,
                f"a client cannot open stream {stream_id}",
                "h2-frame-unexpected",
            )
        self._check_late(stream_id, "HEADERS")
        self._discard_block(block)

    def _on_trailers(self, stream_id: int, stream: Stream, block: bytes, ends: bool) -> Any:
        if stream.ended:
            return self._late_head(stream_id, block)
        try:
            entries = self._decode(block)
            if not ends or stream.method == b"CONNECT":
                raise request_fault("a second head does not end the stream", "head-malformed")
            trailers = parse_trailers(entries, self._mode, False)
        except (HeaderListTooLargeError, RemoteProtocolError) as error:
            return self._faulty_block(stream_id, error)
        if stream.expected >= 0 and stream.received != stream.expected:
            return self._malformed(
                stream_id,
                request_fault(
                    f"Content-Length is {stream.expected}, and the content is not",
                    "length-mismatch",
                ),
            )
        return self._end(stream_id, stream, EndOfMessage(trailers))

    # Writing

    def send_altsvc(self, origin: bytes, value: bytes) -> None:
        """Tell where else an origin can be reached (RFC 7838 section 4)."""
        payload = len(origin).to_bytes(2, "big") + origin + value
        if len(payload) <= self._send_frame:
            self._out.append(frames.frame(frames.ALTSVC, 0, 0, payload))

    def send_informational(self, stream_id: int, response: Response) -> None:
        """Send a 1xx response; never 101 (RFC 9113 section 8.6).

        Raises `LocalProtocolError` with code ``header-invalid``.
        """
        stream = self._stream(stream_id)
        status = response.status_code
        if status == 101 or stream.sent_head:
            return
        prepared = prepare_fields(response.headers.fields, False, None)
        self._send_head(stream_id, status, prepared.fields, False)

    def send_response(
        self,
        stream_id: int,
        request: Request | None,
        response: Response,
        end_stream: bool = False,
        length: int | None = AS_ANNOUNCED,
    ) -> bool:
        """Send the head of a final response; return whether our direction has ended with it.

        It has with ``end_stream``, and where there can be no body: to HEAD, with 204 and 304.

        ``length`` is the number of body bytes that will be sent, None if unknown: a Content-Length
        that is not it is left out. Without it, Content-Length stays, and is held to. Whether there
        can be a body is decided by the method that the client sent, whatever became of it since.

        Raises `LocalProtocolError` with code ``header-invalid``.
        """
        stream = self._stream(stream_id)
        status = response.status_code
        if not 200 <= status <= 999:
            raise LocalProtocolError(f"status {status} is not final", "header-invalid")
        if stream.sent_head:
            raise LocalProtocolError("there was a response already", "message-incomplete")
        method = stream.method
        announce = method == b"HEAD" or status == 304
        if status == 204 or (method == b"CONNECT" and status <= 299):
            # RFC 9110 section 8.6
            length = None
        prepared = self._prepare(response.headers.fields, status == 407, length, announce)
        if announce or status == 204:
            end_stream = True
        else:
            stream.announced = prepared.length
            if end_stream and prepared.length > 0:
                raise too_short(prepared.length)
        stream.sent_head = True
        self._send_head(stream_id, status, prepared.fields, end_stream)
        if end_stream:
            self._sent_end(stream_id, stream)
        return end_stream

    def _send_head(
        self, stream_id: int, status: int, fields: tuple[tuple[bytes, bytes], ...], ends: bool
    ) -> None:
        self._messages += 1
        block = self._encoder.encode(((b":status", b"%d" % status),), fields)
        self._out.append(frames.header_frames(stream_id, block, ends, self._send_frame))
