"""What becomes of requests when HTTP/2 connections end, and when one of their streams is stuck."""

from __future__ import annotations

import signal
from typing import Any

import h2.events

from tests.functional.harness import reactor, require, sleep
from tests.functional.http2origins import HTTP2TestCase, peak_memory, seen, start_nginx
from tests.layers.h2peers import H2Peer


def get(client: H2Peer, path: str, *fields: tuple[str, str], method: str = "GET") -> int:
    """Send a request without a body; give its stream."""
    stream: int = client.h2.get_next_available_stream_id()
    head = [
        (":method", method),
        (":authority", "localhost"),
        (":scheme", "https"),
        (":path", path),
        *fields,
    ]
    client.h2.send_headers(stream, head, end_stream=True)
    client.flush()
    return stream


async def finished(client: H2Peer, *streams: int) -> None:
    """Wait for the end of responses."""
    await seen(lambda: client.finished.issuperset(streams), client)


class ShutdownTests(HTTP2TestCase):
    """SIGTERM under load: what was begun is finished, and clients know what was not."""

    async def test_in_front_of_a_server(self):
        await self.check("reverse:https://localhost:{port}")

    async def test_in_a_tunnel(self):
        await self.check("regular")

    async def check(self, mode: str) -> None:
        served: list[bytes] = []

        def answer(peer: H2Peer, event: Any) -> None:
            if isinstance(event, h2.events.StreamEnded):
                served.append(peer.field(event.stream_id, b":path") or b"")
                reactor().callLater(0.3, send, peer, event.stream_id)

        def send(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "200")])
            peer.h2.send_data(stream, peer.field(stream, b":path") or b"", end_stream=True)
            peer.flush()

        origin, peers = await self.start_h2_peers(answer)
        proxy = await self.start_tls_proxy(
            mode.format(port=origin.port), options=["shutdown_grace=60s"]
        )
        tunnel = origin.port if mode == "regular" else None
        client = await self.connect_h2(proxy.port, tunnel)
        await seen(lambda: bool(client.events), client)
        streams = [get(client, f"/{number}") for number in range(20)]

        def go_on(event: Any) -> None:
            # As many as before, for as long as there is nothing final against it.
            if isinstance(event, h2.events.StreamEnded) and len(client.goaway) < 2:
                streams.append(get(client, f"/{len(streams)}"))

        client.on_event = go_on
        await seen(lambda: len(client.finished) >= 40, client)
        under_way = len(streams) - len(client.finished)
        proxy.process.signal(signal.SIGTERM)
        await proxy.process.ended(60)
        await self.until_closed(client)
        # First that there is to be an end, then which requests it is the end of.
        self.assertEqual([each.error_code for each in client.goaway[:2]], [0, 0])
        self.assertEqual(client.goaway[0].last_stream_id, 2**31 - 1)
        last = client.goaway[-1].last_stream_id
        kept = [stream for stream in streams if stream <= last]
        self.assertGreaterEqual(len(kept), 40 + under_way)
        for stream in kept:
            self.assertIn(stream, client.finished)
            self.assertEqual(client.field(stream, b":status"), b"200")
            self.assertEqual(client.bodies[stream], b"/%d" % streams.index(stream))
        self.assertEqual(client.resets, {})
        self.assertEqual([peer.resets for peer in peers], [{}])
        # What clients send again elsewhere has not been seen here.
        self.assertEqual(sorted(served), sorted(b"/%d" % n for n in range(len(kept))))

    async def until_closed(self, client: H2Peer) -> None:
        while client.lost is None:
            await sleep(0.01)


class TiredServerTests(HTTP2TestCase):
    """A server that says GOAWAY every 100 requests, and closes after a second without any."""

    timeout = 240

    async def test_no_get_fails_and_no_post_is_seen_twice(self):
        h2load = require("h2load")
        ports = await start_nginx(self, keepalive_requests=100, keepalive_timeout=1)
        self.write("served/small", b"x" * 100)
        proxy = await self.start_tls_proxy(f"reverse:https://localhost:{ports.tls}")
        body = self.write("body", b"y" * 1000)
        front = f"https://localhost:{proxy.port}"
        for count, more in ((10_000, ["/small"]), (2000, ["/upload", "-d", str(body)])):
            path, *more = more
            completed = await self.check_program(
                h2load, "-n", str(count), "-c", "10", "-m", "10", *more, front + path,
                timeout=150,
            )  # fmt: skip
            report = completed.out.decode()
            self.assertIn(f"{count} succeeded, 0 failed, 0 errored, 0 timeout", report)
            self.assertIn(f"status codes: {count} 2xx", report)
        asked = (self.directory / "access.log").read_text().splitlines()
        self.assertEqual(asked.count("GET /small 200 100"), 10_000)
        self.assertEqual(sum(line.startswith("POST /version") for line in asked), 2000)

    async def test_connections_that_were_idle(self):
        ports = await start_nginx(self, keepalive_timeout=1)
        proxy = await self.start_tls_proxy(f"reverse:https://localhost:{ports.tls}")
        client = await self.connect_h2(proxy.port)
        for number in range(4):
            for method in ("GET", "POST"):
                stream = get(client, f"/version?{method}{number}", method=method)
                await finished(client, stream)
                self.assertEqual(client.bodies[stream], f"HTTP/2.0 {method} \n".encode())
            await sleep(1.2)
        self.assertEqual(client.resets, {})
        asked = (self.directory / "access.log").read_text().splitlines()
        self.assertEqual(len(asked), 8, asked)


class StuckStreamTests(HTTP2TestCase):
    """A client that does not read some streams; the others are not concerned."""

    async def test_others_go_on_in_bounded_memory(self):
        ports = await start_nginx(self)
        self.write("served/small", b"x" * 1000)
        with (self.served / "huge").open("wb") as file:
            file.truncate(200 << 20)
        proxy = await self.start_tls_proxy(f"reverse:https://localhost:{ports.tls}")
        # All together may have 32 MiB under way, each one of them 256 KiB.
        client = await self.connect_h2(proxy.port, initial_window_size=262144)
        client.h2.increment_flow_control_window(32 << 20)
        client.flush()
        client.credit = False
        stream = get(client, "/small")
        await finished(client, stream)
        assert proxy.process.transport is not None
        pid = proxy.process.transport.pid
        before = peak_memory(pid)
        stuck = [get(client, "/huge") for _ in range(10)]
        await seen(lambda: all(len(client.bodies[each]) == 262144 for each in stuck), client)
        for _ in range(10):
            streams = [get(client, "/small") for _ in range(50)]
            await finished(client, *streams)
            for each in streams:
                self.assertEqual(client.bodies[each], b"x" * 1000)
        self.assertLess(peak_memory(pid) - before, 48 << 20)
        # What is given up is given up on both sides.
        for each in stuck:
            client.h2.reset_stream(each, 8)
        client.flush()
        stream = get(client, "/version")
        await finished(client, stream)
        self.assertEqual(client.bodies[stream], b"HTTP/2.0 GET \n")
