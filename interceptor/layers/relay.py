"""Two sides joined: what arrives on one is written to the other, ends and pauses included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone

from interceptor.layers.failures import ClientGoneError
from interceptor.layers.task import Task
from interceptor.net.gate import PEER, SETUP
from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tlsfailures import TruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure

    from interceptor.layers.serverside import ServerSide


class Opener(SideProtocol):
    """Stands on the client's side, unread, until its server is there.

    ``failed`` is told why it will not be.
    """

    def __init__(self, data: bytes, failed: Callable[[Exception], object] | None = None) -> None:
        self._data = data
        self._failed = failed
        self._task: Task | None = None

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.reading.pause(SETUP)

    def open(
        self,
        opening: Coroutine[Any, Any, ServerSide],
        join: Callable[[ServerSide, bytes], None],
    ) -> None:
        """Wait for the server, and then let ``join`` take over from here."""

        async def wait() -> None:
            server = await opening
            self.side.reading.resume(SETUP)
            join(server, self._data)

        self._task = Task(wait(), self._opened)
        self._task.start()

    def abort(self, error: Exception) -> None:
        """Give up waiting."""
        if self._task is not None:
            self._task.abort(error)

    def _opened(self, error: BaseException | None) -> None:
        if error is not None:
            if self._failed is not None and isinstance(error, Exception):
                self._failed(error)
            self.side.abort()

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def read_closed(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.abort(ClientGoneError("the client closed its connection"))


class Relay(SideProtocol):
    """One direction: what arrives on its own side is written to the other."""

    def __init__(self, other: Side, idle_timeout: float, close_timeout: float) -> None:
        self._other = other
        self._write = other.write
        self._idle_timeout = idle_timeout
        self._close_timeout = close_timeout

    @property
    def other(self) -> Side:
        """The side that is written to."""
        return self._other

    def attach(self, side: Side) -> None:
        super().attach(side)
        self._other.writing.on_change = self._other_full
        if self._other.writing.paused:
            side.reading.pause(PEER)
        self._touch = side.deadline.set
        self._touch(self._idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        self._write(data)
        self._touch(self._idle_timeout)

    def _other_full(self, full: bool) -> None:
        if full:
            self.side.reading.pause(PEER)
        else:
            self.side.reading.resume(PEER)

    def read_closed(self) -> None:
        other = self._other
        other.half_close()
        if other.read_ended:
            # Both directions have ended; what was written still leaves.
            other.close(self._close_timeout)
            self.side.close(self._close_timeout)

    def timed_out(self) -> None:
        # Idle is when neither direction moves.
        left = self._other.deadline.remaining
        if left:
            self._touch(left)
        else:
            self.side.close(self._close_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ConnectionDone):
            self._other.close(self._close_timeout)
        elif reason.check(TruncatedError):
            self._other.cut_off()
        else:
            self._other.abort()
