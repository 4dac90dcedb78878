"""An addon as the bus sees it, and one hook of it as the table holds it."""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any, Final, Literal, NamedTuple

from interceptor.hooks.context import Binding, ScriptLog
from interceptor.hooks.statistics import HookRecord

Policy = Literal["continue", "kill"]

POLICIES: Final = ("continue", "kill")
"""What becomes of a flow when a hook fails: it goes on, or it dies before a byte is forwarded."""


class Listener:
    """An addon as the bus sees it: its hooks, and how to call them.

    ``policy`` is what its failures mean for a flow, None if it is the bus's ``policy`` that
    counts; ``owns`` tells which source files are the addon's own, for tracebacks.
    """

    __slots__ = ("addon", "binding", "name", "observes_only", "owns", "policy")

    def __init__(
        self,
        addon: object,
        name: str,
        binding: Binding,
        *,
        policy: Policy | None = None,
        observes_only: bool = False,
        owns: Callable[[str], bool] = lambda filename: True,
    ) -> None:
        self.addon = addon
        self.name = name
        self.binding = binding
        self.policy = policy
        self.observes_only = observes_only
        self.owns = owns


class Call(NamedTuple):
    """One hook of one addon, as the table holds it."""

    hook: Callable[..., Any]
    listener: Listener
    record: HookRecord


def find_hook(addon: object, event: str) -> Callable[..., Any] | None:
    """The addon's hook for ``event``; None if it has none.

    Classes, builtin functions and logs that happen to have an event's name are not hooks.
    """
    hook: Callable[..., Any] | None = getattr(addon, event, None)
    if not callable(hook) or isinstance(hook, (type, BuiltinFunctionType, ScriptLog)):
        return None
    return hook
