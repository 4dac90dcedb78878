"""What to speak next: keep the first bytes until the rules can tell, and ask ``next_layer``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, UpstreamError
from interceptor.interfaces import ILayer
from interceptor.layers.destinations import RAW
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.task import Task
from interceptor.net.gate import BACKLOG, HOOK, SETUP
from interceptor.net.sides import LAST_CALL, Side, SideProtocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide

_log = Logger()

_HTTP = frozenset((b"http/1.1", b"http/1.0", b"h2"))
"""What HTTP is called in ALPN."""

_HIGH_WATER: Final = 65536
"""Bytes that a client may send while its server is connected to, before it is not read from."""


def switch(context: Context, proposed: Any, data: bytes) -> None:
    """Propose a layer to ``next_layer``, and start what the hooks make of it.

    ``data`` is what the client sent and nobody consumed. While hooks are waited for the client is
    not read from; if they fail the connection is reset.
    """
    context.seen = data
    fire = context.environment.hooks.next_layer
    if fire is None:
        _start(context, proposed, data)
        return
    try:
        answer = fire(proposed)
    except HookFailed:
        context.session.side.abort()
        return
    if not isinstance(answer, Deferred):
        _start(context, _checked(context, proposed, answer), data)
        return
    side = context.session.side
    waiting = _Waiting(data, answer)
    side.use(waiting)
    side.reading.pause(HOOK)

    def answered(layer: Any) -> None:
        side.reading.resume(HOOK)
        if not side.closing:
            _start(context, _checked(context, proposed, layer), waiting.data)

    def failed(failure: Failure) -> None:
        side.abort()

    answer.addCallbacks(answered, failed)


def _checked(context: Context, proposed: Any, answer: Any) -> Any:
    if answer is None:
        return proposed
    if not ILayer.providedBy(answer):
        _log.error(
            "next_layer: a hook returned {answer!r}, which is not a layer; {proposed!r} is kept",
            answer=answer,
            proposed=proposed,
            proxy=context.environment.proxy,
        )
        return proposed
    return answer


def _start(context: Context, layer: Any, data: bytes) -> None:
    context.layers.append(layer)
    context.seen = b""
    try:
        layer.start(data)
    except Exception:
        # Most likely a hook brought it along. Nobody speaks on this connection now.
        _log.failure(
            "layer `{name}` failed to start",
            name=getattr(layer, "name", layer),
            proxy=context.environment.proxy,
        )
        context.session.side.abort()


class _Waiting(SideProtocol):
    """Keeps what still arrives while ``next_layer`` is being answered."""

    def __init__(self, data: bytes, answer: Deferred[Any]) -> None:
        self.data = data
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def read_closed(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._answer.cancel()


class DetectProtocol(SideProtocol):
    """Waits on the client's side for enough bytes to tell what it speaks to the proxy."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._data = b""

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self.context.environment.settings.idle_timeout)

    def dataReceived(self, data: bytes) -> None:
        context = self.context
        begins = not self._data
        self._data += data
        context.seen = self._data
        layer = context.environment.rules.first_layer(context, self._data)
        if layer is not None:
            switch(context, layer, self._data)
        elif begins:
            # What begins has to go on, whatever it is going to be.
            self.side.deadline.set(context.environment.settings.head_timeout)

    def drain(self) -> None:
        deadline = self.side.deadline
        if not self._data and (deadline.remaining or 0.0) > LAST_CALL:
            deadline.set(LAST_CALL)

    def timed_out(self) -> None:
        if self._data:
            self.side.abort()
        else:
            # It has asked for nothing.
            self.side.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass


class Tunnel(SideProtocol):
    """A way to one server on which a client may speak anything, until it is known what it speaks.

    It stands on the client's side until either peer has spoken. A server that speaks first, a
    client that says nothing intelligible, and one that only closes its direction get a plain relay.
    ``server`` is None where nobody has connected yet: the layer that comes does. But a client that
    says nothing for ``detect_timeout`` may be one that waits for its server to begin: then the
    server is connected to here, so that it can.

    Clients of a server whose bytes are passed on as they are (`RAW`) may begin with TLS. Until
    ``detect_timeout`` has passed nothing is said to them that they would not understand then.

    Where the peers have agreed on HTTP (`http_agreed`) it is the client who begins: a server that
    says anything before has no use. One that ends without a word, in TLS that we opened, was
    connected to too early, and another connection will take its place; elsewhere the client is told
    by the same end. It never turns the tunnel into a relay: what the client says is looked at.
    """

    def __init__(
        self, context: Context, server: ServerSide | None, destination: Destination
    ) -> None:
        self.context = context
        self.server = server
        self.destination = destination
        self._data = b""
        self._decided = False
        self._opening: Task | None = None
        # Whether the client still has to begin, or to have been silent for long enough.
        self._clients_turn = destination[0] in RAW

    def start(self, data: bytes) -> None:
        """Begin; ``data`` is what the client has sent already."""
        server = self.server
        self._data = data
        if server is None or not self._listen(server):
            self.context.session.side.use(self)

    def _listen(self, server: ServerSide) -> bool:
        """Hear whether the server speaks first; return whether it did, and that decides."""
        early, server.early = server.early, b""
        server.use(_Greeting(self, server), early)
        server.reading.resume(SETUP)
        return self._decided

    def attach(self, side: Side) -> None:
        super().attach(side)
        settings = self.context.environment.settings
        waits = self._waits_for_silence
        side.deadline.set(
            (waits and settings.detect_timeout) or settings.tunnel_idle_timeout,
        )
        if self._data:
            self._look()
        elif waits and not settings.detect_timeout:
            self._silent()
        elif self.destination[0] == b"tcp" and settings.connection_strategy == "eager":
            self._begin_to_open()

    @property
    def _waits_for_silence(self) -> bool:
        """Whether it matters that the client says nothing for a while."""
        if self._clients_turn:
            return True
        context, destination = self.context, self.destination
        return (
            self.server is None
            and not http_agreed(context, destination)
            and context.environment.internal(destination[1]) is None
            and not context.session.servers.unreachable(destination)
        )

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self._opening is not None:
            if len(self._data) > _HIGH_WATER:
                self.side.reading.pause(BACKLOG)
            return
        self._look()

    def _look(self) -> None:
        self.context.seen = self._data
        layer = self.context.environment.rules.tunnel_layer(
            self.context, self._data, self.server, self.destination
        )
        if layer is not None:
            self._decide(layer)
        elif not self._clients_turn:
            # What has begun has to go on, whatever it is going to be.
            settings = self.context.environment.settings
            self.context.session.side.deadline.set(settings.tunnel_idle_timeout)

    def read_closed(self) -> None:
        if self._opening is not None:
            # The end is met again when the server is there.
            return
        if self.server is None and not self._data and not self._clients_turn:
            # It has said nothing, and there is nobody who might.
            self.context.session.side.close()
        else:
            self.relay()

    def timed_out(self) -> None:
        if self._clients_turn and self._data and self._opening is None:
            # It began as TLS does, and stopped: that is no TLS.
            self.relay()
        elif self._waits_for_silence and not self._data:
            self._silent()
        elif self._opening is not None:
            # That has a deadline of its own.
            self._clients_turn = False
        else:
            # Half a request line that would become a whole one later must not be let through.
            self.context.session.side.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._decided:
            self._decided = True
            if self._opening is not None:
                self._opening.abort(ClientGoneError("the client closed its connection"))
            if self.server is not None:
                self.server.close()

    def _silent(self) -> None:
        """The client has said nothing: let its server speak, if it likes to."""
        self._clients_turn = False
        if self.server is not None and self.server.early:
            self.relay()
            return
        self.side.deadline.set(self.context.environment.settings.tunnel_idle_timeout)
        if self.server is None and self._opening is None:
            self._begin_to_open()

    def _begin_to_open(self) -> None:
        self._opening = Task(self._open(), self._opened)
        self._opening.start()

    async def _open(self) -> None:
        self.server = await self.context.session.servers.open(self.destination)

    def _opened(self, error: BaseException | None) -> None:
        self._opening = None
        if self._decided:
            return
        side = self.side
        if error is None:
            assert self.server is not None
            if self._listen(self.server):
                return
        elif isinstance(error, UpstreamError):
            # Whoever comes next meets the same failure, and tells of it.
            servers = self.context.session.servers
            servers.fail(self.destination, error, self.context.server_conn)
        else:
            side.abort()
            return
        side.reading.resume(BACKLOG)
        if self._data:
            self._look()
        elif error is not None or side.read_ended:
            self.relay()

    def relay(self) -> None:
        """Stop guessing: pass bytes on as they are."""
        self._decide(
            self.context.environment.rules.relay_layer(self.context, self.server, self.destination)
        )

    def server_spoke(self) -> None:
        """The server has said something before the client did."""
        if http_agreed(self.context, self.destination):
            server = self.server
            # In HTTP/2 both begin at once (RFC 9113 section 3.4).
            if server is not None and server.server_conn.alpn != b"h2":
                self._drop_server()
        elif not self._clients_turn:
            self.relay()

    def server_ended(self) -> None:
        """The server has closed, or said that it will say nothing, before anything was said."""
        if self._decided:
            return
        if self.destination[0] in RAW:
            self.relay()
            return
        self._drop_server()
        side = self.context.session.side
        if self.destination[0] == b"https":
            side.deadline.set(self.context.environment.settings.idle_timeout)
        else:
            self._decided = True
            side.close()

    def _drop_server(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.abort()

    def _decide(self, layer: Any) -> None:
        if self._decided:
            return
        self._decided = True
        switch(self.context, layer, self._data)


def http_agreed(context: Context, destination: Destination) -> bool:
    """Whether client and server have agreed, by ALPN, to speak HTTP in the TLS we opened."""
    return destination[0] == b"https" and context.client_conn.alpn in _HTTP


class _Greeting(SideProtocol):
    """Stands on the server's side of an undecided tunnel, and hears if the server speaks first."""

    def __init__(self, tunnel: Tunnel, server: ServerSide) -> None:
        self._tunnel = tunnel
        self._server = server

    def dataReceived(self, data: bytes) -> None:
        self._server.hold(data)
        self._tunnel.server_spoke()

    def read_closed(self) -> None:
        self._tunnel.server_ended()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._tunnel.server_ended()
