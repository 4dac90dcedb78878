"""Limits that hold for several workers together, and workers that hang."""

from __future__ import annotations

import os

from twisted.internet.error import ConnectError

from tests.functional.harness import START_TIMEOUT, ProxyProcess, reactor, sleep
from tests.functional.test_workers import SCRIPT, Client, WorkersCase


class LimitTests(WorkersCase):
    """What one worker does not use, the other one may."""

    async def fill(self, proxy: ProxyProcess, most: int, first: bytes = b"") -> dict[int, int]:
        """Hold as many connections as may be with one worker, and look what the other may hold.

        Returns how many each has in the end.
        """
        held: dict[int, list[Client]] = {1: [], 2: []}
        deadline = reactor().seconds() + START_TIMEOUT
        greedy = 0
        while sum(map(len, held.values())) < most:
            self.assertLess(reactor().seconds(), deadline, {n: len(c) for n, c in held.items()})
            try:
                client = await self.connect(proxy, first=first)
                number = (await client.ask("/"))["worker"]
            except (ConnectionError, ConnectError):
                # What the other one can spare is being asked for.
                await sleep(0.05)
                continue
            greedy = greedy or number
            if number != greedy and len(held[number]):
                client.close()
                continue
            held[number].append(client)
        # There is none beyond the limit, with neither of them.
        for _ in range(10):
            with self.assertRaises((ConnectionError, ConnectError)):
                await (await self.connect(proxy, first=first)).ask("/")
        return {number: len(clients) for number, clients in held.items()}

    async def test_connections_in_all(self):
        proxy = await self.start(arguments=["--set", "connection_limit=20"])
        self.assertEqual(sorted((await self.fill(proxy, 20)).values()), [1, 19])

    async def test_connections_of_one_client(self):
        proxy = await self.start(
            arguments=[
                *("--set", "proxy_protocol_from=127.0.0.0/8"),
                *("--set", "client_connection_limit=12"),
            ]
        )
        header = b"PROXY TCP4 192.168.1.%d 192.168.1.9 1000 2000\r\n"
        self.assertEqual(sorted((await self.fill(proxy, 12, header % 1)).values()), [1, 11])
        self.assertEqual(sorted((await self.fill(proxy, 12, header % 2)).values()), [1, 11])

    async def test_what_a_killed_worker_had_is_there_again(self):
        proxy = await self.start(arguments=["--set", "connection_limit=20"])
        clients = await self.one_each(proxy)
        killed = (await clients[1].ask("/"))["process"]
        for client in clients.values():
            client.close()
        await self.fill(proxy, 20)
        os.kill(killed, 9)
        await proxy.process.until(lambda p: b"serves" in p.err)
        counts = {1: 0, 2: 0}

        async def both_serve() -> bool:
            try:
                client = await self.connect(proxy)
                counts[(await client.ask("/"))["worker"]] += 1
            except (ConnectionError, ConnectError):
                return False
            client.close()
            return counts[1] > 0

        await self.until(both_serve)


class HangTests(WorkersCase):
    """A script that never returns."""

    async def test_it_is_killed_and_replaced(self):
        script = SCRIPT.replace(
            '    elif words[0] == "end":',
            '    elif words[0] == "hang":\n        hang()\n    elif words[0] == "end":',
        )
        script += "\n\ndef hang():\n    while True:\n        pass\n"
        proxy = await self.start(script=script, arguments=["--set", "worker_timeout=6s"])
        clients = await self.one_each(proxy)
        old = (await clients[1].ask("/"))["process"]
        hanging = clients[1].ask("/hang")
        with self.assertRaises(ConnectionError):
            await hanging
        await proxy.process.until(lambda p: b"serves" in p.err)
        self.assertIn(f"worker 1 (process {old}) has not answered for 6 s", proxy.log)
        self.assertIn(f"worker 1 (process {old}) did not answer for 6 s and was killed", proxy.log)
        # Where it was, it has told.
        self.assertRegex(proxy.log, r'script\.py", line \d+ in hang')
        await clients[2].ask("/")
        new = await self.one_each(proxy)
        self.assertNotEqual((await new[1].ask("/"))["process"], old)

    async def test_one_that_is_busy_is_left_alone(self):
        script = SCRIPT.replace(
            '    elif words[0] == "end":',
            '    elif words[0] == "busy":\n        time.sleep(1.5)\n    elif words[0] == "end":',
        ).replace("import os\n", "import os\nimport time\n")
        proxy = await self.start(script=script, arguments=["--set", "worker_timeout=8s"])
        clients = await self.one_each(proxy)
        before = (await clients[1].ask("/"))["process"]
        for _ in range(4):
            await clients[1].ask("/busy")
        self.assertEqual((await clients[1].ask("/"))["process"], before)
        self.assertNotIn("has not answered", proxy.log)
