"""What a connection is spoken as: sessions, detection, HTTP exchanges, TLS, tunnels.

The layers that hooks may build and return from ``next_layer`` are to be had from here.
"""

from __future__ import annotations

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
