"""Tests of `interceptor.model.headers`."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.headers import Headers

RAW = b"Host: example.com\r\naccept: a\r\nX-Odd:  \xff\r\nAccept: b\r\n"
FIELDS = (
    (b"Host", b"example.com"),
    (b"accept", b"a"),
    (b"X-Odd", b"\xff"),
    (b"Accept", b"b"),
)


def wire() -> Headers:
    return Headers.from_wire(FIELDS, RAW)


class HeadersReadingTests(SynchronousTestCase):
    def test_names_are_found_in_any_case(self) -> None:
        self.assertEqual("example.com", wire()["hOST"])
        self.assertIn("HOST", wire())
        self.assertNotIn("hos", wire())
        self.assertNotIn(3, wire())

    def test_names_may_be_bytes(self) -> None:
        self.assertEqual("example.com", wire()[b"host"])
        self.assertIn(b"Host", wire())

    def test_pieces_of_a_cookie_are_joined_to_one(self) -> None:
        headers = Headers([("cookie", "a=1"), ("x-name", "1"), ("Cookie", "b=2")])
        self.assertEqual(headers["Cookie"], "a=1; b=2")
        self.assertEqual(dict(headers)["cookie"], "a=1; b=2")

    def test_several_values_are_joined(self) -> None:
        self.assertEqual("a, b", wire()["accept"])
        self.assertEqual(["a", "b"], wire().get_all("ACCEPT"))
        self.assertEqual([], wire().get_all("none"))

    def test_missing_name_raises_key_error(self) -> None:
        self.assertRaises(KeyError, wire().__getitem__, "none")
        self.assertEqual("x", wire().get("none", "x"))

    def test_every_byte_survives_the_text_view(self) -> None:
        headers = wire()
        headers["x-odd"] = headers["x-odd"]
        self.assertEqual(FIELDS, headers.fields)

    def test_get_bytes_gives_the_first_value(self) -> None:
        self.assertEqual(b"a", wire().get_bytes(b"accept"))
        self.assertIsNone(wire().get_bytes(b"none"))

    def test_iteration_gives_each_name_once_as_it_came_first(self) -> None:
        self.assertEqual(["Host", "accept", "X-Odd"], list(wire()))
        self.assertEqual(3, len(wire()))

    def test_items(self) -> None:
        headers = Headers(((b"A", b"1"), (b"b", b"2"), (b"a", b"3")))
        self.assertEqual([("A", "1, 3"), ("b", "2")], list(headers.items()))
        self.assertEqual([("A", "1"), ("b", "2"), ("a", "3")], headers.items(multi=True))
        self.assertEqual(["A", "b", "a"], headers.keys(multi=True))
        self.assertEqual(["1", "2", "3"], headers.values(multi=True))
        self.assertEqual(["A", "b"], list(headers.keys()))
        self.assertEqual(["1, 3", "2"], list(headers.values()))

    def test_bytes_gives_the_block(self) -> None:
        self.assertEqual(b"A: 1\r\nb: 2\r\n", bytes(Headers(((b"A", b"1"), (b"b", b"2")))))

    def test_truth_and_equality(self) -> None:
        self.assertFalse(Headers())
        self.assertTrue(wire())
        self.assertEqual(wire(), Headers.from_wire(FIELDS, None))
        self.assertNotEqual(wire(), Headers())
        self.assertNotEqual(Headers(a="1"), {"a": "1"})

    def test_repr_shows_the_fields(self) -> None:
        self.assertEqual("Headers([(b'a', b'1')])", repr(Headers(a="1")))


class HeadersMakingTests(SynchronousTestCase):
    def test_keywords_and_text(self) -> None:
        headers = Headers([("A", "1")], content_type="text/html")
        self.assertEqual(((b"A", b"1"), (b"content-type", b"text/html")), headers.fields)

    def test_keyword_replaces_a_field(self) -> None:
        self.assertEqual(((b"A", b"2"),), Headers([(b"A", b"1")], a="2").fields)

    def test_from_a_mapping_or_other_headers(self) -> None:
        self.assertEqual(((b"A", b"1"),), Headers({"A": "1"}).fields)
        self.assertEqual(FIELDS, Headers(wire()).fields)

    def test_values_of_other_types_are_refused(self) -> None:
        self.assertRaises(TypeError, Headers, [("A", 1)])


class HeadersRawTests(SynchronousTestCase):
    def test_raw_is_the_block_until_something_changes(self) -> None:
        self.assertIs(RAW, wire().raw)
        self.assertIs(RAW, wire().copy().raw)
        self.assertIsNone(Headers(a="1").raw)

    def test_every_change_drops_it(self) -> None:
        def assign_fields(headers: Headers) -> None:
            headers.fields = headers.fields[1:]

        changes: list[Any] = [
            lambda headers: headers.__setitem__("host", "b"),
            lambda headers: headers.__delitem__("host"),
            lambda headers: headers.add("a", "b"),
            lambda headers: headers.insert(0, "a", "b"),
            lambda headers: headers.set_all("accept", ["a"]),
            lambda headers: headers.pop("host"),
            lambda headers: headers.update({"a": "b"}),
            lambda headers: headers.setdefault("a", "b"),
            lambda headers: headers.clear(),
            lambda headers: headers.replace("example", "x"),
            assign_fields,
        ]
        for number, change in enumerate(changes):
            headers = wire()
            change(headers)
            self.assertIsNone(headers.raw, number)

    def test_a_copy_is_independent(self) -> None:
        headers = wire()
        copied = headers.copy()
        copied["host"] = "other"
        self.assertEqual(FIELDS, headers.fields)
        self.assertIs(RAW, headers.raw)


class HeadersChangingTests(SynchronousTestCase):
    def test_assignment_keeps_place_and_case(self) -> None:
        headers = wire()
        headers["ACCEPT"] = "c"
        self.assertEqual(
            [("Host", "example.com"), ("accept", "c"), ("X-Odd", "\udcff")],
            headers.items(multi=True),
        )

    def test_set_all_appends_what_is_missing(self) -> None:
        headers = Headers(((b"a", b"1"), (b"b", b"2")))
        headers.set_all("A", ["x", b"y", "z"])
        self.assertEqual(((b"a", b"x"), (b"b", b"2"), (b"A", b"y"), (b"A", b"z")), headers.fields)

    def test_delete(self) -> None:
        headers = wire()
        del headers["Accept"]
        self.assertEqual(["Host", "X-Odd"], list(headers))
        self.assertRaises(KeyError, headers.__delitem__, "Accept")

    def test_add_and_insert(self) -> None:
        headers = Headers(a="1")
        headers.add("a", "2")
        headers.insert(0, b"b", b"3")
        self.assertEqual(((b"b", b"3"), (b"a", b"1"), (b"a", b"2")), headers.fields)

    def test_line_breaks_and_nul_in_values_are_refused(self) -> None:
        headers = wire()
        for value in ("a\r\nb: c", "a\nb", "a\rb", "a\0b", b"a\nb"):
            for change in (
                lambda value: headers.__setitem__("x", value),
                lambda value: headers.__setitem__("host", value),
                lambda value: headers.add("x", value),
                lambda value: headers.insert(0, "x", value),
                lambda value: headers.set_all("x", ["ok", value]),
                lambda value: Headers([("x", value)]),
                lambda value: Headers(x=value),
            ):
                error = self.assertRaises(ValueError, change, value)
                self.assertIn("must not contain CR, LF or NUL", str(error))
        self.assertIs(RAW, headers.raw)

    def test_bad_names_are_refused(self) -> None:
        headers = Headers()
        for name in ("", "a b", "a:", "a\r\n", "a\n", "ä", "a\0", b"(a)"):
            self.assertRaises(ValueError, headers.__setitem__, name, "x")
            self.assertRaises(ValueError, headers.add, name, "x")
        self.assertEqual((), headers.fields)

    def test_a_faulty_name_from_the_wire_can_be_given_a_new_value(self) -> None:
        headers = Headers.from_wire(((b"X [y]", b"1"),), None)
        headers["x [Y]"] = "2"
        self.assertEqual(((b"X [y]", b"2"),), headers.fields)

    def test_fields_takes_bytes_of_a_faulty_peer_but_checks_text(self) -> None:
        headers = Headers()
        headers.fields = [(b"a", b"\0")]
        self.assertEqual(((b"a", b"\0"),), headers.fields)
        self.assertRaises(ValueError, setattr, headers, "fields", [("a", "\0")])


class HeadersReplaceTests(SynchronousTestCase):
    def test_lines_are_matched_as_name_and_value(self) -> None:
        headers = wire()
        self.assertEqual(1, headers.replace("^Host: example", "Host: other"))
        self.assertEqual("other.com", headers["host"])

    def test_count_bounds_all_lines_together(self) -> None:
        headers = Headers(((b"a", b"xx"), (b"b", b"xx")))
        self.assertEqual(3, headers.replace(b"x", b"y", count=3))
        self.assertEqual(((b"a", b"yy"), (b"b", b"yx")), headers.fields)

    def test_a_line_without_colon_stays(self) -> None:
        headers = Headers(a="1")
        self.assertEqual(0, headers.replace("a: ", ""))
        self.assertEqual(((b"a", b"1"),), headers.fields)

    def test_line_breaks_are_refused(self) -> None:
        headers = Headers(a="1")
        self.assertRaises(ValueError, headers.replace, "1", r"1\r\nb: 2")

    def test_faulty_fields_of_a_peer_do_not_make_it_fail(self) -> None:
        headers = Headers.from_wire(((b"X [y]", b"a"), (b"Z", b"a\0")), None)
        self.assertEqual(1, headers.replace("a", "b"))
        self.assertEqual(((b"X [y]", b"b"), (b"Z", b"a\0")), headers.fields)

    def test_flags_and_compiled_patterns(self) -> None:
        self.assertEqual(1, Headers(a="X").replace("x$", "y", flags=re.IGNORECASE))
        self.assertEqual(1, Headers(a="X").replace(re.compile("x$", re.IGNORECASE), "y"))
        self.assertEqual(1, Headers(a="X").replace(re.compile(b"X$"), "y"))

    def test_nothing_replaced_keeps_raw(self) -> None:
        headers = wire()
        self.assertEqual(0, headers.replace("nowhere", "x"))
        self.assertIs(RAW, headers.raw)


class HeadersPropertyTests(SynchronousTestCase):
    @given(
        st.lists(
            st.tuples(st.sampled_from(["a", "A", "b", "C"]), st.text(alphabet="xyzä ", max_size=4))
        ),
        st.sampled_from(["a", "B", "d"]),
        st.lists(st.text(alphabet="xyz", max_size=3), max_size=4),
    )
    def test_set_all_gives_exactly_these_values_and_touches_no_others(
        self, pairs: list[tuple[str, str]], name: str, values: list[str]
    ) -> None:
        headers = Headers(pairs)
        others = [pair for pair in pairs if pair[0].lower() != name.lower()]
        headers.set_all(name, values)
        self.assertEqual(values, headers.get_all(name))
        kept = [pair for pair in headers.items(multi=True) if pair[0].lower() != name.lower()]
        self.assertEqual(others, kept)
