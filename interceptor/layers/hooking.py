"""Firing of events that nothing waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.errors import HookFailed

if TYPE_CHECKING:
    from twisted.python.failure import Failure


def run_hook(fire: Any, argument: object) -> None:
    """Fire an event and go on at once. The bus has logged whatever its hooks did wrong."""
    try:
        waiting = fire(argument)
    except HookFailed:
        return
    if waiting is not None:
        waiting.addErrback(_logged_already)


def _logged_already(failure: Failure) -> None:
    """Drop it."""
