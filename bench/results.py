"""From rounds to figures: medians, ratios to the baseline, and what is expected of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.lab import Sample, Series
from bench.workloads import Workload

JUDGED = "interceptor"
"""The subject that expectations are about."""

_EXPECTED = Path(__file__).with_name("expected.json")
# In a short run a figure says little, but one outside of this means that something else was
# measured: an error page, or a connection that bypassed the proxy.
_SANE_RATIO = (0.02, 2.0)
_BUSY = 0.9
_RATES = ("requests_per_second", "mib_per_second")


class Verdict(Enum):
    """What a workload's figures mean for the one who asked."""

    PASS = "PASS"
    MISS = "MISS"
    RAN = "RAN"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Expectation:
    """A bound on one metric; ``ratio`` is a metric too.

    Exactly one of ``at_least`` and ``at_most`` is set. ``tolerance`` is the share of the bound by
    which noise may miss it; ``aim`` is what one hopes for.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise BenchError(f"expectation for {self.metric}: one of at_least, at_most is needed")

    def met_by(self, value: float) -> bool:
        """Whether ``value`` is within the bound, tolerance included."""
        if self.at_least is not None:
            return value >= self.at_least * (1 - self.tolerance)
        assert self.at_most is not None
        return value <= self.at_most * (1 + self.tolerance)

    def __str__(self) -> str:
        if self.at_least is not None:
            text = f"at least {self.at_least:g}"
        else:
            text = f"at most {self.at_most:g}"
        if self.tolerance:
            text += f" within {self.tolerance:.0%}"
        return text if self.aim is None else f"{text}, aim {self.aim:g}"


def load_expectations(path: Path = _EXPECTED) -> dict[str, Expectation]:
    """Read the expectations by workload.

    :raises BenchError: if an entry is not one.
    """
    found = {}
    for name, fields in json.loads(path.read_text()).items():
        try:
            found[name] = Expectation(**fields)
        except TypeError as problem:
            raise BenchError(f"{path.name}: {name}: {problem}") from problem
    return found


@dataclass(frozen=True, slots=True)
class Figures:
    """One subject in one workload.

    ``medians`` is by metric, ``low`` and ``high`` bound the workload's own metric. ``ratio`` is the
    median of each round's ratio to the baseline in the same round; ``cpu_ratio`` is the same for
    what a second of CPU time did, which holds even where load or origin was the limit.
    """

    medians: Mapping[str, float]
    low: float
    high: float
    ratio: float | None
    cpu_ratio: float | None
    problems: tuple[str, ...]
    rounds: tuple[Mapping[str, float], ...]

    @property
    def held_up(self) -> bool:
        """Whether the program did not get or need its whole core."""
        return self.medians.get("busy", 1.0) < _BUSY

    def value(self, metric: str) -> float | None:
        """Return the median of ``metric``, or None if it was not measured."""
        return self.ratio if metric == "ratio" else self.medians.get(metric)


@dataclass(frozen=True, slots=True)
class Result:
    """One workload: its figures by subject and what they mean."""

    workload: Workload
    figures: Mapping[str, Figures]
    verdict: Verdict
    reasons: tuple[str, ...] = field(default_factory=tuple)


def evaluate(
    workload: Workload,
    found: Mapping[str, Series],
    expectation: Expectation | None,
    smoke: bool,
) -> Result:
    """Turn the rounds of ``workload`` into figures and a verdict.

    A smoke run is too short to be judged: it only fails, where something did not run.
    """
    baseline = found.get(workload.baseline) if workload.baseline is not None else None
    figures = {name: _figures(workload, series, baseline) for name, series in found.items()}
    reasons = [f"{name}: {text}" for name, of in figures.items() for text in of.problems]
    judged = figures.get(JUDGED)
    if smoke and judged is not None and workload.baseline == "relay":
        low, high = _SANE_RATIO
        base = figures.get(workload.baseline or "")
        metric, ratio = _judged_value(judged, base, "ratio")
        if workload.metric in _RATES and ratio is not None and not low <= ratio <= high:
            reasons.append(f"{JUDGED}: a {metric} of {ratio:.3f} cannot be true")
    if reasons:
        return Result(workload, figures, Verdict.FAILED, tuple(reasons))
    if smoke or judged is None or expectation is None:
        return Result(workload, figures, Verdict.RAN)
    metric, value = _judged_value(judged, figures.get(workload.baseline or ""), expectation.metric)
    if value is None:
        reason = f"{expectation.metric} was not measured"
        return Result(workload, figures, Verdict.RAN, (reason,))
    verdict = Verdict.PASS if expectation.met_by(value) else Verdict.MISS
    reason = f"{JUDGED}: {metric} {value:.3g}, expected {expectation}"
    return Result(workload, figures, verdict, (reason,))


def _judged_value(
    judged: Figures, baseline: Figures | None, metric: str
) -> tuple[str, float | None]:
    """Return what an expectation about ``metric`` is to be held against, and its name.

    A baseline that was held up by load, origin or other programs makes every ratio to it too good:
    the CPU ratio counts then, unless it is the better one.
    """
    value = judged.value(metric)
    if metric != "ratio" or baseline is None or not baseline.held_up:
        return metric, value
    if value is None or judged.cpu_ratio is None or judged.cpu_ratio > value:
        return metric, value
    return "CPU ratio (the baseline had not its whole core)", judged.cpu_ratio


def _figures(workload: Workload, series: Series, baseline: Series | None) -> Figures:
    samples = series.samples
    metrics = dict.fromkeys(name for sample in samples for name in sample.values)
    medians = {name: median(_values(samples, name)) for name in metrics}
    own = _values(samples, workload.metric) or [0.0]
    ratio = cpu_ratio = None
    if baseline is not None:
        ratio = _ratio(samples, baseline.samples, workload.metric)
        cpu_ratio = _ratio(baseline.samples, samples, workload.cost)
    return Figures(
        medians,
        min(own),
        max(own),
        ratio,
        cpu_ratio,
        series.problems,
        tuple(sample.values for sample in samples),
    )


def _values(samples: list[Sample], metric: str) -> list[float]:
    return [sample.values[metric] for sample in samples if metric in sample.values]


def _ratio(over: list[Sample], under: list[Sample], metric: str) -> float | None:
    """Return the median of the rounds' ratios; None without a round that has both."""
    ratios = [
        one.values[metric] / other.values[metric]
        for one, other in zip(over, under, strict=False)
        if metric in one.values and other.values.get(metric)
    ]
    return median(ratios) if ratios else None
