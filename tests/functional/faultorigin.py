"""A server, as a program, that leaves its answers unfinished, so that it can be killed in them.

The arguments are the ports for HTTP/1, for HTTPS with HTTP/1 and HTTP/2, and for raw TCP, where it
echoes; a PEM file; and the address to listen on, if it is not loopback's. Ports of 0 are free ones.
It prints ``ready PORT PORT PORT``, and the path of each request on a line. The path says what is
answered.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from hashlib import sha1
from typing import Any

import h2.events
from OpenSSL import SSL
from twisted.internet import reactor, ssl
from twisted.internet.protocol import Factory, Protocol

from tests.layers.h2peers import H2Peer

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

PARTS = {
    b"ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"none": b"",
    b"events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Content-Length: 10\r\n\r\ndata: ok\n\n",
    b"large": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    b"head": b"HTTP/1.1 200 OK\r\nX-Half: ",
    b"length": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000,
    b"chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000,
}
"""What is sent in HTTP/1. ``slow`` is ``ok`` after a second, ``long`` a body for three seconds."""

SLOW = 1.0
PIECES, PAUSE = 30, 0.1


def tell(path: bytes) -> None:
    """Print what was asked for."""
    print(path.decode(), flush=True)


class HTTP1(Protocol):
    """Answers one request after another, as far as it is to."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.upgraded = False
        self.uploading = False

    def dataReceived(self, data: bytes) -> None:
        if self.upgraded:
            # An unmasked text message for whatever comes.
            self.transport.write(b"\x81\x02ok")
            return
        self.data += data
        if self.uploading and self.data.endswith(b"end"):
            self.uploading, self.data = False, b""
            self.answer(b"ok", b"")
        while not self.uploading and b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].rpartition(b"/")[2]
            tell(path)
            if path == b"upload":
                self.uploading = True
            else:
                self.answer(path, head)

    def answer(self, path: bytes, head: bytes) -> None:
        later: Any = reactor
        if path == b"slow":
            later.callLater(SLOW, self.write, PARTS[b"ok"])
        elif path == b"long":
            self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * 10))
            for number in range(PIECES):
                later.callLater(number * PAUSE, self.write, b"0123456789")
        elif path == b"socket":
            key = head.lower().partition(b"sec-websocket-key:")[2]
            at = len(head) - len(key)
            key = head[at:].partition(b"\r\n")[0].strip()
            self.upgraded = True
            self.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % b64encode(sha1(key + ACCEPT).digest())
            )
        else:
            self.write(PARTS[path])

    def write(self, data: bytes) -> None:
        self.transport.write(data)


class Echo(Protocol):
    """Says what it is told."""

    def connectionMade(self) -> None:
        tell(b"raw")

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


def http2_peer() -> H2Peer:
    """Make what answers in HTTP/2."""
    peer = H2Peer(False)
    later: Any = reactor
    uploads: dict[int, bool] = {}

    def send(stream: int, data: bytes, end: bool) -> None:
        if stream not in peer.resets:
            peer.h2.send_data(stream, data, end)
            peer.flush()

    def respond(stream: int, *fields: tuple[bytes, bytes]) -> None:
        if stream not in peer.resets:
            peer.h2.send_headers(stream, [(b":status", b"200"), *fields])

    def answer(stream: int, path: bytes) -> None:
        if path in (b"ok", b"slow"):
            respond(stream)
            send(stream, b"ok", True)
        elif path in (b"length", b"chunked"):
            respond(stream, *[(b"content-length", b"100000")] * (path == b"length"))
            send(stream, b"x" * 1000, False)
        elif path == b"long":
            respond(stream)
            for number in range(PIECES):
                last = number == PIECES - 1
                later.callLater(number * PAUSE, send, stream, b"0123456789", last)

    def on_event(event: Any) -> None:
        stream = getattr(event, "stream_id", 0)
        if isinstance(event, h2.events.RequestReceived):
            path = dict(event.headers)[b":path"].rpartition(b"/")[2]
            if path == b"upload":
                uploads[stream] = False
                return
            tell(path)
            if path == b"slow":
                later.callLater(SLOW, answer, stream, path)
            else:
                answer(stream, path)
        elif isinstance(event, h2.events.DataReceived) and not uploads.get(stream, True):
            uploads[stream] = True
            tell(b"upload")
        elif isinstance(event, h2.events.StreamEnded) and stream in uploads:
            answer(stream, b"ok")

    peer.on_event = on_event
    return peer


class Negotiated(Protocol):
    """Speaks what was agreed upon."""

    inner: Any = None

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if self.inner is None:
            self.inner = http2_peer() if transport.negotiatedProtocol == b"h2" else HTTP1()
            self.inner.makeConnection(transport)
        self.inner.dataReceived(data)


class Contexts(ssl.DefaultOpenSSLContextFactory):
    """Agrees to HTTP/2."""

    def cacheContext(self) -> None:
        super().cacheContext()

        def choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
            return next((each for each in (b"h2", b"http/1.1") if each in offered), b"")

        context: Any = self._context
        context.set_alpn_select_callback(choose)


def main(plain: str, tls: str, raw: str, pem_file: str, address: str = "127.0.0.1") -> None:
    """Serve until killed."""
    run: Any = reactor
    ports = [
        run.listenTCP(int(plain), Factory.forProtocol(HTTP1), interface=address),
        run.listenSSL(
            int(tls),
            Factory.forProtocol(Negotiated),
            Contexts(pem_file, pem_file),
            interface=address,
        ),
        run.listenTCP(int(raw), Factory.forProtocol(Echo), interface=address),
    ]
    print("ready", *(port.getHost().port for port in ports), flush=True)
    run.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
