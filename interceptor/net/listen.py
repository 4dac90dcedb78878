"""Listeners: from what the operator wrote to a bound port."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.threads import deferToThreadPool

from interceptor.errors import ListenError
from interceptor.model.modes import ListenSpec
from interceptor.net.addresses import as_pair, show
from interceptor.net.resolver import parse_literal

BACKLOG = 1024
"""Connections that the system keeps for us between two turns of the reactor."""


def listen(
    reactor: Any, spec: ListenSpec, factory: IProtocolFactory, backlog: int = BACKLOG
) -> Deferred[IListeningPort]:
    """Listen as `spec` says and fire with the bound port.

    A port of 0 lets the system choose; `describe` tells what it chose. Names are resolved in the
    reactor's thread pool, and the first address is bound. `backlog` applies where an endpoint
    description has none of its own to give.

    Accepted TCP connections have ``TCP_NODELAY`` where the system lets them inherit it from the
    listening socket, as Linux does. When the process runs out of file descriptors Twisted drops
    new connections with a line in the log and goes on listening.

    Fails with `ListenError` (``listen-failed``), whose text is one line for the operator.
    """
    return Deferred.fromCoroutine(_listen(reactor, spec, factory, backlog))


def describe(port: IListeningPort) -> str:
    """What `port` is bound to: ``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:/run/i.sock``."""
    return show(as_pair(port.getHost()))


async def _listen(
    reactor: Any, spec: ListenSpec, factory: IProtocolFactory, backlog: int
) -> IListeningPort:
    try:
        if spec.kind == "endpoint":
            endpoint = serverFromString(reactor, spec.description)
            if hasattr(endpoint, "_backlog"):
                endpoint._backlog = max(endpoint._backlog, backlog)
            port = await endpoint.listen(factory)
        else:
            host = await _resolve(reactor, spec.host)
            port = reactor.listenTCP(spec.port, factory, backlog=backlog, interface=host)
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {spec}: {_reason(error.socketError)}") from error
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise ListenError(f"cannot listen on {spec}: {_reason(error)}") from error
    _let_inherit_no_delay(port)
    return port


async def _resolve(reactor: Any, host: str) -> str:
    if not host or parse_literal(host) is not None:
        return host
    answers = await deferToThreadPool(
        reactor, reactor.getThreadPool(), socket.getaddrinfo, host, None, 0, socket.SOCK_STREAM
    )
    return str(answers[0][4][0])


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror):
        text = str(error.strerror)
    elif isinstance(number, int):
        text = os.strerror(number)
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    return text[:1].lower() + text[1:]


def _let_inherit_no_delay(port: IListeningPort) -> None:
    # One system call here saves one for each accepted connection.
    listening = getattr(port, "socket", None)
    if isinstance(listening, socket.socket) and listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
