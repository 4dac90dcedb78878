"""Messages to field lists of HTTP/2, from whatever version they came by; RFC 9113 section 8.

Names in lower case, no fields about the connection, pseudo-headers in front. All of it is checked
again, as a hook or another protocol may have touched it: nothing can split a message.
"""

from __future__ import annotations

import re
from typing import Final

from interceptor.errors import LocalProtocolError
from interceptor.model.http import Request
from interceptor.model.secrets import quoted
from interceptor.wire.framing import (
    CONNECTION,
    CONTENT_LENGTH,
    FIELD_KINDS,
    HOST,
    INVALID_NAME,
    PROXY_CHALLENGE,
    TE,
    Fields,
    connection_options,
    named_by_connection,
)
from interceptor.wire.http2fields import (
    BREAKERS,
    CLEAN_VALUE,
    CONNECTION_SPECIFIC,
    LENIENT_TARGET,
    TOKEN,
)
from interceptor.wire.httphead import DEFAULT_PORTS, is_lenient_name


def invalid(message: str) -> LocalProtocolError:
    """Return the error for what must not be sent."""
    return LocalProtocolError(message, "header-invalid")


_MAX_LENGTH_DIGITS: Final = 18

AS_ANNOUNCED: Final = -2
"""Instead of a body's length: Content-Length stays as it is."""


class Prepared:
    """Fields as they are sent, and the Content-Length among them; -1 where there is none."""

    __slots__ = ("fields", "length")

    def __init__(self, fields: Fields, length: int) -> None:
        self.fields = fields
        self.length = length


def prepare_fields(
    fields: Fields, challenge: bool, length: int | None, announce: bool = False
) -> Prepared:
    """Return a message's fields as HTTP/2 has them; RFC 9113 section 8.2.

    ``challenge`` lets Proxy-Authenticate stay. ``length`` is that of the body, None if unknown, or
    `AS_ANNOUNCED`; a Content-Length that is not it goes, but for ``announce``: then there is no
    body, and it tells what there would be. The host field goes: `authority_of` is in its place.

    Raises `LocalProtocolError` with code ``header-invalid``.
    """
    out: list[tuple[bytes, bytes]] = []
    kinds = FIELD_KINDS
    named: frozenset[bytes] = frozenset()
    announced = -1
    has_te = False
    for field in fields:
        name, value = field
        kind = kinds[name]
        lower = name.lower()
        if lower != name:
            field = (lower, value)
        if kind:
            if kind == CONNECTION:
                named |= named_by_connection(connection_options(value))
                continue
            if (
                kind == HOST
                or kind in CONNECTION_SPECIFIC
                or (kind == PROXY_CHALLENGE and not challenge)
            ):
                continue
            if kind == TE:
                if has_te or b"trailers" not in connection_options(value):
                    continue
                has_te = True
                field = (lower, b"trailers")
            elif kind == CONTENT_LENGTH:
                # What came by HTTP/1 may be written in a way that not all can read.
                if announced >= 0 or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
                    continue
                number = int(value)
                if not announce and length != AS_ANNOUNCED and number != length:
                    continue
                announced = number
                field = (lower, b"%d" % number)
            elif kind == INVALID_NAME and (name[:1] == b":" or not is_lenient_name(name)):
                raise invalid(f"{name!r} is no field name")
        if CLEAN_VALUE.fullmatch(value) is None:
            if BREAKERS.search(value) is not None:
                raise invalid(f"the value of {name!r} holds CR, LF or NUL")
            # RFC 9113 section 8.2.1
            field = (lower, value.strip(b" \t"))
        out.append(field)
    if named:
        out = [field for field in out if field[0] not in named]
    return Prepared(tuple(out), announced)


def authority_of(request: Request) -> bytes:
    """Return what a request's ``:authority`` is.

    It is what the client named: RFC 9113 section 8.3.1 has it made of the Host field of a request
    that came by HTTP/1. Raises `LocalProtocolError` with code ``header-invalid``.
    """
    if request.first_line_format == "authority":
        authority: bytes | None = request.authority_bytes
    elif request.http_version_bytes[:6] != b"HTTP/1":
        # A Host field that a script has set counts here too.
        authority = request.host_header_bytes
    else:
        authority = request.headers.get_bytes(b"host")
    if not authority:
        host = request.host_bytes
        if b":" in host:
            host = b"[%b]" % host
        port = request.port
        default = DEFAULT_PORTS.get(request.scheme_bytes)
        authority = host if port == default else b"%b:%d" % (host, port)
    if _AUTHORITY_VALUE.fullmatch(authority) is None:
        raise invalid(f"{quoted(authority)} is no authority")
    return authority


_AUTHORITY_VALUE = re.compile(rb"[^\x00-\x20\x7f/?#@,]+")


def pseudo_headers(
    request: Request, order: tuple[bytes, ...], protocol: bytes | None
) -> list[tuple[bytes, bytes]]:
    """Return a request's pseudo-headers in this order; RFC 9113 section 8.3.1.

    Raises `LocalProtocolError` with code ``header-invalid``.
    """
    method = request.method_bytes
    if TOKEN.fullmatch(method) is None:
        raise invalid(f"{method[:80]!r} is no method")
    values = {b":method": method, b":authority": authority_of(request)}
    if method != b"CONNECT" or protocol is not None:
        path = request.path_bytes or b"/"
        if LENIENT_TARGET.fullmatch(path) is None and path != b"*":
            raise invalid(f"{quoted(path)} is no path")
        values[b":scheme"] = request.scheme_bytes
        values[b":path"] = path
    if protocol is not None:
        if TOKEN.fullmatch(protocol) is None:
            raise invalid(f"{protocol[:80]!r} is no protocol")
        values[b":protocol"] = protocol
    pseudo = [(name, values.pop(name)) for name in order if name in values]
    if values:
        pseudo.extend(values.items())
    return pseudo
