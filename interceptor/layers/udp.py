"""Raw UDP: a flow for each address that clients send from, its datagrams in order, and its end."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import HookFailed
from interceptor.interfaces import IDatagramReceiver
from interceptor.layers.datagrams import DatagramListener, ServerChannel
from interceptor.layers.failures import KilledError
from interceptor.layers.flowcontrol import FlowTelling, Holding
from interceptor.layers.task import Task
from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.udpflow import UDPFlow, UDPMessage
from interceptor.net.deadline import Deadline

if TYPE_CHECKING:
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
class UDPExchange(Holding, FlowTelling):
    """Joins one address of a client and the server, and tells of it: the control of its flow.

    The events are ``udp_start``, before there is a socket to the server; then ``udp_message`` for
    each datagram, one after the other, both directions included; ``udp_error`` where it went
    wrong; and ``udp_end`` last, always and once.
    """

    log = Logger()

    events = "udp"
    overhead = _OVERHEAD

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
        self._resumed = None
        # Whether the queue is being worked on, or cannot be yet.
        self._busy = True

    def start(self) -> None:
        """Fire ``udp_start``, and find the way to the server."""
        self.environment.sessions.add(self)
        self._idle.set(self.environment.settings.udp_idle_timeout)
        self._task.start()

    async def _open(self) -> None:
        await self.begin()
        channel = ServerChannel(self.environment, self.flow.server_conn, self)
        await channel.open(self.environment.settings.connect_timeout)
        self._channel = channel

    def _opened(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self._end(error)
        elif self._channel is not None and self._over:
            self._channel.close()
        else:
            self._busy = False
            self._go_on()

    # Datagrams

    def received(self, from_client: bool, data: bytes) -> None:
        """Take a datagram; it is passed on when its turn comes."""
        self._idle.set(self.environment.settings.udp_idle_timeout)
        if self._over:
            # Killed: what still comes is none of the next flow's.
            return
        self.count(from_client, len(data))
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
        while self._queue and not self._over:
            message = self._queue.popleft()
            self._queued -= len(message.content) + _OVERHEAD
            if not self._tell(message):
                return
        self._busy = False

    def _tell(self, message: UDPMessage) -> bool:
        """Fire ``udp_message``, and pass the datagram on; False if that has to wait."""
        fire = self._hooks.udp_message
        was_empty = True
        if fire is not None:
            self.keep(message)
        if fire is not None and not message.injected:
            was_empty = not message.content
            try:
                waiting = fire(self.flow)
            except HookFailed as error:
                self._fail(error)
                return False
            later = waiting is not None or self.flow.intercepted
            if later and not self._wait(waiting, partial(self._forward_later, message, was_empty)):
                return False
        self._forward(message, was_empty)
        return not self._over

    def _forward_later(self, message: UDPMessage, was_empty: bool) -> None:
        self._forward(message, was_empty)
        self._go_on()

    def _forward(self, message: UDPMessage, was_empty: bool) -> None:
        """Pass on what hooks left of a datagram. One that was made empty is dropped."""
        if not message.dropped and (message.content or was_empty):
            self._pass_on(message.from_client, message.content)

    def _pass_on(self, from_client: bool, data: bytes) -> None:
        if self._over:
            return
        if not from_client:
            self._listener.reply(data, self._address)
        elif self._channel is not None:
            self._channel.send(data)

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

    def _fail(self, error: Exception) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        flow = self.flow
        flow.client_conn.timestamp_end = time.time()
        self._queue.clear()
        self._task.abort(KilledError("the flow is over"))
        self._stop_waiting()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if not flow.killed:
            # Of a killed flow nothing is to come after it either, while its client goes on.
            self._gone()
        self._tell_end(error)

    def _detached(self) -> None:
        self.environment.session_ended(self)
