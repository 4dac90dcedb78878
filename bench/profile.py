"""``python -m bench.profile PATH``: what a request's CPU time goes to, by parts of the program.

The proxy is run under `bench.sampling` while one of the benchmark's workloads is put on it. A table
has a line for each part; ``--functions N`` adds the costliest functions, ``--lines N`` lines.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import linecache
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.catalogue import WORKLOADS
from bench.errors import BenchError
from bench.lab import Effort, open_lab
from bench.processes import ROOT, Where
from bench.sampling import BEGIN
from bench.subjects import Interceptor, Relay, Running, Setup, Subject

PATHS: Final = {
    "http1": "keepalive-1k-hooks",
    "http1-nohooks": "keepalive-1k",
    "newconn": "newconn-1k",
    "body": "body-10m-stream",
    "tls": "tls-keepalive-1k-hooks",
    "tls-newconn": "tls-newconn-1k",
    "http2": "h2-1k-hooks",
    "websocket": "ws-echo-64",
    "tcp": "tcp-1k-hooks",
}
"""Short names of the workloads that show one way through the program each."""

KERNEL: Final = "system calls"
_OTHER: Final = "everything else"
# The first that a file's path begins with is the part that it belongs to.
_PARTS: Final = (
    ("OpenSSL", "OpenSSL/"),
    ("OpenSSL", "cryptography/"),
    ("Deferreds", "twisted/internet/defer.py"),
    ("Deferreds", "interceptor/layers/task.py"),
    ("reactor, transports", "twisted/internet/"),
    ("reactor, transports", "interceptor/net/reactor.py"),
    ("reactor, transports", "interceptor/net/directwrite.py"),
    ("reactor, transports", "interceptor/net/dial.py"),
    ("reactor, transports", "interceptor/net/directclose.py"),
    ("TLS", "interceptor/net/tls"),
    ("TLS", "interceptor/net/handshakes.py"),
    ("TLS", "interceptor/layers/servertls.py"),
    ("TLS", "interceptor/layers/tls.py"),
    ("sides, gates, deadlines", "interceptor/net/"),
    ("parsing and writing", "interceptor/wire/"),
    ("messages and flows", "interceptor/model/"),
    ("exchanges, connections", "interceptor/layers/"),
    ("hooks", "interceptor/hooks/"),
    ("hooks", "bench/hooks_"),
    ("relay", "bench/relay"),
    ("relay", "bench/tlsrelay"),
    (_OTHER, "interceptor/"),
)
# What makes system calls, in what Twisted and we do with sockets and with epoll.
_SYSTEM_CALL: Final = re.compile(
    r"(?:\.|= )(recv|send|poll|register|modify|unregister|accept|connect_ex|close|shutdown|"
    r"setsockopt|getsockopt|getsockname|getpeername|setblocking|fcntl)\b[(,)]"
)
_CALLERS: Final = re.compile(
    r"twisted/internet/(tcp|epollreactor|posixbase|fdesc|udp)\.py"
    r"|interceptor/net/(reactor|directwrite|dial)\.py"
)

Frame = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """What was sampled of one process. Seconds are of CPU time."""

    user_seconds: float
    system_seconds: float
    collector_seconds: float
    samples: int
    stacks: Mapping[tuple[Frame, ...], float]

    @classmethod
    def read(cls, path: Path) -> Profile:
        """Read what `bench.sampling` wrote.

        :raises BenchError: if nothing was sampled.
        """
        if not path.exists():
            raise BenchError("the program ended without writing its samples")
        found = json.loads(path.read_text())
        if not found["samples"]:
            raise BenchError("nothing was sampled")
        stacks = {
            tuple((_short(name), function, line) for name, function, line in stack): seconds
            for stack, seconds in found["stacks"]
        }
        return cls(
            found["user_seconds"],
            found["system_seconds"],
            found["collector_seconds"],
            found["samples"],
            stacks,
        )


def _short(path: str) -> str:
    """Return a path as seen from this checkout or from where packages are installed."""
    for root in (f"{ROOT}/", "site-packages/"):
        _, found, rest = path.partition(root)
        if found:
            return rest
    return path


def part_of(stack: Sequence[Frame]) -> tuple[str, Frame]:
    """Return the part of the program that a sample belongs to, and the frame that shows it.

    A module of the standard library belongs to whoever called it.
    """
    for frame in stack:
        name, _, line = frame
        if _CALLERS.search(name) and _SYSTEM_CALL.search(source_line(name, line)):
            return KERNEL, frame
        for part, beginning in _PARTS:
            if name.startswith(beginning):
                return part, frame
    return _OTHER, stack[0]


def source_line(name: str, number: int) -> str:
    """Return a line of the source file ``name``, shortened as `Profile.read` does it."""
    for root in (str(ROOT), *sys.path):
        path = Path(root, name)
        if path.exists():
            return linecache.getline(str(path), number).strip()
    return ""


def system_call(frame: Frame) -> str:
    """Return the name of the call that a frame of the part `KERNEL` makes."""
    found = _SYSTEM_CALL.search(source_line(frame[0], frame[2]))
    return "" if found is None else found[1]


def table(profile: Profile, cost: float, functions: int = 0, lines: int = 0) -> str:
    """Return the table; ``cost`` is the CPU time of a request, in µs."""
    parts: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, float] = defaultdict(float)
    by_function: defaultdict[str, float] = defaultdict(float)
    by_line: defaultdict[str, float] = defaultdict(float)
    for stack, seconds in profile.stacks.items():
        part, frame = part_of(stack)
        name, function, number = frame
        parts[part] += seconds
        if part == KERNEL:
            calls[system_call(frame)] += seconds
        by_function[f"{name}: {function}"] += seconds
        by_line[f"{name}:{number}: {source_line(name, number)[:70]}"] += seconds
    sampled = sum(parts.values())

    def row(label: str, seconds: float) -> str:
        share = seconds / sampled
        return f"  {share * cost:7.1f} µs  {share:6.1%}  {label}"

    used = profile.user_seconds + profile.system_seconds
    out = [
        f"{cost:.1f} µs of CPU time each, {profile.system_seconds / used:.0%} of it in the kernel; "
        f"{profile.samples} samples",
        *(row(label, seconds) for label, seconds in _costliest(parts)),
    ]
    if calls:
        told = (f"{name} {s / sampled * cost:.1f}" for name, s in _costliest(calls, 6))
        out.append(f"  system calls, µs: {', '.join(told)}")
    collecting = profile.collector_seconds / used
    out.append(f"  of all that in the garbage collector: {collecting * cost:.1f} µs")
    for heading, found, most in (("function", by_function, functions), ("line", by_line, lines)):
        if most:
            out += [f"by {heading}:", *(row(*each) for each in _costliest(found, most))]
    return "\n".join(out)


def _costliest(found: Mapping[str, float], most: int | None = None) -> list[tuple[str, float]]:
    return sorted(found.items(), key=itemgetter(1), reverse=True)[:most]


class _Sampled(Subject):
    """Starts a subject under `bench.sampling`, and lets it begin once it listens."""

    file: Path

    def _start(self, command: list[str], setup: Setup, core: Where, port: int | None) -> Running:
        program, _, module, *rest = command
        self.file = setup.workdir / f"{self.name}.samples"
        command = [program, "-m", "bench.sampling", str(self.file), module, *rest]
        running = super()._start(command, setup, core, port)
        running.process.send_signal(BEGIN)
        return running


class SampledInterceptor(_Sampled, Interceptor):
    """This checkout's proxy."""


class SampledRelay(_Sampled, Relay):
    """The bare relay."""


def profile_workload(name: str, subject: _Sampled, effort: Effort) -> tuple[Profile, float]:
    """Run a workload and return its profile, and the CPU time of a request in µs.

    :raises BenchError: if anything fails, or the workload is not one of requests.
    """
    workload = WORKLOADS[name]
    with open_lab(effort) as lab:
        series = workload.run(lab, [subject])[subject.name]
        if series.problems:
            raise BenchError("; ".join(series.problems))
        costs = [sample.values.get("cpu_us_per_request", 0.0) for sample in series.samples]
        if not all(costs):
            raise BenchError(f"{name} does not tell what a request costs")
        return Profile.read(subject.file), median(costs)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    made.add_argument(
        "path",
        choices=[*PATHS, *WORKLOADS],
        metavar="PATH",
        help=f"a way through the program ({', '.join(PATHS)}) or any workload of requests",
    )
    made.add_argument("--relay", action="store_true", help="look at the bare relay instead")
    made.add_argument("--seconds", type=float, default=10.0, metavar="N", help="how long; 10")
    made.add_argument("--functions", type=int, default=0, metavar="N", help="list functions too")
    made.add_argument("--lines", type=int, default=0, metavar="N", help="list lines of code too")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, print the table, and return the exit status."""
    options: Any = parser().parse_args(arguments)
    name = PATHS.get(options.path, options.path)
    subject = SampledRelay() if options.relay else SampledInterceptor()
    effort = dataclasses.replace(Effort(), rounds=1, warm_up=False, seconds=options.seconds)
    try:
        profile, cost = profile_workload(name, subject, effort)
    except BenchError as problem:
        print(f"bench.profile: {problem}", file=sys.stderr)
        return 1
    print(f"{name}, {subject.name}: {table(profile, cost, options.functions, options.lines)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
