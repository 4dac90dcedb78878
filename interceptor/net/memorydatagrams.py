"""UDP without a network, for tests: every datagram arrives at once, unless it is to get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from interceptor.errors import UpstreamError
from interceptor.interfaces import IDatagramChannel, IDatagramConnector
from interceptor.net.addresses import HostPort, as_address, show

if TYPE_CHECKING:
    from interceptor.interfaces import IDatagramReceiver
    from interceptor.model.connections import ServerConnection


class DatagramServer:
    """A server of a `MemoryDatagrams`: notes what arrives, and answers what it is told to."""

    def __init__(self, address: HostPort) -> None:
        self.address = address
        self.received: list[bytes] = []
        """All that has arrived."""
        self.channels: list[MemoryChannel] = []
        """The ways to here, in the order in which they were opened."""
        self.answer: Any = None
        """Called with each datagram; what it returns, unless that is None, is sent back."""

    def send(self, data: bytes, channel: int = -1) -> None:
        """Send a datagram on one of ``channels``, the newest unless told otherwise."""
        self.channels[channel].arrive(data)

    def refuse(self) -> None:
        """Let the newest channel find out that nobody listens here."""
        self.channels[-1].lose("connection refused")


@implementer(IDatagramChannel)
class MemoryChannel:
    """A way to a `DatagramServer`."""

    def __init__(self, server: DatagramServer, receiver: IDatagramReceiver) -> None:
        self.server = server
        self.closed = False
        self._receiver = receiver

    def send(self, data: bytes) -> None:
        if self.closed:
            return
        self.server.received.append(data)
        answer = None if self.server.answer is None else self.server.answer(data)
        if answer is not None:
            self.arrive(answer)

    def close(self) -> None:
        self.closed = True

    def arrive(self, data: bytes) -> None:
        """Let a datagram of the server's arrive."""
        if not self.closed:
            self._receiver.datagram_received(data)

    def lose(self, reason: str) -> None:
        """Let the channel fail."""
        if not self.closed:
            self.closed = True
            text = f"cannot connect to {show(self.server.address)}: {reason}"
            self._receiver.channel_lost(UpstreamError(text, "connect-refused"))


class DatagramClient:
    """A client of a `MemoryDatagrams`' listener; ``received`` is what came back to its address."""

    def __init__(self, port: MemoryDatagramPort, address: HostPort) -> None:
        self.address = address
        self.received: list[bytes] = []
        self._port = port

    def send(self, data: bytes) -> None:
        """Send a datagram to the listener."""
        self._port.protocol.datagramReceived(data, self.address)

    def take(self) -> list[bytes]:
        """Return ``received``, and forget it."""
        taken, self.received = self.received, []
        return taken


class MemoryDatagramPort:
    """Where a protocol listens; passes for its transport."""

    def __init__(self, address: HostPort, protocol: Any) -> None:
        self.protocol = protocol
        self.clients: dict[HostPort, DatagramClient] = {}
        self._address = address
        protocol.makeConnection(self)

    def getHost(self) -> Any:
        return as_address(self._address)

    def write(self, data: bytes, address: HostPort) -> None:
        client = self.clients.get(address)
        if client is not None:
            client.received.append(data)


@implementer(IDatagramConnector)
class MemoryDatagrams:
    """Servers that are spoken to over UDP, a connector that reaches them, and listeners."""

    def __init__(self, clock: Clock) -> None:
        self.servers: dict[HostPort, DatagramServer] = {}
        self.attempts: list[HostPort] = []
        """The addresses that `connect` was asked for, in order."""
        self._clock = clock
        self._last_client = 50000

    def server(self, host: str, port: int) -> DatagramServer:
        """Return a new server at an address."""
        made = self.servers[host, port] = DatagramServer((host, port))
        return made

    def listen(self, address: HostPort, protocol: Any) -> MemoryDatagramPort:
        """Let ``protocol`` listen."""
        return MemoryDatagramPort(address, protocol)

    def client(self, port: MemoryDatagramPort, address: HostPort | None = None) -> DatagramClient:
        """Return a new client of a listener, with an address of its own."""
        if address is None:
            self._last_client += 1
            address = ("192.0.2.1", self._last_client)
        made = port.clients[address] = DatagramClient(port, address)
        return made

    def connect(
        self,
        address: HostPort,
        receiver: IDatagramReceiver,
        *,
        timeout: float,
        server_connection: ServerConnection,
    ) -> Deferred[IDatagramChannel]:
        """See `IDatagramConnector.connect`. Where nobody listens there is no way."""
        self.attempts.append(address)
        server = self.servers.get(address)
        server_connection.timestamp_start = self._clock.seconds()
        if server is None:
            text = f"cannot connect to {show(address)}: no route to host"
            return fail(UpstreamError(text, "connect-unreachable"))
        server_connection.timestamp_tcp_setup = self._clock.seconds()
        server_connection.ip_address = address
        server_connection.source_address = ("192.0.2.2", 40000 + len(self.attempts))
        channel = MemoryChannel(server, receiver)
        server.channels.append(channel)
        return succeed(channel)
