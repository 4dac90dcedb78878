"""``python -m bench``: measure the proxy, a bare relay and peers, interleaved, and report."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import report
from bench.catalogue import LINES, SMOKE, WORKLOADS, named
from bench.errors import BenchError, NotMeasuredError
from bench.expectations import NOTHING, Expectation, load_expectations, write_expected
from bench.lab import Effort, Lab, open_lab
from bench.results import Result, Verdict, evaluate, gated, written
from bench.subjects import Interceptor, Relay, Subject, find_peer
from bench.workloads import Workload

EXIT_FAILED = 1
EXIT_MISSED = 3
EXIT_UNMEASURED = 4
EXIT_FELL = 5

_TRIES = 3
"""How often a smoke run tries a workload before it says that a ratio fell."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"Workloads: {', '.join(WORKLOADS)}. Lines: {', '.join(LINES)}. Exit status: 0; "
        f"{EXIT_FAILED} if something did not run or gave errors; {EXIT_FELL} if a ratio to the "
        f"relay fell; with --check {EXIT_MISSED} if a bound was missed, {EXIT_UNMEASURED} if "
        "nothing was missed but something could not be measured.",
    )
    made.add_argument("--smoke", action="store_true", help="short: only show that all runs")
    made.add_argument("--check", action="store_true", help="fail where a bound is missed")
    made.add_argument(
        "--write-expected",
        action="store_true",
        help="write the ratios to the relay into expected.json, instead of judging them",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE too")
    made.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME[=PATH]",
        help="measure mitmdump or squid along; may be given again",
    )
    made.add_argument(
        "--only",
        nargs="+",
        choices=[*WORKLOADS, *LINES],
        metavar="NAME",
        help="workloads, or lines of them",
    )
    made.add_argument("--subjects", nargs="+", metavar="NAME", help="leave all other subjects out")
    made.add_argument("--rounds", type=_positive_int, metavar="N", help="rounds of every load")
    made.add_argument("--seconds", type=_positive_float, metavar="N", help="length of a round")
    return made


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 s")
    return value


def find_subjects(peers: Sequence[str], kept: Sequence[str] | None) -> list[Subject]:
    """Return the relay, the proxy and ``peers``, or of these only what is ``kept``.

    :raises BenchError: for a name that nothing has.
    """
    subjects: list[Subject] = [Relay(), Interceptor(), *(find_peer(peer) for peer in peers)]
    if kept is None:
        return subjects
    unknown = set(kept) - {subject.name for subject in subjects}
    if unknown:
        raise BenchError(f"no such subject: {', '.join(sorted(unknown))} (peers need --peer)")
    return [subject for subject in subjects if subject.name in kept]


def find_effort(arguments: argparse.Namespace) -> Effort:
    """Return the effort that the command line asks for."""
    effort = Effort.smoke() if arguments.smoke else Effort()
    given = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    return dataclasses.replace(effort, **{k: v for k, v in given.items() if v is not None})


def run(
    lab: Lab,
    subjects: Sequence[Subject],
    names: Sequence[str],
    expectations: dict[str, Expectation],
    smoke: bool,
) -> list[Result]:
    """Run the workloads called ``names``, printing each one's table when it is done."""
    results = []
    for name in names:
        workload = WORKLOADS[name]
        taking_part = [subject for subject in subjects if workload.takes(subject)]
        if not taking_part:
            continue
        expectation = expectations.get(name, NOTHING)
        result = run_one(lab, workload, taking_part, expectation, smoke)
        # In a second somebody else's work shows: only who falls every time has fallen.
        for _ in range(_TRIES - 1):
            if not smoke or not result.fell:
                break
            print(f"\n{report.table(result)}\n  once more:", flush=True)
            result = run_one(lab, workload, taking_part, expectation, smoke)
        print(f"\n{report.table(result)}", flush=True)
        results.append(result)
    return results


def run_one(
    lab: Lab,
    workload: Workload,
    subjects: Sequence[Subject],
    expectation: Expectation,
    smoke: bool,
) -> Result:
    """Run one workload and judge it."""
    try:
        found = workload.run(lab, subjects)
    except NotMeasuredError as problem:
        return Result(workload, {}, Verdict.UNMEASURED, (str(problem),))
    return evaluate(workload, found, expectation, smoke)


def find_names(options: argparse.Namespace) -> list[str]:
    """Return the workloads that the command line asks for."""
    names = list(SMOKE if options.smoke else WORKLOADS)
    if options.only is not None:
        names = named(options.only)
    if options.write_expected:
        names = [name for name in names if gated(WORKLOADS[name])]
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and return the exit status."""
    made = parser()
    options = made.parse_args(arguments)
    if options.write_expected and (options.smoke or options.check):
        made.error("--write-expected goes with neither --smoke nor --check")
    # However the run ends, it stops its children on the way out.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    try:
        subjects = find_subjects(options.peer, options.subjects)
        expectations = {} if options.write_expected else load_expectations()
        with open_lab(find_effort(options)) as lab:
            subject_names = [subject.name for subject in subjects]
            description = report.describe(lab, subject_names, options.smoke)
            print(report.heading(description), flush=True)
            results = run(lab, subjects, find_names(options), expectations, options.smoke)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return EXIT_FAILED
    print(f"\n{report.summary(results)}")
    if options.json is not None:
        report.write_json(options.json, description, results)
    if options.write_expected:
        found = {result.workload.name: written(result) for result in results}
        ratios = {name: value for name, value in found.items() if value is not None}
        write_expected(ratios)
        print(f"{len(ratios)} of {len(found)} workloads written to expected.json")
    return exit_status(results, options.check)


def exit_status(results: Sequence[Result], check: bool) -> int:
    """Return the exit status that the verdicts make."""
    verdicts = {result.verdict for result in results}
    if Verdict.FAILED in verdicts:
        return EXIT_FAILED
    if check and Verdict.MISS in verdicts:
        return EXIT_MISSED
    if any(result.fell for result in results):
        return EXIT_FELL
    return EXIT_UNMEASURED if check and Verdict.UNMEASURED in verdicts else 0


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
