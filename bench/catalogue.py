"""All workloads, under names that stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.http2workloads import (
    HTTP2GrowthWorkload,
    HTTP2Workload,
    OneStreamWorkload,
    StalledWorkload,
)
from bench.idle import IdleWorkload, Kind
from bench.latency import LatencyWorkload
from bench.linear import LinearWorkload
from bench.subjects import Hooks, Mode
from bench.tcpworkloads import TunnelWorkload
from bench.tlsworkloads import FirstSightWorkload, ResumptionWorkload, TLSWorkload
from bench.workersworkloads import WorkersWorkload
from bench.workloads import (
    GrowthWorkload,
    IdleMemoryWorkload,
    LoadWorkload,
    SlowReaderWorkload,
    StartupWorkload,
    Workload,
)
from bench.wsworkloads import EchoGrowthWorkload, EchoWorkload

_OURS = frozenset({"relay", "interceptor"})
_INTERCEPTOR = frozenset({"interceptor"})
_RAW: Final[Mapping[str, Any]] = {"mode": Mode.TCP, "only": _OURS}
_BULK: Final[Mapping[str, Any]] = {
    "metric": "mib_per_second",
    "cost": "cpu_us_per_mib",
    "path": "10m",
    "connections": 8,
}

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        LoadWorkload(
            "keepalive-1k-hooks", "32 keep-alive connections, 1 KiB, a script with all HTTP events"
        ),
        LoadWorkload(
            "keepalive-1k", "32 keep-alive connections, 1 KiB, no script", hooks=Hooks.NONE
        ),
        LoadWorkload("newconn-1k", "a new connection per request, 1 KiB, all events", close=True),
        LoadWorkload("body-64k", "64 KiB bodies, gathered for all events", path="64k"),
        LoadWorkload("body-64k-nohooks", "64 KiB bodies, no script", path="64k", hooks=Hooks.NONE),
        LoadWorkload(
            "body-10m-stream",
            "10 MiB bodies, streamed because a script says so",
            metric="mib_per_second",
            cost="cpu_us_per_mib",
            path="10m",
            hooks=Hooks.STREAM,
            connections=8,
        ),
        LoadWorkload(
            "body-10m-nohooks",
            "10 MiB bodies, streamed because nobody gathers them",
            metric="mib_per_second",
            cost="cpu_us_per_mib",
            path="10m",
            hooks=Hooks.NONE,
            connections=8,
        ),
        LoadWorkload("reverse-1k", "reverse mode, 1 KiB, all events", mode=Mode.REVERSE),
        LatencyWorkload("latency-1", "one connection, 1 KiB, all events: time of a request"),
        TLSWorkload("tls-keepalive-1k-hooks", "TLS, 32 keep-alive connections, 1 KiB, all events"),
        TLSWorkload(
            "tls-newconn-1k",
            "TLS, a new connection on both legs per request; wrk resumes its own, the server none",
            close=True,
        ),
        TLSWorkload(
            "tls-newconn-1k-full",
            "the same with full handshakes on both legs",
            close=True,
            fresh=True,
        ),
        TLSWorkload(
            "tls-newconn-1k-resumed",
            "the same where the proxy may resume with the server, which the relay cannot",
            close=True,
            resume=True,
        ),
        TLSWorkload(
            "tls-body-10m",
            "TLS, 10 MiB bodies, streamed by a script",
            metric="mib_per_second",
            cost="cpu_us_per_mib",
            path="10m",
            hooks=Hooks.STREAM,
            connections=8,
        ),
        ResumptionWorkload(
            "tls-resumption", "share of reconnects that resume, on either leg", only=_INTERCEPTOR
        ),
        FirstSightWorkload(
            "tls-first-sight", "own work for a TLS host first seen, CPU ms", only=_INTERCEPTOR
        ),
        FirstSightWorkload(
            "tls-seen-host",
            "own work for a TLS host seen before, CPU ms",
            only=_INTERCEPTOR,
            seen=True,
        ),
        LoadWorkload("tcp-1k", "raw TCP, 1 KiB, no script", hooks=Hooks.NONE, **_RAW),
        LoadWorkload("tcp-1k-hooks", "raw TCP, 1 KiB, with tcp_message", hooks=Hooks.TCP, **_RAW),
        LoadWorkload("tcp-10m", "raw TCP, 10 MiB, no script", hooks=Hooks.NONE, **_RAW, **_BULK),
        LoadWorkload(
            "tcp-10m-hooks",
            "raw TCP, 10 MiB, a script with tcp_message",
            hooks=Hooks.TCP,
            **_RAW,
            **_BULK,
        ),
        TunnelWorkload(
            "connect-10m",
            "raw TCP in tunnels of CONNECT, 10 MiB, no script",
            hooks=Hooks.NONE,
            only=_OURS,
            **_BULK,
        ),
        TunnelWorkload(
            "socks-10m",
            "raw TCP by SOCKS 5, 10 MiB, no script",
            mode=Mode.SOCKS,
            hooks=Hooks.NONE,
            only=_OURS,
            **_BULK,
        ),
        HTTP2Workload("h2-1k-hooks", "HTTP/2, 8 connections of 10 streams, 1 KiB, all events"),
        HTTP2Workload(
            "h2-to-h1-1k-hooks",
            "the same to a server with HTTP/1, without TLS",
            baseline=None,
            translated=True,
        ),
        OneStreamWorkload(
            "h2-one-stream", "1 GiB on one stream, beside the same by HTTP/1", only=_INTERCEPTOR
        ),
        StalledWorkload(
            "h2-stalled",
            "99 streams beside one that nobody reads: their p99 over what it is without",
            only=_INTERCEPTOR,
        ),
        HTTP2GrowthWorkload(
            "h2-growth",
            "memory gained over 1,000,000 requests on one HTTP/2 connection",
            only=_INTERCEPTOR,
        ),
        EchoWorkload("ws-echo-64", "WebSocket, 8 echoes of 64 bytes of text, a hook"),
        EchoWorkload("ws-echo-64k", "WebSocket, 8 echoes of 64 KiB of text, a hook", size=65536),
        EchoWorkload(
            "ws-echo-64k-binary",
            "WebSocket, 8 echoes of 64 KiB that are no text, a hook",
            size=65536,
            text=False,
        ),
        EchoGrowthWorkload(
            "ws-growth", "memory gained over 1 GiB of messages on one connection", only=_OURS
        ),
        StartupWorkload("startup", "milliseconds until it listens"),
        IdleMemoryWorkload("idle-memory", "resident memory after the start, MiB"),
        GrowthWorkload(
            "growth", "memory gained under keepalive-1k-hooks for long, MiB", only=_OURS
        ),
        SlowReaderWorkload(
            "slow-reader-download", "a great body to a slow client, memory gained", only=_OURS
        ),
        SlowReaderWorkload(
            "slow-reader-upload",
            "a great body to a slow server, memory gained",
            only=_OURS,
            upload=True,
        ),
        LinearWorkload("linear-stream", "100 MiB against 10 MiB, streamed by a script", only=_OURS),
        LinearWorkload(
            "linear-buffered",
            "100 MiB against 10 MiB, gathered for all events",
            hooks=Hooks.ALL,
            only=_OURS,
        ),
        IdleWorkload("idle-plain", "10,000 silent clients: memory of each, KiB", only=_INTERCEPTOR),
        IdleWorkload(
            "idle-kept",
            "10,000 clients that keep what a request used, and a server's: memory of each, KiB",
            only=_INTERCEPTOR,
            kind=Kind.KEPT,
        ),
        IdleWorkload(
            "idle-tls-client",
            "10,000 idle clients with TLS, and no server: memory of each, KiB",
            only=_INTERCEPTOR,
            kind=Kind.TLS_CLIENT,
        ),
        IdleWorkload(
            "idle-tls-both",
            "10,000 idle clients with TLS, each with a server's: memory of each, KiB",
            only=_INTERCEPTOR,
            kind=Kind.TLS_BOTH,
        ),
        WorkersWorkload("workers-cpu", "CPU time per request, two workers beside one"),
        WorkersWorkload("workers-rate", "requests/s, two workers beside one", apart=True),
    )
}
"""Every workload by name, in the order in which they run."""

_VARIANTS = frozenset(
    {
        "body-64k-nohooks",
        "reverse-1k",
        "tls-newconn-1k-resumed",
        "tcp-10m-hooks",
        "socks-10m",
        "ws-echo-64k-binary",
    }
)

SMOKE: Sequence[str] = tuple(name for name in WORKLOADS if name not in _VARIANTS)
"""What a smoke run is content with: the others would be slow where these are."""

LINES: Mapping[str, tuple[str, ...]] = {
    "keepalive": ("keepalive-1k-hooks", "keepalive-1k"),
    "newconn": ("newconn-1k",),
    "tls": ("tls-keepalive-1k-hooks", "tls-newconn-1k"),
    "http2": ("h2-1k-hooks", "h2-to-h1-1k-hooks"),
    "bodies": ("body-10m-stream", "body-10m-nohooks", "tls-body-10m"),
    "websocket": ("ws-echo-64", "ws-echo-64k"),
    "latency": ("latency-1",),
    "idle": ("idle-plain", "idle-kept", "idle-tls-client", "idle-tls-both"),
    "workers": ("workers-cpu", "workers-rate"),
    "linear": ("linear-stream", "linear-buffered"),
    "slow-readers": ("slow-reader-download", "slow-reader-upload"),
}
"""What is promised, line by line, and the workloads that tell whether it is so."""


def named(names: Iterable[str]) -> list[str]:
    """Return the workloads that ``names`` of workloads and of lines mean, each once."""
    return list(dict.fromkeys(each for name in names for each in LINES.get(name, (name,))))
