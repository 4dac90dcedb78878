"""SOCKS 5 as a server speaks it: CONNECT of RFC 1928, and the user names of RFC 1929."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from interceptor.errors import RemoteProtocolError

NO_AUTHENTICATION: Final = 0x00
USER_PASSWORD: Final = 0x02
"""The methods that are known here (RFC 1928, section 3)."""

_VERSION, _CREDENTIALS_VERSION, _CONNECT = 5, 1, 1
_NO_METHOD = 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_COMMANDS = {2: "BIND", 3: "UDP ASSOCIATE"}

# "Request rejected or failed", in the words of SOCKS 4.
_REJECTED_4 = b"\x00\x5b" + bytes(6)

# What a name server could know, as in the target of CONNECT: no path of a socket, no port.
_HOST_NAME = re.compile(rb"[A-Za-z0-9\-._~]{1,255}")


class Reply(IntEnum):
    """How a request ended (RFC 1928, section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class SOCKS5Error(RemoteProtocolError):
    """The client broke the protocol, or asked for what there is not.

    ``answer`` is what it is to be sent before the connection ends, perhaps nothing.
    """

    def __init__(self, message: str, code: str, answer: bytes = b"") -> None:
        super().__init__(message, code)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Greeting:
    """The client's first message: the methods of authentication that it has."""

    methods: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password, each of 0 to 255 bytes. The password has no `repr`."""

    username: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """Where the client wants to be connected to: a name or the text of an address, and a port."""

    host: str
    port: int


SOCKS5Event = Greeting | Credentials | ConnectRequest

_Reader = Callable[["SOCKS5ServerCodec"], SOCKS5Event | None]


class SOCKS5ServerCodec:
    """Reads a client's messages, and makes the answers to them.

    `next_event` gives a `Greeting`, which is answered with `choose`; after the method
    `USER_PASSWORD` it gives `Credentials`, answered with `verdict`; then a `ConnectRequest`,
    answered with `reply`. A client may send ahead: what follows waits until the answer was made,
    and what follows the request is `take_rest`.

    No message is longer than 513 bytes, so that there is no limit to set.
    """

    __slots__ = ("_buffer", "_ended", "_read")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ended = False
        # Functions, not methods: a codec does not refer to itself.
        self._read: _Reader = SOCKS5ServerCodec._greeting

    @property
    def buffered(self) -> int:
        """How many bytes came that no event was made of."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take what the client sent."""
        self._buffer += data

    def receive_eof(self) -> None:
        """The client will send no more."""
        self._ended = True

    def next_event(self) -> SOCKS5Event | None:
        """Return the next message; None while it is incomplete, or an answer is due.

        Raises `SOCKS5Error` with code ``socks-version``, ``socks-malformed``,
        ``socks-command-unsupported``, ``socks-address-unsupported`` or ``socks-truncated``.
        """
        event = self._read(self)
        if event is None:
            if self._ended and self._read is not SOCKS5ServerCodec._answer_due:
                raise SOCKS5Error("the client left in the middle of SOCKS", "socks-truncated")
            return None
        self._read = SOCKS5ServerCodec._answer_due
        return event

    def take_rest(self) -> bytes:
        """Return, and forget, what came behind the messages."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    # Answers

    def choose(self, method: int) -> bytes:
        """Answer the greeting: the client shall use ``method``, one of those that it has."""
        codec = SOCKS5ServerCodec
        self._read = codec._credentials if method == USER_PASSWORD else codec._request
        return bytes((_VERSION, method))

    @staticmethod
    def no_method() -> bytes:
        """Answer the greeting: no method will do. The connection ends then."""
        return bytes((_VERSION, _NO_METHOD))

    def verdict(self, accepted: bool) -> bytes:
        """Answer the credentials. If they are not accepted the connection ends (RFC 1929)."""
        if accepted:
            self._read = SOCKS5ServerCodec._request
        return bytes((_CREDENTIALS_VERSION, 0 if accepted else Reply.NOT_ALLOWED))

    @staticmethod
    def reply(code: Reply, bound: tuple[str, int] | None = None) -> bytes:
        """Answer the request.

        ``bound`` is our end of the connection to the server. What has no IP address, a UNIX socket
        for one, is told as 0.0.0.0 and port 0.
        """
        host, port = bound or ("0.0.0.0", 0)  # noqa: S104 - told, not bound to
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            address, port = ipaddress.IPv4Address(0), 0
        kind = _IPV4 if address.version == 4 else _IPV6
        return bytes((_VERSION, code, 0, kind)) + address.packed + port.to_bytes(2, "big")

    # Messages. Each is judged in the order of its bytes: how it is split makes no difference.

    def _answer_due(self) -> SOCKS5Event | None:
        return None

    def _greeting(self) -> Greeting | None:
        buffer = self._buffer
        if buffer and buffer[0] != _VERSION:
            if buffer[0] == 4:
                raise SOCKS5Error(
                    "the client speaks SOCKS 4, not SOCKS 5", "socks-version", _REJECTED_4
                )
            raise SOCKS5Error(
                f"the client does not speak SOCKS 5: it begins with 0x{buffer[0]:02x}",
                "socks-version",
            )
        if len(buffer) < 2:
            return None
        if buffer[1] == 0:
            raise _malformed("it has no method", self.no_method())
        message = self._take(2 + buffer[1])
        return None if message is None else Greeting(message[2:])

    def _credentials(self) -> Credentials | None:
        buffer = self._buffer
        if buffer and buffer[0] != _CREDENTIALS_VERSION:
            raise _malformed("its credentials are none", self.verdict(False))
        if len(buffer) < 2:
            return None
        middle = 2 + buffer[1]
        if len(buffer) <= middle:
            return None
        message = self._take(middle + 1 + buffer[middle])
        if message is None:
            return None
        return Credentials(message[2:middle], message[middle + 1 :])

    def _request(self) -> ConnectRequest | None:
        buffer = self._buffer
        if buffer and buffer[0] != _VERSION:
            raise _malformed("its request is none", self.reply(Reply.GENERAL_FAILURE))
        if len(buffer) > 1 and buffer[1] != _CONNECT:
            name = _COMMANDS.get(buffer[1], f"0x{buffer[1]:02x}")
            raise SOCKS5Error(
                f"the client asks for the command {name}; only CONNECT is supported",
                "socks-command-unsupported",
                self.reply(Reply.COMMAND_NOT_SUPPORTED),
            )
        if len(buffer) > 3 and buffer[3] not in (_IPV4, _NAME, _IPV6):
            raise SOCKS5Error(
                f"the client names its server in an unknown way (0x{buffer[3]:02x})",
                "socks-address-unsupported",
                self.reply(Reply.ADDRESS_TYPE_NOT_SUPPORTED),
            )
        if len(buffer) < 5:
            return None
        start = 4
        if buffer[3] == _NAME:
            start = 5
            length = buffer[4]
        else:
            length = 4 if buffer[3] == _IPV4 else 16
        if start + length == 5:
            raise self._no_destination("a name without a character")
        kind = buffer[3]
        message = self._take(start + length + 2)
        if message is None:
            return None
        host = message[start:-2]
        port = int.from_bytes(message[-2:], "big")
        if not port:
            raise self._no_destination("port 0")
        if kind == _NAME:
            return ConnectRequest(self._name(host), port)
        return ConnectRequest(str(ipaddress.ip_address(host)), port)

    def _name(self, host: bytes) -> str:
        text = host.decode("latin-1")
        if _HOST_NAME.fullmatch(host):
            return text
        try:
            # Some send the text of an address as a name.
            return str(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
        except ValueError:
            raise self._no_destination(f"{text!r}, which is no host name,") from None

    def _no_destination(self, what: str) -> SOCKS5Error:
        return _malformed(f"it asks for {what}", self.reply(Reply.GENERAL_FAILURE))

    def _take(self, length: int) -> bytes | None:
        """Take a message of so many bytes, once it is there."""
        if len(self._buffer) < length:
            return None
        message = bytes(self._buffer[:length])
        del self._buffer[:length]
        return message


def _malformed(what: str, answer: bytes) -> SOCKS5Error:
    return SOCKS5Error(f"the client's SOCKS is malformed: {what}", "socks-malformed", answer)
