"""What a connection is spoken as: sessions, detection, HTTP exchanges, TLS, tunnels.

The layers that hooks may build and return from ``next_layer`` are to be had from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interceptor.layers.context import Context, Layer, RootLayer
    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.messages import MessageLayer
    from interceptor.layers.pair import PairLayer
    from interceptor.layers.socks5 import SOCKS5Layer
    from interceptor.layers.tcp import TCPLayer
    from interceptor.layers.tls import TLSLayer
    from interceptor.model.messageflow import BytesMessage, Message, MessageFlow
    from interceptor.wire.messagecodec import Buffer, MessageCodec

__all__ = [
    "Buffer",
    "BytesMessage",
    "Context",
    "HTTPLayer",
    "Layer",
    "Message",
    "MessageCodec",
    "MessageFlow",
    "MessageLayer",
    "PairLayer",
    "RootLayer",
    "SOCKS5Layer",
    "TCPLayer",
    "TLSLayer",
]

_MODULES = {
    "Buffer": "interceptor.wire.messagecodec",
    "BytesMessage": "interceptor.model.messageflow",
    "Context": "interceptor.layers.context",
    "HTTPLayer": "interceptor.layers.http",
    "Layer": "interceptor.layers.context",
    "Message": "interceptor.model.messageflow",
    "MessageCodec": "interceptor.wire.messagecodec",
    "MessageFlow": "interceptor.model.messageflow",
    "MessageLayer": "interceptor.layers.messages",
    "PairLayer": "interceptor.layers.pair",
    "RootLayer": "interceptor.layers.context",
    "SOCKS5Layer": "interceptor.layers.socks5",
    "TCPLayer": "interceptor.layers.tcp",
    "TLSLayer": "interceptor.layers.tls",
}
"""Where each is. It is loaded when somebody asks for it: the proxy itself needs few of them."""


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
