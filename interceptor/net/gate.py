"""Gates on a transport: when its peer is read from, and when its peer can be written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from interceptor.net.transports import IStreamTransport

SETUP: Final = 1
"""The connection is not set up yet: nothing may be read before a hook or a handshake ends."""
HOOK: Final = 2
"""A hook is being waited for, and enough has been read meanwhile."""
PEER: Final = 4
"""The other side does not take its bytes fast enough: its write buffer is full."""
BACKLOG: Final = 8
"""Input has been read that could not be dealt with yet, such as pipelined requests."""
ENDED: Final = 16
"""Nothing more can come: the peer closed its direction. Set by `ReadGate.end`, never taken off."""
MEMORY: Final = 128
"""All connections together hold too much that nobody has taken yet."""

_NAMES: Final = {
    SETUP: "setup",
    HOOK: "hook",
    PEER: "peer",
    BACKLOG: "backlog",
    ENDED: "ended",
    MEMORY: "memory",
}


class ReadGate:
    """Keeps a transport paused while any of several reasons stands.

    A transport's own ``pauseProducing`` does not count: the first of two parties to resume it
    starts it for both. Here each party has a reason of its own (`SETUP`, `HOOK`, `PEER`,
    `BACKLOG`; any other power of two will do), and reading goes on when the last reason is gone.

    Three things to know about a Twisted transport that is paused:

    - It may still deliver what it has already taken from its socket (TLS does).
    - It is not watched: neither a closed nor a reset connection is noticed before it is resumed
      or written to. Do not pause merely because a hook is running; pause when enough is buffered.
    - Resuming it after the end of its input reports that end a second time. Hence `end`.
    """

    __slots__ = ("_reasons", "_transport")

    def __init__(self, transport: IPushProducer | None) -> None:
        """`transport` can pause and resume, as Twisted's stream transports all can."""
        self._transport = transport
        self._reasons = 0

    @property
    def paused(self) -> bool:
        """Whether any reason stands."""
        return self._reasons != 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """The names of the standing reasons, for logs."""
        standing = self._reasons
        bits = (1 << position for position in range(standing.bit_length()))
        return tuple(_NAMES.get(bit, str(bit)) for bit in bits if standing & bit)

    def pause(self, reason: int) -> None:
        """Let `reason` stand. Pauses the transport if it is the first one."""
        before = self._reasons
        self._reasons = before | reason
        if not before and self._transport is not None:
            self._transport.pauseProducing()

    def resume(self, reason: int) -> None:
        """Take `reason` off. Resumes the transport if it was the last one."""
        before = self._reasons
        if before & reason:
            after = before & ~(reason & ~ENDED)
            self._reasons = after
            if not after and self._transport is not None:
                self._transport.resumeProducing()

    def end(self) -> None:
        """Read no more, for good: the peer closed its direction."""
        self.pause(ENDED)

    def attach(self, transport: IPushProducer) -> None:
        """Go on with another transport, such as the TLS one that now wraps the first.

        Standing reasons pause it. The transport so far is left as it is.
        """
        self._transport = transport
        if self._reasons:
            transport.pauseProducing()

    def detach(self) -> None:
        """Forget the transport, because it is gone. Reasons come and go without effect then."""
        self._transport = None


@implementer(IPushProducer)
class WriteGate:
    """Tells when a transport's write buffer is full, to those who write to it.

    It registers itself as the transport's streaming producer, which costs nothing per write:
    Twisted calls ``pauseProducing`` when a write leaves more than 64 KiB in the buffer, and
    ``resumeProducing`` when the buffer has emptied.

    A transport whose producer is paused neither closes on ``loseConnection`` nor half-closes on
    ``loseWriteConnection`` when its buffer has emptied: it resumes the producer instead, expecting
    more (TLS transports wait even for a producer that is not paused). So end with `close` or
    `close_write`, or `detach` first. ``abortConnection`` needs nothing of the kind.
    """

    __slots__ = ("_closed_by", "_transport", "_waiting", "on_change", "paused")

    def __init__(
        self,
        transport: IStreamTransport | None = None,
        on_change: Callable[[bool], object] | None = None,
    ) -> None:
        """`on_change` is called with True when the buffer is full and with False when it emptied.

        Raises `RuntimeError` where the transport has another producer already.
        """
        self.paused = False
        """Whether the buffer is full, so that a writer should wait."""
        self.on_change = on_change
        self._waiting: list[Deferred[None]] = []
        self._closed_by: Failure | BaseException | None = None
        self._transport: IStreamTransport | None = None
        if transport is not None:
            self.attach(transport)

    def attach(self, transport: IStreamTransport) -> None:
        """Watch `transport`, instead of the one before if there was one."""
        if self._transport is not None:
            self.detach()
        self._transport = transport
        transport.registerProducer(self, True)

    def detach(self) -> None:
        """Stop watching, so that the transport can close or be given to another producer.

        Whoever waits goes on: what they wrote has been taken.
        """
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.unregisterProducer()
        self.resumeProducing()

    def close(self) -> None:
        """Detach, and close the transport once its buffer has been sent."""
        transport = self._transport
        self.detach()
        if transport is not None:
            transport.loseConnection()

    def close_write(self) -> None:
        """Detach, and half-close the transport once its buffer has been sent.

        Raises `AttributeError` on a transport that has no ``loseWriteConnection``.
        """
        transport = self._transport
        self.detach()
        if transport is not None:
            transport.loseWriteConnection()

    def wait(self) -> Deferred[None]:
        """Fires when the buffer is no longer full; at once where it is not.

        Cancelling takes nothing back but the waiting. Fails with the reason of the loss when the
        connection goes, or has gone.
        """
        if self._closed_by is not None:
            return fail(self._closed_by)
        if not self.paused:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def fail(self, reason: Failure | BaseException) -> None:
        """The connection is lost: fail whoever waits, now and later. Only the first call counts.

        Call this from the protocol's ``connectionLost``. Twisted's transports have by then called
        `stopProducing`, which does the same without knowing the reason.
        """
        if self._closed_by is not None:
            return
        self._closed_by = reason
        self._transport = None
        self.paused = False
        while self._waiting:
            self._waiting.pop(0).errback(reason)

    def pauseProducing(self) -> None:
        if not self.paused:
            self.paused = True
            if self.on_change is not None:
                self.on_change(True)

    def resumeProducing(self) -> None:
        if not self.paused:
            return
        self.paused = False
        if self.on_change is not None:
            self.on_change(False)
        # One that goes on may fill the buffer again: then the others keep waiting, in order.
        while self._waiting and not self.paused:
            self._waiting.pop(0).callback(None)

    def stopProducing(self) -> None:
        self.fail(ConnectionLost("connection lost while there was still something to write"))
