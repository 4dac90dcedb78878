"""What the tests of faults share: a script that keeps accounts, clients, a server to be killed.

Clients are blocking sockets in threads. Everybody waits until the program under test, or the
server, has told that something came to pass; nobody waits for a time to pass by.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import sys
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.functional.harness import ProxyProcess, RunningProcess, reactor, sleep
from tests.functional.pki import NAMES, PKITestCase, key_pem
from tests.functional.test_hostile import MIB, HostileTestCase
from tests.net.certificates import issue

LONG = 60.0
"""Seconds that something may take which takes a fraction of one on a machine that is not busy."""

KINDS = {
    "http": ("requestheaders", "response", "error"),
    "websocket": ("websocket_start", "websocket_end"),
    "tcp": ("tcp_start", "tcp_end"),
    "udp": ("udp_start", "udp_end"),
    "protocol": ("protocol_start", "protocol_end"),
    "dns": ("dns_request", "dns_response", "dns_error"),
    "connection": ("clientconnect", "clientdisconnect"),
}
"""With what flows begin, and in exactly one of what they end."""

LEDGER = """\
import json
import os
import sys
import threading

from twisted.internet import reactor

from interceptor import ctx, http

observes_only = True
FILE = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(event, flow, code=None):
    line = json.dumps([event, flow.id, code, getattr(ctx, "worker", 1)])
    os.write(FILE, line.encode() + b"\\n")


def ends(event):
    def hook(flow):
        note(event, flow, flow.error and flow.error.code)

    return hook


def requestheaders(flow):
    if flow.request.path.endswith("/state"):
        environment = ctx.master.environment
        state = {
            "sessions": len(environment.sessions),
            "connections": environment.admission.connections,
            "flows": environment.admission.flows - 1,
            "memory": environment.body_memory.taken,
            "calls": len(reactor.getDelayedCalls()),
            "threads": threading.active_count(),
            "process": os.getpid(),
            "worker": ctx.worker,
        }
        flow.response = http.Response.make(200, json.dumps(state))
    note("requestheaders", flow)


BEGINNINGS = ("websocket_start", "tcp_start", "udp_start", "protocol_start")
ENDS = (
    *("response", "error", "websocket_end", "tcp_error", "tcp_end", "udp_error", "udp_end"),
    *("dns_request", "dns_response", "dns_error", "protocol_error", "protocol_end"),
)
for each in ("request", "responseheaders", *BEGINNINGS):
    globals()[each] = lambda flow, event=each: note(event, flow)
for each in ENDS:
    globals()[each] = ends(each)


def clientconnect(layer):
    note("clientconnect", layer.client_conn)


def clientdisconnect(layer):
    note("clientdisconnect", layer.client_conn)
"""
"""Writes a line for each event, and tells what the proxy holds where ``/state`` is asked for."""


class Accounts:
    """What the script has written so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def entries(self) -> list[Any]:
        """Lists of event, identifier of the flow, code of the error, and worker."""
        text = self._path.read_text() if self._path.exists() else ""
        complete, _, _ = text.rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def flows(self) -> dict[str, list[Any]]:
        """The entries of each flow, in their order."""
        found = defaultdict(list)
        for entry in self.entries:
            found[entry[1]].append(entry)
        return dict(found)

    def open(self, *, lost: Sequence[int] = ()) -> list[Any]:
        """Flows that have begun and not ended; not those of workers that were killed.

        Raises where one has ended twice, or in both ways, or has an event twice.
        """
        left = []
        for flow in self.flows().values():
            events = Counter(entry[0] for entry in flow)
            assert max(events.values()) == 1, flow
            for begin, *ends in KINDS.values():
                ended = sum(events[end] for end in ends)
                assert ended <= 1, flow
                if events[begin] and not ended and flow[0][3] not in lost:
                    left.append(flow)
        return left

    def codes(self) -> Counter[str]:
        """How often flows ended with which error, and how often in a response without one."""
        ends = {end for _, *ends in KINDS.values() for end in ends}
        return Counter(entry[2] or entry[0] for entry in self.entries if entry[0] in ends)


class Outcome(NamedTuple):
    """What a client got: the status, None for none; the body; whether that was the whole of it."""

    status: int | None
    body: bytes
    complete: bool


@contextlib.contextmanager
def way_to(port: int, *, timeout: float = LONG) -> Any:
    """Connect to a port of loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        yield client


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """Read a head; return it, as much as came, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return data, b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def read_response(client: socket.socket) -> Outcome:
    """Read a response to its end, or that of the connection."""
    data = b""
    status = None
    try:
        head, data = read_head(client)
        if not head.endswith(b"\r\n\r\n"):
            return Outcome(None, head, False)
        status = int(head.split(b" ")[1])
        lower = head.lower()
        if b"content-length: " in lower:
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r")[0])
            while len(data) < length:
                piece = client.recv(65536)
                if not piece:
                    return Outcome(status, data, False)
                data += piece
            return Outcome(status, data, True)
        chunked = b"chunked" in lower
        while not (chunked and data.endswith(b"0\r\n\r\n")):
            piece = client.recv(65536)
            if not piece:
                return Outcome(status, data, not chunked)
            data += piece
        return Outcome(status, data, True)
    except (ConnectionError, ssl.SSLError):
        return Outcome(status, data, False)


def request(path: str, authority: str, *fields: str, absolute: bool = True) -> bytes:
    """Return the head of a request; one with fields about a body is a POST."""
    method = "POST" if any(field.startswith("Content-Length") for field in fields) else "GET"
    target = f"http://{authority}/{path}" if absolute else f"/{path}"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}", *fields]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def tunnel(client: socket.socket, authority: str) -> bool:
    """Ask for a tunnel; return whether there is one."""
    client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head, _ = read_head(client)
    return head.startswith(b"HTTP/1.1 200")


def secured(client: socket.socket, alpn: str) -> ssl.SSLSocket:
    """Speak TLS, with whomever it may be."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context.wrap_socket(client, server_hostname="localhost")


_HELD = ("sessions", "connections", "memory", "descriptors")

UPLOAD = "Content-Length: 1000000"
BEGUN = b"y" * 50_000


def ask_plain(proxy: int, origin: int, path: str, *fields: str) -> Outcome:
    """Ask the proxy for something in plain text."""
    with way_to(proxy) as client:
        upload = [UPLOAD] if path == "upload" else []
        client.sendall(request(path, f"127.0.0.1:{origin}", *fields, *upload))
        if upload:
            client.sendall(BEGUN)
        return read_response(client)


def ask_tls(proxy: int, origin: int, path: str) -> Outcome:
    """Ask a server for something, in HTTP/1 in TLS."""
    with way_to(proxy) as client:
        if not tunnel(client, f"localhost:{origin}"):
            return Outcome(None, b"", False)
        with secured(client, "http/1.1") as inner:
            upload = [UPLOAD] if path == "upload" else []
            inner.sendall(request(path, f"localhost:{origin}", *upload, absolute=False))
            if upload:
                inner.sendall(BEGUN)
            return read_response(inner)


class HTTP2Client:
    """A blocking client that speaks HTTP/2, one or several streams at once."""

    def __init__(self, client: ssl.SSLSocket, authority: str) -> None:
        self._client = client
        self._authority = authority
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.outcomes: dict[int, Outcome] = {}
        self.resets: dict[int, int] = {}
        self.goaway = False
        self._open: set[int] = set()

    def begin(self, path: str) -> int:
        """Send a request; return the number of its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        upload = path == "upload"
        self.h2.send_headers(
            stream,
            [
                (":method", "POST" if upload else "GET"),
                (":scheme", "https"),
                (":authority", self._authority),
                (":path", f"/{path}"),
            ],
            end_stream=not upload,
        )
        if upload:
            self.h2.send_data(stream, BEGUN[:16000])
        self._client.sendall(self.h2.data_to_send())
        self.outcomes[stream] = Outcome(None, b"", False)
        self._open.add(stream)
        return stream

    def run(self) -> None:
        """Read until all streams have ended, or the connection has."""
        try:
            while self._open:
                data = self._client.recv(65536)
                if not data:
                    return
                self._receive(data)
        except (ConnectionError, ssl.SSLError):
            return

    def _receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(_without_goaway(self, data)):
            stream = getattr(event, "stream_id", 0) or 0
            known = self.outcomes.get(stream)
            if isinstance(event, h2.events.ResponseReceived) and known:
                status = int(dict(event.headers)[b":status"])
                self.outcomes[stream] = known._replace(status=status)
            elif isinstance(event, h2.events.DataReceived) and known:
                self.outcomes[stream] = known._replace(body=known.body + event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded) and known:
                self.outcomes[stream] = known._replace(complete=True)
                self._open.discard(stream)
            elif isinstance(event, h2.events.StreamReset):
                self.resets[stream] = int(event.error_code or 0)
                self._open.discard(stream)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._client.sendall(self.h2.data_to_send())


def _without_goaway(client: HTTP2Client, data: bytes) -> bytes:
    """Take GOAWAY out, after which h2 would understand nothing more."""
    unread = getattr(client, "unread", b"") + data
    out = b""
    while len(unread) >= 9 and len(unread) >= (size := 9 + int.from_bytes(unread[:3], "big")):
        if unread[3] == 7:
            client.goaway = True
        else:
            out += unread[:size]
        unread = unread[size:]
    vars(client)["unread"] = unread
    return out


@contextlib.contextmanager
def http2_client(proxy: int, origin: int) -> Any:
    """Speak HTTP/2 with a server by way of the proxy."""
    with way_to(proxy) as client:
        assert tunnel(client, f"localhost:{origin}")
        with secured(client, "h2") as inner:
            assert inner.selected_alpn_protocol() == "h2"
            yield HTTP2Client(inner, f"localhost:{origin}")


def ask_h2(proxy: int, origin: int, path: str) -> Outcome:
    """Ask a server for something in HTTP/2."""
    with http2_client(proxy, origin) as client:
        stream = client.begin(path)
        client.run()
        outcome: Outcome = client.outcomes[stream]
        return outcome


def websocket_request(origin: int) -> bytes:
    """Return a request for a WebSocket."""
    return request(
        "socket",
        f"127.0.0.1:{origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}",
    )


HELLO = b"\x81\x82\0\0\0\0ok"
"""A masked frame of a WebSocket."""


def read_all(client: socket.socket) -> tuple[bytes, bool]:
    """Read to the end; tell whether that was a clean one."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except (ConnectionError, ssl.SSLError):
        return data, False
    return data, True


class FaultOrigin(NamedTuple):
    """A server that can be killed."""

    process: RunningProcess
    plain: int
    tls: int
    raw: int

    async def told(self, *paths: str) -> None:
        """Wait until it was asked for these, all told, since it started."""
        wanted = Counter(paths)

        def all_there(process: RunningProcess) -> bool:
            lines = process.out.rpartition(b"\n")[0].decode().splitlines()[1:]
            return not wanted - Counter(lines)

        await self.process.until(all_there, LONG)

    async def kill(self) -> None:
        """End it at once."""
        self.process.signal(signal.SIGKILL)
        await self.process.ended(LONG)


class FaultCase(PKITestCase, HostileTestCase):
    """Starts proxies that keep accounts, and compares what is left of a fault with what was."""

    timeout = 240

    def setUp(self) -> None:
        super().setUp()
        certified = issue(*NAMES, issuer=self.root)
        self.pem = self.write("origin.pem", key_pem(certified) + certified.pem())
        self.ledger = self.write("ledger.py", LEDGER)
        self.accounts = Accounts(self.directory / "accounts")

    async def start_origin(self, *ports: int) -> FaultOrigin:
        """Start a server, on the ports of one that was killed, or on others."""
        process = self.start_process(
            *(sys.executable, "-m", "tests.functional.faultorigin"),
            *(str(port) for port in ports or (0, 0, 0)),
            self.pem,
        )
        await process.until(
            lambda process: process.out.startswith(b"ready ") and b"\n" in process.out
        )
        words = process.out.split(b"\n")[0].split()[1:]
        return FaultOrigin(process, *map(int, words))

    async def start_faulty(
        self,
        *modes: str,
        script: str = "",
        arguments: Sequence[str] = (),
        tracebacks: bool = False,
        inside: Sequence[str] = (),
        **options: str,
    ) -> ProxyProcess:
        """Start a proxy that keeps accounts, with a script besides if there is one."""
        scripts = [f"{self.ledger} {self.directory / 'accounts'}"]
        if script:
            scripts.append(str(self.write("script.py", script)))
        words = [*arguments]
        for name, value in options.items():
            words += ["--set", f"{name}={value}"]
        return await self.start_tls_proxy(
            *modes, scripts=scripts, arguments=words, tracebacks=tracebacks, inside=inside
        )

    async def state(self, port: int) -> dict[str, Any]:
        """Ask a proxy what it holds, over a connection that is no part of that."""
        outcome = await deferToThread(ask_plain, port, 1, "state", "Connection: close")
        self.assertEqual(outcome.status, 200, outcome)
        found: dict[str, Any] = json.loads(outcome.body)
        return found

    async def until(self, condition: Callable[[], Any], what: object = "") -> None:
        """Ask again and again."""
        deadline = reactor().seconds() + LONG
        while not await condition():
            self.assertLess(reactor().seconds(), deadline, f"it has not come to pass: {what}")
            await sleep(0.05)

    async def holding(self, proxy: ProxyProcess) -> dict[str, Any]:
        """What a proxy of one process holds: the base line for `let_go`."""
        state = await self.state(proxy.port)
        state["descriptors"] = self.descriptors(proxy)
        state["resident"] = self.memory(proxy)
        return state

    async def let_go(self, proxy: ProxyProcess, before: dict[str, Any]) -> None:
        """Wait until a proxy holds no more than before, and every flow has ended once."""
        last: dict[str, Any] = {}

        async def back() -> bool:
            # Before another connection is made, to ask for the rest.
            last["open"] = self.accounts.open()
            last.update(await self.holding(proxy))
            return (
                not last["open"]
                and not last["flows"]
                and all(last[key] <= before[key] for key in _HELD)
                # Timers that do nothing may be left for a while.
                and last["calls"] <= before["calls"] + 4
                and last["resident"] - before["resident"] < 24 * MIB
            )

        with contextlib.suppress(self.failureException):
            await self.until(back)
            return
        self.fail(f"{before} has become {last}")

    def in_threads(self, *calls: tuple[Any, ...]) -> Deferred[list[Any]]:
        """Call each in a thread of its own; fire with what they return."""
        pool = reactor().getThreadPool()
        pool.adjustPoolsize(maxthreads=max(pool.max, 3 * len(calls) + 10))
        running = [deferToThread(function, *rest) for function, *rest in calls]
        return gatherResults(running, consumeErrors=True)


def processes_of(parent: int) -> list[int]:
    """The children of a process."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == parent:
                    found.append(int(name))
    return found
