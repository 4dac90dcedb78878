"""One relay of raw TCP as hooks see it: a flow, its messages in order, and its end."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, InterceptorError
from interceptor.layers.failures import client_gone
from interceptor.layers.flowcontrol import FlowTelling, Holding
from interceptor.layers.joint import (
    HANDSHAKE,
    AnswerRelay,
    HelloRelay,
    Joint,
    JointRelay,
    WatchedRelay,
)
from interceptor.layers.relay import Relay
from interceptor.model.connections import ServerConnection, format_address
from interceptor.model.tcpflow import TCPFlow, TCPMessage
from interceptor.net.gate import HOOK
from interceptor.net.sides import Side
from interceptor.net.tlsfailures import TruncatedError
from interceptor.wire.starttls import Phase, StartTLSWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from interceptor.hooks.bus import HookBus
    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide


def has_listeners(hooks: HookBus) -> bool:
    """Whether anybody wants to hear of TCP flows."""
    return not (
        hooks.tcp_start is None
        and hooks.tcp_message is None
        and hooks.tcp_error is None
        and hooks.tcp_end is None
    )


class TCPExchange(Joint, Holding, FlowTelling):
    """Joins a client and a server, and tells of it. It is the `FlowControl` of its flow.

    The events are ``tcp_start``, before a connection is made that is not there yet; then
    ``tcp_message`` for whatever arrives, one after the other, both directions included;
    ``tcp_error`` where it went wrong; and ``tcp_end`` last, always and once.
    """

    log = Logger()

    events = "tcp"
    flow: TCPFlow

    def __init__(self, context: Context, passthrough: str | None) -> None:
        super().__init__(context, passthrough)
        self.environment = context.environment
        self._hooks: Any = context.environment.hooks
        self._resumed = None
        self._telling = False
        self._sides: tuple[Side, ...] = ()
        # What arrived while a hook was busy with what came before; None is an end of input. What
        # has been seen by the watches already is True.
        self._queue: deque[tuple[JointRelay, bytes | None, bool]] = deque()
        # What scripts send: while nobody is there to take it, or its receiver is slow to do so.
        self._joined = False
        self._unsent: list[TCPMessage] = []
        self._backlog = 0
        # What hooks are looking at.
        self._shown: TCPMessage | None = None
        self.flow = TCPFlow(context.client_conn, ServerConnection(None), context.mode, self)
        if passthrough is not None:
            self.flow.metadata["passthrough"] = passthrough

    def start(
        self, server: ServerSide | None, destination: Destination | None, data: bytes
    ) -> None:
        """Fire ``tcp_start``, connect where there is no ``server`` yet, and join the two."""
        if server is not None:
            self.flow.server_conn = server.server_conn
            self._sides = (server,)
        elif destination is not None:
            host = destination[1].decode("utf-8", "surrogateescape")
            self.flow.server_conn.address = (host, destination[2])
        super().start(server, destination, data)

    async def _open(self, server: ServerSide | None) -> ServerSide:
        await self.begin()
        return await super()._open(server)

    def _opened(self, server: ServerSide, data: bytes) -> None:
        self._telling = self._hooks.tcp_message is not None
        super()._opened(server, data)

    def _join(self, server: ServerSide, data: bytes) -> None:
        self._sides = (self.context.session.side, server)
        self._joined = True
        self._send_unsent()
        super()._join(server, data)

    def _kinds(self) -> tuple[type[Relay], type[Relay]]:
        if self._telling:
            return JointRelay, JointRelay
        upward, downward = super()._kinds()
        return _COUNTING[upward], _COUNTING[downward]

    # Messages

    def _admit(self, from_client: bool, data: bytes) -> bytes:
        data = super()._admit(from_client, data)
        self.count(from_client, len(data))
        return data

    def received(self, relay: JointRelay, data: bytes | None) -> None:
        """Take what arrived, or the end of it; it is passed on when its turn comes."""
        if not self._telling:
            super().received(relay, data)
            return
        self._queue.append((relay, data, False))
        if self._waiting is None and len(self._queue) == 1:
            self._go_on()

    def _go_on(self) -> None:
        queue = self._queue
        while queue and not self._over:
            relay, data, admitted = queue[0]
            if data is None:
                if not self._gave_up(relay):
                    queue.popleft()
                    relay.pass_end()
                continue
            if not admitted:
                try:
                    data = self._admit(relay.from_client, data)
                except InterceptorError as error:
                    self._stop(error)
                    return
            if data:
                if not self._tell(relay, data):
                    return
            else:
                queue.popleft()
                self._follow()
        for side in self._sides:
            side.reading.resume(HOOK)

    def _tell(self, relay: JointRelay, data: bytes) -> bool:
        """Fire ``tcp_message``, and pass on what is left of it; False if that has to wait."""
        message = self._shown = TCPMessage(relay.from_client, data, time.time())
        self.keep(message)
        fire = self._hooks.tcp_message
        if fire is not None:
            # Written out, because it is paid for all that passes.
            try:
                waiting = fire(self.flow)
            except HookFailed as error:
                self._fail(error)
                return False
            later = waiting is not None or self.flow.intercepted
            if later and not self._wait(waiting, partial(self._told_later, relay, message)):
                return False
        if self._over:
            return False
        self._told(relay, message)
        return True

    def _told_later(self, relay: JointRelay, message: TCPMessage) -> None:
        self._told(relay, message)
        self._go_on()

    def _wait(self, waiting: Deferred[Any] | None, go_on: Callable[[], object]) -> bool:
        for side in self._sides:
            side.reading.pause(HOOK)
        return super()._wait(waiting, go_on)

    def _told(self, relay: JointRelay, message: TCPMessage) -> None:
        """Pass on what hooks left of a message, the first of the queue."""
        self._shown = None
        relay.forward(message.content)
        if not self._over:
            self._queue.popleft()
            self._follow(dropped=not message.content)

    def _pass(self, data: bytes) -> None:
        assert isinstance(self._upward, JointRelay)
        self.count(True, len(data))
        if not self._telling:
            super()._pass(data)
            return
        self._queue.appendleft((self._upward, data, True))
        if len(self._queue) == 1:
            self._go_on()

    def stalled(self, relay: JointRelay) -> bool:
        # What a hook is busy with has to stay the first of the queue.
        return self._waiting is not None or super().stalled(relay)

    # TLS

    def _begin_tls(self, watch: StartTLSWatch) -> None:
        try:
            for relay, data, _ in self._queue:
                if data is not None:
                    self._admit(relay.from_client, data)
        except InterceptorError as error:
            self._stop(error)
            return
        self._queue.clear()
        self._joined = False
        super()._begin_tls(watch)

    def secured(self, server: ServerSide, protocol: str) -> None:
        self.flow.metadata["starttls"] = protocol
        super().secured(server, protocol)

    def left_alone(self, server: ServerSide, reason: str, hello: bytes) -> None:
        self.flow.metadata["passthrough"] = reason
        super().left_alone(server, reason, hello)

    def tls_failed(self, error: Exception) -> None:
        self._ended(error)

    # What scripts send

    def inject(self, message: TCPMessage) -> None:
        """Implement `TCPControl.inject`."""
        if self._over:
            raise InterceptorError("the connections are closed", "tcp-not-open")
        if not self._joined or self._asks_for_tls:
            self._check_room(message)
            self._unsent.append(message)
            return
        client, server = self._sides
        sink = server if message.from_client else client
        if sink.closing or sink.half_closed:
            raise InterceptorError("nothing more can be sent that way", "tcp-not-open")
        if sink.writing.paused:
            self._check_room(message)
        else:
            self._backlog = 0
        self._send(sink, message)
        # A connection that carries something is not idle.
        server.deadline.set(self.environment.settings.tunnel_idle_timeout)

    def _check_room(self, message: TCPMessage) -> None:
        backlog = self._backlog + len(message.content)
        if backlog > self.environment.settings.body_memory_limit:
            raise InterceptorError(
                "more was injected than body_memory_limit, and nobody takes it", "tcp-inject-full"
            )
        self._backlog = backlog

    @property
    def _asks_for_tls(self) -> bool:
        """Whether a server that has been asked for TLS must not be sent plain text."""
        return self._watch is not None and self._watch.phase in (Phase.ASKED, Phase.AGREED)

    def _follow(self, *, dropped: bool = False) -> None:
        super()._follow(dropped=dropped)
        if self._unsent and self._joined and not self._asks_for_tls:
            self._send_unsent()

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._backlog = 0
        client, server = self._sides
        for message in unsent:
            sink = server if message.from_client else client
            if not (sink.closing or sink.half_closed):
                self._send(sink, message)

    def _send(self, sink: Side, message: TCPMessage) -> None:
        if self._hooks.tcp_message is not None:
            # The latest is what hooks are looking at, whatever is sent meanwhile.
            messages = self.flow.messages
            asked = bool(messages) and messages[-1] is self._shown
            self.keep(message, before_latest=asked)
        sink.write(message.content)

    # The end

    def lost(self, relay: WatchedRelay, reason: Failure) -> None:
        if (
            reason.check(ConnectionDone, TruncatedError)
            or relay.side.read_ended
            or relay.other.read_ended
        ):
            # Many programs end TLS by closing the connection below; the other side is told as much.
            # Many reset a connection to a peer that has said all, for its end is in their way. And
            # who has said all and is not there for the rest has closed, not failed.
            self._ended(None)
        elif relay.from_client:
            self._ended(client_gone(self.context.environment, "reset"))
        else:
            address = format_address(self.flow.server_conn.address)
            self._ended(InterceptorError(f"the connection to {address} was reset", "server-reset"))

    def _fail(self, error: Exception) -> None:
        self._ended(error)
        if self._opener is not None:
            self._opener.abort(error)
        for side in self._sides:
            side.abort()

    def _not_opened(self, error: Exception) -> None:
        self._ended(error)
        for side in self._sides:
            side.abort()

    def _ended(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._queue.clear()
        self._stop_waiting()
        self._tell_end(error)


class _CountingRelay(WatchedRelay):
    """Counts what a joint that need not see it passes on."""

    _joint: TCPExchange

    def dataReceived(self, data: bytes) -> None:
        self._joint.count(self.from_client, len(data))
        self._write(data)
        self._touch(self._idle_timeout)


class _HelloRelay(HelloRelay):
    """The same for a client that might say hello."""

    _joint: TCPExchange

    def dataReceived(self, data: bytes) -> None:
        watch = self._watch
        if watch.answered:
            if data[0] == HANDSHAKE:
                self._joint.look_closely(data)
                return
            watch.answered = False
        self._joint.flow.bytes_from_client += len(data)
        self._write(data)
        self._touch(self._idle_timeout)


class _AnswerRelay(AnswerRelay):
    """The same for the server of such a client."""

    _joint: TCPExchange

    def dataReceived(self, data: bytes) -> None:
        self._watch.answered = True
        self._joint.flow.bytes_from_server += len(data)
        self._write(data)
        self._touch(self._idle_timeout)


_COUNTING: Final[dict[type[Relay], type[WatchedRelay]]] = {
    Relay: _CountingRelay,
    JointRelay: JointRelay,
    HelloRelay: _HelloRelay,
    AnswerRelay: _AnswerRelay,
}
"""What counts, for what does not. The joint counts what it sees by itself."""
