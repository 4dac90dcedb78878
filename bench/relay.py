"""A bare TCP relay: the least that a Twisted proxy can do, and so the measure of all others.

It accepts, connects to the one server it knows, and copies bytes both ways with back-pressure.
Run as ``python -m bench.relay PORT`` it serves ``127.0.0.1:PORT`` on a port of its own choice and
says which one on stdout.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IListeningPort,
    IReactorCore,
    IReactorTCP,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure


class RelayProtocol(Protocol):
    """One end of a relayed connection; ``peer`` is the other end's transport once it is there."""

    peer: ITCPTransport | None = None

    def dataReceived(self, data: bytes) -> None:
        # Nothing is read before both ends are there, see DownstreamProtocol.
        cast(ITCPTransport, self.peer).write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.peer is not None:
            self.peer.loseConnection()
            self.peer = None


class UpstreamProtocol(RelayProtocol):
    """The end toward the server."""

    def __init__(self, downstream: DownstreamProtocol) -> None:
        self._downstream = downstream

    def connectionMade(self) -> None:
        here = cast(ITCPTransport, self.transport)
        self._downstream.connector = None
        join(self, here, self._downstream, cast(ITCPTransport, self._downstream.transport))


def join(
    one: RelayProtocol, one_transport: ITCPTransport, other: RelayProtocol, transport: ITCPTransport
) -> None:
    """Join two ends: what one receives the other writes, and a full one pauses the other."""
    one.peer, other.peer = transport, one_transport
    # A TCP transport is both a push producer and a consumer, but its interface says neither.
    cast(Any, one_transport).registerProducer(transport, True)
    cast(Any, transport).registerProducer(one_transport, True)
    one_transport.setTcpNoDelay(True)
    transport.setTcpNoDelay(True)
    cast(Any, transport).resumeProducing()


class DownstreamProtocol(RelayProtocol):
    """The end toward the client; it reads nothing until there is somewhere to put it."""

    connector: IConnector | None = None
    upstream_class: type[UpstreamProtocol] = UpstreamProtocol

    def __init__(self, factory: RelayFactory) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        cast(Any, self.transport).pauseProducing()
        self.connector = self._factory.connect(_UpstreamFactory(self))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.connector is not None:
            self.connector.disconnect()
        super().connectionLost(reason)


class _UpstreamFactory(ClientFactory):
    noisy = False

    def __init__(self, downstream: DownstreamProtocol) -> None:
        self._downstream = downstream

    def buildProtocol(self, addr: IAddress | None) -> UpstreamProtocol:
        return self._downstream.upstream_class(self._downstream)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._downstream.connector = None
        cast(ITCPTransport, self._downstream.transport).abortConnection()


class RelayFactory(ServerFactory):
    """Relay every connection to ``host:port``."""

    noisy = False
    protocol_class = DownstreamProtocol

    def __init__(self, reactor: IReactorTCP, host: str, port: int) -> None:
        self.reactor = reactor
        self.host = host
        self.port = port

    def connect(self, factory: ClientFactory) -> IConnector:
        """Connect to the server."""
        return self.reactor.connectTCP(self.host, self.port, factory)

    def buildProtocol(self, addr: IAddress | None) -> DownstreamProtocol:
        return self.protocol_class(self)


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    from twisted.internet import reactor as installed

    reactor = cast(IReactorTCP, installed)
    listener: IListeningPort = reactor.listenTCP(
        0, RelayFactory(reactor, "127.0.0.1", int(arguments[0])), backlog=511, interface="127.0.0.1"
    )
    print(f"listening: relay on 127.0.0.1:{cast(Any, listener.getHost()).port}", flush=True)
    cast(IReactorCore, installed).run()


if __name__ == "__main__":
    main(sys.argv[1:])
