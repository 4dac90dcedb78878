"""Raw TCP: two connections joined, half-close and back-pressure included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone

from interceptor.layers.context import Context, Layer
from interceptor.net.gate import PEER, SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.upstream import ServerSide


class TCPLayer(Layer):
    """Passes bytes between the client and a connected server."""

    name = "tcp"

    def __init__(self, context: Context, server: ServerSide) -> None:
        super().__init__(context)
        self._server = server

    def start(self, data: bytes) -> None:
        client, server = self.context.session.side, self._server
        settings = self.context.environment.settings
        if server.closing:
            client.close(settings.close_timeout)
            return
        upward = _Relay(server, settings.tunnel_idle_timeout, settings.close_timeout)
        downward = _Relay(client, settings.tunnel_idle_timeout, settings.close_timeout)
        early, server.early = server.early, b""
        client.use(upward, data)
        server.use(downward, early)
        server.reading.resume(SETUP)


class _Relay(SideProtocol):
    """One direction: what arrives on its own side is written to the other."""

    def __init__(self, other: Side, idle_timeout: float, close_timeout: float) -> None:
        self._other = other
        self._write = other.write
        self._idle_timeout = idle_timeout
        self._close_timeout = close_timeout

    def attach(self, side: Side) -> None:
        super().attach(side)
        self._other.writing.on_change = self._other_full
        if self._other.writing.paused:
            side.reading.pause(PEER)
        self._touch = side.deadline.set
        self._touch(self._idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        self._write(data)
        self._touch(self._idle_timeout)

    def _other_full(self, full: bool) -> None:
        if full:
            self.side.reading.pause(PEER)
        else:
            self.side.reading.resume(PEER)

    def read_closed(self) -> None:
        other = self._other
        other.half_close()
        if other.read_ended:
            # Both directions have ended; what was written still leaves.
            other.close(self._close_timeout)
            self.side.close(self._close_timeout)

    def timed_out(self) -> None:
        # Idle is when neither direction moves.
        left = self._other.deadline.remaining
        if left:
            self._touch(left)
        else:
            self.side.close(self._close_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ConnectionDone):
            self._other.close(self._close_timeout)
        else:
            self._other.abort()
