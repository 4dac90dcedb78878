"""The kinds of workloads that are about bytes which nobody looks into."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.lab import Lab
from bench.load import Load, LoadGenerator, python_generator
from bench.pyload import connect_opening, socks_opening
from bench.subjects import Mode, Running
from bench.workloads import LoadWorkload


@dataclass(frozen=True)
class TunnelWorkload(LoadWorkload):
    """The same GET in tunnels, of which a proxy passes every byte on as it is.

    The relay, which knows of no tunnels, gets what is in them.
    """

    mode: Mode = Mode.TUNNEL

    def generator(self, lab: Lab) -> LoadGenerator:
        # wrk can speak to servers only.
        return python_generator()

    def load(self, lab: Lab, running: Running) -> Load:
        load = super().load(lab, running)
        if not running.tunnels:
            return load
        opening = socks_opening if self.mode is Mode.SOCKS else connect_opening
        return replace(load, opening=opening("127.0.0.1", lab.origin.port))
