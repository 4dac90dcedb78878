"""Proxies to be next hops in tests: small, of Twisted's own parts, over whatever connects them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

Connect = Callable[[tuple[str, int], Callable[[], Protocol]], "Deferred[Any]"]
"""Connects a protocol to a host and port."""


@implementer(IProtocolNegotiationFactory)
class NextHopFactory(Factory):
    """What all connections of one next hop share.

    ``asked`` has what it was asked for: ``(kind, host, port)`` with the kinds ``connect``,
    ``request`` and ``socks``. ``credentials`` are those that clients showed; with ``password`` set,
    no others will do. ``answer``, if set, is said instead of anything sensible.
    """

    noisy = False

    def __init__(self, kind: type[_Hop], connect: Connect) -> None:
        self.kind = kind
        self.connect = connect
        self.asked: list[tuple[str, str, int]] = []
        self.credentials: list[bytes] = []
        self.heads: list[bytes] = []
        self.password: bytes | None = None
        self.answer: bytes | None = None
        self.hops: list[_Hop] = []

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def buildProtocol(self, addr: Any) -> Protocol:
        hop = self.kind(self)
        self.hops.append(hop)
        return hop


class _Hop(Protocol):
    """One client of a next hop."""

    transport: Any

    def __init__(self, factory: NextHopFactory) -> None:
        self.owner = factory
        self.data = b""
        self.server: Any = None
        self.busy = False

    def dataReceived(self, data: bytes) -> None:
        if self.server is not None:
            self.server.transport.write(data)
            return
        self.data += data
        if self.owner.answer is not None:
            self.transport.write(self.owner.answer)
        elif not self.busy:
            self.step()

    def step(self) -> None:
        raise NotImplementedError

    def reach(self, host: str, port: int, reached: Callable[[], None], refusal: bytes) -> None:
        """Connect to the server, and relay from then on."""
        self.busy = True

        def connected(server: Any) -> None:
            reached()
            self.server = server
            data, self.data = self.data, b""
            if data:
                server.transport.write(data)

        def failed(reason: Failure) -> None:
            self.transport.write(refusal)
            self.transport.loseConnection()

        self.owner.connect((host, port), lambda: _Server(self)).addCallbacks(connected, failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.server is not None:
            self.server.transport.loseConnection()


class _Server(Protocol):
    """The other end of a next hop."""

    transport: Any

    def __init__(self, hop: _Hop) -> None:
        self._hop = hop

    def dataReceived(self, data: bytes) -> None:
        self._hop.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._hop.transport.loseConnection()


class HTTPHop(_Hop):
    """CONNECT, and requests in absolute form; after the first one bytes are relayed as they are."""

    def step(self) -> None:
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        self.owner.heads.append(head + end)
        lines = head.split(b"\r\n")
        shown = [line[21:] for line in lines if line.lower().startswith(b"proxy-authorization: ")]
        self.owner.credentials += shown
        if self.owner.password is not None and self.owner.password not in shown:
            self.transport.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            self.data = rest
            return
        method, target, _ = lines[0].split(b" ")
        refusal = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        if method == b"CONNECT":
            name, _, number = target.rpartition(b":")
            host, port = name.strip(b"[]").decode(), int(number)
            self.owner.asked.append(("connect", host, port))
            self.data = rest
            established = b"HTTP/1.1 200 Connection established\r\n\r\n"
            self.reach(host, port, lambda: self.transport.write(established), refusal)
        else:
            _, _, authority, path = target.split(b"/", 3)
            name, _, number = authority.partition(b":")
            self.data = self.data.replace(target, b"/" + path, 1)
            host, port = name.decode(), int(number or b"80")
            self.owner.asked.append(("request", host, port))
            self.reach(host, port, lambda: None, refusal)


class SOCKSHop(_Hop):
    """SOCKS5: RFC 1928 and RFC 1929. ``password`` and ``credentials`` are ``user:password``."""

    greeted = False
    trusted = False

    def step(self) -> None:
        if not self.greeted:
            if len(self.data) < 2 or len(self.data) < 2 + self.data[1]:
                return
            methods, self.data = self.data[2 : 2 + self.data[1]], self.data[2 + self.data[1] :]
            self.greeted = True
            if self.owner.password is None:
                self.trusted = True
                self.transport.write(b"\x05\x00")
            else:
                self.transport.write(b"\x05\x02" if 2 in methods else b"\x05\xff")
        elif not self.trusted:
            if len(self.data) < 2 or len(self.data) < 3 + self.data[1]:
                return
            name_end = 2 + self.data[1]
            if len(self.data) < name_end + 1 + self.data[name_end]:
                return
            end = name_end + 1 + self.data[name_end]
            shown = self.data[2:name_end] + b":" + self.data[name_end + 1 : end]
            self.data = self.data[end:]
            self.owner.credentials.append(shown)
            self.trusted = shown == self.owner.password
            self.transport.write(b"\x01\x00" if self.trusted else b"\x01\x01")
        else:
            self._request()
            return
        if self.data:
            self.step()

    def _request(self) -> None:
        if len(self.data) < 5:
            return
        kind, size = self.data[3], {1: 4, 4: 16, 3: 1 + self.data[4]}[self.data[3]]
        if len(self.data) < 6 + size:
            return
        address = self.data[4 : 4 + size]
        host = address[1:].decode() if kind == 3 else str(ipaddress.ip_address(address))
        port = int.from_bytes(self.data[4 + size : 6 + size])
        self.data = self.data[6 + size :]
        self.owner.asked.append(("socks", host, port))
        granted = b"\x05\x00\x00\x01" + bytes(6)
        self.reach(
            host, port, lambda: self.transport.write(granted), b"\x05\x05\x00\x01" + bytes(6)
        )
