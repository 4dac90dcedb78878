"""How long a message's body is, and whether the connection survives it: for every HTTP version.

One place decides this (RFC 9112 section 6, RFC 9113 section 8.1.1), because two places that decide
it differently are what request smuggling is made of. Three settings exist:

``reject``
    nothing that breaks the grammar passes;
``repair``
    what has only one meaning is understood, marked as an anomaly, and sent on clean;
``pass``
    cosmetic faults travel on as they came.

Ambiguous framing is passed on in none of them: two lengths that differ, a length beside a transfer
coding in a request, a coding that is not ``chunked``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

from interceptor.errors import RemoteProtocolError

Mode = Literal["reject", "repair", "pass"]
"""The setting of the option ``http_framing``."""

Fields = tuple[tuple[bytes, bytes], ...]

BodyKind = Literal["none", "length", "chunked", "eof", "tunnel"]


class Framing:
    """Where a message ends, and what its connection fields ask for. Treat as immutable.

    ``kind`` is ``none`` (no body), ``length``, ``chunked``, ``eof`` (the body ends with the
    connection, or with the stream in HTTP/2) or ``tunnel`` (what follows is no HTTP).
    ``length`` is the body's length in bytes, 0 for ``none`` and ``tunnel``, None when unknown.
    ``keep_alive`` tells whether the sender lets the connection carry another message.
    ``expect_continue`` tells whether the client waits for a 100 response (RFC 9110 section 10.1.1).
    ``upgrade`` is the value of the Upgrade field where one is asked for or granted; never ``h2c``.
    ``anomalies`` are stable names of the faults that were tolerated.
    ``alternatives`` tells whether a response offers alternative services (RFC 7838). It has no
    part in framing: it is told here because this is where all fields are looked at.
    """

    __slots__ = (
        "alternatives",
        "anomalies",
        "expect_continue",
        "keep_alive",
        "kind",
        "length",
        "upgrade",
    )

    def __init__(
        self,
        kind: BodyKind,
        length: int | None,
        keep_alive: bool,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
        anomalies: tuple[str, ...] = (),
        alternatives: bool = False,
    ) -> None:
        self.kind = kind
        self.length = length
        self.keep_alive = keep_alive
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.anomalies = anomalies
        self.alternatives = alternatives

    def with_anomalies(self, anomalies: tuple[str, ...]) -> Framing:
        """Return the same with these anomalies."""
        return self._changed(anomalies, self.alternatives)

    def with_alternatives(self) -> Framing:
        """Return the same of a response that offers alternative services."""
        return self._changed(self.anomalies, True)

    def _changed(self, anomalies: tuple[str, ...], alternatives: bool) -> Framing:
        return Framing(
            self.kind,
            self.length,
            self.keep_alive,
            self.expect_continue,
            self.upgrade,
            anomalies,
            alternatives,
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Framing({values})"


# What a field name means to framing and forwarding. Zero is every other valid name.
INVALID_NAME: Final = -1
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
UPGRADE: Final = 5
TE: Final = 6
EXPECT: Final = 7
HOP_BY_HOP: Final = 8
PROXY_CHALLENGE: Final = 9
ALT_SVC: Final = 10

_KINDS: Final = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"te": TE,
    b"expect": EXPECT,
    b"keep-alive": HOP_BY_HOP,
    b"proxy-connection": HOP_BY_HOP,
    b"proxy-authorization": HOP_BY_HOP,
    b"http2-settings": HOP_BY_HOP,
    b"proxy-authenticate": PROXY_CHALLENGE,
    b"proxy-authentication-info": PROXY_CHALLENGE,
    b"alt-svc": ALT_SVC,
}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")


class FieldKinds(dict[bytes, int]):
    """Field names, in the case they come in, to what they mean: one look-up on the hot path.

    Names that were met are remembered, up to ``limit`` of them and only short ones, so that a
    peer that invents names cannot fill the memory.
    """

    def __init__(self, limit: int = 4096) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, name: bytes) -> int:
        if _TOKEN.fullmatch(name) is None:
            kind = INVALID_NAME
        else:
            kind = _KINDS.get(name.lower(), 0)
        if len(self) < self._limit and len(name) <= 64:
            self[name] = kind
        return kind


FIELD_KINDS: Final = FieldKinds()

# Fields that say something about the whole message, not about one connection. A Connection option
# that names one of them is not obeyed: it would let a peer take credentials, routing or framing
# out of a message behind the back of whoever relies on them (RFC 9110 section 7.6.1 forbids it).
_END_TO_END = frozenset(
    b"age authorization authentication-info cache-control cookie date etag expect expires forwarded"
    b" from host last-modified link location max-forwards origin pragma priority range referer"
    b" retry-after server set-cookie trailer user-agent vary via www-authenticate"
    b" strict-transport-security x-real-ip x-request-id true-client-ip".split()
)
_END_TO_END_PREFIXES = (b"accept", b"access-control-", b"content-", b"if-", b"sec-", b"x-forwarded")


@lru_cache(maxsize=256)
def _parse_options(value: bytes) -> frozenset[bytes]:
    return frozenset(option for part in value.split(b",") if (option := part.strip(b" \t").lower()))


def connection_options(value: bytes) -> frozenset[bytes]:
    """Return the options of a Connection field in lower case (RFC 9110 section 7.6.1)."""
    if len(value) > 128:
        return _parse_options.__wrapped__(value)
    return _parse_options(value)


def is_end_to_end(lower_name: bytes) -> bool:
    """Whether a field, its name in lower case, travels on though a Connection option names it."""
    return lower_name in _END_TO_END or lower_name.startswith(_END_TO_END_PREFIXES)


# Options that take no further field out: either they name none, or what becomes of that field is
# decided elsewhere. Transfer-Encoding goes with the body as it is sent, whatever the peer named.
_PLAIN_OPTIONS = frozenset(b"close keep-alive upgrade te http2-settings transfer-encoding".split())


def named_by_connection(options: frozenset[bytes]) -> frozenset[bytes]:
    """Return the lower-case names of further fields that must not travel on."""
    if options <= _PLAIN_OPTIONS:
        return frozenset()
    return frozenset(name for name in options - _PLAIN_OPTIONS if not is_end_to_end(name))


def wanted_upgrade(value: bytes) -> bytes | None:
    """Return an Upgrade field's value without ``h2c``, which is never forwarded; None if empty.

    HTTP/2 in clear text would take the rest of the connection out of every hook's sight
    (RFC 9113 section 3.1 made it obsolete).
    """
    protocols = [part.strip(b" \t") for part in value.split(b",")]
    kept = [name for name in protocols if name and name.lower() != b"h2c"]
    if not kept:
        return None
    return value if len(kept) == len(protocols) else b", ".join(kept)


class _Fault:
    """Turns a code into the error for a request (400) or a response (502, ``response-…``)."""

    __slots__ = ("_prefix", "_status")

    def __init__(self, prefix: str, status: int) -> None:
        self._prefix = prefix
        self._status = status

    def __call__(self, message: str, code: str, status: int | None = None) -> RemoteProtocolError:
        if status is None or self._status == 502:
            status = self._status
        return RemoteProtocolError(message, self._prefix + code, status)


request_fault: Final = _Fault("", 400)
response_fault: Final = _Fault("response-", 502)

_MAX_LENGTH_DIGITS = 18


def _content_length(values: list[bytes], mode: Mode, fault: _Fault) -> tuple[int, tuple[str, ...]]:
    """Return the length and the anomalies; RFC 9112 section 6.3, item 5."""
    value = values[0]
    # bytes.isdigit knows ASCII digits only; int() alone would take signs, spaces and underscores.
    canonical = value.isdigit() and (value[0] != 0x30 or value == b"0")
    if canonical and len(values) == 1 and len(value) <= _MAX_LENGTH_DIGITS:
        return int(value), ()
    parts = [part.strip(b" \t") for item in values for part in item.split(b",")]
    for part in parts:
        if not part.isdigit():
            raise fault(f"Content-Length {part!r} is not a number", "length-invalid")
        if len(part) > _MAX_LENGTH_DIGITS:
            raise fault(f"Content-Length {part!r} is out of range", "length-invalid")
        if part != parts[0]:
            raise fault(f"Content-Length is both {parts[0]!r} and {part!r}", "length-conflict")
    if mode == "reject":
        raise fault(f"Content-Length {b', '.join(values)!r} is not canonical", "length-invalid")
    anomalies: tuple[str, ...] = ()
    if len(parts) > 1:
        anomalies += ("length-repeated",)
    if parts[0][0] == 0x30 and parts[0] != b"0":
        anomalies += ("length-not-canonical",)
    return int(parts[0]), anomalies


_CONNECTION_SPECIFIC = frozenset((CONNECTION, UPGRADE, HOP_BY_HOP, TRANSFER_ENCODING))
_HTTP2_PROXY_FIELDS = frozenset((b"proxy-authorization",))


def _check_http2(fields: Fields, fault: _Fault) -> None:
    """Refuse what HTTP/2 and HTTP/3 have no place for; RFC 9113 section 8.2.2."""
    for name, value in fields:
        kind = FIELD_KINDS[name]
        if kind in _CONNECTION_SPECIFIC and name.lower() not in _HTTP2_PROXY_FIELDS:
            raise fault(f"field {name!r} has no place in this version", "connection-field")
        if kind == TE and value.lower() != b"trailers":
            raise fault(f"TE {value!r} has no place in this version", "connection-field")


_PLAIN = Framing("none", 0, True)
_PLAIN_CLOSE = Framing("none", 0, False)
_CHUNKED = Framing("chunked", None, True)
_TUNNEL = Framing("tunnel", 0, False)


def request_framing(
    method: bytes, version: bytes, fields: Fields, mode: Mode
) -> tuple[Framing, bytes | None]:
    """Decide a request's framing; also return the value of its one Host field, if it has any.

    ``version`` is as on the wire (``HTTP/1.1``); any other than 1.0 and 1.1 is framed by its
    streams, so that Transfer-Encoding and the connection fields are errors there.

    Raises `RemoteProtocolError` with code ``length-invalid``, ``length-conflict``,
    ``framing-conflict``, ``transfer-encoding-unknown``, ``host-invalid`` or ``connection-field``.
    """
    host: bytes | None = None
    connection: bytes | None = None
    upgrade: bytes | None = None
    coding: bytes | None = None
    lengths: list[bytes] | None = None
    expect = False
    kinds = FIELD_KINDS
    for name, value in fields:
        kind = kinds[name]
        if kind > 0:
            if kind == HOST:
                if host is not None:
                    raise request_fault("there is more than one Host field", "host-invalid")
                host = value
            elif kind == CONNECTION:
                connection = value if connection is None else connection + b"," + value
            elif kind == CONTENT_LENGTH:
                if lengths is None:
                    lengths = [value]
                else:
                    lengths.append(value)
            elif kind == TRANSFER_ENCODING:
                coding = value if coding is None else coding + b"," + value
            elif kind == UPGRADE:
                upgrade = value if upgrade is None else upgrade + b"," + value
            elif kind == EXPECT:
                expect = value.lower() == b"100-continue"

    if version == b"HTTP/1.1":
        keep_alive = True
    elif version == b"HTTP/1.0":
        keep_alive = False
    else:
        _check_http2(fields, request_fault)
        if lengths is None:
            return Framing("eof", None, True, expect), host
        length, anomalies = _content_length(lengths, mode, request_fault)
        return Framing("length", length, True, expect, None, anomalies), host

    options: frozenset[bytes] = frozenset()
    if connection is not None:
        options = connection_options(connection)
        # RFC 9112 section 9.3
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)

    if coding is not None:
        # RFC 9112 section 6.1: both fields together, or a coding from an HTTP/1.0 client, are the
        # marks of an attempt to smuggle; a coding other than chunked we cannot take off.
        if lengths is not None:
            raise request_fault(
                "the request has both Content-Length and Transfer-Encoding", "framing-conflict"
            )
        if version == b"HTTP/1.0":
            raise request_fault("HTTP/1.0 has no Transfer-Encoding", "framing-conflict")
        if coding.lower() != b"chunked":
            raise request_fault(
                f"Transfer-Encoding {coding!r} is not 'chunked'", "transfer-encoding-unknown"
            )
        if method == b"CONNECT":
            raise request_fault("CONNECT has no content", "framing-conflict")
        if options or upgrade is not None or expect:
            upgrade = _asked_upgrade(version, options, upgrade)
            return Framing("chunked", None, keep_alive, expect, upgrade), host
        return _CHUNKED, host

    if lengths is not None:
        length, anomalies = _content_length(lengths, mode, request_fault)
        if method == b"CONNECT" and length:
            raise request_fault("CONNECT has no content", "framing-conflict")
        if upgrade is not None:
            upgrade = _asked_upgrade(version, options, upgrade)
        # RFC 9110 section 10.1.1: an HTTP/1.0 client, or no content, makes the expectation void.
        expect = expect and length > 0 and version == b"HTTP/1.1"
        kind_of_body: BodyKind = "length" if length else "none"
        return Framing(kind_of_body, length, keep_alive, expect, upgrade, anomalies), host

    if upgrade is not None:
        upgrade = _asked_upgrade(version, options, upgrade)
        if upgrade is not None:
            return Framing("none", 0, keep_alive, False, upgrade), host
    return (_PLAIN if keep_alive else _PLAIN_CLOSE), host


def _asked_upgrade(
    version: bytes, options: frozenset[bytes], upgrade: bytes | None
) -> bytes | None:
    """RFC 9110 section 7.8: void without the Connection option, and in HTTP/1.0."""
    if upgrade is None or version == b"HTTP/1.0" or b"upgrade" not in options:
        return None
    return wanted_upgrade(upgrade)


def response_framing(
    method: bytes, version: bytes, status: int, fields: Fields, mode: Mode
) -> Framing:
    """Decide a response's framing (RFC 9112 section 6.3); ``method`` is that of the request.

    Raises `RemoteProtocolError`, status 502, with code ``response-length-invalid``,
    ``response-length-conflict``, ``response-transfer-encoding-unknown`` or
    ``response-connection-field``; in ``reject`` also ``response-framing-conflict``.
    """
    connection: bytes | None = None
    upgrade: bytes | None = None
    coding: bytes | None = None
    lengths: list[bytes] | None = None
    alternatives = False
    kinds = FIELD_KINDS
    for name, value in fields:
        kind = kinds[name]
        if kind > 0:
            if kind == CONTENT_LENGTH:
                if lengths is None:
                    lengths = [value]
                else:
                    lengths.append(value)
            elif kind == CONNECTION:
                connection = value if connection is None else connection + b"," + value
            elif kind == TRANSFER_ENCODING:
                coding = value if coding is None else coding + b"," + value
            elif kind == UPGRADE:
                upgrade = value if upgrade is None else upgrade + b"," + value
            elif kind == ALT_SVC:
                alternatives = True

    if alternatives:
        others = tuple([field for field in fields if kinds[field[0]] != ALT_SVC])
        return response_framing(method, version, status, others, mode).with_alternatives()

    version_1 = version[:7].upper() == b"HTTP/1."
    if not version_1:
        _check_http2(fields, response_fault)
        keep_alive = True
    elif version.endswith(b".0"):
        keep_alive = connection is not None and b"keep-alive" in connection_options(connection)
    else:
        keep_alive = connection is None or b"close" not in connection_options(connection)

    # Item 2: a 2xx answer to CONNECT has no content, whatever its fields say.
    if method == b"CONNECT" and 200 <= status <= 299:
        return _TUNNEL
    if status == 101:
        return Framing("tunnel", 0, False, False, wanted_upgrade(upgrade or b""))

    anomalies: tuple[str, ...] = ()
    length: int | None = None
    if lengths is not None:
        length, anomalies = _content_length(lengths, mode, response_fault)

    if coding is not None:
        coding = coding.lower()
        if coding == b"identity" and mode != "reject":
            # RFC 2616 had it and meant "none".
            anomalies += ("transfer-encoding-identity",)
            keep_alive = False
            coding = None
        elif coding != b"chunked":
            raise response_fault(
                f"Transfer-Encoding {coding!r} is not 'chunked'", "transfer-encoding-unknown"
            )

    # Item 1
    if method == b"HEAD" or status == 304:
        # Servers that send the last chunk after such a head are met with (a body is harder to
        # foresee): the connection is given up rather than its bytes taken for the next response.
        return Framing("none", 0, keep_alive and coding is None, False, None, anomalies)
    if status < 200 or status == 204:
        if coding is not None or length is not None:
            # RFC 9110 section 8.6, RFC 9112 section 6.1: neither field may be there.
            if mode == "reject":
                raise response_fault(
                    f"a response with status {status} announces a body", "framing-conflict"
                )
            anomalies += ("length-without-body",)
            keep_alive = keep_alive and coding is None and not length
        return Framing("none", 0, keep_alive, False, None, anomalies)

    if coding is not None:
        # Item 3: the coding overrides the length, which is dropped when the message is sent on.
        if length is not None:
            if mode == "reject":
                raise response_fault(
                    "the response has both Content-Length and Transfer-Encoding",
                    "framing-conflict",
                )
            return Framing("chunked", None, False, False, None, (*anomalies, "length-and-chunked"))
        if version.endswith(b".0"):
            if mode == "reject":
                raise response_fault("HTTP/1.0 has no Transfer-Encoding", "framing-conflict")
            return Framing("chunked", None, False, False, None, (*anomalies, "chunked-in-http10"))
        if keep_alive and not anomalies:
            return _CHUNKED
        return Framing("chunked", None, keep_alive, False, None, anomalies)

    if length is not None:
        kind_of_body: BodyKind = "length" if length else "none"
        return Framing(kind_of_body, length, keep_alive, False, None, anomalies)
    # Item 8; in HTTP/2 the stream's end takes the place of the connection's.
    return Framing("eof", None, not version_1, False, None, anomalies)
