"""The manual's page of error codes is complete, and has no more than there is."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import interceptor
from tests.docs.codes import CODE, collect
from tests.docs.manual import DOCS

COMPOSED = frozenset(
    """
    body-timeout head-timeout
    ca-key-mismatch ca-missing ca-permissions ca-unreadable
    certs-key-mismatch certs-missing certs-unreadable
    client-cert-key-mismatch client-cert-missing client-cert-unreadable
    """.split()
)
"""Codes that the source puts together from parts."""


def entries() -> list[str]:
    """Return the codes that the page has an entry for: each term may have several."""
    page = (DOCS / "errors.rst").read_text(encoding="utf-8")
    terms = [line for line in page.splitlines() if line.startswith("``")]
    return [code for term in terms for code in re.findall(r"``([a-z0-9-]+)``", term)]


class ErrorCodesTests(SynchronousTestCase):
    def setUp(self):
        self.codes = collect(Path(interceptor.__file__).parent)

    def test_codes_are_found(self):
        # One for each way in which the source states a code.
        for code in (
            "killed",
            "connect-refused",
            "length-conflict",
            "response-length-conflict",
            "response-truncated",
            "host-invalid",
            "reason-missing",
            "length-and-chunked",
            "obs-fold",
            "bare-lf",
        ):
            self.assertIn(code, self.codes)
        self.assertNotIn("response-head-malformed", self.codes)

    def test_every_code_has_an_entry(self):
        self.assertEqual(sorted((self.codes | COMPOSED) - set(entries())), [])

    def test_every_entry_has_a_code(self):
        self.assertEqual(sorted(set(entries()) - self.codes - COMPOSED), [])

    def test_no_entry_is_there_twice(self):
        every = entries()
        self.assertEqual(sorted(code for code in set(every) if every.count(code) > 1), [])
        self.assertEqual([c for c in every if not CODE.fullmatch(c)], ["killed", "abandoned"])
