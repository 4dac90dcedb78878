"""What raw UDP and DNS have in common: a listener with its bounds, and ways to servers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import HookFailed, InterceptorError, UpstreamError
from interceptor.interfaces import IDatagramReceiver
from interceptor.layers.admission import NotAdmittedError
from interceptor.layers.hooking import run_hook
from interceptor.layers.nexthop import as_next_hop
from interceptor.model.connections import format_address
from interceptor.net.addresses import as_pair

if TYPE_CHECKING:
    from interceptor.interfaces import IDatagramChannel
    from interceptor.layers.allowances import Allowances
    from interceptor.layers.environment import Environment
    from interceptor.model.connections import ServerConnection
    from interceptor.model.modes import ModeSpec

_LOG_PAUSE: Final = 10.0
"""Seconds between two messages about datagrams of the same kind that were dropped."""


class DroppedError(InterceptorError):
    """A datagram that is not passed on: it came from anybody, and nobody is told but the log."""


class NoDatagramsError(UpstreamError):
    """The way to the server leads by a next hop, and UDP does not."""

    code = "upstream-proxy-udp"

    def __init__(self, server_conn: ServerConnection) -> None:
        address = format_address(server_conn.address)
        text = f"UDP to {address} cannot go by way of the next hop {server_conn.via}"
        super().__init__(text, self.code)


_CLIENT_LIMIT = "udp_client_flow_limit"


class Quota:
    """How many flows over UDP there may be: of all clients together, and of a single one.

    Anybody can write any address on a datagram, so that this is all that bounds them.
    """

    def __init__(self, allowances: Allowances) -> None:
        self._taken: Counter[str] = Counter()
        self._all = 0
        self._allowances = allowances
        self._limit = allowances.of("udp_flow_limit", lambda: self._all)
        self._client_limit = allowances.of_clients(_CLIENT_LIMIT, lambda host: self._taken[host])
        self._special = allowances.clients[_CLIENT_LIMIT]

    def take(self, host: str) -> None:
        """Count one more of ``host``. Raises `DroppedError`."""
        if self._all >= self._limit.mark and self._limit.full():
            raise DroppedError(
                f"{self._all} flows go on already (udp_flow_limit)", "udp-flow-limit"
            )
        allowance = self._special.get(host, self._client_limit)
        taken = self._taken.get(host, 0)
        if taken >= allowance.mark and self._allowances.client_is_full(_CLIENT_LIMIT, host):
            raise DroppedError(
                f"{taken} flows of a single client go on already (udp_client_flow_limit)",
                "udp-client-flow-limit",
            )
        self._taken[host] += 1
        self._all += 1

    def give_back(self, host: str) -> None:
        """Count one less of ``host``."""
        self._all -= 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]


class DatagramListener(DatagramProtocol, ABC):
    """Receives what clients send to one UDP port. Until `open` is called it is dropped."""

    noisy = False
    log = Logger()

    def __init__(self, environment: Environment, mode: ModeSpec) -> None:
        self.environment = environment
        self.mode = mode
        self._open = False
        self._said: dict[str, tuple[float, int]] = {}

    def open(self) -> None:
        """Let datagrams in."""
        self._open = True

    def close(self) -> None:
        """Let no more in; what came before may be answered still."""
        self._open = False

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self.transport is not None
        return as_pair(self.transport.getHost())

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self._open:
            return
        try:
            self.environment.admission.check_address(addr[0])
            limit = self.environment.options.udp_datagram_limit
            if len(datagram) > limit:
                raise DroppedError(
                    f"a datagram of {len(datagram)} bytes is over udp_datagram_limit",
                    "udp-datagram-too-large",
                )
            self.received(datagram, (addr[0], addr[1]))
        except (DroppedError, NotAdmittedError) as error:
            self.dropped(error, addr)

    @abstractmethod
    def received(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Take a datagram of a client's. May raise `DroppedError`."""

    def take(self, host: str) -> None:
        """Begin a flow of a client's. Raises `DroppedError`."""
        self.environment.datagram_quota.take(host)

    def reply(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send a datagram to a client, if that can be done."""
        transport = self.transport
        if transport is None:
            return
        try:
            transport.write(datagram, address)
        except Exception as error:
            # No route, no buffers, too large: lost, as datagrams may be.
            self.log.debug(
                "a datagram of {size} bytes to {client} was lost: {error}",
                size=len(datagram),
                client=format_address(address),
                error=error,
                proxy=self.environment.proxy,
            )

    def dropped(self, error: InterceptorError, address: tuple[str, int]) -> None:
        """Tell the log, now and then, that datagrams are dropped."""
        now = self.environment.clock.seconds()
        said, count = self._said.get(error.code, (-_LOG_PAUSE, 0))
        if now - said < _LOG_PAUSE:
            self._said[error.code] = said, count + 1
            return
        self._said[error.code] = now, 0
        more = f" ({count} more before)" if count else ""
        self.log.warn(
            "{mode}: a datagram of {client} was dropped: {code}: {error}{more}",
            mode=self.mode.name,
            client=format_address(address),
            code=error.code,
            error=error,
            more=more,
            proxy=self.environment.proxy,
        )


@implementer(IDatagramReceiver)
class ServerChannel:
    """A way to a server over UDP, with the events that connections have."""

    def __init__(
        self, environment: Environment, server_conn: ServerConnection, receiver: IDatagramReceiver
    ) -> None:
        self.server_conn = server_conn
        self._environment = environment
        self._hooks: Any = environment.hooks
        self._receiver = receiver
        self._channel: IDatagramChannel | None = None
        self._established = False

    async def open(self, timeout: float) -> None:
        """Fire ``serverconnect``, find the way, fire ``serverconnected``. Raises `UpstreamError`.

        ``timeout`` bounds the resolution of the server's name, in seconds.
        """
        server_conn = self.server_conn
        environment = self._environment
        server_conn.via = environment.next_hops.default
        try:
            if self._hooks.serverconnect is not None:
                waiting = self._hooks.serverconnect(server_conn)
                if waiting is not None:
                    await waiting
            if server_conn.error is None:
                await self._connect(timeout)
        except HookFailed as error:
            # A hook whose failure is fatal has failed: that counts as its refusal.
            server_conn.refuse(str(error))
            raise
        except Exception as error:
            self._failed(str(error))
            raise
        if server_conn.error is not None:
            raise UpstreamError(
                f"connection to {format_address(server_conn.address)} refused: {server_conn.error}",
                "refused-by-hook",
            )
        self._established = True
        if self._hooks.serverconnected is not None:
            try:
                waiting = self._hooks.serverconnected(server_conn)
                if waiting is not None:
                    await waiting
            except BaseException:
                self.close()
                raise

    async def _connect(self, timeout: float) -> None:
        server_conn = self.server_conn
        if server_conn.address is None:
            raise UpstreamError("a hook took the server's address away", "no-destination")
        if as_next_hop(server_conn.via) is not None:
            raise NoDatagramsError(server_conn)
        datagrams = self._environment.datagrams
        assert datagrams is not None
        self._channel = await datagrams.connect(
            server_conn.address, self, timeout=timeout, server_connection=server_conn
        )

    def _failed(self, reason: str) -> None:
        self.server_conn.error = reason
        self.server_conn.timestamp_end = time.time()
        if self._hooks.serverconnect_failed is not None:
            run_hook(self._hooks.serverconnect_failed, self.server_conn)

    def send(self, datagram: bytes) -> None:
        """Send a datagram to the server; it may get lost."""
        if self._channel is not None:
            self._channel.send(datagram)

    def close(self) -> None:
        """Hear no more of the server."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._disconnected()

    def _disconnected(self) -> None:
        if self._established:
            self._established = False
            self.server_conn.timestamp_end = time.time()
            if self._hooks.serverdisconnect is not None:
                run_hook(self._hooks.serverdisconnect, self.server_conn)

    # IDatagramReceiver

    def datagram_received(self, data: bytes) -> None:
        if self._channel is not None:
            self._receiver.datagram_received(data)

    def channel_lost(self, error: Exception) -> None:
        self._channel = None
        self.server_conn.error = str(error)
        self._disconnected()
        self._receiver.channel_lost(error)
