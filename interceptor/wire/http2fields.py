"""Field lists of HTTP/2 to messages and back; RFC 9113 section 8.

What comes in is judged field by field when it is first decoded (`classify`), and as a whole when a
head is made of it. What goes out, from wherever it came, is made to fit: names in lower case, no
fields about the connection, pseudo-headers in front.
"""

from __future__ import annotations

import re
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.model.secrets import quoted
from interceptor.wire.framing import (
    CONNECTION,
    CONTENT_LENGTH,
    FIELD_KINDS,
    HOP_BY_HOP,
    HOST,
    INVALID_NAME,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    Fields,
    Framing,
    Mode,
    request_fault,
    request_framing,
    response_fault,
    response_framing,
)
from interceptor.wire.hpack import Entry, static_entries
from interceptor.wire.httphead import DEFAULT_PORTS, is_lenient_name, parse_authority

VERSION: Final = b"HTTP/2.0"

# What a field is, besides the kinds of framing, which are 0 to 10.
_FAULTY_VALUE: Final = 16
_ODD_NAME: Final = 17
_UPPER_NAME: Final = 18
_PSEUDO: Final = 32
_METHOD: Final = 32
_SCHEME: Final = 33
_AUTHORITY: Final = 34
_PATH: Final = 35
_PROTOCOL: Final = 36
_STATUS: Final = 37
_UNKNOWN_PSEUDO: Final = 38

_PSEUDO_HEADERS: Final = {
    b":method": _METHOD,
    b":scheme": _SCHEME,
    b":authority": _AUTHORITY,
    b":path": _PATH,
    b":protocol": _PROTOCOL,
    b":status": _STATUS,
}

CLEAN_VALUE = re.compile(rb"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")
BREAKERS = re.compile(rb"[\r\n\0]")
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FORBIDDEN_IN_NAME = re.compile(rb"[^\x21-\x40\x5b-\x7e]")
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_TARGET = re.compile(rb"/[^\x00-\x20#\x7f]*+")
LENIENT_TARGET = re.compile(rb"/[^\x00-\x20\x7f]*+")
_STATUS_CODE = re.compile(rb"[1-9][0-9][0-9]")


def classify(name: bytes, value: bytes) -> int:
    """Return what a field is: a kind of `interceptor.wire.framing`, or one of this module's."""
    kind = FIELD_KINDS[name]
    if kind == INVALID_NAME:
        if name[:1] == b":":
            return _PSEUDO_HEADERS.get(name, _UNKNOWN_PSEUDO)
        return _ODD_NAME
    if not name.islower() and name != name.lower():
        return _UPPER_NAME
    if CLEAN_VALUE.fullmatch(value) is None:
        return _FAULTY_VALUE
    return kind


STATIC_ENTRIES: Final = static_entries(classify)


class _Judge:
    """The slow path: fields that have something wrong with them, by role and setting."""

    def __init__(self, mode: Mode, is_response: bool) -> None:
        self._mode = mode
        self._is_response = is_response
        self.anomalies: dict[str, None] = {}

    def malformed(self, message: str) -> RemoteProtocolError:
        if self._is_response:
            return response_fault(message, "malformed")
        return request_fault(message, "head-malformed")

    def _tolerate(self, message: str, anomaly: str, *, strict: bool) -> None:
        """Let a fault pass: of a response, or where ``strict`` is not demanded of requests."""
        if self._mode == "reject" or (strict and not self._is_response and self._mode != "pass"):
            raise self.malformed(message)
        self.anomalies[anomaly] = None

    def field(self, name: bytes, value: bytes, kind: int) -> tuple[bytes, bytes]:
        """Return a field as it may be used."""
        if kind == _UPPER_NAME:
            # RFC 9113 section 8.2.1
            raise self.malformed(f"field name {name[:80]!r} has capital letters")
        if kind == _ODD_NAME:
            if not is_lenient_name(name) or _FORBIDDEN_IN_NAME.search(name) is not None:
                # RFC 9113 section 8.2.1
                raise self.malformed(f"{name[:80]!r} is no field name")
            self._tolerate(f"{name[:80]!r} is no field name", "name-invalid", strict=True)
        if BREAKERS.search(value) is not None:
            # RFC 9113 section 8.2.1
            raise self.malformed(f"the value of {name[:80]!r} holds CR, LF or NUL")
        stripped = value.strip(b" \t")
        if stripped != value:
            self._tolerate(
                f"the value of {name!r} has white space around it", "value-padded", strict=False
            )
        if _CONTROL.search(value) is not None:
            self._tolerate(
                f"the value of {name!r} holds control bytes", "value-control", strict=True
            )
        if not value.isascii():
            self._tolerate(f"{name!r} has 8-bit bytes", "value-8bit", strict=False)
        return name, stripped


class RequestParts:
    """What a request's field list was found to mean. Requests are made of it; it may be kept."""

    __slots__ = (
        "anomalies",
        "authority",
        "fields",
        "form",
        "framing",
        "framing_at_end",
        "host",
        "method",
        "order",
        "path",
        "port",
        "protocol",
        "scheme",
    )

    method: bytes
    scheme: bytes
    authority: bytes
    host: bytes
    port: int
    path: bytes
    form: str
    protocol: bytes | None
    fields: Fields
    framing: Framing
    framing_at_end: Framing
    anomalies: tuple[str, ...]
    order: tuple[bytes, ...]

    def request(self, now: float) -> Request:
        """Return a new request."""
        request = Request(
            self.method,
            self.scheme,
            self.host,
            self.port,
            self.path,
            VERSION,
            Headers.from_wire(self.fields, None),
            self.form,
            now,
        )
        request.authority_bytes = self.authority
        if self.anomalies:
            request.anomalies = self.anomalies
        return request


_NO_BODY: Final = Framing("none", 0, True)
_UNTIL_END: Final = Framing("eof", None, True)
_TUNNEL: Final = Framing("tunnel", 0, True)


def parse_request(entries: list[Entry], mode: Mode, connect_protocol: bool) -> RequestParts:
    """Make sense of a request's field list; RFC 9113 section 8.3.1.

    ``connect_protocol`` allows extended CONNECT (RFC 8441). Raises `RemoteProtocolError` for what
    is malformed, with the codes of `interceptor.wire.framing.request_framing`, ``head-malformed``,
    ``target-invalid``, ``scheme-unsupported``, ``host-missing`` or ``host-mismatch``.
    """
    judge: _Judge | None = None
    pseudo: dict[int, bytes] = {}
    order = []
    fields: list[tuple[bytes, bytes]] = []
    special = False
    for field, kind, _ in entries:
        if not kind:
            fields.append(field)
        elif kind >= _PSEUDO:
            name = field[0]
            if fields:
                raise request_fault(f"{name!r} comes after the fields", "head-malformed")
            if kind in pseudo or kind >= _STATUS:
                raise request_fault(f"{name[:80]!r} has no place here", "head-malformed")
            pseudo[kind] = field[1]
            order.append(name)
        else:
            if kind >= _FAULTY_VALUE:
                if judge is None:
                    judge = _Judge(mode, False)
                field = judge.field(*field, kind)
                kind = FIELD_KINDS[field[0]]
            special = special or kind > 0
            fields.append(field)

    parts = RequestParts()
    parts.order = tuple(order)
    parts.anomalies = () if judge is None else tuple(judge.anomalies)
    parts.fields = tuple(fields)
    parts.method = method = pseudo.get(_METHOD, b"")
    parts.protocol = protocol = pseudo.get(_PROTOCOL)
    if TOKEN.fullmatch(method) is None:
        raise request_fault(f"method {method[:80]!r} is none", "head-malformed")
    if protocol is not None and (not connect_protocol or TOKEN.fullmatch(protocol) is None):
        raise request_fault(":protocol was not offered", "head-malformed")
    host: bytes | None = None
    framing = _UNTIL_END
    if special:
        framing, host = request_framing(method, VERSION, parts.fields, mode)
        if framing.anomalies:
            parts.anomalies += framing.anomalies
    _set_target(parts, pseudo, host, mode)
    if method == b"CONNECT":
        if framing.length is not None:
            raise request_fault("CONNECT has no content", "framing-conflict")
        framing = _TUNNEL
    parts.framing = framing
    parts.framing_at_end = _NO_BODY
    if parts.anomalies:
        parts.framing = framing.with_anomalies(parts.anomalies)
        parts.framing_at_end = _NO_BODY.with_anomalies(parts.anomalies)
    return parts


def _set_target(
    parts: RequestParts, pseudo: dict[int, bytes], host: bytes | None, mode: Mode
) -> None:
    """Find out where a request is to go."""
    method, protocol = parts.method, parts.protocol
    authority = pseudo.get(_AUTHORITY)
    parts.form = "relative"
    if method == b"CONNECT" and protocol is None:
        # RFC 9113 section 8.5
        if authority is None or _SCHEME in pseudo or _PATH in pseudo:
            raise request_fault("CONNECT has :method and :authority only", "head-malformed")
        parts.scheme = parts.path = b""
        parts.form = "authority"
    else:
        if protocol is not None and method != b"CONNECT":
            raise request_fault(":protocol goes with CONNECT only", "head-malformed")
        if _SCHEME not in pseudo or _PATH not in pseudo:
            raise request_fault(":scheme or :path is missing", "head-malformed")
        parts.scheme = scheme = pseudo[_SCHEME].lower()
        parts.path = path = pseudo[_PATH]
        if scheme not in DEFAULT_PORTS:
            raise request_fault(f"no requests of {scheme[:80]!r} URLs", "scheme-unsupported")
        if path == b"*":
            if method != b"OPTIONS":
                raise request_fault("only OPTIONS has the path *", "target-invalid")
        elif _TARGET.fullmatch(path) is None:
            parts.path = _faulty_path(parts, path, mode)

    named = authority if authority else host
    if not named:
        # RFC 9113 section 8.3.1
        raise request_fault("there is neither :authority nor a host field", "host-missing")
    parts.host, port = _parse_authority(named, "target-invalid" if authority else "host-invalid")
    if port is None:
        if parts.form == "authority":
            raise request_fault("CONNECT needs a port", "target-invalid")
        port = DEFAULT_PORTS[parts.scheme]
    parts.port = port
    # Where there is no :authority, the field stays what names the host.
    parts.authority = authority or b""
    if authority and host is not None and host != authority:
        _check_host(parts, host, mode)


def _faulty_path(parts: RequestParts, path: bytes, mode: Mode) -> bytes:
    """Return a path without the fragment that it has, as an HTTP/1 target would lose it."""
    kept, _, _ = path.partition(b"#")
    if mode == "reject" or LENIENT_TARGET.fullmatch(path) is None:
        raise request_fault(f"{quoted(path)} is no path", "target-invalid")
    parts.anomalies += ("target-fragment",)
    return path if mode == "pass" else kept


def _parse_authority(text: bytes, code: str) -> tuple[bytes, int | None]:
    try:
        return parse_authority(text)
    except ValueError as error:
        raise request_fault(f"host {quoted(text)}: {error}", code) from error


def _check_host(parts: RequestParts, host: bytes, mode: Mode) -> None:
    """RFC 9113 section 8.3.1: a host field that differs from :authority is a fault."""
    other, port = _parse_authority(host, "host-invalid")
    default = DEFAULT_PORTS.get(parts.scheme, parts.port)
    if other.lower() == parts.host.lower() and (port or default) == parts.port:
        return
    if mode == "reject":
        raise request_fault(
            f":authority {quoted(parts.authority)} and host {quoted(host)} differ", "host-mismatch"
        )
    parts.fields = tuple(
        (name, parts.authority) if name == b"host" else (name, value)
        for name, value in parts.fields
    )
    parts.anomalies += ("host-mismatch",)


class ResponseParts:
    """What a response's field list was found to mean."""

    __slots__ = ("anomalies", "fields", "framing", "special", "status")

    status: int
    fields: Fields
    special: bool
    anomalies: tuple[str, ...]
    framing: Framing | None

    def response(self, now: float) -> Response:
        """Return a new response."""
        response = Response(VERSION, self.status, b"", Headers.from_wire(self.fields, None), now)
        if self.anomalies:
            response.anomalies = self.anomalies
        return response


def parse_response(entries: list[Entry], mode: Mode) -> ResponseParts:
    """Make sense of a response's field list; RFC 9113 section 8.3.2.

    Raises `RemoteProtocolError`, status 502, with code ``response-malformed``.
    """
    judge: _Judge | None = None
    status = b""
    fields: list[tuple[bytes, bytes]] = []
    special = False
    for field, kind, _ in entries:
        if not kind:
            fields.append(field)
        elif kind == _STATUS and not fields and not status:
            status = field[1]
        elif kind >= _PSEUDO:
            raise response_fault(f"{field[0][:80]!r} has no place here", "malformed")
        else:
            if kind >= _FAULTY_VALUE:
                if judge is None:
                    judge = _Judge(mode, True)
                field = judge.field(*field, kind)
                kind = FIELD_KINDS[field[0]]
            special = special or kind > 0
            fields.append(field)
    if _STATUS_CODE.fullmatch(status) is None:
        raise response_fault(f":status {status[:80]!r} is none", "malformed")
    parts = ResponseParts()
    parts.status = int(status)
    if parts.status == 101:
        # RFC 9113 section 8.6
        raise response_fault("there is no status 101 in HTTP/2", "malformed")
    parts.fields = tuple(fields)
    parts.special = special
    parts.anomalies = () if judge is None else tuple(judge.anomalies)
    parts.framing = None
    return parts


def frame_response(parts: ResponseParts, method: bytes, mode: Mode) -> Framing:
    """Return the framing of a response to ``method``.

    Raises `RemoteProtocolError` with the codes of `interceptor.wire.framing.response_framing`.
    """
    usual = method != b"HEAD" and method != b"CONNECT"
    if usual and parts.framing is not None:
        return parts.framing
    if parts.special or not usual or parts.status < 200 or parts.status in (204, 304):
        framing = response_framing(method, VERSION, parts.status, parts.fields, mode)
    else:
        framing = _UNTIL_END
    if parts.anomalies:
        anomalies = tuple(dict.fromkeys(parts.anomalies + framing.anomalies))
        framing = framing.with_anomalies(anomalies)
    if usual:
        parts.framing = framing
    return framing


def parse_trailers(entries: list[Entry], mode: Mode, is_response: bool) -> Headers:
    """Return trailers; RFC 9113 section 8.1.

    Raises `RemoteProtocolError` for pseudo-headers, fields about the connection and what no field
    may be.
    """
    fault = response_fault if is_response else request_fault
    judge = _Judge(mode, is_response)
    fields = []
    for field, kind, _ in entries:
        if kind:
            if kind >= _PSEUDO:
                raise judge.malformed(f"{field[0][:80]!r} is among the trailers")
            if kind >= _FAULTY_VALUE:
                field = judge.field(*field, kind)
                kind = FIELD_KINDS[field[0]]
            if kind in _FRAMING_KINDS:
                raise fault(f"{field[0]!r} is among the trailers", "trailer-forbidden")
        fields.append(field)
    return Headers.from_wire(tuple(fields), None)


CONNECTION_SPECIFIC: Final = frozenset((CONNECTION, TRANSFER_ENCODING, UPGRADE, HOP_BY_HOP))
_FRAMING_KINDS: Final = frozenset((*CONNECTION_SPECIFIC, HOST, CONTENT_LENGTH, TE))
