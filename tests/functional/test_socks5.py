"""Mode ``socks5`` with real clients: HTTP, HTTPS, what is neither, and failures."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.protocol import Factory

from tests.functional.greeter import Greeter
from tests.functional.harness import Completed, FunctionalTestCase, Origin, ProxyProcess, require
from tests.functional.origins import Echo, TLSMaterial, free_port, tree

HOOKS = """\
def response(flow):
    flow.response.headers["X-Seen"] = flow.request.pretty_url + " by " + flow.mode


def serverconnect(server_conn):
    print("to", server_conn.address[0], flush=True)
"""


class SOCKSTests(FunctionalTestCase):
    """curl, by name and by address."""

    origin: Origin
    proxy: ProxyProcess

    async def start(self, *arguments: str) -> None:
        """Start an origin and a proxy in mode ``socks5``."""
        self.curl_program = require("curl")
        self.origin = await self.start_site(tree(echo=Echo()))
        script = self.write("hooks.py", HOOKS)
        self.proxy = await self.start_proxy("socks5", scripts=[script], arguments=arguments)

    async def curl(self, *arguments: Any, way: str = "--socks5-hostname") -> Completed:
        """Run curl through the proxy."""
        return await self.run_program(
            *(self.curl_program, "--silent", "--show-error", "--max-time", "30"),
            *(way, f"127.0.0.1:{self.proxy.port}", *arguments),
        )

    async def test_http_by_name_and_by_address(self):
        await self.start()
        for way, host in (("--socks5-hostname", "localhost"), ("--socks5", "127.0.0.1")):
            url = f"http://localhost:{self.origin.port}/echo"
            completed = await self.curl("-4", "--include", "--data", "body", url, way=way)
            self.assertIn(f"X-Seen: {url} by socks5".encode(), completed.out)
            self.assertEqual(json.loads(completed.out.partition(b"\r\n\r\n")[2])["body"], "body")
            self.assertIn(f"to {host}\n".encode(), self.proxy.process.out)

    async def test_https(self):
        material = TLSMaterial(self.directory)
        await self.start("--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}")
        origin = await self.start_site(tree(echo=Echo()), material.contexts())
        for way in ("--socks5-hostname", "--socks5"):
            completed = await self.curl(
                *("--cacert", self.directory / "conf" / "interceptor-ca-cert.pem", "--include"),
                f"https://localhost:{origin.port}/echo",
                way=way,
            )
            self.assertIn(b"x-seen: https://localhost:", completed.out, completed.err)

    async def test_a_service_that_is_neither(self):
        await self.start()
        origin = await self.listen(Factory.forProtocol(Greeter))
        completed = await self.run_program(
            *(self.curl_program, "--silent", "--max-time", "30", "--upload-file", "-"),
            *("--socks5-hostname", f"127.0.0.1:{self.proxy.port}"),
            f"telnet://127.0.0.1:{origin.port}",
            stdin=b"hello\r\n",
        )
        self.assertEqual(completed.out, b"220 ready\r\nyou said hello\r\n", completed.err)

    async def test_failures(self):
        await self.start()
        for destination, reply in (
            (f"127.0.0.1:{free_port()}", 5),
            (f"127.0.0.1:{self.proxy.port}", 2),
            ("no-such-name.invalid", 4),
        ):
            completed = await self.curl(f"http://{destination}/")
            self.assertEqual(completed.status, 97, completed.err)
            self.assertIn(f"({reply})".encode(), completed.err)
        self.assertIn("proxy-loop", self.proxy.log)

    async def test_http_sent_to_the_port(self):
        await self.start()
        completed = await self.curl(self.origin.url, way="--proxy")
        self.assertEqual(completed.status, 52, completed.err)
        self.assertIn("socks-version", self.proxy.log)
