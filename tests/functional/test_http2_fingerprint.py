"""What servers can tell clients apart by in HTTP/2: the same through the proxy as without it.

Programs that people use ask an origin that keeps every frame, over TLS: directly, and through the
proxy.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import h2.events
import hpack

from tests.functional.harness import require
from tests.functional.http2origins import HTTP2TestCase
from tests.layers.h2peers import Fields, H2Peer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# RFC 9113 section 6
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20


class Head(NamedTuple):
    """A request: its stream, whether it ends with its head, its priority, its fields in order."""

    stream: int
    ended: bool
    priority: bytes
    fields: Fields


class Fingerprint(NamedTuple):
    """What a connection shows of its client.

    ``preface`` has the frames before the first request, in order: their types with the settings,
    the increment, or the stream and its priority. Acknowledgements come when they come.
    """

    preface: list[tuple[Any, ...]]
    heads: list[Head]


def fingerprint(data: bytes) -> Fingerprint:
    """Read what a client sent on a connection."""
    assert data.startswith(PREFACE), data[:100]
    data = data[len(PREFACE) :]
    seen = Fingerprint([], [])
    decoder = hpack.Decoder()
    block = b""
    while data:
        length = int.from_bytes(data[:3], "big")
        kind, flags = data[3], data[4]
        stream = int.from_bytes(data[5:9], "big")
        payload, data = data[9 : 9 + length], data[9 + length :]
        if kind in (HEADERS, CONTINUATION):
            if kind == HEADERS:
                if flags & PADDED:
                    payload = payload[1 : len(payload) - payload[0]]
                has_priority = 5 if flags & HAS_PRIORITY else 0
                priority, block = payload[:has_priority], payload[has_priority:]
                ended = bool(flags & END_STREAM)
            else:
                block += payload
            if flags & END_HEADERS:
                fields = [
                    (bytes(name), bytes(value)) for name, value in decoder.decode(block, True)
                ]
                seen.heads.append(Head(stream, ended, priority, fields))
        elif seen.heads:
            continue
        elif kind == SETTINGS and not flags & ACK:
            seen.preface.append((kind, *struct.iter_unpack(">HL", payload)))
        elif kind == WINDOW_UPDATE:
            seen.preface.append((kind, stream, int.from_bytes(payload, "big")))
        elif kind == PRIORITY:
            seen.preface.append((kind, stream, payload))
    return seen


Run = Callable[[str, list[str]], Awaitable[object]]


class FingerprintTests(HTTP2TestCase):
    """Programs, directly and through the proxy."""

    timeout = 240

    async def check(self, run: Run, *, requests: int, front: bool = False) -> Fingerprint:
        """Let ``run`` ask for a URL, the second time through a proxy, and compare the two.

        It gets the URL, and what names the proxy on a command line. A ``front`` takes the server's
        place instead, for programs that know of no proxies: all that differs then is its port.
        """
        origin, peers = await self.start_h2_peers(answer)
        url = f"https://localhost:{origin.port}"
        await run(url, [])
        direct = self.taken(peers, requests)
        mode = [f"reverse:{url}"] if front else []
        proxy = await self.start_tls_proxy(*mode, options=["keep_host_header=true"])
        shown = f"https://localhost:{proxy.port}" if front else url
        await run(shown, [] if front else ["-x", proxy.url])
        through = self.taken(peers, requests)
        if front:
            through = self.moved(through, proxy.port, origin.port)
        self.assertEqual(through.preface, direct.preface)
        self.assertEqual(through.heads, direct.heads)
        self.assertEqual(direct.preface[0][0], SETTINGS)
        return direct

    def taken(self, peers: list[H2Peer], requests: int) -> Fingerprint:
        """Give the fingerprint of the one connection that asked for something."""
        seen = [fingerprint(peer.data) for peer in peers if peer.data]
        peers.clear()
        [asked] = [each for each in seen if each.heads]
        self.assertGreaterEqual(len(asked.heads), requests)
        return Fingerprint(asked.preface, asked.heads[:requests])

    def moved(self, seen: Fingerprint, old: int, new: int) -> Fingerprint:
        """Give a fingerprint with another port in it."""
        ports = b":%d" % old, b":%d" % new
        heads = [
            head._replace(fields=[(name, value.replace(*ports)) for name, value in head.fields])
            for head in seen.heads
        ]
        return Fingerprint(seen.preface, heads)

    async def test_curl(self):
        async def run(url: str, proxy: list[str]) -> None:
            await self.check_program(
                require("curl"), "-sS", "--http2", "--cacert", self.roots_of_all(), *proxy,
                "-A", "something/1", "-H", "X-B: 1", "-H", "X-A: 2", "-b", "a=1; b=2",
                "-o", "one", f"{url}/one", "-o", "two", f"{url}/two?x",
            )  # fmt: skip

        seen = await self.check(run, requests=2)
        self.assertIn((b":path", b"/two?x"), seen.heads[1].fields)

    async def test_curl_that_posts(self):
        async def run(url: str, proxy: list[str]) -> None:
            await self.check_program(
                require("curl"), "-sS", "--http2", "--cacert", self.roots_of_all(), *proxy,
                "-d", "a=b", "-o", "one", f"{url}/one",
            )  # fmt: skip

        seen = await self.check(run, requests=1)
        self.assertFalse(seen.heads[0].ended)

    async def test_nghttp(self):
        async def run(url: str, proxy: list[str]) -> None:
            await self.check_program(
                require("nghttp"), "-n", "--no-verify-peer", f"{url}/one", f"{url}/two"
            )

        await self.check(run, requests=2, front=True)

    async def test_nghttp_with_windows_and_a_weight(self):
        async def run(url: str, proxy: list[str]) -> None:
            await self.check_program(
                require("nghttp"), "-n", "--no-verify-peer", "-w", "20", "-W", "22", "-p", "77",
                "--header-table-size=8192", "-H", "x-probe: of nghttp", f"{url}/one",
            )  # fmt: skip

        seen = await self.check(run, requests=1, front=True)
        self.assertIn((4, (1 << 20) - 1), seen.preface[0])

    async def test_node(self):
        script = self.write("client.js", NODE)

        async def run(url: str, proxy: list[str]) -> None:
            await self.check_program(
                require("node", "nodejs"), script, url, NODE_TLS_REJECT_UNAUTHORIZED="0"
            )

        seen = await self.check(run, requests=2, front=True)
        self.assertIn((4, 123456), seen.preface[0])

    async def test_chromium(self):
        chromium = require("chromium", "chromium-browser", "google-chrome")

        async def run(url: str, proxy: list[str]) -> None:
            profile = self.directory / ("through" if proxy else "direct")
            way = [f"--proxy-server={url}" for url in proxy[1:]]
            completed = await self.check_program(
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                "--ignore-certificate-errors", *way, "--proxy-bypass-list=<-loopback>",
                "--dump-dom", f"{url}/page", timeout=120,
            )  # fmt: skip
            self.assertIn(b"<title>loaded</title>", completed.out)

        seen = await self.check(run, requests=1)
        # Its own order of pseudo-headers, and a priority with the head.
        names = [name for name, _ in seen.heads[0].fields[:4]]
        self.assertEqual(names, [b":method", b":authority", b":scheme", b":path"])
        self.assertTrue(seen.heads[0].priority)

    async def test_switched_off(self):
        """What the others find equal is not so by itself."""
        origin, peers = await self.start_h2_peers(answer)
        proxy = await self.start_tls_proxy(options=["h2_mirror=false"])
        prefaces = []
        for way in ([], ["-x", proxy.url]):
            await self.check_program(
                require("curl"), "-sS", "--http2", "--cacert", self.roots_of_all(), *way,
                f"https://localhost:{origin.port}",
            )  # fmt: skip
            prefaces.append(self.taken(peers, 1).preface)
        self.assertNotEqual(*prefaces)

    def roots_of_all(self) -> Path:
        """Write the authorities of the test and of the proxy, which is there the second time."""
        text = Path(self.roots).read_text()
        if Path(self.ca_file).exists():
            text += Path(self.ca_file).read_text()
        return self.write("all.pem", text)


NODE = """
const http2 = require('http2');
const client = http2.connect(process.argv[2], {
  settings: {initialWindowSize: 123456, enablePush: false, maxFrameSize: 20000},
});
const ask = (path) => new Promise((resolve, reject) => {
  const stream = client.request({
    'x-b': '1', ':path': path, 'x-a': ['2', '3'], cookie: ['a=1', 'b=2'],
  }, {weight: 33, exclusive: true});
  stream.on('error', reject);
  stream.on('end', resolve);
  stream.resume();
  stream.end();
});
ask('/one').then(() => ask('/two')).then(() => client.close());
"""


def answer(peer: H2Peer, event: Any) -> None:
    """Answer each request with a page."""
    if isinstance(event, h2.events.StreamEnded):
        head = [(":status", "200"), ("content-type", "text/html")]
        peer.h2.send_headers(event.stream_id, head)
        page = b"<!DOCTYPE html><title>loaded</title>"
        peer.h2.send_data(event.stream_id, page, end_stream=True)
        peer.flush()
