"""What options make of handshakes, and what they refuse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from interceptor.errors import AuthorityError, OptionsError
from interceptor.model.coreoptions import core_options
from interceptor.net.handshakes import TLS_OPTIONS, Handshakes, ServerHandshake, is_address
from interceptor.net.tlscontext import was_resumed
from tests.net.certificates import NOW, Certified, authority, issue
from tests.net.tlspairs import HOST, End, TLSCase

DAYS = NOW - NOW.replace(year=NOW.year - 1)


class HandshakesTestCase(TLSCase):
    """Makes handshakes from options; they trust the test's authority."""

    def setUp(self) -> None:
        super().setUp()
        self.confdir = os.path.abspath(self.mktemp())

    def handshakes(self, **options: Any) -> Handshakes:
        found = core_options()
        roots = self.write("roots.pem", self.authority.pem())
        given = {"confdir": self.confdir, "ssl_verify_upstream_trusted_ca": roots, **options}
        found.update(**given)
        return Handshakes(found)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> str:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def identity_file(self, certified: Certified, *chain: Certified, name: str = "me.pem") -> str:
        key = certified.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self.write(name, b"".join([key, certified.pem(), *(each.pem() for each in chain)]))

    def shake(
        self, handshake: ServerHandshake, server_connection: Any = None
    ) -> tuple[End, End, Any]:
        """Shake hands with a server, and return both ends and the verdict."""
        link, client, server = self.link()
        server.begin(server_connection or self.servers.connection(self.leaf), "client")
        client.begin(handshake.connection, "server", on_session=handshake.keep_session)
        self.flush(link)
        return client, server, handshake.verify()


class AuthorityTests(HandshakesTestCase):
    """What is wrong with the authority is told when it is needed, with a code."""

    def assert_refused(self, code: str, **options: Any) -> str:
        error = self.assertRaises(AuthorityError, self.handshakes, **options)
        self.assertEqual(error.code, code)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_made_on_first_use(self):
        first = self.handshakes().authority
        self.assertEqual(self.handshakes().authority.fingerprint(), first.fingerprint())
        key = os.path.join(self.confdir, "interceptor-ca.pem")
        self.assertEqual(os.stat(key).st_mode & 0o777, 0o600)

    def test_not_to_be_made(self):
        self.assert_refused("ca-missing", ca_create=False)

    def test_not_there(self):
        self.assert_refused("ca-missing", ca_file=self.mktemp())

    def test_readable_by_others(self):
        path = self.identity_file(authority(31))
        os.chmod(path, 0o644)
        self.assert_refused("ca-permissions", ca_file=path)

    def test_expired(self):
        old = issue(
            key=authority(32).key, authority=True, not_before=NOW - 2 * DAYS, not_after=NOW - DAYS
        )
        self.assert_refused("ca-expired", ca_file=self.identity_file(old))

    def test_key_of_another(self):
        mixed = Certified(authority(33).certificate, authority(34).key)
        self.assert_refused("ca-key-mismatch", ca_file=self.identity_file(mixed))


class OptionTests(HandshakesTestCase):
    """Options that cannot be are refused in one line."""

    def assert_refused(self, **options: Any) -> None:
        error = self.assertRaises(OptionsError, self.handshakes, **options)
        self.assertNotIn("\n", str(error))
        self.assertIn(next(iter(options)), str(error))

    def test_versions_the_wrong_way_round(self):
        self.assert_refused(tls_version_client_max="tls1.1", tls_version_client_min="tls1.2")
        self.assert_refused(tls_version_server_min="tls1.3", tls_version_server_max="tls1.2")

    def test_faulty_expressions(self):
        self.assert_refused(ssl_insecure_hosts=["("])
        self.assert_refused(tls_legacy_hosts=["["])

    def test_all_options_are_options(self):
        options = core_options()
        for name in TLS_OPTIONS:
            getattr(options, name)

    def test_ciphers_that_nobody_knows(self):
        handshakes = self.handshakes(ciphers_server="NONSENSE")
        error = self.assertRaises(OptionsError, handshakes.prepare)
        self.assertEqual(error.code, "ciphers-invalid")

    def test_client_certificate_that_is_not_there(self):
        error = self.assertRaises(
            AuthorityError, self.handshakes, client_certs=self.mktemp() + ".pem"
        )
        self.assertTrue(error.code.startswith("client-cert-"))


class VerificationTests(HandshakesTestCase):
    """Who is trusted."""

    def test_good(self):
        handshake = self.handshakes().to_server(HOST, 443, HOST, ())
        client, _, error = self.shake(handshake)
        self.assertIsNone(error)
        self.assertIsNone(handshake.verification_error)
        self.assertEqual(client.established, 1)

    def test_bad(self):
        self.leaf = issue("other.test", issuer=self.authority)
        handshake = self.handshakes().to_server(HOST, 443, HOST, ())
        _, _, error = self.shake(handshake)
        self.assertEqual((error.code, error.peer), ("cert-wrong-host", "server"))
        self.assertIn("origin.test:443 is not trusted", str(error))

    def test_exceptions_match_host_and_port(self):
        self.leaf = issue("other.test", issuer=self.authority)
        for patterns, trusted in (
            ([r"^origin\.test:443$"], True),
            ([r"ORIGIN"], True),
            ([r"^origin\.test:8443$"], False),
            ([r"^other"], False),
        ):
            handshake = self.handshakes(ssl_insecure_hosts=patterns).to_server(HOST, 443, HOST, ())
            _, _, error = self.shake(handshake)
            self.assertEqual(error is None, trusted, patterns)
            self.assertIn("other.test", str(handshake.verification_error))

    def test_a_resumed_session_is_checked_by_name_again(self):
        # TLS 1.2, where the session is there when the handshake is.
        handshakes = self.handshakes(tls_version_server_max="tls1.2")
        first = handshakes.to_server(HOST, 443, HOST, ())
        client, _, error = self.shake(first)
        self.assertIsNone(error)
        first.keep_session(client.transport.connection)
        sessions = handshakes._towards_servers.sessions
        [(_identity, session)] = sessions._sessions.items()
        # As if the session of one server had come to stand where that of another should.
        second = handshakes.to_server("other.test", 443, "other.test", ())
        sessions._sessions[second._identity] = session
        third = handshakes.to_server("other.test", 443, "other.test", ())
        client, _, error = self.shake(third)
        self.assertTrue(was_resumed(client.transport.connection))
        self.assertEqual(error.code, "cert-wrong-host")

    def test_what_was_overlooked_is_not_kept(self):
        self.leaf = issue("other.test", issuer=self.authority)
        handshakes = self.handshakes(ssl_insecure=True)
        handshake = handshakes.to_server(HOST, 443, HOST, ())
        client, _, error = self.shake(handshake)
        self.assertIsNone(error)
        handshake.keep_session(client.transport.connection)
        self.assertEqual(len(handshakes._towards_servers.sessions), 0)


class ServerNameTests(HandshakesTestCase):
    """What is sent as the server's name."""

    def sent(self, host: str, sni: str | None) -> str | None:
        handshake = self.handshakes().to_server(host, 443, sni, ())
        _, server, _ = self.shake(handshake)
        name = server.transport.connection.get_servername()
        return None if name is None else name.decode()

    def test_names(self):
        self.assertEqual(self.sent(HOST, HOST), HOST)
        self.assertEqual(self.sent(HOST, "Other.Test"), "Other.Test")
        self.assertIsNone(self.sent(HOST, None))

    def test_addresses_are_none(self):
        self.assertIsNone(self.sent("192.0.2.1", "192.0.2.1"))
        self.assertIsNone(self.sent("2001:db8::1", "2001:db8::1"))
        self.assertTrue(is_address("fe80::1%eth0"))

    def test_a_name_that_is_not_ascii(self):
        self.assertEqual(self.sent("bücher.test", "bücher.test"), "xn--bcher-kva.test")

    def test_a_name_that_is_none(self):
        self.assertIsNone(self.sent(HOST, "ü b"))


class ClientCertificateTests(HandshakesTestCase):
    """The option ``client_certs``."""

    def demanding(self) -> Any:
        """A server's connection that asks for a certificate."""
        connection = self.servers.connection(self.leaf)
        store = connection.get_context().get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.authority.certificate))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, None)
        return connection

    def shown(self, host: str, path: str) -> Any:
        handshake = self.handshakes(client_certs=path).to_server(host, 443, host, ())
        _, server, _ = self.shake(handshake, self.demanding())
        return server

    def test_one_for_all_with_its_chain(self):
        between = authority(35, issuer=self.authority)
        mine = issue("me", issuer=between, usage=None)
        server = self.shown(HOST, self.identity_file(mine, between))
        self.assertEqual(server.established, 1)
        connection = server.transport.connection
        self.assertEqual(connection.get_peer_certificate(as_cryptography=True), mine.certificate)

    def test_a_folder_with_one_for_each_host(self):
        mine = issue("me", issuer=self.authority, usage=None)
        folder = os.path.dirname(self.identity_file(mine, name="Origin.test.pem"))
        self.assertEqual(self.shown(HOST, folder).established, 1)
        self.assertEqual(self.shown("other.test", folder).established, 0)
