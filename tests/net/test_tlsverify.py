"""Which servers are believed, and the code of each reason not to."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from interceptor.net.tlscontext import LEGACY_PROFILE, ServerIdentity
from interceptor.net.tlsverify import VerificationFailure, check_names, verify_peer
from tests.net.certificates import DAY, NOW, Certified, authority, issue, new_key, rsa_key
from tests.net.tlspairs import HOST, TLS12, TLSCase


class VerifyPeerTests(TLSCase):
    """Handshakes with good and bad certificates."""

    def verify(
        self, leaf: Certified, *, host: str = HOST, trusted: tuple[Certified, ...] | None = None
    ) -> VerificationFailure | None:
        clients = self.clients if trusted is None else self.client_contexts(*trusted)
        identity = ServerIdentity(host, 443, HOST, profile=self.profile)
        _, client, _ = self.pair(
            identity=identity,
            clients=clients,
            server_connection=self.servers.connection(leaf, profile=LEGACY_PROFILE),
        )
        # OpenSSL goes on whatever it finds, so that the reason can be told.
        self.assertEqual(client.errors, [])
        connection = client.transport.connection
        return verify_peer(connection, host, connection.get_app_data())

    def check(self, leaf: Certified, code: str, **more: Any) -> VerificationFailure:
        failure = self.verify(leaf, **more)
        assert failure is not None
        self.assertEqual(failure.code, code)
        self.assertNotIn("\n", failure.message)
        return failure

    def test_a_good_certificate(self) -> None:
        self.assertIsNone(self.verify(self.leaf))

    def test_a_good_certificate_over_tls_1_2(self) -> None:
        self.profile = TLS12
        self.assertIsNone(self.verify(self.leaf))

    def test_an_rsa_certificate(self) -> None:
        self.assertIsNone(self.verify(issue(HOST, issuer=self.authority, key=rsa_key(2048))))

    def test_a_wildcard(self) -> None:
        leaf = issue("*.origin.test", issuer=self.authority)
        self.assertIsNone(self.verify(leaf, host="a.origin.test"))
        self.check(leaf, "cert-wrong-host", host="a.b.origin.test")

    def test_a_name_that_makes_no_sense_does_not_spoil_the_others(self) -> None:
        self.assertIsNone(self.verify(issue("*.test", "a*.b.test", HOST, issuer=self.authority)))

    def test_an_address(self) -> None:
        leaf = issue("192.0.2.7", "2001:db8::7", issuer=self.authority)
        self.assertIsNone(self.verify(leaf, host="192.0.2.7"))
        self.assertIsNone(self.verify(leaf, host="2001:db8::7"))

    def test_another_address(self) -> None:
        self.check(issue("192.0.2.7", issuer=self.authority), "cert-wrong-host", host="192.0.2.8")

    def test_an_intermediate(self) -> None:
        middle = authority(11, issuer=self.authority)
        leaf = issue(HOST, issuer=middle)
        leaf.chain = (middle.certificate,)
        self.assertIsNone(self.verify(leaf))

    def test_a_missing_intermediate(self) -> None:
        middle = authority(11, issuer=self.authority)
        self.check(issue(HOST, issuer=middle), "cert-unknown-issuer")

    def test_a_chain_in_another_order_is_followed(self) -> None:
        middle = authority(11, issuer=self.authority)
        lower = authority(12, issuer=middle)
        leaf = issue(HOST, issuer=lower)
        leaf.chain = (middle.certificate, lower.certificate)
        self.assertIsNone(self.verify(leaf))

    def test_a_chain_of_others(self) -> None:
        middle = authority(11, issuer=self.authority)
        leaf = issue(HOST, issuer=middle)
        leaf.chain = (authority(13, issuer=self.authority).certificate,)
        self.check(leaf, "cert-chain-order")

    def test_expired(self) -> None:
        leaf = issue(HOST, issuer=self.authority, not_before=NOW - 3 * DAY, not_after=NOW - DAY)
        self.assertEqual(self.check(leaf, "cert-expired").codes, ("cert-expired",))

    def test_not_yet_valid(self) -> None:
        leaf = issue(HOST, issuer=self.authority, not_before=NOW + DAY, not_after=NOW + 2 * DAY)
        self.check(leaf, "cert-not-yet-valid")

    def test_another_host(self) -> None:
        failure = self.check(issue("a.test", "b.test", issuer=self.authority), "cert-wrong-host")
        self.assertIn("a.test, b.test", failure.message)
        self.assertIn(HOST, failure.message)

    def test_an_unknown_issuer(self) -> None:
        self.check(self.leaf, "cert-unknown-issuer", trusted=(authority(14),))

    def test_an_unknown_root_that_was_sent_along(self) -> None:
        other = authority(14)
        leaf = issue(HOST, issuer=other)
        leaf.chain = (other.certificate,)
        self.check(leaf, "cert-unknown-issuer")

    def test_self_signed(self) -> None:
        self.check(issue(HOST), "cert-self-signed")

    def test_self_signed_but_trusted(self) -> None:
        leaf = issue(HOST)
        self.assertIsNone(self.verify(leaf, trusted=(leaf,)))

    def test_an_intermediate_can_be_what_is_trusted(self) -> None:
        middle = authority(11, issuer=self.authority)
        self.assertIsNone(self.verify(issue(HOST, issuer=middle), trusted=(middle,)))

    def test_no_names(self) -> None:
        leaf = issue(issuer=self.authority, common_name=HOST)
        self.check(leaf, "cert-no-san")

    def test_another_purpose(self) -> None:
        leaf = issue(HOST, issuer=self.authority, usage=ExtendedKeyUsageOID.CODE_SIGNING)
        self.check(leaf, "cert-wrong-purpose")

    def test_a_weak_key(self) -> None:
        self.check(issue(HOST, issuer=self.authority, key=rsa_key(1024)), "cert-weak-key")

    def test_a_breach_of_name_constraints(self) -> None:
        constraints = x509.NameConstraints([x509.DNSName("example.org")], None)
        middle = authority(15, issuer=self.authority, constraints=constraints)
        leaf = issue(HOST, issuer=middle)
        leaf.chain = (middle.certificate,)
        self.check(leaf, "cert-name-constraint")

    def test_an_issuer_that_is_no_authority(self) -> None:
        middle = issue("middle.test", issuer=self.authority, key=new_key(16), common_name="middle")
        leaf = issue(HOST, issuer=middle)
        leaf.chain = (middle.certificate,)
        failure = self.verify(leaf)
        assert failure is not None
        self.assertIn(failure.code, ("cert-invalid", "cert-unknown-issuer"))

    def test_all_reasons_are_told(self) -> None:
        leaf = issue("other.test", not_before=NOW - 3 * DAY, not_after=NOW - DAY)
        failure = self.check(leaf, "cert-self-signed")
        self.assertEqual(failure.codes, ("cert-self-signed", "cert-expired", "cert-wrong-host"))

    def test_names_are_checked_after_a_resumption_too(self) -> None:
        link, client, server = self.pair()
        server.above.write(b"hello")
        self.flush(link)
        link, client, server = self.pair()
        connection = client.transport.connection
        self.assertFalse(connection.get_app_data().called)
        self.assertIsNone(verify_peer(connection, HOST, connection.get_app_data()))
        failure = verify_peer(connection, "other.test", connection.get_app_data())
        assert failure is not None
        self.assertEqual(failure.code, "cert-wrong-host")


class CheckNamesTests(TLSCase):
    """Names by themselves."""

    def test_spellings_of_the_host(self) -> None:
        certificate = issue("origin.test", "2001:db8::7").certificate
        for host in ("origin.test", "ORIGIN.test", "origin.test.", "[2001:db8::7]", "2001:DB8::7"):
            self.assertIsNone(check_names(certificate, host), host)

    def test_names_that_no_certificate_can_be_for(self) -> None:
        certificate = issue("origin.test").certificate
        for host in ("", "a b", "-", "origin..test", "*.test", "\N{SNOWMAN}"):
            wrong = check_names(certificate, host)
            assert wrong is not None
            self.assertEqual(wrong[0], "cert-wrong-host", host)

    def test_many_names_are_shortened(self) -> None:
        certificate = issue(*(f"h{number}.test" for number in range(9))).certificate
        wrong = check_names(certificate, "origin.test")
        assert wrong is not None
        self.assertIn("and 4 more", wrong[1])
