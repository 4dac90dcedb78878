"""What requests and responses have in common: headers, a body, and lazy views of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from interceptor.errors import DecodeError
from interceptor.model import charsets, codings, elsewhere
from interceptor.model.body import Body
from interceptor.model.codings import DEFAULT_LIMIT, DecodeLimits
from interceptor.model.headers import Headers, compile_bytes

_VERSION = re.compile(rb"HTTP/[0-9](\.[0-9])?")

_M = TypeVar("_M", bound="Message")

_LONGEST = 10.0
"""Seconds of a processor that a thread may take to decode a body."""

_LARGE = 4 * 1024 * 1024
"""Decoded bytes beyond which it is worth the time to give back what making them took."""

_Decoded = tuple[bytes | Body, str, DecodeLimits, bytes | None, str | None]
"""What was decoded (body, content coding, limits) and what came of it (content, or an error)."""


class Message:
    """A request or a response.

    ``raw_content`` is the body as on the wire but for transfer codings; ``content`` has the content
    codings removed and ``text`` is that decoded. Nothing is decoded until it is asked for. A body
    of None is not there (not yet, or because it streams); ``b""`` is an empty one.

    ``stream`` set in a headers event makes the body stream: True, or a callable that is given each
    chunk. ``anomalies`` names the faults that were let pass. ``body_size`` counts the body bytes
    seen on the wire. ``decode_limits`` bound what decoding may produce and take.
    ``content_error`` says, code first, why `content` is not the decoded body. Timestamps are
    seconds since the epoch.
    """

    __slots__ = (
        "_body",
        "_decoded",
        "anomalies",
        "body_size",
        "content_error",
        "decode_limits",
        "headers",
        "http_version_bytes",
        "stream",
        "timestamp_end",
        "timestamp_start",
        "trailers",
    )

    headers: Headers
    http_version_bytes: bytes
    trailers: Headers | None
    timestamp_start: float
    timestamp_end: float | None
    stream: bool | Callable[[bytes], Any]
    anomalies: tuple[str, ...]
    content_error: str | None
    decode_limits: DecodeLimits
    body_size: int
    _body: bytes | Body | None
    _decoded: _Decoded | None

    @property
    def http_version(self) -> str:
        """The protocol version as text, such as ``HTTP/1.1``."""
        return self.http_version_bytes.decode("ascii", "surrogateescape")

    @http_version.setter
    def http_version(self, value: str | bytes) -> None:
        data = to_bytes(value)
        if _VERSION.fullmatch(data) is None:
            raise ValueError(f"{value!r} is not an HTTP version; expected HTTP/1.1 or the like")
        self.http_version_bytes = data

    # The body

    @property
    def body_object(self) -> bytes | Body | None:
        """The body as it is held: bytes, a `Body` that may be in a file, or None.

        The same object as before means that nobody changed the body.
        """
        return self._body

    def attach_body(self, body: bytes | Body | None) -> None:
        """Make this the body and leave the headers alone: for what came from the wire."""
        self._body = body
        self._decoded = None
        self.content_error = None

    @property
    def raw_content(self) -> bytes | None:
        """The body with its content codings; reads it into memory if it is in a file.

        Assigning updates Content-Length, unless there is a Transfer-Encoding.
        """
        body = self._body
        return body.getvalue() if isinstance(body, Body) else body

    @raw_content.setter
    def raw_content(self, value: bytes | None) -> None:
        data = _body_bytes(value)
        self.attach_body(data)
        if data is not None and self.headers.get_bytes(b"transfer-encoding") is None:
            self._set_length(len(data))

    def _set_length(self, length: int) -> None:
        # An equal value is left alone, so that the header block stays as it was received.
        if self.headers.get_all("content-length") != [str(length)]:
            self.headers["Content-Length"] = str(length)

    body = raw_content
    """The old name of ``raw_content``."""

    @property
    def content_limit(self) -> int:
        """How many bytes decoding may produce."""
        return self.decode_limits.size

    @content_limit.setter
    def content_limit(self, value: int) -> None:
        self.decode_limits = replace(self.decode_limits, size=value)
        self._decoded = None

    def get_content(self, strict: bool = False, limit: int | None = None) -> bytes | None:
        """Return the body with its content codings removed.

        ``limit`` bounds the decoded size in bytes, however long it takes; without it
        ``decode_limits`` hold, but for what has been decoded already. Damaged or unknown coding,
        or more than that: `DecodeError` if ``strict``, else the raw bytes are returned and
        ``content_error`` says why.
        """
        body = self._body
        if body is None:
            return None
        coding = self._content_coding()
        if not coding:
            self.content_error = None
            return body.getvalue() if isinstance(body, Body) else body
        limits = self.decode_limits
        if limit is not None:
            limits = replace(limits, size=limit, seconds=None)
        known = self._decoded
        if known is None or known[0] is not body or known[1] != coding:
            known = None
        elif known[4] is not None:
            if known[2] != limits:
                known = None
        elif limit is not None and len(known[3] or b"") > limit:
            known = None
        if known is None:
            began = time.thread_time()
            known = self._decoded = _decode(body, coding, limits)
            strain = self.decode_limits.strain
            if strain is not None:
                strain.add(time.thread_time() - began)
        return self._known_content(known, strict)

    def _known_content(self, known: _Decoded, strict: bool) -> bytes:
        body, _, _, content, error = known
        self.content_error = error
        if strict and error is not None:
            code, _, reason = error.partition(": ")
            raise DecodeError(reason, code)
        if content is not None:
            return content
        return body.getvalue() if isinstance(body, Body) else body

    async def load_content(self, limit: int = DEFAULT_LIMIT) -> bytes | None:
        """Have a thread of the proxy read and decode the body; return it as `get_content` does.

        For bodies that may be too large to hold up everybody else: for an ``async`` hook, as in
        ``await flow.response.load_content()``. ``limit`` bounds the decoded size in bytes. What was
        decoded stays: ``content`` and ``text`` give it then. Raises `RuntimeError` where no proxy
        runs.
        """
        body, coding = self._body, self._content_coding()
        known = self._decoded
        if not body or (coding and known is not None and known[0] is body and known[4] is None):
            return self.get_content(limit=limit)
        # Whatever becomes of the flow meanwhile, the copy's file stays open.
        readable = body.copy() if isinstance(body, Body) else body
        if not coding:
            if isinstance(readable, Body):
                return await elsewhere.run(readable.getvalue)
            return readable
        limits = replace(self.decode_limits, size=limit, seconds=_LONGEST)
        made = await elsewhere.run(_decode, readable, coding, limits)
        made = (body, *made[1:])
        if self._body is body:
            self._decoded = made
        return self._known_content(made, False)

    def _content_coding(self) -> str:
        """Return the content codings as one lower-case list, without identity; often empty."""
        if self.headers.get_bytes(b"content-encoding") is None:
            return ""
        return codings.normalize(self.headers["content-encoding"])

    @property
    def content(self) -> bytes | None:
        """The body with its content codings removed. Never raises: see `get_content`.

        Assigning applies the codings of Content-Encoding; where they are unknown, the header is
        removed.
        """
        return self.get_content()

    @content.setter
    def content(self, value: bytes | None) -> None:
        data = _body_bytes(value)
        coding = self._content_coding()
        if data is None or not coding:
            self.raw_content = data
            return
        try:
            encoded = codings.encode(data, coding)
        except DecodeError:
            del self.headers["content-encoding"]
            self.raw_content = data
            return
        self.raw_content = encoded
        self._decoded = (encoded, coding, self.decode_limits, data, None)

    def decode(self, strict: bool = True) -> None:
        """Remove the content codings from the body, and the header that names them.

        Where they cannot be removed, nothing changes; with ``strict`` `DecodeError` is raised. A
        body that is not there (yet) is left alone, too.
        """
        content = self.get_content(strict=strict)
        if content is not None and self.content_error is None:
            self.headers.pop("content-encoding", None)
            self.raw_content = content

    def encode(self, coding: str) -> None:
        """Apply a content coding in place of the present ones, and name it in the header.

        ``coding`` is gzip, deflate, br, zstd or identity, or a list of them in the order in which
        they are applied. Raises `DecodeError` where the present coding cannot be removed, and for
        an unknown ``coding``; nothing has changed then. A body that is not there is left alone.
        """
        content = self.get_content(strict=True)
        if content is None:
            return
        coding = codings.normalize(coding)
        encoded = codings.encode(content, coding)
        if coding:
            self.headers["Content-Encoding"] = coding
        else:
            self.headers.pop("content-encoding", None)
        self.raw_content = encoded

    # Text

    def get_text(self, strict: bool = False) -> str | None:
        """Return the decoded body as text, or None where there is no body.

        The charset comes from Content-Type, else from a byte order mark, else from what the kind
        of content says (see `interceptor.model.charsets`). Bytes that do not fit are kept as
        surrogates; with ``strict`` they raise ``ValueError``, and damaged codings `DecodeError`.
        """
        content = self.get_content(strict)
        if content is None:
            return None
        charset = charsets.guess(self.headers.get("content-type", ""), content)
        try:
            return content.decode(charset)
        except UnicodeError:
            if strict:
                raise
            return content.decode("utf-8", "surrogateescape")

    def set_text(self, text: str | None) -> None:
        """Make this text the body, in the charset in which `get_text` would read it.

        Where that charset lacks a character, or another one would be guessed for the new text,
        UTF-8 is used, and Content-Type says so.
        """
        if text is None:
            self.raw_content = None
            return
        kind = self.headers.get("content-type", "")
        content, kind_then = charsets.encode(text, kind, self.get_content() or b"")
        if kind_then != kind:
            self.headers["Content-Type"] = kind_then
        self.content = content

    @property
    def text(self) -> str | None:
        """The decoded body as text: see `get_text` and `set_text`. Reading never raises."""
        return self.get_text()

    @text.setter
    def text(self, value: str | None) -> None:
        self.set_text(value)

    # The whole

    def replace(
        self, pattern: str | bytes | re.Pattern[Any], repl: Any, flags: int = 0, count: int = 0
    ) -> int:
        """Replace a regular expression in headers and decoded body; return how often.

        The pattern works on bytes; text is taken as UTF-8. In headers it is matched against each
        ``name: value`` line. ``count`` bounds all replacements together; 0 is no bound.
        """
        compiled = compile_bytes(pattern, flags)
        if isinstance(repl, str):
            repl = repl.encode("utf-8", "surrogateescape")
        done = self._replace_in_head(compiled, repl, count)
        if (not count or done < count) and self._body:
            content = self.get_content()
            if content and self.content_error is None:
                left = count - done if count else 0
                changed, times = compiled.subn(repl, content, count=left)
                if times:
                    self.content = changed
                    done += times
        return done

    def _replace_in_head(self, pattern: re.Pattern[bytes], repl: Any, count: int) -> int:
        return self.headers.replace(pattern, repl, count=count)

    def copy(self: _M) -> _M:
        """Return an independent copy."""
        made = self.__class__.__new__(self.__class__)
        for cls in self.__class__.__mro__[:-1]:
            for name in getattr(cls, "__slots__", ()):
                setattr(made, name, getattr(self, name))
        made.headers = self.headers.copy()
        if self.trailers is not None:
            made.trailers = self.trailers.copy()
        if isinstance(self._body, Body):
            made._body = self._body.copy()
            made._decoded = None
        return made

    def same_as(self: _M, other: _M) -> bool:
        """Return whether both would look the same on the wire."""
        return self._wire_state() == other._wire_state()

    def _wire_state(self) -> tuple[object, ...]:
        return (self.http_version_bytes, self.headers, self.trailers, self._body)


def _decode(body: bytes | Body, coding: str, limits: DecodeLimits) -> _Decoded:
    pieces = body.chunks() if isinstance(body, Body) else body
    content: bytes | None
    error: str | None = None
    try:
        content = codings.decode(pieces, coding, limits)
    except DecodeError as failure:
        content, error = None, f"{failure.code}: {failure}"
        large = failure.code in ("content-too-large", "content-too-slow")
    else:
        large = len(content) > _LARGE
    if large:
        codings.release_memory()
    return body, coding, limits, content, error


def _body_bytes(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"a body must be bytes or None, not {type(value).__name__}; use .text for str")


def to_bytes(value: str | bytes) -> bytes:
    """Return text as UTF-8 bytes, and bytes as they are."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def to_str(value: bytes) -> str:
    """Return bytes as text: UTF-8, with surrogates for what is none."""
    return value.decode("utf-8", "surrogateescape")
