"""Proxies that lead back to each other, over real sockets."""

from __future__ import annotations

from tests.functional.harness import FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import free_port


class RingTests(FunctionalTestCase):
    """Two proxies, each of which is the next hop, or the server, of the other."""

    def setUp(self) -> None:
        super().setUp()
        self.curl_program = require("curl")

    async def start_ring(self, mode: str, *options: str) -> ProxyProcess:
        """Start both, and return one of them."""
        arguments = [word for option in options for word in ("--set", option)]
        port = free_port()
        first = await self.start_proxy(mode.format(port=port), arguments=arguments)
        await self.start_proxy(
            f"{mode.format(port=first.port)}@127.0.0.1:{port}", arguments=arguments
        )
        return first

    async def test_next_hops(self):
        first = await self.start_ring("upstream:http://127.0.0.1:{port}")
        for url in ("http://192.0.2.1/", "https://192.0.2.1/"):
            completed = await self.run_program(
                *(self.curl_program, "--silent", "--show-error", "--include", "--max-time", "30"),
                *("--proxy", first.url, url),
            )
            self.assertIn(b" 508", completed.out + completed.err)
            await first.process.until(lambda process: b"error: proxy-ring" in process.out)

    async def test_servers(self):
        first = await self.start_ring("reverse:http://127.0.0.1:{port}", "via=always")
        completed = await self.run_program(
            *(self.curl_program, "--silent", "--include", "--max-time", "30", first.url)
        )
        self.assertIn(b"interceptor: proxy-ring\n", completed.out)
        # Each turn was one line: three, and the one that found out.
        await first.process.until(lambda process: process.out.count(b" 508 ") == 3)
        self.assertEqual(first.process.out.count(b"error: proxy-ring"), 1)
