"""Modes ``reverse:tcp`` and ``reverse:tls`` with real clients and servers."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.protocol import Factory

from tests.functional.greeter import Greeter
from tests.functional.harness import FunctionalTestCase, require
from tests.functional.origins import TLSMaterial, free_port

HOOKS = """\
def tcp_message(flow):
    message = flow.messages[-1]
    message.content = message.content.replace(b"apple", b"peach")


def tcp_end(flow):
    print("ended:", flow.error.code if flow.error else "well", flush=True)
"""


class AppleGreeter(Greeter):
    """Speaks first of what the hooks look for."""

    greeting = b"220 apple\r\n"


class ReverseTests(FunctionalTestCase):
    """Programs that know of no proxy."""

    def hooks(self) -> Path:
        return self.write("hooks.py", HOOKS)

    async def test_redis(self):
        server, client = require("redis-server"), require("redis-cli")
        port = free_port()
        self.start_process(
            *(server, "--port", str(port), "--bind", "127.0.0.1"),
            *("--save", "", "--dir", str(self.directory)),
        )
        await self.wait_for_port(port)
        proxy = await self.start_proxy(f"reverse:tcp://127.0.0.1:{port}", scripts=[self.hooks()])
        through = (client, "-p", str(proxy.port))
        await self.check_program(*through, "SET", "fruit", "apple")
        completed = await self.check_program(*through, "GET", "fruit")
        self.assertEqual(completed.out, b"peach\n")
        direct = await self.check_program(client, "-p", str(port), "GET", "fruit")
        self.assertEqual(direct.out, b"peach\n")

    async def test_a_server_that_speaks_first(self):
        openssl, curl = require("openssl"), require("curl")
        material = TLSMaterial(self.directory)
        plain = await self.listen(Factory.forProtocol(AppleGreeter))
        secure = await self.listen(Factory.forProtocol(AppleGreeter), material.contexts())
        for mode in (
            f"reverse:tcp://127.0.0.1:{plain.port}",
            f"reverse:tls://127.0.0.1:{secure.port}",
        ):
            trust = ("--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}")
            proxy = await self.start_proxy(mode, scripts=[self.hooks()], arguments=trust)
            completed = await self.check_program(
                curl, "-s", "-m", "60", f"telnet://127.0.0.1:{proxy.port}", stdin=b"apple\r\n"
            )
            self.assertEqual(completed.out, b"220 peach\r\nyou said peach\r\n")
            # However slow this machine is, this client is about to begin with TLS.
            patience = ("--set", "detect_timeout=60s", *trust)
            proxy = await self.start_proxy(mode, scripts=[self.hooks()], arguments=patience)
            completed = await self.run_program(
                *(openssl, "s_client", "-quiet", "-connect", f"127.0.0.1:{proxy.port}"),
                stdin=b"apple\r\n",
            )
            self.assertEqual(completed.out, b"220 peach\r\nyou said peach\r\n")

    async def test_no_server(self):
        curl = require("curl")
        port = free_port()
        proxy = await self.start_proxy(f"reverse:tcp://127.0.0.1:{port}", scripts=[self.hooks()])
        await self.run_program(curl, "-s", "-m", "60", f"telnet://127.0.0.1:{proxy.port}")
        await proxy.process.until(lambda process: b"ended: connect-refused" in process.out)
        line = f"TCP 127.0.0.1:{port} - 0b 0b".encode()
        await proxy.process.until(lambda process: line in process.out)
