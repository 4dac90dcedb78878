"""Who may come in: clients by their address, and how many of them and of their requests at once."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from interceptor.errors import InterceptorError, OptionsError, RemoteProtocolError
from interceptor.model.connections import format_address
from interceptor.model.wording import shown

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from interceptor.layers.allowances import Allowances
    from interceptor.model.connections import Address
    from interceptor.model.options import Options

_LOG_PAUSE: Final = 10.0
"""Seconds between two messages about clients that were refused for the same reason."""


class NotAdmittedError(InterceptorError):
    """A client is not let in. It is told nothing: its connection is reset."""


class Admission:
    """Counts clients and requests, and refuses those that are too many or come from too far.

    Behind load balancers that speak the PROXY protocol the address of the client counts, not that
    of the balancer.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, options: Options, allowances: Allowances) -> None:
        self._clock = clock
        self.connections = 0
        self.flows = 0
        self._clients: dict[str, int] = {}
        self._allowances = allowances
        self._connection_limit = allowances.of("connection_limit", lambda: self.connections)
        self._flow_limit = allowances.of("flow_limit", lambda: self.flows)
        self._client_limit = allowances.of_clients(
            "client_connection_limit", lambda host: self._clients.get(host, 0)
        )
        # Clients that have another allowance than most.
        self._special = allowances.clients["client_connection_limit"]
        self._said: dict[str, tuple[float, int]] = {}
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the options. Raises `OptionsError`."""
        exceptions = tuple(_network(entry) for entry in options.allow_global_from)
        self._exceptions = exceptions
        self._block_global = options.block_global

    def check_address(self, host: str) -> None:
        """Raise `NotAdmittedError` for a public address, as ``block_global`` says."""
        if self._block_global and _kind(host) == "global" and not self._is_exception(host):
            raise NotAdmittedError(
                "it has a public address; the options allow_global_from and block_global say who "
                "may come in",
                "client-global",
            )

    def enter(self) -> None:
        """Count a connection that was accepted. Raises `NotAdmittedError`."""
        allowance = self._connection_limit
        if self.connections >= allowance.mark and allowance.full():
            raise NotAdmittedError(
                f"there are {self.connections} connections already (connection_limit)",
                "connection-limit",
            )
        self.connections += 1

    def leave(self) -> None:
        """Count a connection less."""
        self.connections -= 1

    def enter_client(self, host: str) -> bool:
        """Count a connection of the client at ``host``; False where nobody counts its connections.

        Raises `NotAdmittedError`.
        """
        kind = _kind(host)
        if kind == "local":
            return False
        if kind == "global":
            self.check_address(host)
        count = self._clients.get(host, 0)
        allowance = self._client_limit
        if self._special:
            allowance = self._special.get(host, allowance)
        if count >= allowance.mark and self._allowances.client_is_full(
            "client_connection_limit", host
        ):
            raise NotAdmittedError(
                f"this client has {count} connections already (client_connection_limit)",
                "client-connection-limit",
            )
        self._clients[host] = count + 1
        return True

    def leave_client(self, host: str) -> None:
        """Count a connection less of the client at ``host``."""
        left = self._clients[host] - 1
        if left:
            self._clients[host] = left
        else:
            del self._clients[host]

    def check_flow(self) -> None:
        """Raise `RemoteProtocolError` where no further request may be under way."""
        allowance = self._flow_limit
        if self.flows >= allowance.mark and allowance.full():
            raise RemoteProtocolError(
                "the proxy is busy: as many requests as it takes are under way (flow_limit)",
                "flow-limit",
                503,
            )

    def tell(self, mode: str, client: Address, error: InterceptorError, proxy: object) -> None:
        """Tell the log of ``proxy``, now and then, that clients of a listener are refused."""
        count = self._silent(error.code)
        if count is None:
            return
        self.log.warn(
            "{mode}: client {client} refused: {code}: {error}{more}",
            mode=mode,
            client=format_address(client),
            code=error.code,
            error=error,
            more=f" ({count} more before)" if count else "",
            proxy=proxy,
        )

    def tell_short(self, limit: int, proxy: object) -> None:
        """Tell the log, now and then, that few of ``limit`` descriptors are left."""
        if self._silent("descriptors-short") is not None:
            self.log.warn(
                "descriptors-short: of {limit} file descriptors few are left: new clients wait "
                "until there are more (descriptor_headroom)",
                limit=limit,
                proxy=proxy,
            )

    def _silent(self, code: str) -> int | None:
        """Return how often ``code`` was not told of meanwhile; None where it is not to be now."""
        now = self._clock.seconds()
        said, count = self._said.get(code, (-_LOG_PAUSE, 0))
        if now - said < _LOG_PAUSE:
            self._said[code] = said, count + 1
            return None
        self._said[code] = now, 0
        return count

    def _is_exception(self, host: str) -> bool:
        address = _address(host)
        return any(address in network for network in self._exceptions)


def _address(host: str) -> IPv4Address | IPv6Address:
    """Parse an IP address; what stands for an IPv4 address (RFC 4291 section 2.5.5.2) is that."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


@lru_cache(maxsize=4096)
def _kind(host: str) -> str:
    """Tell what address it is: ``local`` (this machine, a UNIX socket), ``global`` or ``other``."""
    try:
        address = _address(host)
    except ValueError:
        return "local"
    if address.is_loopback:
        return "local"
    return "global" if address.is_global else "other"


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise OptionsError(f"option `allow_global_from`: {shown(entry)}: {error}") from None
