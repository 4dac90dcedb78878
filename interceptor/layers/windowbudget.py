"""How much of servers' data all HTTP/2 connections together may have to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interceptor.layers.allowances import Allowances


class WindowBudget:
    """Counts the windows that are shown to servers because clients show them."""

    __slots__ = ("_allowance", "_taken")

    def __init__(self, allowances: Allowances) -> None:
        self._taken = 0
        self._allowance = allowances.of("h2_mirror_total", lambda: self._taken)

    def take(self, size: int) -> bool:
        """Take ``size`` bytes, if that many may be had; return whether they were."""
        allowance = self._allowance
        if self._taken + size > allowance.mark:
            allowance.ask()
            if self._taken + size > allowance.limit:
                return False
        self._taken += size
        return True

    def give_back(self, size: int) -> None:
        """Let go of what was taken."""
        self._taken -= size
