"""Child processes pinned to one core, and what the kernel says they used.

Linux only: CPU time and memory are read from ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: every child runs here, so that ``-m interceptor`` is this copy's."""

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.001
_NUMBERS = count(1)
_IDLE = 0.85
_CORE_LINE = re.compile(r"^cpu(\d+) \d+ \d+ \d+ (\d+)", re.MULTILINE)
# More than the greatest workload uses; programs that walk over all there may be stay quick.
_MANY_DESCRIPTORS = 65536
_Found = TypeVar("_Found")
_LISTENING = re.compile(r"^listening: .* on .*:(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the proxy, and the other one: of load, origin and this program.

    Both are None where the machine has one core only; nothing is pinned then. ``usable`` are all
    that there are.
    """

    proxy: int | None
    load: int | None
    usable: frozenset[int] = frozenset()

    @classmethod
    def available(cls) -> Cores:
        """Take the first two cores that this process may run on."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(None, None, frozenset(usable))
        return cls(usable[0], usable[1], frozenset(usable))


Where = int | frozenset[int] | None
"""One core, or any of several; None for wherever the system likes."""


@contextlib.contextmanager
def pinned(where: Where) -> Iterator[None]:
    """Run the calling thread, and what it starts meanwhile, on these cores only."""
    if where is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {where} if isinstance(where, int) else where)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_cores(usable: Set[int], seconds: float = 0.5) -> list[int]:
    """Return those of the cores ``usable`` that were idle nearly all of a while."""
    before = parse_idle(Path("/proc/stat").read_text())
    time.sleep(seconds)
    after = parse_idle(Path("/proc/stat").read_text())
    enough = _IDLE * seconds * _TICKS
    return sorted(core for core in usable if after.get(core, 0) - before.get(core, 0) >= enough)


def parse_idle(stat: str) -> dict[int, int]:
    """Return how many ticks each core was idle, from the text of ``/proc/stat``."""
    return {int(number): int(ticks) for number, ticks in _CORE_LINE.findall(stat)}


def raise_descriptor_limit() -> int:
    """Let this process and its children have as many descriptors as they may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MANY_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A running child, its output in files, on one core from its first instruction.

    :raises BenchError: if the program is not there.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        core: Where,
        workdir: Path,
        environment: Mapping[str, str],
    ) -> None:
        # Of one program there may be several.
        output = f"{name}-{next(_NUMBERS)}"
        self._stdout = workdir / f"{output}.stdout"
        self._stderr = workdir / f"{output}.stderr"
        # The affinity is inherited, so there is no moment on the wrong core.
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err, pinned(core):
            self.started = time.perf_counter()
            try:
                self._child = subprocess.Popen(
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=ROOT,
                    env=dict(environment),
                    start_new_session=True,
                )
            except OSError as problem:
                raise BenchError(f"cannot start {command[0]}: {problem}") from problem
        self.ready_after = 0.0

    def wait_for_line(self, timeout: float = 20.0) -> int:
        """Wait for ``listening: … on HOST:PORT`` on stdout and return the port.

        :raises BenchError: if the child ends first or the line does not come in time; the child
            is stopped then.
        """
        return self.wait_for_lines(1, timeout)[0]

    def wait_for_lines(self, number: int, timeout: float = 20.0) -> list[int]:
        """Wait for that many such lines and return their ports.

        :raises BenchError: as `wait_for_line` does.
        """

        def listening() -> list[str] | None:
            found: list[str] = _LISTENING.findall(self._stdout.read_text(errors="replace"))
            return found if len(found) >= number else None

        return [int(port) for port in self._wait_for(listening, timeout, "no `listening:` line")]

    def wait_for_port(self, port: int, timeout: float = 20.0) -> None:
        """Wait until something accepts connections on ``port`` of loopback.

        :raises BenchError: if the child ends first or nothing accepts in time; the child is
            stopped then.
        """

        def accepting() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        self._wait_for(accepting, timeout, f"nothing listens on port {port}")

    def _wait_for(self, look: Callable[[], _Found | None], timeout: float, missing: str) -> _Found:
        """Look until something true is found, and return that."""
        deadline = self.started + timeout
        try:
            while time.perf_counter() < deadline and self._child.poll() is None:
                found = look()
                if found:
                    self.ready_after = time.perf_counter() - self.started
                    return found
                time.sleep(_POLL)
            raise BenchError(f"{missing}: {self.last_words()}")
        except BaseException:
            self.stop(0)
            raise

    def last_words(self) -> str:
        """Return the last line that the child wrote, for a message about its failure."""
        for path in (self._stderr, self._stdout):
            lines = path.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].strip()
        status = self._child.poll()
        return "it wrote nothing" if status is None else f"exit status {status}, nothing written"

    def complaint(self) -> str:
        """Return the last line on stderr; empty if there is none."""
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._child.poll() is None

    def cpu_seconds(self) -> float:
        """Return user and system time of the child and its descendants, in seconds."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def rss(self) -> float:
        """Return the resident memory of the child and its descendants, in MiB."""
        return sum(_status_mib(pid, "VmRSS") for pid in self._pids())

    def peak_rss(self) -> float:
        """Return the greatest resident memory since `forget_peak`, in MiB."""
        return sum(_status_mib(pid, "VmHWM") for pid in self._pids())

    def forget_peak(self) -> None:
        """Let `peak_rss` start from what is resident now.

        Where the kernel refuses, the peak counts from the start of the process: an upper bound.
        """
        for pid in self._pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def pss(self) -> float:
        """Return the proportional share of resident memory, in MiB; shared pages count once."""
        total = 0.0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += _field_kib(rollup, "Pss") / 1024
        return total

    def _pids(self) -> list[int]:
        found = [self._child.pid]
        for pid in found:  # grows while it is walked
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found.extend(int(word) for word in children.read_text().split())
        return found

    def send_signal(self, number: signal.Signals) -> None:
        """Send the child itself a signal, if it still runs."""
        self._child.send_signal(number)

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the child to end, then kill it and what it left behind."""
        if self._child.poll() is None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
        # The child leads a process group of its own; descendants may outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


def _cpu_seconds(pid: int) -> float:
    try:
        return parse_cpu_seconds(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return 0.0


def parse_cpu_seconds(stat: str) -> float:
    """Return the CPU time in the text of ``/proc/PID/stat``, reaped children included."""
    # The name is in parentheses and may hold blanks and parentheses itself (proc(5)).
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _status_mib(pid: int, name: str) -> float:
    try:
        return _field_kib(Path(f"/proc/{pid}/status").read_text(), name) / 1024
    except OSError:
        return 0.0


def _field_kib(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return 0 if match is None else int(match[1])
