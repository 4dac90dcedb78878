"""How messages of one line show names and values that somebody typed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

# C0 without tab and line feed, DEL, C1, and what reorders text (Unicode, UAX #9).
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``": did you mean `x`?"`` with the candidate nearest to ``name``, or an empty text."""
    import difflib

    near = difflib.get_close_matches(name.lower().replace("-", "_"), list(candidates), n=1)
    return f": did you mean `{near[0]}`?" if near else ""


def shown(value: object, longest: int = 80) -> str:
    """``value`` for a message of one line: in backticks, escaped, cut to ``longest`` characters."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    text = repr(value)[1:-1] if isinstance(value, str) else repr(value)
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return f"`{text}`"


def toml_text(text: str) -> str:
    """``text`` as a TOML basic string, with what TOML forbids in one escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'


def escape_controls(text: str) -> str:
    """``text`` with everything that could steer a terminal shown as an escape sequence.

    Tabs and line feeds stay.
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
