"""Transparent mode: the client wanted to go somewhere else, and is taken there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, UpstreamError
from interceptor.layers.detect import Tunnel
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.task import Task
from interceptor.model.connections import ServerConnection, format_address
from interceptor.net.gate import BACKLOG
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.context import Context
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.connections import Address

_HIGH_WATER: Final = 65536
"""Bytes that a client may send before its server is there without being kept from sending more."""


class TransparentProtocol(SideProtocol):
    """Stands on the client's side until its original destination is connected to, or has failed.

    Then there is a `Tunnel` to that address, whatever the client is going to say about where it
    wants to go: a Host field or an SNI that names another server leads nobody astray.

    The server is connected to first, since it may be the one that speaks first; but for the
    strategy ``lazy``, which connects to nobody before it has to. Where it cannot be connected to, a
    client that speaks HTTP, perhaps in TLS, is told why, and any other one is closed.

    ``destination`` is an error where it is not known, or leads nowhere. ``data`` is what the client
    has sent already.
    """

    log = Logger()

    def __init__(
        self, context: Context, destination: Address | UpstreamError, data: bytes = b""
    ) -> None:
        self._context = context
        self._error = destination if isinstance(destination, UpstreamError) else None
        if isinstance(destination, UpstreamError):
            destination = context.client_conn.sockname or ("", 0)
        self._address = destination
        self._data = data
        self._server: ServerSide | None = None
        self._task = Task(self._reach(), self._reached)

    # What the side tells

    def attach(self, side: Side) -> None:
        super().attach(side)
        self._task.start()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._task.done:
            self._start_tunnel()
        elif len(self._data) > _HIGH_WATER:
            self.side.reading.pause(BACKLOG)

    def read_closed(self) -> None:
        # While the server is waited for: it may still have something to say.
        if self._task.done:
            self._give_up()

    def timed_out(self) -> None:
        # It waits for its server's greeting. What became of that is told as of any relay.
        self._start_tunnel().relay()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._task.done:
            self._give_up()
        else:
            self._task.abort(ClientGoneError("the client closed its connection"))

    # The server

    async def _reach(self) -> None:
        if self._error is not None:
            raise self._error
        context = self._context
        if context.environment.settings.connection_strategy != "lazy":
            self._server = await context.session.servers.connect(self._address)

    def _reached(self, error: BaseException | None) -> None:
        side, server = self.side, self._server
        if side.closing:
            if server is not None:
                server.abort()
        elif error is None:
            self._start_tunnel()
        elif isinstance(error, UpstreamError):
            self._fail(error)
        else:
            if not isinstance(error, (ClientGoneError, HookFailed)):
                proxy = self._context.environment.proxy
                self.log.failure("transparent mode failed: {error}", error=error, proxy=proxy)
            side.abort()

    def _start_tunnel(self) -> Tunnel:
        host, port = self._address
        tunnel = Tunnel(self._context, self._server, (b"http", host.encode(), port))
        tunnel.start(self._data)
        side = self.side
        if self._error is not None and side.protocol is tunnel:
            # It has to say soon what it speaks, for nobody waits for that but us.
            side.deadline.set(self._context.environment.settings.close_timeout)
        return tunnel

    def _fail(self, error: UpstreamError) -> None:
        """There is no server. A client that has begun, or does so soon, may be told."""
        context = self._context
        self._error = error
        context.client_conn.error = str(error)
        server_conn = context.server_conn
        if server_conn.address is None:
            server_conn = ServerConnection(self._address)
        host, port = self._address
        for scheme in (b"http", b"https"):
            context.session.servers.fail((scheme, host.encode(), port), error, server_conn)
        if self._data:
            self._start_tunnel()
        elif self.side.read_ended:
            self._give_up()
        else:
            self.side.deadline.set(context.environment.settings.close_timeout)

    def _give_up(self) -> None:
        """The client has ended without a word: then there is nothing but the log to tell of it."""
        error, self._error = self._error, None
        if error is None:
            # That has been told: what we hear of is our own closing.
            return
        context = self._context
        self.log.info(
            "{client} {destination}: {code}: {message}",
            client=format_address(context.client_conn.address),
            destination=format_address(self._address),
            code=error.code,
            message=str(error),
            proxy=context.environment.proxy,
        )
        self.side.close(context.environment.settings.close_timeout)
