"""What a peer has done already but the reactor has not told yet."""

from __future__ import annotations

import socket
from typing import Any

from interceptor.net.sides import Side
from interceptor.net.tls import TLSTransport


def ended_unseen(side: Side) -> bool:
    """Find out whether an idle connection is at its end, although nobody has been told.

    A reactor tells of one connection after the other, so that the end of this one may wait behind
    what is being dealt with. Whatever waits in the socket is read now, as if the reactor had done
    it: only what decrypts TLS can tell its end from a ticket. So expect the side's protocol to be
    called. Where there is no socket, the answer is that all is well.
    """
    transport: Any = side.transport
    while isinstance(transport, TLSTransport):
        transport = transport.below
    waiting = getattr(transport, "socket", None)
    if waiting is None:
        return False
    while not side.closing:
        try:
            data = waiting.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if not data or transport.doRead() is not None:
            return True
    return True
