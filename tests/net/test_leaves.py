"""Leaves: what is in them, who accepts them, and that they are kept."""

from __future__ import annotations

import ipaddress
import threading
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import VerificationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import AuthorityError
from interceptor.net.authority import Authority, common_name
from interceptor.net.leaves import Leaf, LeafStore, covers, mirror_names, normal_name
from interceptor.net.pemfiles import Identity
from tests.net.authorities import (
    NOW,
    Made,
    clock,
    ec_key,
    openssl_accepts,
    rsa_key,
    web_accepts,
)

_FEW = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.differing_executors],
)


def authority(made: Made, *above: Made) -> Authority:
    chain = tuple(each.certificate for each in above)
    return Authority(Identity(made.key, made.certificate, chain), "ca.pem")


def alternative_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(each.value) for each in found.value]


class LeafTestCase(SynchronousTestCase):
    def setUp(self):
        self.root = Made("Test CA", key=rsa_key())
        self.authority = authority(self.root)
        self.store = LeafStore(self.authority, clock=clock)

    def assertAccepted(self, leaf: Leaf, anchor: x509.Certificate, name: str) -> None:
        self.assertIsNone(openssl_accepts(leaf.certificate, leaf.chain, anchor))
        try:
            subject = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            web_accepts(leaf.certificate, leaf.chain, anchor, x509.DNSName(name))
        else:
            web_accepts(leaf.certificate, leaf.chain, anchor, subject)


class ContentTests(LeafTestCase):
    """What is in a leaf."""

    def test_names(self):
        leaf = self.store.leaf(("example.com", "*.example.com", "127.0.0.1", "::1"))
        self.assertEqual(
            alternative_names(leaf.certificate),
            ["example.com", "*.example.com", "127.0.0.1", "::1"],
        )
        self.assertEqual(common_name(leaf.certificate), "example.com")
        for name in ("example.com", "a.example.com", "127.0.0.1", "::1"):
            self.assertAccepted(leaf, self.root.certificate, name)
        self.assertRaises(
            VerificationError,
            web_accepts,
            leaf.certificate,
            (),
            self.root.certificate,
            x509.DNSName("example.org"),
        )

    def test_validity(self):
        certificate = self.store.leaf(("example.com",)).certificate
        self.assertEqual(certificate.not_valid_before_utc, NOW - timedelta(days=2))
        length = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertEqual(length, timedelta(days=197))

    def test_a_leaf_is_not_valid_longer_than_its_issuer(self):
        made = Made("Short CA", start=timedelta(hours=-1), end=timedelta(days=5))
        leaf = LeafStore(authority(made), clock=clock).leaf(("example.com",)).certificate
        self.assertEqual(leaf.not_valid_before_utc, made.certificate.not_valid_before_utc)
        self.assertEqual(leaf.not_valid_after_utc, made.certificate.not_valid_after_utc)

    def test_extensions(self):
        certificate = self.store.leaf(("example.com",)).certificate
        extensions = certificate.extensions
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self.assertEqual(own, x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()))
        above = self.root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        self.assertEqual(issuer.key_identifier, above.value.digest)
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertFalse(extensions.get_extension_for_class(x509.BasicConstraints).value.ca)

    def test_the_issuers_identifier_is_copied_however_it_was_made(self):
        odd = x509.SubjectKeyIdentifier(b"odd")
        for made, expected in (
            (Made("Odd CA", key_id=False, extensions=(odd,)), b"odd"),
            (Made("No id", key=rsa_key(), key_id=False), None),
        ):
            leaf = LeafStore(authority(made), clock=clock).leaf(("example.com",)).certificate
            found = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
            if expected is None:
                key = made.key.public_key()
                expected = x509.SubjectKeyIdentifier.from_public_key(key).digest
            self.assertEqual(found.key_identifier, expected)

    def test_serials_are_unique(self):
        serials = {self.store.leaf((f"h{i}.example",)).certificate.serial_number for i in range(20)}
        self.assertEqual(len(serials), 20)
        self.assertTrue(all(0 < serial < 1 << 159 for serial in serials))

    def test_a_name_too_long_for_the_subject(self):
        long = "a" * 60 + ".example.com"
        leaf = self.store.leaf((long, "b.example.com"))
        self.assertEqual(common_name(leaf.certificate), "b.example.com")
        alone = self.store.leaf((long,)).certificate
        self.assertEqual(len(list(alone.subject)), 0)
        names = alone.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertTrue(names.critical)
        self.assertAccepted(self.store.leaf((long,)), self.root.certificate, long)

    def test_organization(self):
        def of(organization: str) -> list[str | bytes]:
            subject = self.store.leaf(("a.example",), organization=organization).certificate.subject
            return [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]

        self.assertEqual(of("Exämple Inc."), ["Exämple Inc."])
        self.assertEqual((of("x" * 65), of("\ud800"), of("")), ([], [], []))

    def test_names_are_normalised_and_unusable_ones_left_out(self):
        leaf = self.store.leaf(
            ("EXAMPLE.com.", "example.com", "[::1]", "bücher.example", "a b", "")
        )
        self.assertEqual(
            alternative_names(leaf.certificate), ["example.com", "::1", "xn--bcher-kva.example"]
        )
        self.assertIs(leaf, self.store.leaf(("example.com", "::1", "xn--bcher-kva.example")))

    def test_no_name_at_all(self):
        for names in ((), ("",), ("a b", "\n")):
            error = self.assertRaises(AuthorityError, self.store.leaf, names)
            self.assertEqual(error.code, "leaf-without-name")

    @_FEW
    @given(st.lists(st.text(max_size=80), max_size=3))
    def test_any_names(self, names):
        try:
            leaf = LeafStore(self.authority, clock=clock).leaf(tuple(names))
        except AuthorityError as error:
            self.assertEqual(error.code, "leaf-without-name")
        else:
            data = leaf.certificate.public_bytes(Encoding.DER)
            again = x509.load_der_x509_certificate(data)
            self.assertTrue(alternative_names(again))


class AuthoritiesTests(LeafTestCase):
    """Authorities of every kind."""

    def test_kinds_of_keys(self):
        for key, by in (
            (rsa_key(), hashes.SHA256),
            (rsa_key(3072), hashes.SHA256),
            (ec_key(), hashes.SHA256),
            (ec_key(ec.SECP384R1()), hashes.SHA384),
            (ec_key(ec.SECP521R1()), hashes.SHA512),
        ):
            made = Made("CA", key=key)
            store = LeafStore(authority(made), clock=clock)
            for kind in (False, True):
                leaf = store.leaf(("example.com",), rsa=kind)
                self.assertEqual(leaf.is_rsa, kind)
                self.assertIsInstance(leaf.certificate.signature_hash_algorithm, by)
                above = (made.certificate,)
                self.assertIsNone(openssl_accepts(leaf.certificate, above, made.certificate))

    def test_intermediates(self):
        root = Made("Root")
        middle = Made("Middle", issuer=root, key=rsa_key())
        store = LeafStore(authority(middle, root), clock=clock)
        leaf = store.leaf(("example.com",))
        self.assertEqual(leaf.chain, (middle.certificate, root.certificate))
        self.assertIsNone(openssl_accepts(leaf.certificate, leaf.chain, root.certificate))

    def test_a_new_authority_satisfies_the_rules_of_the_web(self):
        new = Authority.load(self.mktemp(), clock=clock)
        store = LeafStore(new, clock=clock)
        for kind in (False, True):
            self.assertAccepted(store.leaf(("example.com",), rsa=kind), new.anchor, "example.com")


class HandshakeTests(LeafTestCase):
    """Clients of one kind of key, over a link in memory."""

    def handshake(self, leaf: Leaf, ciphers: bytes) -> None:
        server_context = SSL.Context(SSL.TLS_SERVER_METHOD)
        for each in leaf.chain:
            server_context.add_extra_chain_cert(each)
        client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client_context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client_context.set_cipher_list(ciphers)
        store = client_context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.root.certificate))
        store.set_time(NOW)
        client_context.set_verify(SSL.VERIFY_PEER)
        client, server = SSL.Connection(client_context), SSL.Connection(server_context)
        server.use_certificate(leaf.certificate)
        server.use_privatekey(leaf.key)
        client.set_connect_state()
        server.set_accept_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    other.bio_write(one.bio_read(65536))
                except SSL.WantReadError:
                    pass
        self.assertEqual(client.get_cipher_name(), server.get_cipher_name())
        self.assertIsNotNone(client.get_cipher_name())

    def test_ecdsa(self):
        self.handshake(self.store.leaf(("example.com",)), b"aECDSA")

    def test_rsa(self):
        self.handshake(self.store.leaf(("example.com",), rsa=True), b"aRSA")


class KeepingTests(LeafTestCase):
    """The same name gives the same leaf."""

    def test_kept(self):
        leaf = self.store.leaf(("example.com",))
        self.assertIs(leaf, self.store.leaf(("example.com",)))
        self.assertIsNot(leaf, self.store.leaf(("example.org",)))
        self.assertIsNot(leaf, self.store.leaf(("example.com",), rsa=True))
        self.assertIsNot(leaf, self.store.leaf(("example.com",), organization="x"))

    def test_one_key_per_type(self):
        one, two = self.store.leaf(("a.example",)), self.store.leaf(("b.example",))
        self.assertIs(one.key, two.key)
        self.assertIsInstance(one.key, ec.EllipticCurvePrivateKey)
        twin = self.store.leaf(("a.example",), rsa=True)
        self.assertEqual(twin.key.key_size, 2048)

    def test_the_least_recently_used_goes(self):
        store = LeafStore(self.authority, size=2, clock=clock)
        one, two = store.leaf(("1.example",)), store.leaf(("2.example",))
        store.leaf(("1.example",))
        store.leaf(("3.example",))
        self.assertEqual(len(store), 2)
        self.assertIs(store.leaf(("1.example",)), one)
        self.assertIsNot(store.leaf(("2.example",)), two)

    def test_a_leaf_is_renewed_before_it_expires(self):
        now = clock()
        store = LeafStore(self.authority, clock=lambda: now)
        first = store.leaf(("example.com",))
        now += timedelta(days=193).total_seconds()
        self.assertIs(store.leaf(("example.com",)), first)
        now += timedelta(days=1, hours=1).total_seconds()
        self.assertIsNot(store.leaf(("example.com",)), first)

    def test_preparing_in_another_thread(self):
        thread = threading.Thread(target=self.store.prepare)
        thread.start()
        leaf = self.store.leaf(("example.com",), rsa=True)
        thread.join()
        self.assertIs(leaf.key, self.store.leaf(("example.org",), rsa=True).key)


class MirrorTests(SynchronousTestCase):
    """What is taken over from a server's certificate."""

    def made(self, name: str, *names: x509.GeneralName) -> x509.Certificate:
        extensions = (x509.SubjectAlternativeName(names),) if names else ()
        return Made(name, ca=False, extensions=extensions).certificate

    def test_names_and_addresses(self):
        certificate = self.made(
            "cn.example",
            x509.DNSName("Example.com"),
            x509.DNSName("*.example.com"),
            x509.RFC822Name("a@example.com"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
            x509.DNSName("example.com"),
            x509.UniformResourceIdentifier("https://x/"),
        )
        self.assertEqual(mirror_names(certificate), ("example.com", "*.example.com", "10.0.0.1"))

    def test_the_common_name_where_there_is_nothing_else(self):
        self.assertEqual(mirror_names(self.made("cn.example")), ("cn.example",))
        self.assertEqual(mirror_names(self.made("Somebody's server")), ())
        self.assertEqual(mirror_names(self.made("")), ())

    def test_what_is_wanted(self):
        certificate = self.made("x", x509.DNSName("example.com"), x509.DNSName("*.example.com"))
        names = ("example.com", "*.example.com")
        self.assertEqual(mirror_names(certificate, "EXAMPLE.com"), names)
        self.assertEqual(mirror_names(certificate, "www.example.com"), names)
        self.assertEqual(mirror_names(certificate, "a.b.example.com"), ("a.b.example.com", *names))
        self.assertEqual(mirror_names(certificate, "::1"), ("::1", *names))
        self.assertEqual(mirror_names(certificate, ""), names)

    def test_a_bound_on_their_number(self):
        many = [x509.DNSName(f"h{i}.example") for i in range(300)]
        names = mirror_names(self.made("x", *many), "h299.example")
        self.assertEqual((len(names), names[:2]), (101, ("h299.example", "h0.example")))

    def test_a_bound_on_their_size(self):
        many = [x509.DNSName(f"{i}." + "a" * 230) for i in range(50)]
        self.assertLessEqual(sum(map(len, mirror_names(self.made("x", *many)))), 4096)

    def test_damaged_extensions(self):
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05\x82")
        certificate = Made("cn.example", ca=False, extensions=(broken,)).certificate
        self.assertEqual(mirror_names(certificate), ("cn.example",))

    def test_damaged_certificates(self):
        # A certificate of a server may be damaged anywhere and still parse.
        data = bytearray(
            self.made("x.example", x509.DNSName("y.example")).public_bytes(Encoding.DER)
        )
        parsed = 0
        for at in range(len(data)):
            data[at] ^= 0x15
            try:
                certificate = x509.load_der_x509_certificate(bytes(data))
            except (ValueError, x509.InvalidVersion):
                pass
            else:
                parsed += 1
                mirror_names(certificate, "x.example")
            data[at] ^= 0x15
        self.assertGreater(parsed, 0)


class NameTests(SynchronousTestCase):
    """Names as certificates have them."""

    def test_normal_names(self):
        for name, expected in (
            ("Example.COM.", "example.com"),
            ("[2001:DB8::0:1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("*.A.example", "*.a.example"),
            ("straße.example", "strasse.example"),
            ("_dmarc.example", "_dmarc.example"),
            ("a" * 256, None),
            ("a..ü", None),
            (".", None),
            ("a\0b", None),
        ):
            self.assertEqual(normal_name(name), expected, name)

    def test_covers(self):
        self.assertTrue(covers("a.example", "a.example"))
        self.assertTrue(covers("*.example", "a.example"))
        for pattern, name in (
            ("*.example", "example"),
            ("*.example", "a.b.example"),
            ("*.example", ".example"),
            ("*.0.0.1", "127.0.0.1"),
            ("a*.example", "ab.example"),
            ("*", "a"),
        ):
            self.assertFalse(covers(pattern, name), (pattern, name))
