"""Listeners: from what the operator wrote to a bound port."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThreadPool

from interceptor.errors import ListenError
from interceptor.model.modes import DEFAULT_PREFIXES, ListenSpec
from interceptor.model.wording import did_you_mean
from interceptor.net.addresses import as_pair, show
from interceptor.net.resolver import parse_literal

BACKLOG = 1024
"""Connections that the system keeps for us between two turns of the reactor."""

LARGEST_DATAGRAM = 65535
"""Bytes that a datagram may have, so that none is cut."""

_ATTEMPTS = 10
"""How many ports are tried where one has to be free for UDP and TCP."""

# Up to the end or the next argument, so that none is taken for the end of an address.
_BARE_IPV6 = re.compile(r"(?<=:)(interface|host)=([0-9A-Fa-f:.]+(?:%\w+)?)(?=\Z|:[A-Za-z]\w*=)")


def listen(
    reactor: Any, spec: ListenSpec, factory: IProtocolFactory, backlog: int = BACKLOG
) -> Deferred[IListeningPort]:
    """Listen as `spec` says and fire with the bound port.

    A port of 0 lets the system choose; `describe` tells what it chose. Names are resolved in the
    reactor's thread pool, and the first address is bound. `backlog` applies where an endpoint
    description does not say ``backlog=`` itself.

    Accepted TCP connections have ``TCP_NODELAY`` where the system lets them inherit it from the
    listening socket, as Linux does. When the process runs out of file descriptors Twisted drops
    new connections with a line in the log and goes on listening.

    Fails with `ListenError` (``listen-failed``), whose text is one line for the operator.
    """
    return Deferred.fromCoroutine(_listen(reactor, spec, factory, backlog))


def describe(port: IListeningPort) -> str:
    """What `port` is bound to: ``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:/run/i.sock``."""
    return show(as_pair(port.getHost()))


def listen_for_datagrams(
    reactor: Any, spec: ListenSpec, protocol: DatagramProtocol
) -> Deferred[IListeningPort]:
    """Listen for UDP as `spec` says and fire with the bound port; as for `listen` otherwise.

    Datagrams of any size arrive whole.
    """
    return Deferred.fromCoroutine(_listen_for_datagrams(reactor, spec, protocol))


def listen_for_both(
    reactor: Any, spec: ListenSpec, protocol: DatagramProtocol, factory: IProtocolFactory
) -> Deferred[tuple[IListeningPort, IListeningPort]]:
    """Listen for UDP and TCP on the same port, also where that is 0; fire with both ports.

    Fails as `listen` does, and then listens for neither.
    """
    return Deferred.fromCoroutine(_listen_for_both(reactor, spec, protocol, factory))


async def _listen_for_datagrams(
    reactor: Any, spec: ListenSpec, protocol: DatagramProtocol
) -> IListeningPort:
    try:
        host = await numeric(reactor, spec.host)
        port: IListeningPort = reactor.listenUDP(
            spec.port, protocol, interface=host, maxPacketSize=LARGEST_DATAGRAM
        )
    except CannotListenError as error:
        reason = reason_of(error.socketError)
        raise ListenError(f"cannot listen on {spec} for UDP: {reason}") from error
    except (OSError, ValueError, OverflowError) as error:
        raise ListenError(f"cannot listen on {spec} for UDP: {reason_of(error)}") from error
    return port


async def _listen_for_both(
    reactor: Any, spec: ListenSpec, protocol: DatagramProtocol, factory: IProtocolFactory
) -> tuple[IListeningPort, IListeningPort]:
    attempt = 1
    while True:
        datagrams = await _listen_for_datagrams(reactor, spec, protocol)
        same = replace(spec, port=as_pair(datagrams.getHost())[1])
        try:
            return datagrams, await _listen(reactor, same, factory, BACKLOG)
        except ListenError:
            await maybeDeferred(datagrams.stopListening)
            # The port that the system chose for one may be taken for the other.
            if spec.port or attempt == _ATTEMPTS:
                raise
        attempt += 1


async def _listen(
    reactor: Any, spec: ListenSpec, factory: IProtocolFactory, backlog: int
) -> IListeningPort:
    port: IListeningPort
    try:
        if spec.kind == "endpoint":
            port = await endpoint_for(reactor, spec.description).listen(factory)
        else:
            host = await numeric(reactor, spec.host)
            port = reactor.listenTCP(spec.port, factory, backlog=backlog, interface=host)
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {spec}: {reason_of(error.socketError)}") from error
    except socket.gaierror as error:
        # What ought to be the word of an endpoint was read as a name.
        near = did_you_mean(spec.host, DEFAULT_PREFIXES)
        raise ListenError(f"cannot listen on {spec}: {reason_of(error)}{near}") from error
    except (OSError, ValueError, OverflowError) as error:
        raise ListenError(f"cannot listen on {spec}: {reason_of(error)}") from error
    listening = getattr(port, "socket", None)
    if isinstance(listening, socket.socket):
        _tune(listening, backlog if "backlog=" not in spec.description else None)
    return port


def endpoint_for(reactor: Any, description: str) -> IStreamServerEndpoint:
    """Parse an endpoint description; raises `ValueError` in words that an operator knows."""
    # Loads endpoints of all kinds and their certificates' libraries, which few start-ups need.
    from twisted.internet.endpoints import serverFromString

    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, _escape_addresses(description))
    except TypeError as error:
        # The parsers are functions, called with what the description holds.
        argument = re.search(r"unexpected keyword argument '(.+)'", str(error))
        if argument is not None:
            raise ValueError(f"it takes no argument {argument[1]}=") from error
        raise ValueError("arguments are missing or too many") from error
    except LookupError as error:
        # What `systemd:` raises for sockets that the service manager did not pass on.
        raise ValueError("there is no such socket") from error
    except ValueError as error:
        if "int()" in str(error):
            raise ValueError("a number was expected") from error
        raise
    return endpoint


def _escape_addresses(description: str) -> str:
    """Escape the colons of IPv6 addresses, which separate arguments otherwise."""

    def escape(match: re.Match[str]) -> str:
        name, value = match.groups()
        if parse_literal(value) is None:
            return match[0]
        escaped = value.replace(":", r"\:")
        return f"{name}={escaped}"

    return _BARE_IPV6.sub(escape, description)


async def numeric(reactor: Any, host: str) -> str:
    """Give the first address of a host, which may be one already. Raises `socket.gaierror`."""
    if not host or parse_literal(host) is not None:
        return host
    answers = await deferToThreadPool(
        reactor, reactor.getThreadPool(), socket.getaddrinfo, host, None, 0, socket.SOCK_STREAM
    )
    return str(answers[0][4][0])


def reason_of(error: BaseException) -> str:
    """Say in a few words why a listener could not be bound."""
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror):
        text = str(error.strerror)
    elif isinstance(number, int):
        text = os.strerror(number)
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    return text[:1].lower() + text[1:]


def _tune(listening: socket.socket, backlog: int | None) -> None:
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        # One system call here saves one for each accepted connection.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if backlog is not None:
        # Endpoints have 50 by default; listening once more changes nothing but that.
        listening.listen(backlog)
