"""How much of servers' data all HTTP/2 connections together may have to hold."""

from __future__ import annotations


class WindowBudget:
    """Counts the windows that are shown to servers because clients show them."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = 0

    def take(self, size: int, total: int) -> bool:
        """Take ``size`` bytes, unless that makes it more than ``total``; return whether it was."""
        if self._taken + size > total:
            return False
        self._taken += size
        return True

    def give_back(self, size: int) -> None:
        """Let go of what was taken."""
        self._taken -= size
