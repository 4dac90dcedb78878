"""The authority: made once, kept private, and refused when it is not fit."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import AuthorityError
from interceptor.net.authority import Authority, common_name
from tests.net.authorities import NOW, Made, clock, ec_key, openssl_accepts, rsa_key, write


class AuthorityTestCase(SynchronousTestCase):
    def setUp(self):
        self.confdir = Path(self.mktemp()) / "conf"

    def load(self, **arguments: Any) -> Authority:
        return Authority.load(str(self.confdir), clock=clock, **arguments)

    def refused(self, **arguments: Any) -> tuple[str, str]:
        error = self.assertRaises(AuthorityError, self.load, **arguments)
        message = str(error)
        self.assertNotIn("\n", message)
        return error.code, message

    def mode(self, name: str = "") -> int:
        return stat.S_IMODE(os.stat(self.confdir / name).st_mode)


class CreationTests(AuthorityTestCase):
    """The first use."""

    def test_the_files(self):
        authority = self.load()
        self.assertEqual(
            sorted(os.listdir(self.confdir)),
            [
                "interceptor-ca-cert.cer",
                "interceptor-ca-cert.p12",
                "interceptor-ca-cert.pem",
                "interceptor-ca.pem",
            ],
        )
        self.assertEqual((self.mode(), self.mode("interceptor-ca.pem")), (0o700, 0o600))
        pem, der, p12 = [Path(each).read_bytes() for each in authority.certificate_files]
        self.assertEqual(x509.load_pem_x509_certificate(pem), authority.certificate)
        self.assertEqual(x509.load_der_x509_certificate(der), authority.certificate)
        found = pkcs12.load_pkcs12(p12, None)
        self.assertIsNone(found.key)
        self.assertEqual([c.certificate for c in found.additional_certs], [authority.certificate])
        for content in (pem, der, p12):
            self.assertNotIn(b"PRIVATE", content)

    def test_the_certificate(self):
        certificate = self.load().certificate
        self.assertEqual(certificate.subject, certificate.issuer)
        self.assertEqual(
            common_name(certificate), f"interceptor CA {certificate.serial_number:040x}"[:23]
        )
        self.assertEqual(certificate.not_valid_before_utc, NOW - timedelta(days=2))
        days = (certificate.not_valid_after_utc - NOW).days
        self.assertEqual(days, 3650)
        self.assertIsNone(openssl_accepts(certificate, (), certificate))
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((constraints.critical, constraints.value.path_length), (True, 0))
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical and usage.value.key_cert_sign)
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)

    def test_two_authorities_have_different_names(self):
        one = self.load()
        self.confdir = Path(self.mktemp())
        self.assertNotEqual(one.certificate.subject, self.load().certificate.subject)

    def test_the_second_use_reads_what_the_first_made(self):
        first, second = self.load(), self.load()
        self.assertEqual(first.certificate, second.certificate)
        self.assertEqual(second.chain, (first.certificate,))
        self.assertEqual(second.path, str(self.confdir.absolute() / "interceptor-ca.pem"))

    def test_creation_can_be_forbidden(self):
        code, message = self.refused(create=False)
        self.assertEqual(code, "ca-missing")
        self.assertIn("ca_create", message)
        self.assertFalse(self.confdir.exists())
        self.load()
        self.load(create=False)

    def test_the_home_directory(self):
        self.patch(os, "environ", {**os.environ, "HOME": str(self.confdir.absolute())})
        authority = Authority.load("~/.interceptor", clock=clock)
        self.assertTrue(authority.path.startswith(str(self.confdir.absolute())))

    def test_a_passphrase_encrypts_the_key(self):
        self.load(passphrase="sécret")
        content = (self.confdir / "interceptor-ca.pem").read_bytes()
        self.assertIn(b"ENCRYPTED PRIVATE KEY", content)
        self.load(passphrase="sécret")
        self.assertIn("passphrase is wrong", self.refused(passphrase="other")[1])
        self.assertIn("needs a passphrase", self.refused()[1])

    def test_a_directory_that_cannot_be_made(self):
        self.confdir.parent.mkdir(parents=True)
        self.confdir.write_text("a file")
        code, message = self.refused()
        self.assertEqual(code, "ca-unwritable")
        self.assertIn(str(self.confdir), message)

    def test_nothing_is_left_of_a_failure(self):
        def link(source: str, target: str) -> None:
            raise OSError(5, "Input/output error")

        self.patch(os, "link", link)
        self.assertEqual(self.refused()[0], "ca-unwritable")
        self.assertEqual(os.listdir(self.confdir), [])

    def test_a_file_system_without_links(self):
        def link(source: str, target: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "link", link)
        self.load()
        self.assertEqual(self.mode("interceptor-ca.pem"), 0o600)
        self.assertEqual(len(os.listdir(self.confdir)), 4)

    def test_missing_and_stale_certificate_files_are_written_again(self):
        pem, der, _ = map(Path, self.load().certificate_files)
        content = pem.read_bytes()
        der.unlink()
        self.load()
        self.assertTrue(der.exists())
        pem.write_bytes(b"other")
        self.load()
        self.assertEqual(pem.read_bytes(), content)

    def test_certificate_files_that_cannot_be_written(self):
        authority = self.load()
        for each in authority.certificate_files:
            os.unlink(each)
        Path(authority.certificate_files[2]).mkdir()
        Path(authority.certificate_files[2], "x").touch()
        self.assertEqual(self.load().certificate_files, ())


class RaceTests(AuthorityTestCase):
    """Several proxies that start at once have one authority."""

    def test_another_process_is_faster(self):
        other = Path(self.mktemp())
        winner = Authority.load(str(other), clock=clock)
        link = os.link

        def late(source: str, target: str) -> None:
            link(other / "interceptor-ca.pem", target)
            link(source, target)

        self.patch(os, "link", late)
        self.assertEqual(self.load().certificate, winner.certificate)
        self.assertEqual(len(os.listdir(self.confdir)), 4)

    def test_threads(self):
        found: list[x509.Certificate] = []
        threads = [
            threading.Thread(target=lambda: found.append(self.load().certificate)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(found), len(set(found))), (4, 1))
        self.assertEqual(len(os.listdir(self.confdir)), 4)

    def test_processes(self):
        code = (
            "import sys; from interceptor.net.authority import Authority;"
            "print(Authority.load(sys.argv[1]).fingerprint())"
        )
        command = [sys.executable, "-c", code, str(self.confdir)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
        found = {process.communicate(timeout=60)[0] for process in started}
        self.assertEqual([process.returncode for process in started], [0, 0, 0])
        self.assertEqual(len(found), 1)


class GivenTests(AuthorityTestCase):
    """An authority from a file of its own."""

    def given(self, *parts: bytes, mode: int = 0o600) -> str:
        return write(self.mktemp(), *parts, mode=mode)

    def test_kinds_of_keys(self):
        for key in (rsa_key(), rsa_key(3072), ec_key(), ec_key(ec.SECP384R1())):
            made = Made("Corp CA", key=key)
            authority = self.load(ca_file=self.given(made.key_pem(), made.pem))
            self.assertEqual(authority.certificate, made.certificate)
            self.assertEqual(authority.certificate_files, ())
        self.assertFalse(self.confdir.exists())

    def test_in_any_order_and_with_other_things_around(self):
        made = Made("Corp CA")
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        path = self.given(b"# our CA\n", made.pem, b"\n", parameters, made.key_pem(), b"\nend")
        self.assertEqual(self.load(ca_file=path).certificate, made.certificate)

    def test_intermediates_are_put_in_order(self):
        root = Made("Root")
        middle = Made("Middle", issuer=root)
        lower = Made("Lower", issuer=middle, key=rsa_key())
        other = Made("Other")
        path = self.given(root.pem, other.pem, lower.pem, middle.pem, lower.key_pem())
        authority = self.load(ca_file=path)
        self.assertEqual(authority.certificate, lower.certificate)
        self.assertEqual(authority.chain, (lower.certificate, middle.certificate, root.certificate))
        self.assertEqual(authority.anchor, root.certificate)
        self.assertEqual(authority.pem, root.pem)

    def test_the_root_may_be_elsewhere(self):
        root = Made("Root")
        lower = Made("Lower", issuer=root)
        authority = self.load(ca_file=self.given(lower.key_pem(), lower.pem))
        self.assertEqual(authority.chain, (lower.certificate,))
        self.assertEqual(authority.anchor, lower.certificate)

    def test_a_passphrase(self):
        made = Made("Corp CA", key=rsa_key())
        path = self.given(made.key_pem(b"x"), made.pem)
        self.load(ca_file=path, passphrase="x")
        self.assertEqual(self.refused(ca_file=path)[0], "ca-unreadable")
        # One that nothing needs does no harm.
        self.load(ca_file=self.given(made.key_pem(), made.pem), passphrase="x")

    def test_missing(self):
        path = self.mktemp()
        code, message = self.refused(ca_file=path)
        self.assertEqual(
            (code, message), ("ca-missing", f"there is no CA file `{os.path.abspath(path)}`")
        )

    def test_unreadable(self):
        made, other = Made("Corp CA"), Made("Other CA")
        edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        half = made.key_pem()[:100]
        directory = self.mktemp()
        os.mkdir(directory)
        pipe = self.mktemp()
        os.mkfifo(pipe)
        for path in (
            self.given(),
            self.given(made.pem),
            self.given(made.key_pem()),
            self.given(half, made.pem),
            self.given(b"\0\xff-----BEGIN PRIVATE KEY-----", made.pem),
            self.given(made.key_pem(), made.pem[:200]),
            self.given(edwards, other.pem),
            self.given(made.key_pem(), made.pem, b" " * (1 << 20)),
            directory,
            pipe,
            "nul\0byte",
        ):
            self.assertEqual(self.refused(ca_file=path)[0], "ca-unreadable", path)

    def test_a_certificate_of_no_known_version(self):
        made = Made("Corp CA")
        der = made.certificate.public_bytes(serialization.Encoding.DER)
        changed = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)
        pem = made.pem.split(b"\n")[0] + b"\n" + base64.encodebytes(changed)
        path = self.given(made.key_pem(), pem + b"-----END CERTIFICATE-----\n")
        code, message = self.refused(ca_file=path)
        self.assertEqual(code, "ca-unreadable")
        self.assertIn("a damaged certificate", message)

    def test_a_key_whose_halves_do_not_match(self):
        made = Made("Corp CA")
        assert isinstance(made.key, ec.EllipticCurvePrivateKey)
        value = made.key.private_numbers().private_value
        der = made.key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).replace(value.to_bytes(32, "big"), (value ^ 1).to_bytes(32, "big"))
        pem = b"-----BEGIN EC PRIVATE KEY-----\n%b-----END EC PRIVATE KEY-----\n"
        path = self.given(pem % base64.encodebytes(der), made.pem)
        code, message = self.refused(ca_file=path)
        self.assertEqual((code, message[-10:]), ("ca-unreadable", "is damaged"))

    def test_no_permission(self):
        def refuse(path: str, flags: int, mode: int = 0o777) -> int:
            raise PermissionError(13, "Permission denied")

        made = Made("Corp CA")
        path = self.given(made.key_pem(), made.pem)
        self.patch(os, "open", refuse)
        code, message = self.refused(ca_file=path)
        self.assertEqual((code, message[-19:]), ("ca-unreadable", ": Permission denied"))

    def test_permissions(self):
        made = Made("Corp CA")
        for mode in (0o644, 0o640, 0o604, 0o660, 0o602):
            path = self.given(made.key_pem(), made.pem, mode=mode)
            code, message = self.refused(ca_file=path)
            self.assertEqual(code, "ca-permissions")
            self.assertIn(f"mode {mode:04o}", message)
        self.load(ca_file=self.given(made.key_pem(), made.pem, mode=0o400))

    def test_the_default_file_has_to_be_private_too(self):
        self.load()
        (self.confdir / "interceptor-ca.pem").chmod(0o644)
        self.assertEqual(self.refused()[0], "ca-permissions")

    def test_a_key_of_another_certificate(self):
        made, other = Made("Corp CA"), Made("Corp CA")
        path = self.given(other.key_pem(), made.pem)
        self.assertEqual(self.refused(ca_file=path)[0], "ca-key-mismatch")

    def test_expired(self):
        made = Made("Corp CA", end=timedelta(days=-1))
        code, message = self.refused(ca_file=self.given(made.key_pem(), made.pem))
        self.assertEqual(code, "ca-expired")
        self.assertIn("expired on 2027-02-28", message)

    def test_not_valid_yet(self):
        made = Made("Corp CA", start=timedelta(days=1))
        code, message = self.refused(ca_file=self.given(made.key_pem(), made.pem))
        self.assertEqual(code, "ca-expired")
        self.assertIn("not valid before 2027-03-02", message)

    def test_an_expired_intermediate(self):
        root = Made("Root", end=timedelta(days=-1))
        lower = Made("Lower", issuer=root)
        path = self.given(lower.key_pem(), lower.pem, root.pem)
        self.assertIn("CN=Root", self.refused(ca_file=path)[1])

    def test_not_an_authority(self):
        clients = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        for made in (
            Made("example.com", ca=False),
            Made("old", ca=None),
            Made("no signing", sign=False),
            Made("clients only", extensions=(clients,)),
        ):
            path = self.given(made.key_pem(), made.pem)
            self.assertEqual(self.refused(ca_file=path)[0], "ca-invalid", made.subject)

    def test_a_weak_key(self):
        made = Made("Weak CA", key=rsa_key(1024))
        code, message = self.refused(ca_file=self.given(made.key_pem(), made.pem))
        self.assertEqual((code, "1024 bits" in message), ("ca-invalid", True))


class FingerprintTests(AuthorityTestCase):
    """How people compare certificates."""

    def test_the_forms(self):
        authority = self.load()
        text = authority.fingerprint()
        self.assertEqual(
            text.replace(":", "").lower(), authority.anchor.fingerprint(hashes.SHA256()).hex()
        )
        self.assertEqual(len(authority.fingerprint(hashes.SHA1())), 59)
