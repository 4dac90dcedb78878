"""Where measurements are made: cores, a directory, an origin, a load generator, an effort."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificates import Certificates, make_certificates
from bench.errors import BenchError, NotMeasuredError
from bench.load import LoadGenerator, find_generator
from bench.origin import Origin, start_origin
from bench.processes import Cores, Where, pinned, raise_descriptor_limit
from bench.subjects import Hooks, Mode, Running, Setup, Subject

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how much; the defaults are the full benchmark.

    ``seconds`` is one round of load; ``slow_seconds`` is how long a slow reader stays slow.
    """

    rounds: int = 5
    warm_up: bool = True
    seconds: float = 3.0
    startup_rounds: int = 7
    growth_requests: int = 500_000
    slow_bytes: int = 1024 * _MIB
    slow_seconds: float = 5.0
    reconnects: int = 200
    settle_seconds: float = 2.0
    idle_connections: int = 10_000

    @classmethod
    def smoke(cls) -> Effort:
        """Return what shows in a minute and a half that everything runs."""
        return cls(
            rounds=1,
            warm_up=False,
            seconds=1.0,
            startup_rounds=1,
            growth_requests=10_000,
            slow_bytes=64 * _MIB,
            slow_seconds=0.5,
            reconnects=50,
            settle_seconds=0.3,
            idle_connections=100,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one subject: values by metric, and what makes them worthless, if anything."""

    values: Mapping[str, float]
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class Series:
    """All rounds of one subject in one workload, the warm-up left out."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong in any round, each thing once."""
        found = [problem for sample in self.samples for problem in sample.problems]
        if self.failure is not None:
            found.append(self.failure)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything that the workloads share during one run."""

    effort: Effort
    cores: Cores
    workdir: Path
    environment: Mapping[str, str]
    generator: LoadGenerator
    origin: Origin
    certificates: Certificates

    @contextlib.contextmanager
    def running(
        self,
        subject: Subject,
        mode: Mode,
        hooks: Hooks,
        origin_port: int | None = None,
        resume: bool = True,
        options: tuple[str, ...] = (),
        where: Where = None,
        http2: bool = False,
    ) -> Iterator[Running]:
        """Run ``subject`` on the proxy's core or ``where``, before the lab's origin or another one.

        :raises BenchError: if it does not come up.
        """
        setup = Setup(
            mode,
            hooks,
            origin_port or self.origin.port,
            self.workdir,
            self.environment,
            self.certificates,
            resume,
            options,
            http2,
        )
        running = subject.start(setup, self.cores.proxy if where is None else where)
        try:
            yield running
        finally:
            running.process.stop()


def interleaved(
    rounds: int, warm_up: bool, measure: Mapping[str, Callable[[], Sample]]
) -> dict[str, Series]:
    """Measure every subject once, then all again: what slows the machine slows them all.

    A subject that fails is not asked again; the others go on.

    :raises NotMeasuredError: where this machine is not one for it.
    """
    found = {name: Series() for name in measure}
    for number in range(rounds + warm_up):
        for name, take in measure.items():
            series = found[name]
            if series.failure is not None:
                continue
            try:
                sample = take()
            except NotMeasuredError:
                raise
            except (BenchError, OSError) as problem:
                series.failure = str(problem)
                continue
            if number >= warm_up:
                series.samples.append(sample)
    return found


def side_by_side(
    lab: Lab,
    subjects: Sequence[Subject],
    set_up: Callable[[contextlib.ExitStack, Subject], Callable[[], Sample]],
    turns: int = 1,
) -> dict[str, Series]:
    """Set all subjects up, and measure them in turns; ``turns`` is how many make a round.

    ``set_up`` returns what takes a sample of one subject, and leaves on the stack what ends it. A
    subject that cannot be set up is a failure.
    """
    measure: dict[str, Callable[[], Sample]] = {}
    failed: dict[str, Series] = {}
    with contextlib.ExitStack() as stack:
        for subject in subjects:
            try:
                measure[subject.name] = set_up(stack, subject)
            except (BenchError, OSError) as problem:
                failed[subject.name] = Series(failure=str(problem))
        found = interleaved(lab.effort.rounds * turns, lab.effort.warm_up, measure)
    return {subject.name: (failed | found)[subject.name] for subject in subjects}


def once(measure: Mapping[str, Callable[[], Sample]]) -> dict[str, Series]:
    """Measure every subject a single time."""
    return interleaved(1, False, measure)


@contextlib.contextmanager
def open_lab(effort: Effort) -> Iterator[Lab]:
    """Set a lab up, move this thread to the core of load and origin, and clean up afterwards.

    :raises BenchError: if the origin does not come up.
    """
    cores = Cores.available()
    sizes = {"1k": _KIB, "64k": 64 * _KIB, "10m": 10 * _MIB, "100m": 100 * _MIB}
    sizes |= {"big": effort.slow_bytes}
    raise_descriptor_limit()
    with contextlib.ExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stack.enter_context(pinned(cores.load))
        environment = child_environment(os.environ, workdir)
        certificates = make_certificates(workdir)
        origin = start_origin(sizes, certificates, workdir, cores.load, environment)
        stack.callback(origin.process.stop)
        yield Lab(effort, cores, workdir, environment, find_generator(), origin, certificates)


def child_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return ``environment`` without what would make one user's figures differ from another's."""
    # An installed program has bytecode: without, starting is mostly compiling.
    dropped = ("INTERCEPTOR_", "PYTHONDONTWRITEBYTECODE")
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(dropped) and not name.lower().endswith("_proxy")
    }
    return kept | {"HOME": str(home)}
