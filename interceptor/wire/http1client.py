"""The HTTP/1 codec that faces a server: writes requests, reads their responses."""

from __future__ import annotations

import re

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.model.secrets import quoted
from interceptor.wire.framing import Fields, Framing, Mode, response_fault, response_framing
from interceptor.wire.http1codec import WORTH_KEEPING, HTTP1Codec, with_anomalies
from interceptor.wire.httpbody import DONE, HEAD, IDLE, HTTP1Limits
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    HTTPEvent,
    NoEvent,
    ResponseHead,
)
from interceptor.wire.httphead import parse_fields, scan_fields
from interceptor.wire.httpwrite import (
    ABSENT,
    ASKS_UPGRADE,
    CHUNKED,
    HAS_CODING,
    encode_request_line,
)

_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9][0-9]) ([^\x00-\x08\x0a-\x1f\x7f]*+)\r\n")
# White space and case as servers have been seen to get them wrong.
_LENIENT_STATUS_LINE = re.compile(
    rb"(HTTP/1\.[0-9])[ \t]++([1-9][0-9][0-9])"
    rb"(?:([ \t])[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+))?+\r?\n",
    re.IGNORECASE,
)


class HTTP1ClientCodec(HTTP1Codec):
    """Faces a server: writes requests, reads their responses.

    ``target_form`` is ``origin``, or ``absolute`` when the server is a proxy that is sent
    requests of ``http`` URLs (RFC 9112 section 3.2). ``own_fields`` are sent with every request
    besides its own ones: they are between us and the server, and stand in no message.
    """

    __slots__ = (
        "_informational",
        "_keep_alive",
        "_known",
        "_last_hash",
        "_last_request",
        "_method",
        "_own_fields",
        "_upgrade",
        "target_form",
    )

    _is_response = True
    _fault = response_fault

    def __init__(
        self,
        limits: HTTP1Limits,
        mode: Mode,
        target_form: str = "origin",
        *,
        own_fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(limits, mode)
        self.target_form = target_form
        self._own_fields = b"".join([b"%b: %b\r\n" % field for field in own_fields])
        self._state = IDLE
        self._method = b""
        self._upgrade = False
        self._keep_alive = True
        self._last_request = False
        self._informational = 0
        # The last response's block with what framed it, and what they were found to mean. Of the
        # first there is only a hash: most of the connections that are idle were used once.
        self._last_hash = 0
        self._known: tuple[bytes, bytes, bytes, int, Fields, Framing] | None = None

    # Reading

    @property
    def response_complete(self) -> bool:
        """Whether all of the response of this cycle was read."""
        return self._state >= DONE

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent once this one's cycle is over.

        Bytes that came after the response, or before any request, belong to nothing we know.
        """
        if self._state == IDLE:
            idle = True
        else:
            idle = self._state == DONE and self._sent and self._keep_alive
        return idle and not self._eof and self._position == len(self._buffer)

    def next_cycle(self) -> None:
        """Get ready for the next request. Raises `LocalProtocolError` unless `reusable`."""
        if not self.reusable:
            raise LocalProtocolError("the connection cannot be reused", "message-incomplete")
        self._state = IDLE
        self._let_go()

    def _read_head(self, now: float) -> HTTPEvent | NoEvent:
        if self._position == len(self._buffer):
            if not self._eof:
                return NEED_DATA
            if self._informational:
                raise self._fault("the connection ended before the response", "truncated")
            return CONNECTION_CLOSED
        if self._mode != "reject" and self._buffer.startswith(b"\r\n", self._position):
            self._skip_empty_lines()
        found = self._find_head()
        if found is None:
            self._check_beginning()
            if not self._eof:
                return NEED_DATA
            raise self._fault("the connection ended inside the head", "truncated")
        head, start, end = found
        anomalies: tuple[str, ...] = ("leading-empty-line",) if self._skipped else ()
        match = _STATUS_LINE.match(head, start)
        if match is not None:
            version, code, reason = match.groups()
        else:
            end = self._earlier_end(head, start, end)
            version, code, reason, match, odd = self._odd_status_line(head, start)
            anomalies += odd
        status = int(code)
        method = self._method
        block = head[match.end() : end]
        known = self._known
        raw: bytes | None
        if (
            known is not None
            and known[0] == block
            and known[1] == method
            and known[2] == version
            and known[3] == status
        ):
            raw, _, _, _, fields, framing = known
        else:
            fields, raw, faults = self._read_fields(head, start, match.end(), end)
            framing = response_framing(method, version, status, fields, self._mode)
            if framing.anomalies:
                faults += framing.anomalies
            if faults:
                anomalies += faults
            elif len(block) <= WORTH_KEEPING:
                last, self._last_hash = self._last_hash, hash(block)
                if last == self._last_hash:
                    self._known = (block, method, version, status, fields, framing)
        response = Response(version, status, reason, Headers.from_wire(fields, raw), now)
        if anomalies:
            anomalies = tuple(dict.fromkeys(anomalies))
            response.anomalies = anomalies
            framing = with_anomalies(framing, anomalies)
        if status < 200:
            if status != 101:
                return self._informational_head(response, framing)
            if not self._upgrade:
                raise self._fault("the server switched protocols unasked", "malformed")
        self._keep_alive = framing.keep_alive and not self._last_request
        return ResponseHead(response, framing, self._begin_body(response, framing))

    def _read_fields(
        self, head: bytes, start: int, begin: int, end: int
    ) -> tuple[Fields, bytes | None, tuple[str, ...]]:
        block = head[begin:end]
        raw: bytes | None = block
        anomalies: tuple[str, ...] = ()
        fields = scan_fields(block)
        if fields is None or not block.isascii():
            # What is beyond the line break that ends the head is none of its fields.
            end = self._earlier_end(head, start, end)
            fields, raw, anomalies = parse_fields(head[begin:end], self._mode, True)
        if self._bare_end:
            self._bare_end = False
            if self._mode == "reject":
                raise self._fault("the head ends in a bare LF", "malformed")
            anomalies += ("bare-lf",)
        if len(fields) > self._limits.field_count:
            self._check_count(fields)
        return fields, raw, anomalies

    def _check_beginning(self) -> None:
        """Tell at once what can become no status line, rather than wait for the end of it."""
        beginning = bytes(self._buffer[self._position : self._position + 7]).lstrip(b"\r\n")[:5]
        if not b"HTTP/".startswith(beginning.upper()):
            raise self._fault(f"{beginning!r} begins no status line", "malformed")

    def _informational_head(self, response: Response, framing: Framing) -> ResponseHead:
        self._informational += 1
        if self._informational > self._limits.informational:
            raise self._fault("there are too many informational responses", "malformed")
        self._scanned = self._position
        return ResponseHead(response, framing, False)

    def _odd_status_line(
        self, head: bytes, start: int
    ) -> tuple[bytes, bytes, bytes, re.Match[bytes], tuple[str, ...]]:
        match = _LENIENT_STATUS_LINE.match(head, start)
        if match is None or self._mode == "reject":
            line = head[start : head.find(b"\n", start)]
            raise self._fault(f"{quoted(line)} is no status line", "malformed")
        version, code, space, reason = match.groups()
        anomalies = []
        if reason is None or space is None:
            reason = b""
            anomalies.append("reason-missing")
        if version[:5] != b"HTTP/":
            anomalies.append("version-case")
        if match[0][-2:] != b"\r\n":
            anomalies.append("bare-lf")
        if version[-1:] not in (b"0", b"1"):
            version = version[:-1] + b"1"
        if not anomalies:
            anomalies.append("status-line-odd")
        return version, code, reason, match, tuple(anomalies)

    # Writing

    def send_head(self, request: Request, length: int | None, *, upgrade: bool = True) -> bytes:
        """Return the head of a request, and get ready for its response.

        ``length`` is the number of body bytes that `send_data` will be given, None if unknown: then
        the body is sent chunked. ``upgrade`` lets an Upgrade field travel on.

        Raises `LocalProtocolError` with code ``header-invalid``, or ``message-incomplete`` while
        another request is under way.
        """
        return self._head(request, length, upgrade, self._survey(request.headers))

    def _head(self, request: Request, length: int | None, upgrade: bool, flags: int) -> bytes:
        if self._state != IDLE:
            raise LocalProtocolError("another request is under way", "message-incomplete")
        method = request.method_bytes
        old = request.http_version_bytes == b"HTTP/1.0" and length is not None
        if length is None:
            body = CHUNKED
        elif length or method in _ANTICIPATE_CONTENT:
            body = length
        else:
            body = ABSENT
        form = "authority" if method == b"CONNECT" else self.target_form
        upgrade = upgrade and not old and flags & ASKS_UPGRADE != 0
        head = b"%b%b%b\r\n" % (
            encode_request_line(request, form, b"HTTP/1.0" if old else b"HTTP/1.1"),
            self._encode(request.headers, body, None, upgrade, False, request),
            self._own_fields,
        )
        self._begin(body)
        self._method = method
        self._upgrade = upgrade
        self._informational = 0
        self._keep_alive = True
        # RFC 9112 section 9.3: to HTTP/1.0 a server closes, whether it says so or not. And where a
        # protocol is offered, some servers take content for the beginning of it.
        self._last_request = old or (upgrade and (body > 0 or body == CHUNKED))
        self._state = HEAD
        self._scanned = self._position
        return head

    def send_message(self, request: Request, body: bytes, *, upgrade: bool = True) -> bytes:
        """Return a request in one piece, chunked if its headers say so."""
        flags = self._survey(request.headers)
        chunked = flags & HAS_CODING or request.trailers is not None
        head = self._head(request, None if chunked else len(body), upgrade, flags)
        return self._with_body(head, body, request.trailers)


# RFC 9110 section 8.6: servers ask for a length here even where there is no content.
_ANTICIPATE_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))
