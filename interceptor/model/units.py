"""Sizes and durations as people write them: ``64k``, ``1g``, ``250ms``, ``1m``."""

from __future__ import annotations

import math
import re
from typing import Final

_SIZE = re.compile(r"(\d{1,18})\s*([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_SIZE_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?|\.\d{1,9})\s*(ms|s|m|h|d)?", re.ASCII)
_DURATION_FACTORS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """The number of bytes that ``text`` stands for.

    A whole number, then nothing or one of ``k``, ``m``, ``g``, ``t`` (powers of 1024, in either
    case, ``b`` or ``iB`` may follow). Anything else is a `ValueError`.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    return int(match[1]) * _SIZE_FACTORS[match[2].lower()]


def format_size(size: int) -> str:
    """The shortest text from which `parse_size` gives ``size`` again."""
    for unit in ("t", "g", "m", "k"):
        whole, rest = divmod(size, _SIZE_FACTORS[unit])
        if whole and not rest:
            return f"{whole}{unit}"
    return str(size)


def parse_duration(text: str) -> float:
    """The number of seconds that ``text`` stands for.

    A decimal number, then ``ms``, ``s``, ``m`` (minutes), ``h``, ``d`` or nothing, which means
    seconds. Anything else is a `ValueError`.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a duration: {text!r}")
    unit = match[2] or "s"
    if unit == "ms":
        # A division rounds correctly where a product with 0.001 does not (7 ms).
        return float(match[1]) / 1000
    return float(match[1]) * _DURATION_FACTORS[unit]


def format_duration(seconds: float) -> str:
    """A short text from which `parse_duration` gives ``seconds`` again, to the nanosecond.

    Below a minute in seconds (``5s``, ``250ms``), above in seconds too (``300s``), because that
    is how deadlines are compared with each other.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"not a duration: {seconds!r}")
    if 0 < seconds < 1:
        return f"{_plain(seconds * 1000, 6)}ms"
    return f"{_plain(seconds, 9)}s"


def _plain(number: float, digits: int) -> str:
    """``number`` without an exponent and without trailing zeros."""
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".")
