"""Servers and next hops that are killed while all kinds of things are under way."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.faults import (
    HELLO,
    LONG,
    FaultCase,
    FaultOrigin,
    Outcome,
    ask_h2,
    ask_plain,
    ask_tls,
    http2_client,
    read_all,
    read_head,
    tunnel,
    way_to,
    websocket_request,
)
from tests.functional.harness import Listener, ProxyProcess, RunningProcess, parse_listening
from tests.functional.test_hostile import Bystander

UNANSWERED = ("none", "head", "upload")
BEGUN = ("length", "chunked")
PATHS = (*UNANSWERED, *BEGUN)

EXPECTED = {
    *("server-disconnected", "server-reset", "tls-truncated", "tls-closed"),
    *("response-truncated", "upstream-proxy-disconnected"),
    # What may be sent again is, to nobody.
    *("connect-refused", "upstream-proxy-unreachable"),
    *("response", "websocket_end", "tcp_end", "clientdisconnect"),
}
"""In what flows may end whose server was killed, and those of others."""


def websocket(proxy: int, origin: int) -> tuple[bytes, bytes]:
    """Open a WebSocket, and read it to its end."""
    with way_to(proxy) as client:
        client.sendall(websocket_request(origin))
        head, _ = read_head(client)
        client.sendall(HELLO)
        data = client.recv(4, socket.MSG_WAITALL)
        assert data == b"\x81\x02ok", (head, data)
        return head, read_all(client)[0]


def raw(proxy: int, origin: int) -> bytes:
    """Say something in a tunnel, and read that to its end."""
    with way_to(proxy) as client:
        assert tunnel(client, f"127.0.0.1:{origin}")
        client.sendall(b"\0word")
        return read_all(client)[0]


def streams(proxy: int, origin: int) -> list[Outcome]:
    """Ask for everything at once, on one connection with HTTP/2."""
    with http2_client(proxy, origin) as client:
        for path in PATHS:
            client.begin(path)
        client.run()
        return list(client.outcomes.values())


class KilledCase(FaultCase):
    """Has all kinds of things under way, and looks at what becomes of them."""

    async def survived(
        self, proxy: ProxyProcess, origin: FaultOrigin, kill: Callable[[], Any]
    ) -> None:
        """Kill something that everything depends on, but for a bystander's requests."""
        port = proxy.port
        other = await self.answering()
        bystander = Bystander(proxy, other)
        served = deferToThread(bystander.run)
        ways: list[tuple[Any, int]] = [(ask_plain, origin.plain), (ask_tls, origin.tls)]
        ways.append((ask_h2, origin.tls))
        try:
            # What is made once and kept is no part of what is left of a fault.
            for ask, to in ways:
                outcome = await deferToThread(ask, port, to, "ok")
                self.assertEqual(outcome, Outcome(200, b"ok", True))
            before = await self.holding(proxy)
            calls = [(ask, port, to, path) for ask, to in ways for path in PATHS]
            running = self.in_threads(
                *calls,
                (streams, port, origin.tls),
                (websocket, port, origin.plain),
                (raw, port, origin.raw),
            )
            await origin.told(*PATHS * 4, "socket", "raw")
            # The beginnings of answers have to come through, too.
            await self.until(lambda: self.begun(len(BEGUN) * 4))
            count = bystander.served
            await kill()
            results = await running
            for (ask, _, _, path), outcome in zip(calls, results, strict=False):
                self.check(path, outcome, ask.__name__)
            for path, outcome in zip(PATHS, results[len(calls)], strict=True):
                self.check(path, outcome, "streams")
            head, frames = results[-2]
            self.assertTrue(head.startswith(b"HTTP/1.1 101"), head)
            # Its client is told, or cut off; it is not told that all was well.
            self.assertNotEqual(frames[2:4], (1000).to_bytes(2, "big"))
            self.assertEqual(results[-1], b"\0word")

            async def served_more() -> bool:
                return bystander.served > count + 20

            await self.until(served_more)
        finally:
            bystander.stop()
            await served
        await self.let_go(proxy, before)
        codes = self.accounts.codes()
        self.assertLessEqual(set(codes), EXPECTED, codes)
        failed = sum(codes[code] for code in EXPECTED if "-" in code)
        # The WebSocket and the tunnel may end either way.
        self.assertGreaterEqual(failed, len(PATHS) * 4, codes)
        self.assertLessEqual(failed, len(PATHS) * 4 + 3, codes)

    async def begun(self, count: int) -> bool:
        """Whether the heads of so many responses have come which have not ended."""
        flows = self.accounts.flows().values()
        events = [[entry[0] for entry in flow] for flow in flows]
        return sum("responseheaders" in each and each[-1] != "response" for each in events) >= count

    def check(self, path: str, outcome: Outcome, way: str) -> None:
        """A client that has no answer gets one; whoever has begun to get one gets no more."""
        told = f"{way} {path}: {outcome}"
        if path in UNANSWERED:
            self.assertEqual((outcome.status, outcome.complete), (502, True), told)
            self.assertIn(b"interceptor: ", outcome.body, told)
        else:
            self.assertEqual((outcome.status, outcome.complete), (200, False), told)
            self.assertLessEqual(len(outcome.body), 1100, told)

    async def serves(self, proxy: ProxyProcess, origin: FaultOrigin) -> None:
        """Everything works as before."""
        ways: Any = ((ask_plain, origin.plain), (ask_tls, origin.tls), (ask_h2, origin.tls))
        for ask, to in ways:
            outcome = await deferToThread(ask, proxy.port, to, "ok")
            self.assertEqual(outcome, Outcome(200, b"ok", True))


class ServerTests(KilledCase):
    """The server is killed."""

    async def test_killed(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty()
        await self.survived(proxy, origin, origin.kill)
        outcome = await deferToThread(ask_plain, proxy.port, origin.plain, "ok")
        self.assertEqual((outcome.status, b"connect-refused" in outcome.body), (502, True))
        again = await self.start_origin(origin.plain, origin.tls, origin.raw)
        await self.serves(proxy, again)


class NextHopTests(KilledCase):
    """The proxy is killed that everything goes through."""

    async def test_http(self):
        await self.hop_killed("http", 0)

    async def test_socks5(self):
        await self.hop_killed("socks5", 1)

    async def start_hop(self, *ports: int) -> tuple[RunningProcess, list[Listener]]:
        first, second = ports or (0, 0)
        process = self.start_process(
            *(sys.executable, "-m", "interceptor", "run", "--set", "confdir=hop"),
            *("--set", "flow_detail=0", "--set", "ignore_hosts=.*"),
            *("--mode", f"regular@127.0.0.1:{first}", "--mode", f"socks5@127.0.0.1:{second}"),
        )
        await process.until(lambda process: len(parse_listening(process.out)) == 2)
        return process, parse_listening(process.out)

    async def hop_killed(self, scheme: str, number: int) -> None:
        origin = await self.start_origin()
        hop, listeners = await self.start_hop()
        # The other server is reached without it, for so the script wants it.
        script = (
            "def serverconnect(conn):\n"
            f"    if conn.address[1] not in {(origin.plain, origin.tls, origin.raw)}:\n"
            "        conn.via = None\n"
        )
        proxy = await self.start_faulty(
            f"upstream:{scheme}://127.0.0.1:{listeners[number].port}", script=script
        )

        async def kill() -> None:
            hop.signal(signal.SIGKILL)
            await hop.ended(LONG)

        await self.survived(proxy, origin, kill)
        outcome = await deferToThread(ask_plain, proxy.port, origin.plain, "ok")
        self.assertEqual(outcome.status, 502)
        self.assertIn(b"upstream-proxy-unreachable", outcome.body)
        await self.start_hop(*(listener.port for listener in listeners))
        await self.serves(proxy, origin)
