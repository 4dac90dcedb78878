"""STARTTLS in protocols of packets: PostgreSQL, MySQL and LDAP (RFC 4511)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire.starttlsspeech import Heard, Speech

_SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_GSS_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x30"

_MYSQL_PACKET: Final = 1024
"""Bytes of the packets at the beginning of MySQL, at most: there are names in them, no data."""
_PROTOCOL_10: Final = b"\x0a"
_CLIENT_SSL: Final = 0x0800

_START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
_LDAP_KEPT: Final = 128
_EXTENDED_REQUEST, _EXTENDED_RESPONSE = 0x77, 0x78


class PostgreSQL(Speech):
    """PostgreSQL: a client asks with SSLRequest, alone or after GSSENCRequest, and is told S or N.

    See "SSL Session Encryption" in the chapter "Message Flow" of its manual.
    """

    __slots__ = ("_packet", "_requests")

    def __init__(self) -> None:
        self._packet = b""
        self._requests: list[bytes] = []

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        at = start
        while at < len(data):
            piece = data[at : at + 8 - len(self._packet)]
            self._packet += piece
            at += len(piece)
            if len(self._packet) == 8:
                packet, self._packet = self._packet, b""
                if packet not in (_SSL_REQUEST, _GSS_REQUEST):
                    # The session begins, or a query is to be cancelled: in plain text.
                    return Heard.OVER, at
                self._requests.append(packet)
                if packet == _SSL_REQUEST:
                    return Heard.ASKS, at
        return Heard.NOTHING, at

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for at in range(start, len(data)):
            answer = data[at : at + 1]
            if self._requests and answer == b"N":
                if self._requests.pop(0) == _SSL_REQUEST:
                    return Heard.REFUSES, at + 1
            elif self._requests[:1] == [_SSL_REQUEST] and answer == b"S":
                return Heard.AGREES, at + 1
            else:
                # An error of an old server's, or GSSAPI encryption.
                return Heard.OVER, at + 1
        return Heard.NOTHING, len(data)


class MySQL(Speech):
    """MySQL and MariaDB: a client whose answer to the greeting says so goes on in TLS at once.

    See "Connection Phase" and "Protocol::SSLRequest" in MySQL's source documentation.
    """

    __slots__ = ("_client", "_early", "_greeted", "_server")

    def __init__(self) -> None:
        self._client = self._server = b""
        self._greeted = False
        self._early = False

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        if self._greeted:
            self._early = True
            return Heard.NOTHING, len(data)
        before = len(self._server)
        self._server += data[start:]
        size = _packet_size(self._server)
        if size > _MYSQL_PACKET:
            return Heard.OVER, len(data)
        if len(self._server) < max(size, 5):
            return Heard.NOTHING, len(data)
        self._greeted = True
        self._early = len(self._server) > size
        greeting = self._server[4:size]
        # The version is text up to a zero; a thread's number, a nonce and a zero take 13 bytes.
        version = greeting.find(b"\0")
        capabilities = greeting[version + 14 : version + 16]
        if (
            greeting[:1] != _PROTOCOL_10
            or version < 0
            or not int.from_bytes(capabilities, "little") & _CLIENT_SSL
        ):
            return Heard.OVER, size - before + start
        return Heard.NOTHING, len(data)

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        before = len(self._client)
        self._client += data[start : start + _MYSQL_PACKET]
        size = _packet_size(self._client)
        if not self._greeted or size > _MYSQL_PACKET:
            return Heard.OVER, len(data)
        if len(self._client) < max(size, 6):
            return Heard.NOTHING, len(data)
        if size < 6 or not int.from_bytes(self._client[4:6], "little") & _CLIENT_SSL:
            return Heard.OVER, len(data)
        if self._early:
            raise RemoteProtocolError(
                "the server sent more than its greeting in plain text before TLS began",
                "starttls-injection",
            )
        return Heard.AGREES, size - before + start


def _packet_size(data: bytes) -> int:
    """Give the size of the packet that ``data`` begins with, header included; 0 if unknown."""
    return 4 + int.from_bytes(data[:3], "little") if len(data) >= 4 else 0


class LDAP(Speech):
    """LDAP: the extended operation StartTLS, and the response with the same number."""

    __slots__ = ("_client", "_number", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Messages(), _Messages()
        self._number: bytes | None = None

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for message, at in self._client.feed(data, start):
            if message is None:
                return Heard.OVER, len(data)
            number, operation, content = _message(message)
            if operation == _EXTENDED_REQUEST and _element(content) == (0x80, _START_TLS):
                self._number = number
                return Heard.ASKS, at
        return Heard.NOTHING, len(data)

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for message, at in self._server.feed(data, start):
            if message is None:
                return Heard.OVER, len(data)
            number, operation, content = _message(message)
            if number == self._number and operation == _EXTENDED_RESPONSE:
                self._number = None
                agrees = _element(content) == (0x0A, b"\0")
                return (Heard.AGREES if agrees else Heard.REFUSES), at
        return Heard.NOTHING, len(data)


class _Messages:
    """Splits one direction into LDAP's messages; of each it gives the beginning."""

    __slots__ = ("_header", "_kept", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._kept = b""
        self._left = 0

    def feed(self, data: bytes, start: int) -> Iterator[tuple[bytes | None, int]]:
        """Give what the messages that end in ``data`` contain, and where they end.

        None is for what is no message: nothing comes after it.
        """
        at = start
        while at < len(data):
            if not self._left:
                self._header += data[at : at + 1]
                at += 1
                size = _header_size(self._header)
                if size is None or size == 0:
                    yield None, at
                    return
                if size > 0:
                    self._left, self._header, self._kept = size, b"", b""
                continue
            step = min(self._left, len(data) - at)
            self._kept += data[at : at + min(step, _LDAP_KEPT - len(self._kept))]
            at += step
            self._left -= step
            if not self._left:
                yield self._kept, at


def _header_size(header: bytes) -> int | None:
    """Give how much follows a header, -1 while it is not complete, None if it is none."""
    if header[0] != 0x30:
        return None
    if len(header) < 2:
        return -1
    length = header[1]
    if length < 0x80:
        return length
    octets = length & 0x7F
    if not 0 < octets <= 4:
        return None
    if len(header) < 2 + octets:
        return -1
    return int.from_bytes(header[2:], "big")


def _message(data: bytes) -> tuple[bytes, int, bytes]:
    """Give a message's number, its operation's tag and content; these are empty where cut off."""
    tag, number = _element(data)
    if tag != 0x02:
        return b"", 0, b""
    operation, content = _element(data[2 + len(number) :])
    return number.lstrip(b"\0"), operation, content


def _element(data: bytes) -> tuple[int, bytes]:
    """Give the tag and the content of the element that ``data`` begins with."""
    if len(data) < 2:
        return 0, b""
    if data[1] < 0x80:
        return data[0], data[2 : 2 + data[1]]
    start = 2 + (data[1] & 0x7F)
    return data[0], data[start : start + int.from_bytes(data[2:start], "big")]
