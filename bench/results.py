"""From rounds to figures: medians, ratios to the baseline, and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from bench.expectations import NOTHING, Bound, Expectation, Written
from bench.lab import Sample, Series
from bench.workloads import Workload

JUDGED = "interceptor"
"""The subject that expectations are about."""

# In a short run a figure says little, but one outside of this means that something else was
# measured: an error page, or a connection that bypassed the proxy.
_SANE_RATIO = (0.02, 4.0)
_BUSY = 0.9
_RATES = ("requests_per_second", "mib_per_second")
# By how much a ratio to the relay may fall below the one that is written down.
_MAY_FALL = 0.10
_MAY_FALL_IN_SMOKE = 0.25


class Verdict(Enum):
    """What a workload's figures mean for the one who asked.

    A ``MISS`` is outside of a bound; what ``FELL`` is worse than it was by more than noise.
    ``UNMEASURED`` is what this machine, or a run without peers, could not tell.
    """

    PASS = "PASS"
    MISS = "MISS"
    FELL = "FELL"
    UNMEASURED = "NOT MEASURED"
    RAN = "RAN"
    FAILED = "FAILED"


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
    """One workload: its figures by subject and what they mean.

    ``verdict`` is the gravest; a ratio may have ``fell`` beside a bound that was missed.
    """

    workload: Workload
    figures: Mapping[str, Figures]
    verdict: Verdict
    reasons: tuple[str, ...] = field(default_factory=tuple)
    fell: bool = False


# The gravest first.
_ORDER = (Verdict.FAILED, Verdict.MISS, Verdict.FELL, Verdict.UNMEASURED, Verdict.PASS)


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the gravest of what single bounds gave; ``RAN`` where there were none."""
    return next((verdict for verdict in _ORDER if verdict in verdicts), Verdict.RAN)


def evaluate(
    workload: Workload,
    found: Mapping[str, Series],
    expectation: Expectation = NOTHING,
    smoke: bool = False,
) -> Result:
    """Turn the rounds of ``workload`` into figures and a verdict.

    A smoke run is too short to be held to bounds: it only fails where something did not run, and
    falls where its CPU time is far from what it was.
    """
    baseline = found.get(workload.baseline) if workload.baseline is not None else None
    figures = {name: _figures(workload, series, baseline) for name, series in found.items()}
    reasons = [f"{name}: {text}" for name, of in figures.items() for text in of.problems]
    judged = figures.get(JUDGED)
    base = figures.get(workload.baseline or "")
    if smoke and judged is not None and gated(workload):
        low, high = _SANE_RATIO
        metric, ratio = _ratio_of(judged, base)
        if ratio is not None and not low <= ratio <= high:
            reasons.append(f"{JUDGED}: a {metric} of {ratio:.3f} cannot be true")
    if reasons:
        return Result(workload, figures, Verdict.FAILED, tuple(reasons))
    if judged is None:
        return Result(workload, figures, Verdict.RAN)
    verdicts: list[Verdict] = []
    texts: list[str] = []
    if not smoke:
        for verdict, text in _held_against(expectation.bounds, figures, base):
            verdicts.append(verdict)
            texts.append(text)
    fell = False
    if gated(workload) and expectation.expected is not None and base is not None:
        text, fell = _fall(judged, base, expectation.expected, smoke)
        verdicts.append(Verdict.FELL if fell else Verdict.PASS)
        texts.append(text)
    return Result(workload, figures, worst(verdicts), tuple(texts), fell)


def gated(workload: Workload) -> bool:
    """Whether the workload has a ratio to the bare relay that must not fall."""
    return workload.baseline == "relay" and workload.metric in _RATES


def written(result: Result) -> Written | None:
    """Return what is to be written down of a result; None where it has no ratio to the relay."""
    judged, base = result.figures.get(JUDGED), result.figures.get("relay")
    if not gated(result.workload) or result.verdict is Verdict.FAILED or judged is None:
        return None
    _, ratio = _ratio_of(judged, base)
    if ratio is None or judged.cpu_ratio is None:
        return None
    return Written(ratio, judged.cpu_ratio)


def _held_against(
    bounds: tuple[Bound, ...], figures: Mapping[str, Figures], base: Figures | None
) -> list[tuple[Verdict, str]]:
    """Return a verdict and its reason for each bound, also for one about a peer that took no part.

    No other bound stands for that one: what was not measured was not kept.
    """
    judged = figures[JUDGED]
    outcomes = []
    for bound in bounds:
        if bound.other is not None:
            metric, value = bound.about, _compared(bound, judged, figures.get(bound.other))
        elif bound.metric == "ratio":
            metric, value = _ratio_of(judged, base)
        else:
            metric, value = bound.metric, judged.value(bound.metric)
        if value is None:
            text = f"{JUDGED}: {bound.about} was not measured, expected {bound}"
            outcomes.append((Verdict.UNMEASURED, text))
            continue
        verdict = Verdict.PASS if bound.met_by(value) else Verdict.MISS
        outcomes.append((verdict, f"{JUDGED}: {metric} {value:.3g}, expected {bound}"))
    return outcomes


def _compared(bound: Bound, judged: Figures, other: Figures | None) -> float | None:
    """Return the median of the rounds' differences or ratios; None without the other subject."""
    if other is None:
        return None
    metric = bound.metric
    pairs = [
        (mine[metric], theirs[metric])
        for mine, theirs in zip(judged.rounds, other.rounds, strict=False)
        if metric in mine and metric in theirs
    ]
    if bound.minus is not None:
        values = [mine - theirs for mine, theirs in pairs]
    else:
        values = [mine / theirs for mine, theirs in pairs if theirs]
    return median(values) if values else None


def _fall(judged: Figures, base: Figures, expected: Written, smoke: bool) -> tuple[str, bool]:
    """Compare a ratio with the one that is written down; say what came of it, and if it fell.

    In a smoke run only CPU times are compared: of one second, a rate says nothing.
    """
    if smoke:
        name, value, before = "CPU ratio", judged.cpu_ratio, expected.cpu_ratio
        share = _MAY_FALL_IN_SMOKE
    else:
        name, value = _ratio_of(judged, base)
        before, share = expected.ratio, _MAY_FALL
    if value is None:
        return f"{name} was not measured, was {before:g}", False
    text = f"{name} {value:.3g}, was {before:g}"
    if value >= before * (1 - share):
        return text, False
    return f"{text}: fell by more than {share:.0%}", True


def _ratio_of(judged: Figures, baseline: Figures | None) -> tuple[str, float | None]:
    """Return the ratio that is to be judged, and its name.

    A baseline that was held up by load, origin or other programs makes every ratio to it too good:
    the CPU ratio counts then, unless it is the better one.
    """
    value = judged.ratio
    if baseline is None or not baseline.held_up:
        return "ratio", value
    if value is None or judged.cpu_ratio is None or judged.cpu_ratio > value:
        return "ratio", value
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
