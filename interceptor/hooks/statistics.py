"""What the bus measures: time, errors and overruns of every hook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HookStatistics:
    """What one addon's hook for one event has cost so far.

    ``seconds`` is the time from call to answer, summed up, ``longest`` the largest of them;
    waiting counts. ``errors`` counts exceptions, ``overruns`` passed deadlines, ``stalls`` the
    times that the hook blocked the whole proxy for longer than the option ``hook_stall``.
    """

    addon: str
    event: str
    calls: int
    seconds: float
    longest: float
    errors: int
    overruns: int
    stalls: int


class HookRecord:
    """The running counts behind one `HookStatistics`."""

    __slots__ = (
        "addon",
        "calls",
        "errors",
        "event",
        "longest",
        "overruns",
        "seconds",
        "stalls",
        "value_reported",
    )

    def __init__(self, addon: str, event: str) -> None:
        self.addon = addon
        self.event = event
        self.calls = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.errors = 0
        self.overruns = 0
        self.stalls = 0
        self.value_reported = False

    def add(self, elapsed: float) -> None:
        """Count one call that was answered after ``elapsed`` seconds."""
        self.calls += 1
        self.seconds += elapsed
        if elapsed > self.longest:
            self.longest = elapsed

    def snapshot(self) -> HookStatistics:
        """The counts as they are now."""
        return HookStatistics(
            self.addon,
            self.event,
            self.calls,
            self.seconds,
            self.longest,
            self.errors,
            self.overruns,
            self.stalls,
        )
