"""The commands ``interceptor ca …``."""

from __future__ import annotations

import io
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from twisted.trial.unittest import SynchronousTestCase

from interceptor import cacommands, cli
from interceptor.net.authority import Authority
from interceptor.trusthelp import GUIDES


class Output:
    """A stream as a program has it: text above, bytes below."""

    def __init__(self, terminal: bool = False) -> None:
        self.bytes = io.BytesIO()
        stream: Any = io.TextIOWrapper(self.bytes, encoding="utf-8", write_through=True)
        stream.isatty = lambda: terminal
        self.stream = stream

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode()


class CommandTestCase(SynchronousTestCase):
    def setUp(self):
        self.confdir = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {"INTERCEPTOR_CONFDIR": str(self.confdir)})
        self.terminal = False

    def run_command(self, *arguments: str) -> tuple[int, Output, str]:
        out, err = Output(self.terminal), io.StringIO()
        self.patch(sys, "stdout", out.stream)
        self.patch(sys, "stderr", err)
        status = cli.main(["ca", *arguments])
        return status, out, err.getvalue()

    def printed(self, *arguments: str) -> str:
        status, out, err = self.run_command(*arguments)
        self.assertEqual((status, err), (0, ""))
        return out.text

    def refused(self, *arguments: str) -> str:
        status, out, err = self.run_command(*arguments)
        self.assertEqual((status, out.text, err.count("\n")), (1, "", 1))
        return err

    def authority(self) -> Authority:
        return Authority.load(str(self.confdir), create=False)


class ShowTests(CommandTestCase):
    """``interceptor ca show``."""

    def test_what_is_shown(self):
        text = self.printed("show")
        authority = self.authority()
        for each in (
            authority.certificate.subject.rfc4514_string(),
            "RSA, 2048 bits",
            f"SHA-256:     {authority.fingerprint()}\n",
            "SHA-1:       ",
            f"Key file:    {authority.path}\n",
            f"Valid until: {authority.certificate.not_valid_after_utc:%Y-%m-%d}",
            *authority.certificate_files,
        ):
            self.assertIn(each, text)
        self.assertNotIn("PRIVATE", text)

    def test_no_authority_is_made_against_the_option(self):
        self.assertIn("ca_create is off", self.refused("show", "--set", "ca_create=false"))
        self.assertFalse(self.confdir.exists())

    def test_faults_are_told_in_one_line(self):
        self.printed("show")
        (self.confdir / "interceptor-ca.pem").chmod(0o644)
        self.assertIn("chmod 600", self.refused("show"))
        self.assertIn("there is no CA file", self.refused("show", "--set", "ca_file=/nonexistent"))

    def test_a_configuration_file(self):
        config = Path(self.mktemp())
        config.write_text("ca_create = false")
        self.assertIn("ca_create is off", self.refused("show", "--config", str(config)))


class ExportTests(CommandTestCase):
    """``interceptor ca export``."""

    def test_pem_on_stdout(self):
        text = self.printed("export")
        self.assertEqual(text.encode(), self.authority().pem)
        self.assertNotIn("PRIVATE", text)

    def test_each_format_to_a_file(self):
        certificate = None
        for form in ("pem", "der", "p12"):
            path = Path(self.mktemp())
            self.assertEqual(self.printed("export", "--format", form, str(path)), "")
            certificate = self.authority().certificate
            content = path.read_bytes()
            if form == "pem":
                found = x509.load_pem_x509_certificate(content)
            elif form == "der":
                found = x509.load_der_x509_certificate(content)
            else:
                store = pkcs12.load_pkcs12(content, None)
                self.assertIsNone(store.key)
                found = store.additional_certs[0].certificate
            self.assertEqual(found, certificate)

    def test_bytes_on_stdout(self):
        _, out, _ = self.run_command("export", "--format", "der", "-")
        self.assertEqual(out.bytes.getvalue(), self.authority().der)

    def test_a_terminal_gets_no_bytes(self):
        self.terminal = True
        self.assertIn("name a FILE", self.refused("export", "--format", "p12"))
        self.assertIn("BEGIN CERTIFICATE", self.printed("export"))

    def test_the_file_with_the_key_is_not_overwritten(self):
        self.printed("show")
        path = self.confdir / "interceptor-ca.pem"
        self.assertIn("file with the key", self.refused("export", str(path)))
        self.assertIn(b"PRIVATE KEY", path.read_bytes())

    def test_a_file_that_cannot_be_written(self):
        self.assertIn(
            "cannot write `/nonexistent/x`: No such", self.refused("export", "/nonexistent/x")
        )


class InstallHelpTests(CommandTestCase):
    """``interceptor ca install-help``."""

    def test_every_platform(self):
        for guide in GUIDES:
            for name in (guide.key, *guide.aliases):
                text = self.printed("install-help", name.upper())
                self.assertTrue(text.startswith(guide.title + "\n==="))
                self.assertNotIn("{", text)

    def test_the_files_are_named(self):
        text = self.printed("install-help", "curl")
        path = shlex.quote(str(self.confdir / "interceptor-ca-cert.pem"))
        self.assertIn(f"\n    curl --cacert {path} https://…\n", text)

    def test_paths_are_quoted(self):
        self.confdir = self.confdir / "a b"
        os.environ["INTERCEPTOR_CONFDIR"] = str(self.confdir)
        self.assertIn(
            f"'{self.confdir}/interceptor-ca-cert.pem'", self.printed("install-help", "git")
        )

    def test_an_authority_of_ones_own_is_exported_first(self):
        self.printed("show")
        given = f"ca_file={self.confdir}/interceptor-ca.pem"
        text = self.printed("install-help", "android", "--set", given)
        self.assertIn("ca export --format der interceptor-ca-cert.cer\n", text)
        self.assertIn("Bring interceptor-ca-cert.cer to the device", text)

    def test_an_option_that_there_is_not(self):
        for command in ("show", "export", "install-help"):
            message = self.refused(command, "--set", "confdr=/tmp")
            self.assertIn("unknown option `confdr`: did you mean `confdir`?", message)

    def test_an_unknown_command(self):
        self.assertIn("did you mean `install-help`?", self.refused("install"))

    def test_an_unknown_platform(self):
        message = self.refused("install-help", "debina")
        self.assertIn("did you mean `debian`?", message)
        self.assertIn("macos", message)

    def test_this_system_and_a_list(self):
        self.patch(cacommands, "_this_system", lambda: "alpine")
        text = self.printed("install-help")
        self.assertTrue(text.startswith("Alpine Linux\n"))
        for guide in GUIDES:
            self.assertIn(f"\n  {guide.key:<10}{guide.title}\n", text)

    def test_this_system_is_recognised(self):
        release: dict[str, str] = {}
        self.patch(platform, "freedesktop_os_release", lambda: release)
        self.patch(sys, "platform", "linux")
        for fields, expected in (
            ({"ID": "debian"}, "Debian"),
            ({"ID": "pop", "ID_LIKE": "ubuntu debian"}, "Debian"),
            ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "Fedora"),
            ({"ID": "nixos"}, "There are"),
        ):
            release.clear()
            release.update(fields)
            self.assertTrue(self.printed("install-help").startswith(expected), fields)

    def test_other_systems_are_recognised(self):
        self.patch(sys, "platform", "darwin")
        self.assertTrue(self.printed("install-help").startswith("macOS\n"))

    def test_a_system_that_says_nothing(self):
        def missing() -> dict[str, str]:
            raise FileNotFoundError(2, "No such file")

        self.patch(platform, "freedesktop_os_release", missing)
        self.patch(sys, "platform", "linux")
        self.assertTrue(self.printed("install-help").startswith("There are instructions for:"))

    def test_a_system_nobody_knows(self):
        self.patch(cacommands, "_this_system", lambda: "")
        self.assertTrue(self.printed("install-help").startswith("There are instructions for:"))
