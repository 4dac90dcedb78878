"""Where a connection was going before a packet filter of this machine gave it to us (Linux)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from interceptor.errors import CapabilityError, ListenError, LoopError, UpstreamError
from interceptor.net.addresses import HostPort, as_pair, show

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort

    from interceptor.net.guard import LoopGuard

# From the kernel's headers: netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h, in.h and in6.h.
SO_ORIGINAL_DST: Final = 80
IP6T_SO_ORIGINAL_DST: Final = 80
IP_TRANSPARENT: Final = 19
IPV6_TRANSPARENT: Final = 75

_SOL_IP: Final = 0
_SOL_IPV6: Final = 41

# struct sockaddr_in without its padding, and struct sockaddr_in6: the family, which is in the
# host's order, is skipped, and the number of the zone, which is as well, taken by itself.
_SOCKADDR_IN: Final = struct.Struct("!2xH4s")
_SOCKADDR_IN6: Final = struct.Struct("!2xH4x16s")
_SCOPE: Final = struct.Struct("=24xI")
_SOCKADDR_IN_SIZE: Final = 16
_SOCKADDR_IN6_SIZE: Final = 28


class OriginalDestination:
    """Tells where the client of an accepted connection wanted to go.

    A call takes the connection's transport and returns an IP address and a port: what connection
    tracking remembers of a REDIRECT, and else the socket's own address, which is the destination
    where TPROXY handed it over. Raises `LoopError` where that is one of our own listeners, as for
    clients that nobody redirected, or where we are the client ourselves, as ``made_here`` tells for
    a source and a destination. Raises `UpstreamError` (``no-destination``) where the system does
    not tell.
    """

    def __init__(self, guard: LoopGuard, made_here: Callable[[HostPort, HostPort], bool]) -> None:
        self._guard = guard
        self._made_here = made_here

    def __call__(self, transport: Any) -> HostPort:
        connection = getattr(transport, "socket", None)
        if not isinstance(connection, socket.socket):
            raise UpstreamError("the connection has no original destination", "no-destination")
        try:
            destination = original_destination(connection)
        except OSError as error:
            text = f"the original destination is not known: {os.strerror(error.errno or 0)}"
            raise UpstreamError(text, "no-destination") from error
        try:
            self._guard.check(*destination)
        except LoopError:
            raise LoopError(
                f"{show(destination)} is this proxy's own listener: no rule of the packet filter "
                "redirected this connection"
            ) from None
        host, port = as_pair(transport.getPeer())
        if self._made_here((_unmapped(host) or host, port), destination):
            raise LoopError(
                f"this is the proxy's own connection to {show(destination)}: the packet filter has "
                "to leave the proxy's user alone (`meta skuid`), or what has its `socket_mark`"
            )
        return destination


def original_destination(connection: socket.socket) -> HostPort:
    """Return the address and port that the client of an accepted TCP connection asked for.

    Raises `OSError`.
    """
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    own = connection.getsockname()
    host = str(own[0])
    # A listener at [::] takes IPv4 connections too, with addresses in IPv6 form.
    mapped = _unmapped(host)
    try:
        if connection.family == socket.AF_INET or mapped is not None:
            found = connection.getsockopt(_SOL_IP, SO_ORIGINAL_DST, _SOCKADDR_IN_SIZE)
            port, packed = _SOCKADDR_IN.unpack_from(found)
            return (socket.inet_ntop(socket.AF_INET, packed), port)
        found = connection.getsockopt(_SOL_IPV6, IP6T_SO_ORIGINAL_DST, _SOCKADDR_IN6_SIZE)
        port, packed = _SOCKADDR_IN6.unpack_from(found)
        (scope,) = _SCOPE.unpack_from(found)
        return (_zoned(socket.inet_ntop(socket.AF_INET6, packed), scope or own[3]), port)
    except OSError:
        # Not tracked, or the system has no connection tracking: then nothing was rewritten.
        if mapped is None and connection.family == socket.AF_INET6:
            return (_zoned(host, own[3]), own[1])
        return (mapped or host, own[1])


def check_listener(port: IListeningPort, *, tproxy: bool) -> None:
    """Get a listening port ready for transparent mode.

    With ``tproxy`` it takes connections to any address, as TPROXY rules give them. Raises
    `ListenError` where connections to this port have no original destination, and `CapabilityError`
    where the process may not take those to others.
    """
    listening = getattr(port, "socket", None)
    if (
        not sys.platform.startswith("linux")
        or not isinstance(listening, socket.socket)
        or listening.family not in (socket.AF_INET, socket.AF_INET6)
    ):
        raise ListenError("mode transparent needs a TCP listener on Linux")
    if not tproxy:
        return
    try:
        if listening.family == socket.AF_INET6:
            listening.setsockopt(_SOL_IPV6, IPV6_TRANSPARENT, 1)
        else:
            listening.setsockopt(_SOL_IP, IP_TRANSPARENT, 1)
    except PermissionError as error:
        raise CapabilityError("tproxy") from error
    except OSError as error:
        raise ListenError(f"option `tproxy`: it cannot be had here: {error.strerror}") from error


def _zoned(host: str, scope: int) -> str:
    """Return a link-local address with the zone in which alone it means something (RFC 4007)."""
    if not scope or "%" in host or not ip_address(host).is_link_local:
        return host
    return f"{host}%{socket.if_indextoname(scope)}"


def _unmapped(host: str) -> str | None:
    """Return the IPv4 address in an IPv6 address that stands for one (RFC 4291, 2.5.5.2)."""
    if ":" not in host:
        return None
    mapped = IPv6Address(host.partition("%")[0]).ipv4_mapped
    return None if mapped is None else str(mapped)
