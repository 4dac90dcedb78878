"""The kinds of workloads that are about HTTP/2."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from bench.h2load import h2load_generator
from bench.lab import Lab, Sample, Series, once
from bench.load import Load, LoadGenerator
from bench.subjects import Hooks, Mode, Running, Subject
from bench.tlsworkloads import TLSWorkload
from bench.workloads import Workload

_MIB = 1024 * 1024


@dataclass(frozen=True)
class HTTP2Workload(TLSWorkload):
    """The same GET over TLS with ``streams`` at once on each connection.

    The server speaks HTTP/2 as well, or HTTP/1 without TLS where ``translated``.
    """

    connections: int = 8
    streams: int = 10
    translated: bool = False
    baseline: str | None = "mitmdump"

    def takes(self, subject: Subject) -> bool:
        # The relays do not tell their clients that they may speak HTTP/2, nor does squid.
        return subject.name in ("interceptor", "mitmdump")

    def _port(self, lab: Lab) -> int:
        return lab.origin.port if self.translated else lab.origin.ports.http2

    def start(self, lab: Lab, subject: Subject) -> AbstractContextManager[Running]:
        mode = Mode.REVERSE if self.translated else Mode.REVERSE_TLS
        return lab.running(subject, mode, self.hooks, self._port(lab))

    def generator(self, lab: Lab) -> LoadGenerator:
        return h2load_generator(self.streams)


@dataclass(frozen=True)
class OneStreamWorkload(Workload):
    """A large body on one stream, beside the same by HTTP/1; both over TLS.

    ``http2_share`` is the speed of the one over that of the other.
    """

    metric: str = "http2_share"
    baseline: str | None = None
    path: str = "big"

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        speeds: dict[bool, float] = {}
        problems: tuple[str, ...] = ()
        size = lab.origin.sizes[self.path]
        growth = 0.0
        for http2 in (False, True):
            port = lab.origin.ports.http2 if http2 else lab.origin.ports.tls
            with lab.running(subject, Mode.REVERSE_TLS, Hooks.NONE, port) as running:
                load = Load(running.port, f"/{self.path}", "127.0.0.1", 1, False, size, tls=True)
                process = running.process
                process.forget_peak()
                before = process.rss()
                generator = h2load_generator(1, requests=1, http1=not http2)
                result = generator.run(load, lab.effort.seconds)
                growth = process.peak_rss() - before
                problems += result.problems(size)
                speeds[http2] = result.received / _MIB / result.seconds
        values = {
            "http2_mib_per_second": speeds[True],
            "http1_mib_per_second": speeds[False],
            "http2_share": speeds[True] / speeds[False] if speeds[False] else 0.0,
            "growth_mib": growth,
        }
        return Sample(values, problems)
