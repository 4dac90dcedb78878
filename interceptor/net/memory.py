"""Connections without a network: they move bytes only when they are told to.

Made for tests, ours and those of people who embed the proxy. A `MemoryLink` joins two protocols; a
`MemoryNetwork` stands in for the connector and the listeners together; a `Recorder` is a peer that
notes what happens to it. Nothing happens behind the caller's back: bytes, ends of input, losses and
new connections all wait for ``pump`` or ``flush``, and time passes only on the
`twisted.internet.task.Clock` that is used::

    network = MemoryNetwork()
    origin = RecorderFactory()
    network.listen(("origin.test", 80), origin)
    connecting = network.connect(("origin.test", 80), Recorder, timeout=10)
    network.flush()
    self.successResultOf(connecting).write(b"hello")
    network.flush()
    self.assertEqual(origin.protocols[0].data, b"hello")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocol,
)
from twisted.internet.protocol import Factory, Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.errors import UpstreamError
from interceptor.interfaces import IUpstreamConnector
from interceptor.net.addresses import HostPort, as_address, as_pair, show
from interceptor.net.memorytransport import MemoryTransport
from interceptor.net.upstream import ProtocolFactory, disable_nagle

if TYPE_CHECKING:
    from interceptor.model.connections import ServerConnection

__all__ = [
    "HalfCloseRecorder",
    "MemoryLink",
    "MemoryNetwork",
    "MemoryPort",
    "MemoryTransport",
    "Recorder",
    "RecorderFactory",
]

READ_SIZE = 65536
"""The most bytes that one ``dataReceived`` gets, as with Twisted's sockets."""

ChunkSizes = int | Iterable[int]
"""How many bytes arrive at once: always so many, or these in turn and then all there are."""

_STEPS = 1_000_000
"""More steps than any test takes: a flush that needs more would never end."""


class Recorder(Protocol):
    """A peer that does nothing but note what it is sent and what becomes of it."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        """All that has arrived and was not taken."""
        self.chunks: list[bytes] = []
        """The same, as it arrived; `take` leaves it alone."""
        self.ended = False
        """Whether the other side closed its direction. Only a `HalfCloseRecorder` hears of that."""
        self.write_ended = False
        """Whether the end of our own direction has been sent; likewise."""
        self.lost: Failure | None = None
        """Why the connection was lost, or None while it is there."""

    @property
    def lost_with(self) -> type[BaseException] | None:
        """The class of the reason in `lost`: ``ConnectionDone`` or ``ConnectionLost``, say."""
        return None if self.lost is None else self.lost.type

    def write(self, data: bytes) -> None:
        """Send to the other side."""
        self.transport.write(data)

    def close(self) -> None:
        """Close once everything has been sent."""
        self.transport.loseConnection()

    def take(self) -> bytes:
        """Return `data` and forget it."""
        data, self.data = self.data, b""
        return data

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseRecorder(Recorder):
    """A `Recorder` that goes on when the other side closes only its own direction."""

    def close_write(self) -> None:
        """Close our direction once everything has been sent."""
        self.transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        self.write_ended = True


class RecorderFactory(ServerFactory):
    """Makes recorders, or whatever `make` makes, and keeps them in ``protocols``."""

    noisy = False

    def __init__(self, make: Callable[[], Protocol] = Recorder) -> None:
        self.make = make
        self.protocols: list[Any] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol = self.make()
        protocol.factory = self
        self.protocols.append(protocol)
        return protocol


class MemoryLink:
    """A connection between two protocols: a pair of `MemoryTransport`, ``client`` and ``server``.

    `chunk` says in what pieces bytes arrive: 1 for byte by byte, a list for given cuts (each
    direction goes through it once, and then gets all there is). It may be set at any time.
    """

    def __init__(
        self,
        client: IProtocol,
        server: IProtocol,
        *,
        client_address: HostPort = ("192.0.2.1", 50000),
        server_address: HostPort = ("192.0.2.2", 80),
        chunk: ChunkSizes | None = None,
    ) -> None:
        self.client = MemoryTransport(client, client_address, server_address, "client")
        self.server = MemoryTransport(server, server_address, client_address, "server")
        self.client.peer = self.server
        self.server.peer = self.client
        self.chunk = chunk
        self.server.connect()
        self.client.connect()

    @property
    def chunk(self) -> ChunkSizes | None:
        """How many bytes arrive at once; None for as many as there are, up to `READ_SIZE`."""
        return self._chunk

    @chunk.setter
    def chunk(self, chunk: ChunkSizes | None) -> None:
        self._chunk = chunk
        if chunk is not None and not isinstance(chunk, int):
            chunk = tuple(chunk)
        self._sizes = [(end, _sizes(chunk)) for end in (self.client, self.server)]

    @property
    def open(self) -> bool:
        """Whether either end is still connected."""
        return self.client.connected or self.server.connected

    def pump(self) -> bool:
        """Let each end do one thing: deliver a chunk, an end, a loss. False if nothing was due."""
        moved = False
        for end, sizes in self._sizes:
            moved = end.step(sizes) or moved
        return moved

    def flush(self) -> None:
        """Pump until nothing moves any more; raise `RuntimeError` if that never happens."""
        _until_still(self.pump)


@implementer(IListeningPort)
class MemoryPort:
    """A listener of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, address: HostPort, factory: Factory) -> None:
        self.address = address
        self.factory = factory
        self._network = network

    def startListening(self) -> None:
        self._network.ports[self.address] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        if self._network.ports.pop(self.address, None) is not None:
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        return as_address(self.address)


@implementer(IUpstreamConnector)
class MemoryNetwork:
    """Hosts that listen, and a connector that reaches them. A host's name is its address.

    `connect` is that of `UpstreamConnector`: same signature, same errors, and it takes a `flush`
    until the connection is there. What the network is to do for an address instead of connecting is
    set by `refuse`, `stall`, `delay` and `fail`; an address at which nobody listens refuses.
    """

    def __init__(self, clock: Clock | None = None, *, chunk: ChunkSizes | None = None) -> None:
        """`chunk` is given to each new `MemoryLink`."""
        self.clock = Clock() if clock is None else clock
        self.chunk = chunk
        self.ports: dict[HostPort, MemoryPort] = {}
        """The listeners."""
        self.links: list[MemoryLink] = []
        """The connections, in the order in which they were made; lost ones stay."""
        self.attempts: list[HostPort] = []
        """The addresses that `connect` was asked for, in order."""
        self.names: dict[str, tuple[str, ...]] = {}
        """The addresses that `resolve` gives for names."""
        self.lookups: list[str] = []
        """What `resolve` was asked for, in order. `connect` takes names as they are."""
        self._instead: dict[HostPort, UpstreamError | float | None] = {}
        self._due: list[_Dial] = []
        self._ports_used = 50000

    # Setting the scene

    def listen(self, address: HostPort, factory: Factory) -> MemoryPort:
        """Accept connections to `address` with `factory`, in place of who did so before."""
        port = MemoryPort(self, address, factory)
        port.startListening()
        return port

    def refuse(self, address: HostPort) -> None:
        """Refuse connections to `address`, whether anybody listens or not."""
        text = f"cannot connect to {show(address)}: connection refused"
        self.fail(address, UpstreamError(text, "connect-refused"))

    def fail(self, address: HostPort, error: UpstreamError) -> None:
        """Let connecting to `address` fail with `error`."""
        self._instead[address] = error

    def stall(self, address: HostPort) -> None:
        """Let connecting to `address` take until its timeout."""
        self._instead[address] = None

    def delay(self, address: HostPort, seconds: float) -> None:
        """Let connecting to `address` take so long on the clock."""
        self._instead[address] = seconds

    def restore(self, address: HostPort) -> None:
        """Undo `refuse`, `fail`, `stall` or `delay` for connections from now on."""
        self._instead.pop(address, None)

    # Connecting

    def resolve(self, host: str, *, timeout: float) -> Deferred[tuple[str, ...]]:
        """See `UpstreamConnector.resolve`: what ``names`` has for `host`, or `host` itself."""
        self.lookups.append(host)
        return succeed(self.names.get(host, (host,)))

    def connect(
        self,
        address: HostPort,
        protocol_factory: ProtocolFactory,
        *,
        timeout: float,
        source_address: HostPort | None = None,
        server_connection: ServerConnection | None = None,
    ) -> Deferred[IProtocol]:
        """See `UpstreamConnector.connect`."""
        self.attempts.append(address)
        if server_connection is not None:
            server_connection.timestamp_start = self.clock.seconds()
        dial = _Dial(self, address, protocol_factory, source_address, server_connection)
        instead = self._instead.get(address, 0.0)
        if isinstance(instead, UpstreamError):
            dial.error = UpstreamError(str(instead), instead.code, instead.status)
            self._due.append(dial)
        elif instead is None or instead >= timeout:
            text = f"cannot connect to {show(address)}: no answer in time"
            dial.error = UpstreamError(text, "connect-timeout", 504)
            dial.call = self.clock.callLater(timeout, dial.complete)
        elif instead > 0:
            dial.call = self.clock.callLater(instead, dial.complete)
        else:
            self._due.append(dial)
        return dial.result

    def dial(
        self,
        address: HostPort,
        protocol: IProtocol,
        *,
        client_address: HostPort | None = None,
        chunk: ChunkSizes | None = None,
    ) -> MemoryLink:
        """Connect `protocol` as a client to who listens at `address`, here and now.

        Raises `UpstreamError` (``connect-refused``) if nobody does. A factory that returns no
        protocol closes the connection, as it does in Twisted.
        """
        port = self.ports.get(address)
        if port is None:
            text = f"cannot connect to {show(address)}: connection refused"
            raise UpstreamError(text, "connect-refused")
        if client_address is None:
            self._ports_used += 1
            client_address = ("127.0.0.1", self._ports_used)
        server = port.factory.buildProtocol(as_address(client_address))
        link = MemoryLink(
            protocol,
            Recorder() if server is None else server,
            client_address=client_address,
            server_address=address,
            chunk=self.chunk if chunk is None else chunk,
        )
        if server is None:
            link.server.loseConnection()
        self.links.append(link)
        return link

    # Letting things happen

    def pump(self) -> bool:
        """Complete the connects that are due, and pump each link once. False if nothing moved.

        Only when nothing else does, what was put off to the reactor's next turn is called.
        """
        due, self._due = self._due, []
        for dial in due:
            dial.complete()
        moved = bool(due)
        for link in tuple(self.links):
            moved = link.pump() or moved
        return moved or self._turn()

    def _turn(self) -> bool:
        now = self.clock.seconds()
        if not any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
            return False
        self.clock.advance(0)
        return True

    def flush(self) -> None:
        """Pump until nothing moves any more; raise `RuntimeError` if that never happens."""
        _until_still(self.pump)

    def advance(self, seconds: float) -> None:
        """Flush, let time pass on the clock, and flush again."""
        self.flush()
        self.clock.advance(seconds)
        self.flush()


class _Dial:
    """A `MemoryNetwork.connect` that has not been completed."""

    def __init__(
        self,
        network: MemoryNetwork,
        address: HostPort,
        make_protocol: ProtocolFactory,
        source: HostPort | None,
        server: ServerConnection | None,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self.error: UpstreamError | None = None
        self.call: IDelayedCall | None = None
        self._network = network
        self._address = address
        self._make_protocol = make_protocol
        self._source = source if source is None or source[1] else None
        self._server = server

    def complete(self) -> None:
        """Fire the result with the protocol, connected, or with what went wrong."""
        self.call = None
        if self.result.called:
            return
        if self.error is not None:
            self.result.errback(self.error)
            return
        handover = _Handover(self)
        try:
            self._network.dial(self._address, handover, client_address=self._source)
        except Exception:
            # Nobody listens, or the protocol could not be made.
            self.result.errback(Failure())
            return
        if not self.result.called:
            self.result.callback(handover.protocol)

    def connected(self, transport: MemoryTransport) -> IProtocol:
        """Note what `UpstreamConnector` notes, and make the protocol."""
        disable_nagle(transport)
        if self._server is not None:
            self._server.timestamp_tcp_setup = self._network.clock.seconds()
            self._server.ip_address = as_pair(transport.getPeer())
            self._server.source_address = as_pair(transport.getHost())
        return self._make_protocol()

    def _cancelled(self, result: Deferred[IProtocol]) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None


class _Handover(Protocol):
    """Puts the real protocol in its place once the transport is known."""

    protocol: IProtocol

    def __init__(self, dial: _Dial) -> None:
        self._dial = dial

    def makeConnection(self, transport: MemoryTransport) -> None:
        self.protocol = transport.protocol = self._dial.connected(transport)
        self.protocol.makeConnection(transport)


def _sizes(chunk: int | tuple[int, ...] | None) -> Iterator[int]:
    if isinstance(chunk, tuple):
        yield from chunk
        chunk = None
    while True:
        yield READ_SIZE if chunk is None else chunk


def _until_still(pump: Callable[[], bool]) -> None:
    for _ in range(_STEPS):
        if not pump():
            return
    raise RuntimeError("flushing does not come to an end: two peers keep writing to each other")
