"""Whether ten times the body takes ten times as long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import slow
from bench.lab import Lab, Sample, Series, side_by_side
from bench.subjects import Hooks, Mode, Running, Subject
from bench.workloads import Workload

_SMALL = 5
"""How many transfers of 10 MiB there are for each of 100 MiB."""


@dataclass(frozen=True)
class LinearWorkload(Workload):
    """Bodies of 10 and of 100 MiB in turn: the time of the one over that of the other.

    They are gathered for a script whose hooks want whole bodies (``Hooks.ALL``), or streamed.
    """

    metric: str = "time_ratio"
    baseline: str | None = None
    hooks: Hooks = Hooks.STREAM

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        def set_up(stack: ExitStack, subject: Subject) -> Callable[[], Sample]:
            running = stack.enter_context(lab.running(subject, Mode.REGULAR, self.hooks))
            return partial(self._round, lab, running)

        return side_by_side(lab, subjects, set_up)

    def _round(self, lab: Lab, running: Running) -> Sample:
        small = median(_seconds(lab, running, "10m") for _ in range(_SMALL))
        large = _seconds(lab, running, "100m")
        values = {"small_ms": small * 1000, "large_ms": large * 1000, "time_ratio": large / small}
        return Sample(values)


def _seconds(lab: Lab, running: Running, path: str) -> float:
    host = f"127.0.0.1:{lab.origin.port}"
    target = slow.Target(running.port, f"http://{host}/{path}", host)
    began = time.perf_counter()
    slow.download(target, lab.origin.sizes[path], 0)
    return time.perf_counter() - began
