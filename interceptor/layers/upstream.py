"""The connections to servers that one session holds: opened with their hooks, kept, reused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, UpstreamError
from interceptor.layers.hooking import run_hook
from interceptor.layers.http1 import HTTP1ClientProtocol
from interceptor.model.connections import ServerConnection, format_address
from interceptor.net.gate import SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.hooks.bus import Fire
    from interceptor.layers.session import Session
    from interceptor.model.flow import Flow

Destination = tuple[bytes, bytes, int]
"""Scheme, host and port of the server that a request is for."""

_MOST_IDLE = 32


class _Held(SideProtocol):
    """Stands on a server's side, unread, until it is known what will be spoken there."""

    def dataReceived(self, data: bytes) -> None:
        # The transport may still hand over what it had taken from its socket.
        held: ServerSide = self.side  # type: ignore[assignment]
        held.early += data

    def read_closed(self) -> None:
        pass


class ServerSide(Side):
    """The side that faces a server. Tells ``serverdisconnect`` when it is gone."""

    session: Session
    server_conn: ServerConnection
    established = False
    early = b""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.protocol = _Held()
        self.protocol.attach(self)

    def hold(self, data: bytes) -> None:
        """Keep ``data`` and read no more, until `start` or a layer takes over."""
        self.reading.pause(SETUP)
        self.use(_Held())
        self.early += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.session.servers.lost(self)
        if self.established:
            self.server_conn.timestamp_end = time.time()
            fire = self.session.environment.hooks.serverdisconnect
            if fire is not None:
                run_hook(fire, self.server_conn)


class ServerPool:
    """What a session is connected to. Nothing here is shared with another session."""

    log = Logger()

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sides: set[ServerSide] = set()
        self._idle: dict[Destination, list[HTTP1ClientProtocol]] = {}
        self._idle_count = 0
        self._closed = False

    async def acquire(
        self, destination: Destination, flow: Flow, *, fresh: bool, careful: bool
    ) -> HTTP1ClientProtocol:
        """Return a connection to ``destination`` for ``flow``: an idle one, or a new one.

        ``fresh`` insists on a new one. ``careful`` looks at the socket of an idle one for an end
        that the reactor has not reported yet: for requests that must not be sent twice. Raises
        `UpstreamError`.
        """
        if not fresh:
            idle = self._idle.get(destination)
            while idle:
                protocol = idle.pop()
                self._idle_count -= 1
                if protocol.take(careful):
                    return protocol
        if destination[0] != b"http":
            raise UpstreamError(
                f"the scheme `{destination[0].decode('latin-1')}` is not supported",
                "scheme-unsupported",
                501,
            )
        side = await self.connect(
            (destination[1].decode("utf-8", "surrogateescape"), destination[2]), flow
        )
        return self.adopt(side, destination)

    def adopt(self, side: ServerSide, destination: Destination) -> HTTP1ClientProtocol:
        """Speak HTTP/1 on a connection that was just made, or made before it was known."""
        protocol = HTTP1ClientProtocol(
            side.server_conn, self._session.environment.settings, self, destination
        )
        start(side, protocol)
        return protocol

    def give_back(self, protocol: HTTP1ClientProtocol, destination: Destination) -> None:
        """Keep an idle connection for the next request to the same destination."""
        if self._closed:
            protocol.side.close()
            return
        if self._idle_count >= _MOST_IDLE:
            self._evict()
        self._idle.setdefault(destination, []).append(protocol)
        self._idle_count += 1

    def forget(self, protocol: HTTP1ClientProtocol, destination: Destination) -> None:
        """An idle connection is gone."""
        idle = self._idle.get(destination)
        if idle is not None and protocol in idle:
            idle.remove(protocol)
            self._idle_count -= 1

    def _evict(self) -> None:
        for destination, idle in self._idle.items():
            if idle:
                oldest = idle.pop(0)
                self._idle_count -= 1
                if not idle:
                    del self._idle[destination]
                oldest.side.close()
                return

    async def connect(self, address: tuple[str, int], flow: Flow) -> ServerSide:
        """Open a connection, with its hooks around it. The side holds its bytes until `start`.

        ``flow`` is what it is for: it is given the connection at once, so that the flow of a failed
        connect tells with whom it failed. A hook may change the address, or refuse. Raises
        `UpstreamError`.
        """
        session = self._session
        environment = session.environment
        hooks = environment.hooks
        server_conn = ServerConnection(address)
        session.context.server_conn = flow.server_conn = server_conn
        if hooks.serverconnect is not None:
            await self._ask(hooks.serverconnect, server_conn)
        side = ServerSide(environment.clock)
        side.session = session
        side.server_conn = server_conn
        assert server_conn.address is not None
        try:
            await environment.connector.connect(
                server_conn.address,
                lambda: side,
                timeout=environment.settings.connect_timeout,
                source_address=None,
                server_connection=server_conn,
            )
        except Exception as error:
            # Failed, or not wanted any more: then it is what `Task.abort` was given.
            self._failed(server_conn, str(error))
            raise
        if self._closed:
            self._failed(server_conn, "the client is gone")
            side.abort()
            raise UpstreamError("the client is gone", "client-disconnected")
        self._sides.add(side)
        side.established = True
        fire = hooks.serverconnected
        if fire is not None:
            side.reading.pause(SETUP)
            try:
                waiting = fire(server_conn)
                if waiting is not None:
                    await waiting
            except BaseException:
                side.abort()
                raise
        if side.lost:
            raise UpstreamError(
                f"{format_address(server_conn.address)} closed the connection at once",
                "server-disconnected",
            )
        return side

    async def _ask(self, fire: Fire, server_conn: ServerConnection) -> None:
        """Fire ``serverconnect``; raise where its hooks do not want the connection.

        Unless they refuse it, whoever heard of the connection hears of its end.
        """
        try:
            waiting = fire(server_conn)
            if waiting is not None:
                await waiting
        except HookFailed as error:
            # A hook whose failure is fatal has failed: that counts as its refusal.
            server_conn.refuse(str(error))
            raise
        except Exception as error:
            self._failed(server_conn, str(error))
            raise
        if server_conn.error is not None:
            raise UpstreamError(
                f"connection to {format_address(server_conn.address)} refused: {server_conn.error}",
                "refused-by-hook",
            )
        if server_conn.address is None:
            missing = UpstreamError("a hook took the server's address away", "no-destination")
            self._failed(server_conn, str(missing))
            raise missing

    def _failed(self, server_conn: ServerConnection, reason: str) -> None:
        server_conn.error = reason
        server_conn.timestamp_end = time.time()
        fire = self._session.environment.hooks.serverconnect_failed
        if fire is not None:
            run_hook(fire, server_conn)

    def lost(self, side: ServerSide) -> None:
        """A connection is gone."""
        self._sides.discard(side)

    def close(self) -> None:
        """The session is over: close all connections."""
        self._closed = True
        for side in tuple(self._sides):
            side.close()


def start(side: ServerSide, protocol: SideProtocol) -> None:
    """Begin to speak ``protocol`` on a side that was held until now."""
    early, side.early = side.early, b""
    side.use(protocol, early)
    side.reading.resume(SETUP)
