"""Marks on sockets, by which packet filters and routes know what they send (Linux)."""

from __future__ import annotations

import socket
import struct
from typing import Final

from interceptor.errors import CapabilityError, OptionsError

_MARK: Final = struct.Struct("=I")


def set_mark(skt: socket.socket, mark: int) -> None:
    """Mark what a socket sends. Raises `CapabilityError`."""
    try:
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK.pack(mark))
    except PermissionError as error:
        raise CapabilityError("socket_mark") from error


def check_mark(mark: int) -> None:
    """Find out whether `set_mark` works here. Raises `OptionsError`."""
    if not hasattr(socket, "SO_MARK"):
        raise OptionsError("option `socket_mark` needs Linux")
    with socket.socket() as skt:
        set_mark(skt, mark)
