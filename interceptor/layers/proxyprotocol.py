"""The PROXY protocol: its header from load balancers in front, and to the servers that want it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from interceptor.errors import OptionsError, RemoteProtocolError
from interceptor.model.connections import format_address
from interceptor.model.patterns import compile_patterns
from interceptor.model.wording import shown
from interceptor.net.sides import LAST_CALL, Side, SideProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from interceptor.layers.environment import Environment
    from interceptor.model.connections import Address, ClientConnection
    from interceptor.model.options import Options
    from interceptor.wire.proxyprotocol import ProxyHeader

_Network = IPv4Network | IPv6Network | None


class ProxyProtocol:
    """The options ``proxy_protocol_from``, ``proxy_protocol_to`` and ``proxy_protocol_version``."""

    def __init__(self, options: Options) -> None:
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the options. Raises `OptionsError`."""
        trusted = tuple(_trusted(entry) for entry in options.proxy_protocol_from)
        self._hosts = compile_patterns("proxy_protocol_to", options.proxy_protocol_to)
        self._version = int(options.proxy_protocol_version.removeprefix("v"))
        self._trusted = trusted

    def expected(self, peer: Address, own: Address) -> bool:
        """Whether a connection from ``peer`` to our address ``own`` has to begin with a header."""
        return bool(self._trusted) and self._is_trusted(peer, own)

    def _is_trusted(self, peer: Address, own: Address) -> bool:
        try:
            address = ip_address(peer[0].partition("%")[0])
        except ValueError:
            # A UNIX socket.
            return any(
                network is None and place in ("", own[0]) for network, place in self._trusted
            )
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(
            network is not None and place in ("", str(own[1])) and address in network
            for network, place in self._trusted
        )

    def header(self, client_conn: ClientConnection, address: Address) -> bytes:
        """Return what a connection to ``address`` has to begin with; mostly nothing."""
        if not self._hosts:
            return b""
        name = f"{address[0]}:{address[1]}"
        if not any(pattern.search(name) for pattern in self._hosts):
            return b""
        # Few proxies stand before or behind somebody who speaks it.
        from interceptor.wire.proxyprotocol import encode_header

        return encode_header(self._version, client_conn.address, client_conn.sockname)


def _trusted(entry: str) -> tuple[_Network, str]:
    """Take apart NETWORK[@PORT], or ``unix``, perhaps with the path of the listener's socket."""
    text, at, place = entry.partition("@")
    if text == "unix" and (not at or place.startswith("/")):
        return None, place
    problem = "expected NETWORK, NETWORK@PORT, unix or unix@PATH"
    if not at or (place.isascii() and place.isdigit() and 0 < int(place[:6]) <= 65535):
        try:
            return ip_network(text), place.lstrip("0")
        except ValueError as error:
            problem = str(error)
    raise OptionsError(f"option `proxy_protocol_from`: {shown(entry)}: {problem}")


class ProxyHeaderProtocol(SideProtocol):
    """Stands on a client's side until its header is there; ``done`` gets that, and the rest.

    A connection that begins otherwise is reset: nothing on it is taken for traffic.
    """

    log = Logger()

    def __init__(
        self,
        environment: Environment,
        peer: Address,
        done: Callable[[ProxyHeader, bytes], None],
    ) -> None:
        from interceptor.wire.proxyprotocol import ProxyHeaderReader

        self._environment = environment
        self._peer = peer
        self._done = done
        self._reader = ProxyHeaderReader()

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self._environment.settings.head_timeout)

    def dataReceived(self, data: bytes) -> None:
        try:
            header = self._reader.receive(data)
        except RemoteProtocolError as error:
            self._refuse(error)
            return
        if header is not None:
            self.side.deadline.clear()
            self._done(header, self._reader.rest)

    def read_closed(self) -> None:
        if not self._reader.begun:
            # Somebody looked whether anybody listens, as load balancers do all the time.
            self.side.close()
            return
        try:
            self._reader.receive_eof()
        except RemoteProtocolError as error:
            self._refuse(error)

    def drain(self) -> None:
        # What has begun comes in one piece, as a rule, with the request behind it.
        deadline = self.side.deadline
        if (deadline.remaining or 0.0) > LAST_CALL:
            deadline.set(LAST_CALL)

    def timed_out(self) -> None:
        self._refuse(RemoteProtocolError("no PROXY header in time", "proxy-header-timeout"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass

    def _refuse(self, error: RemoteProtocolError) -> None:
        self.log.info(
            "{client}: {code}: {message}",
            client=format_address(self._peer),
            code=error.code,
            message=str(error),
            proxy=self._environment.proxy,
        )
        self.side.abort()
