"""One relay of raw TCP as hooks see it: a flow, its messages in order, and its end."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import HookFailed, InterceptorError
from interceptor.layers.failures import ClientGoneError, KilledError, describe
from interceptor.layers.hooking import run_hook
from interceptor.layers.relay import Opener, Relay
from interceptor.model.connections import ServerConnection, format_address
from interceptor.model.flow import KILLED_MESSAGE, Error
from interceptor.model.tcpflow import TCPFlow, TCPMessage
from interceptor.net.gate import HOOK, SETUP
from interceptor.net.sides import Side

if TYPE_CHECKING:
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


class TCPExchange:
    """Joins a client and a server, and tells of it. It is the `FlowControl` of its flow.

    The events are ``tcp_start``, before a connection is made that is not there yet; then
    ``tcp_message`` for whatever arrives, one after the other, both directions included;
    ``tcp_error`` where it went wrong; and ``tcp_end`` last, always and once.
    """

    log = Logger()

    def __init__(self, context: Context, passthrough: str | None) -> None:
        self.context = context
        self._hooks: Any = context.environment.hooks
        self._opener: Opener | None = None
        self._sides: tuple[Side, ...] = ()
        self._ended = False
        # What arrived while a hook was busy with what came before; None is an end of input.
        self._queue: deque[tuple[_MessageRelay, bytes | None]] = deque()
        self._waiting: Deferred[Any] | None = None
        self._resumed: Deferred[None] | None = None
        self._kept = 0
        # What scripts send: while nobody is there to take it, or its receiver is slow to do so.
        self._joined = False
        self._unsent: list[TCPMessage] = []
        self._backlog = 0
        # What hooks are looking at.
        self._asked: TCPMessage | None = None
        self.flow = TCPFlow(context.client_conn, ServerConnection(None), context.mode.name, self)
        if passthrough is not None:
            self.flow.metadata["passthrough"] = passthrough

    def start(
        self, server: ServerSide | None, destination: Destination | None, data: bytes
    ) -> None:
        """Fire ``tcp_start``, connect where there is no ``server`` yet, and join the two."""
        side = self.context.session.side
        if server is not None:
            self.flow.server_conn = server.server_conn
            self._sides = (server,)
            server.hold(b"")
        elif destination is not None:
            host = destination[1].decode("utf-8", "surrogateescape")
            self.flow.server_conn.address = (host, destination[2])
        opener = self._opener = Opener(data, self._failed)
        side.use(opener)
        opener.open(self._open(server, destination), self._join)

    async def _open(self, server: ServerSide | None, destination: Destination | None) -> ServerSide:
        flow = self.flow
        if self._hooks.tcp_start is not None:
            waiting = self._hooks.tcp_start(flow)
            if waiting is not None:
                await waiting
        if flow.intercepted:
            await self._pause()
        if flow.killed:
            raise KilledError(self._kill_message())
        if server is None:
            assert destination is not None
            server = await self.context.session.servers.open(destination, flow)
        return server

    def _join(self, server: ServerSide, data: bytes) -> None:
        self._opener = None
        client = self.context.session.side
        settings = self.context.environment.settings
        if server.closing:
            client.close(settings.close_timeout)
            self._end(None)
            return
        self._sides = (client, server)
        self._joined = True
        self._send_unsent()
        kind = _CountingRelay if self._hooks.tcp_message is None else _MessageRelay
        upward = kind(server, settings.tunnel_idle_timeout, settings.close_timeout)
        downward = kind(client, settings.tunnel_idle_timeout, settings.close_timeout)
        upward.belong_to(self, True)
        downward.belong_to(self, False)
        early, server.early = server.early, b""
        client.use(upward, data)
        server.use(downward, early)
        server.reading.resume(SETUP)

    # Messages

    def received(self, relay: _MessageRelay, data: bytes | None) -> None:
        """Take what arrived, or the end of it; it is passed on when its turn comes."""
        self._queue.append((relay, data))
        if self._waiting is None and len(self._queue) == 1:
            self._go_on()

    def _go_on(self) -> None:
        queue = self._queue
        while queue and not self._ended:
            relay, data = queue[0]
            if data is None:
                relay.pass_end()
            elif not self._tell(relay, data):
                return
            if queue:
                queue.popleft()
        for side in self._sides:
            side.reading.resume(HOOK)

    def _tell(self, relay: _MessageRelay, data: bytes) -> bool:
        """Fire ``tcp_message``, and pass on what is left of it; False if that has to wait."""
        message = self._asked = TCPMessage(relay.from_client, data, time.time())
        self._keep(message)
        fire = self._hooks.tcp_message
        if fire is not None:
            try:
                waiting = fire(self.flow)
            except HookFailed as error:
                self._fail(error)
                return False
            if waiting is None and self.flow.intercepted:
                waiting = Deferred.fromCoroutine(self._pause())
            if waiting is not None:
                self._wait(waiting, relay, message)
                return False
        if self._ended:
            return False
        self._asked = None
        relay.forward(message.content)
        return True

    def _wait(self, waiting: Deferred[Any], relay: _MessageRelay, message: TCPMessage) -> None:
        for side in self._sides:
            side.reading.pause(HOOK)
        self._waiting = waiting

        def answered(_: object) -> None:
            self._waiting = None
            if self._ended:
                return
            if self.flow.intercepted:
                self._wait(Deferred.fromCoroutine(self._pause()), relay, message)
                return
            self._asked = None
            relay.forward(message.content)
            self._queue.popleft()
            self._go_on()

        def failed(failure: Failure) -> None:
            self._waiting = None
            if not self._ended and isinstance(failure.value, Exception):
                self._fail(failure.value)

        waiting.addCallbacks(answered, failed)

    def _keep(self, message: TCPMessage) -> None:
        flow = self.flow
        messages = flow.messages
        # The latest is what hooks are looking at, whatever is sent meanwhile.
        asked = self._asked is not message and messages and messages[-1] is self._asked
        messages.insert(len(messages) - 1 if asked else len(messages), message)
        self._kept += len(message.content)
        limit = self.context.environment.settings.body_memory_limit
        while self._kept > limit and len(flow.messages) > 1:
            self._kept -= len(flow.messages.pop(0).content)
            flow.forgotten += 1

    # What scripts send

    def inject(self, message: TCPMessage) -> None:
        """Implement `TCPControl.inject`."""
        if self._ended:
            raise InterceptorError("the connections are closed", "tcp-not-open")
        if not self._joined:
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
        server.deadline.set(self.context.environment.settings.tunnel_idle_timeout)

    def _check_room(self, message: TCPMessage) -> None:
        backlog = self._backlog + len(message.content)
        if backlog > self.context.environment.settings.body_memory_limit:
            raise InterceptorError(
                "more was injected than body_memory_limit, and nobody takes it", "tcp-inject-full"
            )
        self._backlog = backlog

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
            self._keep(message)
        sink.write(message.content)

    # The flow's control

    def killed(self, flow: TCPFlow) -> None:
        """Implement `FlowControl.killed`."""
        self._fail(KilledError(self._kill_message()))

    def intercepted(self, flow: TCPFlow) -> None:
        """Implement `FlowControl.intercepted`: heeded after the event that is being answered."""

    def resumed(self, flow: TCPFlow) -> None:
        """Implement `FlowControl.resumed`."""
        waiting, self._resumed = self._resumed, None
        if waiting is not None:
            waiting.callback(None)

    async def _pause(self) -> None:
        hooks, flow = self._hooks, self.flow
        if hooks.intercept is not None:
            waiting = hooks.intercept(flow)
            if waiting is not None:
                await waiting
        if flow.intercepted:
            self._resumed = Deferred(self._forget_resume)
            await self._resumed
        if hooks.resume is not None:
            waiting = hooks.resume(flow)
            if waiting is not None:
                await waiting

    def _forget_resume(self, _: Deferred[None]) -> None:
        self._resumed = None

    def _kill_message(self) -> str:
        error = self.flow.error
        return KILLED_MESSAGE if error is None else error.msg

    # The end

    def lost(self, relay: _CountingRelay, reason: Failure) -> None:
        """One of the connections is gone, and the other with it."""
        if reason.check(ConnectionDone) or relay.side.read_ended:
            # Who has said all and is not there for the rest has closed, not failed.
            self._end(None)
        elif relay.from_client:
            self._end(ClientGoneError("the client reset its connection"))
        else:
            address = format_address(self.flow.server_conn.address)
            self._end(InterceptorError(f"the connection to {address} was reset", "server-reset"))

    def _fail(self, error: Exception) -> None:
        self._end(error)
        if self._opener is not None:
            self._opener.abort(error)
        for side in self._sides:
            side.abort()

    def _failed(self, error: Exception) -> None:
        """There was no joining the two; who waits for it drops the client."""
        self._end(error)
        for side in self._sides:
            side.abort()

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        flow = self.flow
        flow.timestamp_end = time.time()
        if error is not None:
            code, _, message = describe(error)
            if flow.error is None:
                flow.error = Error(message, flow.timestamp_end, code)
            if code == "internal-error":
                self.log.failure(
                    "{flow}: unexpected error", flow=flow, proxy=self.context.environment.proxy
                )
            self.log.info(
                "{client} {server}: {code}: {message}",
                client=format_address(flow.client_conn.address),
                server=format_address(flow.server_conn.address),
                code=code,
                message=message,
                of_flow=True,
                proxy=self.context.environment.proxy,
            )
        self._queue.clear()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        ending = Deferred.fromCoroutine(self._tell_end(error is not None))
        ending.addErrback(self._end_failed)

    async def _tell_end(self, failed: bool) -> None:
        hooks, flow = self._hooks, self.flow
        try:
            if failed and hooks.tcp_error is not None:
                waiting = hooks.tcp_error(flow)
                if waiting is not None:
                    await waiting
        except HookFailed as error:
            # The bus has logged it; what was to be stopped has ended already.
            self.log.debug(
                "tcp_error hook: {error}", error=error, proxy=self.context.environment.proxy
            )
        flow.detach()
        if hooks.tcp_end is not None:
            run_hook(hooks.tcp_end, flow)

    def _end_failed(self, failure: Failure) -> None:
        self.log.failure(
            "the end of {flow} could not be told",
            failure,
            flow=self.flow,
            proxy=self.context.environment.proxy,
        )


class _CountingRelay(Relay):
    """A relay that belongs to a flow: it counts, and tells of its end."""

    from_client = False
    _exchange: TCPExchange

    def belong_to(self, exchange: TCPExchange, from_client: bool) -> None:
        """Say whose bytes these are, before the first comes."""
        self._exchange = exchange
        self.from_client = from_client

    def dataReceived(self, data: bytes) -> None:
        self._count(len(data))
        super().dataReceived(data)

    def _count(self, size: int) -> None:
        if self.from_client:
            self._exchange.flow.bytes_from_client += size
        else:
            self._exchange.flow.bytes_from_server += size

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._exchange.lost(self, reason)


class _MessageRelay(_CountingRelay):
    """A relay whose bytes hooks see before they are passed on."""

    def dataReceived(self, data: bytes) -> None:
        self._count(len(data))
        self._touch(self._idle_timeout)
        self._exchange.received(self, data)

    def forward(self, data: bytes) -> None:
        """Pass on what hooks left of a message."""
        if data and not self._other.closing:
            self._write(data)

    def read_closed(self) -> None:
        self._exchange.received(self, None)

    def pass_end(self) -> None:
        """Pass on the end of the bytes."""
        super().read_closed()
