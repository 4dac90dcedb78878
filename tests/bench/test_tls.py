"""What the workloads over TLS are made of: certificates, who counts resumptions, the relay."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bench.certificates import make_certificates
from bench.firstsight import client_hello
from bench.pyorigin import tls_context
from bench.subjects import Hooks, Mode, Setup, origin_url, squid_configuration
from bench.tlsrelay import TLSRelayFactory, server_options
from interceptor.wire.tlshello import ClientHelloReader

ADDRESS = IPv4Address("TCP", "127.0.0.1", 50000)


class CertificatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.files = make_certificates(folder)

    def test_the_chain_is_the_certificate_and_its_issuer(self) -> None:
        own, issuer = x509.load_pem_x509_certificates(self.files.chain.read_bytes())
        own.verify_directly_issued_by(issuer)
        self.assertEqual(issuer, x509.load_pem_x509_certificate(self.files.authority.read_bytes()))

    def test_it_is_for_loopback(self) -> None:
        own = x509.load_pem_x509_certificates(self.files.chain.read_bytes())[0]
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([str(name.value) for name in names], ["127.0.0.1"])

    def test_nobody_else_may_read_the_key(self) -> None:
        self.assertEqual(stat.S_IMODE(self.files.key.stat().st_mode), 0o600)

    def test_the_relay_can_use_them(self) -> None:
        # Raises where the key is not that of the certificate.
        server_options(self.files.chain, self.files.key, b"h2").getContext().check_privatekey()

    def test_an_origin_without_resumption_gives_no_tickets(self) -> None:
        files = str(self.files.chain), str(self.files.key)
        self.assertEqual(tls_context(*files, resumable=False).num_tickets, 0)
        self.assertGreater(tls_context(*files, resumable=True).num_tickets, 0)

    def test_peers_and_proxies_are_told_about_them(self) -> None:
        setup = Setup(Mode.REVERSE_TLS, Hooks.NONE, 8443, Path("/w"), {}, self.files)
        self.assertEqual(origin_url(setup), "https://127.0.0.1:8443")
        configuration = squid_configuration(setup, 3128)
        self.assertIn(f"tls-cert={self.files.chain}", configuration)
        self.assertIn(f"tls-cafile={self.files.authority}", configuration)


class ClientHelloTests(SynchronousTestCase):
    def test_it_asks_for_the_host(self) -> None:
        hello = ClientHelloReader().feed(client_hello("one.bench.test"))
        assert hello is not None
        self.assertEqual(hello.sni, "one.bench.test")
        self.assertTrue(hello.supports_ecdsa)


class StillTransport(StringTransport):
    """A `StringTransport` that has the one socket option that the relay sets."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class TLSRelayTests(SynchronousTestCase):
    """The relay's own part; TLS is Twisted's."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        creator = optionsForClientTLS("127.0.0.1")
        factory = TLSRelayFactory(self.reactor, "127.0.0.1", 8443, creator)
        self.downstream = factory.buildProtocol(ADDRESS)
        self.client = StillTransport()
        self.downstream.makeConnection(self.client)

    def test_the_server_is_spoken_to_over_tls(self) -> None:
        host, port, connecting, _, _ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("127.0.0.1", 8443))
        self.assertIsInstance(connecting, TLSMemoryBIOFactory)

    def test_a_lost_server_closes_the_client_without_waiting_for_a_producer(self) -> None:
        connecting: Any = self.reactor.tcpClients[0][2]
        inner: ClientFactory = connecting.wrappedFactory
        upstream: Any = inner.buildProtocol(ADDRESS)
        upstream.makeConnection(StillTransport())
        self.assertIsNotNone(self.client.producer)
        upstream.connectionLost(Failure(ConnectionDone()))
        self.assertIsNone(self.client.producer)
        self.assertTrue(self.client.disconnecting)
