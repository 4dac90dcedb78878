"""A transport for any Twisted protocol, on top of a side of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from interceptor.net.gate import PEER
from interceptor.net.overtcp import OverTCP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

PROTOCOL: Final = 128
"""A reason for a `ReadGate`: the protocol on this transport has paused it."""


@implementer(ITCPTransport, ITLSTransport, IConsumer, IPushProducer)
class PairTransport(SideProtocol, OverTCP):
    """Stands on a side, and is the transport of ``protocol``, which may be replaced at any time.

    It behaves as Twisted's TCP transports do. What the protocol registers as a producer is paused
    while the peer is slow; and so is the other of the two connections, in any case, so that what
    protocols forget to bound has a bound.
    """

    connected = True

    def __init__(
        self,
        owner: Any,
        protocol: IProtocol,
        clock: IReactorTime,
        *,
        host: IAddress,
        peer: IAddress,
        is_client: bool,
    ) -> None:
        """``owner`` hears of ends and faults, and is called as `Pair` is.

        ``is_client`` says which part we play in TLS, if it comes to that.
        """
        self.protocol: Any = protocol
        self.other: PairTransport | None = None
        """The transport of the other connection, if there is one."""
        self._owner = owner
        self._clock = clock
        self._host = host
        self._peer = peer
        self._is_client = is_client
        self._tls: TLSMemoryBIOProtocol | None = None
        self._producer: Any = None
        self._streaming = False
        self._pulling: IDelayedCall | None = None
        self._full = False
        self.disconnecting = False

    # SideProtocol

    def connect(self, side: Side) -> None:
        """Connect the protocol. It may write at once, and gets nothing before it is on ``side``."""
        self.side = side
        side.protocol = self
        side.writing.on_change = self._full_changed
        self._full = side.writing.paused
        self._call(self.protocol.makeConnection, self)

    def attach(self, side: Side) -> None:
        super().attach(side)
        self._touch()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the protocol. As in Twisted, one that raises has lost its connection."""
        try:
            function(*arguments)
        except Exception as error:
            self._owner.broken(error)

    def _touch(self) -> None:
        self.side.deadline.set(self._owner.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        self._owner.count(self, len(data))
        self._touch()
        self._call(self.protocol.dataReceived, data)

    def read_closed(self) -> None:
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.readConnectionLost)
        else:
            self.loseConnection()

    def timed_out(self) -> None:
        self._owner.timed_out(self)

    def write_timed_out(self) -> None:
        self._owner.write_timed_out(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = False
        self._stop_pulling()
        producer, self._producer = self._producer, None
        if producer is not None:
            self._call(producer.stopProducing)
        self._call(self.protocol.connectionLost, reason)
        self._owner.lost(self, reason)

    # Back-pressure

    @property
    def full(self) -> bool:
        """Whether the peer is slow: what is written waits."""
        return self._full

    def _full_changed(self, full: bool) -> None:
        self._full = full
        if full:
            waiting = self.side.when_writable(self._owner.write_timeout)
            waiting.addErrback(lambda failure: None)
        other = self.other
        if other is not None and other.connected:
            other.hold(full)
        producer = self._producer
        if producer is not None and self._streaming:
            self._call(producer.pauseProducing if full else producer.resumeProducing)
        elif not full:
            self._pull()

    def hold(self, full: bool) -> None:
        """Read no more until the other connection has taken what was read."""
        if full:
            self.side.reading.pause(PEER)
        else:
            self.side.reading.resume(PEER)

    # ITransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"Data must be bytes, not {type(data).__name__}")
        if self._tls is not None:
            self._tls.write(bytes(data))
        elif not self.side.lost:
            self.side.write(bytes(data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.disconnecting:
            return
        self.disconnecting = True
        if self._tls is not None:
            self._tls.loseConnection()
        elif self._producer is None or (self._streaming and not self._full):
            self._close()

    def _close(self) -> None:
        self.side.close(self._owner.close_timeout)

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.side.abort()

    def loseWriteConnection(self) -> None:
        self.side.half_close()
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.writeConnectionLost)

    def getPeer(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return self._peer

    def getHost(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return self._host

    # ITCPTransport

    @property
    def below(self) -> Any:
        return self.side.transport

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._tls is not None:
            self._tls.registerProducer(producer, streaming)
        else:
            self._register(producer, streaming)

    def _register(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(
                f"Cannot register producer {producer}, because producer {self._producer} was "
                "never unregistered."
            )
        if not self.connected or self.side.lost:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            self._pull()
        elif self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        if self._tls is not None:
            self._tls.unregisterProducer()
        else:
            self._unregister()

    def _unregister(self) -> None:
        self._producer = None
        self._stop_pulling()
        if self.disconnecting and not self.side.closing and self._tls is None:
            self._close()

    def _pull(self) -> None:
        """Let a producer that waits to be asked give the next piece, once a turn."""
        if self._producer is None or self._streaming or self._full or self._pulling is not None:
            return

        def pull() -> None:
            self._pulling = None
            if self._producer is not None and not self._full:
                self._call(self._producer.resumeProducing)
                self._pull()

        self._pulling = self._clock.callLater(0, pull)

    def _stop_pulling(self) -> None:
        pulling, self._pulling = self._pulling, None
        if pulling is not None:
            pulling.cancel()

    # IPushProducer

    def pauseProducing(self) -> None:
        self.side.reading.pause(PROTOCOL)

    def resumeProducing(self) -> None:
        self.side.reading.resume(PROTOCOL)

    def stopProducing(self) -> None:
        self.loseConnection()

    # ITLSTransport

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """Speak TLS from now on, on this connection alone.

        ``contextFactory`` is as for Twisted's transports; with ``normal`` false the parts are
        changed. Whom that convinces is up to the factory: the proxy's authority has no part in it.
        """
        # What is wrapped exists already: there is nothing for a factory to make.
        wrapped: Any = None
        factory = TLSMemoryBIOFactory(contextFactory, self._is_client is normal, wrapped)
        inner, self._producer = self.protocol, None
        self._tls = self.protocol = TLSMemoryBIOProtocol(factory, inner, False)
        self._tls.makeConnection(_BelowTLS(self))


@implementer(ITCPTransport, IConsumer, IPushProducer)
class _BelowTLS:
    """What `startTLS` puts TLS on: the transport as it was before."""

    def __init__(self, transport: PairTransport) -> None:
        self._transport = transport
        self.abortConnection = transport.abortConnection
        self.getPeer = transport.getPeer
        self.getHost = transport.getHost
        self.getTcpNoDelay = transport.getTcpNoDelay
        self.setTcpNoDelay = transport.setTcpNoDelay
        self.getTcpKeepAlive = transport.getTcpKeepAlive
        self.setTcpKeepAlive = transport.setTcpKeepAlive
        self.pauseProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing
        self.stopProducing = transport.stopProducing
        self.registerProducer = transport._register
        self.unregisterProducer = transport._unregister

    @property
    def disconnecting(self) -> bool:
        """Whether the connection is being closed."""
        return self._transport.side.closing

    def write(self, data: bytes) -> None:
        if not self._transport.side.lost:
            self._transport.side.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._transport._close()

    def loseWriteConnection(self) -> None:
        self._transport.side.half_close()
