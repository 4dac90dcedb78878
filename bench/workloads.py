"""The kinds of workloads: what is done to a subject, and what is measured.

Each one runs its subjects in a `bench.lab.Lab` and returns a `bench.lab.Series` for each.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from bench import slow
from bench.errors import BenchError
from bench.lab import Lab, Sample, Series, interleaved, once, side_by_side
from bench.load import Load, LoadGenerator, LoadResult, python_generator
from bench.subjects import Hooks, Mode, Running, Subject

_WARM_UP_SHARE = 0.1
_MIB = 1024 * 1024
_TOUCH = 0.05
_LONGER = 5


@dataclass(frozen=True)
class Workload(ABC):
    """One thing to measure.

    ``metric`` is the value that subjects are compared by, ``cost`` the CPU time that they are;
    ``baseline`` is whom they are compared with, None where a ratio would say nothing.
    """

    name: str
    about: str
    metric: str = "requests_per_second"
    cost: str = "cpu_us_per_request"
    baseline: str | None = "relay"
    only: frozenset[str] | None = None

    def takes(self, subject: Subject) -> bool:
        """Whether ``subject`` takes part: in long workloads the peers do not."""
        return self.only is None or subject.name in self.only

    @abstractmethod
    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        """Measure ``subjects``, those that cannot be started included, as failures."""


@dataclass(frozen=True)
class LoadWorkload(Workload):
    """The same GET over ``connections`` connections, as fast as they go."""

    path: str = "1k"
    mode: Mode = Mode.REGULAR
    hooks: Hooks = Hooks.ALL
    connections: int = 32
    close: bool = False

    def start(self, lab: Lab, subject: Subject) -> AbstractContextManager[Running]:
        """Run one subject."""
        return lab.running(subject, self.mode, self.hooks)

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        def set_up(stack: ExitStack, subject: Subject) -> Callable[[], Sample]:
            running = stack.enter_context(self.start(lab, subject))
            if not lab.effort.warm_up:
                self.touch(lab, running)
            return partial(self._round, lab, running)

        return side_by_side(lab, subjects, set_up)

    def touch(self, lab: Lab, running: Running) -> None:
        """Let a subject do once what it does but once, where there is no round to warm up.

        That what it answers is right is told by the rounds.
        """
        python_generator().run(self.load(lab, running), _TOUCH)

    def _round(self, lab: Lab, running: Running) -> Sample:
        generator, load = self.generator(lab), self.load(lab, running)
        result, values = put_load_on(generator, running, load, lab.effort.seconds)
        if not result.requests and not any(result.errors.values()):
            # No answer was whole in time: for great bodies a slow machine needs longer.
            result, values = put_load_on(generator, running, load, lab.effort.seconds * _LONGER)
        values["requests_per_second"] = result.requests / result.seconds
        values["mib_per_second"] = result.received / _MIB / result.seconds
        values["p50_us"] = result.p50
        values["p99_us"] = result.p99
        problems = result.problems(lab.origin.sizes[self.path])
        if problems and (complaint := running.process.complaint()):
            problems += (f"it says: {complaint}",)
        return Sample(values, problems)

    def generator(self, lab: Lab) -> LoadGenerator:
        """Return what makes the load."""
        return lab.generator

    def load(self, lab: Lab, running: Running) -> Load:
        """Return the load for one subject; the relay gets the very bytes that a proxy gets."""
        host = f"127.0.0.1:{lab.origin.port}"
        target = f"/{self.path}"
        if self.mode is Mode.REGULAR:
            target = f"http://{host}{target}"
        size = lab.origin.sizes[self.path]
        return Load(running.port, target, host, self.connections, self.close, size)


def put_load_on(
    generator: LoadGenerator, running: Running, load: Load, seconds: float
) -> tuple[LoadResult, dict[str, float]]:
    """Make load for ``seconds`` and say what it cost the proxy.

    ``busy`` is the share of the time in which the proxy had its core: far below 1, the load
    generator or the origin was the limit, and CPU time compares better than rates do.

    :raises BenchError: if the proxy did not survive.
    """
    before, started = running.process.cpu_seconds(), time.perf_counter()
    result = generator.run(load, seconds)
    cpu, elapsed = running.process.cpu_seconds() - before, time.perf_counter() - started
    if not running.process.alive:
        raise BenchError(f"ended under load: {running.process.last_words()}")
    values = {"busy": cpu / elapsed}
    if result.requests:
        values["cpu_us_per_request"] = cpu / result.requests * 1e6
    if result.received:
        values["cpu_us_per_mib"] = cpu / (result.received / _MIB) * 1e6
    return result, values


@dataclass(frozen=True)
class StartupWorkload(Workload):
    """From the start of the process to its first listener, in milliseconds."""

    metric: str = "startup_ms"

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        measure = {subject.name: partial(self._round, lab, subject) for subject in subjects}
        # The first start writes bytecode, certificates and the like: always left out.
        return interleaved(lab.effort.startup_rounds, True, measure)

    def _round(self, lab: Lab, subject: Subject) -> Sample:
        with lab.running(subject, Mode.REGULAR, Hooks.ALL) as running:
            cpu = running.process.cpu_seconds()
            return Sample({"startup_ms": running.process.ready_after * 1000, "cpu_ms": cpu * 1000})


@dataclass(frozen=True)
class IdleMemoryWorkload(Workload):
    """Resident memory of a proxy that has just come up, in MiB."""

    metric: str = "rss_mib"

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        with lab.running(subject, Mode.REGULAR, Hooks.ALL) as running:
            time.sleep(lab.effort.settle_seconds)
            return Sample({"rss_mib": running.process.rss(), "pss_mib": running.process.pss()})


@dataclass(frozen=True)
class GrowthWorkload(LoadWorkload):
    """Resident memory after many requests against after a tenth as many, in MiB."""

    metric: str = "growth_mib"
    baseline: str | None = None

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        with lab.running(subject, self.mode, self.hooks) as running:
            wanted = lab.effort.growth_requests
            self._send(lab, running, round(wanted * _WARM_UP_SHARE))
            time.sleep(lab.effort.settle_seconds)
            before = running.process.rss()
            sent = self._send(lab, running, wanted)
            time.sleep(lab.effort.settle_seconds)
            after = running.process.rss()
        values = {"before_mib": before, "after_mib": after, "requests": sent}
        return Sample(values | {"growth_mib": after - before})

    def _send(self, lab: Lab, running: Running, wanted: int) -> int:
        """Send at least ``wanted`` requests.

        :raises BenchError: on the first error.
        """
        load = self.load(lab, running)
        sent = 0
        while sent < wanted:
            result, _ = put_load_on(lab.generator, running, load, lab.effort.seconds)
            problems = result.problems(load.body_size)
            if problems:
                raise BenchError("; ".join(problems))
            sent += result.requests
        return sent


@dataclass(frozen=True)
class SlowReaderWorkload(Workload):
    """One great body to a reader that is slow at first: by how much memory peaks, in MiB.

    ``upload`` sends it to a slow origin, else a slow client gets it.
    """

    metric: str = "peak_growth_mib"
    baseline: str | None = None
    upload: bool = False

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        effort = lab.effort
        if not self.upload:
            with lab.running(subject, Mode.REGULAR, Hooks.STREAM) as running:
                warm_up = partial(
                    slow.download,
                    _target(running, lab.origin.port, "1k"),
                    lab.origin.sizes["1k"],
                    0,
                )
                target = _target(running, lab.origin.port, "big")
                transfer = partial(slow.download, target, effort.slow_bytes, effort.slow_seconds)
                return _peak(running, warm_up, transfer)
        with (
            slow.slow_sink() as sink,
            lab.running(subject, Mode.REGULAR, Hooks.STREAM, sink.port) as running,
        ):
            target = _target(running, sink.port, "big")

            def transfer_slowly() -> None:
                sink.slow_seconds = effort.slow_seconds
                slow.upload(target, effort.slow_bytes)

            return _peak(running, partial(slow.upload, target, _MIB), transfer_slowly)


def _target(running: Running, origin_port: int, path: str) -> slow.Target:
    host = f"127.0.0.1:{origin_port}"
    return slow.Target(running.port, f"http://{host}/{path}", host)


def _peak(running: Running, warm_up: Callable[[], None], transfer: Callable[[], None]) -> Sample:
    process = running.process
    warm_up()
    process.forget_peak()
    before, cpu, started = process.rss(), process.cpu_seconds(), time.perf_counter()
    try:
        transfer()
    except (BenchError, OSError) as problem:
        raise BenchError(f"{problem}; it says: {process.complaint() or 'nothing'}") from problem
    values = {
        "before_mib": before,
        "peak_growth_mib": process.peak_rss() - before,
        "cpu_ms": (process.cpu_seconds() - cpu) * 1000,
        "seconds": time.perf_counter() - started,
    }
    return Sample(values)
