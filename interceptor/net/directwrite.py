"""Writing to a TCP connection at once, where nothing is waiting to be written before.

Twisted keeps what is written until the reactor's next turn: two changes of the epoll set, one more
event, one more turn's delay. For a proxy, which writes whole messages, offering the bytes to the
socket first saves a sixth of the time that a small request takes. What the socket does not take
goes the usual way, with its buffering, its back-pressure and its errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.tcp import Connection


def direct_writer(transport: Any) -> Callable[[bytes], None]:
    """Return what writes to ``transport``: its own ``write``, or a quicker equivalent."""
    if not isinstance(transport, Connection) or transport.TLS:
        usual: Callable[[bytes], None] = transport.write
        return usual
    return partial(_write, transport)


def _write(transport: Any, data: bytes) -> None:
    if (
        transport.dataBuffer
        or transport._tempDataBuffer
        or not transport.connected
        or transport.disconnecting
        or transport._aborting
        or transport._writeDisconnected
    ):
        transport.write(data)
        return
    try:
        sent = transport.socket.send(data)
    except OSError:
        # It takes nothing now, or is broken: Twisted meets either in a turn of its own.
        transport.write(data)
        return
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
