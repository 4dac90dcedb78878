"""A request that asks for a WebSocket: its handshake, and what becomes of the connections."""

from __future__ import annotations

import base64
import os
import time
from typing import TYPE_CHECKING, Any

from interceptor.errors import RemoteProtocolError
from interceptor.layers.exchange import HTTPExchange
from interceptor.layers.failures import response_removed
from interceptor.layers.websocket import WebSocketLayer
from interceptor.model.websocket import WebSocketData
from interceptor.wire.websockethandshake import (
    accept_for,
    agreed_with_client,
    as_connect,
    as_upgrade,
    check_connect,
    check_request,
    check_response,
    keep_known_extensions,
    key_of,
    names_websocket,
    offers_deflate,
)

if TYPE_CHECKING:
    from interceptor.interfaces import IServerStream
    from interceptor.layers.context import Context
    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.task import Task
    from interceptor.model.http import Request, Response
    from interceptor.wire.httpevents import RequestHead, ResponseHead
    from interceptor.wire.websocketdeflate import Deflate


class WebSocketExchange(HTTPExchange):
    """Serves a request to speak WebSocket: ``websockets_handshake`` follows ``request``.

    What client and server agree on is kept apart for either: hooks may change what the client is
    told, or what the server is offered; and either may speak HTTP/1 (RFC 6455) or HTTP/2 (RFC
    8441).
    """

    __slots__ = ("_connects", "_key", "_offered", "_others", "_sent_key", "_sent_offer", "_with")

    def __init__(
        self, layer: HTTPLayer, stream: IServerStream, task: Task, head: RequestHead
    ) -> None:
        super().__init__(layer, stream, task, head)
        request = head.request
        # Over HTTP/2 it is a CONNECT, without a key.
        self._connects = request.method_bytes == b"CONNECT"
        self._key = key_of(request.headers)
        self._offered = offers_deflate(request)
        # Which other protocols the client would speak.
        self._others = _protocols(head.framing.upgrade) - {b"websocket"}
        # What the server is sent; no key where a hook made it another request.
        self._sent_key: bytes | None = None
        self._sent_offer = False
        # What was agreed on, with the server and with the client.
        self._with: tuple[Deflate | None, Deflate | None] = (None, None)

    @property
    def upgrade_offered(self) -> bool:
        return True

    # The request

    async def _serve(self) -> None:
        if not self._connects:
            await super()._serve()
            return
        flow, hooks = self.flow, self._hooks
        flow.request.timestamp_end = flow.request.timestamp_start
        # What comes behind the head is no body.
        flow.request.attach_body(b"")
        for fire in (hooks.requestheaders, hooks.request):
            if fire is not None and flow.response is None:
                await self._fire(fire)
        if flow.response is not None:
            await self._respond()
        else:
            await self._forward(True)

    async def _forward(self, gathered: bool) -> None:
        flow = self.flow
        if self._hooks.websockets_handshake is not None:
            await self._fire(self._hooks.websockets_handshake)
            if flow.response is not None:
                await self._respond()
                return
        request = flow.request
        if self._connects or names_websocket(request.headers.get_bytes(b"upgrade")):
            self._prepare(request)
        await super()._forward(gathered)

    def _prepare(self, request: Request) -> None:
        """Check a handshake, and note what is offered."""
        try:
            if self._connects:
                check_connect(request)
            else:
                check_request(request)
        except RemoteProtocolError:
            if self._settings.http_framing == "pass" and not self._connects:
                # Whatever the server makes of it is no WebSocket.
                return
            raise
        keep_known_extensions(request)
        self._sent_key = key_of(request.headers)
        self._sent_offer = offers_deflate(request)

    def _send_request(self, server: Any, request: Request, gathered: bool) -> None:
        if server.shared and (self._connects or self._sent_key is not None):
            server.send_connect(request if self._connects else as_connect(request), b"websocket")
            self._sent_key = None
        elif self._connects:
            key = self._sent_key = base64.b64encode(os.urandom(16))
            server.send_message(as_upgrade(request, key), b"")
        else:
            super()._send_request(server, request, gathered)

    # The answer

    async def _receive(self, server: Any, head: ResponseHead) -> None:
        flow = self.flow
        if not (server.shared and 200 <= head.response.status_code < 300):
            await super()._receive(server, head)
            return
        response = flow.response = head.response
        if self._hooks.responseheaders is not None:
            await self._fire(self._hooks.responseheaders)
        if flow.response is response:
            await self._layer.upgrade(self, server)
            return
        server.abort("answered by a hook")
        self._server = None
        if flow.response is None:
            raise response_removed()
        await self._respond()

    async def answer_upgrade(self, server: Any) -> bool:
        flow = self.flow
        response = flow.response
        assert response is not None
        response.timestamp_end = time.time()
        response.attach_body(b"")
        deflate: Deflate | None = None
        chosen = _protocols(response.headers.get_bytes(b"upgrade"))
        if server.shared or (self._sent_key is not None and not chosen & self._others):
            deflate = check_response(response, self._sent_key, self._sent_offer)
            # The client is not told of what it has not offered, or a hook has for it.
            agreed_with_client(response, self._offered)
            self._translate(response)
            flow.websocket = WebSocketData()
        await self._respond(switching=True)
        assert flow.response is not None
        if flow.response.status_code != (200 if self._connects else 101):
            flow.websocket = None
            self._server = None
            server.abort("a hook refused the upgrade")
            return False
        if flow.websocket is not None:
            self._with = (deflate, agreed_with_client(flow.response, self._offered))
        if self._upload is not None:
            # RFC 9110 section 7.8: no protocol is left in the middle of a message.
            await self._upload.sent
        self._server = None
        return True

    def _translate(self, response: Response) -> None:
        """Make a server's agreement one in the client's version of HTTP."""
        headers = response.headers
        if self._connects:
            if response.status_code == 101:
                response.status_code, response.reason = 200, ""
                for name in ("upgrade", "connection", "sec-websocket-accept"):
                    headers.pop(name, None)
            return
        assert self._key is not None
        if response.status_code != 101:
            response.status_code, response.reason = 101, "Switching Protocols"
            response.http_version = "HTTP/1.1"
            headers["Upgrade"], headers["Connection"] = "websocket", "Upgrade"
        if self._key != self._sent_key:
            headers["Sec-WebSocket-Accept"] = accept_for(self._key).decode("ascii")

    def websocket_layer(self, context: Context, server: ServerSide) -> WebSocketLayer:
        """Return the layer for what was agreed on."""
        with_server, with_client = self._with
        return WebSocketLayer(context, server, self.flow, with_client, with_server)


def _protocols(value: bytes | None) -> set[bytes]:
    return {part.strip(b" \t").lower() for part in (value or b"").split(b",")} - {b""}
