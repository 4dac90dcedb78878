"""Load over HTTP/2, by nghttp2's h2load."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.errors import BenchError
from bench.load import Load, LoadGenerator, LoadResult

_DONE = re.compile(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed")
_DATA = re.compile(r"traffic: .*\((\d+)\) data")
_TIME = re.compile(r"finished in ([0-9.]+)(us|ms|s|m)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def h2load_generator(
    streams: int, *, requests: int | None = None, http1: bool = False
) -> LoadGenerator:
    """Return what makes load with ``streams`` on each connection.

    With ``requests`` it is that many, instead of as many as the time allows. With ``http1`` it is
    HTTP/1, for comparison.
    """

    def run(load: Load, seconds: float) -> LoadResult:
        return _run(load, seconds, streams, requests, http1)

    return LoadGenerator("h2load", run)


def _run(load: Load, seconds: float, streams: int, requests: int | None, http1: bool) -> LoadResult:
    """Run h2load for ``seconds``, rounded up to whole ones.

    :raises BenchError: if it is not installed, fails, does not speak HTTP/2 or does not end.
    """
    program = shutil.which("h2load")
    if program is None:
        raise BenchError("h2load is not installed")
    duration = math.ceil(seconds)
    scheme = "https" if load.tls else "http"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [program, "-c", str(load.connections), "-m", str(streams), "-t", "1"]
        command += [f"--log-file={log}"]
        command += ["--h1"] if http1 else []
        command += ["-D", str(duration)] if requests is None else ["-n", str(requests)]
        command += [f"{scheme}://127.0.0.1:{load.port}{load.target}"]
        try:
            finished = subprocess.run(
                command, capture_output=True, text=True, timeout=duration + 120, check=False
            )
        except subprocess.TimeoutExpired as problem:
            raise BenchError(f"h2load did not end within {duration + 120} s") from problem
        if finished.returncode != 0:
            raise BenchError(f"h2load: exit status {finished.returncode}: {finished.stderr[-200:]}")
        lines = log.read_text() if log.exists() else ""
        return parse(finished.stdout, lines, load.tls and not http1)


def parse(output: str, log: str, http2: bool) -> LoadResult:
    """Read what h2load prints, and its log of single requests.

    :raises BenchError: if something is missing, or what was spoken is not HTTP/2.
    """
    if http2 and "Application protocol: h2" not in output:
        raise BenchError("h2load did not get HTTP/2")
    done, data, time = _DONE.search(output), _DATA.search(output), _TIME.search(output)
    if done is None or data is None or time is None:
        raise BenchError(f"h2load did not report: {output.strip()[-200:]}")
    times = sorted(int(line.split("\t")[2]) for line in log.splitlines() if line)
    errors = {"failed": int(done[2])} if int(done[2]) else {}
    return LoadResult(
        requests=int(done[1]),
        seconds=float(time[1]) * _UNITS[time[2]],
        received=int(data[1]),
        p50=_percentile(times, 50),
        p99=_percentile(times, 99),
        errors=errors,
    )


def _percentile(ordered: list[int], percent: int) -> float:
    if not ordered:
        return 0.0
    return float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)])
