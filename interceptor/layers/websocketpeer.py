"""One of the two peers of a WebSocket: its side, what it sends, and how far it has closed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import connectionDone

from interceptor.layers.buffermemory import FREE, Account
from interceptor.net.gate import BACKLOG, PEER
from interceptor.net.sides import Side, SideProtocol
from interceptor.wire.websocketwrite import encode_close, encode_frame

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.websocketrelay import WebSocketRelay
    from interceptor.wire.websocket import WebSocketReader
    from interceptor.wire.websocketwrite import MessageEncoder

_HIGH_WATER = 65536
"""Bytes held unread above which a peer is not read from."""


class WebSocketPeer(SideProtocol):
    """Stands on one side. The relay pulls messages from ``reader``, and gives bytes to `send`.

    ``encoder`` writes what is sent to this peer. ``close_sent`` and ``close_received`` are the two
    halves of the closing handshake; ``ended`` says that nothing more comes, and ``lost`` why.
    """

    other: WebSocketPeer

    def __init__(
        self,
        relay: WebSocketRelay,
        from_client: bool,
        reader: WebSocketReader,
        encoder: MessageEncoder,
        ping_interval: float | None,
    ) -> None:
        self.relay = relay
        self.from_client = from_client
        self.reader = reader
        self.encoder = encoder
        self.close_sent = self.close_received = False
        self.ended = False
        self.lost: Failure | None = None
        self._settings = relay.settings
        self._patience = ping_interval or relay.settings.tunnel_idle_timeout
        self._pings = ping_interval is not None
        # The payload of our last ping; nothing has come since it was sent.
        self._ping = b""
        self._silent = False
        self._out: list[bytes] = []
        # Of what has come and is no message yet.
        self.holding = Account(relay.context.environment.buffer_memory)

    @property
    def name(self) -> str:
        """Who it is, for messages."""
        return "client" if self.from_client else "server"

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.writing.on_change = self._full
        if side.writing.paused:
            self._full(True)
        side.deadline.set(self._patience)

    # Receiving

    def dataReceived(self, data: bytes) -> None:
        relay = self.relay
        if self.from_client:
            relay.data.bytes_from_client += len(data)
        else:
            relay.data.bytes_from_server += len(data)
        if not self.close_sent:
            self.side.deadline.set(self._patience)
        self._silent = False
        reader = self.reader
        reader.receive_data(data)
        if not relay.busy:
            relay.pump(self)
        elif reader.buffered > _HIGH_WATER:
            relay.postpone(self)
            self.side.reading.pause(BACKLOG)
        else:
            relay.postpone(self)
        unread = reader.unread
        if (unread > FREE or self.holding.counted) and not self.holding.update(unread):
            relay.no_room(self)

    def read_closed(self) -> None:
        self.ended = True
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True
        self.lost = reason
        self._go_on()

    def _go_on(self) -> None:
        relay = self.relay
        if relay.busy:
            relay.postpone(self)
            relay.gone(self)
        else:
            relay.pump(self)

    # Sending

    @property
    def full(self) -> bool:
        """Whether it does not take what it is sent as fast as that comes."""
        return self.side.writing.paused

    def _full(self, full: bool) -> None:
        other = self.other
        if full:
            other.side.reading.pause(PEER)
            waiting = self.side.when_writable(self._settings.write_timeout)
            waiting.addErrback(_told_elsewhere)
        else:
            other.side.reading.resume(PEER)
            self.relay.room(self)

    def send(self, data: bytes) -> None:
        """Send frames, with the next `flush`."""
        self._out.append(data)

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a close, unless that has been done, and give the peer some time to answer."""
        if not self.close_sent and not self.side.closing:
            self.send(encode_close(code, reason, masked=not self.from_client))
            self.wait_for_close()

    def wait_for_close(self) -> None:
        """A close is on its way: the peer answers in time, or not at all."""
        self.close_sent = True
        if not self.close_received:
            self.side.deadline.set(self._settings.close_timeout)

    def flush(self) -> None:
        """Write what was to be sent."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if not self.side.closing:
                self.side.write(data)

    # Deadlines

    def timed_out(self) -> None:
        relay, side = self.relay, self.side
        if self.close_sent:
            relay.close_overdue(self)
        elif relay.busy or side.reading.paused or self.full:
            # It is not the peer that is waited for.
            side.deadline.set(self._patience)
        elif self._silent:
            relay.silent(self)
        elif self._pings:
            self._silent = True
            self._ping = os.urandom(8)
            self.send(encode_frame(9, self._ping, masked=not self.from_client))
            self.flush()
            side.deadline.set(self._patience)
        else:
            left = self.other.side.deadline.remaining
            if left and not self.other.close_sent:
                side.deadline.set(left)
            else:
                relay.idle(self)

    def answers_ping(self, payload: bytes) -> bool:
        """Whether a pong with that payload answers a ping of ours, which concerns nobody else."""
        if not self._ping or payload != self._ping:
            return False
        self._ping = b""
        return True

    def write_timed_out(self) -> None:
        self.relay.not_reading(self)

    def drain(self) -> None:
        """The proxy stops."""
        self.relay.shut_down()

    # The end

    def retire(self, linger: bool) -> None:
        """All is said: close the connection.

        A server is left to close its own first (RFC 6455 section 7.1.1); with ``linger`` the end of
        our bytes is sent, and waited for that of the peer's.
        """
        side = self.side
        if side.closing:
            return
        if linger or self.from_client:
            side.close(self._settings.close_timeout, linger=True)
        else:
            side.use(_ServersTurn(self._settings.close_timeout))


class _ServersTurn(SideProtocol):
    """Stands on a server's side after the closing handshake, until the server closes."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.writing.on_change = None
        side.reading.resume(PEER | BACKLOG)
        side.deadline.set(self._timeout)

    def dataReceived(self, data: bytes) -> None:
        pass

    def timed_out(self) -> None:
        self.side.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass


def _told_elsewhere(failure: Any) -> None:
    """Drop it: the loss of a connection reaches its protocol too."""
