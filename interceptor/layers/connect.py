"""CONNECT (RFC 9110 section 9.3.6): one hook, one connection, and then a tunnel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from interceptor.layers.detect import Tunnel
from interceptor.layers.exchange import HTTPExchange
from interceptor.layers.failures import check_final
from interceptor.model.headers import Headers
from interceptor.model.http import Response

if TYPE_CHECKING:
    from interceptor.layers.serverside import ServerSide


class ConnectExchange(HTTPExchange):
    """Serves CONNECT: fires ``http_connect`` and ``http_connected``, or ``error``, and no others.

    The server is connected to before the client is told of success, so that it can be told of
    failure; but for the strategy ``lazy``, which connects to nobody before it has to.
    """

    __slots__ = ()

    async def _serve(self) -> None:
        flow, hooks, stream = self.flow, self._hooks, self._stream
        request = flow.request
        request.attach_body(b"")
        request.timestamp_end = request.timestamp_start
        if hooks.http_connect is not None:
            await self._fire(hooks.http_connect)
        response = flow.response
        if response is not None and not 200 <= response.status_code < 300:
            self._responding = True
            check_final(response)
            # The specification: it is returned to the client, and aborts the connection.
            stream.refuse(request, response)
            self._sending = True
            return
        side: ServerSide | None = None
        environment = self._layer.context.environment
        internal = environment.internal(request.host_bytes) is not None
        context = self._layer.context
        if self._settings.connection_strategy != "lazy" and not internal:
            side = await self._layer.servers.connect((request.host, request.port), flow)
        context.via = tuple(request.headers.get_all("via"))
        if response is None:
            response = flow.response = Response(
                b"HTTP/1.1", 200, b"Connection established", Headers(), time.time()
            )
        response.attach_body(b"")
        response.timestamp_end = time.time()
        if hooks.http_connected is not None:
            await self._fire(hooks.http_connected)
        stream.send_message(request, response, b"")
        self._sending = True
        self._responding = True
        destination = (b"http", request.host_bytes, request.port)
        tunnel = Tunnel(context, side, destination)
        stream.take_over(tunnel.start)
