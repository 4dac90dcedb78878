"""How long a request takes that has the proxy for itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.errors import BenchError
from bench.lab import Lab, Sample, Series, side_by_side
from bench.load import Load
from bench.subjects import Running, Subject
from bench.workloads import LoadWorkload

_TURNS = 8
_TIMEOUT = 10.0
_READ = 65536


class OneClient:
    """One connection that sends the same request again as soon as the answer is there.

    :raises BenchError: if the first answer is not a whole 200 response.
    """

    def __init__(self, load: Load) -> None:
        self._request = f"GET {load.target} HTTP/1.1\r\nHost: {load.host}\r\n\r\n".encode()
        self._socket = socket.create_connection(("127.0.0.1", load.port), _TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # All answers are alike, so that their ends are found by counting.
        self._size = self._first(load.body_size)

    def _first(self, body_size: int) -> int:
        self._socket.sendall(self._request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + body_size:
            data = self._socket.recv(_READ)
            if not data:
                raise BenchError(f"no whole answer: {received[:80]!r}")
            received += data
        if received.split(b" ", 2)[1] != b"200":
            raise BenchError(f"another answer: {received[:80]!r}")
        return len(received)

    def run(self, seconds: float) -> list[float]:
        """Ask for so long; return how long each answer took.

        :raises BenchError: if the connection ends.
        """
        times = []
        clock, send, receive = time.perf_counter, self._socket.sendall, self._socket.recv
        end = clock() + seconds
        began = clock()
        while began < end:
            send(self._request)
            missing = self._size
            while missing > 0:
                data = receive(missing)
                if not data:
                    raise BenchError("the connection ended")
                missing -= len(data)
            now = clock()
            times.append(now - began)
            began = now
        return times

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@dataclass(frozen=True)
class LatencyWorkload(LoadWorkload):
    """The same GET over one connection: the median of the time it takes, and the 99th percentile.

    Subjects take turns of a fraction of a second, each turn counts as a round: what else the
    machine does for a moment spoils a few turns, and medians do not see it.
    """

    metric: str = "p50_us"
    connections: int = 1

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        def set_up(stack: ExitStack, subject: Subject) -> Callable[[], Sample]:
            running = stack.enter_context(self.start(lab, subject))
            client = OneClient(self.load(lab, running))
            stack.callback(client.close)
            return partial(self._turn, lab, running, client)

        return side_by_side(lab, subjects, set_up, turns=_TURNS)

    def _turn(self, lab: Lab, running: Running, client: OneClient) -> Sample:
        before, started = running.process.cpu_seconds(), time.perf_counter()
        times = sorted(client.run(lab.effort.seconds / _TURNS))
        cpu, elapsed = running.process.cpu_seconds() - before, time.perf_counter() - started
        values = {
            "requests_per_second": len(times) / elapsed,
            "busy": cpu / elapsed,
            "cpu_us_per_request": cpu / len(times) * 1e6,
            "p50_us": median(times) * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6,
        }
        return Sample(values)
