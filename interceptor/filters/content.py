"""Bounded looks at bodies: what filters search and printers show, at a bounded price."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interceptor.errors import InterceptorError
from interceptor.model.body import Body
from interceptor.model.codings import Decoder, normalize
from interceptor.model.message import Message

SEARCH_LIMIT: Final = 8 * 1024 * 1024
"""Decoded bytes at the beginning of a body that are searched."""

# One slice of coded data makes a few MiB at most, so that stopping after a slice is soon enough.
_SLICE: Final = 4096
_SLACK: Final = 16 * 1024 * 1024

_SECONDS: Final = 0.1
"""Time of the processor that decoding may take for one search."""


def body_length(message: Message) -> int:
    """Bytes of the body with its content codings: of the body that is held, else of that seen."""
    body = message.body_object
    if body is None or message.stream:
        return message.body_size
    return len(body)


def searchable_content(message: Message) -> bytes | None:
    """The first `SEARCH_LIMIT` bytes of the decoded body; None where there is no body.

    A body in memory is decoded once for this and for `Message.content`. What cannot be decoded is
    searched as it is. Never raises.
    """
    body = message.body_object
    if body is None:
        return None
    if len(body) <= SEARCH_LIMIT and not (isinstance(body, Body) and body.spooled):
        before = message.content_error
        content = message.get_content(limit=SEARCH_LIMIT)
        if message.content_error is None:
            return content
        message.content_error = before
    return decoded_head(message, SEARCH_LIMIT)


def decoded_head(message: Message, limit: int) -> bytes | None:
    """The first ``limit`` bytes of the decoded body; None where there is no body.

    Decodes, and reads from a file, no more than that needs. Damaged data ends the result early;
    where none of it can be decoded, the result is the raw body's beginning. Never raises.
    """
    body = message.body_object
    if body is None:
        return None
    coding = ""
    if message.headers.get_bytes(b"content-encoding") is not None:
        coding = normalize(message.headers["content-encoding"])
    if not coding:
        return body[:limit] if isinstance(body, bytes) else _head(body.chunks(), limit)
    return _head(_decoded(body, coding, limit), limit) or _head(_slices(body), limit)


def _head(chunks: Iterator[bytes], limit: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    try:
        for chunk in chunks:
            parts.append(chunk)
            length += len(chunk)
            if length >= limit:
                break
    except InterceptorError:
        # Damaged coding, an unknown one, or a temporary file that went wrong.
        pass
    return b"".join(parts)[:limit]


def _slices(body: bytes | Body) -> Iterator[bytes]:
    if isinstance(body, Body):
        yield from body.chunks(_SLICE)
    else:
        for start in range(0, len(body), _SLICE):
            yield body[start : start + _SLICE]


def _decoded(body: bytes | Body, coding: str, limit: int) -> Iterator[bytes]:
    decoder = Decoder(coding, limit + _SLACK, seconds=_SECONDS)
    for piece in _slices(body):
        yield decoder.feed(piece)
