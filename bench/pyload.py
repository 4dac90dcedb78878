"""An HTTP/1.1 load generator for machines without wrk.

It knows responses with a Content-Length, which is all that the origin gives. It needs about as much
CPU time as a good proxy does, so on a shared core the report's CPU columns count more than rates.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class Tally:
    """What all connections of one run saw together."""

    def __init__(self) -> None:
        self.requests = 0
        self.received = 0
        self.seconds = 0.0
        self.errors: Counter[str] = Counter()
        self.times: list[float] = []
        self.stopped = False

    def percentile(self, percent: float) -> float:
        """Return the response time that ``percent`` of the responses did not exceed, in µs."""
        if not self.times:
            return 0.0
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1e6


@dataclass(frozen=True, slots=True)
class Opening:
    """What asks a proxy for a tunnel, and how its answer begins and, if that is text, ends."""

    request: bytes = b""
    answer: bytes = b""
    size: int = 0
    """The length of the answer in bytes; 0 where an empty line ends it."""

    def complete(self, answer: bytes) -> bool:
        """Tell whether the answer is all there."""
        return len(answer) >= self.size if self.size else answer.endswith(b"\r\n\r\n")


DIRECT = Opening()
"""No tunnel: the request is all that is sent."""


def connect_opening(host: str, port: int) -> Opening:
    """Return what asks an HTTP proxy for a tunnel."""
    name = f"{host}:{port}"
    request = f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n"
    return Opening(request.encode(), b"HTTP/1.1 200 ")


def socks_opening(host: str, port: int) -> Opening:
    """Return what asks a SOCKS 5 proxy for one to an IPv4 address, which answers with another."""
    address = socket.inet_aton(host) + port.to_bytes(2, "big")
    return Opening(b"\x05\x01\x00\x05\x01\x00\x01" + address, b"\x05\x00\x05\x00", 12)


class LoadProtocol(asyncio.Protocol):
    """One connection: sends ``request``, waits for the whole response, and so on.

    The first thing on it is the ``opening`` of a tunnel, if there is to be one.
    """

    def __init__(self, request: bytes, tally: Tally, opening: Opening = DIRECT) -> None:
        self._request = request
        self._tally = tally
        self._opening = opening
        self._opened = not opening.request
        self._head = b""
        self._missing = -1  # bytes of the body; -1 while the head is incomplete
        self._last = False
        self._asked = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._opened:
            self._ask()
        else:
            self._transport.write(self._opening.request)

    def _ask(self) -> None:
        self._head = b""
        self._missing = -1
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._opened:
            self._head += data
            if len(self._head) < len(self._opening.answer):
                return
            if not self._head.startswith(self._opening.answer):
                self._tally.errors["tunnel"] += 1
                self._transport.abort()
                return
            if self._opening.complete(self._head):
                self._opened = True
                self._ask()
            return
        self._tally.received += len(data)
        if self._missing >= 0:
            self._missing -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            if head.split(b" ", 2)[1] != b"200" or length is None:
                self._tally.errors["status"] += 1
                self._transport.abort()
                return
            self._last = _CLOSE.search(head) is not None
            self._missing = int(length[1]) - len(body)
        if self._missing < 0:
            self._tally.errors["read"] += 1
            self._transport.abort()
        elif self._missing == 0:
            self._complete()

    def _complete(self) -> None:
        tally = self._tally
        tally.requests += 1
        tally.times.append(time.perf_counter() - self._asked)
        if tally.stopped or self._last:
            self._asked = 0.0
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        # A response that the end of the run cut off is no error.
        if self._missing != 0 and not self._tally.stopped:
            self._tally.errors["read"] += 1
        if not self.ended.done():
            self.ended.set_result(None)


def run(
    host: str,
    port: int,
    request: bytes,
    connections: int,
    seconds: float,
    tls: bool = False,
    opening: Opening = DIRECT,
) -> Tally:
    """Send ``request`` over and over for ``seconds``; a connection that ends is made anew.

    With ``tls`` each connection makes a full handshake, without a look at the certificate. With an
    ``opening`` each one begins as a tunnel.
    """
    return asyncio.run(_run(host, port, request, connections, seconds, tls, opening))


async def _run(
    host: str,
    port: int,
    request: bytes,
    connections: int,
    seconds: float,
    tls: bool,
    opening: Opening,
) -> Tally:
    tally = Tally()
    loop = asyncio.get_running_loop()
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    async def connect_again_and_again() -> None:
        while not tally.stopped:
            try:
                _, protocol = await loop.create_connection(
                    lambda: LoadProtocol(request, tally, opening), host, port, ssl=context
                )
            except OSError:
                tally.errors["connect"] += 1
                await asyncio.sleep(0.05)  # a refusing port is not worth a busy loop
                continue
            await protocol.ended

    started = time.perf_counter()
    tasks = [asyncio.create_task(connect_again_and_again()) for _ in range(connections)]
    await asyncio.sleep(seconds)
    tally.stopped = True
    tally.seconds = time.perf_counter() - started
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return tally
