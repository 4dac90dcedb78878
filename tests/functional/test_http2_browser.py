"""Headless Chromium by HTTP/2: with a server, and with the proxy itself, spoken to over TLS."""

from __future__ import annotations

import json
import sys

from tests.functional.harness import require
from tests.functional.http2origins import HTTP2TestCase, NginxPorts, start_nginx
from tests.functional.test_browser import BROWSE, PAGE, PICTURE, SCRIPT

HOOKS = """
import json, sys
from interceptor import http


def told(what, flow):
    words = [what, flow.request.http_version, flow.request.scheme, flow.request.path]
    print("seen", json.dumps(words), file=sys.stderr, flush=True)


def http_connect(flow):
    # The browser asks for hosts of its maker's by itself.
    if flow.request.host != "localhost":
        flow.response = http.Response.make(403)
    else:
        told("connect", flow)


def requestheaders(flow):
    if flow.request.host != "localhost":
        flow.response = http.Response.make(403)


def response(flow):
    if flow.request.host == "localhost" and "favicon" not in flow.request.path:
        told(flow.response.http_version, flow)
"""

PARTS = ("/index.html", "/style.css", "/picture.svg", "/script.js", "/data.json")


class ChromiumTests(HTTP2TestCase):
    timeout = 240

    async def start(self) -> NginxPorts:
        self.chromium = require("chromium", "chromium-browser", "google-chrome")
        self.driver = require("chromedriver")
        self.certutil = require("certutil")
        self.write("served/index.html", PAGE)
        self.write("served/style.css", "body { color: rgb(1, 2, 3); }")
        self.write("served/picture.svg", PICTURE)
        self.write("served/script.js", SCRIPT)
        ports = await start_nginx(self)
        self.proxy = await self.start_tls_proxy(scripts=[self.write("hooks.py", HOOKS)])
        database = self.home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        await self.check_program(self.certutil, "-d", f"sql:{database}", "-N", "--empty-password")
        await self.check_program(
            self.certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "interceptor",
            "-i", self.ca_file,
        )  # fmt: skip
        return ports

    async def browse(self, proxy: str, url: str) -> set[tuple[str, ...]]:
        """Load the page; give what the proxy saw of it."""
        before = self.proxy.log.count("\n")
        completed = await self.check_program(
            sys.executable, "-c", BROWSE, self.chromium, self.driver, self.directory / "profile",
            proxy, f"{url}/index.html", timeout=120,
        )  # fmt: skip
        shown = json.loads(completed.out)
        self.assertEqual(
            (shown["title"], shown["answer"], shown["width"], shown["color"]),
            ("loaded", "by script", 7, "rgb(1, 2, 3)"),
        )
        lines = self.proxy.log.splitlines()[before:]
        return {tuple(json.loads(line[5:])) for line in lines if line.startswith("seen ")}

    async def test_http2_in_a_tunnel(self):
        ports = await self.start()
        seen = await self.browse(self.proxy.url, f"https://localhost:{ports.tls}")
        wanted = {("HTTP/2.0", "HTTP/2.0", "https", path) for path in PARTS}
        self.assertEqual({each for each in seen if each[0] != "connect"}, wanted)
        self.assertIn(("connect", "HTTP/1.1"), {each[:2] for each in seen})

    async def test_http2_with_the_proxy(self):
        ports = await self.start()
        proxy = f"https://localhost:{self.proxy.port}"
        # A tunnel of one stream, and in it HTTP/2 again.
        seen = await self.browse(proxy, f"https://localhost:{ports.tls}")
        wanted = {("HTTP/2.0", "HTTP/2.0", "https", path) for path in PARTS}
        self.assertEqual({each for each in seen if each[0] != "connect"}, wanted)
        self.assertEqual(
            {each[:2] for each in seen} - {("HTTP/2.0",) * 2}, {("connect", "HTTP/2.0")}
        )
        # And requests for a server without TLS, as they are.
        seen = await self.browse(proxy, f"http://localhost:{ports.http1}")
        wanted = {("HTTP/1.1", "HTTP/2.0", "http", path) for path in PARTS}
        self.assertEqual(seen, wanted)
