"""Regular expressions that options are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interceptor.errors import OptionsError


def compile_patterns(option: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Compile the expressions of an option that names hosts; case is ignored.

    Raises `OptionsError`.
    """
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            raise OptionsError(f"option `{option}`: {pattern!r}: {error}") from error
    return tuple(compiled)
