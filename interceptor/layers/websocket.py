"""WebSocket between a client and a server that have agreed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.layers.context import Context, Layer
from interceptor.layers.websocketrelay import WebSocketRelay

if TYPE_CHECKING:
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.flow import HTTPFlow
    from interceptor.wire.websocketdeflate import Deflate


class WebSocketLayer(Layer):
    """Passes messages between the client and ``server``, and lets hooks see them.

    ``flow`` is that of the handshake. ``with_client`` and ``with_server`` are what was agreed on
    for compression with either; None is none.
    """

    name = "websocket"

    def __init__(
        self,
        context: Context,
        server: ServerSide,
        flow: HTTPFlow,
        with_client: Deflate | None = None,
        with_server: Deflate | None = None,
    ) -> None:
        super().__init__(context)
        self.flow = flow
        self.server: ServerSide = server
        self._with = (with_client, with_server)

    def start(self, data: bytes) -> None:
        relay = WebSocketRelay(self.context, self.flow, *self._with)
        relay.start(self.context.session.side, self.server, data)
