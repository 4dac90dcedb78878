"""Attacks below HTTP and beside it: TLS, DNS, mail, Redis, event streams, small messages."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import struct
from base64 import b64encode
from hashlib import sha1
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from tests.functional.harness import ProxyProcess
from tests.functional.pki import ServerContexts
from tests.functional.test_attacks import (
    AttackCase,
    all_closed,
    send_until_refused,
    websocket_frame,
)
from tests.functional.test_hostile import MIB, connected, get, read_until
from tests.keyupdates import KeyUpdates
from tests.net.certificates import issue
from tests.wire.hellos import by_ssl

SEEING = """
def websocket_message(flow): pass
def sse_event(flow): pass
def smtp_command(flow): pass
def redis_command(flow): pass
def dns_request(flow): pass
"""


class Reading(Protocol):
    """A server that reads, and says no more than a greeting."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.transport.write(self.factory.greeting)


def reading(greeting: bytes = b"") -> Any:
    """Make such servers."""
    factory: Any = Factory.forProtocol(Reading)
    factory.greeting = greeting
    return factory


class TLSTests(AttackCase):
    def tunnel(self, proxy: ProxyProcess, port: int) -> socket.socket:
        """Ask for a tunnel; the caller closes it."""
        client = socket.create_connection(("127.0.0.1", proxy.port), 30)
        client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % port)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        return client

    async def test_handshakes(self):
        proxy = await self.start(
            tls_timeout="500ms",
            head_timeout="500ms",
            idle_timeout="1s",
            tunnel_idle_timeout="1s",
            detect_timeout="500ms",
        )
        silent = await self.listen(reading())
        hello = by_ssl()

        def stalled(said: bytes) -> None:
            with contextlib.ExitStack() as stack:
                clients = []
                for _ in range(40):
                    clients.append(self.tunnel(proxy, silent.port))
                    stack.enter_context(clients[-1])
                    clients[-1].sendall(said)
                all_closed(clients)

        def nothing() -> None:
            stalled(b"")

        def half_a_hello() -> None:
            stalled(hello[: len(hello) // 2])

        def a_server_that_stalls() -> None:
            # It is asked first, and says nothing.
            stalled(hello)

        await self.withstood(proxy, nothing, half_a_hello, a_server_that_stalls)

    async def test_keys_that_change_again_and_again(self):
        contexts = ServerContexts(issue("127.0.0.1"))
        origin = await self.listen(reading(), contexts)
        proxy = await self.start(ssl_insecure="true")

        def key_updates() -> None:
            with self.tunnel(proxy, origin.port) as client:
                updates = KeyUpdates(client, "127.0.0.1", self.directory / "keys")
                for _ in range(60):
                    client.sendall(b"".join([updates.next() for _ in range(100)]))

        await self.withstood(proxy, key_updates)


class DNSTests(AttackCase):
    async def test_garbage(self):
        silent = await self.listen(reading())
        proxy = await self.start(
            "regular", f"dns:127.0.0.1:{silent.port}", script=SEEING, dns_timeout="500ms"
        )
        port = proxy.listeners[1].port
        query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01"
        pointers = query[:12] + b"\xc0\x0c" * 100 + b"\0\x01\0\x01"
        counts = query[:4] + b"\xff" * 8 + query[12:]

        def datagrams() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.1", port))
                for number in range(3000):
                    for piece in (b"", os.urandom(100), pointers, counts):
                        # Nobody need listen there yet, or any more.
                        with contextlib.suppress(ConnectionError):
                            client.send(piece)
                    if number % 10 == 0:
                        with contextlib.suppress(ConnectionError):
                            client.send(struct.pack("!H", number) + query[2:])

        def streams() -> None:
            framed = struct.pack("!H", len(query)) + query
            for data in (
                os.urandom(100_000),
                struct.pack("!H", 65535) + b"x" * 100,
                struct.pack("!H", len(counts)) + counts,
                struct.pack("!H", 0) * 50_000,
                framed * 200,
            ):
                with connected(port) as client:
                    with contextlib.suppress(OSError):
                        client.sendall(data)
                        client.shutdown(socket.SHUT_WR)
                    read_until(client)

        await self.withstood(proxy, datagrams, streams)


class MailTests(AttackCase):
    async def test_what_is_said_before_tls(self):
        """It is not taken for what is said in TLS, by neither side (CVE-2011-0411 and others)."""
        received: list[bytes] = []

        class Server(Protocol):
            transport: Any

            def connectionMade(self) -> None:
                self.transport.write(b"220 hello\r\n")

            def dataReceived(self, data: bytes) -> None:
                received.append(data)
                if data.startswith(b"EHLO"):
                    self.transport.write(b"250-hello\r\n250 STARTTLS\r\n")
                elif data.startswith(b"STARTTLS"):
                    self.transport.write(b"220 go on\r\n250 injected\r\n")

        origin = await self.listen(Factory.forProtocol(Server))
        proxy = await self.start(
            "regular",
            f"reverse:tcp://127.0.0.1:{origin.port}",
            tls_timeout="1s",
            close_timeout="500ms",
        )

        def injections() -> None:
            for said in (b"STARTTLS\r\nMAIL FROM:<eve@test>\r\n", b"STARTTLS\r\n" + by_ssl()):
                with connected(proxy.listeners[1].port) as client:
                    read_until(client, b"hello\r\n")
                    client.sendall(b"EHLO me\r\n")
                    read_until(client, b"STARTTLS\r\n")
                    client.sendall(said)
                    answer, _ = read_until(client)
                    assert b"injected" not in answer, answer

        await self.withstood(proxy, injections)
        self.assertNotIn(b"MAIL", b"".join(received))


class MessageTests(AttackCase):
    """Much in small pieces, and nobody who answers."""

    async def test_commands(self):
        mail = await self.listen(reading(b"220 hello\r\n"))
        redis = await self.listen(reading())
        proxy = await self.start(
            "regular",
            f"reverse:smtp://127.0.0.1:{mail.port}",
            f"reverse:redis://127.0.0.1:{redis.port}",
            script=SEEING,
            read_timeout="1s",
            close_timeout="500ms",
        )

        def unanswered(listener: int, piece: bytes) -> None:
            with connected(proxy.listeners[listener].port) as client:
                # At some point nothing is taken, and then the server is given up: what follows is
                # dropped for a while.
                send_until_refused(client, piece, 128 * MIB)
                read_until(client)

        def smtp() -> None:
            unanswered(1, b"NOOP\r\n" * 20_000)

        def what_follows_a_greeting() -> None:
            unanswered(1, b"EHLO me\r\n" * 20_000)

        def redis_commands() -> None:
            unanswered(2, b"PING\r\n" * 20_000)

        def large_redis_commands() -> None:
            unanswered(2, b"*2\r\n$4\r\nECHO\r\n$1000000\r\n" + bytes(1_000_000) + b"\r\n")

        attacks = (smtp, what_follows_a_greeting, redis_commands, large_redis_commands)
        await self.withstood(proxy, *attacks)

    async def test_events(self):
        class Streaming(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                body = bodies[data.split(b" ")[1]]
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )

        # A few kilobytes each.
        bodies = {
            b"/events": gzip.compress(b"data\n\n" * 100_000),
            b"/nothing": gzip.compress(b"\n" * 2_000_000),
            b"/an-event": gzip.compress(b"data: x\n" * 500_000),
        }
        origin = await self.listen(Factory.forProtocol(Streaming))
        proxy = await self.start(script=SEEING)

        def event_bombs() -> None:
            for path in bodies:
                with connected(proxy.port) as client:
                    client.settimeout(60)
                    client.sendall(get(origin.port, path[1:].decode(), b"Connection: close"))
                    answer, _ = read_until(client)
                    assert len(answer) > 500_000, answer[:500]

        await self.withstood(proxy, event_bombs, peak=96 * MIB)

    async def test_websockets(self):
        class Upgrading(Protocol):
            transport: Any
            upgraded = False

            def dataReceived(self, data: bytes) -> None:
                if not self.upgraded:
                    self.upgraded = True
                    self.transport.write(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                        b"Upgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
                    )
                    self.transport.write(frames)

        key = b64encode(bytes(16))
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        # Unmasked, of the server's: empty messages, and pings.
        frames = b"\x82\0\x89\0" * 20_000
        origin = await self.listen(Factory.forProtocol(Upgrading))
        proxy = await self.start(script=SEEING)
        upgrade = get(
            origin.port,
            "",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: " + key,
        )

        def sent(data: bytes) -> None:
            with connected(proxy.port) as client:
                client.settimeout(60)
                client.sendall(upgrade)
                answer, _ = read_until(client, frames)
                assert answer.endswith(frames), answer[:500]
                client.sendall(data + websocket_frame(8, b"\x03\xe8"))
                read_until(client, b"\x88\x02\x03\xe8")

        def empty_messages() -> None:
            sent(websocket_frame(2, b"") * 20_000)

        def small_fragments() -> None:
            one = websocket_frame(0, b"x", final=False)
            sent(websocket_frame(2, b"", final=False) + one * 20_000 + websocket_frame(0, b""))

        def pings() -> None:
            sent((websocket_frame(9, b"") + websocket_frame(10, b"")) * 10_000)

        await self.withstood(proxy, empty_messages, small_fragments, pings)
