"""The WebSocket frames that one peer sends (RFC 6455 section 5), put together to messages."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from interceptor.model.codings import Strain
from interceptor.model.masking import is_ascii, mask, rotated
from interceptor.model.websocket import (
    BINARY,
    CLOSE,
    CONTROL_LIMIT,
    PING,
    PONG,
    TEXT,
    WebSocketMessage,
    may_be_sent,
)
from interceptor.wire.websocketdeflate import Deflate, Inflater, too_big
from interceptor.wire.websocketerrors import WebSocketError

__all__ = ["WebSocketError", "WebSocketLimits", "WebSocketReader"]

_CONTROL: Final = {8: CLOSE, 9: PING, 10: PONG}

# What the frames of a fragmented message may take besides their payloads, which is little unless
# somebody sends fragments of a byte or of none.
_OVERHEAD: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """The most bytes that a message may have, and a single frame.

    ``inflated`` is what one that is compressed may become, the same unless it is set; ``seconds``
    how much time of the processor it may take to inflate a frame, None any. ``strain`` counts that.
    """

    message: int = 64 << 20
    frame: int = 64 << 20
    inflated: int | None = None
    seconds: float | None = None
    strain: Strain | None = None


class WebSocketReader:
    """Reads what one peer sends: bytes in, messages out.

    ``from_client`` says which peer it is: frames of clients are masked, those of servers are not.
    Text is checked as it comes, so that what cannot become UTF-8 any more is met before its frame
    is complete; binary payloads are not looked at, and not unmasked.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_compressed",
        "_content",
        "_cut",
        "_frames",
        "_from_client",
        "_have",
        "_inflated",
        "_inflater",
        "_key",
        "_kind",
        "_limits",
        "_need",
        "_pending",
        "_position",
        "_scanned",
        "_scanned_chunks",
        "_size",
    )

    def __init__(
        self, from_client: bool, limits: WebSocketLimits, deflate: Deflate | None = None
    ) -> None:
        self._from_client = from_client
        self._limits = limits
        self._inflated = limits.message if limits.inflated is None else limits.inflated
        self._inflater = (
            None
            if deflate is None
            else Inflater(deflate.of(from_client), limits.seconds, limits.strain)
        )
        # Bytes that were not read: the buffer from the position on, and what came behind it.
        self._buffer = b""
        self._position = 0
        self._pending: list[bytes] = []
        self._have = 0
        self._need = 2
        self._closed = False
        # The message whose fragments are being gathered.
        self._kind: str | None = None
        self._compressed = False
        self._frames = bytearray()
        self._content: bytearray | None = None
        self._size = 0
        # Of text that comes in parts: the bytes of a character that was cut. Of the frame that is
        # not complete yet, how much of its payload was looked at, in how many of the pending
        # chunks.
        self._cut = b""
        self._scanned: int | None = None
        self._scanned_chunks = 0
        self._key = b""

    @property
    def buffered(self) -> int:
        """Bytes that were received and not read yet; those of a message's fragments are not."""
        return self._have

    @property
    def inflates(self) -> bool:
        """Whether messages may be compressed."""
        return self._inflater is not None

    @property
    def unread(self) -> int:
        """Bytes that were received and are no message yet, those of fragments included."""
        content = self._content
        return self._have + len(self._frames) + (0 if content is None else len(content))

    def receive_data(self, data: bytes) -> None:
        """Take bytes. After a close they are dropped (RFC 6455 section 5.5.1)."""
        if self._closed:
            return
        if self._have:
            self._pending.append(data)
            self._have += len(data)
        else:
            self._buffer = data
            self._position = 0
            self._have = len(data)

    def close(self) -> None:
        """Drop what was received, and what is still to come."""
        self._closed = True
        self._have = 0
        self._buffer = b""
        self._pending.clear()
        self._frames = bytearray()
        self._content = None

    def next_message(self, now: float) -> WebSocketMessage | None:
        """Return the next message, ping, pong or close; None where there is none yet.

        Raises `WebSocketError`; there is nothing to be read after it.
        """
        while self._have >= self._need:
            if self._pending:
                rest = self._buffer[self._position :] if self._position else self._buffer
                self._buffer = b"".join((rest, *self._pending))
                self._position = 0
                self._pending.clear()
            buffer, position = self._buffer, self._position
            first, second = buffer[position], buffer[position + 1]
            opcode = first & 0x0F
            length = second & 0x7F
            header = 2
            if length > 125:
                header = 4 if length == 126 else 10
            if second > 127:
                header += 4
            if (
                first & 0x70
                or (opcode != 1 and opcode != 2)
                or (second > 127) is not self._from_client
                or self._kind is not None
            ):
                self._check(first, second)
            if self._have < header:
                self._need = header
                return None
            if length > 125:
                length = _long_length(buffer, position, length)
            if length > self._limits.frame:
                raise too_big(
                    f"a frame has {length} bytes, websocket_frame_limit is {self._limits.frame}"
                )
            if opcode < 8 and self._size + length > self._limits.message:
                raise too_big(
                    f"a message has over {self._limits.message} bytes (websocket_message_limit)"
                )
            total = header + length
            if self._have < total:
                self._need = total
                if self._is_plain_text(first):
                    self._begin_scan(first, header)
                return None

            # The frame is complete.
            self._need = 2
            self._have -= total
            self._position = end = position + total
            frame = buffer if total == len(buffer) else buffer[position:end]
            if self._scanned is not None:
                message = self._scanned_frame(first, frame, header, now)
            elif opcode > 7:
                return self._control_frame(opcode, frame, header, now)
            elif first & 0x80 and opcode:
                # A message in one piece, as most are.
                if opcode == 2 and first == 0x82:
                    return WebSocketMessage(self._from_client, BINARY, None, now, frame)
                payload = frame[header:]
                if second > 127:
                    payload = mask(payload, frame[header - 4 : header])
                return self._whole(first, frame, payload, now)
            else:
                message = self._fragment(first, frame, header, now)
            if message is not None:
                return message
        if self._scanned is not None:
            self._scan()
        return None

    # Frames

    def _check(self, first: int, second: int) -> None:
        """Raise `WebSocketError` for what the first two bytes of a frame may not say."""
        opcode = first & 0x0F
        if first & 0x30 or (first & 0x40 and (self._inflater is None or opcode not in (1, 2))):
            raise WebSocketError(
                1002, "a reserved bit is set that no extension uses", "websocket-reserved-bits"
            )
        if opcode > 10 or 2 < opcode < 8:
            raise WebSocketError(1002, f"{opcode} is no opcode", "websocket-opcode-reserved")
        if (second > 127) is not self._from_client:
            if self._from_client:
                raise WebSocketError(
                    1002, "a client's frame is not masked", "websocket-mask-missing"
                )
            raise WebSocketError(1002, "a server's frame is masked", "websocket-mask-unexpected")
        if opcode > 7:
            if not first & 0x80:
                raise WebSocketError(
                    1002, f"a {_CONTROL[opcode]} is fragmented", "websocket-control-fragmented"
                )
            if second & 0x7F > CONTROL_LIMIT:
                raise WebSocketError(
                    1002,
                    f"a {_CONTROL[opcode]} has over {CONTROL_LIMIT} bytes",
                    "websocket-control-too-long",
                )
        elif opcode and self._kind is not None:
            raise WebSocketError(
                1002, "a message began inside another one", "websocket-fragment-expected"
            )
        elif not opcode and self._kind is None:
            raise WebSocketError(
                1002, "a fragment continues no message", "websocket-fragment-unexpected"
            )

    def _control_frame(
        self, opcode: int, frame: bytes, header: int, now: float
    ) -> WebSocketMessage | None:
        if opcode != 8:
            return WebSocketMessage(self._from_client, _CONTROL[opcode], None, now, frame)
        payload = frame[header:]
        if self._from_client:
            payload = mask(payload, frame[header - 4 : header])
        message = WebSocketMessage(self._from_client, CLOSE, payload[2:], now, frame)
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not may_be_sent(code):
                raise WebSocketError(
                    1002, "a close has a code that must not be sent", "websocket-close-invalid"
                )
            self._decode(payload[2:], "the reason of a close")
            message._close_code = code
        self._closed = True
        self._have = 0
        self._buffer = b""
        self._pending.clear()
        return message

    def _whole(self, first: int, frame: bytes, payload: bytes, now: float) -> WebSocketMessage:
        compressed = first & 0x40 != 0
        if compressed:
            assert self._inflater is not None
            payload = self._inflater.inflate(payload, self._inflated, True)
        if first & 0x0F == 1:
            if not payload.isascii():
                self._decode(payload, "a text message")
            kind = TEXT
        else:
            kind = BINARY
        return WebSocketMessage(self._from_client, kind, payload, now, frame, compressed)

    def _decode(self, payload: bytes, what: str) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise self._no_text(error, what) from None

    def _no_text(self, error: UnicodeDecodeError, what: str = "a text message") -> WebSocketError:
        return WebSocketError(1007, f"{what} is no UTF-8: {error.reason}", "websocket-text-invalid")

    # Fragments

    def _begin(self, first: int) -> None:
        self._kind = TEXT if first & 0x0F == 1 else BINARY
        self._compressed = first & 0x40 != 0
        self._frames = bytearray()
        self._size = 0
        self._content = bytearray() if self._compressed or self._kind == TEXT else None

    def _fragment(
        self, first: int, frame: bytes, header: int, now: float
    ) -> WebSocketMessage | None:
        if first & 0x0F:
            self._begin(first)
            self._cut = b""
        final = first & 0x80 != 0
        payload = b""
        if self._content is not None:
            payload = frame[header:]
            if self._from_client:
                payload = mask(payload, frame[header - 4 : header])
            if self._compressed:
                assert self._inflater is not None
                room = self._inflated - len(self._content)
                payload = self._inflater.inflate(payload, room, final)
            if self._kind == TEXT:
                self._check_text(payload, final)
        return self._add(frame, payload, len(frame) - header, final, now)

    def _add(
        self, frame: bytes, payload: bytes, size: int, final: bool, now: float
    ) -> WebSocketMessage | None:
        self._size += size
        self._frames += frame
        if self._content is not None:
            self._content += payload
        if len(self._frames) > self._limits.message + _OVERHEAD:
            raise too_big("a message has too many fragments")
        if not final:
            return None
        assert self._kind is not None
        content = None if self._content is None else bytes(self._content)
        message = WebSocketMessage(
            self._from_client, self._kind, content, now, bytes(self._frames), self._compressed
        )
        self._kind = self._content = None
        self._frames = bytearray()
        self._size = 0
        return message

    # Text in frames that arrive bit by bit

    def _is_plain_text(self, first: int) -> bool:
        """Whether the frame that has begun has text that can be checked as it comes."""
        if first & 0x0F == 1:
            return not first & 0x40
        return not first & 0x0F and self._kind == TEXT and not self._compressed

    def _begin_scan(self, first: int, header: int) -> None:
        """Look at what has come of the payload of a frame that is not complete yet."""
        if first & 0x0F:
            self._cut = b""
        self._scanned = self._scanned_chunks = 0
        start = self._position + header
        self._key = self._buffer[start - 4 : start]
        self._scan_chunk(self._buffer[start:])

    def _scan(self) -> None:
        for chunk in self._pending[self._scanned_chunks :]:
            self._scan_chunk(chunk)
        self._scanned_chunks = len(self._pending)

    def _scan_chunk(self, chunk: bytes, final: bool = False) -> None:
        assert self._scanned is not None
        size = len(chunk)
        if self._from_client:
            key = rotated(self._key, self._scanned)
            if self._cut or not is_ascii(chunk, key):
                self._check_text(mask(chunk, key), final)
        else:
            self._check_text(chunk, final)
        self._scanned += size

    def _check_text(self, chunk: bytes, final: bool) -> None:
        """Check one more part of a text."""
        if not self._cut and chunk.isascii():
            return
        data = self._cut + chunk
        try:
            _, read = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            raise self._no_text(error) from None
        self._cut = data[read:]

    def _scanned_frame(
        self, first: int, frame: bytes, header: int, now: float
    ) -> WebSocketMessage | None:
        """The frame that was looked at while it came is complete."""
        assert self._scanned is not None
        final = first & 0x80 != 0
        self._scan_chunk(frame[header + self._scanned :], final)
        size = self._scanned
        self._scanned = None
        if first & 0x0F:
            if final:
                return WebSocketMessage(self._from_client, TEXT, None, now, frame)
            self._begin(first)
        payload = frame[header:]
        if self._from_client:
            payload = mask(payload, self._key)
        return self._add(frame, payload, size, final, now)


def _long_length(buffer: bytes, position: int, marker: int) -> int:
    if marker == 126:
        length = int.from_bytes(buffer[position + 2 : position + 4], "big")
        least = 126
    else:
        length = int.from_bytes(buffer[position + 2 : position + 10], "big")
        least = 65536
    if length < least or length >> 63:
        # RFC 6455 section 5.2
        raise WebSocketError(1002, "a length is badly encoded", "websocket-length-invalid")
    return length
