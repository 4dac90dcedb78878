"""One accepted client connection, from ``clientconnect`` to ``clientdisconnect``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from interceptor.errors import HookFailed, ModeError, UpstreamError
from interceptor.layers.admission import NotAdmittedError
from interceptor.layers.context import Context, RootLayer
from interceptor.layers.destinations import RAW, by_name, mode_destination
from interceptor.layers.detect import DetectProtocol, Tunnel
from interceptor.layers.hooking import run_hook
from interceptor.layers.proxyprotocol import ProxyHeaderProtocol
from interceptor.layers.upstream import ServerPool
from interceptor.model.connections import ClientConnection, ServerConnection, format_address
from interceptor.net.gate import HOOK, SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from interceptor.layers.environment import Environment
    from interceptor.model.connections import Address
    from interceptor.model.modes import ModeSpec
    from interceptor.wire.proxyprotocol import ProxyHeader


class Session(SideProtocol):
    """Holds what belongs to one client: its side, its context, its connections to servers.

    It speaks no protocol; it stands on the side only while ``clientconnect`` is being answered.
    """

    log = Logger()

    def __init__(self, environment: Environment, mode: ModeSpec, side: Side) -> None:
        self.environment = environment
        self.side = side
        self.mode = mode
        self.servers = ServerPool(self)
        self.context: Context
        self.root_layer: RootLayer
        self._accepted = False
        # Whether the connection is counted, and as whose.
        self._entered = False
        self._counted_for: str | None = None
        self._early = b""
        self._destination: tuple[str, int] | UpstreamError | None = None
        self._asking: Deferred[None] | None = None

    def accepted(self) -> None:
        """The connection is there: find out whose it is."""
        transport = self.side.transport
        assert transport is not None
        peer = endpoint_address(transport.getPeer())
        own = endpoint_address(transport.getHost())
        client_conn = ClientConnection(peer, own, time.time())
        environment = self.environment
        speaks_for_another = environment.proxy_protocol.expected(peer, own)
        descriptor = getattr(transport, "fileno", None)
        try:
            if descriptor is not None and not environment.descriptors.accepted(descriptor()):
                raise NotAdmittedError("no file descriptor is left for it", "descriptors-short")
            environment.admission.enter()
            self._entered = True
            if not speaks_for_another:
                self._count_client(peer)
        except NotAdmittedError as error:
            self._turn_away(peer, error)
            return
        if self.mode.kind == "transparent":
            self._find_destination(client_conn)
        if not speaks_for_another:
            self._introduce(client_conn)
            return

        def introduced(header: ProxyHeader, rest: bytes) -> None:
            client_conn.proxy_address = peer
            if header.source is not None:
                try:
                    self._count_client(header.source)
                except NotAdmittedError as error:
                    self._turn_away(header.source, error)
                    return
                client_conn.address = client_conn.ip_address = header.source
                client_conn.sockname = header.destination
            self._early = rest
            self._introduce(client_conn)

        self.environment.sessions.add(self)
        self.side.use(ProxyHeaderProtocol(self.environment, peer, introduced))

    def _count_client(self, address: Address) -> None:
        host = address[0]
        if self.environment.admission.enter_client(host):
            self._counted_for = host

    def _turn_away(self, address: Address, error: NotAdmittedError) -> None:
        """Reset a connection that no hook has heard of."""
        environment = self.environment
        environment.admission.tell(self.mode.name, address, error, environment.proxy)
        self.side.use(self)
        self.side.abort()

    def _find_destination(self, client_conn: ClientConnection) -> None:
        """Transparent mode: what the client connected to is not us."""
        try:
            found = self.environment.original_destination(self.side.transport)
        except UpstreamError as error:
            self._destination = error
        else:
            self._destination = client_conn.sockname = found

    def _introduce(self, client_conn: ClientConnection) -> None:
        """It is known whose it is: ask ``clientconnect``, then find out what the client speaks."""
        client_conn.proxy_mode = self.mode.name
        self.context = Context(
            self.environment, self, self.mode, client_conn, ServerConnection(None)
        )
        self.root_layer = RootLayer(self.context)
        self.context.layers.append(self.root_layer)
        self.environment.sessions.add(self)
        self.side.use(self)
        fire = self.environment.hooks.clientconnect
        if fire is None:
            self._begin()
            return
        try:
            waiting = fire(self.root_layer)
        except HookFailed as error:
            self._refuse(str(error))
            return
        if waiting is None:
            self._begin()
        else:
            self.side.reading.pause(HOOK)
            self._asking = waiting
            waiting.addCallbacks(self._answered, self._hook_failed)

    def _answered(self, _: object) -> None:
        self._asking = None
        self.side.reading.resume(HOOK)
        self._begin()

    def _hook_failed(self, failure: Failure) -> None:
        self._asking = None
        if not self.side.closing:
            self._refuse(failure.getErrorMessage())

    def _begin(self) -> None:
        if self.side.closing:
            return
        client_conn = self.context.client_conn
        if client_conn.error is not None:
            self._refuse(client_conn.error)
            return
        self._accepted = True
        early, self._early = self._early, b""
        try:
            layers = self.environment.hooks.declared.layers
            destination = mode_destination(self.mode, layers)
        except ModeError as error:
            self._refuse(str(error))
            return
        if by_name(self.mode):
            default = self.environment.backends.default
            destination = None if default is None else default.destination
        if self._destination is not None:
            from interceptor.layers.transparent import TransparentProtocol

            self.side.use(TransparentProtocol(self.context, self._destination, early))
        elif destination is not None and destination[0] in RAW:
            Tunnel(self.context, None, destination).start(early)
        else:
            self.side.use(DetectProtocol(self.context), early)

    def _refuse(self, reason: str) -> None:
        self.log.info(
            "client {client} refused: {reason}",
            client=format_address(self.context.client_conn.address),
            reason=reason,
            proxy=self.environment.proxy,
        )
        self.side.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def client_lost(self) -> None:
        """The client is gone: let go of the servers, then tell ``clientdisconnect``."""
        if self._entered:
            self._entered = False
            self.environment.admission.leave()
            if self._counted_for is not None:
                self.environment.admission.leave_client(self._counted_for)
        if not hasattr(self, "context"):
            # It left before anybody had heard of it.
            self.environment.session_ended(self)
            return
        client_conn = self.context.client_conn
        client_conn.timestamp_end = time.time()
        self.environment.session_ended(self)
        self.servers.close()
        fire = self.environment.hooks.clientdisconnect
        waiting = None if fire is None else run_hook(fire, self.root_layer)
        if waiting is None:
            self._let_go()
        else:
            waiting.addCallback(self._let_go)

    def _let_go(self, _: None = None) -> None:
        """Untie what refers to each other, so that all of it is freed without the collector."""
        self.context.layers.clear()
        del self.context, self.root_layer

    def abort(self) -> None:
        """Reset the client's connection."""
        self.side.abort()

    def shut_down(self) -> None:
        """End when what is under way is through. Whoever speaks later has to be told again."""
        self.side.protocol.drain()


class ClientSide(Side):
    """The side that faces a client."""

    session: Session

    def connectionMade(self) -> None:
        super().connectionMade()
        self.session.accepted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        session = self.session
        del self.session
        session.client_lost()


class ProxyFactory(Factory):
    """Makes a session of every connection that one listener accepts.

    Until `open` is called connections are held unread, so that nothing happens before all
    listeners are bound and all scripts are live.
    """

    noisy = False

    def __init__(self, environment: Environment, mode: ModeSpec) -> None:
        self.environment = environment
        self.mode = mode
        self.held: list[ClientSide] | None = []

    def buildProtocol(self, addr: IAddress | None) -> Side:
        if self.held is None:
            side: ClientSide = ClientSide(self.environment.clock)
        else:
            side = _HeldSide(self.environment.clock)
            self.held.append(side)
        side.session = Session(self.environment, self.mode, side)
        side.flush_timeout = self.environment.settings.write_timeout
        return side

    def open(self) -> None:
        """Let the connections in."""
        held, self.held = self.held, None
        for side in held or ():
            if not side.lost:
                side.reading.resume(SETUP)
                side.session.accepted()


class _HeldSide(ClientSide):
    """A side that was accepted before the proxy was ready: it waits, unread."""

    def connectionMade(self) -> None:
        Side.connectionMade(self)
        self.reading.pause(SETUP)
        self.protocol = self.session


def endpoint_address(address: Any) -> tuple[str, int]:
    """Turn a Twisted address into (host, port); a unix path gives (path, 0).

    What a listener at ``::`` calls an IPv4 address (RFC 4291 section 2.5.5.2) is that address.
    """
    host = getattr(address, "host", None)
    if host is not None:
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return (host, address.port)
    name = getattr(address, "name", b"") or b""
    return (name.decode("utf-8", "surrogateescape"), 0)
