"""Many streams on one HTTP/2 connection, one of which nobody reads: what the others take.

The client is as cheap as Python can make it: every request is the same bytes, and of what comes
only the frames' heads are looked at, and the status.
"""

from __future__ import annotations

import socket
import ssl
import time

from bench.errors import BenchError
from interceptor.wire import http2frames as frames

_READ = 1 << 18
_TIMEOUT = 30.0
_STREAM_WINDOW = frames.DEFAULT_WINDOW
_STATUS_200 = 0x88
"""The status 200 in the static table of HPACK (RFC 7541 appendix A), as one byte."""


def _literal(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def request_head(path: str, authority: str) -> bytes:
    """Return a GET over https as a block of fields: of the static table, and never indexed."""
    # RFC 7541 appendix A: 2 is :method GET, 7 :scheme https, 1 is :authority, 4 is :path.
    return b"\x82\x87\x11" + _literal(authority.encode()) + b"\x14" + _literal(path.encode())


class StreamClient:
    """One connection to ``port`` of loopback: keeps ``streams`` GETs of a path under way.

    :raises BenchError: if there is no HTTP/2 to be had.
    """

    def __init__(self, port: int, path: str, authority: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        if self._socket.selected_alpn_protocol() != "h2":
            raise BenchError("no HTTP/2")
        self._head = request_head(path, authority)
        self._authority = authority
        self._next = 1
        self._began: dict[int, float] = {}
        self._stalled: int | None = None
        self._stalled_bytes = 0
        self._taken = 0
        self._unread = b""
        self._out: list[bytes] = []
        self._send(frames.PREFACE + frames.settings_frame(((frames.ENABLE_PUSH, 0),)))
        self._send(frames.window_update_frame(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))

    def close(self) -> None:
        """Close, whatever is under way."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        self._out.append(data)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if data:
            self._socket.sendall(data)

    def _open(self, head: bytes) -> int:
        stream = self._next
        self._next += 2
        flags = frames.END_HEADERS | frames.END_STREAM
        self._send(frames.frame(frames.HEADERS, flags, stream, head))
        return stream

    def stall(self, path: str) -> None:
        """Ask for a body without taking more of it than was allowed at first; wait for that.

        :raises BenchError: if the connection ends, or the body is too small for that.
        """
        self._stalled = self._open(request_head(path, self._authority))
        self._stalled_bytes = 0
        while self._stalled_bytes < _STREAM_WINDOW:
            self._turn([])

    def give_up(self) -> None:
        """Reset the stream that is stuck."""
        if self._stalled is not None:
            self._send(frames.rst_stream_frame(self._stalled, frames.CANCEL))
            self._stalled = None

    def run(self, streams: int, seconds: float) -> list[float]:
        """Keep so many GETs under way for some seconds; return how many seconds each one took.

        :raises BenchError: if the connection or one of them fails.
        """
        times: list[float] = []
        end = time.perf_counter() + seconds
        while True:
            now = time.perf_counter()
            if now < end:
                for _ in range(streams - len(self._began)):
                    self._began[self._open(self._head)] = now
            elif not self._began:
                return times
            self._turn(times)

    def _turn(self, times: list[float]) -> None:
        """Send what there is, and take what has come."""
        self._flush()
        try:
            data = self._socket.recv(_READ)
        except OSError as problem:
            raise BenchError(f"the connection: {problem}") from problem
        if not data:
            raise BenchError("the connection was closed")
        data = self._unread + data
        now, at, most = time.perf_counter(), 0, len(data) - 9
        while at <= most:
            high, low, kind, flags, stream = frames.read_head(data, at)
            size = high << 8 | low
            if at + 9 + size > len(data):
                break
            if kind <= frames.HEADERS:
                if kind == frames.DATA:
                    self._took(stream, size)
                elif data[at + 9] != _STATUS_200:
                    raise BenchError("a response is not 200")
                if flags & frames.END_STREAM:
                    if stream == self._stalled:
                        raise BenchError("the body that is to be stuck is too small")
                    times.append(now - self._began.pop(stream))
            elif kind == frames.SETTINGS and not flags & frames.ACK:
                self._send(frames.SETTINGS_ACK)
            elif kind == frames.PING and not flags & frames.ACK:
                self._send(frames.frame(frames.PING, frames.ACK, 0, data[at + 9 : at + 17]))
            elif kind in (frames.RST_STREAM, frames.GOAWAY):
                raise BenchError(f"a frame of type {kind} for stream {stream}")
            at += 9 + size
        self._unread = data[at:]

    def _took(self, stream: int, size: int) -> None:
        if stream == self._stalled:
            self._stalled_bytes += size
        self._taken += size
        if self._taken > 1 << 24:
            self._send(frames.window_update_frame(0, self._taken))
            self._taken = 0
