"""The ClientHello: what a client says before a byte of TLS is answered (RFC 8446, section 4.1.2).

The reader is incremental: a hello may be split anywhere, over segments and over records. It judges
the outer form only, and as strictly as OpenSSL would, so that nothing is read in one way here and
in another way by whoever does the handshake.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from interceptor.errors import RemoteProtocolError

TLS_1_0: Final = 0x0301
TLS_1_1: Final = 0x0302
TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304

HELLO_LIMIT: Final = 65536
"""Largest ClientHello, in bytes on the wire with the headers of its records."""

KeyType = Literal["ecdsa", "rsa"]

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_LIMIT = 1 << 14
_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _VERSIONS, _ECH = 0, 10, 13, 16, 43, 0xFE0D
_P256 = 23
# RFC 8701: 0x0A0A, 0x1A1A, … 0xFAFA, for suites, groups, versions, signatures and extensions.
_GREASE: Final = frozenset(0x0A0A + 0x1010 * i for i in range(16))
_GREASE_ALPN: Final = frozenset(struct.pack(">H", value) for value in _GREASE)

_TLS_1_3_SUITES: Final = frozenset(range(0x1301, 0x1308))
# Suites of TLS 1.2 and before by how the server proves itself, from the registry of IANA.
_ECDSA_SUITES: Final = frozenset(
    (
        *range(0xC006, 0xC00B),
        *(0xC023, 0xC024, 0xC02B, 0xC02C, 0xC048, 0xC049, 0xC05C, 0xC05D, 0xC072, 0xC073),
        *(0xC086, 0xC087, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA9),
    )
)
_RSA_SUITES: Final = frozenset(
    (
        # The key exchange is RSA itself.
        *range(0x0001, 0x000B),
        *(0x002F, 0x0035, 0x003B, 0x003C, 0x003D, 0x0041, 0x0084, 0x0096, 0x009C, 0x009D, 0x00BA),
        *(0x00C0, 0xC03C, 0xC03D, 0xC050, 0xC051, 0xC07A, 0xC07B, 0xC09C, 0xC09D, 0xC0A0, 0xC0A1),
        # DHE_RSA.
        *(0x0014, 0x0015, 0x0016, 0x0033, 0x0039, 0x0045, 0x0067, 0x006B, 0x0088, 0x009A, 0x009E),
        *(0x009F, 0x00BE, 0x00C4, 0xC044, 0xC045, 0xC052, 0xC053, 0xC07C, 0xC07D, 0xC09E, 0xC09F),
        *(0xC0A2, 0xC0A3, 0xCCAA),
        # ECDHE_RSA.
        *range(0xC010, 0xC015),
        *(0xC027, 0xC028, 0xC02F, 0xC030, 0xC04C, 0xC04D, 0xC060, 0xC061, 0xC076, 0xC077, 0xC08A),
        *(0xC08B, 0xCCA8),
    )
)
_RSA_PSS: Final = frozenset((0x0804, 0x0805, 0x0806))
_ECDSA_P256_SHA256: Final = 0x0403


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client offers, in its own order.

    The reserved values of RFC 8701 (GREASE) are left out of every list; ``grease`` tells that there
    were some, and ``raw`` has them. ``raw`` is the hello as received, with its records' headers.

    ``sni`` is the name as sent, printable ASCII, or None; a port behind it, which some programs
    written in Go add and no server needs, is left out. ``versions`` holds numbers such as
    `TLS_1_3`; a client without the extension supported_versions offers all versions up to the one
    that then stands there. ``extensions`` are type numbers. ``has_ech`` tells that
    encrypted_client_hello is there: ``sni`` may then be the name of a front.
    """

    sni: str | None
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]
    cipher_suites: tuple[int, ...]
    signature_algorithms: tuple[int, ...]
    groups: tuple[int, ...]
    extensions: tuple[int, ...]
    session_id: bytes
    legacy_version: int
    has_ech: bool
    grease: bool
    raw: bytes

    @property
    def supports_ecdsa(self) -> bool:
        """Whether the client takes a P-256 certificate in the highest version it offers."""
        return self.accepts("ecdsa", max(self.versions, default=0))

    @property
    def supports_rsa(self) -> bool:
        """Whether the client takes an RSA certificate in the highest version it offers."""
        return self.accepts("rsa", max(self.versions, default=0))

    def accepts(self, key: KeyType, version: int) -> bool:
        """Tell whether the client takes a certificate with such a key in a handshake of a version.

        An ``ecdsa`` key is meant to be on the curve P-256.
        """
        signatures = self.signature_algorithms
        if version >= TLS_1_3 and not _TLS_1_3_SUITES.isdisjoint(self.cipher_suites):
            if key == "ecdsa":
                return _ECDSA_P256_SHA256 in signatures
            return not _RSA_PSS.isdisjoint(signatures)
        if key == "ecdsa":
            # RFC 8422, section 5.1: the curves listed are those of certificates too, up to TLS 1.2.
            if _ECDSA_SUITES.isdisjoint(self.cipher_suites):
                return False
            if self.groups and _P256 not in self.groups:
                return False
        elif _RSA_SUITES.isdisjoint(self.cipher_suites):
            return False
        if not signatures or version < TLS_1_2:
            return True  # RFC 5246, section 7.4.1.4.1: SHA-1 with either kind is then understood.
        low = 3 if key == "ecdsa" else 1
        if any(each & 0xFF == low and each >> 8 < 7 for each in signatures):
            return True
        return key == "rsa" and not _RSA_PSS.isdisjoint(signatures)


def looks_like_tls(data: bytes | bytearray) -> bool | None:
    """Tell whether a client that begins with ``data`` speaks TLS; None while that is not clear.

    Three bytes decide: a record of the type handshake, with 3 as the major version. The hello of
    SSL 2, with which nobody begins any more, is not recognised.
    """
    if data and data[0] != _HANDSHAKE:
        return False
    if len(data) > 1 and data[1] != 3:
        return False
    return data[2] <= 4 if len(data) > 2 else None


class ClientHelloReader:
    """Reads one ClientHello; ``limit`` is the most bytes it may take on the wire."""

    __slots__ = ("_buffer", "_error", "_hello", "_left", "_limit", "_message", "_position")

    def __init__(self, limit: int = HELLO_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._message = bytearray()
        self._position = 0
        self._left = 0
        self._hello: ClientHello | None = None
        self._error: RemoteProtocolError | None = None

    @property
    def data(self) -> bytes:
        """Everything that was fed, also what came behind the hello."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> ClientHello | None:
        """Take bytes, and give the hello as soon as it is complete; None asks for more.

        Raises `RemoteProtocolError` with the code ``tls-not-tls``, ``tls-hello-malformed`` or
        ``tls-hello-too-large`` as soon as the bytes seen tell, and again when fed after that.
        """
        self._buffer += data
        if self._error is not None:
            raise self._error
        if self._hello is None:
            try:
                self._read()
            except RemoteProtocolError as error:
                self._error = error
                raise
        return self._hello

    def _read(self) -> None:
        buffer, message = self._buffer, self._message
        while True:
            if not self._left and not self._begin_record():
                return
            piece = buffer[self._position : self._position + self._left]
            if not piece:
                return
            self._position += len(piece)
            self._left -= len(piece)
            message += piece
            if message[0] != _CLIENT_HELLO:
                raise _malformed("the first message of the handshake is not a ClientHello")
            if len(message) < 4:
                continue
            length = 4 + int.from_bytes(message[1:4], "big")
            if length > self._limit:
                raise _too_large(self._limit)
            if len(message) >= length:
                # RFC 8446, section 5.1: what changes keys ends a record. Nobody sends more before
                # having been answered, either.
                if len(message) > length or self._left:
                    raise _malformed("bytes follow the ClientHello in its record")
                raw = bytes(buffer[: self._position])
                self._hello = _parse(bytes(message[4:]), raw)
                self._message = bytearray()
                return

    def _begin_record(self) -> bool:
        """Read the header of a record, if it is there; what is there of it has to be right."""
        header = self._buffer[self._position : self._position + 5]
        if self._position == 0:
            if looks_like_tls(header) is False:
                raise RemoteProtocolError("the client does not speak TLS", "tls-not-tls")
        elif header and header[0] != _HANDSHAKE:
            raise _malformed("another record interrupts the ClientHello")
        if len(header) < 5:
            return False
        # RFC 8446, section 5.1: the version of a record is to be ignored, and a fragment of a
        # handshake has at least one byte.
        length = header[3] << 8 | header[4]
        if not 0 < length <= _RECORD_LIMIT:
            raise _malformed("a record of the ClientHello has a forbidden length")
        if self._position + 5 + length > self._limit:
            raise _too_large(self._limit)
        self._position += 5
        self._left = length
        return True


def _malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed ClientHello: {what}", "tls-hello-malformed")


def _too_large(limit: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"ClientHello larger than {limit} bytes", "tls-hello-too-large")


def _parse(body: bytes, raw: bytes) -> ClientHello:
    """Read the message behind its header."""
    if len(body) < 35:
        raise _malformed("it is too short")
    legacy_version = body[0] << 8 | body[1]
    # Two bytes of version and 32 of random come first.
    session_id, at = _vector(body, 34, 1, "the session identifier")
    if len(session_id) > 32:
        raise _malformed("the session identifier is too long")
    suites, at = _vector(body, at, 2, "the cipher suites")
    suite_numbers = _numbers(suites, "the cipher suites")
    compression, at = _vector(body, at, 1, "the compression methods")
    if not compression:
        raise _malformed("there is no compression method")
    fields: dict[int, bytes] = {}
    if at < len(body):
        block, at = _vector(body, at, 2, "the extensions")
        if at < len(body):
            raise _malformed("bytes follow the extensions")
        fields = _extensions(block)

    versions: tuple[int, ...]
    if _VERSIONS in fields:
        versions = _list(fields[_VERSIONS], 1, "supported_versions")
    else:
        # RFC 8446, section 4.2.1: without the extension nothing above TLS 1.2 is meant.
        versions = (min(legacy_version, TLS_1_2),)
    groups = _list(fields[_GROUPS], 2, "supported_groups") if _GROUPS in fields else ()
    signatures: tuple[int, ...] = ()
    if _SIGNATURES in fields:
        signatures = _list(fields[_SIGNATURES], 2, "signature_algorithms")
    alpn = _alpn(fields[_ALPN]) if _ALPN in fields else ()
    offered = (*suite_numbers, *fields, *versions, *groups, *signatures)
    return ClientHello(
        sni=_server_name(fields[_SERVER_NAME]) if _SERVER_NAME in fields else None,
        alpn=tuple([name for name in alpn if name not in _GREASE_ALPN]),
        versions=_meant(versions),
        cipher_suites=_meant(suite_numbers),
        signature_algorithms=_meant(signatures),
        groups=_meant(groups),
        extensions=_meant(tuple(fields)),
        session_id=session_id,
        legacy_version=legacy_version,
        has_ech=_ECH in fields,
        grease=not (_GREASE.isdisjoint(offered) and _GREASE_ALPN.isdisjoint(alpn)),
        raw=raw,
    )


def _vector(data: bytes, at: int, width: int, what: str) -> tuple[bytes, int]:
    """Give a vector whose length takes ``width`` bytes, and where it ends."""
    start = at + width
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise _malformed(f"{what} are cut short" if what.endswith("s") else f"{what} is cut short")
    return data[start:end], end


def _numbers(data: bytes, what: str) -> tuple[int, ...]:
    """Give the 16-bit numbers that ``data`` consists of, at least one."""
    if not data or len(data) & 1:
        raise _malformed(f"the length of {what} is wrong")
    return struct.unpack(f">{len(data) >> 1}H", data)


def _list(data: bytes, width: int, what: str) -> tuple[int, ...]:
    """Give the numbers of an extension that is one list."""
    inner, end = _vector(data, 0, width, what)
    if end != len(data):
        raise _malformed(f"the length of {what} is wrong")
    return _numbers(inner, what)


def _extensions(block: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    at, end = 0, len(block)
    while at < end:
        number = int.from_bytes(block[at : at + 2], "big")
        content, at = _vector(block, at + 2, 2, "an extension")
        # RFC 8446, section 4.2: "There MUST NOT be more than one extension of the same type".
        if number in fields:
            raise _malformed(f"the extension {number} is there twice")
        fields[number] = content
    return fields


def _server_name(data: bytes) -> str | None:
    """Give the host name of RFC 6066, section 3."""
    names, end = _vector(data, 0, 2, "server_name")
    if not names or end != len(data):
        raise _malformed("the length of server_name is wrong")
    found: str | None = None
    at = 0
    while at < len(names):
        kind = names[at]
        name, at = _vector(names, at + 1, 2, "server_name")
        if kind != 0:
            continue
        # "MUST NOT contain more than one name of the same name_type". OpenSSL takes 255 bytes.
        if found is not None or not 0 < len(name) <= 255:
            raise _malformed("server_name has no or several host names")
        if not all(0x20 < byte < 0x7F for byte in name):
            raise _malformed("server_name holds characters that no host name has")
        host, colon, port = name.rpartition(b":")
        if colon and host and port.isdigit() and b":" not in host:
            name = host
        found = name.decode("ascii")
    return found


def _alpn(data: bytes) -> tuple[bytes, ...]:
    """Give the protocol names of RFC 7301, section 3.1."""
    names, end = _vector(data, 0, 2, "the ALPN list")
    if not names or end != len(data):
        raise _malformed("the length of the ALPN list is wrong")
    found = []
    at = 0
    while at < len(names):
        name, at = _vector(names, at, 1, "the ALPN list")
        if not name:
            raise _malformed("the ALPN list holds an empty name")
        found.append(name)
    return tuple(found)


def _meant(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if _GREASE.isdisjoint(numbers):
        return numbers
    return tuple([number for number in numbers if number not in _GREASE])
