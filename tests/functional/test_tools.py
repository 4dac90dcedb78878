"""Clients with habits of their own: ab, wrk, h2load, netcat, openssl s_client, Node."""

from __future__ import annotations

import re

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from tests.functional.harness import FunctionalTestCase, Origin, ProxyProcess, reactor, require
from tests.functional.origins import Fixed, TLSMaterial, tree

BODY = b"fixed " * 200


@implementer(IHalfCloseableProtocol)
class LateProtocol(Protocol):
    """Reads until the other side ends, and only then says how much it was, and closes."""

    def __init__(self) -> None:
        self.length = 0

    def dataReceived(self, data: bytes) -> None:
        self.length += len(data)

    def readConnectionLost(self) -> None:
        assert self.transport is not None
        self.transport.write(b"read %d\n" % self.length)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


NODE_CLIENT = """
const http = require('http');
const [proxy, origin] = process.argv.slice(2).map((text) => new URL(text));
const agent = new http.Agent({keepAlive: true, maxSockets: 2});
let left = 20, wrong = 0;
for (let number = 0; number < 20; number++) {
  const request = http.request({
    host: proxy.hostname, port: proxy.port, agent, method: 'POST',
    path: `${origin.origin}/fixed?${number}`, headers: {Host: origin.host},
  }, (response) => {
    let size = 0;
    response.on('data', (chunk) => { size += chunk.length; });
    response.on('end', () => {
      if (response.statusCode !== 200 || size !== 1200) wrong++;
      if (--left === 0) { agent.destroy(); process.exit(wrong); }
    });
  });
  request.write('one '); request.end('two');
}
"""


class ToolTests(FunctionalTestCase):
    proxy: ProxyProcess
    origin: Origin

    async def start(self, *arguments: str) -> None:
        self.fixed = Fixed(BODY)
        self.origin = await self.start_site(tree(fixed=self.fixed))
        self.proxy = await self.start_proxy(arguments=["-q", *arguments])
        self.address = f"127.0.0.1:{self.proxy.port}"

    async def test_apache_bench_speaks_http_1_0_and_keeps_alive(self):
        ab = require("ab")
        await self.start()
        completed = await self.check_program(
            ab, "-q", "-k", "-n", "500", "-c", "10", "-X", self.address, f"{self.origin.url}/fixed"
        )
        report = completed.out.decode()
        self.assertRegex(report, r"Complete requests: +500\n")
        self.assertRegex(report, r"Failed requests: +0\n")
        self.assertNotIn("Non-2xx", report)
        kept = re.search(r"Keep-Alive requests: +(\d+)\n", report)
        assert kept is not None
        self.assertGreaterEqual(int(kept[1]), 490)
        self.assertEqual(len(self.fixed.requests), 500)

    async def test_apache_bench_without_keep_alive(self):
        ab = require("ab")
        await self.start()
        completed = await self.check_program(
            ab, "-q", "-n", "200", "-c", "10", "-X", self.address, f"{self.origin.url}/fixed"
        )
        report = completed.out.decode()
        self.assertRegex(report, r"Complete requests: +200\n")
        self.assertRegex(report, r"Failed requests: +0\n")

    async def test_h2load_by_http_1_1_in_reverse_mode(self):
        h2load = require("h2load")
        await self.start()
        proxy = await self.start_proxy(f"reverse:{self.origin.url}", arguments=["-q"])
        # Four requests at a time on each connection: pipelined.
        completed = await self.check_program(
            h2load, "--h1", "-n", "400", "-c", "5", "-m", "4", f"{proxy.url}/fixed"
        )
        self.assertIn("400 succeeded, 0 failed, 0 errored, 0 timeout", completed.out.decode())

    async def test_a_client_that_ends_its_half_still_gets_the_answer(self):
        netcat = require("nc.openbsd", "nc")
        await self.start()
        request = f"GET {self.origin.url}/fixed HTTP/1.1\r\nHost: {self.address}\r\n\r\n"
        completed = await self.check_program(
            netcat, "-N", "-w", "20", "127.0.0.1", str(self.proxy.port), stdin=request.encode()
        )
        self.assertTrue(completed.out.startswith(b"HTTP/1.1 200 "), completed.out)
        self.assertTrue(completed.out.endswith(BODY))

    async def test_half_close_goes_through_a_tunnel(self):
        netcat = require("nc.openbsd", "nc")
        await self.start()
        # Not behind `listen`, whose wrapper knows nothing of half-closed connections.
        late = reactor().listenTCP(0, Factory.forProtocol(LateProtocol), interface="127.0.0.1")
        self.addCleanup(late.stopListening)
        target = f"127.0.0.1:{late.getHost().port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
        completed = await self.check_program(
            netcat, "-N", "-w", "20", "127.0.0.1", str(self.proxy.port), stdin=request + b"x" * 5000
        )
        self.assertTrue(completed.out.startswith(b"HTTP/1.1 200 "), completed.out)
        self.assertTrue(completed.out.endswith(b"\r\n\r\nread 5000\n"), completed.out)

    async def test_pipelined_requests_are_answered_in_order(self):
        netcat = require("nc.openbsd", "nc")
        await self.start()
        host = f"127.0.0.1:{self.origin.port}"
        requests = "".join(
            f"GET {self.origin.url}/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            for path in ("fixed?1", "missing", "fixed?2")
        )
        completed = await self.check_program(
            netcat, "-N", "-w", "20", "127.0.0.1", str(self.proxy.port), stdin=requests.encode()
        )
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+)", completed.out), [b"200", b"404", b"200"])
        self.assertEqual(self.fixed.requests, [b"/fixed?1", b"/fixed?2"])

    async def test_openssl_s_client_passes_through_a_tunnel(self):
        openssl = require("openssl")
        await self.start("--set", r"ignore_hosts=^127\.0\.0\.1:")
        material = TLSMaterial(self.directory)
        origin = await self.start_site(tree(fixed=Fixed(BODY)), material.contexts())
        target = f"127.0.0.1:{origin.port}"
        completed = await self.check_program(
            openssl, "s_client", "-proxy", self.address, "-connect", target, "-quiet",
            "-verify_return_error", "-CAfile", material.certificate_file,
            stdin=f"GET /fixed HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n".encode(),
        )  # fmt: skip
        self.assertTrue(completed.out.endswith(BODY), completed.out)

    async def test_node_posts_chunked_with_an_agent(self):
        node = require("node", "nodejs")
        await self.start()
        client = self.write("client.js", NODE_CLIENT)
        await self.check_program(node, client, self.proxy.url, self.origin.url)
        self.assertEqual(len(self.fixed.requests), 20)
