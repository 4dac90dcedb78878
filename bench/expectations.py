"""What is expected of figures: bounds, and what they were when somebody last wrote them down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError

_EXPECTED = Path(__file__).with_name("expected.json")


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on one metric; ``ratio`` is a metric too.

    Exactly one of ``at_least`` and ``at_most`` is set. ``tolerance`` is the share of the bound by
    which noise may miss it; ``aim`` is what one hopes for. With ``minus`` it is on how much more
    the metric is than that subject's in the same round, with ``over`` on how many times as much.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None
    tolerance: float = 0.0
    minus: str | None = None
    over: str | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise BenchError(f"bound on {self.metric}: one of at_least, at_most is needed")
        if self.minus is not None and self.over is not None:
            raise BenchError(f"bound on {self.metric}: minus and over exclude each other")

    def met_by(self, value: float) -> bool:
        """Whether ``value`` is within the bound, tolerance included."""
        if self.at_least is not None:
            return value >= self.at_least * (1 - self.tolerance)
        assert self.at_most is not None
        return value <= self.at_most * (1 + self.tolerance)

    @property
    def other(self) -> str | None:
        """The subject that the metric is compared with, other than by the workload's own ratio."""
        return self.minus or self.over

    @property
    def about(self) -> str:
        """What is bounded."""
        if self.minus is not None:
            return f"{self.metric} more than {self.minus}"
        return self.metric if self.over is None else f"{self.metric} over {self.over}"

    def __str__(self) -> str:
        if self.at_least is not None:
            text = f"at least {self.at_least:g}"
        else:
            text = f"at most {self.at_most:g}"
        if self.tolerance:
            text += f" within {self.tolerance:.0%}"
        return text if self.aim is None else f"{text}, aim {self.aim:g}"


@dataclass(frozen=True, slots=True)
class Written:
    """The two ratios to the bare relay, as measured on a quiet machine."""

    ratio: float
    cpu_ratio: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """All that is expected of one workload."""

    bounds: tuple[Bound, ...] = ()
    expected: Written | None = None


NOTHING = Expectation()
"""Of this workload nothing is expected."""


def load_expectations(path: Path = _EXPECTED) -> dict[str, Expectation]:
    """Read the expectations by workload.

    :raises BenchError: if an entry is not one.
    """
    found = {}
    for name, entry in json.loads(path.read_text()).items():
        try:
            found[name] = _expectation(**entry)
        except TypeError as problem:
            raise BenchError(f"{path.name}: {name}: {problem}") from problem
    return found


def _expectation(
    bounds: list[dict[str, Any]] | None = None, expected: dict[str, float] | None = None
) -> Expectation:
    return Expectation(
        tuple(Bound(**bound) for bound in bounds or ()),
        None if expected is None else Written(**expected),
    )


def write_expected(measured: Mapping[str, Written], path: Path = _EXPECTED) -> None:
    """Write what was measured beside the bounds, in place of what was there for these workloads."""
    expectations = load_expectations(path)
    for name, written in measured.items():
        expectations[name] = replace(expectations.get(name, NOTHING), expected=written)
    entries = (f"  {json.dumps(name)}: {_text(entry)}" for name, entry in expectations.items())
    path.write_text("{\n" + ",\n".join(entries) + "\n}\n")


def _text(entry: Expectation) -> str:
    """Return JSON with a line for each bound and one for what was measured."""
    parts = []
    if entry.expected is not None:
        values = {name: round(value, 3) for name, value in asdict(entry.expected).items()}
        parts.append(f'    "expected": {json.dumps(values)}')
    if entry.bounds:
        bounds = ",\n".join(f"      {json.dumps(_plain(bound))}" for bound in entry.bounds)
        parts.append(f'    "bounds": [\n{bounds}\n    ]')
    return "{\n" + ",\n".join(parts) + "\n  }"


def _plain(bound: Bound) -> dict[str, Any]:
    return {name: value for name, value in asdict(bound).items() if value not in (None, 0.0)}
