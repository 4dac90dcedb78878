"""Connects to servers: Happy Eyeballs over a guarded, bounded, cancellable set of attempts."""

from __future__ import annotations

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as OutOfTime
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall, IProtocol, ITransport
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.errors import CapabilityError, LoopError, UpstreamError
from interceptor.interfaces import IUpstreamConnector
from interceptor.net.addresses import HostPort, as_pair, show
from interceptor.net.causes import Cause, cause_of, explain
from interceptor.net.dial import Dial, can_dial
from interceptor.net.guard import LoopGuard
from interceptor.net.marks import set_mark
from interceptor.net.resolver import Addresses, Resolver

if TYPE_CHECKING:
    from socket import socket

    from interceptor.model.connections import ServerConnection
    from interceptor.net.transports import ISocketTransport

ProtocolFactory = Callable[[], IProtocol]
"""Makes the protocol for one connection, once that connection exists."""

_WINNER_TTL = 600.0
"""Seconds for which a name's winning address goes first; RFC 6555 section 4.2 has ten minutes."""

_WINNERS = 1024

_LONGEST_PATH = 107 if sys.platform.startswith("linux") else 103
"""Bytes that the path of a UNIX socket may have, its final zero not counted."""


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """How an `UpstreamConnector` goes about it."""

    attempt_delay: float = 0.25
    """Seconds before the next address is tried besides one that has not answered (RFC 8305 §5)."""
    mark: int | None = None
    """What TCP sockets are marked with, for packet filters; that needs CAP_NET_ADMIN (Linux)."""
    recognise: bool = False
    """Whether `UpstreamConnector.made` is going to be asked."""


@implementer(IUpstreamConnector)
class UpstreamConnector:
    """Makes TCP and UNIX connections for the whole proxy.

    A name's addresses are tried as RFC 8305 has it: one after another, `attempt_delay` apart, or at
    once when the one before has failed; the first to connect wins and the others are given up. The
    winner is tried first for the next ten minutes, so that a server that answers in one family only
    costs one attempt. A single address takes a shorter way without any of that.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        guard: LoopGuard,
        settings: ConnectSettings | None = None,
    ) -> None:
        """`reactor` provides ``IReactorTCP``, ``IReactorUNIX`` and ``IReactorTime``."""
        self.settings = settings or ConnectSettings()
        """May be replaced at any time; connects that run keep the old ones."""
        self._reactor = reactor
        self._resolver = resolver
        self._guard = guard
        self._winners: OrderedDict[tuple[str, int], tuple[str, float]] = OrderedDict()
        self._under_way: set[_Attempt] = set()
        self._made: set[tuple[HostPort, HostPort]] = set()

    def made(self, source: HostPort, destination: HostPort) -> bool:
        """Whether the connection from ``source`` to ``destination`` is one that was made here.

        Connections that are still being made count. ``recognise`` has to be set before.
        """
        pair = (source, destination)
        return pair in self._made or any(
            attempt.host == destination[0] and attempt.pair() == pair for attempt in self._under_way
        )

    def connect(
        self,
        address: tuple[str, int],
        protocol_factory: ProtocolFactory,
        *,
        timeout: float,
        source_address: tuple[str, int] | None = None,
        server_connection: ServerConnection | None = None,
    ) -> Deferred[IProtocol]:
        """Connect to `address` and fire with the connected protocol.

        `address` is a host name or IP address and a port, or the absolute path of a UNIX socket
        and 0. `timeout` bounds the whole, in seconds, the name's resolution included.
        `source_address` is bound to before connecting. `server_connection` is told when it began
        (``timestamp_start``), and before the protocol's ``connectionMade`` the peer's
        ``ip_address``, our ``source_address`` and when it was there (``timestamp_tcp_setup``).

        Fails with `UpstreamError`: ``connect-refused``, ``connect-unreachable`` and
        ``connect-failed`` (502), ``connect-timeout`` (504), ``dns-failed`` (502), ``dns-timeout``
        (504); the text lists each address tried and what became of it. Fails with `LoopError` if
        the only addresses left are our own. Cancelling gives up all attempts.
        """
        host = address[0]
        started = self._reactor.seconds()
        if server_connection is not None:
            server_connection.timestamp_start = time.time()
        connecting = _Connecting(
            self, address, protocol_factory, started + timeout, source_address, server_connection
        )
        if host.startswith("/"):
            connecting.start_unix(host)
            return connecting.result
        try:
            addresses = self._resolver.resolve(host)
        except UpstreamError:
            connecting.finish(Failure())
            return connecting.result
        if isinstance(addresses, Deferred):
            connecting.start_resolving(addresses)
        else:
            connecting.start(addresses)
        return connecting.result

    def resolve(self, host: str, *, timeout: float) -> Deferred[tuple[str, ...]]:
        """Fire with the addresses of `host`, in the order in which they are to be tried.

        There is at least one; an address in text is its own. Fails with `UpstreamError`:
        ``dns-failed``, ``dns-timeout``, also where `timeout` seconds have passed.
        """
        try:
            addresses = self._resolver.resolve(host)
        except UpstreamError:
            return fail()
        if not isinstance(addresses, Deferred):
            addresses = succeed(addresses)
        else:
            addresses.addTimeout(timeout, self._reactor)

        def too_late(reason: Failure) -> Failure:
            reason.trap(OutOfTime)
            text = f"cannot resolve {host}: no time left to connect"
            return Failure(UpstreamError(text, "dns-timeout", 504))

        return addresses.addCallbacks(
            lambda found: tuple(address.host for address in found), too_late
        )

    def _prefer(self, destination: tuple[str, int], hosts: list[str]) -> None:
        """Move the address that won last to the front of `hosts`, if that is not too long ago."""
        winner = self._winners.get(destination)
        if winner is None:
            return
        if winner[1] < self._reactor.seconds():
            del self._winners[destination]
        elif winner[0] in hosts:
            hosts.remove(winner[0])
            hosts.insert(0, winner[0])

    def _remember(self, destination: tuple[str, int], host: str) -> None:
        self._winners[destination] = (host, self._reactor.seconds() + _WINNER_TTL)
        self._winners.move_to_end(destination)
        if len(self._winners) > _WINNERS:
            self._winners.popitem(last=False)


class _Connecting:
    """One call of `UpstreamConnector.connect`, from its first attempt to its outcome."""

    __slots__ = (
        "_attempts",
        "_connector",
        "_deadline",
        "_failures",
        "_next_attempt",
        "_resolving",
        "_server",
        "_several",
        "_source",
        "_todo",
        "destination",
        "make_protocol",
        "result",
    )

    def __init__(
        self,
        connector: UpstreamConnector,
        destination: tuple[str, int],
        make_protocol: ProtocolFactory,
        deadline: float,
        source: tuple[str, int] | None,
        server: ServerConnection | None,
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self.destination = destination
        self.make_protocol = make_protocol
        self._connector = connector
        self._deadline = deadline
        self._source = source
        self._server = server
        self._several = False
        # The last one is next.
        self._todo: list[str] = []
        self._attempts: list[_Attempt] = []
        self._failures: list[tuple[str, Cause]] = []
        self._next_attempt: IDelayedCall | None = None
        self._resolving: Deferred[Addresses] | None = None

    # Beginning

    def start_resolving(self, addresses: Deferred[Addresses]) -> None:
        """Go on when the name is resolved."""
        self._resolving = addresses
        clock = self._connector._reactor
        addresses.addTimeout(max(0.0, self._deadline - clock.seconds()), clock)
        addresses.addCallbacks(self.start, self._not_resolved)
        # What goes wrong in start() must not leave the caller waiting.
        addresses.addErrback(lambda reason: self.finish(reason) and None)

    def start(self, addresses: Addresses) -> None:
        """Try the addresses, the first one now."""
        self._resolving = None
        self._todo = [address.host for address in addresses]
        if len(addresses) > 1:
            self._several = True
            self._connector._prefer(self.destination, self._todo)
            self._todo.reverse()
        self._attempt()

    def start_unix(self, path: str) -> None:
        """Connect to a UNIX socket."""
        name = show(self.destination)
        if "\0" in path or len(os.fsencode(path)) > _LONGEST_PATH:
            # Twisted's client would not survive what the socket raises.
            cause = Cause("connect-failed", "no socket can have this path")
            self.finish(Failure(explain(self.destination, [(name, cause)])))
            return
        try:
            self._connector._guard.check(path, 0)
        except LoopError:
            self.finish(Failure())
            return
        attempt = _Attempt(self, name, path)
        self._attempts.append(attempt)
        remaining = max(0.0, self._deadline - self._connector._reactor.seconds())
        attempt.connector = self._connector._reactor.connectUNIX(path, attempt, remaining)

    # Attempts

    def _attempt(self) -> None:
        """Start the next attempt, and arrange for the one after it."""
        self._next_attempt = None
        reactor = self._connector._reactor
        port = self.destination[1]
        while self._todo:
            host = self._todo.pop()
            name = show((host, port))
            remaining = self._deadline - reactor.seconds()
            if remaining <= 0:
                self._failures.append((name, Cause("connect-timeout", "no time left to try it")))
                continue
            try:
                self._connector._guard.check(host, port)
            except LoopError as loop:
                self._failures.append((name, Cause(loop.code, "this proxy's own listener")))
                continue
            attempt = _Attempt(self, name, host)
            self._attempts.append(attempt)
            if self._todo:
                delay = self._connector.settings.attempt_delay
                self._next_attempt = reactor.callLater(delay, self._attempt)
            if self._source is None and can_dial(reactor, host):
                dial = attempt.connector = Dial(reactor, host, port, attempt)
                if self._prepare(attempt):
                    dial.begin(remaining)
                return
            try:
                connector = reactor.connectTCP(host, port, attempt, remaining, self._source)
            except Exception:
                # Twisted parses zones and source addresses at once, and raises what that raises.
                self.failed(attempt, Failure())
                return
            attempt.connector = connector
            self._prepare(attempt)
            return
        if not self._attempts:
            self.finish(Failure(explain(self.destination, self._failures)))

    def _prepare(self, attempt: _Attempt) -> bool:
        """The socket is there, but not being connected yet; False where that must not be."""
        settings = self._connector.settings
        if settings.mark is not None:
            skt = attempt.skt
            try:
                if skt is not None:
                    set_mark(skt, settings.mark)
            except CapabilityError:
                attempt.abandon()
                self.failed(attempt, Failure())
                return False
        if settings.recognise:
            attempt.recognised = self._connector
            self._connector._under_way.add(attempt)
        return True

    def failed(self, attempt: _Attempt, reason: Failure) -> None:
        """An attempt failed: the next address need not wait any longer."""
        if attempt not in self._attempts:
            return
        self._attempts.remove(attempt)
        self._failures.append((attempt.name, cause_of(reason)))
        if self._next_attempt is not None:
            self._next_attempt.cancel()
            self._next_attempt = None
        self._attempt()

    def won(self, attempt: _Attempt) -> None:
        """An attempt connected: give up the others."""
        self._attempts.remove(attempt)
        self._give_up()
        if self._several:
            self._connector._remember(self.destination, attempt.host)

    def connected(self, transport: ITransport) -> IProtocol:
        """Note what is known about the connection, and make its protocol."""
        disable_nagle(transport)
        server = self._server
        if server is not None:
            server.timestamp_tcp_setup = time.time()
            server.ip_address = as_pair(transport.getPeer())
            server.source_address = as_pair(transport.getHost())
        return self.make_protocol()

    # Ending

    def finish(self, outcome: IProtocol | Failure) -> bool:
        """Fire the result; False if it has been fired, or cancelled."""
        self._give_up()
        if self.result.called:
            return False
        if isinstance(outcome, Failure):
            self.result.errback(outcome)
        else:
            self.result.callback(outcome)
        return True

    def _give_up(self) -> None:
        self._todo.clear()
        if self._next_attempt is not None:
            self._next_attempt.cancel()
            self._next_attempt = None
        while self._attempts:
            self._attempts.pop().abandon()

    def _cancelled(self, result: Deferred[IProtocol]) -> None:
        self._give_up()
        if self._resolving is not None:
            self._resolving.cancel()

    def _not_resolved(self, reason: Failure) -> None:
        self._resolving = None
        if reason.check(OutOfTime):
            text = f"cannot resolve {self.destination[0]}: no time left to connect"
            reason = Failure(UpstreamError(text, "dns-timeout", 504))
        self.finish(reason)


class _Attempt(ClientFactory):
    """One socket of a `_Connecting`: what its `Dial` calls, or Twisted as the factory of it."""

    noisy = False

    def __init__(self, connecting: _Connecting, name: str, host: str) -> None:
        self.connecting: _Connecting | None = connecting
        self.connector: Dial | IConnector | None = None
        self.recognised: UpstreamConnector | None = None
        self.name = name
        self.host = host
        self._port = connecting.destination[1]
        self._pair: tuple[HostPort, HostPort] | None = None

    @property
    def skt(self) -> socket | None:
        """What is being connected, as long as it is."""
        connector: Any = self.connector
        holder = connector if isinstance(connector, Dial) else getattr(connector, "transport", None)
        found: socket | None = getattr(holder, "socket", None)
        return found

    def pair(self) -> tuple[HostPort, HostPort] | None:
        """Source and destination, once the socket has both; for `UpstreamConnector.made`."""
        skt = self.skt
        try:
            return None if skt is None else (skt.getsockname()[:2], (self.host, self._port))
        except OSError:
            return None

    def _done(self) -> None:
        """The attempt is over."""
        if self.recognised is not None:
            self.recognised._under_way.discard(self)
        self.connector = None

    def connected(self) -> Protocol | None:
        """Return what is given the connection, if anybody still wants it."""
        connecting, self.connecting = self.connecting, None
        if connecting is not None and self.recognised is not None:
            self._pair = self.pair()
            if self._pair is not None:
                self.recognised._made.add(self._pair)
        self._done()
        if connecting is None:
            return None
        connecting.won(self)
        return _Handover(connecting)

    def failed(self, reason: Failure) -> None:
        """There is no connection."""
        connecting, self.connecting = self.connecting, None
        self._done()
        if connecting is not None:
            connecting.failed(self, reason)

    def lost(self) -> None:
        """The connection is gone."""
        if self.recognised is not None and self._pair is not None:
            self.recognised._made.discard(self._pair)

    def abandon(self) -> None:
        """Stop trying. Neither success nor failure is reported after this."""
        self.connecting = None
        connector = self.connector
        self._done()
        if connector is not None:
            connector.stopConnecting()

    # What Twisted calls

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self.connected()

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.failed(reason)

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        # Twisted's connector and transport refer to each other; most connections are short, and
        # without that they go at once and not only when garbage is collected.
        connector.transport = None  # type: ignore[attr-defined]  # all that can be lost have one
        self.lost()


class _Handover(Protocol):
    """Stands in until the transport is known, then puts the real protocol in its own place.

    ``buildProtocol`` is too early for the addresses of both ends, and nothing tells a factory that
    its protocol has been connected. Replacing the transport's protocol costs nothing afterwards,
    where a wrapper would for every event.
    """

    def __init__(self, connecting: _Connecting) -> None:
        self._connecting = connecting

    def makeConnection(self, transport: ISocketTransport) -> None:
        connecting = self._connecting
        try:
            protocol = connecting.connected(transport)
            transport.protocol = protocol
            protocol.makeConnection(transport)
        except Exception:
            connecting.finish(Failure())
            transport.abortConnection()
            return
        if not connecting.finish(protocol):
            # Cancelled from within connectionMade: nobody will look after this connection.
            transport.abortConnection()


def disable_nagle(transport: ITransport) -> None:
    """Set ``TCP_NODELAY`` where the transport has such a thing.

    A proxy writes whole messages; with Nagle's algorithm (RFC 9293 section 3.7.4) the last segment
    of one may wait for the acknowledgement of the one before.
    """
    set_no_delay = getattr(transport, "setTcpNoDelay", None)
    if set_no_delay is not None:
        set_no_delay(True)
