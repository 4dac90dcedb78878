"""Two workers beside one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.errors import NotMeasuredError
from bench.lab import Lab, Sample, Series, interleaved
from bench.processes import Where, free_cores, pinned
from bench.subjects import Running, Subject
from bench.workloads import LoadWorkload

_FEWEST_CORES = 4


@dataclass(frozen=True)
class WorkersWorkload(LoadWorkload):
    """The same GET past two workers and past a single one.

    All share the proxy's core, and CPU times are compared. With ``apart`` each of the two workers,
    load and origin have one of four cores, and rates are compared.
    """

    baseline: str | None = "one worker"
    connections: int = 128
    apart: bool = False

    def takes(self, subject: Subject) -> bool:
        return subject.name == "interceptor"

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        proxy, load = self._cores(lab)
        measure: dict[str, Callable[[], Sample]] = {}
        with ExitStack() as stack:
            for name, workers in (("one worker", 1), ("interceptor", 2)):
                running = stack.enter_context(
                    lab.running(
                        subjects[0],
                        self.mode,
                        self.hooks,
                        options=(f"workers={workers}",),
                        where=proxy,
                    )
                )
                measure[name] = partial(self._round_on, load, lab, running)
            return interleaved(lab.effort.rounds, lab.effort.warm_up, measure)

    def _cores(self, lab: Lab) -> tuple[Where, Where]:
        """Return where the proxy runs and where load is made; the origin stays where it is.

        :raises NotMeasuredError: if too few cores are free.
        """
        if not self.apart:
            return lab.cores.proxy, lab.cores.load
        usable = lab.cores.usable
        free = free_cores(usable) if len(usable) >= _FEWEST_CORES else []
        others = [core for core in free if core not in (lab.cores.load, lab.cores.proxy)]
        if len(free) < _FEWEST_CORES or len(others) < 2 or lab.cores.proxy is None:
            raise NotMeasuredError(
                f"needs four cores that are free; this machine has {len(usable)}, {len(free)} free"
            )
        return frozenset((lab.cores.proxy, others[0])), others[1]

    def _round_on(self, load: Where, lab: Lab, running: Running) -> Sample:
        with pinned(load):
            return self._round(lab, running)
