"""SOCKS 5 as a layer: the client names a server, is told what became of it, and has a tunnel."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import InterceptorError, UpstreamError
from interceptor.layers.context import Context, Layer
from interceptor.layers.detect import Tunnel
from interceptor.layers.failures import ClientGoneError, ClientTooSlowError
from interceptor.layers.proxyauth import ProxyAuthRequiredError
from interceptor.layers.task import Task
from interceptor.model.connections import format_address
from interceptor.net.gate import BACKLOG
from interceptor.net.sides import Side, SideProtocol
from interceptor.wire.socks5 import (
    NO_AUTHENTICATION,
    USER_PASSWORD,
    ConnectRequest,
    Credentials,
    Greeting,
    Reply,
    SOCKS5Error,
    SOCKS5ServerCodec,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.proxyauth import ProxyAuthentication
    from interceptor.layers.serverside import ServerSide

_HIGH_WATER: Final = 65536
"""Bytes that a client may send ahead of the answer before it is not read from."""

_REPLIES: Final = {
    "connect-refused": Reply.CONNECTION_REFUSED,
    "connect-timeout": Reply.TTL_EXPIRED,
    "connect-unreachable": Reply.HOST_UNREACHABLE,
    "dns-failed": Reply.HOST_UNREACHABLE,
    "dns-timeout": Reply.TTL_EXPIRED,
    "proxy-loop": Reply.NOT_ALLOWED,
    "proxy-ring": Reply.NOT_ALLOWED,
    "refused-by-hook": Reply.NOT_ALLOWED,
    "upstream-proxy-timeout": Reply.TTL_EXPIRED,
}

_NETWORK_UNREACHABLE: Final = frozenset((errno.ENETUNREACH, errno.ENETDOWN, errno.EAFNOSUPPORT))


class SOCKS5Layer(Layer):
    """Serves one SOCKS 5 request, and leaves the connection to what is spoken in the tunnel.

    The server is connected to before the client is told of success, so that it can be told of
    failure; but for the strategy ``lazy``, which connects to nobody before it has to.
    """

    name = "socks5"

    def start(self, data: bytes) -> None:
        self.context.session.side.use(SOCKS5ServerProtocol(self.context), data)


class SOCKS5ServerProtocol(SideProtocol):
    """Stands on the client's side until the request is answered."""

    log = Logger()

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.environment.settings
        self._codec = SOCKS5ServerCodec()
        self._readable: Deferred[None] | None = None
        self._request: ConnectRequest | None = None
        self._server: ServerSide | None = None
        self._task = Task(self._serve(), self._served)

    # What the side tells

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self._settings.head_timeout)
        self._task.start()

    def dataReceived(self, data: bytes) -> None:
        self._codec.receive_data(data)
        if self._readable is not None:
            self._wake()
        elif self._codec.buffered > _HIGH_WATER:
            self.side.reading.pause(BACKLOG)

    def read_closed(self) -> None:
        # A client that has sent its request may still want to read.
        self._codec.receive_eof()
        self._wake()

    def timed_out(self) -> None:
        self._task.abort(
            ClientTooSlowError("the client was too slow: no SOCKS request in time", "socks-timeout")
        )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._readable is not None:
            # Nothing was asked for yet: nobody has to be told.
            self._readable = None
            self._task.discard()
        else:
            self._task.abort(ClientGoneError("the client closed its connection"))

    def _wake(self) -> None:
        readable, self._readable = self._readable, None
        if readable is not None:
            readable.callback(None)

    def _forget(self, _: Deferred[None]) -> None:
        self._readable = None

    # The conversation

    async def _next(self) -> Greeting | Credentials | ConnectRequest:
        while (event := self._codec.next_event()) is None:
            self._readable = Deferred(self._forget)
            await self._readable
        return event

    async def _serve(self) -> None:
        codec, side = self._codec, self.side
        greeting = await self._next()
        assert isinstance(greeting, Greeting)
        authentication = self._context.environment.authentication
        method = self._method(greeting, authentication is not None)
        side.write(codec.choose(method))
        if method == USER_PASSWORD:
            credentials = await self._next()
            assert isinstance(credentials, Credentials)
            if authentication is not None:
                await self._authenticate(authentication, credentials)
            # Else nobody asked for them: whoever has nothing else to offer may come in.
            side.write(codec.verdict(True))
        request = await self._next()
        assert isinstance(request, ConnectRequest)
        self._request = request
        side.deadline.clear()
        context = self._context
        bound = None
        internal = context.environment.internal(request.host.encode("ascii")) is not None
        if self._settings.connection_strategy != "lazy" and not internal:
            server = await context.session.servers.connect((request.host, request.port))
            self._server = server
            bound = server.server_conn.source_address
        side.write(codec.reply(Reply.SUCCEEDED, bound))

    def _method(self, greeting: Greeting, authenticated: bool) -> int:
        if authenticated:
            if USER_PASSWORD in greeting.methods:
                return USER_PASSWORD
            raise SOCKS5Error(
                "the proxy has users, and the client does not say who it is",
                "proxy-auth-required",
                self._codec.no_method(),
            )
        for method in (NO_AUTHENTICATION, USER_PASSWORD):
            if method in greeting.methods:
                return method
        raise SOCKS5Error(
            "the client has no method of authentication that is known here",
            "socks-no-method",
            self._codec.no_method(),
        )

    async def _authenticate(
        self, authentication: ProxyAuthentication, credentials: Credentials
    ) -> None:
        try:
            principal = await authentication.principal(credentials.username, credentials.password)
        except ProxyAuthRequiredError as error:
            raise SOCKS5Error(str(error), error.code, self._codec.verdict(False)) from None
        self._context.client_conn.principal = principal

    def _served(self, error: BaseException | None) -> None:
        side = self.side
        if error is None:
            self._begin_tunnel()
        elif isinstance(error, ClientGoneError):
            side.abort()
        elif isinstance(error, InterceptorError):
            self._refuse(error)
        else:
            proxy = self._context.environment.proxy
            self.log.failure("SOCKS layer failed: {error}", error=error, proxy=proxy)
            side.abort()

    def _begin_tunnel(self) -> None:
        server, request = self._server, self._request
        assert request is not None
        if self.side.closing:
            if server is not None:
                server.close()
            return
        self.log.debug(
            "{client}: SOCKS to {destination}",
            client=format_address(self._context.client_conn.address),
            destination=format_address((request.host, request.port)),
            proxy=self._context.environment.proxy,
        )
        destination = (b"http", request.host.encode("ascii"), request.port)
        Tunnel(self._context, server, destination).start(self._codec.take_rest())

    def _refuse(self, error: InterceptorError) -> None:
        """Tell the client, the log and whoever looks at its connection; then close."""
        context, side = self._context, self.side
        client_conn = context.client_conn
        client_conn.error = str(error)
        request = self._request
        self.log.info(
            "{client} {destination}: {code}: {message}",
            client=format_address(client_conn.address),
            destination="-" if request is None else format_address((request.host, request.port)),
            code=error.code,
            message=str(error),
            proxy=context.environment.proxy,
        )
        if side.closing:
            return
        if isinstance(error, SOCKS5Error):
            answer = error.answer
        elif request is None:
            answer = b""
        else:
            answer = self._codec.reply(reply_for(error))
        if answer:
            side.write(answer)
        side.close(self._settings.close_timeout, linger=True)


def reply_for(error: InterceptorError) -> Reply:
    """Return what tells a client best why there is no connection to its server."""
    if isinstance(error, UpstreamError) and error.os_error in _NETWORK_UNREACHABLE:
        return Reply.NETWORK_UNREACHABLE
    return _REPLIES.get(error.code, Reply.GENERAL_FAILURE)
