"""The kinds of workloads that are about TLS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from bench import resumption
from bench.errors import BenchError
from bench.lab import Lab, Sample, Series, once
from bench.load import Load, LoadGenerator, python_generator
from bench.processes import ROOT, pinned
from bench.subjects import Hooks, Mode, Running, Subject
from bench.workloads import LoadWorkload, Workload


@dataclass(frozen=True)
class TLSWorkload(LoadWorkload):
    """The same GET with TLS on both legs.

    With ``resume`` the origin lets its sessions be resumed, and a proxy that can does so. With
    ``fresh`` clients do not resume any either.
    """

    mode: Mode = Mode.REVERSE_TLS
    resume: bool = False
    fresh: bool = False

    def _port(self, lab: Lab) -> int:
        return lab.origin.ports.resumable if self.resume else lab.origin.ports.tls

    def start(self, lab: Lab, subject: Subject) -> AbstractContextManager[Running]:
        return lab.running(subject, self.mode, self.hooks, self._port(lab), self.resume)

    def generator(self, lab: Lab) -> LoadGenerator:
        # wrk resumes the sessions of connections that it makes anew, and cannot be kept from it.
        return python_generator() if self.fresh else lab.generator

    def load(self, lab: Lab, running: Running) -> Load:
        host = f"127.0.0.1:{self._port(lab)}"
        size = lab.origin.sizes[self.path]
        return Load(
            running.port, f"/{self.path}", host, self.connections, self.close, size, tls=True
        )


@dataclass(frozen=True)
class ResumptionWorkload(Workload):
    """A client that connects again and again: the share of handshakes that resume a session.

    It is the lower one of the two legs' shares, each from the second connection on.
    """

    metric: str = "resumed"
    baseline: str | None = None

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        connects = lab.effort.reconnects
        with (
            resumption.counting_origin(lab.certificates) as origin,
            lab.running(subject, Mode.REVERSE_TLS, Hooks.ALL, origin.port) as running,
        ):
            clients = resumption.reconnect(running.port, connects)
        if origin.connections != connects:
            raise BenchError(f"the origin saw {origin.connections} of {connects} connections")
        shares = {
            "resumed_by_clients": clients / (connects - 1),
            "resumed_with_servers": origin.resumed / (connects - 1),
        }
        return Sample(shares | {"resumed": min(shares.values())})


@dataclass(frozen=True)
class FirstSightWorkload(Workload):
    """What a TLS host costs the proxy when it is met first, in milliseconds of CPU time.

    Measured inside of one process, on the proxy's core; ``own_ms`` is the median. Handshakes are
    OpenSSL's work and left out. With ``seen`` the host has been met before.
    """

    metric: str = "own_ms"
    baseline: str | None = None
    seen: bool = False

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab) for subject in subjects})

    def _once(self, lab: Lab) -> Sample:
        command = [sys.executable, "-m", "bench.firstsight", str(lab.workdir / "first-sight")]
        command += ["--seen"] if self.seen else []
        with pinned(lab.cores.proxy):
            finished = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=ROOT,
                env=dict(lab.environment),
            )
        if finished.returncode != 0:
            raise BenchError(f"exit status {finished.returncode}: {finished.stderr.strip()[-200:]}")
        return Sample(json.loads(finished.stdout))
