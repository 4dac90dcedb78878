"""Filters as scripts use them, and their reference."""

from __future__ import annotations

from typing import Any

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import FilterError
from interceptor.filters.expression import Filter, match, parse
from interceptor.filters.operators import OPERATORS
from interceptor.filters.reference import as_rst, as_text, describe
from tests.filters.flows import answered, http_flow


class FilterTests(SynchronousTestCase):
    """Parsed filters and the short cut."""

    def test_pattern_is_the_text(self):
        chosen = parse(" ~c 404 ")
        self.assertIsInstance(chosen, Filter)
        self.assertEqual(" ~c 404 ", chosen.pattern)
        self.assertEqual("Filter(' ~c 404 ')", repr(chosen))

    def test_match_takes_a_filter_a_text_or_nothing(self):
        flow = answered(status=404)
        self.assertTrue(match(parse("~c 404"), flow))
        self.assertTrue(match("~c 404", flow))
        self.assertFalse(match("~c 200", flow))
        self.assertTrue(match(None, flow))

    def test_match_refuses_a_faulty_text_each_time(self):
        for _ in range(2):
            self.assertRaises(FilterError, match, "~nonsense", http_flow())

    def test_faulty_text_is_a_value_error_too(self):
        self.assertRaises(ValueError, parse, "(")

    def test_whether_bodies_are_searched(self):
        for text, expected in (
            ("~c 404", False),
            ("~h foo | ~u bar", False),
            ("~b foo", True),
            ("~c 404 & (~all | !~bq foo)", True),
            ("~bs foo ~m GET", True),
            ("~size > 1m", False),
        ):
            self.assertIs(expected, parse(text).searches_body, text)

    def test_cheap_operands_come_first(self):
        flow: Any = http_flow()
        flow.request = _Unreadable()
        self.assertFalse(parse("~b foo & ~c 404")(flow))
        self.assertTrue(parse("~b foo | ~all")(flow))


class _Unreadable:
    """A request that may not be looked at."""


class ReferenceTests(SynchronousTestCase):
    """The reference comes from the operators themselves."""

    def test_every_operator_is_described(self):
        described = {how.split()[0] for how, _ in describe()}
        for name in OPERATORS:
            self.assertIn(f"~{name}", described)

    def test_every_line_of_the_text_fits(self):
        text = as_text()
        self.assertIn("~u PATTERN", text)
        self.assertIn("~c NUMBER", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_operators_are_in_order(self):
        self.assertEqual(sorted(OPERATORS), list(OPERATORS))

    def test_restructured_text_is_sound(self):
        tree = publish_doctree(as_rst(), settings_overrides={"report_level": 1, "halt_level": 1})
        self.assertIn("status code of the response", tree.astext())
        self.assertIn("(?-i:…)", tree.astext())
