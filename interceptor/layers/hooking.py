"""Firing of events that nothing waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.errors import HookFailed

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure


def run_hook(fire: Any, argument: object) -> Deferred[None] | None:
    """Fire an event and go on at once. The bus has logged whatever its hooks did wrong.

    Returns None where they are through, else a Deferred that fires when they are and never fails.
    """
    try:
        waiting: Deferred[None] | None = fire(argument)
    except HookFailed:
        return None
    if waiting is not None:
        waiting.addErrback(_logged_already)
    return waiting


def _logged_already(failure: Failure) -> None:
    """Drop it."""
