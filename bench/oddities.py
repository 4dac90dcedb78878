"""Clients and servers of which few are well-behaved, for what is left behind of them.

All are in one loop, against a proxy that runs `bench.hooks_leaks`: whoever is due an answer checks
that it gets the right one.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.errors import BenchError
from bench.processes import free_port

_TIMEOUT = 60.0
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ANSWERS: dict[bytes, bytes] = {
    b"/cut": _HEAD + b"a few bytes",
    b"/garbage": b"\x00\x01 what is this\r\n\r\n",
    b"/silent-end": b"",
    b"/half-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/until-the-end": b"HTTP/1.1 200 OK\r\n\r\nall there is",
    b"/chunks": _CHUNKED + b"4\r\nfour\r\n0\r\nT: 1\r\n\r\n",
    b"/bad-chunks": _CHUNKED + b"zz\r\n",
}
"""What the server sends before it closes or, after `_RESETS`, resets the connection."""

_RESETS = (b"/cut", b"/half-head")
_NEVER = b"/never"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Ports:
    """Of the proxy's listeners, all on loopback; ``secure`` is a reverse proxy's with TLS."""

    regular: int
    secure: int


async def misbehave(ports: Ports, times: int) -> int:
    """Do everything ``times`` times; return how many requests that was.

    :raises BenchError: where somebody gets another answer than is due.
    """
    origin = _Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    acts = _acts(ports, server.sockets[0].getsockname()[1])
    try:
        for _ in range(times):
            await asyncio.wait_for(asyncio.gather(*(act() for act in acts)), _TIMEOUT)
    except TimeoutError as problem:
        raise BenchError(f"the odd clients were not done within {_TIMEOUT:g} s") from problem
    finally:
        server.close()
        await origin.end()
    return times * len(acts)


def _acts(ports: Ports, origin: int) -> Sequence[Callable[[], Awaitable[None]]]:
    """Return everything that clients do, once each."""
    ask = partial(_ask, ports.regular)
    at = f"http://127.0.0.1:{origin}"
    nobody = f"127.0.0.1:{free_port()}"
    answers: list[tuple[bytes, bytes]] = [
        (_get(f"{at}/garbage"), b" 502 "),
        (_get(f"{at}/silent-end"), b" 502 "),
        (_get(f"{at}/half-head"), b" 502 "),
        (_get(f"{at}/until-the-end"), b" 200 "),
        (_get(f"{at}/chunks"), b" 200 "),
        (_get(f"http://{nobody}/"), b" 502 "),
        (f"CONNECT {nobody} HTTP/1.1\r\nHost: {nobody}\r\n\r\n".encode(), b" 502 "),
        (b"GET  http://x/  HTTP/9.9\r\n\r\n", b" 505 "),
        (b"POST http://x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", b" 400 "),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n", b" 431 "),
    ]
    acts: list[Callable[[], Awaitable[None]]] = [
        partial(ask, request, status) for request, status in answers
    ]
    acts += [
        # The script kills the one before its server is asked, the servers end the others.
        partial(ask, _get(f"{at}/kill"), None),
        partial(ask, _get(f"{at}/cut"), None),
        partial(ask, _get(f"{at}/bad-chunks"), None),
    ]
    for beginning in (
        b"GE",
        _get(f"{at}/chunks")[:-2],
        _get(f"{at}/never"),
        _get(f"{at}/waits-for-ever"),
        b"POST %b/never HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc" % at.encode(),
        b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % origin,
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ):
        for reset in (True, False):
            acts.append(partial(_leave, ports.regular, beginning, reset))
    for beginning in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\n\r\n"):
        acts.append(partial(_leave, ports.secure, beginning, True))
    return acts


def _get(url: str) -> bytes:
    return f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def _ask(port: int, request: bytes, status: bytes | None) -> None:
    """Send a request and read to the end; ``status`` is what the answer has to begin with.

    None is for those whose answers end early, or never come.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        received = await reader.readuntil(b"\r\n") if status is not None else await reader.read()
        if status is not None and status not in received[:16]:
            raise BenchError(f"{request[:60]!r} got {received[:60]!r}")
        while await reader.read(65536):
            if status is not None and status != b" 200 ":
                break
    except asyncio.IncompleteReadError as problem:
        raise BenchError(f"{request[:60]!r} got {problem.partial[:60]!r}") from problem
    except ConnectionError:
        if status is not None:
            raise
    finally:
        writer.transport.abort()


async def _leave(port: int, beginning: bytes, reset: bool) -> None:
    """Send something and go away, a moment later."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)
    await asyncio.sleep(0.01)
    if reset:
        _reset(writer)
    writer.transport.abort()


def _reset(writer: Writer) -> None:
    """Let the system send a reset when the connection is closed."""
    own: socket.socket = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Origin:
    """A server whose answers are `_ANSWERS`."""

    def __init__(self) -> None:
        self._open: set[Writer] = set()
        self._ended = asyncio.Event()

    async def end(self) -> None:
        """Cut what is still open, and wait until it is gone."""
        while self._open:
            self._ended.clear()
            for writer in self._open:
                writer.transport.abort()
            await self._ended.wait()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answer one request as its path says."""
        self._open.add(writer)
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self._open.discard(writer)
            self._ended.set()

    async def _answer(self, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1]
        if path == _NEVER:
            await reader.read()
            return
        writer.write(_ANSWERS.get(path, b""))
        await writer.drain()
        if path in _RESETS:
            _reset(writer)
            writer.transport.abort()
