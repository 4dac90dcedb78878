"""The kinds of workloads that are about WebSocket."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.errors import BenchError
from bench.lab import Lab, Sample, Series, once, side_by_side
from bench.subjects import Hooks, Mode, Running, Subject
from bench.workloads import Workload
from bench.wsecho import Echo

_MIB = 1024 * 1024
_TIMEOUT = 10.0


@dataclass(frozen=True)
class EchoWorkload(Workload):
    """Messages of ``size`` bytes to a server that sends each one back, one at a time."""

    size: int = 64
    text: bool = True
    connections: int = 8

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        with Echo(self.size, self.text) as echo:

            def set_up(stack: ExitStack, subject: Subject) -> Callable[[], Sample]:
                started = lab.running(subject, Mode.REVERSE, Hooks.WEBSOCKET, echo.port)
                running = stack.enter_context(started)
                if not lab.effort.warm_up:
                    echo.run(running.port, 1, _TIMEOUT, 10)
                return partial(self._round, lab, echo, running)

            return side_by_side(lab, subjects, set_up)

    def _round(self, lab: Lab, echo: Echo, running: Running) -> Sample:
        process = running.process
        before, started = process.cpu_seconds(), time.perf_counter()
        result = echo.run(running.port, self.connections, lab.effort.seconds)
        cpu, elapsed = process.cpu_seconds() - before, time.perf_counter() - started
        if not process.alive:
            raise BenchError(f"ended under load: {process.last_words()}")
        values = {
            "busy": cpu / elapsed,
            "requests_per_second": result.requests / result.seconds,
            "mib_per_second": result.received / _MIB / result.seconds,
            "p50_us": result.p50,
            "p99_us": result.p99,
        }
        if result.requests:
            values["cpu_us_per_request"] = cpu / result.requests * 1e6
        problems = tuple(f"{count} {name} errors" for name, count in result.errors.items())
        if not result.requests:
            problems += ("nothing came back",)
        return Sample(values, problems)


@dataclass(frozen=True)
class EchoGrowthWorkload(Workload):
    """Resident memory after a gigabyte of messages on one connection, in MiB."""

    metric: str = "growth_mib"
    baseline: str | None = None
    size: int = 65536

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        messages = lab.effort.slow_bytes // (2 * self.size)
        with (
            Echo(self.size, False) as echo,
            lab.running(subject, Mode.REVERSE, Hooks.WEBSOCKET, echo.port) as running,
        ):
            echo.run(running.port, 1, 60.0, 10)
            process = running.process
            process.forget_peak()
            before = process.rss()
            result = echo.run(running.port, 1, 600.0, messages)
            growth = process.peak_rss() - before
        problems = tuple(f"{count} {name} errors" for name, count in result.errors.items())
        values = {"before_mib": before, "growth_mib": growth, "requests": result.requests}
        return Sample(values, problems)
