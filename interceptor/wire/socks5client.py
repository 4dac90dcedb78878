"""The client's half of SOCKS5: CONNECT (RFC 1928), with a user's name and password (RFC 1929)."""

from __future__ import annotations

import socket
from typing import Final

from interceptor.errors import UpstreamError
from interceptor.model.hostports import ascii_host
from interceptor.model.wording import shown

_VERSION: Final = 5
_NO_AUTHENTICATION: Final = 0
_USER_AND_PASSWORD: Final = 2
_NONE_ACCEPTABLE: Final = 0xFF
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

REPLIES: Final = {
    1: "general failure",
    2: "its rules do not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "the time to live expired",
    7: "it does not know the command",
    8: "it does not know this type of address",
}
"""What a reply says (RFC 1928, section 6)."""

_ANOTHER_MAY_DO: Final = frozenset((3, 4, 5, 6, 8))


class AddressRefusedError(UpstreamError):
    """The proxy did not get to this address: another one of the same server may do better."""


class Socks5Client:
    """Asks a SOCKS5 proxy for a connection to a server.

    Send what `start` returns and give `receive` what comes back, sending what it returns, until
    ``done``; ``rest`` is what came after the proxy's last word, from the server. ``host`` is an
    IP address in text or a name for the proxy to resolve.
    """

    def __init__(
        self, host: str, port: int, credentials: tuple[bytes, bytes] | None = None
    ) -> None:
        self.destination = (host, port)
        self._encoded = _encode(host) + port.to_bytes(2)
        self._credentials = credentials
        self._buffer = b""
        self._next = self._method
        self.done = False
        self.rest = b""

    def start(self) -> bytes:
        """Return the greeting: the methods of authentication that we know."""
        methods = [_NO_AUTHENTICATION]
        if self._credentials is not None:
            methods.append(_USER_AND_PASSWORD)
        return bytes((_VERSION, len(methods), *methods))

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the proxy; return what is to be sent in answer.

        Raises `UpstreamError`: ``upstream-proxy-auth``, ``upstream-proxy-malformed`` or
        ``upstream-proxy-refused`` (`AddressRefusedError` where it is the address's fault).
        """
        self._buffer += data
        answer = b""
        while not self.done:
            more = self._next()
            if more is None:
                return answer
            answer += more
        self.rest, self._buffer = self._buffer, b""
        return answer

    def _take(self, count: int) -> bytes:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _method(self) -> bytes | None:
        """RFC 1928, section 3."""
        if self._buffer and self._buffer[0] != _VERSION:
            raise _malformed(f"it does not speak SOCKS5: it begins with {self._buffer[:20]!r}")
        if len(self._buffer) < 2:
            return None
        method = self._take(2)[1]
        if method == _NO_AUTHENTICATION:
            return self._request()
        if method == _USER_AND_PASSWORD and self._credentials is not None:
            self._next = self._authenticated
            user, password = self._credentials
            return b"\x01%c%b%c%b" % (len(user), user, len(password), password)
        if method == _NONE_ACCEPTABLE:
            wants = "other credentials" if self._credentials else "credentials, and has got none"
            raise UpstreamError(f"it wants {wants}", "upstream-proxy-auth")
        raise _malformed(f"it chose method {method} of authentication, which was not offered")

    def _authenticated(self) -> bytes | None:
        """RFC 1929, section 2."""
        if len(self._buffer) < 2:
            return None
        version, status = self._take(2)
        # Some answer with the version of SOCKS itself.
        if version not in (1, _VERSION):
            raise _malformed(f"its answer to the credentials has version {version}")
        if status != 0:
            raise UpstreamError("it does not accept our credentials", "upstream-proxy-auth")
        return self._request()

    def _request(self) -> bytes:
        self._next = self._reply
        return bytes((_VERSION, _CONNECT, 0)) + self._encoded

    def _reply(self) -> bytes | None:
        """RFC 1928, section 6."""
        buffer = self._buffer
        if buffer and buffer[0] != _VERSION:
            raise _malformed(f"its reply has version {buffer[0]}")
        if len(buffer) < 2:
            return None
        if buffer[1] != 0:
            # What follows does not matter any more, and some send nothing.
            reason = REPLIES.get(buffer[1], "reply")
            kind = AddressRefusedError if buffer[1] in _ANOTHER_MAY_DO else UpstreamError
            raise kind(
                f"it refuses the connection: {reason} ({buffer[1]})", "upstream-proxy-refused"
            )
        if len(buffer) < 5:
            return None
        sizes = {_IPV4: 4, _IPV6: 16, _NAME: 1 + buffer[4]}
        size = sizes.get(buffer[3])
        if size is None:
            raise _malformed(f"its reply has an address of type {buffer[3]}")
        if len(buffer) < 6 + size:
            return None
        self._take(6 + size)
        self.done = True
        return b""


def _malformed(message: str) -> UpstreamError:
    return UpstreamError(message, "upstream-proxy-malformed")


def _encode(host: str) -> bytes:
    for family, kind in ((socket.AF_INET, _IPV4), (socket.AF_INET6, _IPV6)):
        try:
            # A zone (RFC 4007) means something on this machine only.
            return bytes((kind,)) + socket.inet_pton(family, host.partition("%")[0])
        except (OSError, ValueError):
            continue
    try:
        name = ascii_host(host)
    except UnicodeError:
        name = b""
    if not 0 < len(name) < 256:
        raise UpstreamError(f"{shown(host)} is no name of a host", "dns-failed")
    return bytes((_NAME, len(name))) + name
