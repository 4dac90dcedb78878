"""Two ends that speak TLS with each other in memory, for tests."""

from __future__ import annotations

import os
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import TLSError
from interceptor.net.memory import MemoryLink
from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tls import TLSTransport
from interceptor.net.tlscontext import (
    DEFAULT_PROFILE,
    ClientContexts,
    ServerContexts,
    ServerIdentity,
    TLSProfile,
)
from interceptor.net.trust import TrustStore
from tests.net.certificates import Certified, authority, issue

HOST = "origin.test"
TLS12 = TLSProfile(maximum="tls1.2")


class Spoken(SideProtocol):
    """What stands on the side above, and notes what it hears."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self.lost: Failure | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)

    def read_closed(self) -> None:
        self.ended = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Below(SideProtocol):
    """Stands on the side below until TLS does."""

    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def read_closed(self) -> None:
        pass


class End:
    """One end: the side below, TLS on it, the side above, and what is spoken there."""

    def __init__(self, clock: Clock) -> None:
        self.below = Side(clock)
        self.below.protocol = Below()
        self.above = Side(clock)
        self.spoken = Spoken()
        self.established = 0
        self.errors: list[TLSError] = []
        self.transport: TLSTransport

    def begin(self, connection: SSL.Connection, peer: str, data: bytes = b"", **more: Any) -> None:
        self.transport = TLSTransport(
            connection,
            self.above,
            peer=peer,
            on_established=self._established,
            on_failed=lambda transport, error: self.errors.append(error),
            **more,
        )
        self.below.use(self.transport, data)

    def _established(self, transport: TLSTransport) -> None:
        self.established += 1
        self.above.use(self.spoken)

    @property
    def code(self) -> str | None:
        return self.errors[0].code if self.errors else None


class TLSCase(SynchronousTestCase):
    """Makes pairs of ends; their certificates come from one authority that the client trusts."""

    profile = DEFAULT_PROFILE

    def setUp(self) -> None:
        self.clock = Clock()
        self.authority = authority()
        self.leaf: Any = issue(HOST, issuer=self.authority)
        self.servers = ServerContexts()
        self.clients = self.client_contexts(self.authority)

    def client_contexts(self, *trusted: Certified, **more: Any) -> ClientContexts:
        folder = self.mktemp()
        os.mkdir(folder)
        for number, certified in enumerate(trusted):
            certified.save(os.path.join(folder, f"{number}.pem"))
        return ClientContexts(TrustStore(folder if trusted else None), **more)

    def identity(self, **more: Any) -> ServerIdentity:
        given = {"host": HOST, "port": 443, "sni": HOST, "profile": self.profile}
        return ServerIdentity(**{**given, **more})

    def link(self, chunk: Any = None) -> tuple[MemoryLink, End, End]:
        client, server = End(self.clock), End(self.clock)
        return MemoryLink(client.below, server.below, chunk=chunk), client, server

    def pair(
        self,
        *,
        chunk: Any = None,
        identity: ServerIdentity | None = None,
        clients: ClientContexts | None = None,
        server_connection: SSL.Connection | None = None,
    ) -> tuple[MemoryLink, End, End]:
        """Shake hands as far as that goes."""
        link, client, server = self.link(chunk)
        if server_connection is None:
            server_connection = self.servers.connection(self.leaf)
        server.begin(server_connection, "client")
        identity = identity or self.identity()
        contexts = clients or self.clients
        client.begin(
            contexts.connection(identity),
            "server",
            on_session=lambda connection: contexts.remember(identity, connection),
        )
        self.flush(link)
        return link, client, server

    def flush(self, *links: MemoryLink) -> None:
        """Let bytes move, and what was put off to the reactor's next turn happen."""
        for _ in range(20):
            for link in links:
                link.flush()
            if not self.clock.getDelayedCalls():
                return
            self.clock.advance(0)
