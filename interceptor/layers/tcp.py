"""Raw TCP: two connections joined, half-close and back-pressure included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone

from interceptor.layers.context import Context, Layer
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.task import Task
from interceptor.net.gate import PEER, SETUP
from interceptor.net.sides import Side, SideProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure

    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import Destination


class TCPLayer(Layer):
    """Passes bytes between the client and a server: a connected one, or one to connect to."""

    name = "tcp"

    def __init__(
        self,
        context: Context,
        server: ServerSide | None = None,
        destination: Destination | None = None,
        *,
        passthrough: str | None = None,
    ) -> None:
        super().__init__(context)
        self.passthrough = passthrough
        self._server = server
        self._destination = destination

    def start(self, data: bytes) -> None:
        if self._server is not None:
            self._join(self._server, data)
        elif self._destination is not None:
            opener = _Opener(data)
            self.context.session.side.use(opener)
            opener.open(self.context.session.servers.open(self._destination), self._join)
        else:
            self.context.session.side.abort()

    def _join(self, server: ServerSide, data: bytes) -> None:
        client = self.context.session.side
        settings = self.context.environment.settings
        if server.closing:
            client.close(settings.close_timeout)
            return
        upward = _Relay(server, settings.tunnel_idle_timeout, settings.close_timeout)
        downward = _Relay(client, settings.tunnel_idle_timeout, settings.close_timeout)
        early, server.early = server.early, b""
        client.use(upward, data)
        server.use(downward, early)
        server.reading.resume(SETUP)


class _Opener(SideProtocol):
    """Stands on the client's side, unread, until its server is there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
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

    def _opened(self, error: BaseException | None) -> None:
        if error is not None:
            self.side.abort()

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def read_closed(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._task is not None:
            self._task.abort(ClientGoneError("the client closed its connection"))


class _Relay(SideProtocol):
    """One direction: what arrives on its own side is written to the other."""

    def __init__(self, other: Side, idle_timeout: float, close_timeout: float) -> None:
        self._other = other
        self._write = other.write
        self._idle_timeout = idle_timeout
        self._close_timeout = close_timeout

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
        else:
            self._other.abort()
