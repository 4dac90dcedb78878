"""What has brought HTTP/2 servers and proxies down, from clients and from servers."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from tests.functional.harness import Origin, ProxyProcess
from tests.functional.test_attacks import AttackCase
from tests.functional.test_hostile import MIB, PATIENCE, connected, read_until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
WHOLE = END_STREAM | END_HEADERS
HELLO = PREFACE + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0))
# An indexed field of the static table: the status 200.
OK = b"\x88"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2 (RFC 9113 section 4.1)."""
    size = len(payload)
    return struct.pack("!HBBBL", size >> 8, size & 255, kind, flags, stream) + payload


def request_to(origin: Origin, path: bytes = b"") -> bytes:
    """Return a header block of a GET, without a use of the dynamic table (RFC 7541)."""
    authority = b"127.0.0.1:%d" % origin.port
    target = b"\x04" + bytes([len(path)]) + path if path else b"\x84"
    return b"\x82\x86" + target + b"\x01" + bytes([len(authority)]) + authority


def gone(data: bytes) -> bool:
    """Whether frames have a GOAWAY that names an error (RFC 9113 section 6.8)."""
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        if data[3] == GOAWAY:
            return data[13:17] != bytes(4)
        data = data[9 + length :]
    return False


def read_to(client: socket.socket, *ends: bytes) -> bytes:
    """Read until any of these has come, or the end of the connection."""
    data = b""
    while not any(end in data for end in ends):
        piece = client.recv(65536)
        if not piece:
            break
        data += piece
    return data


FINISHED = frame(PING, 0, 0, b"finished")
"""Sent last; the answer to it says that all before it has been read."""
READ = frame(PING, 1, 0, b"finished")
RESET = frame(RST_STREAM, 0, 0, bytes(4))[:5]


class ClientTests(AttackCase):
    """Clients that ask for much that costs them nothing."""

    async def begin(self, **options: str) -> None:
        options.setdefault("close_timeout", "500ms")
        self.proxy = await self.start(h2_cleartext="true", **options)
        self.request = request_to(await self.answering())

    def refused(
        self, make: Callable[[int], bytes], count: int = 20_000, begin: bytes = HELLO
    ) -> None:
        """Send so many of what is made of a number; at some point the proxy ends it."""
        with connected(self.proxy.port) as client:
            client.sendall(begin)
            with contextlib.suppress(OSError):
                for start in range(0, count, 50):
                    client.sendall(b"".join(map(make, range(start, start + 50))))
            answer, clean = read_until(client)
            assert gone(answer) or not clean, "nobody minds"

    async def test_resets(self):
        await self.begin()
        request = self.request

        def reset_by(kind: int, payload: bytes) -> Callable[[int], bytes]:
            def make(number: int) -> bytes:
                stream = 2 * number + 1
                return frame(HEADERS, WHOLE, stream, request) + frame(kind, 0, stream, payload)

            return make

        def rapid_reset() -> None:
            self.refused(reset_by(RST_STREAM, b"\0\0\0\x08"))

        def made_you_reset() -> None:
            # Each is an error of its stream alone: it is the proxy that resets it.
            self.refused(reset_by(WINDOW_UPDATE, bytes(4)))
            self.refused(reset_by(WINDOW_UPDATE, b"\x7f\xff\xff\xff"))
            self.refused(reset_by(DATA, b"x"))
            self.refused(reset_by(PRIORITY, bytes(4)))
            self.refused(reset_by(HEADERS, request))

        def malformed_heads() -> None:
            self.refused(lambda n: frame(HEADERS, WHOLE, 2 * n + 1, b"\x82\x00\x01X\x01y"))

        def too_many_streams() -> None:
            self.refused(lambda n: frame(HEADERS, END_HEADERS, 2 * n + 1, request))

        await self.withstood(
            self.proxy, rapid_reset, made_you_reset, malformed_heads, too_many_streams
        )

    async def test_frames_without_use(self):
        await self.begin()
        request = self.request
        opened = HELLO + frame(HEADERS, END_HEADERS, 1, request)

        def continuation() -> None:
            begin = HELLO + frame(HEADERS, END_STREAM, 1, request)
            self.refused(lambda n: frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"), begin=begin)
            self.refused(lambda n: frame(CONTINUATION, 0, 1), begin=begin)

        def settings() -> None:
            self.refused(lambda n: frame(SETTINGS, 0, 0), 100_000)
            # With streams whose windows change each time.
            streams = [frame(HEADERS, END_HEADERS, 2 * n + 1, request) for n in range(100)]
            pairs = b"\0\x04\0\0\0\x01\0\x04\0\0\0\x02" * 1365
            self.refused(lambda n: frame(SETTINGS, 0, 0, pairs), 100, HELLO + b"".join(streams))

        def pings() -> None:
            self.refused(lambda n: frame(PING, 0, 0, bytes(8)), 100_000)
            self.refused(lambda n: frame(PING, 1, 0, bytes(8)), 100_000)

        def others() -> None:
            self.refused(lambda n: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), 100_000)
            self.refused(lambda n: frame(99, 0, 1, b"\0\0\0\0\x10"), 100_000)
            self.refused(lambda n: frame(GOAWAY, 0, 0, bytes(8)), 100_000)
            self.refused(lambda n: frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"), 100_000, opened)
            self.refused(lambda n: frame(DATA, 0, 1), 100_000, opened)
            self.refused(lambda n: frame(DATA, PADDED, 1, b"\x01\0"), 100_000, opened)

        await self.withstood(self.proxy, continuation, settings, pings, others)

    async def test_small_data(self):
        """It is data: it is taken, and passed on, but nobody waits for it."""
        await self.begin(request_body_rate="0")
        request = self.request

        def answered(count: int, make: Callable[[int], bytes]) -> None:
            with connected(self.proxy.port) as client:
                heads = [frame(HEADERS, END_HEADERS, 2 * n + 1, request) for n in range(count)]
                client.sendall(HELLO + b"".join(heads))
                for start in range(0, 30_000, 1000):
                    client.sendall(b"".join(map(make, range(start, start + 1000))))
                ends = [frame(DATA, END_STREAM, 2 * n + 1, b"x") for n in range(count)]
                client.sendall(b"".join(ends) + FINISHED)
                assert READ in read_to(client, READ)

        def padded() -> None:
            answered(1, lambda n: frame(DATA, PADDED, 1, b"\x01x\0"))

        def in_turn() -> None:
            answered(90, lambda n: frame(DATA, 0, 2 * (n % 90) + 1, b"x"))

        await self.withstood(self.proxy, padded, in_turn)

    async def test_header_compression(self):
        await self.begin()
        request = self.request

        def much_of_little() -> None:
            # A field of nearly 4 KiB goes into the table, and is named again and again.
            large = request + b"\x40\x01x\x7f\x81\x1e" + b"y" * 4000
            self.refused(
                lambda n: frame(HEADERS, WHOLE, 2 * n + 3, request + b"\xbe" * 12_000),
                400,
                HELLO + frame(HEADERS, WHOLE, 1, large + b"\xbe" * 10),
            )

        def fields_beyond_the_limit() -> None:
            # Not so many that the connection would be given up at once.
            self.refused(lambda n: frame(HEADERS, WHOLE, 2 * n + 1, request + b"\x82" * 6000))

        def table_sizes() -> None:
            churn = b"\x20\x3f\xe1\x1f" * 4000
            self.refused(lambda n: frame(HEADERS, WHOLE, 2 * n + 1, churn + request), 50)

        def table_entries() -> None:
            # As many fields as there may be, each a new entry that pushes another one out.
            block = request + b"\x40\x01x\x00" * 900
            with connected(self.proxy.port) as client:
                client.sendall(HELLO)
                for number in range(200):
                    client.sendall(frame(HEADERS, WHOLE, 2 * number + 1, block))
                client.sendall(FINISHED)
                assert READ in read_to(client, READ)

        def long_strings() -> None:
            # 128 KiB of Huffman code, of five bits for each byte.
            size = b"\x7f\x81\xff\x07"
            pieces = [frame(CONTINUATION, 0, 1, bytes(16384)) for _ in range(8)]
            begin = frame(HEADERS, END_STREAM, 1, request + b"\x00\x01x" + b"\xff" + size[1:])
            self.refused(lambda n: b"".join(pieces), 50, HELLO + begin)

        await self.withstood(
            self.proxy,
            much_of_little,
            fields_beyond_the_limit,
            table_sizes,
            table_entries,
            long_strings,
        )

    async def test_windows_that_stay_shut(self):
        """Answers of which nothing may leave take no memory, and not for ever."""

        class Sending(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                size = 2 * MIB
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                self.transport.write(bytes(size))

        request = request_to(await self.listen(Factory.forProtocol(Sending)))
        for script in ("", None):
            hooks = {} if script is None else {"script": script}
            await self.begin(write_timeout="1s", **hooks)

            def shut(settings: bytes, more: bytes) -> None:
                with connected(self.proxy.port) as client:
                    client.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
                    for number in range(100):
                        client.sendall(frame(HEADERS, WHOLE, 2 * number + 1, request))
                        if more:
                            client.sendall(frame(WINDOW_UPDATE, 0, 2 * number + 1, more))
                    client.settimeout(PATIENCE * 4)
                    data = b""
                    # Every stream is given up, as the client does not read.
                    while data.count(RESET) < 100:
                        piece = client.recv(65536)
                        assert piece, data
                        data += piece
                    assert len(data) < 300_000, len(data)

            def no_window() -> None:
                # SETTINGS_INITIAL_WINDOW_SIZE
                shut(b"\0\x04\0\0\0\0", b"")

            def a_byte() -> None:
                shut(b"\0\x04\0\0\0\0", b"\0\0\0\x01")

            await self.withstood(self.proxy, no_window, a_byte)


class Flooding(Protocol):
    """A server of HTTP/2 that answers the first request with what its factory says."""

    transport: Any
    factory: Any
    begun = False

    def connectionMade(self) -> None:
        self.transport.write(frame(SETTINGS, 0, 0))

    def dataReceived(self, data: bytes) -> None:
        if not self.begun:
            self.begun = True
            for piece in self.factory.answer:
                self.transport.write(piece)


class ServerTests(AttackCase):
    """Servers that flood the proxy, in an answer to one request."""

    async def begin(self) -> ProxyProcess:
        self.factory: Any = Factory.forProtocol(Flooding)
        origin = await self.listen(self.factory)
        self.request = request_to(origin)
        return await self.start(
            "regular",
            f"reverse:http://127.0.0.1:{origin.port}",
            h2_cleartext="true",
            close_timeout="500ms",
            read_timeout="2s",
            write_timeout="2s",
        )

    def answered_by(self, proxy: ProxyProcess, ends: tuple[bytes, ...], *answer: bytes) -> bytes:
        """Ask for what the server answers so; return what the client is told up to an end."""
        self.factory.answer = answer
        with connected(proxy.listeners[1].port) as client:
            client.settimeout(PATIENCE * 4)
            client.sendall(HELLO + frame(HEADERS, WHOLE, 1, self.request))
            data = read_to(client, *ends)
            assert any(end in data for end in ends), data
            return data

    async def test_floods(self):
        proxy = await self.begin()

        def refused(*answer: bytes) -> None:
            self.answered_by(proxy, (b"502 Bad Gateway", b"504 Gateway", RESET), *answer)

        def settings() -> None:
            refused(frame(SETTINGS, 0, 0) * 50_000)
            refused(frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x01" * 2730) * 50)

        def pings() -> None:
            refused(frame(PING, 0, 0, bytes(8)) * 50_000)

        def windows() -> None:
            refused(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") * 50_000)
            refused(frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff") * 2)

        def informational() -> None:
            # 103 with all the fields that there may be, and no final answer.
            early = b"\x08\x03103" + b"\x00\x01x\x01y" * 900
            refused(frame(HEADERS, END_HEADERS, 1, early) * 2000)

        def continuation() -> None:
            refused(frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, 0, 1) * 50_000)

        def header_compression() -> None:
            large = b"\x40\x01x\x7f\x81\x1e" + b"y" * 4000
            refused(frame(HEADERS, END_HEADERS, 1, OK + large + b"\xbe" * 12_000))

        def silence() -> None:
            refused()

        def pushes() -> None:
            refused(frame(5, END_HEADERS, 1, b"\0\0\0\x02" + self.request) * 1000)

        await self.withstood(
            proxy,
            settings,
            pings,
            windows,
            informational,
            continuation,
            header_compression,
            silence,
            pushes,
        )

    async def test_small_data(self):
        proxy = await self.begin()
        head = frame(HEADERS, END_HEADERS, 1, OK)

        def small() -> None:
            end = frame(DATA, END_STREAM, 1)
            data = frame(DATA, PADDED, 1, b"\x01x\0") * 30_000
            assert RESET not in self.answered_by(proxy, (end[3:], RESET), head, data, end)

        def empty() -> None:
            self.answered_by(proxy, (b"502 Bad Gateway", RESET), head + frame(DATA, 0, 1) * 50_000)

        await self.withstood(proxy, small, empty)
