"""Tracebacks for operators: cut to the frames of the script that is at fault."""

from __future__ import annotations

from collections.abc import Callable
from traceback import StackSummary, TracebackException


def cut_traceback(error: BaseException, owns: Callable[[str], bool]) -> str:
    """The traceback of ``error``, of which only frames in files that ``owns`` accepts remain.

    The same goes for the exceptions that caused it. Without any such frame only the exception's
    own lines are left. Has no line break at its end.
    """
    summary = TracebackException.from_exception(error, limit=None, capture_locals=False)
    _cut(summary, owns, set())
    return "".join(summary.format()).rstrip("\n")


def _cut(summary: TracebackException, owns: Callable[[str], bool], seen: set[int]) -> None:
    if id(summary) in seen:
        return
    seen.add(id(summary))
    kept = [frame for frame in summary.stack if owns(frame.filename)]
    if kept:
        summary.stack = StackSummary.from_list(kept)
    else:
        # An empty summary would still print its heading; None prints the exception alone.
        summary.stack = None  # type: ignore[assignment]  # ``format`` looks for None
    inner = (summary.__cause__, summary.__context__, *(summary.exceptions or ()))
    for other in inner:
        if other is not None:
            _cut(other, owns, seen)
