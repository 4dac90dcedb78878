"""The options of WebSockets."""

from __future__ import annotations

from typing import Final

from interceptor.model.optionmakers import grouped, size
from interceptor.model.options import Option

_M: Final = 1 << 20

WEBSOCKET_OPTIONS: Final[tuple[Option, ...]] = grouped(
    "WebSocket",
    size(
        "websocket_message_limit",
        64 * _M,
        "Largest message (decoded_size_limit is for what is inflated); a larger one closes the "
        "WebSocket with code 1009.",
        minimum=1024,
    ),
    size(
        "websocket_frame_limit",
        64 * _M,
        "Largest frame of a message; a larger one closes the WebSocket with code 1009.",
        minimum=1024,
    ),
    size(
        "websocket_kept_size",
        4 * _M,
        "How much of a WebSocket's messages stays on its flow: the latest ones. The last one is "
        "there in any case.",
    ),
    Option(
        "websocket_ping_interval",
        "duration",
        None,
        "How long a peer may be silent before the proxy pings it, and then how long it may take "
        "until it is heard of; without it the proxy pings nobody, and tunnel_idle_timeout is for "
        "when nothing is sent in either direction.",
        optional=True,
        minimum=0.001,
    ),
)
