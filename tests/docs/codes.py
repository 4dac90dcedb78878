"""Collects the stable codes from the source: of errors, and of anomalies that are tolerated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CODE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")

# Calls that are given a code: errors, what makes errors, what marks anomalies.
_CALLS = re.compile(r"\w*Error|\w*[Ff]ault|Cause|_mark|_tolerate")
_TARGETS = re.compile(r"code|.*anomal\w*|faults|_TELLING")

# What a module says of TLS and of certificates is looked up in tables.
_TABLES = re.compile(r"(?:tls|cert)(?:-[a-z0-9]+)+")

_ONLY_REQUESTS = frozenset(("head-malformed", "body-truncated"))
_ONLY_RESPONSES = frozenset(("truncated", "malformed"))
_SINGLE = frozenset(("killed", "abandoned"))


def collect(root: Path) -> set[str]:
    """Return every code in the modules below ``root``."""
    found: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            found.update(_codes_of(node))
    return found


def _codes_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if _CALLS.fullmatch(name):
            for value in [*node.args, *[keyword.value for keyword in node.keywords]]:
                for code in _constants(value):
                    yield from (prefix + code for prefix in _prefixes(name, code))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="anomalies"), attr="append")):
            yield from _constants(node.args[0])
        case ast.Assign(targets=[target]) if _is_target(target):
            yield from _constants(node.value)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            if _is_target(target):
                assert node.value is not None
                yield from _constants(node.value)
        case ast.Tuple(elts=[ast.Starred(value=target), ast.Constant() as value]):
            if _is_target(target):
                yield from _constants(value)
        case ast.Constant(value=str() as text) if _TABLES.fullmatch(text):
            yield text


def _prefixes(name: str, code: str) -> tuple[str, ...]:
    """What the makers of faults put before a code: those of a response have a prefix."""
    if code in _ONLY_REQUESTS:
        return ("",)
    if name == "response_fault" or code in _ONLY_RESPONSES:
        return ("response-",)
    return ("", "response-") if name in ("fault", "_fault") else ("",)


def _is_target(target: ast.AST) -> bool:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _TARGETS.fullmatch(name) is not None
    return False


def _constants(value: ast.expr) -> Iterator[str]:
    single = _SINGLE | _ONLY_RESPONSES
    waiting: list[ast.AST] = [value]
    while waiting:
        node = waiting.pop()
        # What a message is formatted from is no code.
        if not isinstance(node, ast.JoinedStr):
            waiting.extend(ast.iter_child_nodes(node))
        match node:
            case ast.Constant(value=str() as text) if CODE.fullmatch(text) or text in single:
                yield text
