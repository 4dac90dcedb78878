"""What targets are given, and how they compare what came of it."""

from __future__ import annotations

from collections.abc import Sequence

Pieces = Sequence[bytes]
"""An input, cut as a network might."""


def same(one: object, other: object, what: str) -> None:
    """Raise where two outcomes differ that must not."""
    if one != other:
        raise AssertionError(f"{what}:\n{one!r}\n{other!r}")
