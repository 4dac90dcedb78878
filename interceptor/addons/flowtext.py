"""Flows as text for people: a line, the headers, the bodies cut to a screen.

Everything that came from a peer is escaped, so that it cannot steer a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from interceptor.filters.content import body_length, decoded_head
from interceptor.filters.operators import flow_duration
from interceptor.model.charsets import declared
from interceptor.model.connections import format_address
from interceptor.model.secrets import mask_url

if TYPE_CHECKING:
    from interceptor.model.connectionflow import ConnectionFlow
    from interceptor.model.flow import Flow, HTTPFlow
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response
    from interceptor.model.message import Message
    from interceptor.model.messageflow import MessageFlow
    from interceptor.model.tcpflow import TCPFlow
    from interceptor.model.udpflow import UDPFlow

URL_LIMIT: Final = 2000
"""Characters of a URL that are shown."""

VALUE_LIMIT: Final = 2000
"""Characters of a header's value that are shown."""

BODY_BYTES: Final = 16 * 1024
"""Decoded bytes of a body that are looked at."""

BODY_LINES: Final = 40
"""Lines of a body that are shown."""

BODY_COLUMNS: Final = 200
"""Characters of a body's line that are shown."""

HEXDUMP_BYTES: Final = 256
"""Bytes of a binary body that are shown."""

INDENT: Final = "    "


class Style:
    """The colours of the output; `PLAIN` has none."""

    __slots__ = ("_classes", "dim", "end", "error", "name", "strong")

    def __init__(self, colour: bool) -> None:
        def code(number: str) -> str:
            return f"\x1b[{number}m" if colour else ""

        self.dim = code("2")
        self.strong = code("1")
        self.name = code("36")
        self.error = code("31")
        self.end = code("0")
        self._classes = {1: code("36"), 2: code("32"), 3: code("36"), 4: code("33"), 5: code("31")}

    def of_status(self, status: int) -> str:
        """The colour of a status code's class."""
        return self._classes.get(status // 100, self.error)


PLAIN: Final = Style(False)
COLOURED: Final = Style(True)


def escape(text: str) -> str:
    r"""``text`` with all that is not printable as ``\x1b``, ``\u202e`` or the like.

    That goes for control characters, invisible and direction-changing ones, and for bytes that
    were no UTF-8, which show as they came (``\xff``).
    """
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else _escaped(c) for c in text])


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if number > 0xFFFF:
        return f"\\U{number:08x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def cut(text: str, limit: int) -> str:
    """``text``, or its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def size_text(size: int) -> str:
    """A number of bytes in at most five characters or so: ``512b``, ``1.2k``, ``34m``."""
    if size < 1024:
        return f"{size}b"
    number = size / 1024
    for unit in "kmg":
        if number < 10:
            return f"{number:.1f}{unit}"
        if number < 1000:
            return f"{number:.0f}{unit}"
        number /= 1024
    return f"{number:.1f}t"


def milliseconds_text(seconds: float) -> str:
    """A time in milliseconds, with one decimal where it is short."""
    number = seconds * 1000
    return f"{number:.1f}ms" if number < 10 else f"{number:.0f}ms"


# The one line.


def summary(flow: HTTPFlow, style: Style = PLAIN, reveal: bool = False) -> str:
    """Client, method, URL, status, content type, size and milliseconds of a flow that ended.

    The fields are always in this order, one space apart, ``-`` for what there is not. A flow that
    failed ends in ``error:``, the error's code and its message; one whose server was trusted
    without proof, because an option says so, in ``unverified``; a gRPC call that
    failed has its status.
    """
    response = flow.response
    start = _start(flow, style, reveal)
    kind = None
    if response is None:
        fields = f"{start} - - -"
    else:
        status = response.status_code
        kind = response.headers.get_bytes(b"content-type")
        fields = (
            f"{start} {style.of_status(status)}{status}{style.end} {_media_type(kind)} "
            f"{size_text(body_length(response))}"
        )
    duration = flow_duration(flow)
    fields += " -" if duration is None else f" {milliseconds_text(duration)}"
    if kind is not None and kind[:16] == b"application/grpc" and response is not None:
        grpc = response.grpc_status
        if grpc:
            fields += f" {style.error}grpc-status: {grpc}{style.end}"
    if flow.server_conn.ssl_verification_error is not None and flow.error is None:
        fields += f" {style.error}unverified{style.end}"
    return fields + error_text(flow, style)


def is_refused(flow: HTTPFlow) -> bool:
    """Whether a hook has refused a CONNECT request."""
    return flow.response is not None and not 200 <= flow.response.status_code < 300


def tunnel_summary(flow: HTTPFlow, style: Style = PLAIN, reveal: bool = False) -> str:
    """The line of a CONNECT request: ``tunnel`` in the place of a status."""
    return f"{_start(flow, style, reveal)} tunnel"


def tcp_summary(flow: TCPFlow, style: Style = PLAIN) -> str:
    """Client, ``TCP``, server, why TLS was left alone, bytes from either peer, milliseconds."""
    reason = escape(str(flow.metadata.get("passthrough", "-")))
    return _relayed("TCP", reason, flow, style)


def udp_summary(flow: UDPFlow, style: Style = PLAIN) -> str:
    """Client, ``UDP``, server, ``-``, bytes from either peer, milliseconds."""
    return _relayed("UDP", "-", flow, style)


def _relayed(word: str, reason: str, flow: TCPFlow | UDPFlow, style: Style) -> str:
    client, server = format_address(flow.client_conn.address), _server(flow)
    fields = f"{style.dim}{client}{style.end} {style.strong}{word}{style.end} {server} {reason}"
    return _with_totals(fields, flow, style)


def protocol_summary(flow: MessageFlow, style: Style = PLAIN) -> str:
    """Client, protocol, server, messages and bytes from either peer, milliseconds."""
    counts = f"{flow.messages_from_client} {flow.messages_from_server}"
    return _with_totals(f"{_protocol(flow, style)} {counts}", flow, style)


def _with_totals(fields: str, flow: ConnectionFlow[Any], style: Style) -> str:
    fields += f" {size_text(flow.bytes_from_client)} {size_text(flow.bytes_from_server)}"
    end = flow.timestamp_end
    if end is None:
        return f"{fields} -{error_text(flow, style)}"
    duration = milliseconds_text(max(0.0, end - flow.timestamp_created))
    return f"{fields} {duration}{error_text(flow, style)}"


def protocol_message_line(flow: MessageFlow, style: Style = PLAIN) -> str:
    """Client, protocol, server, which way the latest message goes, and what it says."""
    message = flow.message
    sign = ">" if message.from_client else "<"
    return f"{_protocol(flow, style)} {sign} {escape(cut(str(message), VALUE_LIMIT))}"


def _protocol(flow: MessageFlow, style: Style) -> str:
    client = format_address(flow.client_conn.address)
    return (
        f"{style.dim}{client}{style.end} {style.strong}{flow.type.upper()}{style.end} "
        f"{_server(flow)}"
    )


def _server(flow: Flow) -> str:
    return escape(cut(format_address(flow.server_conn.address), URL_LIMIT))


def error_text(flow: Flow, style: Style) -> str:
    """What ends the line of a flow that failed."""
    error = flow.error
    if error is None:
        return ""
    code = f"{escape(error.code)}: " if error.code else ""
    return f" {style.error}error: {code}{escape(cut(error.msg, VALUE_LIMIT))}{style.end}"


def _is_unread(request: Request) -> bool:
    """Whether it stands for one whose head could not be understood."""
    return request.method_bytes == b"?" and not request.host_bytes


def _start(flow: HTTPFlow, style: Style, reveal: bool) -> str:
    client = format_address(flow.client_conn.address)
    method, url = flow.request.method, flow.request.pretty_url
    if _is_unread(flow.request):
        url = "-"
    if not method.isprintable():
        method = escape(method)
    if len(url) > URL_LIMIT:
        url = cut(url, URL_LIMIT)
    if not reveal:
        url = mask_url(url)
    if not url.isprintable():
        url = escape(url)
    return f"{style.dim}{client}{style.end} {style.strong}{method}{style.end} {url}"


def _media_type(value: bytes | None) -> str:
    if not value:
        return "-"
    kind = value.partition(b";")[0].strip()[:100].decode("utf-8", "surrogateescape")
    return escape(kind).replace(" ", "") or "-"


# Headers.

# Fields whose value lets its holder in, by what their names have in common.
_SECRETS: Final = re.compile(
    rb"authorization|(?:^|[-_])auth(?:$|[-_])|token|api[-_]?key|secret|passw(?:or)?d|credential"
    rb"|signature|(?:^|[-_])(?:jwt|assertion)(?:$|[-_])"
)
# A page has no other field than this one for its credentials: names of protocols are shorter.
_PROTOCOLS: Final = b"sec-websocket-protocol"
_LONGEST_PROTOCOL: Final = 32
_WITH_URLS: Final = frozenset(
    (b"referer", b"location", b"content-location", b"link", b"refresh", b"origin")
)
_COOKIES: Final = frozenset((b"cookie", b"cookie2", b"set-cookie", b"set-cookie2"))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,30}) +\S")
_COOKIE_ATTRIBUTES: Final = frozenset(
    ("expires", "max-age", "domain", "path", "secure", "httponly", "samesite", "partitioned")
)


def masked(name: bytes, value: str) -> str:
    """A field's value without what would let a reader act in the sender's name.

    Of credentials the scheme stays, of cookies the names and the attributes.
    """
    lower = name.lower()
    if lower == _PROTOCOLS:
        parts = [part.strip() for part in value.split(",")]
        return ", ".join([part if len(part) <= _LONGEST_PROTOCOL else "…" for part in parts])
    if _SECRETS.search(lower) is not None:
        scheme = _SCHEME.match(value)
        return f"{scheme.group(1)} …" if scheme else "…"
    if lower in _COOKIES:
        first, *rest = value.split(";")
        if lower in (b"cookie", b"cookie2"):
            return ";".join([_masked_cookie(part) for part in (first, *rest)])
        return ";".join([_masked_cookie(first), *[_masked_attribute(part) for part in rest]])
    return mask_url(value) if lower in _WITH_URLS else value


def _masked_cookie(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}=…" if equals else " …"


def _masked_attribute(part: str) -> str:
    known = part.partition("=")[0].strip().lower() in _COOKIE_ATTRIBUTES
    return part if known else _masked_cookie(part)


def request_head(request: Request, style: Style = PLAIN, reveal: bool = False) -> Iterator[str]:
    """The lines of a request's head, each with ``>`` in front; ``reveal`` shows credentials."""
    if _is_unread(request):
        return
    target = cut(request.path if request.method != "CONNECT" else request.authority, URL_LIMIT)
    if not reveal:
        target = mask_url(target)
    first = f"{request.method} {target} {request.http_version}"
    yield f"{INDENT}> {style.strong}{escape(first)}{style.end}"
    yield from _fields(request, ">", style, reveal)


def response_head(response: Response, style: Style = PLAIN, reveal: bool = False) -> Iterator[str]:
    """The lines of a response's head, each with ``<`` in front; ``reveal`` shows credentials."""
    status = style.of_status(response.status_code)
    first = f"{response.http_version} {response.status_code} {cut(response.reason, VALUE_LIMIT)}"
    yield f"{INDENT}< {status}{escape(first)}{style.end}"
    yield from _fields(response, "<", style, reveal)


def _fields(message: Message, sign: str, style: Style, reveal: bool) -> Iterator[str]:
    yield from _field_lines(message.headers, sign, style, reveal)
    if message.trailers:
        yield f"{INDENT}{sign} {style.dim}(after the body){style.end}"
        yield from _field_lines(message.trailers, sign, style, reveal)
    if message.anomalies:
        yield f"{INDENT}{sign} {style.error}(faults: {', '.join(message.anomalies)}){style.end}"


def _field_lines(headers: Headers, sign: str, style: Style, reveal: bool) -> Iterator[str]:
    for name, raw in headers.fields:
        value = raw.decode("utf-8", "surrogateescape")
        if not reveal:
            value = masked(name, value)
        shown = escape(cut(name.decode("utf-8", "surrogateescape"), VALUE_LIMIT))
        yield f"{INDENT}{sign} {style.name}{shown}{style.end}: {escape(cut(value, VALUE_LIMIT))}"


# Bodies.


def body_lines(message: Message, style: Style = PLAIN) -> Iterator[str]:
    """The beginning of a body with its content codings removed, as text or as a hex dump."""
    size = body_length(message)
    if message.body_object is None:
        if size:
            yield f"{INDENT}{style.dim}({size} bytes, streamed){style.end}"
        return
    if not size:
        return
    # One byte more than is shown says whether there is more.
    data = decoded_head(message, BODY_BYTES + 1) or b""
    whole = len(data) <= BODY_BYTES
    text = _as_text(data[:BODY_BYTES], message.headers.get("content-type", ""))
    if text is None:
        yield from _hexdump(data[:HEXDUMP_BYTES])
        whole = len(data) <= HEXDUMP_BYTES
    else:
        lines = text.splitlines()
        whole = whole and len(lines) <= BODY_LINES
        for line in lines[:BODY_LINES]:
            shown = cut(line.replace("\t", "    "), BODY_COLUMNS)
            whole = whole and shown[-1:] != "…"
            yield INDENT + escape(shown)
    if not whole:
        yield f"{INDENT}{style.dim}(cut: {size} bytes in all as sent){style.end}"


def _as_text(data: bytes, content_type: str) -> str | None:
    """``data``, the beginning of a body, as text; None where it is binary."""
    charset = declared(content_type)
    if charset is None:
        if b"\0" in data:
            return None
        charset = "utf-8"
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        # The cut may have gone through a character.
        if len(data) == BODY_BYTES and error.start >= len(data) - 4:
            return data[: error.start].decode(charset, "replace")
    if content_type.startswith("text/"):
        return data.decode("latin-1")
    return None


def _hexdump(data: bytes) -> Iterator[str]:
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        shown = "".join([chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row])
        yield f"{INDENT}{offset:04x}  {row.hex(' '):<47}  {shown}"
