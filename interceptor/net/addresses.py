"""Addresses: Twisted's objects, the model's pairs, and text for people."""

from __future__ import annotations

import os

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from interceptor.model.hostports import join_host_port

HostPort = tuple[str, int]
"""A host name or IP address and a port, or the absolute path of a UNIX socket and 0."""


def as_pair(address: IAddress) -> HostPort:
    """Return the pair for a Twisted address; ``("", 0)`` where it says nothing."""
    if isinstance(address, IPv4Address | IPv6Address):
        return (address.host, address.port)
    if isinstance(address, UNIXAddress) and address.name:
        return (os.fsdecode(address.name), 0)
    return ("", 0)


def as_address(pair: HostPort) -> IAddress:
    """Return the Twisted address for a pair. Names are taken for IPv4 addresses."""
    host, port = pair
    if host.startswith("/"):
        return UNIXAddress(os.fsencode(host))
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


def show(pair: HostPort) -> str:
    """Return text: ``192.0.2.1:80``, ``[2001:db8::1]:80``, ``unix:/run/i.sock``."""
    host, port = pair
    return f"unix:{host}" if host.startswith("/") else join_host_port(host, port)
