"""One end of a session: the transport, its two gates, and the protocol that is spoken on it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from zope.interface import implementer

from interceptor.net.deadline import Deadline
from interceptor.net.directclose import close
from interceptor.net.directwrite import direct_writer
from interceptor.net.gate import BACKLOG, HOOK, PEER, SETUP, ReadGate, WriteGate

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from interceptor.net.transports import IStreamTransport


_READ_SIZE: Final = 131072
"""Bytes that are read from a socket at once, at most.

Twisted's 64 KiB leave the end of a body of that size, which came with its head, to a turn of the
reactor of its own.
"""


LAST_CALL: Final = 0.25
"""Seconds within which a client whose connection rests is thought to send another request.

What is on its way when the proxy stops is served: a connection that was used so lately is not
closed before that time has passed.
"""


class SideProtocol(Protocol):
    """A protocol that is put on a `Side`, can be replaced by another, and hears of half-closes."""

    side: Side

    def attach(self, side: Side) -> None:
        """Begin to speak on ``side``. `dataReceived` may follow at once."""
        self.side = side

    def read_closed(self) -> None:
        """The peer will send no more. The default treats that as the end of the connection."""
        self.side.close()

    def drain(self) -> None:
        """The proxy stops: end as soon as nothing is under way. This may be called repeatedly.

        The default goes on: what has no end of its own is given the time that there is.
        """

    def timed_out(self) -> None:
        """The deadline that this protocol set on the side has passed. The default resets."""
        self.side.abort()

    def write_timed_out(self) -> None:
        """The peer did not take what was written in time. The default resets."""
        self.side.abort()


class _Gone(SideProtocol):
    """Stands on every side whose connection is lost, so that nothing else is kept by it."""


_GONE = _Gone()


class _Closing(SideProtocol):
    """Stands in while a side closes: bytes are dropped, the loss still reaches the protocol."""

    def __init__(self, protocol: SideProtocol) -> None:
        self.protocol = protocol

    def dataReceived(self, data: bytes) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.protocol.connectionLost(reason)


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """The bottom protocol of one connection. It outlives the protocols spoken on it.

    ``reading`` and ``writing`` are its gates, ``write`` is the transport's, and ``deadline`` is the
    timer that bounds what the protocol on top waits to receive. Waiting for the peer to take what
    was written has a timer of its own.
    """

    flush_timeout = 300.0
    """Seconds that the peer of a side that closes has to take what was written before."""

    transport: IStreamTransport
    reading: ReadGate
    writing: WriteGate
    protocol: SideProtocol
    write: Callable[[bytes], None]

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.deadline = Deadline(clock, self._deadline_passed)
        self._write_deadline: Deadline | None = None
        self.lost = False
        self.closing = False
        self.read_ended = False
        self._half_closed = False
        self._linger_timeout = 0.0

    def connectionMade(self) -> None:
        transport = self.transport
        self.write = direct_writer(transport)
        self.reading = ReadGate(transport)
        self.writing = WriteGate(transport)
        if isinstance(transport, Connection):
            transport.bufferSize = _READ_SIZE

    def use(self, protocol: SideProtocol, data: bytes = b"") -> None:
        """Speak ``protocol`` from now on. It gets ``data``, received before, as if just come."""
        if self.closing:
            return
        self.protocol = protocol
        self.deadline.clear()
        self.reading.resume(BACKLOG)
        protocol.attach(self)
        if data and self.protocol is protocol:
            protocol.dataReceived(data)
        if self.read_ended and self.protocol is protocol:
            protocol.read_closed()

    def dataReceived(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        self.read_ended = True
        self.reading.end()
        if not self.closing:
            self.protocol.read_closed()
        elif not self.lost:
            # A lingering close: the peer has read to our end, or gave up.
            self._lose()

    def writeConnectionLost(self) -> None:
        if self.closing and not self.lost:
            # A lingering close: all is sent, and the peer has to close now.
            self.deadline.set(self._linger_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        protocol = self.protocol
        self.lost = self.closing = True
        self.deadline.stop()
        if self._write_deadline is not None:
            self._write_deadline.stop()
        self.reading.detach()
        self.writing.fail(ConnectionLost("the connection was lost"))
        protocol.connectionLost(reason)
        self.protocol = _GONE

    @property
    def half_closed(self) -> bool:
        """Whether the end of our bytes has been sent, or is about to be."""
        return self._half_closed

    def when_writable(self, timeout: float) -> Deferred[None]:
        """Fire when the peer has taken what was written; errback when it is lost.

        After ``timeout`` seconds the protocol's `SideProtocol.write_timed_out` is called.
        """
        waiting = self.writing.wait()
        if self.writing.paused:
            if self._write_deadline is None:
                self._write_deadline = Deadline(self._clock, self._write_deadline_passed)
            self._write_deadline.set(timeout)
            waiting.addBoth(self._written)
        return waiting

    def _written(self, result: Failure | None) -> Failure | None:
        if self._write_deadline is not None:
            self._write_deadline.clear()
        return result

    def _write_deadline_passed(self) -> None:
        if not self.closing:
            self.protocol.write_timed_out()

    def half_close(self) -> None:
        """Send the end of our bytes and go on reading; close where the transport cannot do that."""
        if self.closing or self._half_closed:
            return
        self._half_closed = True
        if not hasattr(self.transport, "loseWriteConnection"):
            self.close()
            return
        self.writing.close_write()

    def close(self, timeout: float = 5.0, *, linger: bool = False) -> None:
        """Close once what was written has left; abort if that takes over `flush_timeout` seconds.

        With ``linger`` the end of our bytes is sent first and the peer's are dropped until it
        closes too (RFC 9112 section 9.6): closing with bytes unread would reset the connection and
        take the last response with it. The peer has ``timeout`` seconds for that, counted from when
        everything was sent: a slow reader must not lose the end of what it was sent.
        """
        if self.closing:
            return
        self.closing = True
        self.protocol = _Closing(self.protocol)
        self.deadline.set(self.flush_timeout)
        self._linger_timeout = timeout
        if linger and not self.read_ended and hasattr(self.transport, "loseWriteConnection"):
            self.reading.resume(SETUP | HOOK | PEER | BACKLOG)
            self.writing.close_write()
        else:
            self._lose()

    def _lose(self) -> None:
        # Not `WriteGate.close`: after a half-close the gate has let go of the transport already.
        self.writing.detach()
        close(self.transport)

    def cut_off(self) -> None:
        """Close so that the peer can tell that something may be missing.

        In TLS what was written still leaves; elsewhere that takes a reset.
        """
        truncate = getattr(self.transport, "truncate", None)
        if truncate is None:
            self.abort()
        elif not self.closing:
            self.closing = True
            self.protocol = _Closing(self.protocol)
            self.deadline.set(self.flush_timeout)
            self.writing.detach()
            truncate()

    def abort(self) -> None:
        """Reset the connection, so that the peer notices that something is missing."""
        if self.lost:
            return
        if not self.closing:
            self.closing = True
            self.protocol = _Closing(self.protocol)
        self.transport.abortConnection()

    def _deadline_passed(self) -> None:
        if self.closing:
            self.abort()
        else:
            self.protocol.timed_out()
