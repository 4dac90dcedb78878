"""WebSocket messages, for scripts: ``from interceptor import websocket``."""

from __future__ import annotations

from interceptor.model.websocket import WebSocketData, WebSocketMessage

__all__ = ["WebSocketData", "WebSocketMessage"]
