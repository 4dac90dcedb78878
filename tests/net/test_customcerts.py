"""Own certificates: which file is shown for which host."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import AuthorityError
from interceptor.net.customcerts import CustomCertificates
from tests.net.authorities import Made, rsa_key, write


class CustomCertificatesTests(SynchronousTestCase):
    """`CustomCertificates`."""

    def setUp(self):
        self.root = Made("Root")
        self.made = Made("own.example", ca=False, issuer=self.root)
        self.path = write(self.mktemp(), self.made.pem, self.root.pem, self.made.key_pem())
        self.twin = Made("own.example", ca=False, key=rsa_key())
        self.twin_path = write(self.mktemp(), self.twin.key_pem(), self.twin.pem, mode=0o644)

    def code(self, *entries: str) -> str:
        error = self.assertRaises(AuthorityError, CustomCertificates.load, entries)
        self.assertNotIn("\n", str(error))
        return error.code

    def test_none(self):
        found = CustomCertificates.load(())
        self.assertEqual((len(found), found.find("a.example"), found.find(None)), (0, None, None))

    def test_a_leaf_has_its_chain(self):
        leaf = CustomCertificates.load([self.path]).find("own.example")
        assert leaf is not None
        self.assertEqual(leaf.certificate, self.made.certificate)
        self.assertEqual(leaf.chain, (self.root.certificate,))

    def test_for_one_host(self):
        found = CustomCertificates.load([f"Own.Example={self.path}"])
        leaf = found.find("OWN.example.")
        self.assertIsNotNone(leaf)
        self.assertIs(found.find("own.example"), leaf)
        self.assertEqual((found.find("www.own.example"), found.find(None)), (None, None))

    def test_for_an_address(self):
        found = CustomCertificates.load([f"[::1]={self.path}", f"10.0.0.1={self.path}"])
        self.assertEqual(len(found), 2)
        self.assertIsNotNone(found.find("0:0::1"))
        self.assertIsNotNone(found.find("10.0.0.1"))

    def test_for_a_wildcard(self):
        found = CustomCertificates.load([f"*.own.example={self.path}"])
        self.assertIsNotNone(found.find("a.own.example"))
        self.assertEqual((found.find("own.example"), found.find("a.b.own.example")), (None, None))

    def test_for_every_host(self):
        for entry in (self.path, f"*={self.path}"):
            found = CustomCertificates.load([entry])
            self.assertIsNotNone(found.find("anything"))
            self.assertIsNotNone(found.find(None))

    def test_the_nearest_wins(self):
        found = CustomCertificates.load(
            [self.path, f"*.a.example={self.twin_path}", f"b.a.example={self.path}"]
        )
        kinds = [
            leaf.is_rsa
            for leaf in map(found.find, ("b.a.example", "c.a.example", "example"))
            if leaf is not None
        ]
        self.assertEqual(kinds, [False, True, False])

    def test_two_kinds_of_keys(self):
        found = CustomCertificates.load([f"h={self.path}", f"h={self.twin_path}"])
        for rsa in (False, True):
            leaf = found.find("h", rsa=rsa)
            assert leaf is not None
            self.assertEqual(leaf.is_rsa, rsa)
        only = CustomCertificates.load([f"h={self.path}"]).find("h", rsa=True)
        assert only is not None
        self.assertFalse(only.is_rsa)

    def test_what_is_named_later_replaces(self):
        other = Made("h", ca=False)
        path = write(self.mktemp(), other.pem, other.key_pem())
        found = CustomCertificates.load([f"h={self.path}", f"h={path}"])
        leaf = found.find("h")
        assert leaf is not None
        self.assertEqual((len(found), leaf.certificate), (1, other.certificate))

    def test_paths_with_an_equals_sign(self):
        directory = Path(self.mktemp())
        directory.mkdir()
        path = write(str(directory.absolute() / "a=b.pem"), self.made.pem, self.made.key_pem())
        self.assertIsNotNone(CustomCertificates.load([path]).find("x"))
        self.assertIsNotNone(CustomCertificates.load([f"h={path}"]).find("h"))

    def test_errors(self):
        self.assertEqual(self.code("h=/nonexistent"), "certs-missing")
        self.assertEqual(self.code("/nonexistent"), "certs-missing")
        self.assertEqual(self.code(""), "certs-invalid")
        self.assertEqual(self.code("h="), "certs-invalid")
        self.assertEqual(self.code("*="), "certs-invalid")
        self.assertEqual(self.code(f"a..ü={self.path}"), "certs-invalid")
        no_key = write(self.mktemp(), self.made.pem)
        self.assertEqual(self.code(f"h={no_key}"), "certs-unreadable")
        mismatch = write(self.mktemp(), self.made.pem, self.twin.key_pem())
        self.assertEqual(self.code(mismatch), "certs-key-mismatch")
