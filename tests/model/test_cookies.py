"""Tests of `interceptor.model.cookies`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model import cookies


class CookieTests(SynchronousTestCase):
    def test_parse(self) -> None:
        self.assertEqual(
            (("a", "1"), ("b", "2=3"), ("flag", ""), ("", "x")),
            cookies.parse_cookie(" a = 1;b=2=3;; = ;flag; =x"),
        )

    def test_an_empty_field_has_no_cookies(self) -> None:
        self.assertEqual((), cookies.parse_cookie(""))

    @given(st.text())
    def test_an_unchanged_field_keeps_its_pairs(self, line: str) -> None:
        pairs = cookies.parse_cookie(line)
        self.assertEqual(pairs, cookies.parse_cookie(cookies.format_cookie(pairs, line)))


class SetCookieTests(SynchronousTestCase):
    def test_empty_fields_are_left_out(self) -> None:
        self.assertEqual((), cookies.parse_set_cookies(["", " ; Path=/"]))

    def test_format(self) -> None:
        self.assertEqual("a=b", cookies.format_set_cookie("a", "b"))
        self.assertEqual(
            "a=b; Path=/; Secure",
            cookies.format_set_cookie("a", ("b", {"Path": "/", "Secure": None})),
        )

    @given(st.lists(st.text()))
    def test_unchanged_cookies_keep_their_bytes(self, lines: list[str]) -> None:
        found = cookies.parse_set_cookies(lines)
        written = cookies.format_set_cookies(found, lines)
        self.assertEqual(found, cookies.parse_set_cookies(written))

    def test_shift_date(self) -> None:
        self.assertEqual(
            "Sun, 06 Nov 1994 08:49:38 GMT",
            cookies.shift_date("Sunday, 06-Nov-94 08:49:37 GMT", 1),
        )
        for text in ("", "nonsense", "Sun, 06 Nov 99999 08:49:37 GMT", "0"):
            self.assertIsNone(cookies.shift_date(text, 1), text)
