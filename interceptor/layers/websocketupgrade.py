"""A request that asks for a WebSocket: its handshake, and what becomes of the connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from interceptor.errors import RemoteProtocolError
from interceptor.layers.exchange import HTTPExchange
from interceptor.layers.websocket import WebSocketLayer
from interceptor.model.websocket import WebSocketData
from interceptor.wire.websockethandshake import (
    accept_for,
    agreed_with_client,
    check_request,
    check_response,
    keep_known_extensions,
    key_of,
    names_websocket,
    offers_deflate,
)

if TYPE_CHECKING:
    from interceptor.interfaces import IServerStream
    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.task import Task
    from interceptor.model.http import Request
    from interceptor.wire.httpevents import RequestHead
    from interceptor.wire.websocketdeflate import Deflate


class WebSocketExchange(HTTPExchange):
    """Serves a request to speak WebSocket: ``websockets_handshake`` follows ``request``.

    What client and server agree on is kept apart for either: hooks may change what the client is
    told, or what the server is offered.
    """

    __slots__ = ("_key", "_offered", "_others", "_sent_key", "_sent_offer", "_with")

    def __init__(
        self, layer: HTTPLayer, stream: IServerStream, task: Task, head: RequestHead
    ) -> None:
        super().__init__(layer, stream, task, head)
        request = head.request
        self._key = key_of(request.headers)
        self._offered = offers_deflate(request)
        # Which other protocols the client would speak.
        self._others = _protocols(head.framing.upgrade) - {b"websocket"}
        # What the server is sent; no key where a hook made it another request.
        self._sent_key: bytes | None = None
        self._sent_offer = False
        # What was agreed on, with the server and with the client.
        self._with: tuple[Deflate | None, Deflate | None] = (None, None)

    async def _forward(self, gathered: bool) -> None:
        flow = self.flow
        if self._hooks.websockets_handshake is not None:
            await self._fire(self._hooks.websockets_handshake)
            if flow.response is not None:
                await self._respond()
                return
        request = flow.request
        if names_websocket(request.headers.get_bytes(b"upgrade")):
            self._prepare(request)
        await super()._forward(gathered)

    def _prepare(self, request: Request) -> None:
        """Check a handshake, and note what is offered."""
        try:
            check_request(request)
        except RemoteProtocolError:
            if self._settings.http_framing == "pass":
                # Whatever the server makes of it is no WebSocket.
                return
            raise
        keep_known_extensions(request)
        self._sent_key = key_of(request.headers)
        self._sent_offer = offers_deflate(request)

    async def answer_upgrade(self, server: Any) -> bool:
        flow = self.flow
        response = flow.response
        assert response is not None
        response.timestamp_end = time.time()
        deflate: Deflate | None = None
        chosen = _protocols(response.headers.get_bytes(b"upgrade"))
        if self._sent_key is not None and not chosen & self._others:
            deflate = check_response(response, self._sent_key, self._sent_offer)
            # The client is not told of what it has not offered, or a hook has for it.
            agreed_with_client(response, self._offered)
            if self._key is not None and self._key != self._sent_key:
                accept = accept_for(self._key).decode("ascii")
                response.headers["Sec-WebSocket-Accept"] = accept
            flow.websocket = WebSocketData()
        if not await super().answer_upgrade(server):
            flow.websocket = None
            return False
        if flow.websocket is not None:
            assert flow.response is not None
            self._with = (deflate, agreed_with_client(flow.response, self._offered))
        return True

    def websocket_layer(self, server: ServerSide) -> WebSocketLayer:
        """Return the layer for what was agreed on."""
        with_server, with_client = self._with
        return WebSocketLayer(self._layer.context, server, self.flow, with_client, with_server)


def _protocols(value: bytes | None) -> set[bytes]:
    return {part.strip(b" \t").lower() for part in (value or b"").split(b",")}
