"""Connecting TCP sockets with less ado than Twisted's own clients make of it.

``connectTCP`` waits for a turn of the reactor before it connects, then wants to read and to write
until it is connected and neither after that, and connects twice: a dozen system calls, a Deferred
and an event for what takes half of it. That is a tenth of what a proxy does for a client that
connects anew for each request.
"""

from __future__ import annotations

import socket
from errno import EAGAIN, EINPROGRESS
from os import strerror
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectBindError, TimeoutError, getConnectError
from twisted.internet.interfaces import IWriteDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol

_UNDER_WAY: Final = frozenset((0, EINPROGRESS, EAGAIN))


class Caller(Protocol):
    """Whom a `Dial` tells what becomes of it."""

    def connected(self) -> IProtocol | None:
        """Return what is spoken from now on, or None where nobody wants the connection any more."""

    def failed(self, reason: Failure) -> None:
        """There is no connection. Not called from within `Dial.begin`."""

    def lost(self) -> None:
        """The connection that was made is gone."""


def can_dial(reactor: object, host: str) -> bool:
    """Whether ``reactor`` watches sockets, and the address ``host`` is one without a zone."""
    return isinstance(reactor, PosixReactorBase) and "%" not in host


@implementer(IWriteDescriptor)
class Dial:
    """One attempt to connect.

    ``socket`` may be made ready before `begin`; it is None where there is none, and again when the
    attempt is over.
    """

    __slots__ = ("_address", "_caller", "_problem", "_reactor", "_timer", "socket")

    def __init__(self, reactor: Any, host: str, port: int, caller: Caller) -> None:
        """``host`` is the text of an IP address."""
        self._reactor = reactor
        self._caller = caller
        self._timer: IDelayedCall | None = None
        self._problem: OSError | None = None
        self._address: tuple[Any, ...] = (host, port)
        self.socket: socket.socket | None = None
        family = socket.AF_INET
        if ":" in host:
            family = socket.AF_INET6
            usual = socket.inet_ntop(family, socket.inet_pton(family, host))
            self._address = (usual, port, 0, 0)
        try:
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.setblocking(False)
        except OSError as problem:
            self._problem = problem

    def begin(self, timeout: float) -> None:
        """Connect; give up after ``timeout`` seconds."""
        try:
            if self.socket is None:
                assert self._problem is not None
                raise ConnectBindError(self._problem.errno, str(self._problem))
            number = self.socket.connect_ex(self._address)
            if number not in _UNDER_WAY:
                raise getConnectError((number, strerror(number)))
        except Exception:
            # Told later: else each of many addresses that fail would begin the next one from here.
            self._timer = self._reactor.callLater(0, self._fail, Failure())
        else:
            self._timer = self._reactor.callLater(timeout, self._timed_out)
            self._reactor.addWriter(self)

    def stopConnecting(self) -> None:
        """Give up. The caller is not told."""
        skt = self._end()
        if skt is not None:
            skt.close()

    def _end(self) -> socket.socket | None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self.socket is not None:
            self._reactor.removeWriter(self)
        skt, self.socket = self.socket, None
        return skt

    def _fail(self, reason: Failure) -> None:
        self.stopConnecting()
        self._caller.failed(reason)

    def _timed_out(self) -> None:
        self._fail(Failure(TimeoutError()))

    # What the reactor calls

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def logPrefix(self) -> str:
        return "server"

    def doWrite(self) -> None:
        """The attempt is over, one way or the other."""
        assert self.socket is not None
        number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._fail(Failure(getConnectError((number, strerror(number)))))
            return
        caller = self._caller
        protocol = caller.connected()
        skt = self._end()
        assert skt is not None
        if protocol is None:
            skt.close()
            return
        transport = _Connected(skt, self._address, protocol, caller, self._reactor)
        protocol.makeConnection(transport)

    def connectionLost(self, reason: Failure) -> None:
        """The poller tells of a failure by an event of its own, which does not say what it was."""
        if self.socket is not None:
            number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(Failure(getConnectError((number, strerror(number)))) if number else reason)


class _Connected(Connection):
    """The transport of a connection that was made here."""

    logstr = "server"

    def __init__(
        self,
        skt: socket.socket,
        peer: tuple[Any, ...],
        protocol: IProtocol,
        caller: Caller,
        reactor: Any,
    ) -> None:
        super().__init__(skt, protocol, reactor)
        self._peer = peer
        self._caller = caller
        self.connected = 1
        reactor.addReader(self)

    def getHost(self) -> IAddress:
        return _address(self.socket.getsockname())

    def getPeer(self) -> IAddress:
        return _address(self._peer)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._caller.lost()


def _address(found: tuple[Any, ...]) -> IAddress:
    return IPv4Address("TCP", *found) if len(found) == 2 else IPv6Address("TCP", *found)
