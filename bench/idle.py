"""What connections cost that nobody uses."""

from __future__ import annotations

import contextlib
import errno
import resource
import select
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import count

from bench.errors import BenchError, NotMeasuredError
from bench.lab import Lab, Sample, Series, once
from bench.slow import read_head
from bench.subjects import Hooks, Mode, Running, Subject
from bench.workloads import Workload

_TIMEOUT = 20.0
_WARM_UP = 50
_PORTS_EACH = 5000
_FEWEST = 0.1
# With fewer the proxy lets new clients wait (``descriptor_headroom``).
_KEPT_FREE = 400
_FULL = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)


class Kind(Enum):
    """What clients do before they fall silent."""

    SILENT = "nothing"
    KEPT = "a request by HTTP/1, without TLS"
    TLS_CLIENT = "a handshake in a tunnel whose server is not connected to"
    TLS_BOTH = "a handshake and a request in a tunnel to a server with TLS"


class Clients:
    """Connections to one proxy that stay open."""

    def __init__(self, lab: Lab, running: Running, kind: Kind) -> None:
        self._lab = lab
        self._running = running
        self._kind = kind
        self._open: list[socket.socket] = []
        self._numbers = count()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        # Else the proxy waits a moment for a word, and then connects to a server that may begin.
        self._context.set_alpn_protocols(["http/1.1"])

    def add(self, wanted: int) -> int:
        """Open as many connections, or fewer where descriptors or ports run out; return how many.

        :raises BenchError: if the proxy does not play its part.
        """
        for made in range(wanted):
            try:
                self._open.append(self._connect())
            except OSError as problem:
                if problem.errno not in _FULL:
                    raise BenchError(f"connection {made + 1}: {problem}") from problem
                return made
        return wanted

    def _connect(self) -> socket.socket:
        # A port is one of 28,000 by default, and some rest for a minute after each workload.
        source = f"127.0.0.{2 + next(self._numbers) // _PORTS_EACH}"
        address = ("127.0.0.1", self._running.port)
        connection = socket.create_connection(address, _TIMEOUT, (source, 0))
        try:
            return self._speak(connection)
        except BaseException:
            connection.close()
            raise

    def _speak(self, connection: socket.socket) -> socket.socket:
        ports = self._lab.origin.ports
        if self._kind is Kind.KEPT:
            host = f"127.0.0.1:{ports.plain}"
            _ask(connection, f"GET http://{host}/1k HTTP/1.1\r\nHost: {host}\r\n\r\n", 1024)
        elif self._kind is not Kind.SILENT:
            host = f"127.0.0.1:{ports.tls}"
            _ask(connection, f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n", 0)
            connection = self._context.wrap_socket(connection)
            if self._kind is Kind.TLS_BOTH:
                _ask(connection, f"GET /1k HTTP/1.1\r\nHost: {host}\r\n\r\n", 1024)
        return connection

    def alive(self) -> int:
        """Return how many are still open, as far as this end knows."""
        poll = select.poll()
        for connection in self._open:
            poll.register(connection, select.POLLRDHUP)
        return len(self._open) - len(poll.poll(0))

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            self._open.pop().close()


def _ask(connection: socket.socket, request: str, body_size: int) -> None:
    connection.sendall(request.encode())
    head, body = read_head(connection)
    if head.split(b" ", 2)[1] != b"200":
        raise BenchError(f"{request.split(' ', 1)[0]}: {head.splitlines()[0]!r}")
    while len(body) < body_size:
        data = connection.recv(body_size - len(body))
        if not data:
            raise BenchError("an answer ended early")
        body += data


def most_clients(wanted: int, kind: Kind) -> int:
    """Return how many of ``wanted`` connections the proxy has descriptors for."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    each = 2 if kind in (Kind.KEPT, Kind.TLS_BOTH) else 1
    return min(wanted, max(limit - _KEPT_FREE, 0) // each)


@contextlib.contextmanager
def clients_of(lab: Lab, running: Running, kind: Kind) -> Iterator[Clients]:
    """Have clients for a while."""
    clients = Clients(lab, running, kind)
    try:
        yield clients
    finally:
        clients.close()


@dataclass(frozen=True)
class IdleWorkload(Workload):
    """By how much resident memory grows with each idle connection, in KiB."""

    metric: str = "kib_per_connection"
    baseline: str | None = None
    kind: Kind = Kind.SILENT

    def run(self, lab: Lab, subjects: Sequence[Subject]) -> dict[str, Series]:
        return once({subject.name: partial(self._once, lab, subject) for subject in subjects})

    def _once(self, lab: Lab, subject: Subject) -> Sample:
        options = ("connection_strategy=lazy",) if self.kind is Kind.TLS_CLIENT else ()
        wanted = most_clients(lab.effort.idle_connections, self.kind)
        with lab.running(subject, Mode.REGULAR, Hooks.ALL, options=options) as running:
            with clients_of(lab, running, self.kind) as clients:
                clients.add(_WARM_UP)
            time.sleep(lab.effort.settle_seconds)
            before = running.process.rss()
            with clients_of(lab, running, self.kind) as clients:
                reached = clients.add(wanted)
                time.sleep(lab.effort.settle_seconds)
                after = running.process.rss()
                alive = clients.alive()
        if reached < lab.effort.idle_connections * _FEWEST:
            raise NotMeasuredError(f"only {reached} connections could be opened")
        values = {
            "before_mib": before,
            "connections": reached,
            "kib_per_connection": (after - before) * 1024 / reached,
        }
        ended = (f"{reached - alive} connections ended",) if alive < reached else ()
        return Sample(values, ended)
