"""The default policy: which layer comes next. A ``next_layer`` hook may always decide otherwise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zope.interface import moduleProvides

from interceptor.interfaces import IRules
from interceptor.layers.http import HTTPLayer
from interceptor.layers.tcp import TCPLayer

if TYPE_CHECKING:
    from interceptor.layers.context import Context, Layer
    from interceptor.layers.upstream import Destination, ServerSide

moduleProvides(IRules)

# A method (RFC 9110 section 9.1; in practice upper-case letters) and the beginning of a target.
_HTTP = re.compile(rb"[A-Z]{3,20} [/*hH]")
_PERHAPS_HTTP = re.compile(rb"[A-Z]{0,20} ?\Z")


def first_layer(context: Context, data: bytes) -> Layer | None:
    """Return what a client speaks to the proxy itself, or None where more bytes are needed."""
    mode = context.mode
    if mode.kind == "reverse":
        destination = (
            mode.scheme.encode(),
            mode.host.encode("utf-8", "surrogateescape"),
            mode.port,
        )
        return HTTPLayer(context, destination, rewrite_host=True)
    return HTTPLayer(context)


def tunnel_layer(
    context: Context, data: bytes, server: ServerSide, destination: Destination
) -> Layer | None:
    """Return what a client speaks inside a tunnel, or None where more bytes are needed."""
    if _HTTP.match(data):
        return HTTPLayer(context, destination, server=server)
    if _PERHAPS_HTTP.match(data):
        return None
    return relay_layer(context, server)


def relay_layer(context: Context, server: ServerSide) -> Layer:
    """Return the layer that passes bytes on as they are: for all that is not understood."""
    return TCPLayer(context, server)
