"""WebSocket with programs of all kinds: Node, aiohttp, Chromium, hypercorn; HTTP/1 and HTTP/2."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence

from tests.functional.harness import FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import TLSMaterial, free_port
from tests.functional.test_browser import BROWSE

APPLICATION = '''\
PAGE = b"""<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>loading</title></head>
<body><p id="answer"></p><img id="picture" alt=""><script>
const seen = [];
const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo", ["one", "two"]);
socket.binaryType = "arraybuffer";
socket.onopen = () => socket.send("hello from the page");
socket.onmessage = (event) => {
  seen.push(typeof event.data === "string" ? event.data : event.data.byteLength + " bytes");
  if (seen.length === 2) socket.send(new Uint8Array(70000));
  if (seen.length === 3) socket.send("bye");
};
socket.onclose = (event) => {
  seen.push(event.code, event.wasClean, socket.protocol);
  document.getElementById("answer").textContent = seen.join("|");
  document.title = "loaded";
};
</script></body></html>"""


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})
        return
    await receive()
    names = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": names[0] if names else None})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        text, data = event.get("text"), event.get("bytes")
        if text == "BYE":
            await send({"type": "websocket.close", "code": 4000, "reason": "done"})
            return
        answer = {"bytes": data} if text is None else {"text": text}
        await send({"type": "websocket.send", **answer})
'''

HOOKS = """\
from interceptor import http


def http_connect(flow):
    # The browser asks for hosts of its maker's by itself.
    if flow.request.host != "127.0.0.1":
        flow.response = http.Response.make(403)


def requestheaders(flow):
    if flow.request.host != "127.0.0.1":
        flow.response = http.Response.make(403)


def websocket_start(flow):
    print("start", flow.request.method, flow.request.http_version, flush=True)


def websocket_message(flow):
    message = flow.websocket.messages[-1]
    if message.injected:
        return
    if message.is_text and message.from_client:
        message.text = message.text.upper()
    if message.text.startswith("HELLO") and message.from_client:
        flow.websocket.inject(True, "by the proxy")


def websocket_end(flow):
    data = flow.websocket
    print("end", data.close_code, data.close_reason, data.closed_by_client, flush=True)
"""

NODE = r"""
const http = require('http'), crypto = require('crypto');
const [, , proxyPort, target] = process.argv;
const request = http.request({
  host: '127.0.0.1', port: Number(proxyPort), path: target,
  headers: {
    'Host': new URL(target).host, 'Connection': 'Upgrade', 'Upgrade': 'websocket',
    'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': crypto.randomBytes(16).toString('base64'),
  },
});
function frame(opcode, payload) {
  const key = crypto.randomBytes(4), length = payload.length;
  const size = length < 126 ? Buffer.from([0x80 | length])
    : Buffer.from([0x80 | 126, length >> 8, length & 255]);
  const masked = Buffer.from(payload.map((byte, index) => byte ^ key[index % 4]));
  return Buffer.concat([Buffer.from([0x80 | opcode]), size, key, masked]);
}
request.on('upgrade', (response, socket, head) => {
  let data = head;
  const seen = [];
  function read() {
    while (data.length >= 2) {
      let length = data[1] & 127, at = 2;
      if (length === 126) { if (data.length < 4) return; length = data.readUInt16BE(2); at = 4; }
      if (data.length < at + length) return;
      const opcode = data[0] & 15, payload = data.subarray(at, at + length);
      data = data.subarray(at + length);
      if (opcode === 8) {
        seen.push('close ' + payload.readUInt16BE(0));
        socket.end();
        console.log(JSON.stringify(seen));
        return;
      }
      seen.push(opcode + ' ' + (length > 50 ? length : payload.toString()));
      if (seen.length === 4) socket.write(frame(8, Buffer.from([0x0f, 0xa1])));
    }
  }
  socket.on('data', (chunk) => { data = Buffer.concat([data, chunk]); read(); });
  socket.write(Buffer.concat([
    frame(1, Buffer.from('hello')), frame(9, Buffer.from('ping')), frame(2, Buffer.alloc(5000)),
  ]));
});
request.on('response', (response) => { console.log('status', response.statusCode); });
request.end();
"""

WAITING = """
import asyncio, sys
import aiohttp

async def main(url, proxy):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, proxy=proxy) as socket:
            await socket.send_str("hello")
            await socket.receive_str()
            print("open", flush=True)
            while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            print("closed", socket.close_code, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class WebSocketTests(FunctionalTestCase):
    """An origin that echoes, behind hypercorn."""

    timeout = 240

    async def start_origin(self, *arguments: str) -> int:
        """Start hypercorn on a free port of loopback."""
        self.write("application.py", APPLICATION)
        port = free_port()
        self.start_process(
            sys.executable, "-m", "hypercorn", "application:app",
            "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "1", *arguments,
            stop=signal.SIGTERM,
        )  # fmt: skip
        await self.wait_for_port(port)
        return port

    async def start_hooked(self, *arguments: str) -> ProxyProcess:
        """Start a proxy with hooks that change and add messages."""
        scripts: Sequence[str] = [str(self.write("hooks.py", HOOKS))]
        return await self.start_proxy(scripts=scripts, arguments=arguments)

    async def browse(self, proxy: ProxyProcess, url: str) -> list[str]:
        """Let Chromium open a page, and return what its script has seen."""
        chromium = require("chromium", "chromium-browser", "google-chrome")
        driver = require("chromedriver")
        completed = await self.check_program(
            sys.executable, "-c", BROWSE, chromium, driver, self.directory / "profile",
            proxy.url, url, timeout=120,
        )  # fmt: skip
        answer: str = json.loads(completed.out)["answer"]
        return answer.split("|")

    async def test_node(self):
        port = await self.start_origin()
        proxy = await self.start_hooked()
        script = self.write("client.js", NODE)
        completed = await self.check_program(
            require("node", "nodejs"), script, str(proxy.port), f"http://127.0.0.1:{port}/echo"
        )
        seen = json.loads(completed.out)
        self.assertEqual(sorted(seen[:4]), ["1 HELLO", "1 by the proxy", "10 ping", "2 5000"])
        self.assertEqual(seen[4:], ["close 4001"])
        await proxy.process.until(lambda p: b"end 4001  True" in p.out)

    async def test_chromium(self):
        port = await self.start_origin()
        proxy = await self.start_hooked()
        seen = await self.browse(proxy, f"http://127.0.0.1:{port}/")
        self.assertEqual(sorted(seen[:2]), ["HELLO FROM THE PAGE", "by the proxy"])
        self.assertEqual(seen[2:], ["70000 bytes", "4000", "true", "one"])
        await proxy.process.until(lambda p: b"end 4000 done False" in p.out)
        self.assertIn(b"start GET HTTP/1.1", proxy.process.out)

    async def test_chromium_over_http_2(self):
        material = TLSMaterial(self.directory)
        port = await self.start_origin(
            "--certfile", str(material.certificate_file), "--keyfile", str(material.key_file)
        )
        proxy = await self.start_hooked(
            "--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}"
        )
        certutil = require("certutil")
        database = self.home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        await self.check_program(certutil, "-d", f"sql:{database}", "-N", "--empty-password")
        await self.check_program(
            certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "interceptor",
            "-i", self.directory / "conf" / "interceptor-ca-cert.pem",
        )  # fmt: skip
        seen = await self.browse(proxy, f"https://127.0.0.1:{port}/")
        self.assertEqual(sorted(seen[:2]), ["HELLO FROM THE PAGE", "by the proxy"])
        self.assertEqual(seen[2:], ["70000 bytes", "4000", "true", "one"])
        await proxy.process.until(lambda p: b"end 4000 done False" in p.out)
        self.assertIn(b"start CONNECT HTTP/2.0", proxy.process.out)

    async def test_a_proxy_that_stops_says_so(self):
        port = await self.start_origin()
        proxy = await self.start_proxy()
        client = self.start_process(
            sys.executable, "-c", WAITING, f"http://127.0.0.1:{port}/echo", proxy.url
        )
        await client.until(lambda p: b"open" in p.out)
        proxy.process.signal(signal.SIGTERM)
        await client.until(lambda p: b"closed 1001\n" in p.out)
