"""Heads and trailers to bytes: hop-by-hop fields removed, framing fields made true.

What a hop-by-hop field is (RFC 9110 section 7.6.1), and what becomes of it here:

- Connection and the fields it names go, but for those that concern the whole message (see
  `interceptor.wire.framing.is_end_to_end`). Keep-Alive, Proxy-Connection and HTTP2-Settings go.
- Proxy-Authorization is meant for us and goes. Proxy-Authenticate and Proxy-Authentication-Info go,
  except with status 407: then we, or the next proxy, are the one who asks.
- Transfer-Encoding stays only where the message is sent chunked; Content-Length only where it is
  the length that is sent. Either is added where it is missing.
- TE goes but for ``trailers``, which then is named by Connection.
- Upgrade goes but where the upgrade is forwarded, which then is named by Connection; never ``h2c``.

Where nothing was changed, every line that stays leaves with the bytes it came with. Fields that
were changed, or came by another protocol, are checked again: nothing can split a message.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from interceptor.errors import LocalProtocolError
from interceptor.model.secrets import quoted
from interceptor.wire.framing import (
    CONNECTION,
    CONTENT_LENGTH,
    FIELD_KINDS,
    HOP_BY_HOP,
    HOST,
    INVALID_NAME,
    PROXY_CHALLENGE,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    Fields,
    connection_options,
    named_by_connection,
    wanted_upgrade,
)
from interceptor.wire.httphead import CONTROLS, DEFAULT_PORTS, is_lenient_name

if TYPE_CHECKING:
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request

CHUNKED: Final = -1
"""Instead of a length: the body is sent chunked."""
AS_ANNOUNCED: Final = -2
"""Instead of a length: there is no body, and the framing fields stay as they are (HEAD, 304)."""
UNFRAMED: Final = -3
"""Instead of a length: neither framing field may be there (1xx, 204, CONNECT, body until EOF)."""
ABSENT: Final = -4
"""Instead of a length: no body, and no field needed to say so; a length of 0 may stay."""


def invalid(message: str) -> LocalProtocolError:
    """Return the error for a field or start line that must not be sent."""
    return LocalProtocolError(message, "header-invalid")


HAS_CODING: Final = 1
HAS_HOST: Final = 2
ASKS_UPGRADE: Final = 4


def survey(fields: Fields) -> int:
    """Return which of this module's flags apply to the fields of a message to be sent."""
    flags = 0
    kinds = FIELD_KINDS
    upgrade = named = False
    for name, value in fields:
        kind = kinds[name]
        if kind:
            if kind == HOST:
                flags |= HAS_HOST
            elif kind == TRANSFER_ENCODING:
                flags |= HAS_CODING
            elif kind == UPGRADE:
                upgrade = True
            elif kind == CONNECTION:
                named = named or b"upgrade" in connection_options(value)
    return flags | ASKS_UPGRADE if upgrade and named else flags


def encode_fields(
    headers: Headers,
    body: int,
    *,
    connection: bytes | None = None,
    upgrade: bool = False,
    challenge: bool = False,
    strict: bool = True,
    request: Request | None = None,
) -> bytes:
    """Return the field block of a message, without the empty line that ends it.

    ``body`` is the length that is announced, or one of this module's constants. ``connection`` is
    what our Connection field says (None: no such field, unless an upgrade or TE needs it).
    ``upgrade`` lets the Upgrade field travel on, ``challenge`` Proxy-Authenticate. ``request``
    gives the Host field where there is none. ``strict`` holds names and values to the grammar;
    else only what could split the message is refused.

    Raises `LocalProtocolError` with code ``header-invalid``.
    """
    fields = headers.fields
    raw = headers.raw
    if raw is None and request is not None and request.http_version_bytes[:6] != b"HTTP/1":
        fields = join_cookies(fields)
    kinds = FIELD_KINDS
    length = b"%d" % body if body >= 0 else b"0" if body == ABSENT else None
    drop: list[int] = []
    replaced: dict[int, bytes] | None = None
    options: bytes | None = None
    connection_index = length_index = -1
    has_length = has_coding = has_host = has_upgrade = has_te = False
    index = -1
    for name, value in fields:
        index += 1
        kind = kinds[name]
        if not kind:
            continue
        if kind == CONTENT_LENGTH:
            if (value == length or body == AS_ANNOUNCED) and not has_length:
                has_length = True
                length_index = index
            else:
                drop.append(index)
        elif kind == HOST:
            if has_host and request is not None:
                raise invalid("there is more than one Host field")
            has_host = True
        elif kind == CONNECTION:
            drop.append(index)
            if options is None:
                options = value
                connection_index = index
            else:
                options += b"," + value
        elif kind == TRANSFER_ENCODING:
            if body in (CHUNKED, AS_ANNOUNCED) and not has_coding and value.lower() == b"chunked":
                has_coding = True
            else:
                drop.append(index)
        elif kind == UPGRADE:
            wanted = wanted_upgrade(value) if upgrade else None
            if wanted is None:
                drop.append(index)
                continue
            has_upgrade = True
            if wanted != value:
                replaced = {} if replaced is None else replaced
                replaced[index] = b"%b: %b\r\n" % (name, wanted)
        elif kind == TE:
            if b"trailers" not in connection_options(value) or has_te:
                drop.append(index)
                continue
            has_te = True
            if value.lower() != b"trailers":
                replaced = {} if replaced is None else replaced
                replaced[index] = b"%b: trailers\r\n" % name
        elif kind == HOP_BY_HOP or (kind == PROXY_CHALLENGE and not challenge):
            drop.append(index)
        elif kind == INVALID_NAME and (strict or not is_lenient_name(name)):
            raise invalid(f"{name!r} is no field name")

    if has_coding and has_length:
        # RFC 9112 section 6.2: never both, not even where they announce what does not come.
        drop = sorted((*drop, length_index))
    if options is not None:
        named = named_by_connection(connection_options(options))
        if named:
            more = [index for index, field in enumerate(fields) if field[0].lower() in named]
            drop = sorted({*drop, *more})
    if has_upgrade or has_te:
        tokens = [] if connection is None else [connection]
        if has_upgrade:
            tokens.append(b"Upgrade")
        if has_te:
            tokens.append(b"TE")
        connection = b", ".join(tokens)
    if connection is not None and connection_index >= 0:
        # Ours takes the place of theirs.
        replaced = {} if replaced is None else replaced
        replaced[connection_index] = b"%b: %b\r\n" % (fields[connection_index][0], connection)
        drop.remove(connection_index)
        connection = None

    if raw is None:
        block = _checked_block(fields, drop, replaced, strict)
    elif replaced is not None:
        block = _edited_block(raw, drop, replaced)
    elif not drop:
        block = raw
    else:
        block = _without_lines(raw, drop)

    if request is not None and not has_host:
        block = b"Host: %b\r\n%b" % (_host_value(request), block)
    if connection is not None:
        block += b"Connection: %b\r\n" % connection
    if body == CHUNKED:
        if not has_coding:
            block += b"Transfer-Encoding: chunked\r\n"
    elif body >= 0 and not has_length:
        block += b"Content-Length: %d\r\n" % body
    return block


def join_cookies(fields: Fields) -> Fields:
    """Return the fields with one Cookie field in place of the several that HTTP/2 may have.

    RFC 9113 section 8.2.3: servers that speak HTTP/1 know of one only.
    """
    cookies = [value for name, value in fields if len(name) == 6 and name.lower() == b"cookie"]
    if len(cookies) < 2:
        return fields
    joined = b"; ".join(cookies)
    out = []
    for field in fields:
        if len(field[0]) == 6 and field[0].lower() == b"cookie":
            if not joined:
                continue
            field = (field[0], joined)
            joined = b""
        out.append(field)
    return tuple(out)


_KEEP_ALIVE: Final = b"\r\nConnection: keep-alive\r\n"


def _without_lines(raw: bytes, drop: list[int]) -> bytes:
    if len(drop) == 1:
        # The most frequent case by far. That the one line to be dropped is this one follows from
        # a Connection field being dropped whenever there is one.
        shorter = raw.replace(_KEEP_ALIVE, b"\r\n", 1)
        if len(shorter) != len(raw):
            return shorter
    lines = raw.split(b"\r\n")
    for index in reversed(drop):
        del lines[index]
    return b"\r\n".join(lines)


def _edited_block(raw: bytes, drop: list[int], replaced: dict[int, bytes]) -> bytes:
    lines = raw.split(b"\r\n")
    del lines[-1]
    dropped = frozenset(drop)
    return b"".join(
        [
            replaced[index] if index in replaced else line + b"\r\n"
            for index, line in enumerate(lines)
            if index not in dropped
        ]
    )


def _checked_block(
    fields: Fields, drop: list[int], replaced: dict[int, bytes] | None, strict: bool
) -> bytes:
    """Join fields that a hook or another protocol may have touched."""
    if drop or replaced:
        kept = replaced or {}
        dropped = frozenset(drop)
        lines = [
            kept[index] if index in kept else b"%b: %b\r\n" % field
            for index, field in enumerate(fields)
            if index not in dropped
        ]
    else:
        lines = [b"%b: %b\r\n" % field for field in fields]
    block = b"".join(lines)
    # Names were checked one by one. Then each line has one CR and one LF, or a value has more.
    if len(block) - len(block.translate(None, CONTROLS)) != 2 * len(lines):
        breakers = block.count(b"\r") + block.count(b"\n") + block.count(b"\0")
        if strict or breakers != 2 * len(lines):
            raise invalid("a field value holds control bytes")
    return block


# Trailers

_FORBIDDEN_TRAILERS = frozenset(
    b"age authorization cache-control cookie date expect expires host location max-forwards pragma"
    b" proxy-authenticate proxy-authentication-info range retry-after set-cookie trailer vary"
    b" warning www-authenticate connection keep-alive proxy-authorization proxy-connection te"
    b" transfer-encoding upgrade http2-settings content-length content-encoding content-type"
    b" content-range".split()
)


def is_forbidden_trailer(name: bytes) -> bool:
    """Whether a field must not be a trailer; RFC 9110 section 6.5.1."""
    name = name.lower()
    return name in _FORBIDDEN_TRAILERS or name.startswith(b"if-")


def encode_last_chunk(trailers: Headers | None, strict: bool) -> bytes:
    """Return what ends a chunked body; trailers that must not be there are left out."""
    if not trailers:
        return b"0\r\n\r\n"
    fields = tuple(field for field in trailers.fields if not is_forbidden_trailer(field[0]))
    raw = trailers.raw
    if raw is None or len(fields) != len(trailers.fields):
        for name, _ in fields:
            if FIELD_KINDS[name] == INVALID_NAME and (strict or not is_lenient_name(name)):
                raise invalid(f"{name!r} is no field name")
        raw = _checked_block(fields, [], None, strict)
    return b"0\r\n%b\r\n" % raw


# Start lines

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++ [^\x00-\x20\x7f]++ HTTP/1\.[01]\r\n")


def encode_authority(request: Request, with_port: bool = False) -> bytes:
    """Return host and port as a Host field or a target has them; the default port is left out."""
    host = request.host_bytes
    if b":" in host:
        host = b"[%b]" % host
    port = request.port
    if not with_port and port == DEFAULT_PORTS.get(request.scheme_bytes):
        return host
    return b"%b:%d" % (host, port)


_AUTHORITY = re.compile(rb"[^\x00-\x20\x7f/?#@]+")


def _host_value(request: Request) -> bytes:
    # RFC 9112 section 3.2: it is what the target URI names.
    value = b""
    if request.http_version_bytes[:6] != b"HTTP/1":
        # RFC 9113 section 8.3.1: what the client named, wherever the request goes.
        value = request.authority_bytes
    if not value:
        value = encode_authority(request, with_port=request.method_bytes == b"CONNECT")
    if _AUTHORITY.fullmatch(value) is None:
        raise invalid(f"{value!r} is no host")
    return value


def encode_request_line(request: Request, form: str, version: bytes) -> bytes:
    """Return the request line; ``form`` is ``origin``, ``absolute`` or ``authority``.

    The asterisk form is the origin form of the path ``*``, and in absolute form that of no path
    (RFC 9112 section 3.2.4).
    """
    path = request.path_bytes
    if form == "authority":
        target = encode_authority(request, with_port=True)
    elif form == "absolute":
        if path == b"*":
            path = b""
        target = b"%b://%b%b" % (request.scheme_bytes, encode_authority(request), path)
    else:
        target = path or b"/"
    line = b"%b %b %b\r\n" % (request.method_bytes, target, version)
    if _REQUEST_LINE.fullmatch(line) is None:
        raise invalid(f"{quoted(line)} is no request line")
    return line


_STATUS_LINE = re.compile(
    rb"[Hh][Tt][Tt][Pp]/1\.[01] [1-9][0-9][0-9](?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n"
)


def _encode_status_line(version: bytes, status: int, reason: bytes, bare: bool) -> bytes:
    # RFC 9112 section 4: the space is there even without a reason, unless it was not there either.
    line = b"%b %d%b%b\r\n" % (version, status, b"" if bare else b" ", reason)
    if _STATUS_LINE.fullmatch(line) is None:
        raise invalid(f"{quoted(line)} is no status line")
    return line


_cached_status_line = lru_cache(maxsize=256)(_encode_status_line)


def encode_status_line(version: bytes, status: int, reason: bytes, bare: bool = False) -> bytes:
    """Return the status line; ``bare`` leaves out the space before an empty reason."""
    if len(reason) > 64:
        return _encode_status_line(version, status, reason, False)
    return _cached_status_line(version, status, reason, bare)
