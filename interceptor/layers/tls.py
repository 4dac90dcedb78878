"""TLS as a layer: the client's hello is read, the server asked, the client answered in its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import InterceptorError, RemoteProtocolError, TLSError, UpstreamError
from interceptor.layers.context import Context, Layer
from interceptor.layers.destinations import ENCRYPTED, RAW
from interceptor.layers.detect import DetectProtocol, Tunnel, switch
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.hooking import run_hook
from interceptor.layers.passthrough import REFUSALS
from interceptor.layers.servertls import Offer, describe_session, secure
from interceptor.layers.task import Task
from interceptor.model.connections import format_address
from interceptor.net.gate import SETUP
from interceptor.net.handshakes import is_address, server_names
from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tls import TLSTransport
from interceptor.wire.tlsalert import alert_record, describe_alert
from interceptor.wire.tlshello import ClientHello, ClientHelloReader

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide

_HTTP: Final = (b"http/1.1",)
_UNDERSTAND_PAGES: Final = frozenset((*_HTTP, b"h2", b"http/1.0"))

# Alerts by what went wrong, where the server itself has sent none (RFC 8446, section 6.2).
_HANDSHAKE_FAILURE: Final = 40
_INTERNAL_ERROR: Final = 80
_ALERTS: Final = {
    "backend-unknown": 112,
    "tls-hello-malformed": 50,
    "tls-hello-too-large": 22,
    "tls-version": 70,
    "tls-weak-key": 71,
}


class TLSClientHello:
    """What ``tls_clienthello`` is given: the hello, and whether it is answered.

    ``client_hello`` is the parsed message, ``sni`` and ``alpn`` are its own. ``host`` and ``port``
    name the server, as far as it is known (None for TLS with the proxy itself). Setting
    ``passthrough`` hands the connection to the server untouched.
    """

    def __init__(self, context: Context, hello: ClientHello, host: str | None, port: int) -> None:
        self.context = context
        self.client_hello = hello
        self.host = host
        self.port = port
        self.passthrough = False

    @property
    def sni(self) -> str | None:
        """The server name that the client asks for."""
        return self.client_hello.sni

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """The protocols that the client offers, in its order."""
        return self.client_hello.alpn


class TLSLayer(Layer):
    """Opens TLS.

    ``destination`` is the server that the client wants to speak TLS with; None for TLS with the
    proxy itself. ``server`` is a connection to it that is there already.
    """

    name = "tls"

    log = Logger()

    def __init__(
        self,
        context: Context,
        destination: Destination | None = None,
        server: ServerSide | None = None,
    ) -> None:
        super().__init__(context, server, destination)
        self._below: Side = context.session.side

    def start(self, data: bytes) -> None:
        self._below = self.context.session.side
        self._below.use(_HelloProtocol(self), data)

    # The hello

    async def open(self, hello: ClientHello) -> None:
        """Answer the hello; the layer above is started in the end."""
        context = self.context
        environment = context.environment
        host, port = self._place()
        event = TLSClientHello(context, hello, host, port)
        fire = environment.hooks.tls_clienthello
        if fire is not None:
            waiting = fire(event)
            if waiting is not None:
                await waiting
        context.client_conn.sni = hello.sni
        if self.destination is not None:
            addresses = (host, hello.sni, self._server_address())
            reason = environment.passthrough.reason(port, addresses)
            if event.passthrough or reason is not None:
                self._pass_through(hello, reason or "tls_clienthello")
                return
            if not self._raw and environment.passthrough.raw(port, addresses):
                self.destination = (b"tls", *self.destination[1:])
        failure = None
        if self._asks_first():
            try:
                await self._ask_server(hello)
            except UpstreamError as error:
                failure = error
                self.server = None
                if self._raw or (hello.alpn and _UNDERSTAND_PAGES.isdisjoint(hello.alpn)):
                    # It would not understand a page: an alert is all that can be said.
                    self._log(hello, error)
                    self._refuse(error)
                    return
        await self._answer(hello, failure)

    def _place(self) -> tuple[str | None, int]:
        if self.destination is None:
            return None, 0
        return self.destination[1].decode("utf-8", "surrogateescape"), self.destination[2]

    def _server_address(self) -> str | None:
        if self.server is None or self.server.server_conn.ip_address is None:
            return None
        return self.server.server_conn.ip_address[0]

    def _asks_first(self) -> bool:
        if self.destination is None or self.destination[0] not in ENCRYPTED:
            return False
        environment = self.context.environment
        if environment.internal(self.destination[1]) is not None:
            return False
        return self.server is not None or environment.settings.connection_strategy != "lazy"

    async def _ask_server(self, hello: ClientHello) -> None:
        """Shake hands with the server, as the client would have done."""
        host, port = self._place()
        assert host is not None
        servers = self.context.session.servers
        sni = hello.sni
        if self.context.mode_spec.kind == "reverse":
            # What the client calls us is not what the server is called.
            sni = None if is_address(host) else host
        offer = Offer(sni or host, sni, self._spoken(hello.alpn))
        servers.offer(host, port, offer)
        if self.server is None:
            self.server = await servers.connect((host, port))
        if not self._secured:
            self.server = await secure(self.server, host, offer)

    # The answer

    async def _answer(self, hello: ClientHello, failure: UpstreamError | None) -> None:
        environment = self.context.environment
        below = self._below
        chosen: tuple[bytes, ...] = () if self._raw else self._ours
        names = self._names(hello)
        if self.server is not None:
            conn = self.server.server_conn
            if conn.tls_established:
                chosen = () if conn.alpn is None else (conn.alpn,)
                if conn.alpn == b"h2" and b"h2" not in hello.alpn:
                    chosen = _HTTP
                if conn.cert is not None:
                    names = server_names(conn.cert, names[0] if names else None)
        try:
            connection = environment.handshakes.to_client(hello, names, chosen)
        except InterceptorError as error:
            self._no_answer(hello, error)
            return
        above = Side(environment.clock)
        done: Deferred[None] = Deferred(lambda _: below.abort())

        def established(transport: TLSTransport) -> None:
            above.reading.pause(SETUP)
            above.protocol = _Quiet()
            above.protocol.attach(above)
            done.callback(None)

        def failed(transport: TLSTransport, error: TLSError) -> None:
            done.errback(error)

        transport = TLSTransport(
            connection,
            above,
            peer="client",
            on_established=established,
            on_failed=failed,
            handshake_timeout=environment.settings.tls_timeout,
            close_timeout=environment.settings.close_timeout,
        )
        below.reading.resume(SETUP)
        below.use(transport, hello.raw)
        try:
            await done
        except TLSError as error:
            self._client_failed(hello, error)
            return
        await self._established(transport, above, failure)

    @property
    def _raw(self) -> bool:
        """Whether what is inside is nothing that is spoken here."""
        return self.destination is not None and self.destination[0] in RAW

    @property
    def _secured(self) -> bool:
        """Whether we speak TLS with the server already, which the client was not waited for."""
        return self._raw and self.server is not None and self.server.server_conn.tls_established

    def _spoken(self, alpn: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Of what the client offers, what may be spoken with the server."""
        if self._raw:
            return alpn
        settings = self.context.environment.settings
        if not settings.http2 or settings.h2_upstream == "never":
            return tuple(each for each in alpn if each != b"h2")
        if settings.h2_upstream == "always" and b"h2" not in alpn:
            return (b"h2", *(alpn or _HTTP))
        return alpn

    @property
    def _ours(self) -> tuple[bytes, ...]:
        """What the client can choose from where no server has chosen already."""
        return (b"h2", *_HTTP) if self.context.environment.settings.http2 else _HTTP

    def _names(self, hello: ClientHello) -> tuple[str, ...]:
        """What the client calls whom it speaks with: us, where it was not told of a server."""
        host, _ = self._place()
        sockname = self.context.client_conn.sockname
        ours = None if sockname is None else sockname[0]
        known = (ours, host) if self.context.mode_spec.kind == "reverse" else (host, ours)
        for name in (hello.sni, *known):
            if name:
                return (name,)
        return ()

    async def _established(
        self, transport: TLSTransport, above: Side, failure: UpstreamError | None
    ) -> None:
        context = self.context
        client_conn = context.client_conn
        describe_session(client_conn, transport)
        fire = context.environment.hooks.tls_established
        if fire is not None:
            waiting = fire(client_conn)
            if waiting is not None:
                await waiting
        if above.closing:
            self._give_up(ClientGoneError("the client closed its connection"))
            return
        context.session.side = above
        above.reading.resume(SETUP)
        self._go_on(failure)

    def _go_on(self, failure: UpstreamError | None) -> None:
        """Leave what is inside of TLS to what comes next."""
        context = self.context
        session = context.session
        if self.destination is None:
            session.side.use(DetectProtocol(context))
            return
        if failure is not None:
            session.servers.fail(self.destination, failure, context.server_conn)
        if self._raw:
            rules = context.environment.rules
            switch(context, rules.relay_layer(context, self.server, self.destination), b"")
            return
        Tunnel(context, self.server, self.destination).start(b"")

    # Other ends

    def _pass_through(self, hello: ClientHello, reason: str) -> None:
        self._log_passthrough(hello, reason)
        self._below.reading.resume(SETUP)
        plain = None if self.destination is None else (b"tcp", *self.destination[1:])
        if self._secured:
            # The client will speak TLS with the server by itself.
            self._let_go()
        from interceptor.layers.tcp import TCPLayer

        layer = TCPLayer(self.context, self.server, plain, passthrough=reason)
        switch(self.context, layer, hello.raw)

    def _client_failed(self, hello: ClientHello, error: TLSError) -> None:
        """The client gave the handshake up, or what it sent makes none."""
        environment = self.context.environment
        host, port = self._place()
        if error.received and error.alert in REFUSALS:
            name = hello.sni or host
            error = TLSError(
                f"the client does not trust our certificate for {name or 'the proxy itself'}: it "
                f"ended the handshake with the alert {describe_alert(error.alert)}",
                "client-distrusts-ca",
                peer="client",
                alert=error.alert,
                received=True,
            )
            if (
                name is not None
                and self.destination is not None
                and environment.passthrough.refused(name, port, error.alert)
            ):
                self.log.info(
                    "{name}:{port} passes through from now on, for a client does not accept our "
                    "certificate",
                    name=name,
                    port=port,
                    proxy=environment.proxy,
                )
        self._tell_failure(hello, error)
        self._give_up(error)
        self._below.close(environment.settings.close_timeout)

    def hello_failed(self, error: InterceptorError) -> None:
        """What the client sent is no hello, or not the whole of one came in time."""
        self._tell_failure(None, TLSError(str(error), error.code, peer="client"))
        self._refuse(error)

    def _no_answer(self, hello: ClientHello, error: InterceptorError) -> None:
        """There is no certificate to answer with."""
        failure = TLSError(str(error), error.code, peer="client", alert=_INTERNAL_ERROR)
        self._tell_failure(hello, failure)
        self._refuse(failure)

    def _tell_failure(self, hello: ClientHello | None, error: TLSError) -> None:
        """Let log and hooks know that there will be no TLS with the client."""
        client_conn = self.context.client_conn
        client_conn.tls_error = error
        self._log(hello, error)
        fire = self.context.environment.hooks.tls_failed
        if fire is not None:
            run_hook(fire, client_conn)

    def _log(self, hello: ClientHello | None, error: InterceptorError) -> None:
        self.log.info(
            "{client} {name}: {code}: {message}",
            client=format_address(self.context.client_conn.address),
            name=(None if hello is None else hello.sni) or self._place()[0] or "-",
            code=error.code,
            message=str(error),
            proxy=self.context.environment.proxy,
        )

    def _refuse(self, error: InterceptorError) -> None:
        """Say the little that can be said before TLS is spoken: an alert (RFC 8446, section 6).

        It is that of the server, if that was the reason and has sent one.
        """
        self._give_up(error)
        below = self._below
        if not below.closing:
            cause = error.__cause__ if isinstance(error, UpstreamError) else error
            alert = cause.alert if isinstance(cause, TLSError) else None
            if alert is None:
                alert = _ALERTS.get(error.code, _HANDSHAKE_FAILURE)
            below.write(alert_record(alert))
            below.close(self.context.environment.settings.close_timeout, linger=True)

    def _log_passthrough(self, hello: ClientHello, reason: str) -> None:
        self.log.debug(
            "{sni}: passed through ({reason})",
            sni=hello.sni or self.destination,
            reason=reason,
            proxy=self.context.environment.proxy,
        )

    def stopped(self, error: Exception) -> None:
        """The client left, or something of ours failed: its connection is reset."""

    def _give_up(self, error: Exception) -> None:
        """There will be no TLS with the client."""
        self._let_go()

    def _let_go(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None


class _HelloProtocol(SideProtocol):
    """Stands on the client's side until the hello is complete, and while the server is asked."""

    def __init__(self, layer: TLSLayer) -> None:
        self._layer = layer
        self._reader = ClientHelloReader()
        self._task: Task | None = None

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self._layer.context.environment.settings.tls_timeout)

    def dataReceived(self, data: bytes) -> None:
        if self._task is not None:
            # Nothing is due before our answer; the transport had it already.
            return
        try:
            hello = self._reader.feed(data)
        except RemoteProtocolError as error:
            self._layer.hello_failed(error)
            return
        if hello is None:
            return
        self.side.deadline.clear()
        self.side.reading.pause(SETUP)
        self._task = Task(self._layer.open(hello), self._opened)
        self._task.start()

    def read_closed(self) -> None:
        if self._task is None:
            self._layer.hello_failed(
                RemoteProtocolError("the client left in the middle of its hello", "tls-truncated")
            )
        else:
            self.side.abort()

    def timed_out(self) -> None:
        self._layer.hello_failed(
            RemoteProtocolError("the client's hello did not come in time", "tls-timeout")
        )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        error = ClientGoneError("the client closed its connection")
        if self._task is not None:
            self._task.abort(error)
        else:
            self._layer.stopped(error)

    def _opened(self, error: BaseException | None) -> None:
        if error is not None:
            if not isinstance(error, InterceptorError):
                self._layer.log.failure(
                    "TLS layer failed: {error}",
                    error=error,
                    proxy=self._layer.context.environment.proxy,
                )
            self.side.abort()
            if isinstance(error, Exception):
                self._layer.stopped(error)


class _Quiet(SideProtocol):
    """Stands on a new side, unread, until it is known what will be spoken there."""

    def read_closed(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        pass
