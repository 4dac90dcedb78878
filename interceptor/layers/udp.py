"""Raw UDP: a flow for each address that clients send from, its datagrams in order, and its end."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import HookFailed
from interceptor.interfaces import IDatagramReceiver
from interceptor.layers.datagrams import DatagramListener, ServerChannel
from interceptor.layers.failures import KilledError, describe
from interceptor.layers.hooking import run_hook
from interceptor.layers.task import Task
from interceptor.model.connections import ClientConnection, ServerConnection, format_address
from interceptor.model.flow import KILLED_MESSAGE, Error
from interceptor.model.udpflow import UDPFlow, UDPMessage
from interceptor.net.deadline import Deadline

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.layers.environment import Environment
    from interceptor.model.modes import ModeSpec

_OVERHEAD: Final = 128
"""Bytes that a datagram counts for in a queue besides its content."""


class UDPListener(DatagramListener):
    """Passes datagrams on to the mode's server, and what that answers back to who asked."""

    def __init__(self, environment: Environment, mode: ModeSpec) -> None:
        super().__init__(environment, mode)
        self._exchanges: dict[tuple[str, int], UDPExchange] = {}

    def received(self, datagram: bytes, address: tuple[str, int]) -> None:
        exchange = self._exchanges.get(address)
        if exchange is None:
            self.take(address[0])
            exchange = self._exchanges[address] = UDPExchange(self, address)
            exchange.start()
        exchange.received(True, datagram)

    def forget(self, address: tuple[str, int]) -> None:
        """Nothing is left of an exchange."""
        if self._exchanges.pop(address, None) is not None:
            self.environment.datagram_quota.give_back(address[0])

    def stopProtocol(self) -> None:
        for exchange in tuple(self._exchanges.values()):
            exchange.abort()


@implementer(IDatagramReceiver)
class UDPExchange:
    """Joins one address of a client and the server, and tells of it: the control of its flow.

    The events are ``udp_start``, before there is a socket to the server; then ``udp_message`` for
    each datagram, one after the other, both directions included; ``udp_error`` where it went
    wrong; and ``udp_end`` last, always and once.
    """

    log = Logger()

    def __init__(self, listener: UDPListener, address: tuple[str, int]) -> None:
        environment, mode = listener.environment, listener.mode
        self.environment = environment
        self._hooks: Any = environment.hooks
        self._listener = listener
        self._address = address
        client_conn = ClientConnection(address, listener.address, time.time())
        client_conn.proxy_mode = mode.name
        server_conn = ServerConnection((mode.host, mode.port))
        self.flow = UDPFlow(client_conn, server_conn, mode.name, self)
        self._task = Task(self._open(), self._opened)
        self._channel: ServerChannel | None = None
        self._idle = Deadline(environment.clock, self._idled)
        self._queue: deque[UDPMessage] = deque()
        self._queued = 0
        # Whether the queue is being worked on, or cannot be yet.
        self._busy = True
        self._waiting: Deferred[Any] | None = None
        self._resumed: Deferred[None] | None = None
        self._kept = 0
        self._ended = False

    def start(self) -> None:
        """Fire ``udp_start``, and find the way to the server."""
        self.environment.sessions.add(self)
        self._idle.set(self.environment.settings.udp_idle_timeout)
        self._task.start()

    async def _open(self) -> None:
        flow = self.flow
        if self._hooks.udp_start is not None:
            waiting = self._hooks.udp_start(flow)
            if waiting is not None:
                await waiting
        if flow.intercepted:
            await self._pause()
        if flow.killed:
            raise KilledError(self._kill_message())
        channel = ServerChannel(self.environment, flow.server_conn, self)
        await channel.open(self.environment.settings.connect_timeout)
        self._channel = channel

    def _opened(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._end(error)
        elif self._channel is not None and self._ended:
            self._channel.close()
        else:
            self._busy = False
            self._go_on()

    # Datagrams

    def received(self, from_client: bool, data: bytes) -> None:
        """Take a datagram; it is passed on when its turn comes."""
        self._idle.set(self.environment.settings.udp_idle_timeout)
        if self._ended:
            # Killed: what still comes is none of the next flow's.
            return
        flow = self.flow
        if from_client:
            flow.bytes_from_client += len(data)
        else:
            flow.bytes_from_server += len(data)
        if not self._busy and self._hooks.udp_message is None:
            self._pass_on(from_client, data)
        else:
            self.inject(UDPMessage(from_client, data, time.time()))

    def inject(self, message: UDPMessage) -> None:
        """Put a datagram at the end of the queue, unless that is full."""
        size = len(message.content) + _OVERHEAD
        if self._queue and self._queued + size > self.environment.options.udp_queue_limit:
            self.flow.lost += 1
            return
        self._queue.append(message)
        self._queued += size
        if not self._busy:
            self._go_on()

    def datagram_received(self, data: bytes) -> None:
        """Implement `IDatagramReceiver`."""
        self.received(False, data)

    def _go_on(self) -> None:
        self._busy = True
        while self._queue and not self._ended:
            message = self._queue.popleft()
            self._queued -= len(message.content) + _OVERHEAD
            if not self._tell(message):
                return
        self._busy = False

    def _tell(self, message: UDPMessage) -> bool:
        """Fire ``udp_message``, and pass the datagram on; False if that has to wait."""
        fire = self._hooks.udp_message
        if fire is not None:
            self._keep(message)
        if fire is not None and not message.injected:
            was_empty = not message.content
            try:
                waiting = fire(self.flow)
            except HookFailed as error:
                self._end(error)
                return False
            if waiting is None and self.flow.intercepted:
                waiting = Deferred.fromCoroutine(self._pause())
            if waiting is not None:
                self._wait(waiting, message, was_empty)
                return False
            self._forward(message, was_empty)
        else:
            self._forward(message, True)
        return not self._ended

    def _wait(self, waiting: Deferred[Any], message: UDPMessage, was_empty: bool) -> None:
        self._waiting = waiting

        def answered(_: object) -> None:
            self._waiting = None
            if self._ended:
                return
            if self.flow.intercepted:
                self._wait(Deferred.fromCoroutine(self._pause()), message, was_empty)
                return
            self._forward(message, was_empty)
            self._go_on()

        def failed(failure: Failure) -> None:
            self._waiting = None
            if not self._ended and isinstance(failure.value, Exception):
                self._end(failure.value)

        waiting.addCallbacks(answered, failed)

    def _forward(self, message: UDPMessage, was_empty: bool) -> None:
        """Pass on what hooks left of a datagram. One that was made empty is dropped."""
        if not message.dropped and (message.content or was_empty):
            self._pass_on(message.from_client, message.content)

    def _pass_on(self, from_client: bool, data: bytes) -> None:
        if self._ended:
            return
        if not from_client:
            self._listener.reply(data, self._address)
        elif self._channel is not None:
            self._channel.send(data)

    def _keep(self, message: UDPMessage) -> None:
        flow = self.flow
        flow.messages.append(message)
        self._kept += len(message.content) + _OVERHEAD
        limit = self.environment.settings.body_memory_limit
        while self._kept > limit and len(flow.messages) > 1:
            self._kept -= len(flow.messages.pop(0).content) + _OVERHEAD
            flow.forgotten += 1

    # The flow's control

    def killed(self, flow: UDPFlow) -> None:
        """Implement `FlowControl.killed`."""
        self._end(KilledError(self._kill_message()))

    def intercepted(self, flow: UDPFlow) -> None:
        """Implement `FlowControl.intercepted`: heeded after the event that is being answered."""

    def resumed(self, flow: UDPFlow) -> None:
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

    def channel_lost(self, error: Exception) -> None:
        """Implement `IDatagramReceiver`."""
        self._channel = None
        self._end(error)

    def shut_down(self) -> None:
        """End the flow, since the proxy does."""
        self._end(None)

    def abort(self) -> None:
        """End the flow, and whatever is left of it."""
        self._end(None)
        self._gone()

    def _idled(self) -> None:
        if self._waiting is not None or self._resumed is not None or not self._task.done:
            # Whoever is asked may take longer.
            self._idle.set(self.environment.settings.udp_idle_timeout)
            return
        self._end(None)
        self._gone()

    def _gone(self) -> None:
        self._idle.stop()
        self._listener.forget(self._address)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        flow = self.flow
        flow.timestamp_end = flow.client_conn.timestamp_end = time.time()
        if error is not None:
            self._note(error)
        self._queue.clear()
        self._task.abort(KilledError("the flow is over"))
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if not flow.killed:
            # Of a killed flow nothing is to come after it either, while its client goes on.
            self._gone()
        ending = Deferred.fromCoroutine(self._tell_end(error is not None))
        ending.addErrback(self._end_failed)

    def _note(self, error: Exception) -> None:
        flow = self.flow
        code, _, message = describe(error)
        if flow.error is None:
            flow.error = Error(message, flow.timestamp_end, code)
        if code == "internal-error":
            self.log.failure("{flow}: unexpected error", flow=flow, proxy=self.environment.proxy)
        self.log.info(
            "{client} {server}: {code}: {message}",
            client=format_address(flow.client_conn.address),
            server=format_address(flow.server_conn.address),
            code=code,
            message=message,
            of_flow=True,
            proxy=self.environment.proxy,
        )

    async def _tell_end(self, failed: bool) -> None:
        hooks, flow = self._hooks, self.flow
        try:
            if failed and hooks.udp_error is not None:
                waiting = hooks.udp_error(flow)
                if waiting is not None:
                    await waiting
        except HookFailed as error:
            # The bus has logged it; what was to be stopped has ended already.
            self.log.debug("udp_error hook: {error}", error=error, proxy=self.environment.proxy)
        flow.detach()
        self.environment.session_ended(self)
        if hooks.udp_end is not None:
            run_hook(hooks.udp_end, flow)

    def _end_failed(self, failure: Failure) -> None:
        self.log.failure(
            "the end of {flow} could not be told",
            failure,
            flow=self.flow,
            proxy=self.environment.proxy,
        )
