"""The option ``proxyauth``, and password files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import mock

from passlib.hash import argon2, bcrypt, sha256_crypt, sha512_crypt
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.model.passwords import PasswordFile, credentials_for, parse_proxyauth

FAST = {
    "bcrypt": bcrypt.using(rounds=4),
    "argon2": argon2.using(time_cost=1, memory_cost=8, parallelism=1),
    "sha256_crypt": sha256_crypt.using(rounds=1000),
    "sha512_crypt": sha512_crypt.using(rounds=1000),
}
"""As cheap as they can be."""

# As `htpasswd -nb -B` and `-5` write them.
APACHE_BCRYPT = "anna:$2y$05$1Fc4p9IVryrTazXVZ4VN.uQuo4unvWR.PaSDy3f8Zt.Ze5p1cR.Qu"
APACHE_SHA512 = (
    "anna:$6$NWDU2E9.Ixn.9H8A$jt5lpgX/pW8FKECXG/JKJfEUc6LqEJQUZd9arwvcdinEvpFuUCjkCtFEQR/"
    "oGxNjLVeA2cMuzdNE15V1dtb7b/"
)


class OptionTests(SynchronousTestCase):
    """The three forms."""

    def test_any(self):
        passwords = parse_proxyauth("any")
        self.assertTrue(passwords.check(b"whoever", b""))
        self.assertFalse(passwords.slow or passwords.refresh())

    def test_one(self):
        passwords = parse_proxyauth("anna:pass:wörd")
        self.assertFalse(passwords.slow or passwords.refresh())
        self.assertTrue(passwords.check(b"anna", "pass:wörd".encode()))
        for user, password in (
            (b"anna", b""),
            (b"anna", b"pass"),
            (b"Anna", "pass:wörd".encode()),
            (b"anna:pass", "wörd".encode()),
            (b"", "anna:pass:wörd".encode()),
        ):
            self.assertFalse(passwords.check(user, password))

    def test_others_are_refused_and_not_repeated(self):
        for text in ("secret", ":secret", "@", ""):
            message = str(self.assertRaises(OptionsError, parse_proxyauth, text))
            self.assertEqual(
                message, "option `proxyauth`: expected `any`, USER:PASSWORD or @HTPASSWDFILE"
            )


class CredentialsTests(SynchronousTestCase):
    """What a program is told that shall be let in."""

    def test_forms(self):
        self.assertIsNone(credentials_for(None))
        self.assertEqual(credentials_for("anna:a:b"), ("anna", "a:b"))
        credentials = credentials_for("any")
        assert credentials is not None
        self.assertTrue(parse_proxyauth("any").check(*[each.encode() for each in credentials]))

    def test_a_file_has_none(self):
        self.assertIn("only hashes", str(self.assertRaises(OptionsError, credentials_for, "@f")))


class PasswordFileTests(SynchronousTestCase):
    """``@FILE``."""

    def setUp(self):
        self.path = Path(self.mktemp())

    def write(self, *lines: str) -> str:
        self.path.write_text("\n".join(lines) + "\n")
        return f"@{self.path}"

    def refused(self, *lines: str) -> str:
        return str(self.assertRaises(OptionsError, parse_proxyauth, self.write(*lines)))

    def test_kinds_of_hashes(self):
        lines = [f"{name}:{kind.hash('secret')}" for name, kind in FAST.items()]
        passwords = parse_proxyauth(self.write("# users", "", *lines))
        self.assertTrue(passwords.slow)
        for name in FAST:
            self.assertTrue(passwords.check(name.encode(), b"secret"))
            self.assertFalse(passwords.check(name.encode(), b"Secret"))
            self.assertFalse(passwords.check(name.encode(), b""))

    def test_what_htpasswd_writes(self):
        for line in (APACHE_BCRYPT, APACHE_SHA512):
            passwords = parse_proxyauth(self.write(line))
            self.assertTrue(passwords.check(b"anna", b"secret"))

    def test_users_who_are_not_there(self):
        passwords = parse_proxyauth(self.write(APACHE_BCRYPT))
        self.assertFalse(passwords.check(b"berta", b"secret"))
        self.assertFalse(parse_proxyauth(self.write("# nobody")).check(b"anna", b"secret"))

    def test_passwords_that_cannot_be(self):
        passwords = parse_proxyauth(self.write(APACHE_BCRYPT))
        for password in (b"secret\0", b"s" * 100, b"\xff"):
            self.assertFalse(passwords.check(b"anna", password))

    def test_a_home_directory(self):
        self.write(APACHE_BCRYPT)
        self.patch(os, "environ", {**os.environ, "HOME": str(self.path.parent.resolve())})
        passwords = parse_proxyauth(f"@~/{self.path.name}")
        self.assertTrue(passwords.check(b"anna", b"secret"))

    def test_faults_name_the_line_and_no_hash(self):
        for line, expected in (
            ("anna", "line 2: expected USER:HASH"),
            (":$2y$05$x", "line 2: expected USER:HASH"),
            ("anna:secret", "line 2: expected a hash of bcrypt, argon2 or SHA-crypt"),
            ("anna:$apr1$sTMEeNR3$ln2pvoLv1zyk5IKYemrki1", "line 2: expected a hash of bcrypt"),
            ("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "line 2: expected a hash of bcrypt"),
            ("anna:$2y$05$secret", "line 2: the hash is damaged"),
            ("anna:$6$secret", "line 2: the hash is damaged"),
        ):
            message = self.refused("# users", line)
            self.assertIn(expected, message)
            self.assertNotIn("secret", message.replace(str(self.path), ""))
        self.assertIn("line 2: the user `anna` again", self.refused(APACHE_BCRYPT, APACHE_SHA512))

    def test_no_file(self):
        message = str(self.assertRaises(OptionsError, parse_proxyauth, f"@{self.path}"))
        self.assertEqual(
            message, f"cannot read the password file `{self.path}`: No such file or directory"
        )

    def test_too_large(self):
        with self.path.open("wb") as file:
            file.truncate((1 << 24) + 1)
        message = str(self.assertRaises(OptionsError, parse_proxyauth, f"@{self.path}"))
        self.assertIn("too large", message)

    def test_no_libraries(self):
        self.write(APACHE_BCRYPT)
        with mock.patch.dict(sys.modules, {"bcrypt": None}):
            message = str(self.assertRaises(OptionsError, parse_proxyauth, f"@{self.path}"))
        self.assertIn("pip install 'interceptor[htpasswd]'", message)

    def test_it_is_read_again(self):
        self.write(APACHE_BCRYPT)
        passwords = PasswordFile(str(self.path))
        self.assertFalse(passwords.refresh())
        self.write(APACHE_BCRYPT.replace("anna", "berta"))
        self.assertTrue(passwords.refresh())
        self.assertTrue(passwords.check(b"berta", b"secret"))
        self.assertFalse(passwords.check(b"anna", b"secret"))

    def test_what_cannot_be_read_again_changes_nothing(self):
        self.write(APACHE_BCRYPT)
        passwords = PasswordFile(str(self.path))
        self.write("damaged")
        self.assertRaises(OptionsError, passwords.refresh)
        self.assertFalse(passwords.refresh())
        self.path.unlink()
        self.assertRaises(OptionsError, passwords.refresh)
        self.assertTrue(passwords.check(b"anna", b"secret"))
