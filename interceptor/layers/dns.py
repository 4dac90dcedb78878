"""DNS with clients: a listener for UDP, and a layer for TCP, in front of the same exchange."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import RemoteProtocolError
from interceptor.layers.context import Context, Layer
from interceptor.layers.datagrams import DatagramListener, DroppedError
from interceptor.layers.dnsexchange import DNSExchange
from interceptor.layers.dnsupstream import DatagramQuery, StreamResolvers, header_only
from interceptor.model.connections import ClientConnection, format_address
from interceptor.names.message import Request
from interceptor.names.streams import MessageReader, frame
from interceptor.net.gate import BACKLOG, PEER
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.destinations import Destination
    from interceptor.layers.environment import Environment
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.modes import ModeSpec

_FORMERR: Final = 1

_MOST_AT_ONCE: Final = 64
"""Questions of one TCP connection that are answered at the same time; others wait unread."""


class DNSListener(DatagramListener):
    """Answers questions that come over UDP, each a flow of its own."""

    def __init__(self, environment: Environment, mode: ModeSpec) -> None:
        super().__init__(environment, mode)
        self._queries: dict[tuple[tuple[str, int], bytes], _DatagramExchange] = {}

    def received(self, datagram: bytes, address: tuple[str, int]) -> None:
        repeated = self._queries.get((address, datagram))
        if repeated is not None:
            repeated.query.repeat()
            return
        try:
            request = Request.from_wire(datagram)
        except RemoteProtocolError as error:
            answer = header_only(datagram, _FORMERR)
            if answer is not None:
                self.reply(answer, address)
            raise DroppedError(str(error), error.code) from None
        self.take(address[0])
        exchange = _DatagramExchange(self, request, datagram, address)
        self._queries[address, datagram] = exchange
        self.environment.sessions.add(exchange)
        exchange.exchange.start()

    def ended(self, exchange: _DatagramExchange, answer: bytes | None) -> None:
        """An exchange is over; ``answer`` is what its client gets, if anything."""
        del self._queries[exchange.address, exchange.datagram]
        self.environment.datagram_quota.give_back(exchange.address[0])
        if answer is not None:
            self.reply(answer, exchange.address)
        self.environment.session_ended(exchange)


class _DatagramExchange:
    """A question that came over UDP."""

    def __init__(
        self, listener: DNSListener, request: Request, datagram: bytes, address: tuple[str, int]
    ) -> None:
        environment, mode = listener.environment, listener.mode
        self.datagram = datagram
        self.address = address
        client_conn = ClientConnection(address, listener.address, time.time())
        client_conn.proxy_mode = mode.name
        self.query = DatagramQuery(environment)

        def done(answer: bytes | None) -> None:
            client_conn.timestamp_end = time.time()
            listener.ended(self, answer)

        self.exchange = DNSExchange(
            environment,
            client_conn,
            mode.name,
            request,
            "udp",
            lambda: environment.name_servers.of_mode(mode),
            self.query.ask,
            done,
        )

    def shut_down(self) -> None:
        """The proxy is told to stop: the question is answered still."""

    def abort(self) -> None:
        """End at once."""
        self.exchange.abort()


class DNSLayer(Layer):
    """Speaks DNS with a client over TCP.

    Resolvers are those of the mode; or the server at ``destination``, where the client named one,
    to which there may be a connection already.
    """

    name = "dns"

    def start(self, data: bytes) -> None:
        self.context.session.side.use(
            DNSServerProtocol(self.context, self.server, self.destination), data
        )


class DNSServerProtocol(SideProtocol):
    """Stands on the client's side: questions may overtake each other, as RFC 7766 wants it."""

    log = Logger()

    def __init__(
        self, context: Context, server: ServerSide | None, destination: Destination | None
    ) -> None:
        self._context = context
        self._settings = context.environment.settings
        self._server = server
        self._destination = destination
        self._resolvers = StreamResolvers(context.session, server)
        self._reader = MessageReader()
        self._exchanges: set[DNSExchange] = set()
        self._ending = False
        self._draining = False
        self._full = False

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.writing.on_change = self._client_full
        self._wait()

    def _wait(self) -> None:
        """Set the deadline for what is waited for now."""
        settings = self._settings
        if self._reader.in_the_middle:
            self.side.deadline.set(settings.head_timeout)
        elif self._exchanges and not self.side.writing.paused:
            self.side.deadline.clear()
        else:
            self.side.deadline.set(settings.idle_timeout)

    def _client_full(self, full: bool) -> None:
        if full:
            self.side.reading.pause(PEER)
            self._wait()
        else:
            self.side.reading.resume(PEER)

    def dataReceived(self, data: bytes) -> None:
        for message in self._reader.receive(data):
            if self.side.closing:
                return
            self._begin(message)
            if len(self._exchanges) >= _MOST_AT_ONCE:
                # What is left in the reader waits, too.
                self._full = True
                self.side.reading.pause(BACKLOG)
                break
        self._go_on()

    def _begin(self, message: bytes) -> None:
        context = self._context
        try:
            request = Request.from_wire(message)
        except RemoteProtocolError as error:
            self._malformed(message, error)
            return
        exchange: DNSExchange

        def done(answer: bytes | None) -> None:
            self._answered(exchange, answer)

        exchange = DNSExchange(
            context.environment,
            context.client_conn,
            context.mode,
            request,
            "tcp",
            self._servers,
            self._resolvers.ask,
            done,
        )
        self._exchanges.add(exchange)
        exchange.start()

    def _servers(self) -> tuple[tuple[str, int], ...]:
        if self._destination is not None:
            _, host, port = self._destination
            return ((host.decode("utf-8", "surrogateescape"), port),)
        return self._context.environment.name_servers.of_mode(self._context.mode_spec)

    def _malformed(self, message: bytes, error: RemoteProtocolError) -> None:
        self.log.info(
            "{client}: {code}: {error}",
            client=format_address(self._context.client_conn.address),
            code=error.code,
            error=error,
            proxy=self._context.environment.proxy,
        )
        answer = header_only(message, _FORMERR)
        if answer is not None:
            self.side.write(frame(answer))
        # Where one message is not understood, the next may not begin where it seems to.
        self._close()

    def _answered(self, exchange: DNSExchange, answer: bytes | None) -> None:
        self._exchanges.discard(exchange)
        side = self.side
        if side.closing:
            return
        if answer is None:
            # The client would wait for it: it can tell by the end that there is none.
            self._ending = True
        else:
            side.write(frame(answer))
        if self._full:
            self._full = False
            side.reading.resume(BACKLOG)
            self.dataReceived(b"")
        self._go_on()

    def _go_on(self) -> None:
        if self.side.closing:
            return
        if (self._ending or self._draining) and not self._exchanges:
            self._close()
        else:
            self._wait()

    def _close(self) -> None:
        self.side.close(self._settings.close_timeout, linger=True)

    def drain(self) -> None:
        """Answer what was asked, and close."""
        self._draining = True
        if not self._exchanges:
            self._close()

    def read_closed(self) -> None:
        self._ending = True
        if not self._exchanges:
            self._close()

    def timed_out(self) -> None:
        self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for exchange in tuple(self._exchanges):
            exchange.abort()
