"""The options reference."""

from __future__ import annotations

import re
import tomllib

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.coreoptions import core_options
from interceptor.model.optionreference import as_rst, as_text, as_toml


class ReferenceTests(SynchronousTestCase):
    """Each form names every option."""

    def setUp(self):
        self.options = core_options()

    def test_text(self):
        text = as_text(self.options)
        for name in self.options:
            self.assertIn(f"\n  {name} (", text)
        self.assertIn("  body_size_limit (size, default 1g)\n", text)
        self.assertIn("  total_timeout (optional duration, unset)\n", text)
        self.assertTrue(all(len(line) <= 100 for line in text.splitlines()))

    def test_rst_is_without_fault(self):
        text = "Options\n=======\n\n" + as_rst(self.options)
        tree = publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2})
        terms = {node.astext() for node in tree.findall() if node.tagname == "term"}
        self.assertEqual(terms, set(self.options))

    def test_toml_gives_the_defaults_when_its_comments_are_removed(self):
        text = as_toml(self.options)
        self.assertEqual(tomllib.loads(text), {})
        values = tomllib.loads(re.sub(r"(?m)^#(?=\w+ = )", "", text))
        self.assertEqual(set(values), set(self.options))
        self.options.assign(values)
        self.assertEqual(self.options.items(), core_options().items())

    def test_toml_holds_what_was_set(self):
        self.options.update(confdir='a"b\\c\n', script_reload=False, total_timeout=1.5)
        self.options.update(scripts=['a "b" c', "d"])
        values = tomllib.loads(as_toml(self.options))
        self.assertEqual(set(values), {"confdir", "script_reload", "scripts", "total_timeout"})
        again = core_options()
        again.assign(values)
        self.assertEqual(again.items(), self.options.items())

    def test_options_of_scripts_have_a_place(self):
        self.options.add_option("pattern_", str, "*|_", "What `to` match.")
        self.assertIn("Options of scripts", as_text(self.options))
        publish_doctree(
            "Options\n=======\n\n" + as_rst(self.options),
            settings_overrides={"report_level": 1, "halt_level": 2},
        )
