"""The default policy: which layer comes next. A ``next_layer`` hook may always decide otherwise.

All but HTTP and TLS is loaded when it is first met: most programs never meet most of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zope.interface import moduleProvides

from interceptor.interfaces import IRules
from interceptor.layers.destinations import RAW, by_name, mode_destination, named_layer
from interceptor.layers.detect import http_agreed
from interceptor.layers.http import HTTPLayer, NotTLSLayer
from interceptor.layers.tls import TLSLayer
from interceptor.model.modes import DNS_PORT
from interceptor.wire.tlshello import looks_like_tls

if TYPE_CHECKING:
    from interceptor.layers.context import Context, Layer
    from interceptor.layers.destinations import Destination
    from interceptor.layers.joint import Joint
    from interceptor.layers.serverside import ServerSide

moduleProvides(IRules)

_HTTPS_PORT = 443

# RFC 9113, section 3.4. A request of HTTP/1 may begin with the same letter.
_HTTP2 = b"PRI * HTTP/2.0\r\n"

# Version 4 is told apart in order to be refused in a way that its clients understand.
_SOCKS = frozenset((4, 5))

# The beginning of a request line, told generously: whatever a server might understand as HTTP must
# not slip past the hooks as something else, and what is not HTTP after all our codec refuses.
# Empty lines before it, blanks and methods are what servers have been seen to let pass.
_START = rb"[\r\n]{0,64}+[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_HTTP = re.compile(_START + rb"++[ \t]++(?:[/*]|[hH][tT][tT][pP]|[^\r\n]*[ \t]HTTP/)|[\r\n]{65}")
_PERHAPS_HTTP = re.compile(_START + rb"{0,64}+(?:[ \t][^\r\n]{0,8192})?\Z")


def first_layer(context: Context, data: bytes) -> Layer | None:
    """Return what a client speaks to the proxy itself, or None where more bytes are needed."""
    mode = context.mode_spec
    destination = mode_destination(mode, context.environment.hooks.declared.layers)
    named = by_name(mode)
    if data[0] == 0x16 and not context.client_conn.tls_established:
        tls = looks_like_tls(data)
        if tls is None:
            return None
        if tls:
            return _backend_tls_layer(context) if named else TLSLayer(context, destination)
    if named and not _perhaps_http2(data):
        return _backend_http_layer(context)
    if mode.kind == "dns":
        return _dns_layer(context)
    if mode.kind == "socks5" or (mode.kind == "auto" and data[0] in _SOCKS):
        from interceptor.layers.socks5 import SOCKS5Layer

        return SOCKS5Layer(context)
    if _perhaps_http2(data):
        return None
    return HTTPLayer(context, destination, rewrite_host=destination is not None)


def tunnel_layer(
    context: Context, data: bytes, server: ServerSide | None, destination: Destination
) -> Layer | None:
    """Return what a client speaks inside a tunnel, or None where more bytes are needed."""
    if destination[0] in RAW:
        return _raw_layer(context, data, server, destination)
    if _raw_by_option(context, server, destination):
        # In a tunnel it is the client who decides whether TLS is spoken with the server.
        return _raw_layer(context, data, server, destination, encrypted=True)
    chosen = named_layer(context, server, destination)
    if chosen is None and _perhaps_http2(data):
        return None
    if chosen is None and _HTTP.match(data):
        if _ignored(context, server, destination):
            return _tcp_layer(context, server, destination)
        if destination[0] == b"http" and destination[2] == _HTTPS_PORT:
            return NotTLSLayer(context, destination, server=server)
        return _http_layer(context, server, destination)
    tls = looks_like_tls(data)
    if tls:
        return TLSLayer(context, (b"https", *destination[1:]), server)
    if tls is None or (chosen is None and _PERHAPS_HTTP.match(data)):
        return None
    if destination[2] == DNS_PORT and not _ignored(context, server, destination):
        from interceptor.names.streams import looks_like_request

        dns = looks_like_request(data)
        if dns is None:
            return None
        if dns:
            return _dns_layer(context, server, destination)
    return relay_layer(context, server, destination)


def _dns_layer(
    context: Context, server: ServerSide | None = None, destination: Destination | None = None
) -> Layer:
    from interceptor.layers.dns import DNSLayer

    return DNSLayer(context, server, destination)


def _tcp_layer(context: Context, server: ServerSide | None, destination: Destination) -> Layer:
    from interceptor.layers.tcp import TCPLayer

    return TCPLayer(context, server, destination)


def _backend_http_layer(
    context: Context, destination: Destination | None = None, server: ServerSide | None = None
) -> Layer:
    from interceptor.layers.backends import BackendHTTPLayer

    return BackendHTTPLayer(context, destination, server=server)


def _backend_tls_layer(
    context: Context, destination: Destination | None = None, server: ServerSide | None = None
) -> Layer:
    from interceptor.layers.backends import BackendTLSLayer

    return BackendTLSLayer(context, destination, server)


def _perhaps_http2(data: bytes) -> bool:
    """Whether more bytes are needed to tell HTTP/2 from HTTP/1."""
    return len(data) < len(_HTTP2) and _HTTP2.startswith(data)


def _raw_layer(
    context: Context,
    data: bytes,
    server: ServerSide | None,
    destination: Destination,
    *,
    encrypted: bool = False,
) -> Layer | None:
    """Look for nothing but TLS: the client's, whatever the server is spoken to in.

    With ``encrypted`` TLS with the client means TLS with the server. Where there are several
    backends, one of them may be meant by a request of HTTP.
    """
    named = by_name(context.mode_spec)
    if not context.client_conn.tls_established:
        tls = looks_like_tls(data)
        if tls is None:
            return None
        if tls:
            if encrypted:
                return TLSLayer(context, (b"tls", *destination[1:]), server)
            return (_backend_tls_layer if named else TLSLayer)(context, destination, server)
        if named and not encrypted:
            if _HTTP.match(data):
                return _backend_http_layer(context, destination, server)
            if _PERHAPS_HTTP.match(data):
                return None
    if encrypted:
        return _tcp_layer(context, server, destination)
    return relay_layer(context, server, destination)


def relay_layer(context: Context, server: ServerSide | None, destination: Destination) -> Layer:
    """Return the layer for all that is not understood: it passes bytes on as they are.

    But where the peers agreed on HTTP, that is what it is, right or wrong; and where the operator
    has named a layer, it is that one, unless the server is to be left alone.
    """
    named = named_layer(context, server, destination)
    if named is not None and not _ignored(context, server, destination):
        return named
    if http_agreed(context, destination):
        return _http_layer(context, server, destination)
    return _tcp_layer(context, server, destination)


def starttls_layer(
    context: Context,
    server: ServerSide,
    destination: Destination,
    joint: Joint,
    protocol: str,
) -> Layer:
    """Return the layer that opens TLS in the middle of a connection."""
    from interceptor.layers.starttls import StartTLSLayer

    return StartTLSLayer(context, destination, server, joint, protocol)


def _http_layer(context: Context, server: ServerSide | None, destination: Destination) -> Layer:
    if by_name(context.mode_spec):
        return _backend_http_layer(context, destination, server)
    rewrite_host = context.mode_spec.kind == "reverse"
    return HTTPLayer(context, destination, server=server, rewrite_host=rewrite_host)


def _ignored(context: Context, server: ServerSide | None, destination: Destination) -> bool:
    passthrough = context.environment.passthrough
    return passthrough.reason(destination[2], _names(server, destination)) is not None


def _raw_by_option(context: Context, server: ServerSide | None, destination: Destination) -> bool:
    """Whether the option ``tcp_hosts`` names the server."""
    passthrough = context.environment.passthrough
    return passthrough.raw(destination[2], (*_names(server, destination), context.client_conn.sni))


def _names(server: ServerSide | None, destination: Destination) -> tuple[str | None, ...]:
    address = None if server is None else server.server_conn.ip_address
    host = destination[1].decode("utf-8", "surrogateescape")
    return (host, None if address is None else address[0])
