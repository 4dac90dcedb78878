"""Calls that take their time, made in a thread of the proxy whose hook asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

_runner: Callable[..., Awaitable[Any]] | None = None


def set_runner(runner: Callable[..., Awaitable[Any]]) -> None:
    """Set what `run` calls with a function and its arguments: the hooks do, who know the proxy."""
    global _runner
    _runner = runner


async def run(function: Callable[..., _T], *args: Any) -> _T:
    """Call ``function`` in a thread and return what it returns.

    Raises `RuntimeError` where no proxy runs.
    """
    if _runner is None:
        raise RuntimeError("no proxy runs in this process")
    result: _T = await _runner(function, *args)
    return result
