"""HTTP as a layer: where its requests may go, and what becomes of a connection after it."""

from __future__ import annotations

import hmac
import time
from collections.abc import Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger

from interceptor.errors import InterceptorError, RemoteProtocolError, UpstreamError
from interceptor.layers.connect import ConnectExchange
from interceptor.layers.context import Context, Layer
from interceptor.layers.detect import switch
from interceptor.layers.errorpage import error_response
from interceptor.layers.exchange import HTTPExchange
from interceptor.layers.hooking import run_hook
from interceptor.layers.http1 import HTTP1ServerProtocol
from interceptor.layers.proxyauth import (
    CHALLENGE,
    ProxyAuthentication,
    ProxyAuthRequiredError,
    basic_credentials,
)
from interceptor.model.connections import ServerConnection, format_address
from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.headers import Headers
from interceptor.model.http import Request
from interceptor.wire.http1codec import WORTH_KEEPING

if TYPE_CHECKING:
    from interceptor.interfaces import IServerStream
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import ServerPool
    from interceptor.layers.websocketupgrade import WebSocketExchange
    from interceptor.net.sides import SideProtocol
    from interceptor.wire.httpevents import RequestHead

_PREFACE = b"PRI * "
"""How a connection in HTTP/2 begins; no request in HTTP/1 does (RFC 9113 section 3.4)."""


class HTTPLayer(Layer):
    """Speaks HTTP with the client.

    Without a ``destination`` every request has to name its server (a proxy's request, RFC 9112
    section 3.2.2), and CONNECT is served. With one, all requests go there; ``rewrite_host`` then
    makes their Host name it.
    """

    name = "http"

    log = Logger()

    def __init__(
        self,
        context: Context,
        destination: Destination | None = None,
        *,
        rewrite_host: bool = False,
        server: ServerSide | None = None,
    ) -> None:
        super().__init__(context, server, destination)
        self.is_proxy = destination is None
        self.rewrite_host = rewrite_host
        # Clients that know of no proxy can ask for its own page by that alone.
        self._looks_at_host = rewrite_host or context.mode_spec.kind == "transparent"
        self.servers: ServerPool = context.session.servers
        self.mode_name = context.mode
        # By whom, and by which field, the connection's last request was let in.
        self._admitted: tuple[ProxyAuthentication, bytes] | None = None
        # The last field block that was given another Host, that, and what became of the block: most
        # requests on a connection have the same, and the codec hands out the same object then.
        self._renamed: tuple[bytes, bytes, Headers] | None = None
        # Whether its requests are served beside each other.
        self._multiplexed = False
        # What a flow has before it is known where it goes: in a tunnel the server at its end, else
        # one that is not connected, rather than that of the flow before.
        self.first_server_conn = _first_connection(context, server)

    def start(self, data: bytes) -> None:
        protocol = self._protocol(data)
        if self.server is not None and self.destination is not None:
            # The tunnel's connection is there already: it serves the first request.
            self.servers.keep(self.server, self.destination)
        elif (
            self.destination is not None
            and self.context.environment.settings.connection_strategy == "eager"
        ):
            self.servers.warm_up(self.destination)
        self.context.session.side.use(protocol, data)

    def _protocol(self, data: bytes) -> SideProtocol:
        """Return what speaks the version that the client speaks."""
        client_conn, settings = self.context.client_conn, self.context.environment.settings
        if client_conn.alpn != b"h2" and not (settings.h2_cleartext and data.startswith(_PREFACE)):
            return HTTP1ServerProtocol(self)
        # Most programs never meet HTTP/2: its modules cost memory and time to start.
        from interceptor.layers.http2server import HTTP2ServerProtocol

        self._multiplexed = True
        protocol = HTTP2ServerProtocol(self)
        self.servers.speak_http2(protocol, cleartext=not client_conn.tls_established)
        return protocol

    def exchange(self, stream: IServerStream, head: RequestHead) -> Coroutine[Any, Any, None]:
        """Return what serves one request."""
        environment = self.context.environment
        environment.admission.check_flow()
        request = head.request
        request.decode_limits = environment.settings.decode_limits
        if request.first_line_format == "authority":
            kind: type[HTTPExchange] = ConnectExchange
            if not self.is_proxy:
                raise RemoteProtocolError("CONNECT is for proxies only", "connect-not-allowed", 405)
        else:
            upgrade = head.framing.upgrade
            kind = HTTPExchange if upgrade is None else self._upgrade_kind(request, upgrade)
            if not self.is_proxy:
                self._route(request)
            elif request.authority_bytes:
                # From HTTP/2 on every request names its server.
                request.first_line_format = "absolute"
            elif request.first_line_format != "absolute":
                raise RemoteProtocolError(
                    "this is a proxy: its requests name their server, as in "
                    "`GET http://example.org/ HTTP/1.1`",
                    "target-not-absolute",
                )
        authentication = self.context.environment.authentication
        if authentication is not None and self.is_proxy:
            # It is for us alone: neither hooks nor servers get it.
            value = request.headers.get_bytes(b"proxy-authorization")
            if value is not None:
                del request.headers["proxy-authorization"]
            if not self._is_known(authentication, value):
                return self._admit(authentication, value, kind, stream, head)
        return kind(self, stream, stream.task, head).run()

    def _upgrade_kind(self, request: Request, upgrade: bytes) -> type[HTTPExchange]:
        """Return what serves a request for another protocol."""
        # Most programs never meet a WebSocket.
        from interceptor.wire.websockethandshake import names_websocket

        if not names_websocket(upgrade):
            if request.method_bytes == b"CONNECT":
                raise RemoteProtocolError(
                    f"nothing here speaks {upgrade[:80]!r} over HTTP/2",
                    "connect-protocol-unsupported",
                    501,
                )
            return HTTPExchange
        from interceptor.layers.websocketupgrade import WebSocketExchange

        return WebSocketExchange

    def _is_known(self, authentication: ProxyAuthentication, value: bytes | None) -> bool:
        """Whether the request says the same as the one before, which was let in."""
        admitted = self._admitted
        return (
            admitted is not None
            and value is not None
            and admitted[0] is authentication
            and hmac.compare_digest(admitted[1], value)
        )

    async def _admit(
        self,
        authentication: ProxyAuthentication,
        value: bytes | None,
        kind: type[HTTPExchange],
        stream: Any,
        head: RequestHead,
    ) -> None:
        """Serve the request if it says truly, with its Proxy-Authorization, who sends it."""
        client_conn = self.context.client_conn
        if self._admitted is not None and not self._multiplexed:
            # Somebody else, it seems.
            self._admitted = client_conn.principal = None
        try:
            credentials = basic_credentials(value)
            principal = await authentication.principal(*credentials)
            if self._multiplexed and client_conn.principal not in (None, principal):
                # Hooks of the other requests still read there who that is.
                raise ProxyAuthRequiredError(
                    "this connection is another user's, whose requests are served beside this one"
                )
            client_conn.principal = principal
        except ProxyAuthRequiredError as error:
            self.refuse(stream, error, head.request)
            return
        if value is not None:
            self._admitted = authentication, value
        await kind(self, stream, stream.task, head).run()

    def _route(self, request: Request) -> None:
        assert self.destination is not None
        self._send_to(request, self.destination)

    def _send_to(self, request: Request, destination: Destination) -> None:
        scheme, host, port = destination
        request.first_line_format = "relative"
        if self._looks_at_host:
            environment = self.context.environment
            named = request.host_header_bytes
            if named is not None and environment.internal_hosts:
                internal = named.partition(b":")[0].lower()
                if internal in environment.internal_hosts:
                    request.set_destination(b"http", internal, 80)
                    return
            if self.rewrite_host and not environment.settings.keep_host_header:
                wanted = host_field(scheme, host, port)
                if named != wanted:
                    self._rename(request, wanted)
        request.set_destination(scheme, host, port)

    def _rename(self, request: Request, wanted: bytes) -> None:
        """Let a request name the server that it goes to."""
        raw = None if request.authority_bytes else request.headers.raw
        known = self._renamed
        if raw is not None and known is not None and known[0] is raw and known[1] == wanted:
            request.headers = known[2].copy()
            return
        request.host_header = wanted
        if raw is not None and len(raw) <= WORTH_KEEPING and not request.anomalies:
            # With a block of their own they are checked and put together once.
            headers = Headers.from_wire(request.headers.fields, bytes(request.headers))
            self._renamed = (raw, wanted, headers)
            request.headers = headers.copy()

    async def upgrade(self, exchange: HTTPExchange, server: Any) -> None:
        """Pass a 101 on, and leave both connections to whatever was agreed on."""
        if not exchange.upgrade_offered:
            raise UpstreamError(
                "the server switched protocols without being asked", "unexpected-upgrade"
            )
        if not await exchange.answer_upgrade(server):
            return
        side, early = server.hand_over()
        stream = exchange.stream
        # One stream of several is a session of its own from here on.
        context = self.context if stream.tunnel is None else stream.tunnel.context
        layer: Layer
        if exchange.flow.websocket is None:
            from interceptor.layers.tcp import TCPLayer

            layer = TCPLayer(context, side)
        else:
            layer = cast("WebSocketExchange", exchange).websocket_layer(context, side)
        side.hold(early)
        stream.take_over(lambda rest: switch(context, layer, rest))

    def refuse(
        self,
        stream: Any,
        error: InterceptorError,
        request: Request | None = None,
    ) -> None:
        """Answer a request that no exchange is begun for.

        Without ``request`` its head could not be understood, or did not come in time.
        """
        self.tell_failure(error, request)
        if stream.side.closing:
            return
        status = getattr(error, "status", 400)
        response = error_response(status, error.code, str(error))
        if isinstance(error, ProxyAuthRequiredError):
            response.headers["Proxy-Authenticate"] = CHALLENGE
        stream.refuse(request, response)
        stream.hang_up()

    def tell_failure(self, error: InterceptorError, request: Request | None = None) -> None:
        """Let log and hooks know of what came and could not be served."""
        context = self.context
        flow = HTTPFlow(context.client_conn, self.first_server_conn, self.mode_name, None)
        now = time.time()
        # Hooks may rely on there being a request: this one says that there was none.
        flow.request = request or Request(
            b"?", b"http", b"", 0, b"", b"HTTP/1.1", Headers(), "relative", now
        )
        flow.error = Error(str(error), now, error.code)
        self.log.info(
            "{client}: {code}: {message}",
            client=format_address(context.client_conn.address),
            code=error.code,
            message=str(error),
            of_flow=True,
            proxy=context.environment.proxy,
        )
        fire = context.environment.hooks.error
        if fire is not None:
            run_hook(fire, flow)


def _first_connection(context: Context, server: ServerSide | None) -> ServerConnection:
    if server is not None:
        return server.server_conn
    latest = context.server_conn
    return latest if latest.address is None else ServerConnection(None)


class NotTLSLayer(HTTPLayer):
    """Refuses plain HTTP where TLS is due: a server for https would only misunderstand it."""

    name = "not-tls"

    def start(self, data: bytes) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.close()
        self.context.session.side.use(HTTP1ServerProtocol(self), data)

    def exchange(self, stream: IServerStream, head: RequestHead) -> Coroutine[Any, Any, None]:
        assert self.destination is not None
        host = self.destination[1].decode("utf-8", "surrogateescape")
        raise RemoteProtocolError(
            f"the client speaks plain HTTP to port {self.destination[2]} of {host}, where TLS is "
            "due: its URL should begin with `https://`, or its proxy setting is for another scheme",
            "client-not-tls",
        )


@lru_cache(maxsize=256)
def host_field(scheme: bytes, host: bytes, port: int) -> bytes:
    """Return the Host field for a destination (RFC 9110 section 7.2)."""
    name = b"[%b]" % host if b":" in host else host
    return name if port == (443 if scheme == b"https" else 80) else b"%b:%d" % (name, port)
