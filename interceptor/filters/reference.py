"""The reference of the filter language, made from the registry that the parser uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interceptor.filters.operators import OPERATORS, Flag, Number, Operator

SYNTAX: Final[tuple[tuple[str, str], ...]] = (
    ("PATTERN", "the same as ~u PATTERN"),
    ("! A", "A does not match"),
    ("A & B", "both match"),
    ("A B", "the same as A & B"),
    ("A | B", "at least one matches; binds less tightly than &"),
    ("( A )", "grouping"),
)
"""How operands are joined, from the tightest to the loosest."""

NOTES: Final[tuple[str, ...]] = (
    "PATTERN is a regular expression of Python's re module, found anywhere in the text and in "
    "either case; (?-i:…) makes a part of it heed case.",
    "Quote a pattern that has white space, parentheses, quotes or a tilde with ' or \"; inside "
    "quotes, a backslash before that quote or before a backslash makes it an ordinary character.",
    "NUMBER may follow one of = != < <= > >=; alone it means =. A size takes k, m or g (times "
    "1024), a time ms, s, m or h. What a flow does not have is in no comparison true.",
    "A client may write any host into its Host field: a rule that blocks all but what it names "
    "has to use !~host PATTERN, which looks at where the request really goes.",
    "Bodies are searched with their content coding removed, in their first 8 MiB, as bytes.",
)
"""What holds for all operators."""


def usage(operator: Operator) -> str:
    """How an operator is written: ``~u PATTERN``, ``~c NUMBER``, ``~e``."""
    if isinstance(operator, Flag):
        return f"~{operator.name}"
    argument = "NUMBER" if isinstance(operator, Number) else "PATTERN"
    return f"~{operator.name} {argument}"


def describe() -> list[tuple[str, str]]:
    """Every way to write an operand or to join operands, each with what it matches."""
    rows = [(usage(operator), operator.summary) for operator in OPERATORS.values()]
    return [*rows, *SYNTAX]


def as_text() -> str:
    """The reference for a terminal, lines of at most 100 columns."""
    # The command line that prints this pays for the import, the proxy does not.
    from textwrap import wrap

    rows = describe()
    width = max(len(how) for how, _ in rows) + 2
    lines = [f"  {how:<{width}}{what}" for how, what in rows]
    for note in NOTES:
        lines.append("")
        lines.extend(wrap(note, 98))
    return "\n".join(lines) + "\n"


def as_rst() -> str:
    """The reference for the manual: a list table and the notes, in reStructuredText."""
    return "\n".join(_rst_lines()) + "\n"


def _rst_lines() -> Iterator[str]:
    yield ".. list-table::"
    yield "   :widths: 25 75"
    yield "   :header-rows: 1"
    yield ""
    yield "   * - Expression"
    yield "     - Matches"
    for how, what in describe():
        yield f"   * - ``{how}``"
        yield f"     - {_literal(what)}"
    for note in NOTES:
        yield ""
        yield _literal(note)


def _literal(text: str) -> str:
    """``text`` with what reStructuredText would take for markup escaped."""
    return text.translate({ord(character): f"\\{character}" for character in "\\*`|_"})
