"""WebSockets as text for people: a line for each that ended, and its messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from interceptor.addons.flowtext import (
    BODY_COLUMNS,
    HEXDUMP_BYTES,
    INDENT,
    PLAIN,
    URL_LIMIT,
    VALUE_LIMIT,
    Style,
    cut,
    escape,
    milliseconds_text,
    size_text,
)
from interceptor.model.connections import format_address
from interceptor.model.secrets import mask_url

if TYPE_CHECKING:
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.websocket import WebSocketMessage

_TEXT_BYTES: Final = 4 * BODY_COLUMNS
"""Bytes at the beginning of a text that are looked at: as many as its shown characters can have."""


def websocket_summary(flow: HTTPFlow, style: Style = PLAIN, reveal: bool = False) -> str:
    """Client, ``WS``, URL, messages and bytes from either peer, close code, milliseconds.

    The line ends in who closed, ``client``, ``server`` or ``proxy``, and in what went wrong, if
    anything did.
    """
    data = flow.websocket
    client = format_address(flow.client_conn.address)
    url = cut(flow.request.pretty_url, URL_LIMIT)
    url = escape(url if reveal else mask_url(url))
    fields = (
        f"{style.dim}{client}{style.end} {style.strong}WS{style.end} {url} "
        f"{data.messages_from_client}/{data.messages_from_server} "
        f"{size_text(data.bytes_from_client)} {size_text(data.bytes_from_server)} "
        f"{'-' if data.close_code is None else data.close_code}"
    )
    start, end = flow.request.timestamp_start, data.timestamp_end
    took = "-" if end is None else milliseconds_text(max(0.0, end - start))
    closer = {True: "client", False: "server", None: "proxy"}[data.closed_by_client]
    line = f"{fields} {took} {closer}"
    error = flow.error
    if error is None:
        return line
    code = f"{escape(error.code)}: " if error.code else ""
    return f"{line} {style.error}error: {code}{escape(cut(error.msg, VALUE_LIMIT))}{style.end}"


def message_lines(flow: HTTPFlow, message: WebSocketMessage, style: Style = PLAIN) -> Iterator[str]:
    """The beginning of a message as text or as a hex dump, after a line that says whose it is."""
    client = format_address(flow.client_conn.address)
    arrow = ">" if message.from_client else "<"
    content = message.content
    said = f"{message.type} {size_text(len(content))}"
    if message.injected:
        said += " injected"
    if message.dropped:
        said += " dropped"
    yield f"{style.dim}{client}{style.end} {style.strong}WS{style.end} {arrow} {said}"
    if message.is_text:
        text = content[:_TEXT_BYTES].decode("utf-8", "replace")
        yield INDENT + escape(cut(text, BODY_COLUMNS))
        return
    for offset in range(0, min(len(content), HEXDUMP_BYTES), 16):
        yield f"{INDENT}{offset:04x}  {content[offset : offset + 16].hex(' ')}"
