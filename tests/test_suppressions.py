"""Whoever silences a checker says which of its rules, and why, on the same line."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = Path(__file__).parents[1]
PLACES = ("interceptor", "twisted", "scripts", "bench", "docs", "tests")

SILENCED = re.compile(r"#\s*(type:|noqa|ruff:|mypy:|pragma|pylint|pyright)", re.IGNORECASE)
ACCEPTED = re.compile(
    r"# (type: ignore\[[a-z-]+\](, [a-z-]+)*  # \S.*|noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \S.*)"
)


def silenced(text: str) -> Iterator[tuple[int, str]]:
    """Give the number and the text of every comment that a checker obeys."""
    if not SILENCED.search(text):
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and SILENCED.search(token.string):
            yield token.start[0], token.string


def unexplained(text: str) -> list[tuple[int, str]]:
    """Those of the comments that name no rule, or no reason."""
    return [found for found in silenced(text) if not ACCEPTED.fullmatch(found[1])]


class SuppressionTests(SynchronousTestCase):
    def test_every_one_names_its_rule_and_its_reason(self):
        faults = [
            f"{path.relative_to(CHECKOUT)}:{line}: {comment}"
            for place in PLACES
            for path in sorted((CHECKOUT / place).rglob("*.py"))
            for line, comment in unexplained(path.read_text(encoding="utf-8"))
        ]
        self.assertEqual(faults, [])

    def test_what_is_accepted(self):
        for comment in (
            "# type: ignore[override]  # Twisted's stub is wrong",
            "# noqa: S104 - told, not bound to",
            "# noqa: S104, S105 - both are made up",
            "# a type: ignore without a reason is a fault",
        ):
            self.assertEqual(unexplained(f"x = 1  {comment}\n"), [], comment)

    def test_what_is_not(self):
        for comment in (
            "# type: ignore",
            "# type: ignore[override]",
            "# type: ignore  # because",
            "#type:ignore",
            "# noqa",
            "# NOQA: S104",
            "# noqa: S104",
            "# ruff: noqa",
            "# mypy: ignore-errors",
            "# pragma: no cover",
        ):
            self.assertEqual(unexplained(f"x = 1  {comment}\n"), [(1, comment)])

    def test_strings_are_not_comments(self):
        self.assertEqual(unexplained('x = "# noqa"\n'), [])
