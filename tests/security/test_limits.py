"""Each limit and each deadline is in the manual's table of them, and has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.coreoptions import CORE_OPTIONS
from tests.docs.manual import DOCS

_LIMIT = re.compile(r".*_(limit|total|timeout|rate|headroom|threads|budget|max_streams|window)")

_OTHERS = frozenset(("via_limit", "detect_timeout", "dns_timeout", "store_streamed_limit"))
"""What bounds something else than what others may have the proxy do, or is about one flow only."""


class LimitTests(SynchronousTestCase):
    def limits(self) -> list[str]:
        names = [option.name for option in CORE_OPTIONS if _LIMIT.fullmatch(option.name)]
        return [name for name in names if name not in _OTHERS]

    def test_the_manual_lists_them(self):
        page = (DOCS / "security.rst").read_text(encoding="utf-8")
        table = page[page.index(".. _limits:") : page.index("The authority's key")]
        named = set(re.findall(r"``(\w+)``", table))
        self.assertEqual([name for name in self.limits() if name not in named], [])
        options = {option.name for option in CORE_OPTIONS}
        words = {word for word in named if "_" in word} - {"load_content"}
        self.assertEqual(sorted(words - options), [])

    def test_tests_hit_them(self):
        texts = [
            path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("*.py")
        ]
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        self.assertEqual([name for name in self.limits() if name not in words], [])

    def test_they_have_safe_values_from_the_start(self):
        unset = {option.name for option in CORE_OPTIONS if option.default in (None, 0)}
        # These are the operator's choice, and other limits hold without them.
        self.assertLessEqual(unset & set(self.limits()), {"total_timeout", "response_body_rate"})
