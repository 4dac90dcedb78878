"""Filter expressions as scripts and addons use them: parse once, then ask of any flow."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from interceptor.filters.operators import Predicate
from interceptor.filters.parser import Parser

if TYPE_CHECKING:
    from interceptor.model.flow import Flow


class Filter:
    """A compiled filter expression: ``Filter.__call__(flow)`` says whether the flow matches.

    It never raises, whatever the flow has or lacks, and leaves the flow as it is. ``pattern`` is
    the expression's text. ``searches_body`` is True where a body may have to be looked at; such a
    filter can only tell where bodies are gathered.
    """

    __slots__ = ("_predicate", "pattern", "searches_body")

    def __init__(self, pattern: str, predicate: Predicate, searches_body: bool = False) -> None:
        self.pattern = pattern
        self.searches_body = searches_body
        self._predicate = predicate

    def __call__(self, flow: Flow) -> bool:
        return self._predicate(flow)

    def __repr__(self) -> str:
        return f"Filter({self.pattern!r})"


def parse(text: str) -> Filter:
    """Compile a filter expression.

    Raises `FilterError`, with the column that could not be understood, for anything else.
    """
    parser = Parser(text)
    predicate = parser.parse()
    return Filter(text, predicate, parser.costs_body)


_parse_cached = lru_cache(maxsize=256)(parse)


def match(expression: Filter | str | None, flow: Flow) -> bool:
    """Whether ``flow`` matches a filter or the text of one; None matches every flow.

    A text is compiled once and remembered. Raises `FilterError` for a text that is no filter.
    """
    if expression is None:
        return True
    if isinstance(expression, str):
        expression = _parse_cached(expression)
    return expression(flow)
