"""Raw TCP: two connections joined, half-close and back-pressure included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from interceptor.layers.context import Context, Layer
from interceptor.layers.failures import describe
from interceptor.layers.relay import Opener, Relay
from interceptor.layers.tcpexchange import TCPExchange, has_listeners
from interceptor.model.connections import format_address
from interceptor.net.gate import SETUP

if TYPE_CHECKING:
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide


class TCPLayer(Layer):
    """Passes bytes between the client and a server: a connected one, or one to connect to.

    ``passthrough`` says why TLS is left alone here, if so. There is a flow, and events, only where
    somebody listens to them when the layer starts.
    """

    name = "tcp"

    log = Logger()

    def __init__(
        self,
        context: Context,
        server: ServerSide | None = None,
        destination: Destination | None = None,
        *,
        passthrough: str | None = None,
    ) -> None:
        super().__init__(context)
        self.passthrough = passthrough
        self.server = server
        self.destination = destination

    def start(self, data: bytes) -> None:
        server, destination = self.server, self.destination
        if server is None and destination is None:
            self.context.session.side.abort()
        elif has_listeners(self.context.environment.hooks):
            TCPExchange(self.context, self.passthrough).start(server, destination, data)
        elif server is not None:
            self._join(server, data)
        elif destination is not None:
            opener = Opener(data, self._failed)
            self.context.session.side.use(opener)
            opener.open(self.context.session.servers.open(destination), self._join)

    def _failed(self, error: Exception) -> None:
        """There is no server, and no flow that could tell of it."""
        code, _, message = describe(error)
        self.log.info(
            "{client}: {code}: {message}",
            client=format_address(self.client_conn.address),
            code=code,
            message=message,
            proxy=self.context.environment.proxy,
        )

    def _join(self, server: ServerSide, data: bytes) -> None:
        client = self.context.session.side
        settings = self.context.environment.settings
        if server.closing:
            client.close(settings.close_timeout)
            return
        upward = Relay(server, settings.tunnel_idle_timeout, settings.close_timeout)
        downward = Relay(client, settings.tunnel_idle_timeout, settings.close_timeout)
        early, server.early = server.early, b""
        client.use(upward, data)
        server.use(downward, early)
        server.reading.resume(SETUP)
