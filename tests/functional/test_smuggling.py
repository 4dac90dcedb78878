"""What the proxy makes of smuggled messages, as nginx and Node read it, lenient and strict."""

from __future__ import annotations

import os
import re
import signal

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from interceptor.testing import MemoryProxy
from tests.events.cases import OK
from tests.functional.harness import FunctionalTestCase, reactor, require
from tests.functional.origins import free_port
from tests.smuggling.judges import MISSING, by_us
from tests.smuggling.messages import AFTER, REQUESTS
from tests.wire.otherparsers import Read

END = b"GET /end HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n"
"""Sent behind everything else: whoever found other ends does not answer it."""

NGINX = """\
daemon off;
pid nginx.pid;
error_log stderr;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path temporary;
  underscores_in_headers on;
  ignore_invalid_headers off;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "$request_method $request_uri\n"; }}
  }}
}}
"""

NODE = r"""
const http = require('http');
const lenient = process.argv[2] === 'lenient';
const options = {insecureHTTPParser: lenient, requireHostHeader: !lenient};
const server = http.createServer(options, (request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    const text = `${request.method} ${request.url}\n`;
    response.writeHead(200, {'Content-Length': Buffer.byteLength(text)});
    response.end(text);
  });
});
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""


class Client(Protocol):
    """Sends bytes and keeps what comes until the server closes."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.received)


def forwarded(framing: str) -> dict[bytes, list[Read]]:
    """What servers are sent for all the messages, and the requests that it is meant to be."""
    found = {}
    for data in REQUESTS.values():
        proxy = MemoryProxy(mode="reverse:http://example.test", http_framing=framing)
        origin = proxy.origin().respond(OK)
        client = proxy.client().send(data + AFTER)
        client.end()
        proxy.close()
        for peer in origin.connections:
            expected = by_us(peer.data + END)
            read = [each for each in expected if each is not None]
            # The others were cut off by the client, in the middle of a body.
            if len(read) == len(expected) and read[-1:] == by_us(END):
                found[peer.data + END] = read
    return found


class SmugglingTests(FunctionalTestCase):
    skip = MISSING
    timeout = 120

    async def ask(self, port: int, data: bytes) -> bytes:
        client = Client()
        await connectProtocol(TCP4ClientEndpoint(reactor(), "127.0.0.1", port), client)
        assert client.transport is not None
        client.transport.write(data)
        client.ended.addTimeout(60, reactor())
        return await client.ended

    async def check(self, port: int) -> None:
        """A server answers the requests that it was sent, to the last; or refuses, and closes."""
        at_once = DeferredSemaphore(20)
        wrong: list[str] = []
        answered = 0

        async def one(data: bytes, expected: list[Read]) -> None:
            nonlocal answered
            received = await self.ask(port, data)
            wanted = [b"%b %b" % (read[0], read[1].partition(b"?")[0]) for read in expected]
            told = re.findall(rb"^([A-Za-z]+ /[^ \r\n?]*)(?:\?[^ \n]*)?\n", received, re.MULTILINE)
            refused = re.findall(rb"HTTP/1\.[01] ([0-9]{3})", received)[-1:] != [b"200"]
            if told != wanted[: len(told)] or (len(told) < len(wanted) and not refused):
                wrong.append(f"{data!r}: {received!r}")
            answered += not refused

        def run(data: bytes) -> Deferred[None]:
            return Deferred.fromCoroutine(one(data, cases[data]))

        cases = {**forwarded("repair"), **forwarded("pass")}
        await gatherResults(
            [
                at_once.run(run, data)
                for data in cases
                # Those that are answered without a body, or not in the same way by all; and one
                # that the proxy sends nothing behind (see `interceptor.wire.http1client`).
                if not data.startswith((b"HEAD ", b"OPTIONS *"))
                and b" HTTP/1.0\r\n" not in data
                and b"Upgrade:" not in data
            ],
            consumeErrors=True,
        )
        self.assertEqual(len(wrong), 0, "\n".join(wrong))
        self.assertGreater(answered, 40)

    async def test_nginx(self):
        nginx = require("nginx")
        prefix = self.directory / "nginx"
        (prefix / "temporary").mkdir(parents=True)
        port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.write("nginx/nginx.conf", NGINX.format(port=port, user=user))
        self.start_process(
            nginx, "-p", f"{prefix}/", "-c", configuration, "-e", "stderr", stop=signal.SIGTERM
        )
        await self.wait_for_port(port)
        await self.check(port)

    async def check_node(self, kind: str) -> None:
        process = self.start_process(require("node", "nodejs"), self.write("origin.js", NODE), kind)
        await process.until(lambda p: p.out.endswith(b"\n"))
        await self.check(int(process.out.split()[1]))

    async def test_node(self):
        await self.check_node("strict")

    async def test_node_that_is_lenient(self):
        await self.check_node("lenient")
