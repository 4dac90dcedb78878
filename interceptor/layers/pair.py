"""Any two Twisted protocols as a layer: one speaks with the client, the other with the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.error import ConnectionDone

from interceptor.errors import InterceptorError, LocalProtocolError, UpstreamError
from interceptor.layers.conversation import Conversation
from interceptor.layers.failures import ClientGoneError, client_gone
from interceptor.layers.pairtransport import PairTransport
from interceptor.layers.protocollayer import ProtocolLayer
from interceptor.layers.relay import Opener
from interceptor.layers.serverside import ServerSide, start
from interceptor.layers.task import Task
from interceptor.model.connections import format_address
from interceptor.net.addresses import as_address
from interceptor.net.gate import HOOK

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.python.failure import Failure

    from interceptor.model.connections import Connection
    from interceptor.model.messageflow import Message, MessageFlow


class PairLayer(ProtocolLayer, ABC):
    """Speaks whatever a pair of Twisted protocols speaks.

    A subclass has a ``name``, of small letters and digits, and says which factories to take:
    `server_factory` makes the protocol that is a server to the client, `client_factory` the one
    that is a client to the server. What one has to do with the other is told in `join`. There is an
    instance of the layer for each connection.

    Connections, deadlines, back-pressure between the two and the flow are looked after here. The
    flow has the events ``NAME_start``, ``NAME_error`` and ``NAME_end``; messages are seen by hooks
    where the protocols call `tell`.

    With ``lazy`` the server is not connected to before `connect` is called.
    """

    lazy: ClassVar[bool] = False

    downstream: Any = None
    """The protocol that faces the client, once there is one."""
    upstream: Any = None
    """The protocol that faces the server, once there is one."""

    _pair: Pair

    # What a subclass says

    @abstractmethod
    def server_factory(self) -> IProtocolFactory:
        """Return what makes the protocol that faces the client. May be the same each time."""

    @abstractmethod
    def client_factory(self) -> IProtocolFactory:
        """Return what makes the protocol that faces the server. May be the same each time."""

    def join(self, downstream: Any, upstream: Any) -> None:
        """Make the two protocols known to each other; neither is connected then.

        With ``lazy`` ``downstream`` is connected already. This one does what
        `twisted.protocols.portforward` does: each has the other as its attribute ``peer``.
        """
        downstream.peer = upstream
        upstream.peer = downstream

    def connection_failed(self, error: InterceptorError) -> None:
        """The server cannot be connected to. What is said to the client here still reaches it.

        There is nobody to say anything unless ``lazy`` is set: then `downstream` is there.
        """

    def injected(self, message: Message) -> None:
        """A hook has called ``flow.inject``: write ``message`` by one of the two protocols."""
        raise RuntimeError(f"nothing can be injected into {self.name}")

    # What its protocols ask for

    @property
    def flow(self) -> MessageFlow:
        """The flow, which lives as long as the two connections do."""
        return self._pair.flow

    def connect(self) -> Deferred[Any]:
        """Connect to the server, unless that is done or under way; fires with `upstream`.

        Fails with `UpstreamError`; both connections are closed then.
        """
        return self._pair.connect()

    def tell(self, message: Message) -> Deferred[Any]:
        """Show hooks a message, after those told before; fires with it when they have answered.

        ``message.dropped`` says whether it shall be passed on. While hooks are busy neither peer is
        read from. Never fires if the flow is killed: both connections are gone then.
        """
        return self._pair.tell(message)

    def start(self, data: bytes) -> None:
        self._pair = Pair(self)
        self._pair.start(data)


class Pair:
    """The two connections of one `PairLayer`, and its flow."""

    def __init__(self, layer: PairLayer) -> None:
        context = layer.context
        settings = context.environment.settings
        self._layer = layer
        self._context = context
        self._talk = Conversation(layer, self._fail, self._inject)
        self.flow = self._talk.flow
        self.idle_timeout = settings.tunnel_idle_timeout
        self.write_timeout = settings.write_timeout
        self.close_timeout = settings.close_timeout
        self._factories: list[Any] = []
        self._down: PairTransport | None = None
        self._up: PairTransport | None = None
        self._opener: Opener | None = None
        self._opening: Task | None = None
        self._connecting: list[Deferred[Any]] = []
        self._lock = DeferredLock()
        self._telling = 0
        self._ended = False

    def start(self, data: bytes) -> None:
        """Take over the client's side; ``data`` came on it."""
        server = self._layer.server
        if server is not None:
            self.flow.server_conn = server.server_conn
            server.hold(b"")
        opener = self._opener = Opener(data, self._not_opened)
        self._context.session.side.use(opener)
        opener.open(self._open(), self._begin)

    async def _open(self) -> Any:
        await self._talk.begin()
        if not self._layer.lazy:
            return await self._server()
        return None

    async def _server(self) -> ServerSide:
        """Return the server's side, held, connecting where nobody has."""
        layer = self._layer
        side = layer.server
        if side is None:
            if layer.destination is None:
                raise UpstreamError("there is no server to connect to", "no-destination")
            side = await self._context.session.servers.open(layer.destination, self.flow)
        if side.closing:
            raise self._server_gone()
        layer.server = side
        return side

    def _begin(self, server: ServerSide | None, data: bytes) -> None:
        self._opener = None
        layer = self._layer
        client = self._context.session.side
        conn = self._context.client_conn
        try:
            down = self._build(layer.server_factory(), conn)
            up = None if server is None else self._build(layer.client_factory(), server.server_conn)
            layer.downstream, layer.upstream = down, up
            if up is not None:
                layer.join(down, up)
        except Exception as error:
            self.broken(error)
            return
        self._down = self._transport(down, conn, is_client=False)
        if server is not None:
            self._connect_up(server)
        # Both are connected before either gets anything: what one is told the other can pass on.
        self._down.connect(client)
        if server is not None and self._up is not None:
            start(server, self._up)
        client.use(self._down, data)

    def _connect_up(self, server: ServerSide) -> PairTransport:
        up = self._transport(self._layer.upstream, server.server_conn, is_client=True)
        down = self._down
        assert down is not None
        self._up, up.other, down.other = up, down, up
        up.connect(server)
        if down.full:
            up.hold(True)
        return up

    def _build(self, factory: Any, conn: Connection) -> IProtocol:
        factory.doStart()
        self._factories.append(factory)
        protocol: IProtocol | None = factory.buildProtocol(_address(conn))
        if protocol is None:
            raise LocalProtocolError(f"{factory!r} made no protocol", "no-protocol")
        return protocol

    def _transport(self, protocol: Any, conn: Any, *, is_client: bool) -> PairTransport:
        host = conn.source_address if is_client else conn.sockname
        return PairTransport(
            self,
            protocol,
            self._context.environment.clock,
            host=as_address(host or ("", 0)),
            peer=_address(conn),
            is_client=is_client,
        )

    # Connecting later

    def connect(self) -> Deferred[Any]:
        """Implement `PairLayer.connect`."""
        layer = self._layer
        if layer.upstream is not None:
            return succeed(layer.upstream)
        waiting: Deferred[Any] = Deferred(self._connecting.remove)
        self._connecting.append(waiting)
        if self._opening is None:
            self._opening = Task(self._connect(), self._connected)
            self._opening.start()
        return waiting

    async def _connect(self) -> None:
        server = await self._server()
        layer = self._layer
        layer.upstream = self._build(layer.client_factory(), server.server_conn)
        layer.join(layer.downstream, layer.upstream)
        start(server, self._connect_up(server))

    def _connected(self, error: BaseException | None) -> None:
        waiting, self._connecting = self._connecting, []
        if error is None:
            for each in waiting:
                each.callback(self._layer.upstream)
            return
        if isinstance(error, InterceptorError):
            self._layer.connection_failed(error)
            self._fail(error, gently=True)
        elif isinstance(error, Exception):
            self.broken(error)
        for each in waiting:
            each.addErrback(lambda failure: None)
            each.errback(error)

    # Messages

    def tell(self, message: Message) -> Deferred[Any]:
        """Implement `PairLayer.tell`."""
        if message.from_client:
            self.flow.messages_from_client += 1
        else:
            self.flow.messages_from_server += 1
        if not self._telling and not self._talk.listens(message):
            return succeed(message)
        self._telling += 1
        if self._telling == 1:
            self._each_reading(lambda gate: gate.pause(HOOK))
        told: Deferred[Any] = Deferred()

        async def tell() -> None:
            if not self._ended:
                await self._talk.tell(message)

        def answered(_: object) -> None:
            self._telling -= 1
            if not self._ended:
                told.callback(message)
            if not self._telling:
                self._each_reading(lambda gate: gate.resume(HOOK))

        def failed(failure: Failure) -> None:
            self._telling -= 1
            if isinstance(failure.value, Exception):
                self._fail(failure.value)

        self._lock.run(lambda: Deferred.fromCoroutine(tell())).addCallbacks(answered, failed)
        return told

    def _each_reading(self, change: Callable[[Any], object]) -> None:
        for transport in (self._down, self._up):
            if transport is not None and transport.connected:
                change(transport.side.reading)

    def _inject(self, message: Message) -> None:
        self._layer.injected(message)
        self._talk.keep(message, before_latest=self._telling > 0)

    # What the transports tell

    def count(self, transport: PairTransport, size: int) -> None:
        """Bytes have come."""
        self._talk.count(transport is self._down, size)

    def timed_out(self, transport: PairTransport) -> None:
        """Nothing has come for long."""
        other = transport.other
        left = None
        if other is not None and other.connected:
            left = other.side.deadline.remaining
        if left or self._telling:
            transport.side.deadline.set(left or self.idle_timeout)
        else:
            self._end(None)
            self._close_all()

    def write_timed_out(self, transport: PairTransport) -> None:
        """A peer does not take what it is sent."""
        who = "client" if transport is self._down else "server"
        self._fail(UpstreamError(f"the {who} stopped reading", "write-timeout"))

    def lost(self, transport: PairTransport, reason: Failure) -> None:
        """A connection is gone, and the other one goes when it has sent what it has to send."""
        if reason.check(ConnectionDone) or transport.side.read_ended or transport.disconnecting:
            self._end(None)
        elif transport is self._down:
            self._end(client_gone(self._context.environment, "reset"))
        else:
            self._end(self._server_gone())
        self._close_all()

    def broken(self, error: Exception) -> None:
        """One of the protocols has raised."""
        self._fail(error)

    def _server_gone(self) -> UpstreamError:
        address = format_address(self.flow.server_conn.address)
        return UpstreamError(f"the connection to {address} was reset", "server-reset")

    # Ends

    def _not_opened(self, error: Exception) -> None:
        if isinstance(error, InterceptorError):
            self._layer.connection_failed(error)
        self._end(error)
        if self._layer.server is not None:
            self._layer.server.abort()

    def _fail(self, error: Exception, *, gently: bool = False) -> None:
        self._end(error)
        if self._opener is not None:
            self._opener.abort(error)
        if self._opening is not None:
            self._opening.abort(error)
        if gently:
            self._close_all()
            return
        for side in (self._context.session.side, self._layer.server):
            if side is not None:
                side.abort()

    def _close_all(self) -> None:
        for side in (self._context.session.side, self._layer.server):
            if side is not None:
                side.close(self.close_timeout)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._opening is not None and not self._opening.done:
            self._opening.abort(ClientGoneError("the client closed its connection"))
        factories, self._factories = self._factories, []
        for factory in factories:
            factory.doStop()
        self._talk.end(error)


def _address(conn: Any) -> Any:
    """Return a peer's address as Twisted has it."""
    address = conn.address
    if getattr(conn, "ip_address", None) is not None:
        address = conn.ip_address
    return as_address(address or ("", 0))
