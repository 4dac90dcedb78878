"""Contexts: what is shared, what differs, what is resumed and what never is."""

from __future__ import annotations

import os

from OpenSSL import SSL

from interceptor.errors import OptionsError
from interceptor.net.keylog import KeyLog
from interceptor.net.tlscontext import (
    LEGACY_PROFILE,
    ClientCertificate,
    ServerContexts,
    ServerIdentity,
    TLSProfile,
    was_resumed,
)
from interceptor.net.tlssessions import SessionCache
from tests.net.certificates import authority, issue, new_key, rsa_key
from tests.net.tlspairs import HOST, TLS12, End, TLSCase


class ServerContextsTests(TLSCase):
    """Connections with clients."""

    def test_leaves_with_the_same_key_share_a_context(self) -> None:
        other = issue("other.test", issuer=self.authority)
        contexts = {
            self.servers.connection(leaf).get_context() for leaf in (self.leaf, other, self.leaf)
        }
        self.assertEqual(len(contexts), 1)

    def test_another_key_chain_or_profile_has_another_context(self) -> None:
        keyed = issue(HOST, issuer=self.authority, key=new_key(2))
        chained = issue(HOST, issuer=self.authority)
        chained.chain = (self.authority.certificate,)
        contexts = [
            self.servers.connection(self.leaf).get_context(),
            self.servers.connection(keyed).get_context(),
            self.servers.connection(chained).get_context(),
            self.servers.connection(self.leaf, profile=TLS12).get_context(),
        ]
        self.assertEqual(len(set(contexts)), 4)

    def test_contexts_are_bounded(self) -> None:
        servers = ServerContexts(size=2)
        first = servers.connection(self.leaf).get_context()
        for number in (2, 3):
            servers.connection(issue(HOST, issuer=self.authority, key=new_key(number)))
        self.assertIsNot(servers.connection(self.leaf).get_context(), first)

    def test_the_leaf_and_its_chain_are_shown(self) -> None:
        self.leaf.chain = (self.authority.certificate,)
        _, client, _ = self.pair()
        chain = client.transport.connection.get_peer_cert_chain(as_cryptography=True)
        self.assertEqual(chain, [self.leaf.certificate, self.authority.certificate])

    def test_the_protocol_is_chosen_by_our_order(self) -> None:
        chosen = self.negotiate((b"h2", b"http/1.1"), (b"http/1.1", b"h2"))
        self.assertEqual(chosen, b"http/1.1")

    def test_no_common_protocol_is_no_failure(self) -> None:
        self.assertEqual(self.negotiate((b"h2",), (b"http/1.1",)), b"")
        self.assertEqual(self.negotiate((b"h2",), ()), b"")
        self.assertEqual(self.negotiate((), (b"http/1.1",)), b"")

    def negotiate(self, offer: tuple[bytes, ...], ours: tuple[bytes, ...]) -> bytes:
        _, client, server = self.pair(
            identity=self.identity(alpn=offer),
            server_connection=self.servers.connection(self.leaf, alpn=ours),
        )
        chosen = client.transport.connection.get_alpn_proto_negotiated()
        self.assertEqual(server.transport.connection.get_alpn_proto_negotiated(), chosen)
        return chosen

    def test_an_rsa_leaf_serves_clients_without_ecdsa(self) -> None:
        leaf = issue(HOST, issuer=self.authority, key=rsa_key(2048))
        profile = TLSProfile(maximum="tls1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256")
        _, client, _ = self.pair(
            identity=self.identity(profile=profile),
            server_connection=self.servers.connection(leaf),
        )
        self.assertEqual(client.established, 1)


class TLSProfileTests(TLSCase):
    """Versions and ciphers."""

    def version(self, theirs: TLSProfile, ours: TLSProfile) -> str | None:
        _, client, _ = self.pair(
            identity=self.identity(profile=theirs),
            server_connection=self.servers.connection(self.leaf, profile=ours),
        )
        if not client.established:
            return None
        return client.transport.connection.get_protocol_version_name()

    def test_the_newest_common_version_is_spoken(self) -> None:
        self.assertEqual(self.version(TLSProfile(), TLSProfile()), "TLSv1.3")
        self.assertEqual(self.version(TLS12, TLSProfile()), "TLSv1.2")

    def test_old_versions_are_for_the_legacy_profile(self) -> None:
        old = TLSProfile(minimum="tls1.0", maximum="tls1.0", legacy=True)
        self.assertIsNone(self.version(TLSProfile(), old))
        self.assertEqual(self.version(LEGACY_PROFILE, old), "TLSv1")

    def test_ciphers_are_as_told(self) -> None:
        profile = TLSProfile(maximum="tls1.2", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")
        _, client, _ = self.pair(identity=self.identity(profile=profile))
        self.assertEqual(
            client.transport.connection.get_cipher_name(), "ECDHE-ECDSA-CHACHA20-POLY1305"
        )

    def test_ciphers_that_nobody_knows_are_an_error(self) -> None:
        for ciphers in ("NO-SUCH-CIPHER", "\N{SNOWMAN}"):
            with self.assertRaises(OptionsError) as caught:
                self.clients.prepare(TLSProfile(ciphers=ciphers))
            self.assertEqual(caught.exception.code, "ciphers-invalid")


class _ResumptionMixin(TLSCase):
    """Which connections resume; with each version."""

    def visit(self, server: ServerContexts | None = None, **more: object) -> bool:
        """Connect, exchange something, close; tell whether a session was resumed."""
        identity = self.identity(**more)
        connection = (server or self.servers).connection(self.leaf, alpn=(b"http/1.1",))
        link, client, there = self.pair(identity=identity, server_connection=connection)
        self.assertEqual((client.established, client.errors), (1, []))
        resumed = was_resumed(client.transport.connection)
        client.above.write(b"question")
        self.flush(link)
        there.above.write(b"answer")
        self.flush(link)
        client.above.close()
        self.flush(link)
        there.above.close()
        self.flush(link)
        return resumed

    def test_a_second_visit_resumes_and_so_does_a_tenth(self) -> None:
        self.assertEqual([self.visit() for _ in range(10)], [False] + [True] * 9)

    def test_an_aborted_connection_does_not_spoil_the_session(self) -> None:
        self.visit()
        link, client, server = self.pair()
        server.above.write(b"hello")
        self.flush(link)
        client.above.abort()
        self.flush(link)
        self.assertTrue(self.visit())

    def test_other_leaves_with_the_same_key_do_not_matter(self) -> None:
        self.visit()
        self.leaf = issue(HOST, issuer=self.authority)
        self.assertTrue(self.visit())

    def test_never_across_hosts(self) -> None:
        self.visit()
        self.assertFalse(self.visit(host="other.test"))

    def test_never_across_ports(self) -> None:
        self.visit()
        self.assertFalse(self.visit(port=8443))

    def test_never_across_server_names(self) -> None:
        self.visit()
        self.assertFalse(self.visit(sni="other.test"))
        self.assertFalse(self.visit(sni=None))

    def test_never_across_offers_of_protocols(self) -> None:
        self.visit()
        self.assertFalse(self.visit(alpn=(b"http/1.1",)))
        self.assertFalse(self.visit(alpn=(b"h2", b"http/1.1")))

    def test_never_across_client_certificates(self) -> None:
        one = ClientCertificate(self.leaf.certificate, self.leaf.key)
        same = ClientCertificate(self.leaf.certificate, self.leaf.key)
        self.visit()
        self.assertFalse(self.visit(certificate=one))
        self.assertFalse(self.visit(certificate=same))
        self.assertTrue(self.visit(certificate=one))

    def test_never_across_profiles(self) -> None:
        self.visit()
        profile = TLSProfile(maximum=self.profile.maximum, legacy=True)
        self.assertFalse(self.visit(profile=profile))

    def test_never_across_roots(self) -> None:
        self.visit()
        self.clients = self.client_contexts(self.authority, sessions=self.clients.sessions)
        self.assertFalse(self.visit())

    def test_never_from_nor_to_a_server_that_is_trusted_anyway(self) -> None:
        self.assertFalse(self.visit(trusted_anyway=True))
        self.assertFalse(self.visit(trusted_anyway=True))
        self.assertEqual(len(self.clients.sessions), 0)
        self.assertFalse(self.visit())
        self.assertFalse(self.visit(trusted_anyway=True))

    def test_never_from_a_server_whose_chain_was_bad(self) -> None:
        self.clients = self.client_contexts(authority(14))
        self.visit()
        self.assertFalse(self.visit())

    def test_never_with_a_server_of_another_authority(self) -> None:
        self.visit()
        self.assertFalse(self.visit(server=ServerContexts()))

    def test_never_under_another_profile_of_ours(self) -> None:
        self.visit()
        servers = self.servers
        connection = servers.connection(self.leaf, profile=TLSProfile(ciphers="HIGH"))
        _, client, _ = self.pair(server_connection=connection)
        self.assertFalse(was_resumed(client.transport.connection))


class TLS13ResumptionTests(_ResumptionMixin):
    """By tickets that come after the handshake."""


class TLS12ResumptionTests(_ResumptionMixin):
    """By tickets that come within it."""

    profile = TLS12


del _ResumptionMixin


class SessionCacheTests(TLSCase):
    """The cache by itself."""

    def connection(self) -> SSL.Connection:
        _, client, _ = self.pair(identity=self.identity(profile=TLS12))
        return client.transport.connection

    def test_the_least_recently_used_is_forgotten(self) -> None:
        cache, connection = SessionCache(2), self.connection()
        cache.remember("a", connection)
        cache.remember("b", connection)
        cache.offer("a", SSL.Connection(connection.get_context(), None))
        cache.remember("c", connection)
        self.assertEqual([key in cache for key in "abc"], [True, False, True])

    def test_none_are_kept_where_none_are_wanted(self) -> None:
        cache = SessionCache(0)
        cache.remember("a", self.connection())
        self.assertEqual(len(cache), 0)

    def test_a_session_of_a_context_that_is_gone_is_dropped(self) -> None:
        cache = SessionCache(2)
        cache.remember("a", self.connection())
        other = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        self.assertFalse(cache.offer("a", other))
        self.assertNotIn("a", cache)

    def test_forgetting(self) -> None:
        cache, connection = SessionCache(5), self.connection()
        for key in "abc":
            cache.remember(key, connection)
        cache.forget("a")
        cache.forget("z")
        self.assertEqual(len(cache), 2)
        cache.clear()
        self.assertEqual(len(cache), 0)


class ClientContextsTests(TLSCase):
    """Connections with servers."""

    def test_servers_share_a_context(self) -> None:
        contexts = {
            self.clients.connection(self.identity(host=host, sni=host)).get_context()
            for host in ("a.test", "b.test")
        }
        self.assertEqual(len(contexts), 1)

    def test_the_server_name_is_sent(self) -> None:
        _, _, server = self.pair()
        self.assertEqual(server.transport.connection.get_servername(), HOST.encode())

    def test_no_server_name_is_sent_where_there_is_none(self) -> None:
        _, _, server = self.pair(identity=ServerIdentity("192.0.2.1", 443))
        self.assertIsNone(server.transport.connection.get_servername())

    def test_a_client_certificate_is_shown_where_it_is_asked_for(self) -> None:
        mine = issue("client.test", key=new_key(5))
        certificate = ClientCertificate(mine.certificate, mine.key, (self.authority.certificate,))
        asking = self.servers.connection(self.leaf)
        asking.set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
        _, _, server = self.pair(
            identity=self.identity(certificate=certificate), server_connection=asking
        )
        connection = server.transport.connection
        self.assertEqual(connection.get_peer_certificate(as_cryptography=True), mine.certificate)

    def test_a_missing_client_certificate_is_an_alert(self) -> None:
        asking = self.servers.connection(self.leaf)
        asking.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *arguments: True
        )
        _, client, _ = self.pair(server_connection=asking)
        # With TLS 1.3 our handshake is over by then.
        error = client.transport.error
        assert error is not None
        self.assertEqual(error.code, "tls-alert-certificate-required")
        self.assertTrue(error.received)
        self.assertIsNotNone(client.spoken.lost)

    def test_a_client_certificate_with_another_key_is_an_error(self) -> None:
        certificate = ClientCertificate(self.leaf.certificate, new_key(5))
        with self.assertRaises(OptionsError) as caught:
            self.clients.connection(self.identity(certificate=certificate))
        self.assertEqual(caught.exception.code, "client-cert-invalid")


class KeyLogTests(TLSCase):
    """Secrets in a file."""

    def test_both_legs_write_their_secrets(self) -> None:
        path = self.mktemp()
        keylog = KeyLog(path)
        self.addCleanup(keylog.close)
        servers = ServerContexts(keylog=keylog)
        clients = self.client_contexts(self.authority, keylog=keylog)
        self.pair(clients=clients, server_connection=servers.connection(self.leaf))
        with open(path) as file:
            lines = file.read().splitlines()
        secrets = [line for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
        self.assertEqual(len(secrets), 2)
        self.assertEqual(len(set(secrets)), 1)

    def test_nobody_else_may_read_it(self) -> None:
        path = self.mktemp()
        KeyLog(path).close()
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_a_file_that_cannot_be_written_is_an_error(self) -> None:
        with self.assertRaises(OptionsError) as caught:
            KeyLog(os.path.join(self.mktemp(), "none", "keys"))
        self.assertEqual(caught.exception.code, "keylog-unwritable")

    def test_a_closed_log_breaks_no_connection(self) -> None:
        keylog = KeyLog(self.mktemp())
        servers = ServerContexts(keylog=keylog)
        keylog.close()
        keylog.close()
        _, client, _ = self.pair(server_connection=servers.connection(self.leaf))
        self.assertIsInstance(client, End)
        self.assertEqual(client.established, 1)
