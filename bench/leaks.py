"""``python -m bench.leaks``: does anything stay behind of 200,000 requests of all kinds?

One proxy with a script gets laps of traffic: HTTP/1 and HTTP/2, plain and over TLS, kept and new
connections, tunnels, SOCKS, WebSocket, and clients and servers that break off, send garbage or are
not there. After a quarter of it the proxy is asked what it holds (`bench.hooks_leaks`) and how much
memory that takes, and again after all: there may not be more. Needs wrk, h2load and nginx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import pyload
from bench.errors import BenchError
from bench.h2load import h2load_generator
from bench.h2stalled import StreamClient
from bench.hooks_leaks import CENSUS
from bench.idle import Clients, Kind
from bench.lab import Effort, Lab, open_lab
from bench.load import Load, run_wrk
from bench.oddities import Ports, misbehave
from bench.processes import Process
from bench.slow import Target, read_body
from bench.subjects import Running
from bench.wsecho import Echo

WANTED = 200_000
MIB_MORE = 8.0
"""By how much resident memory may grow."""
OWN_MORE = 20
"""How many more objects there may be of a type of the program's own or of Twisted's …"""
OTHERS_MORE = 2000
"""… and of any other: caches of bounded size fill up."""
CALLS_MORE = 5
DESCRIPTORS_MORE = 3

_OWN = ("interceptor.", "twisted.", "OpenSSL.", "h2.", "hook")
_SETTLED_WITHIN = 120.0
_PAUSE = 0.5
_LINGER = 5
_WARM_SHARE = 0.25
_WARM_LAPS = 4
_SCRIPT = Path(__file__).with_name("hooks_leaks.py")
_MIX = Path(__file__).with_name("leaks.lua")


@dataclass(frozen=True, slots=True)
class Census:
    """What a proxy holds at one moment."""

    objects: Mapping[str, int]
    calls: Mapping[str, int]
    descriptors: int
    threads: int
    rss_mib: float

    def growth(self, later: Census) -> list[str]:
        """Say of what ``later`` has more than may be."""
        found = [
            f"{number:+d} {name}"
            for name, number in _more(self.objects, later.objects)
            if number > (OWN_MORE if name.startswith(_OWN) else OTHERS_MORE)
        ]
        calls = sum(later.calls.values()) - sum(self.calls.values())
        if calls > CALLS_MORE:
            by_name = ", ".join(f"{n:+d} {name}" for name, n in _more(self.calls, later.calls))
            found.append(f"{calls:+d} delayed calls: {by_name}")
        if later.descriptors - self.descriptors > DESCRIPTORS_MORE:
            found.append(f"{later.descriptors - self.descriptors:+d} descriptors")
        if later.threads > self.threads + 16:
            found.append(f"{later.threads - self.threads:+d} threads")
        if later.rss_mib - self.rss_mib > MIB_MORE:
            found.append(f"{later.rss_mib - self.rss_mib:+.1f} MiB")
        return found


def _more(before: Mapping[str, int], after: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return by how much each count grew, the greatest first."""
    return (Counter(after) - Counter(before)).most_common()


class Leaking:
    """A proxy with all its listeners, and the traffic for it."""

    def __init__(self, lab: Lab, echo: Echo) -> None:
        self._lab = lab
        self._echo = echo
        ports = lab.origin.ports
        modes = (
            "regular",
            f"reverse:https://127.0.0.1:{ports.http2}",
            f"reverse:http://127.0.0.1:{echo.port}",
            "socks5",
        )
        command = [sys.executable, "-m", "interceptor", "run", "-q", "-s", str(_SCRIPT)]
        for mode in modes:
            command += ["--mode", f"{mode}@127.0.0.1:0"]
        options = (
            f"ssl_verify_upstream_trusted_ca={lab.certificates.authority}",
            "stream_large_bodies=32k",
            # A client that only ended its own direction may still be listening: for so long.
            f"read_timeout={_LINGER}s",
            f"hook_timeout={_LINGER}s",
        )
        for option in options:
            command += ["--set", option]
        self.process = Process(
            "interceptor", command, lab.cores.proxy, lab.workdir, lab.environment
        )
        found = self.process.wait_for_lines(len(modes))
        self._regular, self._secure, self._websocket, self._socks = found
        wrk = shutil.which("wrk")
        if wrk is None or lab.origin.kind != "nginx":
            self.process.stop()
            raise BenchError("needs wrk and nginx")
        self._wrk: str = wrk

    def lap(self) -> int:
        """Send some of everything; return how many requests that was."""
        return sum(
            (
                self._mixed(32, False, 2.0),
                self._mixed(16, True, 1.0),
                self._http2(),
                self._tls(),
                self._tunnels(),
                self._messages(),
                asyncio.run(misbehave(Ports(self._regular, self._secure), 5)),
            )
        )

    def _mixed(self, connections: int, close: bool, seconds: float) -> int:
        host = f"http://127.0.0.1:{self._lab.origin.port}"
        load = Load(self._regular, host, "", connections, close, 0)
        return run_wrk(self._wrk, load, seconds, _MIX).requests

    def _http2(self) -> int:
        load = Load(self._secure, "/1k", "127.0.0.1", 8, False, 1024, tls=True)
        result = h2load_generator(10, requests=4000).run(load, 1.0)
        problems = result.problems(load.body_size)
        if problems:
            raise BenchError(f"HTTP/2: {'; '.join(problems)}")
        client = StreamClient(self._secure, "/1k", "127.0.0.1")
        done = 0
        try:
            for _ in range(5):
                client.stall("/big")
                done += len(client.run(10, 0.02))
                client.give_up()
        finally:
            client.close()
        return result.requests + done

    def _tls(self) -> int:
        load = Load(self._secure, "/1k", "127.0.0.1", 16, True, 1024, tls=True)
        result = self._lab.generator.run(load, 1.0)
        problems = result.problems(load.body_size)
        if problems:
            raise BenchError(f"TLS: {'; '.join(problems)}")
        return result.requests

    def _tunnels(self) -> int:
        tunnelled = 0
        for kind in (Kind.TLS_CLIENT, Kind.TLS_BOTH, Kind.KEPT, Kind.SILENT):
            clients = Clients(self._lab, Running(self.process, self._regular), kind)
            try:
                tunnelled += clients.add(20)
            finally:
                clients.close()
        origin = self._lab.origin.port
        request = b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n"
        opening = pyload.socks_opening("127.0.0.1", origin)
        tally = pyload.run("127.0.0.1", self._socks, request, 8, 0.2, opening=opening)
        if tally.errors:
            raise BenchError(f"SOCKS: {dict(tally.errors)}")
        return tunnelled + tally.requests

    def _messages(self) -> int:
        result = self._echo.run(self._websocket, 16, 60.0, 2000)
        if result.errors:
            raise BenchError(f"WebSocket: {dict(result.errors)}")
        return result.requests

    def census(self) -> Census:
        """Ask the proxy what it holds.

        :raises BenchError: if it does not say.
        """
        target = Target(self._regular, f"http://{CENSUS}/", CENSUS)
        found: dict[str, Any] = json.loads(read_body(target))
        return Census(**found, rss_mib=self.process.rss())

    def settled(self) -> Census:
        """Wait until what is going away has gone; return what is left."""
        deadline = time.monotonic() + _SETTLED_WITHIN
        time.sleep(_LINGER + 1)
        before = self.census()
        while time.monotonic() < deadline:
            time.sleep(_PAUSE)
            now = self.census()
            if (now.descriptors, now.calls) == (before.descriptors, before.calls):
                return now
            before = now
        return before

    def settled_below(self, most: Census) -> Census:
        """Wait until no more is left than there was, or for as long as that may take."""
        deadline = time.monotonic() + _SETTLED_WITHIN
        now = self.census()
        while most.growth(now) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            now = self.census()
        return now


def main(arguments: list[str] | None = None) -> int:
    """Send everything, count before and after, and return 0 if nothing stayed behind."""
    parser = argparse.ArgumentParser(prog="python -m bench.leaks", description=__doc__)
    parser.add_argument("--requests", type=int, default=WANTED, metavar="N", help="how many")
    options = parser.parse_args(arguments)
    try:
        with open_lab(Effort()) as lab, Echo(300, True) as echo:
            leaking = Leaking(lab, echo)
            try:
                return _compare(leaking, options.requests)
            finally:
                leaking.process.stop()
    except BenchError as problem:
        print(f"leaks: {problem}", file=sys.stderr)
        return 1


def _compare(leaking: Leaking, wanted: int) -> int:
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    before: Census | None = None
    sent = laps = 0
    while sent < wanted:
        sent += leaking.lap()
        laps += 1
        tell(f"{sent:,} requests, {leaking.process.rss():.1f} MiB")
        # Memory is as large as the most that was ever used at once: that has to have been.
        if before is None and laps >= _WARM_LAPS and sent >= wanted * _WARM_SHARE:
            before = leaking.settled()
            tell(f"warm: {_outline(before)}")
    if before is None:
        raise BenchError(f"{sent} requests are too few")
    after = leaking.settled_below(before)
    tell(f"end: {_outline(after)}")
    grown = before.growth(after)
    for line in grown:
        print(f"leaks: {line}, after {sent:,} requests in {laps} laps", file=sys.stderr)
    return 1 if grown else 0


def _outline(census: Census) -> str:
    deferreds = census.objects.get("twisted.internet.defer.Deferred", 0)
    return (
        f"{census.rss_mib:.1f} MiB, {census.descriptors} descriptors, "
        f"{sum(census.calls.values())} delayed calls, {deferreds} Deferreds, "
        f"{sum(census.objects.values()):,} objects, {census.threads} threads"
    )


if __name__ == "__main__":
    raise SystemExit(main())
