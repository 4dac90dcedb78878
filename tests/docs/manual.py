"""Where the manual's files are."""

from __future__ import annotations

import shlex
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
EXAMPLES = DOCS / "examples"


def example(name: str, *arguments: str) -> str:
    """Give an example script with its arguments, as the option ``scripts`` takes it."""
    return shlex.join([str(EXAMPLES / name), *arguments])
