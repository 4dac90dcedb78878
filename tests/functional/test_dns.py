"""Mode ``dns`` with dig, and with sockets that send what dig would not."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from interceptor import dns
from interceptor.names.streams import MessageReader, frame
from tests.functional.datagrams import DatagramTestCase, Peer
from tests.functional.harness import Completed, ProxyProcess, require
from tests.functional.origins import free_port

HOOKS = """\
from interceptor import dns


def dns_request(flow):
    name = flow.request.name.lower()
    if name == "script.test":
        flow.response = dns.Response.make(flow.request, ["192.0.2.7", "2001:db8::7"], ttl=7)
    elif name == "large.test":
        flow.response = dns.Response.make(flow.request, [f"192.0.2.{n}" for n in range(200)])
    elif name == "gone.test":
        flow.response = dns.Response.make(flow.request, rcode="NXDOMAIN")
    elif name == "alias.test":
        flow.request.name = "real.test"
    elif name == "killed.test":
        flow.kill()


def dns_response(flow):
    for record in flow.response.answers:
        if record.type == "A" and record.data == "192.0.2.66":
            record.data = "192.0.2.67"


def dns_error(flow):
    print("failed:", flow.request.name, flow.error.code, flush=True)
"""


def answer(query: bytes) -> bytes | None:
    """What the resolver of these tests says."""
    request = dns.Request.from_wire(query)
    name = request.name.lower()
    if name == "silent.test":
        return None
    if name == "real.test":
        return dns.Response.make(request, ["192.0.2.1", "2001:db8::1"]).to_wire()
    if name == "wrong.test":
        return dns.Response.make(request, "192.0.2.66").to_wire()
    if name == "text.test":
        texts = [f'"{number} {"x" * 200}"' for number in range(100)]
        return dns.Response.make(request, texts).to_wire()
    return dns.Response.make(request, rcode="NXDOMAIN").to_wire()


def answer_datagram(query: bytes) -> bytes | None:
    """The same, as much of it as fits."""
    reply = answer(query)
    if reply is not None and len(reply) > 1232:
        return dns.Response.from_wire(reply).as_truncated(dns.Request.from_wire(query))
    return reply


class ResolverProtocol(Protocol):
    """The resolver over TCP."""

    def connectionMade(self) -> None:
        self._reader = MessageReader()

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        for query in self._reader.receive(data):
            reply = answer(query)
            if reply is not None:
                self.transport.write(frame(reply))


class DNSTests(DatagramTestCase):
    resolver: Peer
    proxy: ProxyProcess

    async def start(self, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        """Start a resolver, and a proxy in front of it."""
        self.dig_program = require("dig")
        origin = await self.listen(Factory.forProtocol(ResolverProtocol))
        self.resolver = self.peer(answer_datagram, port=origin.port)
        self.proxy = await self.start_proxy(
            f"dns:127.0.0.1:{origin.port}@{listen}",
            scripts=[self.write("hooks.py", HOOKS)],
            arguments=arguments,
        )

    async def dig(self, *words: str, server: str = "127.0.0.1") -> Completed:
        """Ask the proxy."""
        return await self.run_program(
            *(self.dig_program, f"@{server}", "-p", str(self.proxy.port)),
            *("+time=20", "+tries=1", *words),
        )

    async def short(self, *words: str, **settings: Any) -> list[str]:
        """Ask the proxy, and return the data of the answers."""
        completed = await self.dig("+short", *words, **settings)
        self.assertEqual(completed.status, 0, completed.out)
        return completed.out.decode().splitlines()

    async def test_a_script_answers_over_udp_and_tcp(self):
        await self.start()
        for way in ("+notcp", "+tcp"):
            self.assertEqual(await self.short(way, "script.test"), ["192.0.2.7"])
            self.assertEqual(await self.short(way, "script.test", "AAAA"), ["2001:db8::7"])
            self.assertEqual(await self.short(way, "script.test", "MX"), [])
            completed = await self.dig(way, "gone.test")
            self.assertIn(b"status: NXDOMAIN", completed.out)
        self.assertEqual(self.resolver.received, [])

    async def test_large_answers_come_over_tcp(self):
        await self.start()
        completed = await self.dig("large.test")
        self.assertIn(b"Truncated, retrying in TCP mode", completed.out)
        self.assertIn(b"ANSWER: 200", completed.out)
        completed = await self.dig("+ignore", "+noedns", "large.test")
        self.assertIn(b"flags: qr tc rd ra;", completed.out)
        # Those of the resolver as well: it is asked in the way in which the client asks.
        completed = await self.dig("text.test", "TXT")
        self.assertIn(b"Truncated, retrying in TCP mode", completed.out)
        self.assertIn(b"ANSWER: 100", completed.out)

    async def test_the_resolver_answers(self):
        await self.start()
        for way in ("+notcp", "+tcp"):
            self.assertEqual(await self.short(way, "real.test"), ["192.0.2.1"])
            self.assertEqual(await self.short(way, "wrong.test"), ["192.0.2.67"])
            self.assertEqual(await self.short(way, "alias.test"), ["real.test.", "192.0.2.1"])
            completed = await self.dig(way, "none.test")
            self.assertIn(b"status: NXDOMAIN", completed.out)
        ports = [address[1] for _, address in self.resolver.received]
        self.assertEqual(len(set(ports)), len(ports))
        await self.proxy.process.until(
            lambda process: b" DNS A real.test NOERROR 192.0.2.1 " in process.out
        )

    async def test_ipv6(self):
        await self.start(listen="[::1]:0")
        for way in ("+notcp", "+tcp"):
            self.assertEqual(await self.short(way, "real.test", server="::1"), ["192.0.2.1"])

    async def test_a_silent_resolver(self):
        await self.start("--set", "dns_query_timeout=300ms")
        for way in ("+notcp", "+tcp"):
            completed = await self.dig(way, "silent.test")
            self.assertIn(b"status: SERVFAIL", completed.out)
        out = self.proxy.process.out
        self.assertEqual(out.count(b"failed: silent.test dns-query-timeout"), 2, out)
        self.assertEqual(await self.short("real.test"), ["192.0.2.1"])

    async def test_a_killed_question(self):
        await self.start()
        completed = await self.dig("+time=1", "killed.test")
        self.assertEqual(completed.status, 9)
        self.assertEqual(await self.short("script.test"), ["192.0.2.7"])

    async def test_what_dig_would_not_send(self):
        await self.start()
        client = self.peer()
        to = ("127.0.0.1", self.proxy.port)
        question = dns.Request.make("script.test", udp_size=None).to_wire()
        for end in range(len(question)):
            client.send(question[:end], to)
        client.send(question[:12] + b"\xc0\x0c\0\1\0\1", to)
        client.send(question[:4] + b"\0\2" + question[6:] + question[12:], to)
        client.send(question[:2] + b"\x81\x80" + question[4:], to)
        # What has a header is told that it was not understood; what is a response is not.
        refused = await client.until(len(question) - 12 + 2)
        self.assertEqual({(len(data), data[3] & 0xF) for data in refused}, {(12, 1)})
        client.send(b"\xff" * 65507, to)
        client.send(question, to)
        answer = (await client.until(len(refused) + 1))[-1]
        self.assertEqual(dns.Response.from_wire(answer).answers[0].data, "192.0.2.7")
        with socket.create_connection(to) as stream:
            stream.settimeout(20)
            stream.sendall(b"\0\5abcde")
            await self.proxy.process.until(lambda process: b"dns-malformed" in process.err)
        for way in ("+notcp", "+tcp"):
            self.assertEqual(await self.short(way, "script.test"), ["192.0.2.7"])

    async def test_the_proxy_itself_is_no_resolver(self):
        self.dig_program = require("dig")
        port = free_port()
        self.proxy = await self.start_proxy(
            f"dns@127.0.0.1:{port}",
            scripts=[self.write("hooks.py", HOOKS)],
            arguments=["--set", f'dns_servers=["127.0.0.1:{port}"]'],
        )
        for way in ("+notcp", "+tcp"):
            completed = await self.dig(way, "real.test")
            self.assertIn(b"status: SERVFAIL", completed.out)
        self.assertEqual(self.proxy.process.out.count(b"failed: real.test proxy-loop"), 2)

    async def test_by_way_of_a_next_hop(self):
        # Over UDP the client is sent to TCP, and from there the way leads through the next hop.
        await self.start()
        hop = await self.start_proxy("socks5")
        port = self.resolver.port
        self.proxy = await self.start_proxy(
            f"dns:127.0.0.1:{port}",
            arguments=["--set", f"upstream_proxy=socks5h://127.0.0.1:{hop.port}"],
        )
        completed = await self.dig("real.test")
        self.assertIn(b"Truncated, retrying in TCP mode", completed.out)
        self.assertIn(b"192.0.2.1", completed.out)
        self.assertEqual(self.resolver.received, [])
        line = f" TCP 127.0.0.1:{port} ".encode()
        await hop.process.until(lambda process: line in process.out)

    async def test_many_clients(self):
        await self.start()
        client = self.peer()
        for number in range(90):
            request = dns.Request.make("real.test")
            request.id = number
            client.send(request.to_wire(), ("127.0.0.1", self.proxy.port))
        answers = [dns.Response.from_wire(data) for data in await client.until(90)]
        self.assertEqual(sorted(each.id for each in answers), list(range(90)))
