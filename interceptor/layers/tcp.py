"""Raw TCP: two connections joined, half-close and back-pressure included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.layers.context import Context, Layer
from interceptor.layers.relay import Opener, Relay
from interceptor.layers.tcpexchange import TCPExchange, has_listeners
from interceptor.net.gate import SETUP

if TYPE_CHECKING:
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import Destination


class TCPLayer(Layer):
    """Passes bytes between the client and a server: a connected one, or one to connect to.

    ``passthrough`` says why TLS is left alone here, if so. There is a flow, and events, only where
    somebody listens to them when the layer starts.
    """

    name = "tcp"

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
        self._server = server
        self._destination = destination

    def start(self, data: bytes) -> None:
        server, destination = self._server, self._destination
        if server is None and destination is None:
            self.context.session.side.abort()
        elif has_listeners(self.context.environment.hooks):
            TCPExchange(self.context, self.passthrough).start(server, destination, data)
        elif server is not None:
            self._join(server, data)
        elif destination is not None:
            opener = Opener(data)
            self.context.session.side.use(opener)
            opener.open(self.context.session.servers.open(destination), self._join)

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
