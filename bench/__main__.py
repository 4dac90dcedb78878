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
from bench.catalogue import WORKLOADS
from bench.errors import BenchError
from bench.lab import Effort, Lab, open_lab
from bench.results import Expectation, Result, Verdict, evaluate, load_expectations
from bench.subjects import Interceptor, Relay, Subject, find_peer

EXIT_FAILED = 1
EXIT_MISSED = 3


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"Workloads: {', '.join(WORKLOADS)}. Exit status: 0; {EXIT_FAILED} if something "
        f"did not run or gave errors; {EXIT_MISSED} if --check found an expectation missed.",
    )
    made.add_argument("--smoke", action="store_true", help="short: only show that all runs")
    made.add_argument("--check", action="store_true", help="fail where an expectation is missed")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE too")
    made.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME[=PATH]",
        help="measure mitmdump or squid along; may be given again",
    )
    made.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="workloads")
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
        found = workload.run(lab, taking_part)
        result = evaluate(workload, found, expectations.get(name), smoke)
        print(f"\n{report.table(result)}", flush=True)
        results.append(result)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and return the exit status."""
    options = parser().parse_args(arguments)
    # However the run ends, it stops its children on the way out.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    try:
        subjects = find_subjects(options.peer, options.subjects)
        expectations = load_expectations()
        with open_lab(find_effort(options)) as lab:
            subject_names = [subject.name for subject in subjects]
            description = report.describe(lab, subject_names, options.smoke)
            print(report.heading(description), flush=True)
            names = options.only or list(WORKLOADS)
            results = run(lab, subjects, names, expectations, options.smoke)
    except BenchError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return EXIT_FAILED
    print(f"\n{report.summary(results)}")
    if options.json is not None:
        report.write_json(options.json, description, results)
    return exit_status(results, options.check)


def exit_status(results: Sequence[Result], check: bool) -> int:
    """Return the exit status that the verdicts make."""
    verdicts = {result.verdict for result in results}
    if Verdict.FAILED in verdicts:
        return EXIT_FAILED
    return EXIT_MISSED if check and Verdict.MISS in verdicts else 0


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
