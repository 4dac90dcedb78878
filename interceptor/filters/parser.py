r"""A recursive-descent parser that compiles filter expressions to closures.

The grammar::

    expression  = conjunction *( "|" conjunction )
    conjunction = negation *( [ "&" ] negation )
    negation    = *"!" operand
    operand     = "(" expression ")" / flag / pattern-operator text / number-operator number / text
    number      = [ "=" / "==" / "!=" / "<" / "<=" / ">" / ">=" ] digits [ "." digits ] [ unit ]
    text        = word / "'" … "'" / '"' … '"'

Inside quotes a backslash takes the special meaning from the quote and from itself; before anything
else it stays, so that ``"\.css$"`` is the regular expression it looks like. A word ends at white
space or ``)``; one that touches a quote, ``(`` or ``~``, or begins with an operator sign or ends
in one, is refused rather than guessed at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from interceptor.errors import FilterError
from interceptor.filters.operators import (
    BARE,
    BODY,
    CHEAP,
    OPERATORS,
    Flag,
    Number,
    Pattern,
    Predicate,
    compare,
)

if TYPE_CHECKING:
    from interceptor.model.flow import Flow

MAX_LENGTH: Final = 16 * 1024
"""Longest expression, in characters."""

MAX_DEPTH: Final = 50
"""Deepest nesting of parentheses."""

_skip_space = re.compile(r"\s*").match
_match_name = re.compile(r"~([A-Za-z_]*)").match
_match_word = re.compile(r"[^\s()~'\"]+").match
_match_quoted = re.compile(r"'((?:[^'\\]|\\.)*+)'|\"((?:[^\"\\]|\\.)*+)\"", re.DOTALL).match
_match_number = re.compile(r"[0-9.][0-9A-Za-z.]{0,30}").match
_match_sign = re.compile(r"[=!<>]+").match
_unescape = re.compile(r"\\([\\'\"])").sub

_Node = tuple[Predicate, int]
"""A predicate and its cost."""


class Parser:
    """One parse of one expression. Raises `FilterError` with the column, and nothing else."""

    __slots__ = ("_depth", "_index", "_text", "costs_body")

    def __init__(self, text: str) -> None:
        self._text = text
        self._index = 0
        self._depth = 0
        self.costs_body = False

    def parse(self) -> Predicate:
        """Compile the whole text. ``costs_body`` then says whether a body may be searched."""
        if len(self._text) > MAX_LENGTH:
            self._fail(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
        self._space()
        if self._index == len(self._text):
            self._fail("empty filter expression")
        predicate, cost = self._expression()
        if self._index < len(self._text):
            # Only a closing parenthesis ends an expression early.
            self._fail("`)` without a `(` before it")
        self.costs_body = cost >= BODY
        return predicate

    def _fail(self, message: str, index: int | None = None) -> NoReturn:
        raise FilterError(message, (self._index if index is None else index) + 1)

    def _space(self) -> None:
        found = _skip_space(self._text, self._index)
        if found is not None:
            self._index = found.end()

    def _peek(self) -> str:
        return self._text[self._index : self._index + 1]

    def _expression(self) -> _Node:
        nodes = [self._conjunction()]
        while self._peek() == "|":
            self._index += 1
            self._space()
            nodes.append(self._conjunction())
        return nodes[0] if len(nodes) == 1 else _any_of(nodes)

    def _conjunction(self) -> _Node:
        nodes = [self._negation()]
        while True:
            character = self._peek()
            if character == "&":
                self._index += 1
                self._space()
            elif character in "|)":  # also at the end, where it is empty
                break
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else _all_of(nodes)

    def _negation(self) -> _Node:
        negated = False
        while self._peek() == "!":
            negated = not negated
            self._index += 1
            self._space()
        node = self._operand()
        return _not(node) if negated else node

    def _operand(self) -> _Node:
        character = self._peek()
        if character == "~":
            return self._operator()
        if character == "(":
            return self._group()
        if character in "&|" or character == ")":
            after = f" after `{self._before()}`" if self._before() else ""
            if not character:
                self._fail(f"the expression ends where an operand is expected{after}")
            hint = ""
            if character == self._before():
                hint = f" (write a single `{character}`)"
            self._fail(f"expected an operand{after}, found `{character}`{hint}")
        return self._pattern(BARE)

    def _before(self) -> str:
        return self._text[: self._index].rstrip()[-1:]

    def _group(self) -> _Node:
        opened = self._index
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"parentheses nested more than {MAX_DEPTH} deep")
        self._index += 1
        self._space()
        node = self._expression()
        if self._peek() != ")":
            self._fail("`(` is never closed", opened)
        self._index += 1
        self._space()
        self._depth -= 1
        return node

    def _operator(self) -> _Node:
        start = self._index
        found = _match_name(self._text, start)
        name = "" if found is None else found.group(1)
        operator = OPERATORS.get(name)
        if operator is None:
            self._fail(_unknown(name), start)
        self._index = start + 1 + len(name)
        self._space()
        if isinstance(operator, Flag):
            return operator.predicate, CHEAP
        if isinstance(operator, Number):
            return self._number(operator)
        if self._peek() in ")&|":  # also at the end, where it is empty
            self._fail(f"~{name} needs a pattern")
        if self._peek() == "~":
            self._fail(f"~{name} needs a pattern; quote one that begins with `~`")
        if self._peek() == "(":
            self._fail(f"~{name} needs a pattern; quote one that begins with `(`")
        return self._pattern(operator)

    def _pattern(self, operator: Pattern) -> _Node:
        start = self._index
        character = self._peek()
        quoted = character in ("'", '"')
        if quoted:
            pattern = self._quoted()
        else:
            pattern = self._word()
        try:
            predicate = operator.build(pattern)
        except re.error as error:
            position = error.pos or 0
            if isinstance(error.pattern, bytes):
                # Bodies are searched as bytes.
                position = len(error.pattern[:position].decode("utf-8", "surrogateescape"))
            column = _source_index(self._text, start, position, quoted)
            self._fail(f"not a regular expression: {error.msg}", column)
        except (OverflowError, RecursionError, ValueError) as error:
            self._fail(f"not a usable regular expression: {error}", start)
        self._space()
        return predicate, operator.cost

    def _quoted(self) -> str:
        found = _match_quoted(self._text, self._index)
        if found is None:
            self._fail("this quote is never closed")
        pattern = found.group(1)
        if pattern is None:
            pattern = found.group(2)
        end = found.end()
        following = self._text[end : end + 1]
        if following and not following.isspace() and following not in ")&|":
            self._fail("expected a space after the closing quote", end)
        self._index = end
        return _unescape(r"\1", pattern) if "\\" in pattern else pattern

    def _word(self) -> str:
        found = _match_word(self._text, self._index)
        if found is None:  # every other character has been dealt with
            self._fail("expected a pattern")
        word, end = found.group(), found.end()
        if word[0] in "!&|":
            self._fail(f"quote a pattern that begins with `{word[0]}`")
        if word[-1] in "&|":
            self._fail(
                f"put a space before `{word[-1]}`, or quote a pattern that ends in it", end - 1
            )
        following = self._text[end : end + 1]
        if following and following in "(~'\"":
            self._fail(f"put a space before `{following}`, or quote a pattern that has it", end)
        self._index = end
        return word

    def _number(self, operator: Number) -> _Node:
        sign = "="
        found = _match_sign(self._text, self._index)
        if found is not None:
            sign = found.group()
            if sign not in ("=", "==", "!=", "<", "<=", ">", ">="):
                self._fail(f"`{sign}` is not a comparison: use = != < <= > >=")
            self._index = found.end()
            self._space()
        found = _match_number(self._text, self._index)
        number, end = ("", self._index) if found is None else (found.group(), found.end())
        following = self._text[end : end + 1]
        if not number or (following and not following.isspace() and following not in ")&|"):
            self._fail(f"~{operator.name} needs {operator.expected}")
        try:
            bound = operator.read(number)
        except ValueError:
            self._fail(f"~{operator.name} needs {operator.expected}, not `{number}`")
        self._index = end
        self._space()
        return compare(operator.measure, sign, bound), CHEAP


def _unknown(name: str) -> str:
    if not name:
        return "expected the name of an operator after `~`"
    # Only a mistake pays for this import.
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), OPERATORS, n=1, cutoff=0.6)
    return f"unknown operator `~{name}`" + (f": did you mean `~{near[0]}`?" if near else "")


def _source_index(text: str, start: int, position: int, quoted: bool) -> int:
    """Where character ``position`` of a pattern stands in ``text``, escapes counted."""
    if not quoted:
        return start + position
    index = start + 1
    for _ in range(position):
        index += 2 if text[index : index + 2] in ("\\\\", "\\'", '\\"') else 1
    return index


def _not(node: _Node) -> _Node:
    predicate, cost = node
    return (lambda flow: not predicate(flow)), cost


def _cost(node: _Node) -> int:
    return node[1]


def _all_of(nodes: list[_Node]) -> _Node:
    # Predicates have no effects, so that their order is free.
    nodes.sort(key=_cost)
    cost = nodes[-1][1]
    if len(nodes) == 2:
        (first, _), (second, _) = nodes
        return (lambda flow: first(flow) and second(flow)), cost
    predicates = [predicate for predicate, _ in nodes]

    def all_of(flow: Flow) -> bool:
        for predicate in predicates:  # noqa: SIM110 - a generator costs more
            if not predicate(flow):
                return False
        return True

    return all_of, cost


def _any_of(nodes: list[_Node]) -> _Node:
    nodes.sort(key=_cost)
    cost = nodes[-1][1]
    if len(nodes) == 2:
        (first, _), (second, _) = nodes
        return (lambda flow: first(flow) or second(flow)), cost
    predicates = [predicate for predicate, _ in nodes]

    def any_of(flow: Flow) -> bool:
        for predicate in predicates:  # noqa: SIM110 - a generator costs more
            if predicate(flow):
                return True
        return False

    return any_of, cost
