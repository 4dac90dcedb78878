"""Networks that are cut, and names that nobody resolves, while other traffic goes on."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.faults import (
    LONG,
    FaultCase,
    FaultOrigin,
    Outcome,
    read_all,
    read_head,
    read_response,
    request,
    tunnel,
)
from tests.functional.harness import ProxyProcess, require
from tests.functional.nameserver import resolver_file
from tests.functional.namespaces import SERVER, Namespace, NamespaceTestCase

SILENCE = """\
table inet cut {
    chain input {
        type filter hook input priority 0; policy accept;
        drop
    }
    chain output {
        type filter hook output priority 0; policy accept;
        drop
    }
}
"""
"""Nothing gets to a host, and nothing away from it; nobody is told."""

PATHS = {"none": None, "head": None, "length": 200, "chunked": 200}
"""What is under way, and the status that the client has by then."""

MOUNTED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class NetworkCase(NamespaceTestCase, FaultCase):  # type: ignore[misc]  # setUp of one is awaited
    """A proxy on the router, which the tests reach by the file system."""

    async def start_beside(self, namespace: Namespace, address: str) -> FaultOrigin:
        """Start a server in a namespace."""
        process = self.start_process(
            *(*namespace.inside, sys.executable, "-m", "tests.functional.faultorigin"),
            *("0", "0", "0", self.pem, address),
        )
        await process.until(lambda each: each.out.startswith(b"ready ") and b"\n" in each.out)
        words = process.out.split(b"\n")[0].split()[1:]
        return FaultOrigin(process, *map(int, words))

    async def start_reachable(self, *inside: str, **options: Any) -> ProxyProcess:
        """Start a proxy, two servers, and make what is made once."""
        # The name of a socket may have no more than 107 bytes: the test's directory is too deep.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.socket = f"{directory}/proxy"
        proxy = await self.start_faulty(
            f"regular@unix:{self.socket}", inside=(*self.router.inside, *inside), **options
        )
        self.far = await self.start_beside(self.server, SERVER)
        self.near = await self.start_beside(self.router, "127.0.0.1")
        for origin, address in ((self.far, SERVER), (self.near, "127.0.0.1")):
            outcome = await deferToThread(self.ask, f"{address}:{origin.plain}", "ok")
            self.assertEqual(outcome, Outcome(200, b"ok", True))
        return proxy

    def way(self) -> socket.socket:
        """Connect to the proxy."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(LONG)
        client.connect(self.socket)
        return client

    def ask(self, authority: str, path: str) -> Outcome:
        """Ask a server for something."""
        with self.way() as client:
            client.sendall(request(path, authority))
            return read_response(client)

    def talk(self, authority: str) -> bytes:
        """Say something in a tunnel, and read that to its end."""
        with self.way() as client:
            assert tunnel(client, authority)
            client.sendall(b"\0word")
            return read_all(client)[0]

    async def state(self, port: int) -> dict[str, Any]:
        def ask() -> bytes:
            with self.way() as client:
                client.sendall(request("state", "127.0.0.1:1", "Connection: close"))
                head, rest = read_head(client)
                assert head.startswith(b"HTTP/1.1 200"), head
                return rest + read_all(client)[0]

        found: dict[str, Any] = json.loads(await deferToThread(ask))
        return found

    async def check_near(self) -> None:
        """The other server's traffic goes on."""
        outcome = await deferToThread(self.ask, f"127.0.0.1:{self.near.plain}", "ok")
        self.assertEqual(outcome, Outcome(200, b"ok", True))


class CutTests(NetworkCase):
    """A server that cannot be reached any more, without a word."""

    async def survived(self, cut: Any, mend: Any, codes: set[str]) -> None:
        """Cut the network with requests under way, and mend it."""
        proxy = await self.start_reachable(
            read_timeout="2s", connect_timeout="1s", tunnel_idle_timeout="2s", detect_timeout="0"
        )
        authority = f"{SERVER}:{self.far.plain}"
        before = await self.holding(proxy)
        calls: list[Any] = [(self.ask, authority, path) for path in PATHS]
        running = self.in_threads(*calls, (self.talk, f"{SERVER}:{self.far.raw}"))
        await self.far.told(*PATHS, "raw")

        async def begun() -> bool:
            entries = self.accounts.entries
            return sum(entry[0] == "responseheaders" for entry in entries) >= 4

        await self.until(begun)
        await cut()
        await self.check_near()
        late = deferToThread(self.ask, authority, "ok")
        await self.check_near()
        outcomes = await running
        for (path, status), outcome in zip(PATHS.items(), outcomes, strict=False):
            if status is None:
                self.assertIn(outcome.status, (502, 504), path)
            else:
                self.assertEqual((outcome.status, outcome.complete), (status, False), path)
        self.assertEqual(outcomes[-1], b"\0word")
        self.assertIn((await late).status, (502, 504))
        await mend()
        outcome = await deferToThread(self.ask, authority, "ok")
        self.assertEqual(outcome, Outcome(200, b"ok", True))
        await self.let_go(proxy, before)
        ends = {"response", "clientdisconnect", "tcp_end"}
        found = self.accounts.codes()
        self.assertLessEqual(set(found), codes | ends, found)
        self.assertGreaterEqual(found["read-timeout"], len(PATHS), found)

    async def test_packets_are_dropped(self):
        async def cut() -> None:
            await self.apply(self.server, SILENCE)

        async def mend() -> None:
            await self.shell(self.server, f"{self.nft} delete table inet cut")

        await self.survived(cut, mend, {"read-timeout", "connect-timeout"})

    async def test_the_link_is_down(self):
        async def cut() -> None:
            await self.shell(self.router, "ip link set s0 down")

        async def mend() -> None:
            await self.shell(self.router, "ip link set s0 up")

        await self.survived(cut, mend, {"read-timeout", "connect-unreachable"})


class DeadNamesTests(NetworkCase):
    """A name server that does not answer, or answers nothing of use."""

    async def test_names_do_not_resolve(self):
        names = self.start_process(
            *(*self.server.inside, sys.executable, "-m", "tests.functional.nameserver"),
            *(SERVER, SERVER),
        )
        await names.until(lambda process: process.out.startswith(b"ready\n"))
        file = resolver_file(self.directory, SERVER)
        inside = (require("unshare"), "--mount", "sh", "-c", MOUNTED, str(file))
        proxy = await self.start_reachable(*inside, dns_timeout="3s", dns_cache_ttl="0")
        port = self.far.plain
        outcome = await deferToThread(self.ask, f"good.test:{port}", "ok")
        self.assertEqual(outcome, Outcome(200, b"ok", True))
        before = await self.holding(proxy)
        dead = ["silent", "servfail", "garbage", "refused", "empty"]
        # More than there are threads that look up names.
        calls = [(self.ask, f"{name}.test:{port}", "ok") for name in dead * 4]
        running = self.in_threads(*calls)
        await names.until(lambda process: b"silent\n" in process.out)
        # Addresses need no names.
        await self.check_near()
        outcome = await deferToThread(self.ask, f"{SERVER}:{port}", "ok")
        self.assertEqual(outcome, Outcome(200, b"ok", True))
        outcomes = await running
        self.assertEqual({each.status for each in outcomes} - {502, 504}, set())
        outcome = await deferToThread(self.ask, f"good.test:{port}", "ok")
        self.assertEqual(outcome, Outcome(200, b"ok", True))
        await self.let_go(proxy, before)
        found = self.accounts.codes()
        failed = {code: count for code, count in found.items() if code.startswith("dns-")}
        self.assertEqual(sum(failed.values()), len(calls), found)
