"""The HTTP/2 codec that faces a server: writes requests, reads their responses."""

from __future__ import annotations

from typing import Any

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.model.http import Request
from interceptor.wire import http2frames as frames
from interceptor.wire.framing import Mode, response_fault
from interceptor.wire.hpack import HeaderListTooLargeError
from interceptor.wire.http2connection import HTTP2Codec, too_short
from interceptor.wire.http2fields import (
    ResponseParts,
    frame_response,
    parse_response,
    parse_trailers,
)
from interceptor.wire.http2limits import DEFAULT_ORDER, HTTP2Limits, HTTP2Mirror
from interceptor.wire.http2reader import MOST_MEMO, WORTH_KEEPING
from interceptor.wire.http2state import Stream
from interceptor.wire.http2write import AS_ANNOUNCED, pseudo_headers
from interceptor.wire.httpevents import EndOfMessage, ResponseHead, StreamReset


class HTTP2ClientCodec(HTTP2Codec):
    """Faces a server: writes requests, reads their responses.

    With ``mirror`` the connection looks like that client's; else its settings are those of
    ``limits``. ``mirrored_exactly`` is False where ``limits`` kept it from that.
    """

    _is_client = True
    mirrored_exactly = True
    _priority = b""
    assumed_streams = 100
    """How many streams the server is thought to allow, until its settings are there."""

    def __init__(self, limits: HTTP2Limits, mode: Mode, mirror: HTTP2Mirror | None = None) -> None:
        if mirror is None:
            settings = limits.settings_for_servers()
            window = limits.connection_window
            order: tuple[bytes, ...] = DEFAULT_ORDER
        else:
            shown = mirror.bounded(limits)
            self.mirrored_exactly = shown is mirror
            settings = shown.settings
            window = frames.DEFAULT_WINDOW + shown.window_update
            order = mirror.pseudo_order
            self._priority = mirror.priority
        super().__init__(limits, mode, settings)
        self._order = order
        self._next_id = 1
        self._highest_promised = 0
        self._out.append(frames.PREFACE + frames.settings_frame(settings))
        if mirror is None:
            self._grow_window(window)
        else:
            self._prioritize(mirror.priorities[: mirror.window_after])
            self._grow_window(window)
            self._prioritize(mirror.priorities[mirror.window_after :])
        self._most_window += self._window_size

    def _prioritize(self, priorities: tuple[tuple[int, bytes], ...]) -> None:
        for stream_id, priority in priorities:
            self._out.append(frames.priority_frame(stream_id, priority))
            self._next_id = max(self._next_id, stream_id + 2 - (stream_id + 1) % 2)

    @property
    def may_open(self) -> bool:
        """Whether another request may be sent now."""
        return (
            self._error is None
            and self._goaway_received is None
            and self._next_id < frames.MAX_STREAM_ID
            and len(self._streams) < self.allowed_streams
        )

    @property
    def going_away(self) -> bool:
        """Whether the server wants no new requests on this connection."""
        return self._goaway_received is not None

    @property
    def _default_streams(self) -> int:
        # RFC 9113 section 6.5.2: no limit, once the server's settings are known to have none.
        return self.assumed_streams if self._peer_settings is None else frames.MAX_STREAM_ID

    @property
    def allowed_streams(self) -> int:
        """How many streams the server allows at once."""
        return self._peer.get(frames.MAX_CONCURRENT_STREAMS, self._default_streams)

    @property
    def connect_protocol(self) -> bool:
        """Whether the server offers extended CONNECT (RFC 8441)."""
        return bool(self._peer.get(frames.ENABLE_CONNECT_PROTOCOL))

    # Reading

    def _is_idle(self, stream_id: int) -> bool:
        if stream_id & 1:
            return stream_id >= self._next_id
        return stream_id > self._highest_promised

    def _fault(self, message: str, code: str) -> RemoteProtocolError:
        return response_fault(message, code)

    def _refused(self, last: int, code: int) -> None:
        # Who asks for calm is not sent the same again at once.
        calm = code == frames.ENHANCE_YOUR_CALM
        for stream_id in [each for each in self._streams if each > last]:
            self._drop(stream_id)
            self._remember(stream_id)
            reset = StreamReset(
                code if calm else frames.REFUSED_STREAM,
                "the server went away before the request",
                None,
                not calm,
            )
            self._events.append((stream_id, reset))

    def _on_block(self, stream_id: int, block: bytes, ends: bool, priority: bytes) -> Any:
        self._messages += 1
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_late(stream_id, "HEADERS")
            self._discard_block(block)
            return None
        if stream.ended:
            return self._late_head(stream_id, block)
        try:
            if stream.final_head:
                return self._on_trailers(stream_id, stream, block, ends)
            return self._on_head(stream_id, stream, block, ends)
        except (HeaderListTooLargeError, RemoteProtocolError) as error:
            return self._faulty_block(stream_id, error)

    def _on_head(self, stream_id: int, stream: Stream, block: bytes, ends: bool) -> ResponseHead:
        memo = self._decoder.memo
        parts: ResponseParts | None = memo.get(block)
        if parts is None:
            parts = parse_response(self._decode(block), self._mode)
            if not self._decoder.changed and len(block) <= WORTH_KEEPING:
                if len(memo) >= MOST_MEMO:
                    memo.clear()
                memo[block] = parts
        method = stream.method
        framing = frame_response(parts, method, self._mode)
        if parts.status < 200:
            stream.informational += 1
            if ends or stream.informational > self._limits.informational:
                raise response_fault(
                    "an informational response ends the stream, or there are too many", "malformed"
                )
            return ResponseHead(parts.response(self._now), framing, False)
        stream.final_head = True
        kind = framing.kind
        if kind == "length":
            length = framing.length
            assert length is not None
            if ends and length:
                raise response_fault(
                    f"Content-Length is {length}, and there is no content", "length-mismatch"
                )
            stream.expected = length
        elif kind == "none":
            stream.expected = 0
        self._end_head(stream_id, stream, ends)
        return ResponseHead(parts.response(self._now), framing, ends)

    def _end_head(self, stream_id: int, stream: Stream, ends: bool) -> None:
        if ends:
            stream.ended = True
            if stream.sent_end:
                del self._streams[stream_id]

    def _on_trailers(self, stream_id: int, stream: Stream, block: bytes, ends: bool) -> Any:
        entries = self._decode(block)
        if not ends:
            raise response_fault("a second head does not end the stream", "malformed")
        trailers = parse_trailers(entries, self._mode, True)
        if stream.expected >= 0 and stream.received != stream.expected:
            raise response_fault(
                f"Content-Length is {stream.expected}, and the content is not", "length-mismatch"
            )
        return self._end(stream_id, stream, EndOfMessage(trailers))

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> Any:
        if self._own.get(frames.ENABLE_PUSH) == 0 or stream_id & 1 == 0:
            return super()._on_push_promise(flags, stream_id, payload)
        begin, end = 0, len(payload)
        if flags & frames.PADDED and end:
            begin, end = 1, end - payload[0]
        if begin + 4 > end:
            raise self._connection_fault(
                frames.PROTOCOL_ERROR, "PUSH_PROMISE is too short", "h2-frame-invalid"
            )
        promised = int.from_bytes(payload[begin : begin + 4], "big") & 0x7FFFFFFF
        block = payload[begin + 4 : end]
        if flags & frames.END_HEADERS:
            return self._on_promise(stream_id, promised, block)
        self._begin_block(stream_id, block)
        self._block_promises = promised
        return None

    def _on_promise(self, stream_id: int, promised: int, block: bytes) -> None:
        """Refuse what a server pushes: the client would have to be told, and none wants it."""
        if promised & 1 or promised <= self._highest_promised or self._is_idle(stream_id):
            raise self._connection_fault(
                frames.PROTOCOL_ERROR,
                f"stream {promised} cannot be promised on stream {stream_id}",
                "h2-frame-unexpected",
            )
        self._highest_promised = promised
        self._discard_block(block)
        self._out.append(frames.rst_stream_frame(promised, frames.CANCEL))
        self._remember(promised)
        self._spend_idle()

    # Writing

    def send_request(
        self,
        request: Request,
        end_stream: bool = False,
        length: int | None = AS_ANNOUNCED,
        *,
        protocol: bytes | None = None,
        priority: bytes | None = None,
    ) -> int:
        """Send the head of a request; return its stream.

        ``length`` is the number of body bytes that will be sent, None if unknown: a Content-Length
        that is not it is left out. Without it, Content-Length stays, and is held to. ``protocol``
        makes it an extended CONNECT. ``priority`` are the five bytes of the priority fields, empty
        for none; None is what the mirrored client had with its first request.

        Raises `LocalProtocolError` with code ``header-invalid``, or ``message-incomplete`` unless
        `may_open`.
        """
        if not self.may_open:
            raise LocalProtocolError("no stream can be opened", "message-incomplete")
        method = request.method_bytes
        if method == b"CONNECT":
            length = None
        prepared = self._prepare(request.headers.fields, False, length)
        pseudo = pseudo_headers(request, self._order, protocol)
        if end_stream and prepared.length > 0:
            raise too_short(prepared.length)
        block = self._encoder.encode(pseudo, prepared.fields)
        stream_id = self._next_id
        if priority is None:
            priority = self._priority
        if priority and int.from_bytes(priority[:4], "big") & 0x7FFFFFFF >= stream_id:
            # It depends on a stream of the client's own connection; RFC 7540 section 5.3.1 forbids
            # a stream to depend on itself.
            priority = (priority[0] & 0x80).to_bytes(1, "big") + bytes(3) + priority[4:]
        self._next_id = stream_id + 2
        stream = Stream(self._send_initial, self._receive_initial)
        stream.method = method
        stream.announced = prepared.length
        stream.sent_head = True
        stream.sent_end = end_stream
        self._streams[stream_id] = stream
        self._messages += 1
        self._out.append(
            frames.header_frames(stream_id, block, end_stream, self._send_frame, priority)
        )
        return stream_id
