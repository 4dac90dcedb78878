"""The loop guard: refuses connections that would come back to one of our own listeners."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from twisted.internet.address import IPv4Address as TCP4Address
from twisted.internet.address import IPv6Address as TCP6Address
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IListeningPort

from interceptor.errors import LoopError
from interceptor.net.addresses import show

_NEVER_LOCAL = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849), which no interface has."""

IPAddress = IPv4Address | IPv6Address


class LoopGuard:
    """Knows what we listen on, and tells when an address leads there.

    Each address is checked after names are resolved and before its socket connects, so that it does
    not matter under which name we are asked to call ourselves. An address whose port is none of
    ours, as nearly all are, costs one look-up in a set.

    What leads back by way of another host (a redirect in a packet filter, a second proxy) cannot be
    seen here.
    """

    def __init__(self) -> None:
        self._ports: dict[IListeningPort, IAddress] = {}
        self._hosts: dict[int, list[IPAddress]] = {}
        self._paths: list[str] = []

    def add(self, port: IListeningPort) -> None:
        """Guard what `port` is bound to; it must be listening."""
        self._ports[port] = port.getHost()
        self._index()

    def remove(self, port: IListeningPort) -> None:
        """Guard it no longer. `port` may be closed already, or unknown."""
        self._ports.pop(port, None)
        self._index()

    def check(self, host: str, port: int) -> None:
        """Raise `LoopError` if `host` and `port` are one of our own listeners.

        `host` is the text of an IP address, or the path of a UNIX socket.
        """
        if port in self._hosts and self._is_ours(host, self._hosts[port]):
            raise LoopError(f"{show((host, port))} is this proxy's own listener")
        if self._paths and host.startswith("/") and self._is_our_path(host):
            raise LoopError(f"{show((host, 0))} is this proxy's own listener")

    def _index(self) -> None:
        self._hosts.clear()
        self._paths.clear()
        for address in self._ports.values():
            if isinstance(address, TCP4Address | TCP6Address):
                bound = ip_address(address.host.partition("%")[0])
                self._hosts.setdefault(address.port, []).append(_canonical(bound))
            elif isinstance(address, UNIXAddress) and address.name:
                self._paths.append(os.fsdecode(address.name))

    def _is_ours(self, host: str, ours: list[IPAddress]) -> bool:
        try:
            address = _canonical(ip_address(host.partition("%")[0]))
        except ValueError:
            return False
        if address.is_unspecified:
            # To connect to "any address" is to connect to this machine's loopback address.
            address = ip_address("127.0.0.1" if address.version == 4 else "::1")
        for bound in ours:
            if bound == address:
                return True
            # The IPv6 wildcard takes IPv4 connections as well, unless it was told not to.
            covers = bound.is_unspecified and bound.version in (address.version, 6)
            if covers and is_local(address):
                return True
        return False

    def _is_our_path(self, path: str) -> bool:
        for ours in self._paths:
            try:
                if os.path.samefile(ours, path):
                    return True
            except OSError:
                continue
        return False


def is_local(address: IPAddress) -> bool:
    """Whether this machine answers to `address` itself, found out without sending anything.

    Not remembered: interfaces come and go, and the answer takes some microseconds.
    """
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    host = str(address)
    if isinstance(address, IPv6Address) and address.is_link_local:
        # Cannot be bound without its zone; the route to an own address has it as its source.
        return any(_is_own_source(family, host, index) for index, _ in socket.if_nameindex())
    if _is_own_source(family, host, 0):
        return True
    # Where the system lets anything be bound, that an address can be is no sign.
    return _can_bind(family, host) and not _can_bind(family, _NEVER_LOCAL[family])


def _is_own_source(family: int, host: str, zone: int) -> bool:
    # Packets to an own address leave from that address. Connecting a datagram socket sends none.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9) if family == socket.AF_INET else (host, 9, 0, zone))
            return bool(probe.getsockname()[0].partition("%")[0] == host)
    except OSError:
        return False


def _can_bind(family: int, host: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _canonical(address: IPAddress) -> IPAddress:
    """An IPv4 address in IPv6 form (RFC 4291 section 2.5.5.2) is that IPv4 address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
