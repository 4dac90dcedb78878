"""Load for a while, and what came of it: wrk where it is installed, else a generator in Python."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import pyload
from bench.errors import BenchError

_SCRIPT = Path(__file__).with_name("wrk.lua")
_MARK = "bench {"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: the same GET again and again, over ``connections`` at once.

    ``target`` goes into the request line as it is: a path for a server, a URL for a proxy. Over
    ``tls`` wrk resumes the sessions of connections that it makes anew, the generator in Python does
    not. Only the latter can make a tunnel first (``opening``).
    """

    port: int
    target: str
    host: str
    connections: int
    close: bool
    body_size: int
    tls: bool = False
    opening: pyload.Opening = pyload.DIRECT


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run gave. Times are microseconds but for ``seconds``; ``received`` is bytes."""

    requests: int
    seconds: float
    received: int
    p50: float
    p99: float
    errors: Mapping[str, int] = field(default_factory=dict)

    def problems(self, body_size: int) -> tuple[str, ...]:
        """Say why this run is invalid; nothing if it is not.

        A redirect or a cut body shows as too few bytes for the number of responses.
        """
        found = [f"{count} {name} errors" for name, count in self.errors.items() if count]
        if self.requests == 0:
            found.append("no request was answered")
        elif self.received < self.requests * body_size:
            found.append(f"{self.received} bytes are too few for {self.requests} whole responses")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """A way to make load: ``kind`` for the report, ``run(load, seconds)`` to use it."""

    kind: str
    run: Callable[[Load, float], LoadResult]


def find_generator() -> LoadGenerator:
    """Return wrk if it is installed, else the generator in Python.

    Both run on the core of the caller.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        return python_generator()
    path = wrk
    return LoadGenerator("wrk", lambda load, seconds: run_wrk(path, load, seconds))


def python_generator() -> LoadGenerator:
    """Return the generator in Python."""
    return LoadGenerator("Python (no wrk found)", run_python)


def run_wrk(wrk: str, load: Load, seconds: float, script: Path = _SCRIPT) -> LoadResult:
    """Run wrk for ``seconds``, rounded up to whole ones; a ``script`` may send what it likes.

    :raises BenchError: if wrk fails or does not come to an end.
    """
    duration = math.ceil(seconds)
    command = [wrk, "--threads", "1", "--connections", str(load.connections)]
    command += ["--duration", f"{duration}s", "--timeout", "10s", "--script", str(script)]
    scheme = "https" if load.tls else "http"
    command += [f"{scheme}://127.0.0.1:{load.port}/", "--", load.target, load.host]
    command += ["close" if load.close else "keep"]
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=duration + 60, check=False
        )
    except subprocess.TimeoutExpired as problem:
        raise BenchError(f"wrk did not end within {duration + 60} s") from problem
    if finished.returncode != 0:
        raise BenchError(f"wrk: exit status {finished.returncode}: {finished.stderr.strip()}")
    return parse_wrk(finished.stdout)


def parse_wrk(output: str) -> LoadResult:
    """Read the line that ``wrk.lua`` adds to wrk's own output.

    :raises BenchError: if it is not there.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            found = json.loads(line.removeprefix("bench "))
            return LoadResult(
                requests=found["requests"],
                seconds=found["microseconds"] / 1e6,
                received=found["bytes"],
                p50=found["p50_us"],
                p99=found["p99_us"],
                errors=found["errors"],
            )
    raise BenchError(f"wrk did not report: {output.strip()[-200:]}")


def run_python(load: Load, seconds: float) -> LoadResult:
    """Run the generator of `bench.pyload` in this process."""
    head = f"GET {load.target} HTTP/1.1\r\nHost: {load.host}\r\n"
    request = (head + ("Connection: close\r\n\r\n" if load.close else "\r\n")).encode()
    tally = pyload.run(
        "127.0.0.1", load.port, request, load.connections, seconds, load.tls, load.opening
    )
    return LoadResult(
        requests=tally.requests,
        seconds=tally.seconds,
        received=tally.received,
        p50=tally.percentile(50),
        p99=tally.percentile(99),
        errors=dict(tally.errors),
    )
