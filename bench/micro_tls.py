"""What TLS costs by itself, in memory, ours against Twisted's: ``python -m bench.micro_tls``.

Both ends of each connection are of the same make, and what joins them only hands bytes over. So a
handshake here is two handshakes' work, and a megabyte is encrypted and decrypted once.
"""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator as ClientCreator
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator as ServerCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tls import TLSTransport
from interceptor.net.tlscontext import ClientContexts, ServerContexts, ServerIdentity
from interceptor.net.trust import TrustStore

REQUEST = bytes(200)
RESPONSE = bytes(1200)
BLOCK = bytes(65536)
_SECONDS = 0.4
_ROUNDS = 4


class Leaf(NamedTuple):
    """A certificate that signs itself."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


def make_leaf() -> Leaf:
    """Make the certificate of the server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench.test")]), False)
        .sign(key, hashes.SHA256())
    )
    return Leaf(certificate, key)


class Pipe:
    """One end of a connection that hands over what is written, at once but not re-entrantly."""

    def __init__(self, queue: deque[tuple[Any, bytes]]) -> None:
        self.queue = queue
        self.other: Any = None
        self.protocol: Any = None
        self.disconnecting = False

    def write(self, data: bytes) -> None:
        self.queue.append((self.other, data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Never full."""

    def unregisterProducer(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass

    def abortConnection(self) -> None:
        pass


class Sink(Protocol):
    """Counts what arrives; a server answers requests."""

    transport: Any
    received = 0
    answer = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.answer:
            self.transport.write(self.answer)


class SideSink(SideProtocol):
    """The same on a side."""

    received = 0
    answer = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.answer:
            self.side.write(self.answer)


class Pair:
    """A connection with TLS at both ends."""

    client: Any
    server: Any

    def __init__(self) -> None:
        self.queue: deque[tuple[Any, bytes]] = deque()
        self.clock = Clock()
        self.ends = Pipe(self.queue), Pipe(self.queue)
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]

    def run(self) -> None:
        """Hand bytes over until nothing moves."""
        queue = self.queue
        while True:
            while queue:
                end, data = queue.popleft()
                for start in range(0, len(data), 65536):
                    end.protocol.dataReceived(data[start : start + 65536])
            self.clock.advance(0)
            if not queue:
                return


class Ours:
    """Connections made of two `TLSTransport`."""

    name = "TLSTransport"

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        self.servers = ServerContexts()
        self.clients = ClientContexts(TrustStore())
        self.identity = ServerIdentity("bench.test", 443, "bench.test", trusted_anyway=True)

    def pair(self) -> Pair:
        """Make a connection and shake hands."""
        pair = Pair()
        server = self._end(pair, 1, self.servers.connection(self.leaf))
        client = self._end(pair, 0, self.clients.connection(self.identity))
        pair.run()
        pair.client, pair.server = client, server
        return pair

    def _end(self, pair: Pair, index: int, connection: SSL.Connection) -> SideSink:
        below, above, sink = Side(pair.clock), Side(pair.clock), SideSink()
        transport = TLSTransport(
            connection,
            above,
            peer="server",
            on_established=lambda transport: above.use(sink),
            on_failed=_failed,
        )
        pair.ends[index].protocol = below
        below.makeConnection(pair.ends[index])  # type: ignore[no-untyped-call]  # Twisted has not typed it
        below.use(transport)
        return sink

    def write(self, end: SideSink, data: bytes) -> None:
        """Send from one end."""
        end.side.write(data)


def _failed(transport: TLSTransport, error: Exception) -> None:
    raise error


@implementer(ClientCreator, ServerCreator)
class _Creator:
    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self.context, None)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class Twisteds:
    """Connections made of two ``TLSMemoryBIOProtocol``."""

    name = "TLSMemoryBIOProtocol"

    def __init__(self, leaf: Leaf) -> None:
        self.server_context = SSL.Context(SSL.TLS_METHOD)
        self.server_context.use_privatekey(leaf.key)
        self.server_context.use_certificate(leaf.certificate)
        self.server_context.set_session_id(b"bench")
        self.client_context = SSL.Context(SSL.TLS_METHOD)
        TrustStore().load_into(self.client_context)
        self.client_context.set_verify(SSL.VERIFY_PEER, lambda *_: True)

    def pair(self) -> Pair:
        """Make a connection and shake hands."""
        pair = Pair()
        pair.server = self._end(pair, 1, _Creator(self.server_context), False)
        pair.client = self._end(pair, 0, _Creator(self.client_context), True)
        pair.run()
        return pair

    def _end(self, pair: Pair, index: int, creator: _Creator, is_client: bool) -> Sink:
        inner = Factory.forProtocol(Sink)
        factory = TLSMemoryBIOFactory(creator, is_client, inner, pair.clock)
        sink = Sink()
        protocol = TLSMemoryBIOProtocol(factory, sink)
        pair.ends[index].protocol = protocol
        protocol.makeConnection(pair.ends[index])
        return sink

    def write(self, end: Sink, data: bytes) -> None:
        """Send from one end."""
        end.transport.write(data)


def rate(work: Callable[[], object]) -> float:
    """Run ``work`` for a while; give how often per second of this process's own time."""
    work()
    count = 0
    begin = time.process_time()
    while (now := time.process_time()) - begin < _SECONDS:
        work()
        count += 1
    return count / (now - begin)


def measure(make: Any) -> tuple[float, float, float]:
    """Give handshakes, requests and megabytes per second."""
    handshakes = rate(make.pair)
    pair = make.pair()
    pair.server.answer = RESPONSE

    def request() -> None:
        make.write(pair.client, REQUEST)
        pair.run()

    requests = rate(request)
    assert pair.client.received == pair.server.received // len(REQUEST) * len(RESPONSE)
    pair.server.answer = b""

    def block() -> None:
        make.write(pair.server, BLOCK)
        pair.run()

    blocks = rate(block)
    return handshakes, requests, blocks * len(BLOCK) / 1e6


def main() -> None:
    """Measure and print."""
    leaf = make_leaf()
    print(f"{'':24}{'handshakes/s':>14}{'requests/s':>14}{'MB/s':>10}")
    makes: tuple[Any, ...] = Ours(leaf), Twisteds(leaf)
    # Both in turn, and the best of each: what else the machine does shall not decide.
    rounds = [[measure(make) for make in makes] for _ in range(_ROUNDS)]
    for make, results in zip(makes, zip(*rounds, strict=True), strict=True):
        handshakes, requests, megabytes = (max(column) for column in zip(*results, strict=True))
        print(f"{make.name:24}{handshakes:14,.0f}{requests:14,.0f}{megabytes:10,.0f}")


if __name__ == "__main__":
    main()
