"""The kinds of workloads that are about HTTP/2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from bench.h2load import h2load_generator
from bench.h2stalled import StreamClient
from bench.lab import Lab, Sample, Series, once, side_by_side
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

    def takes(self, subject: Subject) -> bool:
        # The relay cannot translate, and squid does not speak HTTP/2.
        if subject.name == "relay":
            return not self.translated
        return subject.name in ("interceptor", "mitmdump")

    def _port(self, lab: Lab) -> int:
        return lab.origin.port if self.translated else lab.origin.ports.http2

    def start(self, lab: Lab, subject: Subject) -> AbstractContextManager[Running]:
        mode = Mode.REVERSE if self.translated else Mode.REVERSE_TLS
        return lab.running(subject, mode, self.hooks, self._port(lab), http2=True)

    def generator(self, lab: Lab) -> LoadGenerator:
        return h2load_generator(self.streams)

    def touch(self, lab: Lab, running: Running) -> None:
        requests = self.connections * self.streams
        h2load_generator(self.streams, requests=requests).run(self.load(lab, running), 1)


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


@dataclass(frozen=True)
class StalledWorkload(Workload):
    """``streams`` GETs of 1 KiB at once on one connection, with and without one that is stuck.

    ``p99_ratio`` is what the others take when their client does not read one more stream, over what
    they take else. The two take turns of a fraction of a second, on the same connection.
    """

    metric: str = "p99_ratio"
    baseline: str | None = None
    streams: int = 99
    turns: int = 8

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        def set_up(stack: ExitStack, subject: Subject) -> Callable[[], Sample]:
            origin = lab.origin.ports.http2
            started = lab.running(subject, Mode.REVERSE_TLS, Hooks.NONE, origin)
            return partial(self._round, lab, stack.enter_context(started))

        return side_by_side(lab, subjects, set_up)

    def _round(self, lab: Lab, running: Running) -> Sample:
        client = StreamClient(running.port, "/1k", "127.0.0.1")
        seconds = lab.effort.seconds / self.turns
        free: list[float] = []
        stuck: list[float] = []
        try:
            client.run(self.streams, seconds)
            for _ in range(self.turns):
                free += client.run(self.streams, seconds)
                client.stall("/big")
                stuck += client.run(self.streams, seconds)
                client.give_up()
        finally:
            client.close()
        before, after = percentile(free, 99), percentile(stuck, 99)
        return Sample(
            {
                "requests_per_second": len(stuck) / lab.effort.seconds,
                "free_p99_us": before * 1e6,
                "p99_us": after * 1e6,
                "p99_ratio": after / before,
            }
        )


def percentile(times: Sequence[float], percent: int) -> float:
    """Return what so many percent of ``times`` are not above."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@dataclass(frozen=True)
class HTTP2GrowthWorkload(Workload):
    """Resident memory after a million requests on one HTTP/2 connection, in MiB."""

    metric: str = "growth_mib"
    baseline: str | None = None

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        requests, size = 2 * lab.effort.growth_requests, lab.origin.sizes["1k"]
        with lab.running(subject, Mode.REVERSE_TLS, Hooks.ALL, lab.origin.ports.http2) as running:
            process = running.process
            load = Load(running.port, "/1k", "127.0.0.1", 1, False, size, tls=True)
            h2load_generator(10, requests=requests // 100).run(load, 1)
            process.forget_peak()
            before = process.rss()
            result = h2load_generator(10, requests=requests).run(load, 1800)
            growth = process.peak_rss() - before
        values = {
            "before_mib": before,
            "growth_mib": growth,
            "requests": result.requests,
            "requests_per_second": result.requests / result.seconds,
        }
        return Sample(values, result.problems(size))
