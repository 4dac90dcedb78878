"""An HTTP/1.1 origin for machines without nginx.

``python -m bench.pyorigin CHAIN KEY PLAIN TLS RESUMABLE NAME=SIZE…`` answers ``GET /NAME`` with
SIZE zero bytes on three ports: without TLS, with TLS, and with TLS whose sessions can be resumed.
It understands what the benchmarks send and no more: requests without a body, in origin or absolute
form.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import Mapping
from typing import cast

_PIECE = bytes(256 * 1024)


class OriginProtocol(asyncio.Protocol):
    """One connection. A body is written in pieces, no faster than the client reads."""

    def __init__(self, sizes: Mapping[bytes, int]) -> None:
        self._sizes = sizes
        self._received = b""
        self._owed = 0
        self._writable = True
        self._close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._go_on()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._go_on()

    def _go_on(self) -> None:
        while not self._close or self._owed:
            while self._owed:
                if not self._writable:
                    return
                piece = _PIECE[: self._owed]
                self._owed -= len(piece)
                self._transport.write(piece)
            if self._close:
                break
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self._received = rest
            self._answer(head)
        self._transport.close()

    def _answer(self, head: bytes) -> None:
        target = head.split(b" ", 2)[1]
        size = self._sizes.get(target.rpartition(b"/")[2])
        status = b"404 Not Found" if size is None else b"200 OK"
        size = size or 0
        self._close = b"connection: close" in head.lower()
        answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n" % (status, size)
        answer += b"Connection: close\r\n\r\n" if self._close else b"\r\n"
        if size <= len(_PIECE):
            self._transport.write(answer + _PIECE[:size])
        else:
            self._transport.write(answer)
            self._owed = size


def tls_context(chain: str, key: str, resumable: bool) -> ssl.SSLContext:
    """Return what TLS is spoken with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    if not resumable:
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


async def serve(sizes: Mapping[bytes, int], listeners: Mapping[int, ssl.SSLContext | None]) -> None:
    """Serve on the ports of ``listeners`` until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    servers = [
        await loop.create_server(
            lambda: OriginProtocol(sizes), "127.0.0.1", port, backlog=4096, ssl=context
        )
        for port, context in listeners.items()
    ]
    print(f"listening: origin on 127.0.0.1:{min(listeners)}", flush=True)
    await ended.wait()
    for server in servers:
        server.close()


def main(arguments: list[str]) -> None:
    """Parse the arguments and serve."""
    chain, key, *ports = arguments[:6]
    plain, tls, resumable, _ = map(int, ports)
    listeners = {
        plain: None,
        tls: tls_context(chain, key, False),
        resumable: tls_context(chain, key, True),
    }
    named = (argument.partition("=") for argument in arguments[6:])
    asyncio.run(serve({name.encode(): int(size) for name, _, size in named}, listeners))


if __name__ == "__main__":
    main(sys.argv[1:])
