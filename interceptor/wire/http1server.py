"""The HTTP/1 codec that faces a client: reads requests, writes responses."""

from __future__ import annotations

import re

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response, usual_reason
from interceptor.model.secrets import quoted
from interceptor.wire.framing import Fields, Framing, Mode, request_framing
from interceptor.wire.http1codec import (
    CLOSE,
    NOTHING,
    SUPPRESSED,
    WORTH_KEEPING,
    HTTP1Codec,
    with_anomalies,
)
from interceptor.wire.httpbody import DONE, HEAD, HTTP1Limits
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    HTTPEvent,
    NoEvent,
    RequestHead,
)
from interceptor.wire.httphead import (
    DEFAULT_PORTS,
    parse_authority,
    parse_fields,
    replace_host,
    split_absolute,
)
from interceptor.wire.httpwrite import (
    ABSENT,
    AS_ANNOUNCED,
    CHUNKED,
    HAS_CODING,
    UNFRAMED,
    encode_fields,
    encode_status_line,
)

_REQUEST_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([^\x00-\x20#\x7f]++) (HTTP/1\.[0-9])\r\n"
)
# Of version 2 this is what is left, since its first bytes are empty lines.
_PROXY_HEADERS = (b"PROXY ", b"\0\r\nQUIT\n")
# Looked for where that does not match only; with the fragment, and without it.
_LINE_WITH_FRAGMENT = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([^\x00-\x20\x7f]++) (HTTP/1\.[0-9])\r\n"
)
_LINE_BUT_FRAGMENT = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([^\x00-\x20#\x7f]++)[^\x00-\x20\x7f]*+ (HTTP/1\.[0-9])\r\n"
)
_ANY_VERSION = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z][^\r\n]* HTTP/[0-9]+(?:\.[0-9]+)?\r\n")


class HTTP1ServerCodec(HTTP1Codec):
    """Faces a client: reads requests, writes responses.

    ``default_scheme`` is that of requests whose target does not tell (``https`` inside TLS).
    """

    __slots__ = ("_close", "_default_scheme", "_known", "_last_hash", "_method", "_old_client")

    _is_response_sender = True

    def __init__(self, limits: HTTP1Limits, mode: Mode, default_scheme: bytes = b"http") -> None:
        super().__init__(limits, mode)
        self._default_scheme = default_scheme
        self._method = b""
        self._old_client = False
        self._close = False
        # Block, method and version of the last request, and what they were found to mean: on one
        # connection most requests differ in their targets only. The first is forgotten but for its
        # hash: most of the connections that are idle were used once.
        self._last_hash = 0
        self._known: tuple[bytes, bytes, bytes, Fields, Framing, bytes | None] | None = None

    # Reading

    @property
    def request_complete(self) -> bool:
        """Whether all of the request of this cycle was read."""
        return self._state >= DONE

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request: both halves done, nobody closes."""
        return not self._close and self._sent and self._state == DONE and self._broken is None

    def next_cycle(self) -> None:
        """Begin to read the next request.

        Raises `LocalProtocolError` unless the last one is complete.
        """
        if self._state != DONE:
            raise LocalProtocolError("the request is not complete", "message-incomplete")
        self._state = HEAD
        self._let_go()
        self._sending = NOTHING
        self._sent = False
        self._close = False
        self._method = b""
        self._old_client = False

    def _read_head(self, now: float) -> HTTPEvent | NoEvent:
        buffer = self._buffer
        position = self._position
        if position == len(buffer):
            return CONNECTION_CLOSED if self._eof else NEED_DATA
        if buffer[position] == 0x0D:
            self._skip_empty_lines()
        found = self._find_head()
        if found is None:
            if not self._eof:
                return NEED_DATA
            if self._buffer[self._position :] in (b"", b"\r"):
                return CONNECTION_CLOSED
            raise RemoteProtocolError("the connection ended inside a head", "head-truncated")
        head, start, end = found
        match = _REQUEST_LINE.match(head, start)
        has_fragment = match is None
        if match is None:
            match = self._match_with_fragment(head, start, end)
        method, target, version = match.groups()
        if version != b"HTTP/1.1" and version != b"HTTP/1.0":
            # RFC 9110 section 2.5: a higher minor version is read as the highest one known.
            version = b"HTTP/1.1"
        block = head[match.end() : end]
        known = self._known
        raw: bytes | None
        if known is not None and known[0] == block and known[1] == method and known[2] == version:
            raw, _, _, fields, framing, host = known
            anomalies: tuple[str, ...] = ()
        else:
            fields, raw, anomalies = parse_fields(block, self._mode, False)
            if len(fields) > self._limits.field_count:
                self._check_count(fields)
            framing, host = request_framing(method, version, fields, self._mode)
            if framing.anomalies:
                anomalies += framing.anomalies
            if not anomalies and len(block) <= WORTH_KEEPING:
                last, self._last_hash = self._last_hash, hash(block)
                if last == self._last_hash:
                    self._known = (block, method, version, fields, framing, host)
        if self._skipped:
            anomalies += ("leading-empty-line",)
        if has_fragment:
            anomalies += ("target-fragment",)

        scheme = self._default_scheme
        path = target
        form = "relative"
        authority = host
        if target[0] == 0x2F:
            if method == b"CONNECT":
                raise RemoteProtocolError("CONNECT needs a host and a port", "target-invalid")
        elif method == b"CONNECT":
            scheme, authority, path, form = b"", target, b"", "authority"
        elif target == b"*":
            if method != b"OPTIONS":
                raise RemoteProtocolError("only OPTIONS has the target *", "target-invalid")
        else:
            absolute = split_absolute(target)
            if absolute is None:
                raise RemoteProtocolError(f"{quoted(target)} is no target", "target-invalid")
            scheme, authority, path = absolute
            form = "absolute"
            if scheme not in DEFAULT_PORTS:
                raise RemoteProtocolError(f"no requests of {scheme!r} URLs", "scheme-unsupported")
            if path[:1] != b"/":
                # RFC 9112 section 3.2.1 and 3.2.4
                path = b"*" if method == b"OPTIONS" and not path else b"/" + path

        if authority is None:
            # RFC 9112 section 3.2
            if version == b"HTTP/1.1":
                raise RemoteProtocolError("there is no Host field", "host-missing")
            address, port = b"", None
        else:
            try:
                address, port = parse_authority(authority)
            except ValueError as error:
                raise _no_authority(authority, form, error) from error
            if authority != host:
                fields, raw, anomalies = self._check_host(
                    host, authority, address, port, scheme, form, version, fields, raw, anomalies
                )
        if port is None:
            if form == "authority":
                raise RemoteProtocolError("CONNECT needs a port", "target-invalid")
            port = DEFAULT_PORTS[scheme]

        request = Request(
            method, scheme, address, port, path, version, Headers.from_wire(fields, raw), form, now
        )
        if form == "authority":
            request.authority_bytes = target
        elif form == "absolute":
            assert authority is not None
            request.authority_bytes = authority
        if anomalies:
            request.anomalies = anomalies
            framing = with_anomalies(framing, anomalies)
        self._method = method
        self._old_client = version == b"HTTP/1.0"
        self._close = not framing.keep_alive
        return RequestHead(request, framing, self._begin_body(request, framing))

    def _match_with_fragment(self, head: bytes, start: int, end: int) -> re.Match[bytes]:
        """Match a request line whose target has a fragment, which no form of target has.

        RFC 9112 section 3.2. A fragment is the client's own; servers differ in what they make of
        one, and filters would see another path than they do.
        """
        if head.startswith(_PROXY_HEADERS, start):
            raise self._bad_request_line(head, start)
        if head.count(b"\n", start, end) != head.count(b"\r\n", start, end):
            # It would have been told before, had the head come in pieces.
            raise self._malformed("a line of the head ends in a bare LF")
        match = _LINE_WITH_FRAGMENT.match(head, start)
        if match is None:
            raise self._bad_request_line(head, start)
        method, target, _ = match.groups()
        if self._mode == "reject" or method == b"CONNECT" or target[0] == 0x23:
            raise RemoteProtocolError(f"target {quoted(target)} has a fragment", "target-invalid")
        return match if self._mode == "pass" else _LINE_BUT_FRAGMENT.match(head, start) or match

    def _bad_request_line(self, head: bytes, start: int) -> RemoteProtocolError:
        line = head[start : head.index(b"\n", start) + 1]
        if _ANY_VERSION.fullmatch(line) is not None and b" HTTP/1." not in line:
            problem = f"the version of {quoted(line)} is not supported"
            if line.startswith(b"PRI * "):
                problem = "HTTP/2 without TLS is accepted with h2_cleartext only"
            return RemoteProtocolError(problem, "version-unsupported", 505)
        problem = f"{quoted(line)} is no request line"
        if head.startswith(_PROXY_HEADERS, start):
            problem = (
                "it begins with a header of the PROXY protocol, which is taken only from those "
                "whom the option `proxy_protocol_from` names"
            )
        return RemoteProtocolError(problem, "head-malformed")

    def _check_host(
        self,
        host: bytes | None,
        authority: bytes,
        address: bytes,
        port: int | None,
        scheme: bytes,
        form: str,
        version: bytes,
        fields: tuple[tuple[bytes, bytes], ...],
        raw: bytes | None,
        anomalies: tuple[str, ...],
    ) -> tuple[tuple[tuple[bytes, bytes], ...], bytes | None, tuple[str, ...]]:
        """Make the Host field agree with the target, which wins; RFC 9112 section 3.2.2."""
        if host is None:
            if version == b"HTTP/1.0":
                return fields, raw, anomalies
            if form == "absolute" or self._mode == "reject":
                raise RemoteProtocolError("there is no Host field", "host-missing")
            # Clients that open tunnels have been seen without it, and nothing hangs on it there.
            return fields, raw, (*anomalies, "host-missing")
        if host:
            try:
                other, other_port = parse_authority(host)
            except ValueError as error:
                raise _no_authority(host, "relative", error) from error
            default = DEFAULT_PORTS.get(scheme)
            if other.lower() == address.lower() and (other_port or default) == (port or default):
                return fields, raw, anomalies
            if form == "authority" and other.lower() == address.lower() and other_port is None:
                return fields, raw, anomalies
        if self._mode == "reject":
            raise RemoteProtocolError(
                f"target {quoted(authority)} and Host {quoted(host)} differ", "host-mismatch"
            )
        return replace_host(fields, authority), None, (*anomalies, "host-mismatch")

    # Writing

    def send_informational(self, response: Response) -> bytes:
        """Return a 1xx response; nothing for an HTTP/1.0 client (RFC 9110 section 15.2)."""
        if self._old_client or not self._method:
            return b""
        return (
            self._status_line(response)
            + encode_fields(response.headers, UNFRAMED, strict=False)
            + b"\r\n"
        )

    def send_head(
        self, request: Request | None, response: Response, length: int | None, close: bool = False
    ) -> bytes:
        """Return the head of the final response.

        ``length`` is the number of body bytes that `send_data` will be given, None if unknown; it
        does not matter where no body can be. ``close`` ends the connection after this response.
        ``request`` is None where none could be read. What the client may be sent is decided by the
        method and version that it sent, whatever a hook made of them since.

        Raises `LocalProtocolError` with code ``header-invalid``.
        """
        return self._head(request, response, length, close)

    def send_message(
        self, request: Request | None, response: Response, body: bytes, close: bool = False
    ) -> bytes:
        """Return a final response in one piece, chunked if its headers say so."""
        coded = self._survey(response.headers) & HAS_CODING
        chunked = coded or response.trailers is not None
        if self._old_client or response.http_version_bytes[-3:] == b"1.0":
            chunked = False
        head = self._head(request, response, None if chunked else len(body), close)
        return self._with_body(head, body, response.trailers)

    def _status_line(self, response: Response) -> bytes:
        version = response.http_version_bytes
        reason = response.reason_bytes
        if version[:7].upper() != b"HTTP/1.":
            # RFC 9113 section 8.3.2: HTTP/2 has no reason phrase. There are clients that show it.
            version = b"HTTP/1.1"
            reason = reason or usual_reason(response.status_code)
        bare = not reason and "reason-missing" in response.anomalies
        return encode_status_line(version, response.status_code, reason, bare)

    def _head(
        self, request: Request | None, response: Response, length: int | None, close: bool
    ) -> bytes:
        status = response.status_code
        line = self._status_line(response)
        old_response = line[5:8] == b"1.0"
        if request is None or close:
            self._close = True
        upgrade = status == 101 or status == 426
        tunnel = status == 101 or (self._method == b"CONNECT" and 200 <= status <= 299)
        if tunnel or status < 200:
            body = UNFRAMED
        elif status == 204:
            # A length of 0 is common here and harms nobody.
            body = ABSENT
        elif self._method == b"HEAD" or status == 304:
            body = AS_ANNOUNCED
        elif length is not None:
            body = length
        elif self._old_client or old_response:
            body = UNFRAMED
            self._close = True
        else:
            body = CHUNKED

        connection = None
        if tunnel:
            pass
        elif self._close:
            connection = b"close"
        elif self._old_client or old_response:
            connection = b"keep-alive"
        fields = self._encode(response.headers, body, connection, upgrade, status == 407, None)
        self._begin(body)
        if body == UNFRAMED and status >= 200 and not tunnel:
            self._sending = CLOSE
        elif body < 0 and body != CHUNKED:
            self._sending = SUPPRESSED
        return b"%b%b\r\n" % (line, fields)


def _no_authority(text: bytes, form: str, error: ValueError) -> RemoteProtocolError:
    code = "host-invalid" if form == "relative" else "target-invalid"
    return RemoteProtocolError(f"host {quoted(text)}: {error}", code)
