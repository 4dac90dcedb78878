"""Attacks over real sockets: somebody else is served meanwhile, and memory returns.

What is measured is what the proxy is to blame for, see `tests.functional.bystander`: the bound
holds on a machine that is busy with other things, too.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import socket
import struct
import sys
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from tests.functional.faults import processes_of
from tests.functional.harness import (
    RUN_TIMEOUT,
    ProxyProcess,
    clean_environment,
    reactor,
    sleep,
    spawn,
)
from tests.functional.test_hostile import (
    HOOKS,
    MIB,
    OK,
    PATIENCE,
    HostileTestCase,
    connected,
    descriptors,
    get,
    memory,
    read_until,
    reset,
)

SLOWEST = 0.25
"""Seconds that a request of somebody else may take because of the proxy."""

READING = """
def request(flow):
    flow.request.content

def response(flow):
    flow.response.content

def websocket_message(flow):
    flow.websocket.messages[-1].content
"""

LOADING = """
async def response(flow):
    content = await flow.response.load_content()
    assert flow.response.content is content
"""


def websocket_frame(opcode: int, payload: bytes, final: bool = True, packed: bool = False) -> bytes:
    """Return a masked frame of a WebSocket (RFC 6455 section 5.2); the mask is zeros."""
    first = opcode | (0x80 if final else 0) | (0x40 if packed else 0)
    if len(payload) < 126:
        return struct.pack("!BBL", first, 0x80 | len(payload), 0) + payload
    if len(payload) < 65536:
        return struct.pack("!BBHL", first, 0xFE, len(payload), 0) + payload
    return struct.pack("!BBQL", first, 0xFF, len(payload), 0) + payload


def send_until_refused(client: socket.socket, piece: bytes, most: int) -> int:
    """Send a piece again and again until nobody takes it any more; return how much was sent."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


def all_closed(clients: Sequence[socket.socket], seconds: float = PATIENCE * 2) -> list[bytes]:
    """Wait until the proxy has closed all connections; return what it said on each."""
    deadline = time.monotonic() + seconds
    answers = []
    for client in clients:
        client.settimeout(max(0.1, deadline - time.monotonic()))
        answers.append(read_until(client)[0])
    return answers


class AttackCase(HostileTestCase):
    """Runs an attack while somebody else is served."""

    workers = 1

    async def start(self, *modes: str, script: str = HOOKS, **options: str) -> ProxyProcess:
        arguments = [
            word for name, value in options.items() for word in ("--set", f"{name}={value}")
        ]
        if self.workers > 1:
            arguments += ["--workers", str(self.workers)]
        scripts = [self.write("hooks.py", script)] if script else []
        return await self.start_proxy(*modes, scripts=scripts, arguments=arguments)

    def pids(self, proxy: ProxyProcess) -> list[int]:
        """The processes that serve, and the one that watches over them if there are several."""
        parent = self.pid(proxy)
        return [parent, *(processes_of(parent) if self.workers > 1 else ())]

    def held(self, proxy: ProxyProcess) -> tuple[int, int, int]:
        """Tell how many descriptors all processes have, how much memory, and the most they had."""
        pids = self.pids(proxy)
        return (
            sum(map(descriptors, pids)),
            sum(map(memory, pids)),
            sum(memory(pid, "VmHWM") for pid in pids),
        )

    async def withstood(
        self,
        proxy: ProxyProcess,
        *attacks: Callable[[], object],
        peak: int = 48 * MIB,
        kept: bool = False,
    ) -> None:
        """Run attacks, one after the other, each in a thread, while somebody else is served.

        With ``kept`` nobody else makes new connections: they are what the attack uses up.
        """
        for attack in attacks:
            await self.attacked(proxy, attack, peak, kept)

    async def attacked(
        self, proxy: ProxyProcess, attack: Callable[[], object], peak: int, kept: bool
    ) -> None:
        """Run an attack: nobody else waits, and nothing stays behind."""
        name = attack.__name__
        port = next(each.port for each in proxy.listeners if each.mode == "regular")
        program = [sys.executable, "-m", "tests.functional.bystander"]
        program += ["--kept"] * kept + [str(number) for number in (port, *self.pids(proxy))]
        bystander = spawn(program, self.directory, clean_environment(self.home))
        try:
            await bystander.until(lambda process: process.out.startswith(b"ready\n"))
            open_before, before, highest = self.held(proxy)
            await deferToThread(attack)
        finally:
            bystander.signal(signal.SIGTERM)
            completed = await bystander.ended(RUN_TIMEOUT)
        self.assertEqual(completed.status, 0, f"{name}: {bystander.report()}")
        told = json.loads(completed.out.splitlines()[-1])
        self.assertLess(max(told["slowest"]), SLOWEST, f"{name}: {told}")
        self.assertLess(self.held(proxy)[2] - highest, peak, name)
        deadline = reactor().seconds() + PATIENCE
        while True:
            # The bystander leaves as well.
            still_open, now, _ = self.held(proxy)
            if still_open <= open_before and now - before <= 16 * MIB:
                return
            self.assertLess(reactor().seconds(), deadline, f"{name} left something")
            await sleep(0.05)


class SlowTests(AttackCase):
    """Clients that take their time, to hold what others need."""

    COUNT = 100

    async def test_heads_and_bodies(self):
        proxy = await self.start(
            head_timeout="500ms", idle_timeout="4s", body_timeout="500ms", close_timeout="500ms"
        )
        origin = await self.answering()

        def drip(beginning: bytes, *expected: bytes) -> None:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(proxy.port)) for _ in range(self.COUNT)]
                for client in clients:
                    client.sendall(beginning)
                for _ in range(8):
                    time.sleep(0.1)
                    for client in clients:
                        with contextlib.suppress(OSError):
                            client.sendall(b"x")
                for answer in all_closed(clients):
                    assert not answer or any(code in answer for code in expected), answer

        def slow_head() -> None:
            drip(b"GET http://a/", b"head-timeout")

        def slow_body() -> None:
            length = b"Content-Length: 1000"
            drip(get(origin.port, "", length), b"body-too-slow", b"body-timeout")

        def half_open() -> None:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(proxy.port)) for _ in range(self.COUNT)]
                for client in clients[::2]:
                    client.shutdown(socket.SHUT_WR)
                assert not any(all_closed(clients))

        def resets_in_bodies() -> None:
            for _ in range(self.COUNT * 2):
                with connected(proxy.port) as client:
                    client.sendall(get(origin.port, "", b"Content-Length: 1000") + b"x" * 500)
                    reset(client)

        await self.withstood(proxy, slow_head, slow_body, half_open, resets_in_bodies)

    async def test_readers(self):
        """They ask for much, and take nothing."""

        class Sending(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                size = 16 * MIB
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                self.transport.write(bytes(size))

        large = await self.listen(Factory.forProtocol(Sending))
        proxy = await self.start(write_timeout="1s", script="")

        def slow_readers() -> None:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(proxy.port, 4096)) for _ in range(8)]
                for client in clients:
                    client.sendall(get(large.port))
                time.sleep(2)
                for answer in all_closed(clients, 20):
                    assert len(answer) < 16 * MIB

        await self.withstood(proxy, slow_readers)


class EndlessTests(AttackCase):
    """Clients that send without an end."""

    async def test_http(self):
        proxy = await self.start(close_timeout="500ms")
        origin = await self.answering()
        chunked = get(origin.port, "", b"Transfer-Encoding: chunked")

        def refused(beginning: bytes, piece: bytes, end: bytes = b"", most: int = 16 * MIB) -> None:
            with connected(proxy.port) as client:
                with contextlib.suppress(OSError):
                    client.sendall(beginning)
                # What comes behind the refusal is dropped for a while, so that it can be read.
                send_until_refused(client, piece, most)
                with contextlib.suppress(OSError):
                    client.sendall(end)
                answer, _ = read_until(client)
                assert not answer or answer.startswith(b"HTTP/1.1 4"), answer

        def hundred_thousand_fields() -> None:
            fields = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
            refused(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n", len(fields))

        def endless_head() -> None:
            refused(b"GET http://a/ HTTP/1.1\r\nX: ", b"y" * 65536)

        def endless_target() -> None:
            refused(b"GET http://a/", b"y" * 65536)

        def endless_trailers() -> None:
            refused(chunked + b"0\r\n", b"X: y\r\n" * 1000)

        def chunk_extensions() -> None:
            refused(chunked + b"1;", b"y" * 65536)

        def small_extensions() -> None:
            refused(chunked, b"1;y=1\r\nx\r\n" * 5000)

        def pipelining() -> None:
            with connected(proxy.port) as client:
                client.settimeout(1.0)
                # Nobody reads the answers: at some point nothing is taken any more.
                sent = send_until_refused(client, get(origin.port) * 100, 64 * MIB)
                assert sent < 64 * MIB
                reset(client)

        await self.withstood(
            proxy,
            hundred_thousand_fields,
            endless_head,
            endless_target,
            endless_trailers,
            chunk_extensions,
            small_extensions,
            pipelining,
        )

    async def test_what_is_no_http(self):
        proxy = await self.start(
            "regular",
            "socks5",
            "regular",
            head_timeout="500ms",
            tls_timeout="500ms",
            proxy_protocol_from="127.0.0.2",
        )
        socks, regular = proxy.listeners[1].port, proxy.listeners[2].port
        garbage = os.urandom(65536)

        def ended(port: int, *pieces: bytes, source: str = "127.0.0.1", times: int = 40) -> None:
            clients = []
            with contextlib.ExitStack() as stack:
                for _ in range(times):
                    client = socket.create_connection(
                        ("127.0.0.1", port), PATIENCE, source_address=(source, 0)
                    )
                    clients.append(stack.enter_context(contextlib.closing(client)))
                    with contextlib.suppress(OSError):
                        for piece in pieces:
                            client.sendall(piece)
                all_closed(clients)

        def socks_garbage() -> None:
            ended(socks, garbage)
            ended(socks, b"\x05\xff" + bytes(100))
            ended(socks, b"\x05\x01\x00", b"\x05\x01\x00\x03\xff" + b"a" * 100)
            ended(socks, b"\x05")

        def proxy_garbage() -> None:
            ended(regular, garbage, source="127.0.0.2")
            ended(regular, b"PROXY TCP4 " + b"1" * 200, source="127.0.0.2")
            ended(regular, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + garbage, source="127.0.0.2")
            ended(regular, b"PROXY", source="127.0.0.2")

        def hello_fragments() -> None:
            # A record for each byte of a hello that says it is as long as one may be.
            hello = b"\x01\x00\xff\xff\x03\x03" + garbage[:2000]
            records = b"".join(b"\x16\x03\x01\x00\x01" + hello[at : at + 1] for at in range(2000))
            ended(regular, records, times=20)
            ended(regular, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + garbage, times=20)

        await self.withstood(proxy, socks_garbage, proxy_garbage, hello_fragments)


class BombTests(AttackCase):
    """Little that becomes much."""

    async def test_content_codings(self):
        import brotli
        import zstandard

        zeros = bytes(64 * MIB)
        packed = gzip.compress(zeros, 1)
        # As large as may be, and made of as much work as a literal can be.
        literals = zlib.compress(bytes(random.Random(1).choices(range(160), k=15 * MIB)), 1)
        bombs = {
            b"deflate/literals": literals,
            b"gzip/members": gzip.compress(b"") * 50_000,
            b"zstd/frames": zstandard.compress(b"") * 50_000,
            b"gzip": packed,
            b"gzip, gzip": gzip.compress(packed, 9),
            b"br": brotli.compress(zeros, quality=1),
            b"zstd": zstandard.compress(zeros),
            b"deflate": zlib.compress(zeros, 1),
        }

        class Bombing(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                name = data.split(b" ")[1].strip(b"/").replace(b"+", b", ")
                body = bombs[name]
                coding = name.partition(b"/")[0]
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
                    % (coding, len(body), body)
                )

        origin = await self.listen(Factory.forProtocol(Bombing))
        # With the default limits.
        proxy = await self.start(script=READING)

        def bombs_of_all_kinds() -> None:
            for coding, body in bombs.items():
                for _ in range(3):
                    with connected(proxy.port) as client:
                        client.sendall(get(origin.port, coding.decode().replace(", ", "+")))
                        assert read_until(client, body)[0].endswith(body)

        def bombs_at_once() -> None:
            """One for each of several clients, of those that take longest."""
            clients = []
            body = bombs[b"gzip"]
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    for _ in range(12):
                        client = stack.enter_context(connected(proxy.port))
                        client.settimeout(60)
                        client.sendall(get(origin.port, "gzip"))
                        clients.append(client)
                    for client in clients:
                        assert read_until(client, body)[0].endswith(body)
                    clients.clear()

        await self.withstood(proxy, bombs_of_all_kinds, bombs_at_once)
        # In a thread a script may decode all of it, and does not hold up anybody.
        proxy = await self.start(script=LOADING)
        await self.withstood(proxy, bombs_of_all_kinds, peak=300 * MIB)

    async def test_websockets(self):
        class Upgrading(Protocol):
            """A server of WebSockets that reads, and says nothing."""

            transport: Any
            data = b""
            upgraded = False

            def dataReceived(self, data: bytes) -> None:
                if self.upgraded:
                    return
                self.data += data
                if b"\r\n\r\n" not in self.data:
                    return
                key = self.data.lower().partition(b"sec-websocket-key:")[2]
                at = len(self.data) - len(key)
                key = self.data[at:].partition(b"\r\n")[0].strip()
                accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
                self.upgraded = True
                self.transport.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
                    b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
                )

        origin = await self.listen(Factory.forProtocol(Upgrading))
        proxy = await self.start(
            script=READING,
            websocket_message_limit="1m",
            buffer_memory_total="8m",
            close_timeout="500ms",
        )
        upgrade = get(
            origin.port,
            "",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + b64encode(bytes(16)),
            b"Sec-WebSocket-Extensions: permessage-deflate",
        )
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = deflate.compress(bytes(64 * MIB)) + deflate.flush(zlib.Z_SYNC_FLUSH)

        def ended(*pieces: bytes, most: int = 0) -> None:
            with connected(proxy.port) as client:
                client.sendall(upgrade)
                answer, _ = read_until(client, b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 101 "), answer
                with contextlib.suppress(OSError):
                    client.sendall(pieces[0])
                send_until_refused(client, pieces[-1], most)
                answer, _ = read_until(client)
                assert b"\x03\xf1" in answer or not answer, answer

        def deflate_bomb() -> None:
            ended(websocket_frame(2, bomb[:-4], packed=True))

        def incomplete_messages() -> None:
            piece = websocket_frame(2, bytes(900_000))[:-1]
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(proxy.port)) for _ in range(100)]
                for client in clients:
                    client.sendall(upgrade)
                    answer, _ = read_until(client, b"\r\n\r\n")
                    assert answer.startswith(b"HTTP/1.1 101 "), answer
                    with contextlib.suppress(OSError):
                        client.sendall(piece)
                refused = 0
                for client in clients:
                    client.settimeout(0.02)
                    with contextlib.suppress(OSError):
                        refused += b"\x03\xf1" in client.recv(100)
                assert refused > 50, refused

        def many_streams() -> None:
            ended(websocket_frame(2, b"\x03\0" * 400_000, packed=True))

        def fragments() -> None:
            more = websocket_frame(0, b"x" * 100, final=False) * 500
            ended(websocket_frame(2, b"x", final=False), more, most=16 * MIB)

        await self.withstood(proxy, deflate_bomb, many_streams, fragments, incomplete_messages)


class ServerTests(AttackCase):
    """Servers that do what nobody asked for."""

    async def test_answers_at_the_wrong_time(self):
        class Odd(Protocol):
            transport: Any
            factory: Any

            def connectionMade(self) -> None:
                if self.factory.kind == "before":
                    self.transport.write(OK)

            def dataReceived(self, data: bytes) -> None:
                kind = self.factory.kind
                if kind == "twice":
                    self.transport.write(OK * 2)
                elif kind == "garbage":
                    self.transport.write(os.urandom(200_000))
                elif kind == "endless":
                    self.transport.write(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500_000)

        factory: Any = Factory.forProtocol(Odd)
        origin = await self.listen(factory)
        proxy = await self.start(read_timeout="500ms")

        def odd(kind: str, *codes: bytes) -> None:
            factory.kind = kind
            for _ in range(30):
                with connected(proxy.port) as client:
                    client.sendall(get(origin.port, "", b"Connection: close"))
                    answer, _ = read_until(client)
                    assert any(code in answer for code in codes), (kind, answer)

        def odd_servers() -> None:
            odd("before", b" 200 OK", b" 502 ")
            odd("twice", b" 200 OK")
            odd("garbage", b" 502 ")
            odd("endless", b" 502 ")

        def silent_server() -> None:
            factory.kind = "never"
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(proxy.port)) for _ in range(50)]
                for client in clients:
                    client.sendall(get(origin.port, "", b"Connection: close"))
                assert all(b"read-timeout" in answer for answer in all_closed(clients))

        await self.withstood(proxy, odd_servers, silent_server)
