"""UDP with servers: a socket for each peer, from which only that peer is heard."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as OutOfTime
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.errors import CapabilityError, LoopError, UpstreamError
from interceptor.interfaces import IDatagramChannel, IDatagramConnector
from interceptor.net.addresses import show
from interceptor.net.causes import Cause, cause_of, explain
from interceptor.net.marks import set_mark

if TYPE_CHECKING:
    from interceptor.interfaces import IDatagramReceiver
    from interceptor.model.connections import ServerConnection
    from interceptor.net.guard import LoopGuard
    from interceptor.net.resolver import Address, Addresses, Resolver

LARGEST: Final = 65535
"""Bytes that a datagram has at most."""

_READS: Final = 32
"""Datagrams that are read from one socket before others have their turn."""

_KEPT: Final = 8
"""Datagrams that are kept to be sent to a server's next address, where the first refuses them."""


@implementer(IDatagramConnector)
class DatagramConnector:
    """Opens UDP sockets to servers for the whole proxy. Each is guarded as TCP connections are."""

    def __init__(self, reactor: Any, resolver: Resolver, guard: LoopGuard) -> None:
        """`reactor` provides ``IReactorFDSet`` and ``IReactorTime``."""
        self._reactor = reactor
        self._resolver = resolver
        self._guard = guard
        self.mark: int | None = None
        """What sockets are marked with, as in `interceptor.net.upstream.ConnectSettings`."""

    def connect(
        self,
        address: tuple[str, int],
        receiver: IDatagramReceiver,
        *,
        timeout: float,
        server_connection: ServerConnection,
    ) -> Deferred[IDatagramChannel]:
        """See `IDatagramConnector.connect`."""
        return Deferred.fromCoroutine(self._connect(address, receiver, timeout, server_connection))

    async def _connect(
        self,
        address: tuple[str, int],
        receiver: IDatagramReceiver,
        timeout: float,
        server: ServerConnection,
    ) -> IDatagramChannel:
        server.timestamp_start = time.time()
        addresses = await self._resolve(address[0], timeout)
        channel = _Channel(self._reactor, self._guard, address, addresses, receiver, server)
        channel.mark = self.mark
        channel.open()
        return channel

    async def _resolve(self, host: str, timeout: float) -> Addresses:
        addresses = self._resolver.resolve(host)
        if isinstance(addresses, Deferred):
            addresses.addTimeout(timeout, self._reactor)
            try:
                addresses = await addresses
            except OutOfTime:
                text = f"cannot resolve {host}: no time left to connect"
                raise UpstreamError(text, "dns-timeout", 504) from None
        return addresses


@implementer(IDatagramChannel)
class _Channel:
    """What leads to a server. Where its first address refuses, the next takes its place."""

    def __init__(
        self,
        reactor: Any,
        guard: LoopGuard,
        destination: tuple[str, int],
        addresses: Addresses,
        receiver: IDatagramReceiver,
        server: ServerConnection,
    ) -> None:
        self._reactor = reactor
        self._guard = guard
        self._destination = destination
        self._todo: list[Address] = list(addresses)
        self._receiver: IDatagramReceiver | None = receiver
        self._server = server
        self._socket: _Socket | None = None
        self._failures: list[tuple[str, Cause]] = []
        self._sent: list[bytes] = []
        self._heard = False
        self.mark: int | None = None

    def open(self) -> None:
        """Open a socket to the next address that there is a way to. Raises `UpstreamError`."""
        port = self._destination[1]
        while self._todo:
            address = self._todo.pop(0)
            name = show((address.host, port))
            try:
                self._guard.check(address.host, port)
                made = _Socket(self, address, port, self.mark)
            except LoopError as loop:
                self._failures.append((name, Cause(loop.code, "this proxy's own listener")))
                continue
            except (OSError, CapabilityError):
                self._failures.append((name, cause_of(Failure())))
                continue
            self._socket = made
            server = self._server
            server.timestamp_tcp_setup = time.time()
            server.ip_address = made.peer[:2]
            server.source_address = made.own[:2]
            self._reactor.addReader(made)
            return
        raise explain(self._destination, self._failures)

    # IDatagramChannel

    def send(self, data: bytes) -> None:
        if self._socket is None:
            return
        if not self._heard and self._todo and len(self._sent) < _KEPT:
            self._sent.append(data)
        try:
            self._socket.send(data)
        except ConnectionRefusedError:
            # Of what was sent before.
            self.failed(Cause("connect-refused", "connection refused"))
        except OSError:
            # The system's buffers are full, or it is too large: lost, as datagrams may be.
            return

    def close(self) -> None:
        self._receiver = None
        self._close_socket()

    # What the socket tells

    def received(self, data: bytes) -> None:
        """The server has sent a datagram."""
        if not self._heard:
            self._heard = True
            self._sent.clear()
        if self._receiver is not None:
            self._receiver.datagram_received(data)

    def failed(self, cause: Cause) -> None:
        """The server, or what is on the way, will not have it."""
        if self._socket is None:
            return
        self._failures.append((show(self._socket.peer[:2]), cause))
        self._close_socket()
        try:
            if self._heard:
                raise explain(self._destination, self._failures)
            self.open()
        except UpstreamError as error:
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.channel_lost(error)
            return
        for data in tuple(self._sent):
            self.send(data)

    def _close_socket(self) -> None:
        closing, self._socket = self._socket, None
        if closing is not None:
            self._reactor.removeReader(closing)
            closing.close()


@implementer(IReadDescriptor)
class _Socket:
    """One socket that is connected to one address. The system gives it a random port of its own."""

    def __init__(self, channel: _Channel, address: Address, port: int, mark: int | None) -> None:
        """Raises `OSError`, and `CapabilityError` where it cannot be marked."""
        self._channel: _Channel | None = channel
        info = socket.getaddrinfo(
            address.host, port, address.family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
        )
        self._socket = socket.socket(address.family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if mark is not None:
                set_mark(self._socket, mark)
            self._socket.connect(info[0][4])
            self.peer: Any = self._socket.getpeername()
            self.own: Any = self._socket.getsockname()
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send a datagram. Raises `OSError`."""
        self._socket.send(data)

    def close(self) -> None:
        """Close it, without a word."""
        self._channel = None
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(_READS):
            channel = self._channel
            if channel is None:
                return
            try:
                data, peer = self._socket.recvfrom(LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                channel.failed(cause_of(Failure()))
                return
            # What came between the socket's making and its connecting may be anybody's.
            if peer == self.peer:
                channel.received(data)

    def connectionLost(self, reason: Failure) -> None:
        if self._channel is None:
            return
        # Some reactors do not let it be read where there is an error to be read.
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            reason = Failure(OSError(number, os.strerror(number)))
        self._channel.failed(cause_of(reason))

    def logPrefix(self) -> str:
        return "UDP"
