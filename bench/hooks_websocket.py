"""A script that looks at every WebSocket message and does nothing."""

from __future__ import annotations

from typing import Any


def websocket_message(flow: Any) -> None:
    """Look at a message."""
