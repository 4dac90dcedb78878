"""The error for a peer that breaks WebSocket's rules."""

from __future__ import annotations

from interceptor.errors import RemoteProtocolError


class WebSocketError(RemoteProtocolError):
    """A peer broke the rules. ``close_code`` is what it is told (RFC 6455 section 7.4.1)."""

    def __init__(self, close_code: int, message: str, code: str) -> None:
        super().__init__(message, code)
        self.close_code = close_code
