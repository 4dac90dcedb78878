"""Bodies to and from readers that are slow first and fast later, over plain sockets."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import BenchError

PIECE = 64 * 1024
"""Bytes that a slow reader takes at once …"""
PAUSE = 0.004
"""… and then waits, in seconds: 16 MB/s at most."""

_TIMEOUT = 60.0
_HEAD_LIMIT = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_BLOCK = bytes(256 * 1024)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a proxy listens, and what of the origin to ask it for, as in `bench.load.Load`."""

    port: int
    target: str
    host: str


def download(target: Target, size: int, slow_seconds: float) -> None:
    """GET ``size`` bytes, slowly for ``slow_seconds`` and then as fast as they come.

    :raises BenchError: unless a whole 200 response arrives.
    """
    with socket.create_connection(("127.0.0.1", target.port), _TIMEOUT) as connection:
        connection.sendall(_head("GET", target, None))
        head, body = read_head(connection)
        if head.split(b" ", 2)[1] != b"200":
            raise BenchError(f"download: {_outline(head, body)}")
        received = len(body) + _drain(connection, size - len(body), slow_seconds)
        if received != size:
            raise BenchError(f"download: {received} of {size} bytes arrived")


def read_body(target: Target) -> bytes:
    """GET a body of any size, and return it.

    :raises BenchError: unless a whole 200 response arrives.
    """
    with socket.create_connection(("127.0.0.1", target.port), _TIMEOUT) as connection:
        connection.sendall(_head("GET", target, None))
        head, body = read_head(connection)
        length = _LENGTH.search(head)
        if head.split(b" ", 2)[1] != b"200" or length is None:
            raise BenchError(f"download: {_outline(head, body)}")
        while len(body) < int(length[1]):
            data = connection.recv(len(_BLOCK))
            if not data:
                raise BenchError(f"download: {len(body)} of {int(length[1])} bytes arrived")
            body += data
        return body


def upload(target: Target, size: int) -> None:
    """PUT ``size`` zero bytes as fast as they are taken.

    :raises BenchError: unless the answer is 200.
    """
    with socket.create_connection(("127.0.0.1", target.port), _TIMEOUT) as connection:
        connection.sendall(_head("PUT", target, size))
        left = size
        while left:
            left -= connection.send(_BLOCK[:left])
        head, body = read_head(connection)
        if head.split(b" ", 2)[1] != b"200":
            raise BenchError(f"upload: {_outline(head, body)}")


def _head(method: str, target: Target, length: int | None) -> bytes:
    head = f"{method} {target.target} HTTP/1.1\r\nHost: {target.host}\r\n"
    if length is not None:
        head += f"Content-Length: {length}\r\n"
    return f"{head}\r\n".encode()


def _outline(head: bytes, body: bytes) -> str:
    """Return a status line and the start of the page that explains it."""
    return f"{head.splitlines()[0]!r}, {body[:200]!r}"


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read up to the end of a message's head; return it and what came of the body with it.

    :raises BenchError: if the peer closes first or the head does not end.
    """
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(PIECE)
        if not data or len(received) > _HEAD_LIMIT:
            raise BenchError(f"no HTTP head in {received[:80]!r}")
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def _drain(connection: socket.socket, size: int, slow_seconds: float) -> int:
    """Read up to ``size`` bytes, slowly at first; return how many came before the end."""
    received = 0
    slow_until = time.perf_counter() + slow_seconds
    while received < size:
        slow = time.perf_counter() < slow_until
        data = connection.recv(PIECE if slow else len(_BLOCK))
        if not data:
            break
        received += len(data)
        if slow:
            time.sleep(PAUSE)
    return received


class SlowSink:
    """An HTTP server on ``port`` of loopback that takes bodies as slowly as it is told to.

    It answers 200 to a request whose whole body arrived, one connection after another.
    ``slow_seconds`` may be changed between requests.
    """

    def __init__(self) -> None:
        self.slow_seconds = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the measurement is over
                return
            # A proxy that breaks off is told by what it then answers its client.
            with connection, contextlib.suppress(OSError, BenchError):
                connection.settimeout(_TIMEOUT)
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        head, body = read_head(connection)
        length = _LENGTH.search(head)
        if length is None:
            connection.sendall(
                b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        missing = int(length[1]) - len(body)
        if _drain(connection, missing, self.slow_seconds) == missing:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        """Stop accepting."""
        # Closing alone would leave the thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@contextlib.contextmanager
def slow_sink() -> Iterator[SlowSink]:
    """Serve as a `SlowSink` for a while."""
    sink = SlowSink()
    try:
        yield sink
    finally:
        sink.close()
