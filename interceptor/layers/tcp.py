"""Raw TCP: two connections joined, half-close and back-pressure included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.layers.context import Context, Layer
from interceptor.layers.joint import Joint
from interceptor.layers.tcpexchange import TCPExchange, has_listeners

if TYPE_CHECKING:
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide


class TCPLayer(Layer):
    """Passes bytes between the client and a server: a connected one, or one to connect to.

    ``passthrough`` says why TLS is left alone here, if so. Else plain text may turn to TLS at any
    moment (`Joint`). There is a flow, and events, only where somebody listens to them when the
    layer starts.
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
        super().__init__(context, server, destination)
        self.passthrough = passthrough

    def start(self, data: bytes) -> None:
        server, destination = self.server, self.destination
        if server is None and destination is None:
            self.context.session.side.abort()
            return
        told = has_listeners(self.context.environment.hooks)
        joint = (TCPExchange if told else Joint)(self.context, self.passthrough)
        joint.start(server, destination, data)
