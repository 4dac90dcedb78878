"""Mode ``reverse:udp`` on real sockets."""

from __future__ import annotations

import socket
import sys

from twisted.internet.task import deferLater

from tests.functional.datagrams import DatagramTestCase
from tests.functional.harness import reactor

HOOKS = """\
def udp_message(flow):
    message = flow.messages[-1]
    if message.content == b"drop":
        message.drop()
    elif message.from_client:
        message.content = message.content.upper()
    if message.content == b"GREET":
        flow.inject(b"welcome", to_client=True)


def udp_error(flow):
    print("failed:", flow.error.code, flow.error.msg, flush=True)
"""


class UDPTests(DatagramTestCase):
    async def test_there_and_back(self):
        for host, interface in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")):
            server = self.peer(lambda data: b"re: " + data, interface)
            proxy = await self.start_proxy(
                f"reverse:udp://{host}:{server.port}@{host}:0",
                scripts=[self.write("hooks.py", HOOKS)],
            )
            client = self.peer(interface=interface)
            for data in (b"one", b"drop", b"", b"x" * 60000):
                client.send(data, (interface, proxy.port))
            self.assertEqual(await client.until(3), [b"re: ONE", b"re: ", b"re: " + b"X" * 60000])
            self.assertEqual(client.received[0][1][1], proxy.port)

    async def test_clients_are_told_apart(self):
        server = self.peer(lambda data: b"re: " + data)
        proxy = await self.start_proxy(f"reverse:udp://127.0.0.1:{server.port}")
        clients = [self.peer() for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number, ("127.0.0.1", proxy.port))
        for number, client in enumerate(clients):
            self.assertEqual(await client.until(1), [b"re: %d" % number])
        self.assertEqual(len({address for _, address in server.received}), 5)

    async def test_only_the_server_is_heard(self):
        server = self.peer()
        proxy = await self.start_proxy(
            f"reverse:udp://127.0.0.1:{server.port}", scripts=[self.write("hooks.py", HOOKS)]
        )
        client, stranger = self.peer(), self.peer()
        client.send(b"greet", ("127.0.0.1", proxy.port))
        await server.until(1)
        [(_, source)] = server.received
        stranger.send(b"forged", source)
        server.send(b"true", source)
        self.assertEqual(await client.until(2), [b"welcome", b"true"])

    async def test_a_server_at_one_of_several_addresses(self):
        # The first address of localhost is that of IPv6, where nobody listens.
        server = self.peer(bytes.upper)
        proxy = await self.start_proxy(f"reverse:udp://localhost:{server.port}")
        client = self.peer()
        client.send(b"one", ("127.0.0.1", proxy.port))
        self.assertEqual(await client.until(1), [b"ONE"])

    async def test_nobody_listens_there(self):
        server = self.peer()
        port = server.port
        await server.stop()
        proxy = await self.start_proxy(
            f"reverse:udp://127.0.0.1:{port}", scripts=[self.write("hooks.py", HOOKS)]
        )
        client = self.peer()
        client.send(b"one", ("127.0.0.1", proxy.port))
        await proxy.process.until(lambda process: b"failed: connect-refused" in process.out)
        # The next datagram begins anew: by now somebody may listen.
        again = self.peer(bytes.lower, port=port)
        client.send(b"two", ("127.0.0.1", proxy.port))
        self.assertEqual(await client.until(1), [b"two"])
        self.assertEqual(again.received[0][0], b"TWO")
        await proxy.process.until(lambda process: b"error: connect-refused" in process.out)

    async def test_the_proxy_itself_is_no_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        proxy = await self.start_proxy(
            f"reverse:udp://localhost:{port}@127.0.0.1:{port}",
            scripts=[
                self.write("hooks.py", "def udp_error(flow):\n print(flow.error, flush=True)")
            ],
        )
        client = self.peer()
        client.send(b"one", ("127.0.0.1", port))
        await proxy.process.until(lambda process: b"own listener" in process.out)

    async def test_flows_end_when_nothing_moves(self):
        server = self.peer(bytes.upper)
        proxy = await self.start_proxy(
            f"reverse:udp://127.0.0.1:{server.port}", arguments=["--set", "udp_idle_timeout=200ms"]
        )
        client = self.peer()
        client.send(b"one", ("127.0.0.1", proxy.port))
        await client.until(1)
        line = f" UDP 127.0.0.1:{server.port} - 3b 3b ".encode()
        await proxy.process.until(lambda process: line in process.out)

    async def test_a_port_that_is_taken(self):
        taken = self.peer()
        completed = await self.run_program(
            *(sys.executable, "-m", "interceptor", "run", "--set", "confdir=conf"),
            *("--mode", f"reverse:udp://127.0.0.1:9@127.0.0.1:{taken.port}"),
        )
        self.assertEqual(completed.status, 1, completed.err)
        self.assertIn(b"for UDP: address already in use", completed.err)

    async def test_many_at_once(self):
        server = self.peer(lambda data: data)
        proxy = await self.start_proxy(f"reverse:udp://127.0.0.1:{server.port}")
        client = self.peer()
        for number in range(500):
            client.send(b"%d" % number, ("127.0.0.1", proxy.port))
            if number % 50 == 49:
                await deferLater(reactor(), 0)
                await client.until(number + 1 - 49)
        self.assertEqual(await client.until(500), [b"%d" % number for number in range(500)])
