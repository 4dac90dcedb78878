"""Closing a TCP connection at the end of the reactor's turn, where nothing is left to be sent.

Twisted asks the poller first whether there is room to write, although there is nothing to write,
and writes that: an event, three changes of the epoll set and an empty ``send`` for each connection.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

_DONE: Final = Failure(ConnectionDone())

_closing: dict[Any, list[Connection]] = {}
"""By reactor, the connections that it is about to close."""


def close(transport: Any) -> None:
    """Do as ``transport.loseConnection`` does, more quickly where that can be.

    As there, the connection is not lost before this call has returned, unless both peers have
    closed it already.
    """
    if (
        not isinstance(transport, Connection)
        or transport.TLS
        or transport.dataBuffer
        or transport._tempDataBuffer
        or transport.producer is not None
        or not transport.connected
        or transport.disconnecting
        or transport._aborting
        or transport._writeDisconnecting
        or transport._writeDisconnected
    ):
        transport.loseConnection()
        return
    transport.disconnecting = 1
    transport.stopReading()
    reactor: Any = transport.reactor
    waiting = _closing.get(reactor)
    if waiting is None:
        waiting = _closing[reactor] = []
        reactor.callLater(0, _close, reactor)
    waiting.append(transport)


def _close(reactor: Any) -> None:
    for transport in _closing.pop(reactor):
        if transport.disconnected or transport._aborting:
            continue
        if transport.dataBuffer or transport._tempDataBuffer:
            # Written since: Twisted closes when that has left.
            continue
        try:
            transport.connectionLost(_DONE)
        except Exception:
            _log.failure("closing a connection failed")
