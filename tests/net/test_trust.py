"""Where roots come from."""

from __future__ import annotations

import os
from pathlib import Path

import certifi
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.net import trust
from interceptor.net.trust import TrustStore, platform_roots
from tests.net.certificates import authority


class PlatformRootsTests(SynchronousTestCase):
    def test_the_variable_comes_first(self) -> None:
        path = authority().save(self.mktemp())
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": path})
        self.assertEqual(platform_roots(), Path(path))

    def test_a_variable_that_names_nothing_is_passed_over(self) -> None:
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": self.mktemp()})
        self.assertTrue(platform_roots().is_file())

    def test_certifi_is_the_last_resort(self) -> None:
        self.patch(trust, "_BUNDLES", ())
        self.patch(os, "environ", {})
        self.patch(os.path, "isfile", lambda path: False)
        self.assertEqual(platform_roots(), Path(certifi.where()))


class TrustStoreTests(SynchronousTestCase):
    def refused(self, path: str) -> str:
        with self.assertRaises(OptionsError) as caught:
            TrustStore(path)
        self.assertEqual(caught.exception.code, "trusted-ca-invalid")
        self.assertIn(path, str(caught.exception))
        return str(caught.exception)

    def test_a_file_of_several(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(b"a comment\n" + authority().pem() + authority(11).pem())
        self.assertEqual(len(TrustStore(path).extra), 2)

    def test_a_file_in_der(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(authority().certificate.public_bytes(serialization.Encoding.DER))
        self.assertEqual(len(TrustStore(path).extra), 1)

    def test_a_folder(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        authority().save(str(folder / "a.pem"))
        authority(11).save(str(folder / "b.CRT"))
        (folder / "readme.txt").write_text("not a certificate")
        self.assertEqual(len(TrustStore(str(folder)).extra), 2)

    def test_an_empty_folder(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        self.assertIn("no file", self.refused(folder))

    def test_no_such_file(self) -> None:
        self.assertIn("no such file", self.refused(self.mktemp()))

    def test_no_certificates_in_it(self) -> None:
        for data in (
            b"",
            b"hello",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        ):
            path = self.mktemp()
            Path(path).write_bytes(data)
            self.refused(path)

    def test_the_same_certificate_twice(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(authority().pem() * 2)
        TrustStore(path).load_into(SSL.Context(SSL.TLS_METHOD))

    def test_roots_that_cannot_be_read(self) -> None:
        path = Path(self.mktemp())
        path.write_text("nothing")
        store = TrustStore(roots=path)
        self.assertRaises(OptionsError, store.load_into, SSL.Context(SSL.TLS_METHOD))
