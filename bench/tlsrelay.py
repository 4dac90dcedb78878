"""A TLS to TLS relay: the least that a Twisted proxy that opens TLS can do.

It answers every client with the one certificate that it has, connects to the one server it knows,
verifies that, and copies plaintext both ways with back-pressure; all with Twisted's own TLS. Run as
``python -m bench.tlsrelay PORT AUTHORITY CHAIN KEY PROTOCOL`` it serves ``127.0.0.1:PORT`` on a
port of its own choice and says which one on stdout; PROTOCOL is what all speak (ALPN). Clients may
resume their sessions, as they may with the proxy, and are then spared the certificate; the server's
sessions are not resumed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import crypto
from twisted.internet.interfaces import IConnector, IReactorCore, IReactorTCP
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from bench.relay import DownstreamProtocol, RelayFactory, UpstreamProtocol

HOST = "127.0.0.1"


class TLSUpstreamProtocol(UpstreamProtocol):
    """The end toward the server."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        _release(self.peer)
        super().connectionLost(reason)


class TLSDownstreamProtocol(DownstreamProtocol):
    """The end toward the client. Its handshake waits until the server's socket is there."""

    upstream_class = TLSUpstreamProtocol

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        _release(self.peer)
        super().connectionLost(reason)


def _release(transport: Any) -> None:
    # TLS does not close while a producer is registered: it might have more.
    if transport is not None:
        transport.unregisterProducer()


class TLSRelayFactory(RelayFactory):
    """Relay every connection to ``host:port``, plaintext to plaintext."""

    protocol_class = TLSDownstreamProtocol

    def __init__(self, reactor: IReactorTCP, host: str, port: int, creator: Any) -> None:
        super().__init__(reactor, host, port)
        self._creator = creator

    def connect(self, factory: ClientFactory) -> IConnector:
        wrapped = TLSMemoryBIOFactory(self._creator, True, factory)
        wrapped.noisy = False
        return self.reactor.connectTCP(self.host, self.port, cast(Any, wrapped))


def server_options(chain: Path, key: Path, protocol: bytes) -> CertificateOptions:
    """Return what clients are answered with; tickets are given, as the proxy gives them."""
    own, *others = x509.load_pem_x509_certificates(chain.read_bytes())
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(
            cast(Any, load_pem_private_key(key.read_bytes(), None))
        ),
        certificate=crypto.X509.from_cryptography(own),
        extraCertChain=[crypto.X509.from_cryptography(other) for other in others],
        enableSessions=True,
        enableSessionTickets=True,
        # A client that offers protocols would be turned away otherwise.
        acceptableProtocols=[protocol],
    )


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    from twisted.internet import reactor as installed

    reactor = cast(IReactorTCP, installed)
    authority, chain, key = map(Path, arguments[1:4])
    protocol = arguments[4].encode()
    # Made once: it costs milliseconds, most of them for the roots.
    creator = optionsForClientTLS(
        HOST,
        Certificate.loadPEM(authority.read_bytes()),
        acceptableProtocols=[protocol],
    )
    factory = TLSRelayFactory(reactor, HOST, int(arguments[0]), creator)
    wrapped = TLSMemoryBIOFactory(server_options(chain, key, protocol), False, factory)
    wrapped.noisy = False
    listener = reactor.listenTCP(0, cast(Any, wrapped), backlog=511, interface=HOST)
    print(f"listening: relay on {HOST}:{cast(Any, listener.getHost()).port}", flush=True)
    cast(IReactorCore, installed).run()


if __name__ == "__main__":
    main(sys.argv[1:])
