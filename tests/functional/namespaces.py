"""Networks of their own for tests: a client, a router that the proxy is on, and a server.

They are namespaces that need no rights, and go with the processes that hold them. Where such
namespaces cannot be had tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.functional.harness import Completed, ProxyProcess, RunningProcess, require
from tests.functional.pki import PKITestCase, key_pem
from tests.net.certificates import issue

CLIENT, CLIENT6 = "198.51.100.2", "fd00:5::2"
ROUTER, ROUTER6 = "198.51.100.1", "fd00:5::1"
SERVER, SERVER6 = "192.0.2.80", "fd00:9::80"
"""The client's address, the router's on the client's network, and the server's."""

HOST, PINNED = "origin.test", "pinned.test"
"""What the server's certificate is for, besides its addresses."""

# What the kernel does before it knows of a duplicate would only make tests wait.
_SET_UP = """
set -e
ip link set lo up
ip link add c0 type veth peer name c1 netns {client}
ip link add s0 type veth peer name s1 netns {server}
ip addr add 198.51.100.1/24 dev c0
ip addr add 192.0.2.1/24 dev s0
ip addr add fd00:5::1/64 dev c0 nodad
ip addr add fd00:9::1/64 dev s0 nodad
ip link set c0 up
ip link set s0 up
"""
_SET_UP_END = """
set -e
ip link set lo up
ip addr add {address}/24 dev {device}
ip addr add {address6}/64 dev {device} nodad
ip link set {device} up
ip route add default via {gateway}
ip -6 route add default via {gateway6}
"""


class Namespace:
    """A network namespace, which lasts as long as a process does."""

    def __init__(self, process: RunningProcess, mapped: bool) -> None:
        assert process.transport is not None
        self.pid = process.transport.pid
        user = ("--user", "--preserve-credentials") if mapped else ()
        self.inside: tuple[str, ...] = (
            *(require("nsenter"), "--target", str(self.pid), "--net", *user, "--"),
        )
        """The command that runs the one behind it in here."""


class NamespaceTestCase(PKITestCase):
    """Has three networks, with a server running in one of them.

    Whoever runs the test is root in them, but cannot be anybody else there, unless
    ``needs_root`` asks for a user who is root already.
    """

    needs_root = False
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        super().setUp()
        self.nft, self.curl_program = require("nft"), require("curl")
        require("ip")
        unshare = [require("unshare"), "--net"]
        mapped = not self.needs_root
        if mapped:
            unshare += ["--user", "--map-root-user"]
        elif os.geteuid():
            raise SkipTest("this needs several users, and so root")
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("network namespaces cannot be had here")
        self.router = Namespace(await self._hold(*unshare), mapped)
        inner = (*self.router.inside, require("unshare"), "--net")
        self.client = Namespace(await self._hold(*inner), mapped)
        self.server = Namespace(await self._hold(*inner), mapped)
        await self.shell(
            self.router, _SET_UP.format(client=self.client.pid, server=self.server.pid)
        )
        ends: Any = (
            (self.client, "c1", CLIENT, CLIENT6, ROUTER, ROUTER6),
            (self.server, "s1", SERVER, SERVER6, "192.0.2.1", "fd00:9::1"),
        )
        for namespace, device, address, address6, gateway, gateway6 in ends:
            script = _SET_UP_END.format(
                device=device,
                address=address,
                address6=address6,
                gateway=gateway,
                gateway6=gateway6,
            )
            await self.shell(namespace, script)
        await self._start_server()

    async def _hold(self, *command: str) -> RunningProcess:
        """Start a process that holds what ``command`` makes."""
        process = self.start_process(*command, "sh", "-c", "echo held; exec sleep 600")
        await process.until(lambda process: process.out == b"held\n")
        return process

    async def _start_server(self) -> None:
        certified = issue(HOST, PINNED, SERVER, SERVER6, issuer=self.root)
        pem = self.write("server.pem", key_pem(certified) + certified.pem())
        self.origin = self.start_process(
            *self.server.inside, sys.executable, "-m", "tests.functional.service_program", pem
        )
        await self.origin.until(lambda process: process.out.startswith(b"ready\n"))

    @property
    def accepted(self) -> list[str]:
        """What the server has told of its connections: ``port 80: 192.0.2.1``."""
        complete, _, _ = self.origin.out.rpartition(b"\n")
        return complete.decode().splitlines()[1:]

    async def shell(self, namespace: Namespace, script: str) -> None:
        """Run a script that has to succeed."""
        await self.check_program(*namespace.inside, "sh", "-c", script)

    async def apply(self, namespace: Namespace, rules: str | bytes) -> None:
        """Give rules to the packet filter."""
        text = rules if isinstance(rules, bytes) else rules.encode()
        await self.check_program(*namespace.inside, self.nft, "-f", "-", stdin=text)

    async def start_inside(
        self,
        namespace: Namespace,
        *modes: str,
        options: Sequence[str] = (),
        before: Sequence[str] = (),
        **settings: Any,
    ) -> ProxyProcess:
        """Start a proxy in a namespace. It trusts the server's certificate.

        ``before`` is a command that runs the proxy's.
        """
        return await self.start_tls_proxy(
            *modes, options=options, inside=(*namespace.inside, *before), **settings
        )

    async def curl(
        self, *arguments: str | Path, namespace: Namespace | None = None, stdin: bytes = b""
    ) -> Completed:
        """Run curl, by default at the client. It trusts the proxy's authority only."""
        inside = (namespace or self.client).inside
        return await self.run_program(
            *(*inside, self.curl_program, "--silent", "--show-error", "--include"),
            *("--max-time", "30", "--cacert", self.ca_file, *arguments),
            stdin=stdin,
        )
