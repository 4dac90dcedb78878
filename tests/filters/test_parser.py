"""The filter language's grammar: what is accepted, how it groups, and where mistakes are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import FilterError
from interceptor.filters.expression import parse
from interceptor.filters.operators import OPERATORS, Flag, Number
from interceptor.filters.parser import MAX_DEPTH, MAX_LENGTH
from tests.filters.flows import answered, http_flow

A_GET = http_flow("GET", "http://a.example/x")
B_POST = http_flow("POST", "http://b.example/y")
C_404 = answered(http_flow("GET", "http://c.example/z"), 404)
FLOWS = (A_GET, B_POST, C_404)


def matched(expression: str) -> str:
    """Which of the three flows match, as letters."""
    chosen = parse(expression)
    return "".join(name for name, flow in zip("abc", FLOWS, strict=True) if chosen(flow))


class GrammarTests(SynchronousTestCase):
    """Each expression with the flows that it has to choose."""

    table = (
        # words and quotes
        ("a.example", "a"),
        ("A.EXAMPLE", "a"),
        ("(?-i:A.EXAMPLE)", None),
        ("'(?-i:A.EXAMPLE)'", ""),
        ("'(?-i:a.example)'", "a"),
        ("a.example|b.example", "ab"),
        ("'a.example'", "a"),
        ('"a.example"', "a"),
        (r'"a\.example"', "a"),
        (r'"a\\.example"', "a"),
        (r"'\'|a\.example'", "a"),
        (r'"\"|a\.example"', "a"),
        (r'"//\w\.example"', "abc"),
        ("~u ''", "abc"),
        ("  a.example  ", "a"),
        ("\ta.example\n", "a"),
        # negation
        ("!a.example", "bc"),
        ("!!a.example", "a"),
        ("! ! ! a.example", "bc"),
        ("!(a.example | b.example)", "c"),
        ("!a.example b.example", "b"),
        ("!~m GET", "b"),
        # joining
        ("~m GET & a.example", "a"),
        ("~m GET a.example", "a"),
        ("~m GET & a.example | b.example", "ab"),
        ("b.example | ~m GET & a.example", "ab"),
        ("b.example | ~m GET a.example", "ab"),
        ("a.example | b.example ~m GET", "a"),
        ("(a.example | b.example) ~m GET", "a"),
        ("~m GET (a.example | b.example)", "a"),
        ("a.example | b.example | c.example", "abc"),
        ("example & x & //a", "a"),
        ("~m GET ~c 404 c.example", "c"),
        ("((a.example))", "a"),
        ("( a.example )", "a"),
        # operators without spaces where that is plain
        ("~q&~m GET", "a"),
        ("~s|~m POST", "bc"),
        ("(~s)", "c"),
        ("!~s", "ab"),
        ("~c404", "c"),
        ("~c>=400&~s", "c"),
        ("~c 404|~m POST", "bc"),
        ("(~c 404)", "c"),
        ("~m'POST'", "b"),
        ("~all", "abc"),
    )

    def test_table(self):
        for expression, expected in self.table:
            if expected is None:
                self.assertRaises(FilterError, parse, expression)
            else:
                self.assertEqual(expected, matched(expression), expression)

    def test_deepest_nesting(self):
        self.assertEqual("a", matched("(" * MAX_DEPTH + "a.example" + ")" * MAX_DEPTH))

    def test_deepest_nesting_can_be_matched_at_every_depth(self):
        expression = "!(~m GET & " * MAX_DEPTH + "a.example" + ")" * MAX_DEPTH
        self.assertEqual("a", matched(expression + " & a.example"))

    def test_groups_side_by_side_do_not_count_as_nested(self):
        self.assertEqual("a", matched(" ".join(["(a.example)"] * (MAX_DEPTH + 1))))

    def test_long_chain_of_negations(self):
        self.assertEqual("a", matched("!" * 10_000 + "a.example"))

    def test_long_chain_of_operands(self):
        self.assertEqual("a", matched(" | ".join(["a.example"] * 1000)))
        self.assertEqual("a", matched(" & ".join(["a.example"] * 1000)))

    def test_every_operator_parses(self):
        for name, operator in OPERATORS.items():
            if isinstance(operator, Flag):
                parse(f"~{name}")
            elif isinstance(operator, Number):
                for sign in ("", "=", "==", "!=", "<", "<=", ">", ">="):
                    parse(f"~{name} {sign} 10")
                    parse(f"~{name}{sign}10")
            else:
                parse(f"~{name} pattern")


class ErrorTests(SynchronousTestCase):
    """Each faulty expression with the column and a part of the message."""

    table = (
        ("", 1, "empty filter expression"),
        ("   ", 4, "empty filter expression"),
        ("&", 1, "expected an operand, found `&`"),
        ("|a", 1, "expected an operand, found `|`"),
        ("a &", 4, "ends where an operand is expected after `&`"),
        ("a | ", 5, "ends where an operand is expected after `|`"),
        ("a & | b", 5, "expected an operand after `&`, found `|`"),
        ("a && b", 4, "write a single `&`"),
        ("a || b", 4, "write a single `|`"),
        ("!", 2, "ends where an operand is expected after `!`"),
        ("()", 2, "expected an operand after `(`, found `)`"),
        ("(a", 1, "`(` is never closed"),
        ("a & (b | (c)", 5, "`(` is never closed"),
        ("a)", 2, "`)` without a `(` before it"),
        ("(a) b)", 6, "`)` without a `(` before it"),
        ("(" * (MAX_DEPTH + 1) + "a", MAX_DEPTH + 1, "nested more than"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "longer than"),
        ("~", 1, "name of an operator"),
        ("a ~ b", 3, "name of an operator"),
        ("~foo bar", 1, "unknown operator `~foo`"),
        ("a ~websockt", 3, "did you mean `~websocket`?"),
        ("~C 404", 1, "did you mean `~c`?"),
        ("~u", 3, "~u needs a pattern"),
        ("~u & b", 4, "~u needs a pattern"),
        ("(~u)", 4, "~u needs a pattern"),
        ("~u ~m GET", 4, "quote one that begins with `~`"),
        ("~u (a|b)", 4, "quote one that begins with `(`"),
        ("~u !a", 4, "quote a pattern that begins with `!`"),
        ("a(b)", 2, "put a space before `(`"),
        ("http://x/~me", 10, "put a space before `~`"),
        ("a'b'", 2, "put a space before `'`"),
        ("a|", 2, "put a space before `|`"),
        ("~u a& b", 5, "put a space before `&`"),
        ("'a", 1, "quote is never closed"),
        ("~u 'a\\'", 4, "quote is never closed"),
        ("'a'b", 4, "expected a space after the closing quote"),
        ("~u [", 4, "not a regular expression: unterminated character set"),
        ("~u ab+++", 8, "not a regular expression"),
        ("~u 'a[b'", 6, "not a regular expression"),
        (r"~u '\'\'[b'", 9, "not a regular expression"),
        ("~b \u00fc\ufffd[", 6, "not a regular expression: unterminated character set"),
        ("~b '(?<=a+)b'", 5, "not a regular expression: look-behind"),
        ("~u '" + "(" * 5000 + ")" * 5000 + "'", 4, "not a usable regular expression"),
        ("~u a{99999999999999999999}", 4, "not a usable regular expression"),
        ("~u a\ud800 ~b \ud800", 10, "not a usable regular expression"),
        ("~c", 3, "~c needs a status code"),
        ("~c foo", 4, "~c needs a status code"),
        ("~c 40x", 4, "not `40x`"),
        ("~c 4.5", 4, "not `4.5`"),
        ("~c -1", 4, "~c needs a status code"),
        ("~c 4_04", 4, "~c needs a status code"),
        ("~c \u0664\u0660\u0664", 4, "~c needs a status code"),
        ("~c >", 5, "~c needs a status code"),
        ("~c => 3", 4, "`=>` is not a comparison"),
        ("~c <> 3", 4, "`<>` is not a comparison"),
        ("~c '404'", 4, "~c needs a status code"),
        ("~c " + "9" * 5000, 4, "~c needs a status code"),
        ("~size > 1x", 9, "a size such as 512, 64k or 1m, not `1x`"),
        ("~duration > soon", 13, "a time such as 250ms, 5s or 1m"),
        ("~duration > 5y", 13, "not `5y`"),
    )

    def test_table(self):
        for expression, column, message in self.table:
            error = self.assertRaises(FilterError, parse, expression)
            self.assertEqual(column, error.column, ascii(expression[:60]))
            self.assertIn(message, str(error))
            self.assertTrue(str(error).startswith(f"column {column}: "))
            self.assertNotIn("\n", str(error))


ALPHABET = st.sampled_from(
    [*"()!&|~'\"\\<>=[]{}*+?.^$ \t\n\0aé\ud800\udcff\U0001f600", "404", "1m", "~", " ", *OPERATORS]
)


class TotalTests(SynchronousTestCase):
    """A parse ends in a filter that answers, or in `FilterError`, whatever the text is."""

    @settings(max_examples=200, deadline=None)
    @given(st.lists(ALPHABET, max_size=30).map("".join))
    def test_pieces_of_the_language(self, text):
        self.check(text)

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=60))
    def test_any_text(self, text):
        self.check(text)

    def check(self, text: str) -> None:
        try:
            compiled = parse(text)
        except FilterError as error:
            self.assertGreaterEqual(error.column, 1)
            self.assertLessEqual(error.column, len(text) + 1)
        else:
            for flow in FLOWS:
                self.assertIsInstance(compiled(flow), bool)

    words = st.sampled_from(["~m GET", "~s", "~c 404", "a.example", "'x'", "~q", "~c < 400"])
    trees = st.recursive(
        words,
        lambda inner: (
            inner.map(lambda a: f"!({a})")
            | st.tuples(inner, inner).map(lambda ab: f"({ab[0]}) & ({ab[1]})")
            | st.tuples(inner, inner).map(lambda ab: f"({ab[0]}) | ({ab[1]})")
        ),
        max_leaves=8,
    )

    @settings(max_examples=100, deadline=None)
    @given(trees, trees)
    def test_operators_are_those_of_logic(self, one, other):
        for flow in FLOWS:
            first, second = parse(one)(flow), parse(other)(flow)
            self.assertEqual(first and second, parse(f"({one}) ({other})")(flow))
            self.assertEqual(first and second, parse(f"({one}) & ({other})")(flow))
            self.assertEqual(first or second, parse(f"({one}) | ({other})")(flow))
            self.assertEqual(not first, parse(f"!({one})")(flow))
