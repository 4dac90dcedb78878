"""WebSocket clients and origins for tests: frames made by hand, and two ends in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interceptor.model.http import Request
from interceptor.model.masking import mask
from interceptor.model.websocket import WebSocketMessage
from interceptor.testing import MemoryClient, MemoryOrigin, MemoryProxy
from interceptor.wire.websocket import WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import Deflate
from interceptor.wire.websockethandshake import accept_for
from interceptor.wire.websocketwrite import encode_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    masked: bool = True,
    fin: bool = True,
    reserved: int = 0,
    key: bytes = MASK,
) -> bytes:
    """Return a frame, however wrong; ``reserved`` are the three bits as a number up to 7."""
    first = opcode | (0x80 if fin else 0) | reserved << 4
    bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 65536:
        head = bytes((first, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + length.to_bytes(8, "big")
    return head + (key + mask(payload, key) if masked else payload)


def close_frame(code: int | None = 1000, reason: bytes = b"", *, masked: bool = True) -> bytes:
    """Return a close, however wrong; without a code where that is None."""
    payload = b"" if code is None else code.to_bytes(2, "big") + reason
    return frame(CLOSE, payload, masked=masked)


def handshake(
    path: str = "/chat", *fields: bytes, target: str = "http://example.test", key: bytes = KEY
) -> bytes:
    """Return a request for a WebSocket, as it goes to a proxy."""
    return b"".join(
        line + b"\r\n"
        for line in (
            f"GET {target}{path} HTTP/1.1".encode(),
            b"Host: example.test",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: " + key,
            b"Sec-WebSocket-Version: 13",
            *fields,
            b"",
        )
    )


def switching(*fields: bytes, accept: bytes = ACCEPT) -> bytes:
    """Return a server's agreement."""
    return b"".join(
        line + b"\r\n"
        for line in (
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept,
            *fields,
            b"",
        )
    )


def accept_of(request: Request) -> bytes:
    """Return what a server answers to the key of a request."""
    return accept_for(request.headers["Sec-WebSocket-Key"].encode())


def messages(
    data: bytes, from_client: bool, deflate: Deflate | None = None
) -> list[WebSocketMessage]:
    """Read all messages in ``data``."""
    reader = WebSocketReader(from_client, WebSocketLimits(), deflate)
    reader.receive_data(data)
    return list(iter(lambda: reader.next_message(0.0), None))


class WebSocketPair:
    """A client and an origin that have agreed through a proxy in memory."""

    def __init__(
        self,
        proxy: MemoryProxy,
        *,
        offer: Iterable[bytes] = (),
        answer: Iterable[bytes] = (),
    ) -> None:
        self.proxy = proxy
        self.origin: MemoryOrigin = proxy.origin("example.test")
        self.origin.respond(switching(*answer))
        self.client: MemoryClient = proxy.client()
        self.client.send(handshake("/chat", *offer))
        head, end, self.client.peer.data = self.client.received.partition(b"\r\n\r\n")
        self.head = head + end
        self.peer: Any = self.origin.connections[-1] if self.origin.connections else None
        if self.peer is not None:
            self.peer.take()

    def from_client(self, *frames: bytes) -> bytes:
        """Send frames, and return what the origin has received since it was asked last."""
        self.client.send(b"".join(frames))
        return self.at_origin()

    def from_origin(self, *frames: bytes) -> bytes:
        """Send frames, and return what the client has received since it was asked last."""
        self.origin.send(b"".join(frames))
        return self.at_client()

    def at_origin(self) -> bytes:
        """Return what the origin has received since it was asked last."""
        data: bytes = self.peer.take()
        return data

    def at_client(self) -> bytes:
        """Return what the client has received since it was asked last."""
        return self.client.take()


__all__ = [
    "ACCEPT",
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "WebSocketPair",
    "accept_of",
    "close_frame",
    "encode_frame",
    "frame",
    "handshake",
    "messages",
    "switching",
]
