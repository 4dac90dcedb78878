"""Hooks that block, and run in threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred

from interceptor.hooks.context import CURRENT, current

_P = ParamSpec("_P")
_T = TypeVar("_T")


def concurrent(hook: Callable[_P, _T]) -> Callable[_P, Deferred[_T]]:
    """Run a hook in a thread, so that it may block: only its own flow waits for it.

    For plain functions and methods, of any event but ``start``, ``load`` and ``configure``, which
    have to answer at once. The threads belong to the proxy; their number is the option
    ``script_threads``. ``ctx`` works in them as everywhere else. A flow is its hook's alone while
    the hook runs, but what a script shares between flows it has to guard itself.
    """
    if iscoroutinefunction(hook):
        raise TypeError(f"@concurrent is for plain functions; `{hook.__name__}` is async already")

    @wraps(hook)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        binding = current()
        token = CURRENT.set(binding)
        try:
            deferred: Deferred[_T] = binding.proxy.in_thread(hook, *args, **kwargs)
        finally:
            CURRENT.reset(token)
        return deferred

    return run
