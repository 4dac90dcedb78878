"""The side that faces a server: held until it is known what to speak, and telling of its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone

from interceptor.layers.hooking import run_hook
from interceptor.model.connections import ServerConnection
from interceptor.net.gate import SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.session import Session
    from interceptor.model.nexthop import NextHop


class _Held(SideProtocol):
    """Stands on a server's side, unread, until it is known what will be spoken there."""

    side: ServerSide

    def dataReceived(self, data: bytes) -> None:
        # The transport may still hand over what it had taken from its socket.
        self.side.early += data

    def read_closed(self) -> None:
        pass


class ServerSide(Side):
    """The side that faces a server. Tells ``serverdisconnect`` when it is gone."""

    session: Session
    server_conn: ServerConnection
    established = False
    early = b""
    asked_hop: NextHop | None = None
    """The next hop that was to be taken, before any hook said otherwise."""
    next_hop_fields: tuple[tuple[bytes, bytes], ...] | None = None
    """Where the peer is a next hop that takes requests in absolute form: what they need besides."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.protocol = _Held()
        self.protocol.attach(self)

    def hold(self, data: bytes) -> None:
        """Keep ``data`` and read no more, until `start` or a layer takes over."""
        self.reading.pause(SETUP)
        self.use(_Held())
        self.early += data

    def stacked(self) -> ServerSide:
        """Return a side for what will be spoken on top of this one: it is the connection then."""
        above = server_side(self.session, self.server_conn)
        above.asked_hop = self.asked_hop
        return above

    def stand_in(self, above: ServerSide) -> None:
        """Let the side above tell of the connection's end from now on."""
        above.established, self.established = self.established, False
        self.session.servers.replace(self, above)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.session.servers.lost(self)
        if self.established:
            self.server_conn.timestamp_end = time.time()
            fire = self.session.environment.hooks.serverdisconnect
            if fire is not None:
                run_hook(fire, self.server_conn)


def server_side(session: Session, server_conn: ServerConnection) -> ServerSide:
    """Return a side for a connection of ``session``'s that is about to be made."""
    side = ServerSide(session.environment.clock)
    side.session = session
    side.server_conn = server_conn
    side.flush_timeout = session.environment.settings.write_timeout
    return side


def start(side: ServerSide, protocol: SideProtocol) -> None:
    """Begin to speak ``protocol`` on a side that was held until now."""
    early, side.early = side.early, b""
    side.use(protocol, early)
    side.reading.resume(SETUP)
