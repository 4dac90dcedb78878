"""The PROXY protocol with HAProxy, which invented it: in front of the proxy, and behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.functional.harness import FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import Echo, TLSMaterial, free_port, tree
from tests.functional.test_proxyprotocol import HOOKS

# Clients come from 127.0.0.5, the load balancer from 127.0.0.6.
IN_FRONT = """\
defaults
    timeout connect 20s
    timeout client 60s
    timeout server 60s
listen requests
    mode http
    bind 127.0.0.1:{port}
    server proxy 127.0.0.1:{proxy} source 127.0.0.6 {how}
listen bytes
    mode tcp
    bind 127.0.0.1:{bytes}
    server proxy 127.0.0.1:{proxy} source 127.0.0.6 {how}
"""

BEHIND = """\
defaults
    timeout client 60s
frontend requests
    mode http
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port]"
"""


class HAProxyTests(FunctionalTestCase):
    """curl speaks with HAProxy, and that with the proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.haproxy = require("haproxy")
        self.curl_program = require("curl")

    async def start_haproxy(self, configuration: str, port: int, **more: Any) -> None:
        """Start HAProxy, and wait until it listens, on one port as on all."""
        path = self.write(f"haproxy-{port}.cfg", configuration.format(port=port, **more))
        self.start_process(self.haproxy, "-db", "-f", path)
        await self.wait_for_port(port)

    async def start_in_front(self, proxy: ProxyProcess, how: str) -> tuple[int, int]:
        """Start HAProxy in front of a proxy; give the ports for requests, and for bytes."""
        ports = free_port(), free_port()
        await self.start_haproxy(IN_FRONT, ports[0], bytes=ports[1], proxy=proxy.port, how=how)
        return ports

    async def start(self, mode: str, *settings: str) -> ProxyProcess:
        """Start a proxy that believes the load balancer, and nobody else."""
        arguments = ["--set", "proxy_protocol_from=127.0.0.6"]
        for setting in settings:
            arguments += ["--set", setting]
        return await self.start_proxy(
            mode, scripts=[self.write("hooks.py", HOOKS)], arguments=arguments
        )

    async def check_client(self, *arguments: str | Path) -> None:
        """Fetch something; hooks have to see curl's own address, and the load balancer's."""
        completed = await self.check_program(
            *(self.curl_program, "--silent", "--show-error", "--max-time", "30"),
            *("--interface", "127.0.0.5", "--insecure"),
            *("--write-out", "\n%header{x-client} %header{x-peer} 127.0.0.5:%{local_port}"),
            *arguments,
        )
        told, peer, expected = completed.out.decode().rpartition("\n")[2].split()
        self.assertEqual((told, peer), (expected, "127.0.0.6"))

    async def test_in_front(self):
        material = TLSMaterial(self.directory)
        origin = await self.start_site(tree(echo=Echo()))
        tls_origin = await self.start_site(tree(echo=Echo()), material.contexts())
        trust = f"ssl_verify_upstream_trusted_ca={material.certificate_file}"
        for how in ("send-proxy", "send-proxy-v2"):
            proxy = await self.start(f"reverse:{origin.url}")
            requests, as_bytes = await self.start_in_front(proxy, how)
            for port in (requests, as_bytes):
                await self.check_client(f"http://127.0.0.1:{port}/echo")
            proxy = await self.start(f"reverse:https://localhost:{tls_origin.port}", trust)
            _, as_bytes = await self.start_in_front(proxy, how)
            await self.check_client(f"https://127.0.0.1:{as_bytes}/echo")
            proxy = await self.start("regular", trust)
            _, as_bytes = await self.start_in_front(proxy, how)
            through = ("--proxy", f"http://127.0.0.1:{as_bytes}")
            await self.check_client(*through, f"{origin.url}/echo")
            await self.check_client(*through, f"https://localhost:{tls_origin.port}/echo")
            proxy = await self.start("socks5", trust)
            _, as_bytes = await self.start_in_front(proxy, how)
            await self.check_client(
                *("--socks5-hostname", f"127.0.0.1:{as_bytes}"),
                f"https://localhost:{tls_origin.port}/echo",
            )

    async def test_others_have_their_own_addresses(self):
        origin = await self.start_site(tree(echo=Echo()))
        proxy = await self.start(f"reverse:{origin.url}")
        completed = await self.run_program(
            *(self.curl_program, "--silent", "--include", "--interface", "127.0.0.5"),
            *("--max-time", "30", "--haproxy-protocol", f"{proxy.url}/echo"),
        )
        # Nobody asked for the header, so that it is a request, and no good one.
        self.assertTrue(completed.out.startswith(b"HTTP/1.1 400 "), completed.out)

    async def test_behind(self):
        port = free_port()
        await self.start_haproxy(BEHIND, port)
        for version in ("v1", "v2"):
            proxy = await self.start_proxy(
                f"reverse:http://127.0.0.1:{port}",
                arguments=[
                    *("--set", f"proxy_protocol_to=:{port}$"),
                    *("--set", f"proxy_protocol_version={version}"),
                ],
            )
            completed = await self.check_program(
                *(self.curl_program, "--silent", "--show-error", "--max-time", "30"),
                *("--interface", "127.0.0.5", "--write-out", " 127.0.0.5:%{local_port}"),
                proxy.url,
            )
            told, expected = completed.out.decode().split()
            self.assertEqual(told, expected)
