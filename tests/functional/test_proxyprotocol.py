"""The PROXY protocol with curl and nginx, which have implementations of their own."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.protocols.portforward import ProxyFactory, ProxyServer

from interceptor.wire.proxyprotocol import encode_header
from tests.functional.harness import FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import Echo, TLSMaterial, free_port, tree

HOOKS = """\
def clientconnect(layer):
    print("from", layer.client_conn.address, layer.client_conn.sockname, flush=True)


def response(flow):
    flow.response.headers["X-Client"] = "%s:%d" % flow.client_conn.address
    flow.response.headers["X-Peer"] = flow.client_conn.proxy_address[0]
"""

NGINX = """\
daemon off; master_process off; pid nginx.pid; error_log stderr;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
    uwsgi_temp_path temporary; scgi_temp_path temporary;
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        listen 127.0.0.1:{tls_port} ssl proxy_protocol;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_port";
        }}
    }}
}}
"""

CLIENT = ("203.0.113.9", 40000)
FRONT = ("198.51.100.1", 443)


class Balancer(ProxyServer):
    """A relay that says in version 2 whom it speaks for."""

    header = encode_header(2, CLIENT, FRONT)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(self.header + data)
        self.header = b""


class PROXYProtocolTests(FunctionalTestCase):
    async def curl(self, *arguments: Any) -> str:
        """Run curl, from 127.0.0.5, and return what it prints."""
        completed = await self.check_program(
            *(require("curl"), "--silent", "--show-error", "--max-time", "30"),
            *("--noproxy", "*", "--interface", "127.0.0.5", *arguments),
        )
        return completed.out.decode()

    async def start(self, mode: str, *settings: str) -> ProxyProcess:
        """Start a proxy whose peers on loopback have to send headers."""
        arguments = []
        for setting in ("proxy_protocol_from=127.0.0.0/8", *settings):
            arguments += ["--set", setting]
        return await self.start_proxy(
            mode, scripts=[self.write("hooks.py", HOOKS)], arguments=arguments
        )

    async def test_curl_sends_version_1(self):
        origin = await self.start_site(tree(echo=Echo()))
        proxy = await self.start(f"reverse:{origin.url}")
        told = "\n%header{x-client} %header{x-peer} 127.0.0.5:%{local_port}"
        printed = await self.curl("--haproxy-protocol", "--write-out", told, f"{proxy.url}/echo")
        client, peer, expected = printed.rpartition("\n")[2].split()
        self.assertEqual(client, expected)
        self.assertEqual(peer, "127.0.0.5")

    async def test_version_2_from_a_load_balancer(self):
        origin = await self.start_site(tree(echo=Echo()))
        proxy = await self.start(f"reverse:{origin.url}")
        balancer = ProxyFactory("127.0.0.1", proxy.port)
        balancer.noisy = False
        balancer.protocol = Balancer
        front = await self.listen(balancer)
        told = "\n%header{x-client} %header{x-peer}"
        printed = await self.curl("--write-out", told, f"{front.url}/echo")
        self.assertEqual(printed.rpartition("\n")[2], "203.0.113.9:40000 127.0.0.1")
        self.assertIn(f"from {CLIENT} {FRONT}\n".encode(), proxy.process.out)

    async def test_without_a_header_the_connection_is_reset(self):
        origin = await self.start_site(tree(echo=Echo()))
        proxy = await self.start(f"reverse:{origin.url}")
        completed = await self.run_program(
            require("curl"), "--silent", "--noproxy", "*", f"{proxy.url}/echo"
        )
        self.assertIn(completed.status, (52, 56))
        await proxy.process.until(lambda p: b"proxy-header-missing" in p.err)
        self.assertNotIn(b"from ", proxy.process.out)
        self.assertEqual(origin.factory.accepted, 0)

    async def test_nginx_is_told(self):
        material = TLSMaterial(self.directory)
        port, tls_port = await self.start_nginx(material)
        trust = f"ssl_verify_upstream_trusted_ca={material.certificate_file}"
        for version in ("v1", "v2"):
            for server in (f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}"):
                proxy = await self.start(
                    f"reverse:{server}",
                    trust,
                    f"proxy_protocol_version={version}",
                    f"proxy_protocol_to=:({port}|{tls_port})$",
                )
                printed = await self.curl(
                    "--haproxy-protocol", "--write-out", " 127.0.0.5:%{local_port}", proxy.url
                )
                told, to, front, client = printed.split()
                self.assertEqual((told, to, front), (client, "to", str(proxy.port)), version)

    async def start_nginx(self, material: TLSMaterial) -> tuple[int, int]:
        """Start a server that wants headers; give its ports without and with TLS."""
        (self.directory / "nginx" / "temporary").mkdir(parents=True)
        port, tls_port = free_port(), free_port()
        configuration = self.write(
            "nginx/nginx.conf",
            NGINX.format(
                user="user root;" if os.geteuid() == 0 else "",
                port=port,
                tls_port=tls_port,
                certificate=material.certificate_file,
                key=material.key_file,
            ),
        )
        prefix = f"{configuration.parent}/"
        self.start_process(
            *(require("nginx"), "-p", prefix, "-c", configuration, "-e", "stderr"),
            stop=signal.SIGTERM,
        )
        await self.wait_for_port(port)
        return port, tls_port
