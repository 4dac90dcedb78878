"""HTTP requests and responses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from interceptor.model import codings, cookies, urls
from interceptor.model.cookies import CookieValue
from interceptor.model.headers import Headers
from interceptor.model.message import Message, to_bytes, to_str
from interceptor.model.multidict import MultiDictView, Pairs
from interceptor.model.requestviews import RequestViews, kind_of

HeaderPairs = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str | bytes, str | bytes]]
"""What `Request.make` and `Response.make` take as headers."""

_DEFAULT_LIMITS = codings.DecodeLimits()


class Request(RequestViews):
    """An HTTP request.

    ``host`` and ``port`` are where it goes; the Host field is changed along with them, if there is
    one. ``first_line_format`` is the form of its target as received: ``relative`` (origin and
    asterisk form), ``absolute``, or ``authority`` (CONNECT). The names in ``_bytes`` are the same
    values as the bytes they are on the wire, unchecked; ``host_bytes`` has no brackets.
    """

    __slots__ = (
        "_port",
        "authority_bytes",
        "first_line_format",
        "host_bytes",
        "method_bytes",
        "scheme_bytes",
    )

    method_bytes: bytes
    scheme_bytes: bytes
    host_bytes: bytes
    authority_bytes: bytes
    first_line_format: str
    _port: int

    def __init__(
        self,
        method: bytes,
        scheme: bytes,
        host: bytes,
        port: int,
        path: bytes,
        http_version: bytes,
        headers: Headers,
        first_line_format: str,
        timestamp_start: float,
    ) -> None:
        # Nothing is checked or converted, and nothing done by super(): this is the hot path.
        self.method_bytes = method
        self.scheme_bytes = scheme
        self.host_bytes = host
        self._port = port
        self.path_bytes = path
        self.http_version_bytes = http_version
        self.headers = headers
        self.first_line_format = first_line_format
        self.timestamp_start = timestamp_start
        self.timestamp_end = None
        self.authority_bytes = b""
        self.trailers = None
        self.stream = False
        self.anomalies = ()
        self.content_error = None
        self.decode_limits = _DEFAULT_LIMITS
        self.body_size = 0
        self._body = None
        self._decoded = None

    @classmethod
    def make(
        cls,
        method: str | bytes,
        url: str | bytes,
        content: str | bytes | None = b"",
        headers: HeaderPairs = (),
    ) -> Request:
        """Make a request from scratch; a Host field is added where ``headers`` has none.

        Text content is encoded as `Message.set_text` has it. Raises ``ValueError`` for a faulty
        URL or field.
        """
        scheme, host, port, path = urls.parse(url)
        self = cls(b"", scheme, host, port, path, b"HTTP/1.1", Headers(), "relative", time.time())
        self.method = method
        self.headers = _make_headers(headers)
        if "host" not in self.headers:
            self.headers.insert(0, "Host", urls.hostport(scheme, host, port))
        if isinstance(content, str):
            self.set_text(content)
        elif content:
            self.content = content
        else:
            self.attach_body(content)
        self.timestamp_end = self.timestamp_start
        return self

    def set_destination(self, scheme: bytes, host: bytes, port: int) -> None:
        """Send the request somewhere else and leave its Host field as it is. Nothing is checked."""
        self.scheme_bytes = scheme
        self.host_bytes = host
        self._port = port

    # The first line

    @property
    def method(self) -> str:
        """The method, in the case it came in."""
        return to_str(self.method_bytes)

    @method.setter
    def method(self, value: str | bytes) -> None:
        self.method_bytes = urls.check_token("method", to_bytes(value))

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return to_str(self.scheme_bytes)

    @scheme.setter
    def scheme(self, value: str | bytes) -> None:
        self.scheme_bytes = urls.check_scheme(to_bytes(value))

    @property
    def host(self) -> str:
        """The name or address to which the request goes, an IPv6 address without brackets.

        Assigning also changes the Host field, if there is one. Raises ``ValueError`` for what is
        neither a name nor an address.
        """
        return to_str(self.host_bytes)

    @host.setter
    def host(self, value: str | bytes) -> None:
        self.host_bytes = urls.check_host(value)
        self._update_authority()

    @property
    def port(self) -> int:
        """The port to which the request goes. Assigning also changes the Host field."""
        return self._port

    @port.setter
    def port(self, value: int) -> None:
        self._port = urls.check_port(value)
        self._update_authority()

    def _update_authority(self) -> None:
        # RFC 9110 section 9.3.6: the target of CONNECT always has its port.
        scheme = b"" if self.first_line_format == "authority" else self.scheme_bytes
        authority = urls.hostport(scheme, self.host_bytes, self._port)
        if self.headers.get_bytes(b"host") is not None:
            self.headers["Host"] = authority
        if self.authority_bytes:
            self.authority_bytes = authority

    @property
    def path(self) -> str:
        """Path and query as on the wire, ``*`` in asterisk form, empty in authority form.

        Assigning raises ``ValueError`` for control characters and for what does not begin with a
        slash; spaces are percent-encoded.
        """
        return to_str(self.path_bytes)

    @path.setter
    def path(self, value: str | bytes) -> None:
        self.path_bytes = urls.check_path(to_bytes(value))

    @property
    def authority(self) -> str:
        """The authority of the request's target: empty in origin and asterisk form."""
        if self.authority_bytes:
            return to_str(self.authority_bytes)
        if self.first_line_format == "authority":
            return to_str(urls.hostport(b"", self.host_bytes, self._port))
        if self.first_line_format == "absolute":
            return to_str(urls.hostport(self.scheme_bytes, self.host_bytes, self._port))
        return ""

    @authority.setter
    def authority(self, value: str | bytes) -> None:
        data = to_bytes(value)
        urls.parse_authority(data)
        self.authority_bytes = data
        if not self.http_version_bytes.startswith(b"HTTP/1") and "host" in self.headers:
            self.headers["Host"] = to_str(data)

    @property
    def url(self) -> str:
        """The URL to which the request goes; ``host:port`` for CONNECT.

        Assigning changes scheme, host, port and path, and the Host field. Raises ``ValueError``.
        """
        if self.first_line_format == "authority":
            return self.authority
        path = b"" if self.path_bytes == b"*" else self.path_bytes
        return to_str(urls.unparse(self.scheme_bytes, self.host_bytes, self._port, path))

    @url.setter
    def url(self, value: str | bytes) -> None:
        scheme, host, port, path = urls.parse(value)
        self.scheme_bytes, self.host_bytes, self._port = scheme, host, port
        self.path_bytes = path
        self._update_authority()

    @property
    def host_header(self) -> str | None:
        """What the client says it asks for: the Host field, or ``:authority`` from HTTP/2 on."""
        value = self.host_header_bytes
        return None if value is None else to_str(value)

    @host_header.setter
    def host_header(self, value: str | bytes | None) -> None:
        if value is None:
            self.authority_bytes = b""
            self.headers.pop("host", None)
            return
        old_version = self.http_version_bytes.startswith(b"HTTP/1")
        if old_version or "host" in self.headers:
            self.headers["Host"] = to_str(to_bytes(value))
        if self.authority_bytes or not old_version:
            self.authority = value

    @property
    def host_header_bytes(self) -> bytes | None:
        """The same as bytes. A Host field that a script has set counts in every version.

        On receipt the two are the same where both are there (RFC 9113 section 8.3.1).
        """
        field = self.headers.get_bytes(b"host")
        return self.authority_bytes or None if field is None else field

    @property
    def pretty_host(self) -> str:
        """The host as the client names it in `host_header`; for display, not for decisions.

        A client may put anything there: `host` is where the request goes.
        """
        return self._pretty()[0]

    @property
    def pretty_url(self) -> str:
        """The URL with `pretty_host`, for display; ``host:port`` for CONNECT."""
        if self.first_line_format == "authority":
            return self.authority
        host, port = self._pretty()
        path = b"" if self.path_bytes == b"*" else self.path_bytes
        return to_str(urls.unparse(self.scheme_bytes, to_bytes(host), port, path))

    def _pretty(self) -> tuple[str, int]:
        named = self.host_header_bytes
        if named:
            try:
                host, port = urls.parse_authority(named)
            except ValueError:
                return self.host, self._port
            default = urls.default_port(self.scheme_bytes) or self._port
            return to_str(host), default if port is None else port
        return self.host, self._port

    # Conveniences

    def anticache(self) -> None:
        """Remove the fields that let a server answer "not modified"."""
        for name in ("if-modified-since", "if-none-match"):
            self.headers.pop(name, None)

    def anticomp(self) -> None:
        """Ask the server for an uncompressed body."""
        self.headers["Accept-Encoding"] = "identity"

    def constrain_encoding(self) -> None:
        """Let Accept-Encoding name only codings that can be removed here, with their weights."""
        if self.headers.get_bytes(b"accept-encoding") is None:
            return
        before = self.headers.get_all("accept-encoding")
        kept = [
            item
            for item in (part.strip() for part in ",".join(before).split(","))
            if item.partition(";")[0].strip().lower() in codings.DECODABLE
        ]
        after = ", ".join(kept) or "identity"
        if before != [after]:
            self.headers["Accept-Encoding"] = after

    def _replace_in_head(self, pattern: re.Pattern[bytes], repl: Any, count: int) -> int:
        path, done = pattern.subn(repl, self.path_bytes, count=count)
        if done:
            self.path = path
        if not count or done < count:
            done += super()._replace_in_head(pattern, repl, count - done if count else 0)
        return done

    def _wire_state(self) -> tuple[object, ...]:
        return (
            self.method_bytes,
            self.scheme_bytes,
            self.host_bytes,
            self._port,
            self.path_bytes,
            self.authority_bytes,
            self.first_line_format,
            *super()._wire_state(),
        )

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"


class Response(Message):
    """An HTTP response. ``reason_bytes`` is the reason phrase as on the wire, unchecked."""

    __slots__ = ("reason_bytes", "status_code")

    reason_bytes: bytes
    status_code: int

    def __init__(
        self,
        http_version: bytes,
        status_code: int,
        reason: bytes,
        headers: Headers,
        timestamp_start: float,
    ) -> None:
        # Nothing is checked or converted, and nothing done by super(): this is the hot path.
        self.http_version_bytes = http_version
        self.status_code = status_code
        self.reason_bytes = reason
        self.headers = headers
        self.timestamp_start = timestamp_start
        self.timestamp_end = None
        self.trailers = None
        self.stream = False
        self.anomalies = ()
        self.content_error = None
        self.decode_limits = _DEFAULT_LIMITS
        self.body_size = 0
        self._body = None
        self._decoded = None

    @classmethod
    def make(
        cls,
        status: int = 200,
        content: str | bytes | None = b"",
        headers: HeaderPairs = (),
    ) -> Response:
        """Make a response from scratch, with the usual reason phrase and a Content-Length.

        Text content is encoded as `Message.set_text` has it. Raises ``ValueError`` for a status
        outside 100 to 599 and for a faulty field.
        """
        if not 100 <= status <= 599:
            raise ValueError(f"a status code is from 100 to 599, not {status!r}")
        now = time.time()
        self = cls(b"HTTP/1.1", int(status), usual_reason(status), _make_headers(headers), now)
        self.timestamp_end = now
        if isinstance(content, str):
            self.set_text(content)
        elif content or _may_have_length(status):
            self.content = content or b""
        else:
            self.attach_body(b"")
        return self

    @property
    def reason(self) -> str:
        """The reason phrase; empty where there was none. Assigning refuses CR, LF and NUL."""
        return to_str(self.reason_bytes)

    @reason.setter
    def reason(self, value: str | bytes) -> None:
        data = to_bytes(value)
        if any(byte in data for byte in (b"\r", b"\n", b"\0")):
            raise ValueError(f"a reason phrase must not contain CR, LF or NUL: {data!r}")
        self.reason_bytes = data

    @property
    def cookies(self) -> MultiDictView[str, CookieValue]:
        """The cookies of the Set-Cookie fields, each ``(value, attributes)``.

        Attributes are a case-insensitive multi-map; one without value is None. Changes are written
        back; a plain str may be assigned as a cookie without attributes.
        """
        return MultiDictView(self._get_cookies, self._set_cookies)

    @cookies.setter
    def cookies(self, value: Pairs[str, Any]) -> None:
        MultiDictView(self._get_cookies, self._set_cookies).assign(value)

    def _get_cookies(self) -> tuple[tuple[str, CookieValue], ...]:
        return cookies.parse_set_cookies(self.headers.get_all("set-cookie"))

    def _set_cookies(self, pairs: tuple[tuple[str, Any], ...]) -> None:
        before = self.headers.get_all("set-cookie")
        self.headers.set_all("Set-Cookie", cookies.format_set_cookies(pairs, before))

    @property
    def grpc_status(self) -> int | None:
        """The status of a gRPC call, 0 for success; None where there is none, or not yet.

        It is in the trailers, or among the headers where there was nothing else to send.
        """
        for fields in (self.trailers, self.headers):
            value = None if fields is None else fields.get_bytes(b"grpc-status")
            if value is not None:
                return int(value) if value.isdigit() and len(value) < 4 else None
        return None

    def refresh(self, now: float | None = None) -> None:
        """Make a response that is sent again look new.

        Date, Expires, Last-Modified and the expiry of cookies move by the time that has passed
        since ``timestamp_start``. ``now`` is in epoch seconds; the present time if None.
        """
        shift = (time.time() if now is None else now) - self.timestamp_start
        for name in ("date", "expires", "last-modified"):
            for value in self.headers.get_all(name)[:1]:
                moved = cookies.shift_date(value, shift)
                if moved is not None:
                    self.headers[name] = moved
        lines = self.headers.get_all("set-cookie")
        if lines:
            shifted = [cookies.shift_expiry(line, shift) for line in lines]
            if shifted != lines:
                self.headers.set_all("Set-Cookie", shifted)

    def _wire_state(self) -> tuple[object, ...]:
        return (self.status_code, self.reason_bytes, *super()._wire_state())

    def __repr__(self) -> str:
        kind = kind_of(self.headers)
        size = self.body_size if self._body is None else len(self._body)
        return f"<Response {self.status_code}{' ' + kind if kind else ''}, {size} bytes>"


HTTPResponse = Response
"""The old name of `Response`."""

HTTPRequest = Request
"""The old name of `Request`."""


def _make_headers(headers: HeaderPairs) -> Headers:
    if isinstance(headers, Headers):
        return headers.copy()
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    return Headers(pairs)


def usual_reason(status: int) -> bytes:
    """Return the reason phrase that a status usually has; empty where it has none."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def _may_have_length(status: int) -> bool:
    # RFC 9110 section 8.6: no Content-Length in 1xx and 204.
    return status >= 200 and status != 204
