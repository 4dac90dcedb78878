"""Runs a module as ``python -m`` does, and samples what its CPU time goes to.

``python -m bench.sampling FILE MODULE ARGUMENTS…``. From ``SIGUSR1`` on the main thread's stack is
looked at a thousand times a second, and given the CPU time that the thread has used since it was
looked at last: an idle program gathers nothing, and what the kernel does in a system call goes to
the line that made it. At the end all is written to ``FILE``.
"""

from __future__ import annotations

import gc
import json
import resource
import runpy
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any, Final

BEGIN: Final = signal.SIGUSR1
_INTERVAL: Final = 0.001
"""Seconds of the clock. A timer of CPU time would fire with the kernel's tick only."""
_DEPTH: Final = 12


class Sampler:
    """Seconds of CPU time by stack: innermost frame first, each as (file, function, line)."""

    def __init__(self) -> None:
        self.stacks: defaultdict[tuple[tuple[str, str, int], ...], float] = defaultdict(float)
        self.samples = 0
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        self._looked = 0.0
        self._collecting = 0.0
        self._collector_seconds = 0.0

    def begin(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Sample from now on: a signal handler."""
        # A reactor that is told of each signal would have a thousand turns more.
        signal.set_wakeup_fd(-1)
        gc.callbacks.append(self._collector)
        signal.signal(signal.SIGALRM, self.sample)
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        self._looked = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, _INTERVAL, _INTERVAL)

    def sample(self, number: int, frame: FrameType | None) -> None:
        """Note where the program is: a signal handler."""
        used = time.thread_time() - self._looked
        stack: list[tuple[str, str, int]] = []
        while frame is not None and len(stack) < _DEPTH:
            code = frame.f_code
            stack.append((code.co_filename, code.co_name, frame.f_lineno or 0))
            frame = frame.f_back
        self.stacks[tuple(stack)] += used
        self.samples += 1
        # What this has taken is nobody's.
        self._looked = time.thread_time()

    def _collector(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._collector_seconds += time.thread_time() - self._collecting

    def end(self) -> dict[str, Any]:
        """Stop, and return what was found, as JSON can hold it."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "user_seconds": used.ru_utime - self._before.ru_utime,
            "system_seconds": used.ru_stime - self._before.ru_stime,
            "collector_seconds": self._collector_seconds,
            "samples": self.samples,
            "stacks": [[list(stack), seconds] for stack, seconds in self.stacks.items()],
        }


def main(arguments: list[str]) -> None:
    """Run the module that is named, with its arguments."""
    file, module = arguments[:2]
    sampler = Sampler()
    signal.signal(BEGIN, sampler.begin)
    sys.argv[:] = arguments[1:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(file).write_text(json.dumps(sampler.end()))


if __name__ == "__main__":
    main(sys.argv[1:])
