"""HTTP/2 with programs that people use, in front of servers that people run.

Hooks tell each client which versions were spoken on either side.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

from tests.functional.harness import Completed, require
from tests.functional.http2origins import (
    HTTP2TestCase,
    peak_memory,
    start_hypercorn,
    start_nghttpd,
    start_nginx,
)
from tests.functional.origins import free_port
from tests.functional.test_tls_clients import JAVA

LARGE = bytes(range(256)) * 4096
SIZES = (0, 1, 16384, 65535, 65536, 65537)


class CurlTests(HTTP2TestCase):
    """curl, through a tunnel and in front of a server."""

    async def curl(self, *arguments: str | Path) -> Completed:
        return await self.check_program(
            require("curl"), "-sS", "--max-time", "50", "--cacert", self.ca_file, *arguments
        )

    async def check_get(self, port: int, versions: str) -> None:
        """Get bodies of many sizes by both ways."""
        self.write("served/large", LARGE)
        for size in SIZES:
            self.write(f"served/{size}", LARGE[:size])
        proxy = await self.start_marking_proxy("regular", f"reverse:https://localhost:{port}")
        front = f"https://localhost:{proxy.listeners[1].port}"
        for url, way in ((f"https://localhost:{port}", ["-x", proxy.url]), (front, [])):
            more: list[str] = []
            for name in ("large", *map(str, SIZES)):
                more += ["-o", f"{name}.out", f"{url}/{name}"]
            completed = await self.curl(
                *way, "--http2", "-w", "%{http_version} %{http_code} %header{x-versions}\n", *more
            )
            wanted = f"2 200 {versions}\n" * (1 + len(SIZES))
            self.assertEqual(completed.out.decode(), wanted)
            self.assertEqual((self.directory / "large.out").read_bytes(), LARGE)
            for size in SIZES:
                self.assertEqual((self.directory / f"{size}.out").read_bytes(), LARGE[:size])

    async def test_nginx(self):
        ports = await start_nginx(self)
        await self.check_get(ports.tls, "HTTP/2.0 HTTP/2.0")

    async def test_nghttpd(self):
        await self.check_get(await start_nghttpd(self), "HTTP/2.0 HTTP/2.0")

    async def test_nghttpd_that_pads_and_has_small_windows(self):
        port = await start_nghttpd(self, "--padding=200", "-w", "16", "-W", "16")
        await self.check_get(port, "HTTP/2.0 HTTP/2.0")

    async def check_hypercorn(self, way: list[str], url: str, version: str) -> None:
        """Post, and look at what the application was asked."""
        body = self.write("body", LARGE)
        # What it names in Connection, curl removes from HTTP/2 by itself.
        hop = ["-H", "X-Hop: yes"] if "--http1.1" in way else []
        completed = await self.curl(
            *way, "--data-binary", f"@{body}", "-H", "X-Probe: of curl", "-b", "a=1; b=2",
            "-H", "Connection: x-hop", *hop, f"{url}/path?a=b",
        )  # fmt: skip
        answer = json.loads(completed.out)
        headers = dict(answer["headers"])
        self.assertEqual(
            (answer["version"], answer["method"], answer["path"], answer["query"]),
            (version, "POST", "/path", "a=b"),
        )
        self.assertEqual(answer["sha256"], hashlib.sha256(LARGE).hexdigest())
        self.assertEqual(headers["x-probe"], "of curl")
        self.assertEqual(headers["cookie"], "a=1; b=2")
        if version == "2":
            self.assertFalse({"connection", "transfer-encoding", "x-hop"} & set(headers), headers)

    async def test_hypercorn(self):
        port = await start_hypercorn(self)
        proxy = await self.start_marking_proxy("regular", f"reverse:https://localhost:{port}")
        await self.check_hypercorn(["--http2", "-x", proxy.url], f"https://localhost:{port}", "2")
        front = f"https://localhost:{proxy.listeners[1].port}"
        await self.check_hypercorn(["--http2"], front, "2")

    async def test_http2_client_of_an_http1_server(self):
        port = await start_hypercorn(self, tls=False)
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy(
            f"reverse:http://localhost:{port}", f"reverse:http://localhost:{ports.http1}"
        )
        front, files = (f"https://localhost:{each.port}" for each in proxy.listeners)
        await self.check_hypercorn(["--http2"], front, "1.1")
        completed = await self.curl(
            "--http2", "-w", "%{http_version} %header{x-versions}", "-o", "out", f"{files}/large"
        )
        self.assertEqual(completed.out, b"2 HTTP/2.0 HTTP/1.1")
        self.assertEqual((self.directory / "out").read_bytes(), LARGE)

    async def test_http1_client_of_an_http2_server(self):
        port = await start_hypercorn(self)
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy(
            "regular",
            f"reverse:https://localhost:{port}",
            f"reverse:https://localhost:{ports.tls}",
            options=["h2_upstream=always"],
        )
        await self.check_hypercorn(["--http1.1", "-x", proxy.url], f"https://localhost:{port}", "2")
        front, files = (f"https://localhost:{each.port}" for each in proxy.listeners[1:])
        await self.check_hypercorn(["--http1.1"], front, "2")
        completed = await self.curl(
            "--http1.1", "-w", "%{http_version} %header{x-versions}", "-o", "out",
            f"{files}/large",
        )  # fmt: skip
        self.assertEqual(completed.out, b"1.1 HTTP/1.1 HTTP/2.0")
        self.assertEqual((self.directory / "out").read_bytes(), LARGE)

    async def test_prior_knowledge(self):
        ports = await start_nginx(self)
        proxy = await self.start_marking_proxy(
            f"reverse:http://127.0.0.1:{ports.cleartext}", options=["h2_cleartext=true"]
        )
        completed = await self.curl(
            "--http2-prior-knowledge", "-w", "%{http_version} %header{x-versions}",
            "-H", "x-probe: here", f"{proxy.url}/version",
        )  # fmt: skip
        self.assertEqual(completed.out, b"HTTP/2.0 GET here\n2 HTTP/2.0 HTTP/2.0")

    async def test_many_at_once_share_a_connection(self):
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy()
        url = f"https://localhost:{ports.tls}/large"
        completed = await self.curl(
            "--http2", "-x", proxy.url, "--parallel", "--parallel-max", "50",
            "-w", "%{http_code} %{size_download}\n", "-o", "/dev/null", f"{url}?[1-200]",
        )  # fmt: skip
        self.assertEqual(completed.out.decode(), f"200 {len(LARGE)}\n" * 200)


class BulkTests(HTTP2TestCase):
    """100 MiB in both directions, in memory that is bounded."""

    timeout = 300

    async def check_bulk(self, port: int, url: str, *modes: str, **settings) -> None:
        """Send 100 MiB to a server that sends them back; download them again."""
        curl = require("curl")
        body = self.write("body", os.urandom(1 << 20) * 100)
        self.served.joinpath("body").symlink_to(body)
        proxy = await self.start_tls_proxy(*modes, **settings)
        shared: list[str | Path] = [curl, "-sS", "--max-time", "200", "--cacert", self.ca_file]
        way = ["-x", proxy.url] if modes == ("regular",) else []
        url = url.format(port=proxy.port)
        assert proxy.process.transport is not None
        pid = proxy.process.transport.pid
        # Whatever is made at first is made now.
        await self.check_program(*shared, *way, "-o", "out", "-r", "0-1000", f"{url}/body")
        before = peak_memory(pid)
        wanted = hashlib.sha256(body.read_bytes()).hexdigest()
        ways: tuple[list[str | Path], ...] = (["-T", body], [])
        for more in ways:
            await self.check_program(*shared, *way, *more, "-o", "out", f"{url}/body", timeout=220)
            found = hashlib.sha256((self.directory / "out").read_bytes()).hexdigest()
            self.assertEqual(found, wanted, more)
        self.assertLess(peak_memory(pid) - before, 48 << 20)

    async def test_through_a_tunnel(self):
        port = await start_nghttpd(self)
        await self.check_bulk(port, f"https://localhost:{port}", "regular")

    async def test_http1_server(self):
        curl = require("curl")
        body = self.write("body", os.urandom(1 << 20) * 100)
        self.served.joinpath("body").symlink_to(body)
        port = await start_hypercorn(self, tls=False)
        ports = await start_nginx(self)
        proxy = await self.start_tls_proxy(
            f"reverse:http://localhost:{port}", f"reverse:http://localhost:{ports.http1}"
        )
        front, files = (f"https://localhost:{each.port}" for each in proxy.listeners)
        shared: list[str | Path] = [
            curl,
            "-sS",
            "--http2",
            "--max-time",
            "200",
            "--cacert",
            self.ca_file,
        ]
        assert proxy.process.transport is not None
        pid = proxy.process.transport.pid
        await self.check_program(*shared, "-o", "out", f"{front}/")
        before = peak_memory(pid)
        wanted = hashlib.sha256(body.read_bytes()).hexdigest()
        completed = await self.check_program(*shared, "-T", body, f"{front}/upload", timeout=220)
        answer = json.loads(completed.out)
        self.assertEqual((answer["version"], answer["sha256"]), ("1.1", wanted))
        await self.check_program(*shared, "-o", "out", f"{files}/body", timeout=220)
        found = hashlib.sha256((self.directory / "out").read_bytes()).hexdigest()
        self.assertEqual(found, wanted)
        self.assertLess(peak_memory(pid) - before, 48 << 20)

    async def test_http1_client(self):
        port = await start_nghttpd(self)
        await self.check_bulk(
            port,
            "http://localhost:{port}",
            f"reverse:https://localhost:{port}",
            options=["h2_upstream=always"],
        )


class NghttpTests(HTTP2TestCase):
    """nghttp2's own client, in front of a server."""

    async def test_statistics_trailers_and_uploads(self):
        nghttp = require("nghttp")
        port = await start_nghttpd(self, "--trailer=x-end: reached")
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy(f"reverse:https://localhost:{port}")
        url = f"https://localhost:{proxy.port}"
        completed = await self.check_program(
            nghttp, "-nv", "--no-verify-peer", "-m", "20", "--padding=50", f"{url}/large"
        )
        text = completed.out.decode()
        self.assertEqual(text.count(":status: 200"), 20, text[-3000:])
        self.assertEqual(text.count("x-end: reached"), 20)
        self.assertEqual(text.count("x-versions: HTTP/2.0 HTTP/2.0"), 20)
        self.assertNotIn("RST_STREAM", text)
        body = self.write("body", LARGE)
        completed = await self.check_program(
            nghttp, "--no-verify-peer", "-d", body, "--continuation", "--trailer=x-sum: 1",
            "--expect-continue", f"{url}/upload",
        )  # fmt: skip
        self.assertEqual(completed.out, LARGE)

    async def test_assets_of_a_page_by_priority(self):
        nghttp = require("nghttp")
        self.write("served/page.html", '<img src="a.png"><script src="b.js"></script>')
        self.write("served/a.png", LARGE)
        self.write("served/b.js", LARGE)
        port = await start_nghttpd(self)
        proxy = await self.start_marking_proxy(f"reverse:https://localhost:{port}")
        completed = await self.check_program(
            nghttp, "-ans", "--no-verify-peer", f"https://localhost:{proxy.port}/page.html"
        )
        text = completed.out.decode()
        for name in ("/page.html", "/a.png", "/b.js"):
            self.assertRegex(text, rf" 200 +\S+ {name}\n")


class LoadTests(HTTP2TestCase):
    """h2load: no request is lost, whatever servers do with their connections."""

    timeout = 240

    async def load(self, url: str, requests: int, *arguments: str) -> str:
        completed = await self.check_program(
            require("h2load"), "-n", str(requests), *arguments, url, timeout=150
        )
        report = completed.out.decode()
        wanted = f"{requests} succeeded, 0 failed, 0 errored, 0 timeout"
        self.assertIn(wanted, report)
        self.assertIn(f"status codes: {requests} 2xx", report)
        return report

    async def test_servers_of_both_versions(self):
        ports = await start_nginx(self)
        port = await start_nghttpd(self)
        self.write("served/small", b"x" * 1000)
        proxy = await self.start_tls_proxy(
            f"reverse:https://localhost:{ports.tls}",
            f"reverse:https://localhost:{port}",
            f"reverse:http://localhost:{ports.http1}",
        )
        for listener in proxy.listeners:
            url = f"https://localhost:{listener.port}/small"
            report = await self.load(url, 2000, "-c", "8", "-m", "10")
            self.assertIn("Application protocol: h2", report)

    async def test_cleartext(self):
        ports = await start_nginx(self)
        self.write("served/small", b"x" * 1000)
        proxy = await self.start_tls_proxy(
            f"reverse:http://localhost:{ports.cleartext}", options=["h2_cleartext=true"]
        )
        await self.load(f"{proxy.url}/small", 2000, "-c", "4", "-m", "10")

    async def test_server_that_allows_one_stream(self):
        port = await start_nghttpd(self, "-m", "1")
        self.write("served/small", b"x" * 1000)
        proxy = await self.start_tls_proxy(f"reverse:https://localhost:{port}")
        await self.load(f"https://localhost:{proxy.port}/small", 1000, "-c", "2", "-m", "100")

    async def test_server_that_is_tired_after_ten_requests(self):
        ports = await start_nginx(self, keepalive_requests=10)
        self.write("served/small", b"x" * 1000)
        proxy = await self.start_tls_proxy(f"reverse:https://localhost:{ports.tls}")
        await self.load(f"https://localhost:{proxy.port}/small", 2000, "-c", "4", "-m", "5")
        self.assertNotIn("warn", proxy.log)


class HeyTests(HTTP2TestCase):
    """hey, whose HTTP/2 is that of Go. It writes the port into the name that it sends for TLS."""

    async def test_both_modes(self):
        hey = require("hey")
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy("regular", f"reverse:https://localhost:{ports.tls}")
        front = f"https://localhost:{proxy.listeners[1].port}"
        for url, way in ((f"https://localhost:{ports.tls}", ["-x", proxy.url]), (front, [])):
            completed = await self.check_program(
                hey, "-h2", "-n", "200", "-c", "10", *way, f"{url}/large"
            )
            report = completed.out.decode()
            self.assertIn("[200]\t200 responses", report, completed.err)
            self.assertNotIn("Error distribution", report)


class JavaTests(HTTP2TestCase):
    """The platform's HttpClient."""

    async def test_in_a_tunnel(self):
        java = require("java")
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        self.write("served/chunked", b"one,two")
        proxy = await self.start_marking_proxy()
        completed = await self.check_program(
            java, f"-Djavax.net.ssl.trustStore={self.ca_file.with_suffix('.p12')}",
            "-Djavax.net.ssl.trustStoreType=PKCS12", "-Djavax.net.ssl.trustStorePassword=",
            self.write("Client.java", JAVA), f"https://localhost:{ports.tls}",
            "127.0.0.1", str(proxy.port),
        )  # fmt: skip
        self.assertEqual(completed.out.decode(), f"no {len(LARGE)} HTTP_2\nno 7 HTTP_2\n")


HAPROXY = """\
defaults
    mode http
    timeout connect 30s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{front} ssl crt {pem} alpn h2
    default_backend proxy
backend proxy
    server proxy 127.0.0.1:{proxy} ssl verify none alpn h2 sni str(localhost)
frontend back
    bind 127.0.0.1:{back} ssl crt {pem} alpn h2
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin}
"""


class HAProxyTests(HTTP2TestCase):
    """haproxy in front of the proxy, and behind it."""

    async def test_load_and_uploads(self):
        haproxy, h2load, curl = require("haproxy"), require("h2load"), require("curl")
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        back, front = free_port(), free_port()
        proxy = await self.start_marking_proxy(f"reverse:https://localhost:{back}")
        pem = self.write(
            "both.pem", self.certificate_file.read_bytes() + self.key_file.read_bytes()
        )
        text = HAPROXY.format(front=front, back=back, pem=pem, proxy=proxy.port, origin=ports.http1)
        self.start_process(haproxy, "-db", "-f", self.write("haproxy.cfg", text))
        await self.wait_for_port(front)
        completed = await self.check_program(
            h2load, "-n", "200", "-c", "4", "-m", "10", f"https://localhost:{front}/large"
        )
        self.assertIn("status codes: 200 2xx", completed.out.decode())
        self.assertIn("200 succeeded, 0 failed", completed.out.decode())
        completed = await self.check_program(
            curl, "-sS", "--http2", "--cacert", self.roots, "-w", "%header{x-versions}",
            "-T", self.write("body", LARGE), f"https://localhost:{front}/upload",
        )  # fmt: skip
        self.assertRegex(completed.out, rb"HTTP/1.[01] PUT \nHTTP/2.0 HTTP/2.0")


HTTPX = """
import asyncio, httpx, json, ssl, sys
url, proxy, ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)

async def main():
    settings = {"proxy": proxy or None, "verify": context, "timeout": 40, "http2": True}
    async with httpx.AsyncClient(**settings) as client:
        answers = await asyncio.gather(*(client.get(f"{url}/{n}") for n in range(60)))
        for number, answer in enumerate(answers):
            assert answer.http_version == "HTTP/2", answer.http_version
            assert answer.json()["path"] == f"/{number}"
        async def parts():
            for number in range(200):
                yield b"%d" % number * 1000
        answer = (await client.post(f"{url}/post", content=parts())).json()
        assert answer["length"] == 1000 * (10 + 90 * 2 + 100 * 3), answer
        assert answer["version"] == "2"

asyncio.run(main())
"""


class HttpxTests(HTTP2TestCase):
    async def test_both_modes(self):
        port = await start_hypercorn(self)
        proxy = await self.start_marking_proxy("regular", f"reverse:https://localhost:{port}")
        front = f"https://localhost:{proxy.listeners[1].port}"
        for url, way in ((f"https://localhost:{port}", proxy.url), (front, "")):
            await self.check_program(sys.executable, "-c", HTTPX, url, way, self.ca_file)


NODE = """
const fs = require('fs'), http = require('http'), http2 = require('http2'), tls = require('tls');
const [target, proxy] = process.argv.slice(2).map((text) => new URL(text));

function get(session, number) {
  return new Promise((resolve, reject) => {
    const stream = session.request({':path': '/large', 'x-number': String(number)});
    let size = 0, headers;
    stream.on('response', (found) => { headers = found; });
    stream.on('data', (part) => { size += part.length; });
    stream.on('end', () => resolve([headers[':status'], headers['x-versions'], size]));
    stream.on('error', reject);
    stream.end();
  });
}

function post(session) {
  return new Promise((resolve, reject) => {
    const stream = session.request({':path': '/upload', ':method': 'POST'});
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.on('end', () => resolve(Buffer.concat(parts).toString()));
    stream.on('error', reject);
    stream.end(Buffer.alloc(3000000));
  });
}

// A tunnel by hand: this module knows of no proxies.
const connect = http.request({
  host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target.host,
});
connect.on('connect', (answer, socket) => {
  if (answer.statusCode !== 200) throw new Error(answer.statusCode);
  const secured = tls.connect({socket, servername: 'localhost', ALPNProtocols: ['h2']});
  const session = http2.connect(target, {createConnection: () => secured});
  session.on('error', (error) => { throw error; });
  (async () => {
    const all = await Promise.all(Array.from({length: 50}, (_, n) => get(session, n)));
    console.log(JSON.stringify([[...new Set(all.map(String))], await post(session)]));
    session.close();
  })();
});
connect.end();
"""


class NodeTests(HTTP2TestCase):
    """Node's http2 module."""

    async def test_client_in_a_tunnel(self):
        node = require("node", "nodejs")
        ports = await start_nginx(self)
        self.write("served/large", LARGE)
        proxy = await self.start_marking_proxy()
        completed = await self.check_program(
            node, self.write("client.js", NODE), f"https://localhost:{ports.tls}", proxy.url,
            NODE_EXTRA_CA_CERTS=str(self.ca_file),
        )  # fmt: skip
        kinds, posted = json.loads(completed.out)
        self.assertEqual(kinds, [f"200,HTTP/2.0 HTTP/2.0,{len(LARGE)}"])
        self.assertRegex(posted, re.compile(r"HTTP/1.[01] POST"))
