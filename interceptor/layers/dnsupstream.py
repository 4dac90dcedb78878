"""Asking resolvers: over UDP on a socket for each question, over TCP on one connection for many."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as OutOfTime
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from interceptor.errors import RemoteProtocolError, UpstreamError
from interceptor.interfaces import IDatagramReceiver
from interceptor.layers.datagrams import ServerChannel
from interceptor.layers.serverside import start
from interceptor.model.connections import format_address
from interceptor.names.message import Message, Response
from interceptor.names.streams import MessageReader, frame
from interceptor.names.wire import Header, MalformedError, Reader, with_id
from interceptor.net.sides import SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.environment import Environment
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.session import Session
    from interceptor.model.connections import Address
    from interceptor.names.flow import DNSFlow
    from interceptor.names.wire import WireQuestion


class _Pending:
    """A question that was sent: what an answer has to have, and who waits for it."""

    def __init__(self, query: bytes) -> None:
        reader = Reader(query)
        self.number = secrets.randbits(16)
        self.query = with_id(query, self.number)
        self.answer: Deferred[Response] = Deferred()
        self._opcode = reader.header.flags & 0x7800
        self._questions: tuple[WireQuestion, ...] = reader.questions()

    def matches(self, data: bytes) -> bool:
        """Whether a message answers this question, whether it can be understood or not."""
        if len(data) < 2 or int.from_bytes(data[:2], "big") != self.number:
            return False
        try:
            header = Header.read(data)
            if not header.is_response or header.flags & 0x7800 != self._opcode:
                return False
            if not header.counts[0]:
                # Servers leave the question out where they did not understand it.
                return not self._questions or header.flags & 0xF != 0
            asked = Reader(data).questions()
        except MalformedError:
            return True
        return len(asked) == len(self._questions) and all(
            one.same_as(other) for one, other in zip(asked, self._questions, strict=True)
        )

    def receive(self, data: bytes) -> None:
        """Take a message that `matches`."""
        if self.answer.called:
            return
        try:
            response = Response.from_wire(data)
        except RemoteProtocolError as error:
            text = f"the resolver's answer cannot be understood: {error}"
            self.answer.errback(UpstreamError(text, "dns-answer-malformed"))
        else:
            self.answer.callback(response)

    def fail(self, error: Exception) -> None:
        """Nothing will come any more."""
        if not self.answer.called:
            self.answer.errback(error)


def _too_late(address: Address | None, timeout: float) -> UpstreamError:
    text = f"{format_address(address)} did not answer within {timeout:g} s"
    return UpstreamError(text, "dns-query-timeout", 504)


@implementer(IDatagramReceiver)
class DatagramQuery:
    """One question over UDP. Forged answers have an id and a port to guess, both random."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._pending: _Pending | None = None
        self._channel: ServerChannel | None = None

    async def ask(self, flow: DNSFlow, query: bytes, timeout: float) -> Response:
        """Implement `interceptor.layers.dnsexchange.Ask`."""
        server_conn = flow.server_conn
        channel = self._channel = ServerChannel(self._environment, server_conn, self)
        pending = self._pending = _Pending(query)
        await channel.open(timeout)
        try:
            channel.send(pending.query)
            pending.answer.addTimeout(timeout, self._environment.clock)
            return await pending.answer
        except OutOfTime:
            server_conn.error = str(_too_late(server_conn.address, timeout))
            raise _too_late(server_conn.address, timeout) from None
        finally:
            self._pending = None
            channel.close()

    def repeat(self) -> None:
        """Send the question once more, since the client does: a datagram was lost somewhere."""
        if self._pending is not None and self._channel is not None:
            self._channel.send(self._pending.query)

    def datagram_received(self, data: bytes) -> None:
        """Implement `IDatagramReceiver`: what is no answer to this question is no one's."""
        if self._pending is not None and self._pending.matches(data):
            self._pending.receive(data)

    def channel_lost(self, error: Exception) -> None:
        """Implement `IDatagramReceiver`."""
        if self._pending is not None:
            self._pending.fail(error)


class StreamResolvers:
    """The connections to resolvers of one session over TCP, each for many questions at once.

    ``server`` is a connection that is there already, if any.
    """

    def __init__(self, session: Session, server: ServerSide | None = None) -> None:
        self._session = session
        self._open: dict[Any, DNSClientProtocol] = {}
        if server is not None:
            self._adopt(server, server.server_conn.address)

    async def ask(self, flow: DNSFlow, query: bytes, timeout: float) -> Response:
        """Implement `interceptor.layers.dnsexchange.Ask`."""
        address = flow.server_conn.address
        assert address is not None
        clock = self._session.environment.clock
        asking: Deferred[Response] = Deferred.fromCoroutine(self._ask(flow, query, address))
        asking.addTimeout(timeout, clock)
        try:
            return await asking
        except OutOfTime:
            raise _too_late(address, timeout) from None

    async def _ask(self, flow: DNSFlow, query: bytes, address: Address) -> Response:
        protocol = self._open.get(address)
        if protocol is not None and not protocol.side.closing:
            flow.server_conn = protocol.server.server_conn
            try:
                return await protocol.ask(query)
            except UpstreamError as error:
                # It was closed for being idle, perhaps: that is no fault of this question.
                if error.code != "server-disconnected":
                    raise
        server = await self._session.servers.connect(address, flow)
        return await self._adopt(server, address).ask(query)

    def _adopt(self, server: ServerSide, address: Address | None) -> DNSClientProtocol:
        protocol = self._open[address] = DNSClientProtocol(server)
        start(server, protocol)
        return protocol


class DNSClientProtocol(SideProtocol):
    """Stands on the side of a resolver: sends questions, and tells their answers apart by ids."""

    def __init__(self, server: ServerSide) -> None:
        self.server = server
        self._reader = MessageReader()
        self._pending: dict[int, _Pending] = {}

    async def ask(self, query: bytes) -> Response:
        """Ask, and wait for the answer. Raises `UpstreamError`."""
        pending = _Pending(query)
        while pending.number in self._pending:
            pending = _Pending(query)
        if self.server.closing:
            raise self._closed()
        self._pending[pending.number] = pending
        self.server.write(frame(pending.query))
        try:
            return await pending.answer
        finally:
            del self._pending[pending.number]

    def dataReceived(self, data: bytes) -> None:
        for message in self._reader.receive(data):
            pending = self._pending.get(int.from_bytes(message[:2], "big"))
            if pending is not None and pending.matches(message):
                pending.receive(message)

    def read_closed(self) -> None:
        self.server.close()
        self._fail()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail()

    def _fail(self) -> None:
        for pending in tuple(self._pending.values()):
            pending.fail(self._closed())

    def _closed(self) -> UpstreamError:
        address = format_address(self.server.server_conn.address)
        return UpstreamError(
            f"{address} closed the connection before it had answered", "server-disconnected"
        )


def header_only(data: bytes, rcode: int) -> bytes | None:
    """Return what answers a request that cannot be understood: its header, as a response.

    None where it is no request, so that nobody answers answers forever.
    """
    try:
        header = Header.read(data)
    except MalformedError:
        return None
    if header.is_response:
        return None
    made = Message(header.id, 0x8000 | header.flags & 0x7900 | rcode, None)
    return made.to_wire()
