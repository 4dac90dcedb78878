"""WebSocket echo: clients and their server in one loop of one thread, as cheap as Python can.

A client sends a message, waits until as many bytes as a frame has came back, and sends the next.
The server answers each frame with one of the same payload. Neither looks into what it gets, but for
the first message of each connection, which is compared byte by byte, and the first bytes of every
other one: they cost little beside the proxy between them, and the same beside each.
"""

from __future__ import annotations

import base64
import hashlib
import select
import socket
import time
from collections import Counter
from types import TracebackType

from bench.errors import BenchError
from bench.load import LoadResult

_READ = 1 << 18
_TIMEOUT = 10.0
_KEY = base64.b64encode(b"interceptor ping").decode()
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x37\xfa\x21\x3d"


def frames(payload: bytes, text: bool) -> tuple[bytes, bytes]:
    """Return the frame that a client sends, and the one that a server answers with."""
    length = len(payload)
    first = b"\x81" if text else b"\x82"
    if length < 126:
        size = bytes((length,))
    elif length < 65536:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    masked = bytearray(payload)
    for lane in range(4):
        table = bytes(byte ^ _MASK[lane] for byte in range(256))
        masked[lane::4] = masked[lane::4].translate(table)
    up = first + bytes((size[0] | 0x80,)) + size[1:] + _MASK + bytes(masked)
    return up, first + size + payload


def _accept(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            digest = hashlib.sha1(value.strip() + _GUID.encode(), usedforsecurity=False).digest()
            return base64.b64encode(digest)
    raise BenchError(f"no key in a handshake: {head[:200]!r}")


class _Peer:
    """One end of a connection: sends what it has to say, and counts what comes."""

    def __init__(self, connection: socket.socket, says: bytes, hears: int, server: bool) -> None:
        self.socket = connection
        self.says = says
        self.hears = hears
        self.server = server
        self.missing = -1  # bytes of a frame; -1 until the handshake is over
        self.head = b""
        self.unsent = memoryview(b"")
        self.rounds = 0
        self.first = b""
        self.began = 0.0

    def send(self, data: bytes) -> bool:
        """Send; True where all of it left."""
        self.unsent = memoryview(data)
        return self.flush()

    def flush(self) -> bool:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return False
        return True


class Echo:
    """A server of echoes at ``port``, and the clients that `run` lets loose on a proxy of it."""

    def __init__(self, size: int, text: bool) -> None:
        payload = (b"all work and no play makes a dull proxy " * (size // 40 + 1))[:size]
        self._up, self._down = frames(payload, text)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._peers: dict[int, _Peer] = {}
        self._errors: Counter[str] = Counter()
        self._times: list[float] = []
        self._done = 0

    def __enter__(self) -> Echo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        self._poll.close()
        self._listener.close()

    def run(
        self, port: int, connections: int, seconds: float, messages: int | None = None
    ) -> LoadResult:
        """Echo through the proxy at ``port`` for ``seconds``, or until so many came back."""
        self._errors.clear()
        self._times.clear()
        self._done = 0
        for _ in range(connections):
            self._connect(port)
        started = time.perf_counter()
        end = started + seconds
        last = started
        while (now := time.perf_counter()) < end and (messages is None or self._done < messages):
            events = self._poll.poll(0.2)
            if events:
                last = now
            elif now - last > _TIMEOUT:
                raise BenchError("the echo stopped")
            for number, event in events:
                self._turn(number, event)
        elapsed = time.perf_counter() - started
        self._close()
        times = sorted(self._times) or [0.0]
        return LoadResult(
            self._done,
            elapsed,
            self._done * (len(self._down) + len(self._up)),
            times[len(times) // 2] * 1e6,
            times[int(len(times) * 0.99)] * 1e6,
            dict(self._errors),
        )

    def _connect(self, port: int) -> None:
        connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        peer = self._add(connection, _Peer(connection, self._up, len(self._down), False))
        host = f"127.0.0.1:{self.port}"
        peer.send(
            f"GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def _add(self, connection: socket.socket, peer: _Peer) -> _Peer:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[connection.fileno()] = peer
        self._poll.register(connection, select.EPOLLIN)
        return peer

    def _turn(self, number: int, event: int) -> None:
        peer = self._peers.get(number)
        if peer is None:
            if number == self._listener.fileno():
                connection, _ = self._listener.accept()
                self._add(connection, _Peer(connection, self._down, len(self._up), True))
            return
        if event & select.EPOLLOUT:
            if peer.flush():
                self._poll.modify(number, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                return
        try:
            data = peer.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._errors["read"] += 1
            self._drop(number)
        elif peer.missing < 0:
            self._handshake(number, peer, data)
        else:
            self._heard(number, peer, data)

    def _handshake(self, number: int, peer: _Peer, data: bytes) -> None:
        peer.head += data
        head, end, rest = peer.head.partition(b"\r\n\r\n")
        if not end:
            return
        peer.missing = peer.hears
        if peer.server:
            self._say(
                number,
                peer,
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + _accept(head) + b"\r\n\r\n",
            )
        elif b" 101 " not in head[:16]:
            raise BenchError(f"no WebSocket: {head[:200]!r}")
        else:
            peer.began = time.perf_counter()
            self._say(number, peer, peer.says)
        if rest:
            self._heard(number, peer, rest)

    def _heard(self, number: int, peer: _Peer, data: bytes) -> None:
        if peer.missing == peer.hears and data[0] != peer.says[0]:
            self._errors["frame"] += 1
        if not peer.rounds:
            peer.first += data
        peer.missing -= len(data)
        if peer.missing > 0:
            return
        if peer.missing < 0:
            self._errors["length"] += 1
        if not peer.rounds and not peer.server and peer.first != self._down:
            self._errors["content"] += 1
        peer.first = b""
        peer.rounds += 1
        peer.missing = peer.hears
        if not peer.server:
            now = time.perf_counter()
            self._done += 1
            self._times.append(now - peer.began)
            peer.began = now
        self._say(number, peer, peer.says)

    def _say(self, number: int, peer: _Peer, data: bytes) -> None:
        if not peer.send(data):
            self._poll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def _drop(self, number: int) -> None:
        peer = self._peers.pop(number)
        self._poll.unregister(number)
        peer.socket.close()

    def _close(self) -> None:
        for number in tuple(self._peers):
            self._drop(number)
