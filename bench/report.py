"""The report: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.catalogue import LINES
from bench.lab import Lab
from bench.processes import ROOT
from bench.results import Figures, Result, Verdict, worst

# Column heading, metric, how it is written. A column that nothing was measured for is left out.
_COLUMNS = (
    ("requests/s", "requests_per_second", "{:,.0f}"),
    ("MiB/s", "mib_per_second", "{:,.0f}"),
    ("ms", "startup_ms", "{:,.0f}"),
    ("RSS MiB", "rss_mib", "{:.1f}"),
    ("PSS MiB", "pss_mib", "{:.1f}"),
    ("by HTTP/2", "http2_mib_per_second", "{:,.0f}"),
    ("by HTTP/1", "http1_mib_per_second", "{:,.0f}"),
    ("share", "http2_share", "{:.3f}"),
    ("p99 ratio", "p99_ratio", "{:.3f}"),
    ("growth MiB", "growth_mib", "{:+.2f}"),
    ("peak MiB", "peak_growth_mib", "{:+.2f}"),
    ("KiB each", "kib_per_connection", "{:.1f}"),
    ("connections", "connections", "{:,.0f}"),
    ("10 MiB ms", "small_ms", "{:,.1f}"),
    ("100 MiB ms", "large_ms", "{:,.1f}"),
    ("time ratio", "time_ratio", "{:.2f}"),
    ("resumed", "resumed", "{:.3f}"),
    ("by clients", "resumed_by_clients", "{:.3f}"),
    ("with servers", "resumed_with_servers", "{:.3f}"),
    ("own ms", "own_ms", "{:.3f}"),
    ("own p99 ms", "own_p99_ms", "{:.3f}"),
    ("before MiB", "before_mib", "{:.1f}"),
    ("requests", "requests", "{:,.0f}"),
    ("seconds", "seconds", "{:.1f}"),
    ("CPU ms", "cpu_ms", "{:,.0f}"),
    ("p50 µs", "p50_us", "{:,.0f}"),
    ("free p99 µs", "free_p99_us", "{:,.0f}"),
    ("p99 µs", "p99_us", "{:,.0f}"),
    ("CPU µs/req", "cpu_us_per_request", "{:,.1f}"),
    ("CPU µs/MiB", "cpu_us_per_mib", "{:,.0f}"),
    ("busy", "busy", "{:.2f}"),
)
_COSTS = {"cpu_us_per_request", "cpu_us_per_mib"}


def describe(lab: Lab, subjects: Sequence[str], smoke: bool) -> dict[str, Any]:
    """Say what measures what, on which machine, from which state of the checkout."""
    cores = "not pinned: one core only"
    if lab.cores.proxy is not None:
        cores = f"proxy on core {lab.cores.proxy}, load and origin on core {lab.cores.load}"
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "system": platform.platform(),
        "cores": cores,
        "load_average": os.getloadavg()[0],
        "load": lab.generator.kind,
        "origin": lab.origin.kind,
        "subjects": list(subjects),
        "smoke": smoke,
        "effort": asdict(lab.effort),
    }


def _commit() -> str | None:
    """Return the short name of the commit that is checked out; None where there is no git."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def heading(description: dict[str, Any]) -> str:
    """Return the first lines of the text report."""
    effort = description["effort"]
    lines = [
        f"load: {description['load']}; origin: {description['origin']}; {description['cores']}",
        f"Python {description['python']}, Twisted {description['twisted']}, "
        f"{description['system']}, load average {description['load_average']:.2f}",
    ]
    if description["smoke"]:
        lines.append("smoke run: shows that everything works; its figures mean little")
    else:
        warm_up = " after a warm-up" if effort["warm_up"] else ""
        lines.append(
            f"medians of {effort['rounds']} interleaved rounds of {effort['seconds']:g} s{warm_up}"
        )
    return "\n".join(lines)


def table(result: Result) -> str:
    """Return one workload's part of the text report."""
    figures = result.figures
    measured = {metric for of in figures.values() for metric in of.medians}
    measured -= _COSTS - {result.workload.cost}
    columns = [column for column in _COLUMNS if column[1] in measured]
    rows = [["", *(heading for heading, _, _ in columns), "range", "ratio", "CPU ratio"]]
    for name, of in figures.items():
        cells = [_cell(of.medians.get(metric), form) for _, metric, form in columns]
        rows.append(
            [name, *cells, _range(of), _cell(of.ratio, "{:.3f}"), _cell(of.cpu_ratio, "{:.3f}")]
        )
    rows = _without_empty_columns(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{result.workload.name}: {result.workload.about}"]
    for first, *rest in rows if figures else ():
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    lines += [f"  {text}" for text in _remarks(figures.items())]
    lines.append(f"  {result.verdict.value}")
    lines += [f"    {reason}" for reason in result.reasons]
    return "\n".join(lines)


def _remarks(figures: Iterable[tuple[str, Figures]]) -> list[str]:
    held_up = [name for name, of in figures if of.held_up]
    if not held_up:
        return []
    return [f"did not get or need the whole core: {', '.join(held_up)}; CPU ratios compare better"]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _range(of: Figures) -> str:
    form = "{:,.0f}-{:,.0f}" if of.high >= 100 else "{:.3g}-{:.3g}"
    return form.format(of.low, of.high) if len(of.rounds) > 1 else ""


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    kept = [i for i in range(len(rows[0])) if i == 0 or any(row[i] for row in rows[1:])]
    return [[row[i] for i in kept] for row in rows]


def summary(results: Sequence[Result]) -> str:
    """Return the last lines of the text report: the verdict of every workload, and every line."""
    rows = [(result.verdict, result.workload.name, result.reasons) for result in results]
    found = {result.workload.name: result.verdict for result in results}
    told = [
        (worst([found[name] for name in names]), f"line {line}", (f"by {', '.join(names)}",))
        for line, names in LINES.items()
        if all(name in found for name in names)
    ]
    width = max((len(name) for _, name, _ in rows + told), default=0)
    longest = max(len(verdict.value) for verdict in Verdict)
    lines = [
        f"{verdict.value:<{longest}}  {name:<{width}}  {'; '.join(reasons)}".rstrip()
        for verdict, name, reasons in rows + told
    ]
    counts = [
        f"{sum(result.verdict is verdict for result in results)} {verdict.value}"
        for verdict in Verdict
    ]
    return "\n".join([*lines, ", ".join(counts)])


def write_json(path: Path, description: dict[str, Any], results: Sequence[Result]) -> None:
    """Write everything that was measured to ``path``, its directory made where needed."""
    workloads = {
        result.workload.name: {
            "about": result.workload.about,
            "metric": result.workload.metric,
            "baseline": result.workload.baseline,
            "verdict": result.verdict.value,
            "reasons": list(result.reasons),
            "subjects": {name: _plain(of) for name, of in result.figures.items()},
        }
        for result in results
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": description, "workloads": workloads}, indent=2) + "\n")


def _plain(of: Figures) -> dict[str, Any]:
    return {
        "medians": dict(of.medians),
        "low": of.low,
        "high": of.high,
        "ratio": of.ratio,
        "cpu_ratio": of.cpu_ratio,
        "problems": list(of.problems),
        "rounds": [dict(values) for values in of.rounds],
    }
