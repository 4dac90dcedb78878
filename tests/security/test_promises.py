"""The manual's page on security names a test for each promise: those tests are there."""

from __future__ import annotations

import importlib
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.manual import DOCS

_ROW = re.compile(r"^(\S.*?) +``(tests[\w.]+)``$", re.MULTILINE)


class PromiseTests(SynchronousTestCase):
    def promises(self) -> list[tuple[str, str]]:
        page = (DOCS / "security.rst").read_text(encoding="utf-8")
        return _ROW.findall(page[page.index("What is promised") :])

    def test_there_are_promises(self):
        self.assertGreater(len(self.promises()), 20)

    def test_no_row_is_overlooked(self):
        page = (DOCS / "security.rst").read_text(encoding="utf-8")
        table = page[page.index("What is promised") :]
        self.assertEqual(table.count("``tests."), len(self.promises()))

    def test_each_names_tests_that_are_there(self):
        for promise, name in self.promises():
            self.assertTrue(exists(name), f"{promise}: there is no {name}")


def exists(name: str) -> bool:
    """Whether ``tests.module``, ``tests.module.Class`` or ``tests.module.Class.test`` is there."""
    words = name.split(".")
    for end in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            found = getattr(found, word, None)
        return found is not None
    return False
