"""Frames to be sent (RFC 6455 section 5.2), and messages as they came or made anew."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from interceptor.model.masking import mask
from interceptor.model.websocket import BINARY, CLOSE, NO_STATUS, PING, PONG, TEXT
from interceptor.wire.websocketdeflate import Deflate, Deflater

if TYPE_CHECKING:
    from interceptor.model.websocket import WebSocketMessage

OPCODES: Final = {TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10}

_WORTH_DEFLATING: Final = 64
"""Bytes below which a message that we make is sent as it is."""


def encode_frame(
    opcode: int, payload: bytes, *, masked: bool, fin: bool = True, rsv1: bool = False
) -> bytes:
    """Return a frame; ``masked`` where a client sends it."""
    length = len(payload)
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    bit = 0x80 if masked else 0
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 65536:
        head = bytes((first, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + length.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4)
    return b"".join((head, key, mask(payload, key)))


def encode_close(code: int, reason: str = "", *, masked: bool) -> bytes:
    """Return the frame of a close; 1005 is sent as no code, and what is too long is cut."""
    payload = b""
    if code != NO_STATUS:
        cut = reason.encode()[:123].decode("utf-8", "ignore")
        payload = code.to_bytes(2, "big") + cut.encode()
    return encode_frame(8, payload, masked=masked)


class MessageEncoder:
    """Writes the messages of one direction: as they came wherever that is possible.

    ``to_server`` is the direction. ``received`` and ``sent`` are what was agreed on with the one
    who sends, and with the one who is sent to.

    With context takeover a compressed message refers to those before it. So one that was changed or
    dropped leaves the receiver without what the next one refers to: all that follow are compressed
    anew. What is injected before that is sent uncompressed, which disturbs nobody's window.
    """

    __slots__ = ("_deflate", "_deflater", "_follows", "_sender_takes_over", "_to_server")

    def __init__(self, to_server: bool, received: Deflate | None, sent: Deflate | None) -> None:
        self._to_server = to_server
        theirs = None if received is None else received.of(to_server)
        self._deflate = None if sent is None else sent.of(to_server)
        self._follows = theirs == self._deflate
        self._sender_takes_over = theirs is not None and theirs.takeover
        self._deflater: Deflater | None = None

    def encode(self, message: WebSocketMessage) -> bytes:
        """Return the frames of a message."""
        frames = message.frames
        if frames is not None and not message.edited:
            if self._follows or not message.compressed:
                return frames
        elif message.compressed and self._sender_takes_over:
            self._follows = False
        return self._made_anew(message)

    def dropped(self, message: WebSocketMessage) -> None:
        """A message is not sent."""
        if message.compressed and self._sender_takes_over:
            self._follows = False

    def _made_anew(self, message: WebSocketMessage) -> bytes:
        payload = message.content
        masked = self._to_server
        if message.type == CLOSE:
            reason = payload.decode("utf-8", "replace")
            return encode_close(message.close_code, reason, masked=masked)
        compress = self._may_compress(message) and message.type in (TEXT, BINARY)
        if compress:
            payload = self._deflated(payload)
        return encode_frame(OPCODES[message.type], payload, masked=masked, rsv1=compress)

    def _may_compress(self, message: WebSocketMessage) -> bool:
        if self._deflate is None or (message.frames is not None and not message.compressed):
            return False
        if message.compressed:
            return True
        # A message of our own: only where nothing that the sender refers to is disturbed.
        undisturbed = not (self._follows and self._deflate.takeover)
        return undisturbed and len(message.content) >= _WORTH_DEFLATING

    def _deflated(self, payload: bytes) -> bytes:
        if self._deflater is None:
            assert self._deflate is not None
            self._deflater = Deflater(self._deflate)
        return self._deflater.deflate(payload)
