"""The files that a command is pointed to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import pkcs12
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LaunchError
from interceptor.launch.files import TrustFiles, java_trust_store
from tests.net.certificates import authority

AUTHORITIES = [authority(number) for number in (90, 91, 92)]
OURS, FIRST, SECOND = (each.pem() for each in AUTHORITIES)


class TrustFilesTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.patch(tempfile, "tempdir", str(self.directory))

    def make(self, *sources: str, **environ: str) -> TrustFiles:
        files = TrustFiles(OURS, sources, {"WGETRC": "/nonexistent", **environ})
        self.addCleanup(files.remove)
        return files

    def source(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def test_the_bundle_holds_every_certificate_once(self):
        windows = FIRST.replace(b"\n", b"\r\n")
        files = self.make(
            self.source("a", b"# a comment\n" + FIRST + SECOND), self.source("b", windows + OURS)
        )
        files.write()
        self.assertEqual(Path(files.bundle).read_bytes(), OURS + FIRST + SECOND)

    def test_sources_that_hold_none_are_passed_over(self):
        files = self.make("/nonexistent", str(self.directory), self.source("a", b"\xff" * 99))
        files.write()
        self.assertEqual(Path(files.bundle).read_bytes(), OURS)

    def test_nobody_else_can_read_them(self):
        files = self.make()
        files.write()
        self.assertEqual(os.stat(files.directory).st_mode & 0o777, 0o700)
        for path in (files.bundle, files.trust_store, files.wgetrc):
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_they_are_gone_in_the_end(self):
        files = self.make()
        files.write()
        files.remove()
        files.remove()
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_what_was_never_written_can_be_removed(self):
        self.make().remove()

    def test_the_trust_store(self):
        files = self.make(self.source("a", FIRST))
        files.write()
        store = pkcs12.load_pkcs12(Path(files.trust_store).read_bytes(), None)
        self.assertEqual(
            {entry.certificate for entry in store.additional_certs},
            {each.certificate for each in AUTHORITIES[:2]},
        )

    def test_a_trust_store_leaves_out_what_it_cannot_read(self):
        damaged = FIRST.replace(FIRST[40:60], b"A" * 20)
        store = pkcs12.load_pkcs12(java_trust_store([damaged, SECOND]), None)
        self.assertEqual(len(store.additional_certs), 1)

    def test_the_settings_of_wget_stay(self):
        files = self.make(WGETRC=self.source("rc", b"tries = 3"))
        files.write()
        lines = Path(files.wgetrc).read_text().splitlines()
        self.assertEqual(lines[0], "tries = 3")
        self.assertIn(f"ca_certificate = {files.bundle}", lines)

    def test_a_full_disk_is_told_in_one_line(self):
        self.patch(tempfile, "tempdir", "/nonexistent")
        error = self.assertRaises(LaunchError, self.make().write)
        self.assertIn("cannot write the trusted certificates: ", str(error))
        self.assertEqual(error.exit_status, 126)
