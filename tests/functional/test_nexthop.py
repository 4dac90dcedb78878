"""Servers by way of other proxies, over real sockets: our own kind, squid, and small ones."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory

from tests.functional.greeter import Greeter
from tests.functional.harness import (
    Completed,
    FunctionalTestCase,
    Origin,
    ProxyProcess,
    reactor,
    require,
)
from tests.functional.origins import Echo, TLSMaterial, free_port, tree
from tests.nexthops import HTTPHop, NextHopFactory, SOCKSHop

SCHEMES = ("http", "https", "socks5", "socks5h")

HOOKS = """\
import socket

look_up = socket.getaddrinfo


def trap(name, *more):
    if not set(name) <= set("0123456789abcdef.:"):
        print("looked up", name, flush=True)
    return look_up(name, *more)


socket.getaddrinfo = trap


def response(flow):
    flow.response.headers["X-Via"] = str(flow.server_conn.via)
"""


class NextHopCase(FunctionalTestCase):
    """Starts origins, next hops, and proxies that are to use them."""

    def setUp(self) -> None:
        super().setUp()
        self.curl_program = require("curl")
        self.material = TLSMaterial(self.directory)
        self.script = self.write("hooks.py", HOOKS)

    async def start_origins(self) -> None:
        """Start one origin for HTTP, one for HTTPS, and one that speaks first."""
        site = tree(echo=Echo())
        self.origin = await self.start_site(site)
        self.tls_origin = await self.start_site(site, self.material.contexts())
        self.greeter = await self.listen(Factory.forProtocol(Greeter))

    async def start_hop(self, scheme: str) -> tuple[NextHopFactory, Origin]:
        """Start a small next hop. All names that it is asked for are this machine."""

        def connect(address: tuple[str, int], make: Any) -> Deferred[Any]:
            endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", address[1])
            return connectProtocol(endpoint, make())

        factory = NextHopFactory(SOCKSHop if scheme.startswith("socks") else HTTPHop, connect)
        contexts = self.material.contexts() if scheme == "https" else None
        return factory, await self.listen(factory, contexts)

    async def start_chained(self, hop: str, *modes: str, arguments: Any = ()) -> ProxyProcess:
        """Start a proxy whose every connection goes through ``hop``."""
        return await self.start_proxy(
            *modes,
            scripts=[self.script],
            arguments=[
                *("--set", f"upstream_proxy={hop}"),
                *("--set", f"ssl_verify_upstream_trusted_ca={self.material.certificate_file}"),
                *arguments,
            ],
        )

    async def curl(self, *arguments: Any) -> Completed:
        """Run curl, which trusts the proxy's authority and the origins' own certificate."""
        trusted = self.directory / "trusted.pem"
        authority = self.directory / "conf" / "interceptor-ca-cert.pem"
        trusted.write_bytes(authority.read_bytes() + self.material.certificate_file.read_bytes())
        return await self.run_program(
            *(self.curl_program, "--silent", "--show-error", "--max-time", "30"),
            *("--include", "--cacert", trusted, *arguments),
        )

    async def until_told(self, proxy: ProxyProcess, code: bytes, times: int) -> None:
        """Wait until the proxy has told of an error so many times."""
        await proxy.process.until(lambda process: process.out.count(code) == times)

    def check_echo(self, completed: Completed, via: str | None) -> None:
        """The response is an origin's, and came by the next hop as hooks see it."""
        head, _, body = completed.out.rpartition(b"\r\n\r\n")
        self.assertEqual(completed.status, 0, completed.err)
        self.assertIn(b" 200 ", head, completed.out)
        self.assertEqual(json.loads(body)["method"], "GET")
        if via is None:
            self.assertNotIn(b"x-via", head.lower())
        else:
            # HTTP/2, as over TLS, knows small letters only.
            self.assertIn(f"x-via: {via}".lower().encode(), head.lower())


class MatrixTests(NextHopCase):
    """Each mode, straight and by way of each kind of next hop, with each kind of traffic.

    The mode ``transparent`` needs a network of its own: `tests.functional.test_transparent` has its
    part of the matrix.
    """

    async def start_way(self, scheme: str | None) -> tuple[NextHopFactory | None, str | None]:
        """Start what connections go by; gives it, and its URL. None is straight to the server."""
        await self.start_origins()
        if scheme is None:
            return None, None
        factory, listener = await self.start_hop(scheme)
        return factory, f"{scheme}://localhost:{listener.port}"

    async def start_modes(
        self, hop: str | None, *modes: str, arguments: Sequence[str] = ()
    ) -> list[int]:
        """Start a proxy with several modes, and return their ports."""
        way = [] if hop is None else ["--set", f"upstream_proxy={hop}"]
        trusted = f"ssl_verify_upstream_trusted_ca={self.material.certificate_file}"
        proxy = await self.start_proxy(
            *modes, scripts=[self.script], arguments=[*way, "--set", trusted, *arguments]
        )
        return [listener.port for listener in proxy.listeners]

    async def greet(self, port: int, *way: str) -> None:
        """Speak with the service that speaks first."""
        telnet = await self.run_program(
            *(self.curl_program, "--silent", "--max-time", "30", "--upload-file", "-"),
            *(*way, f"telnet://localhost:{port}"),
            stdin=b"hello\r\n",
        )
        self.assertEqual(telnet.out, b"220 ready\r\nyou said hello\r\n", telnet.err)

    async def check_all(self, scheme: str | None) -> None:
        """HTTP, HTTPS and raw TCP: all of it is seen by hooks."""
        factory, hop = await self.start_way(scheme)
        plain, tls = (f"http://localhost:{self.origin.port}", self.tls_origin.port)
        ports = await self.start_modes(
            hop,
            "regular",
            "socks5",
            f"reverse:{plain}",
            f"reverse:https://localhost:{tls}",
            f"reverse:tcp://localhost:{self.greeter.port}",
            *([] if hop is None else [f"upstream:{hop}"]),
        )
        to_proxies = [
            ("--proxy", f"http://127.0.0.1:{ports[0]}"),
            ("--socks5-hostname", f"127.0.0.1:{ports[1]}"),
        ]
        if hop is not None:
            to_proxies.append(("--proxy", f"http://127.0.0.1:{ports[5]}"))
        for way in to_proxies:
            for url in (f"{plain}/echo", f"https://localhost:{tls}/echo"):
                self.check_echo(await self.curl(*way, url), str(hop))
            await self.greet(self.greeter.port, "--proxytunnel", *way)
        for port in ports[2:4]:
            for own in (f"http://127.0.0.1:{port}/echo", f"https://127.0.0.1:{port}/echo"):
                self.check_echo(await self.curl(own), str(hop))
        await self.greet(ports[4])
        self.check_connections(factory)

    async def check_passthrough(self, scheme: str | None) -> None:
        """What is to be left alone: the client speaks TLS with the server itself."""
        factory, hop = await self.start_way(scheme)
        tls = self.tls_origin.port
        ports = await self.start_modes(
            *(hop, "regular", "socks5", f"reverse:https://localhost:{tls}"),
            f"reverse:tcp://localhost:{tls}",
            arguments=["--set", "ignore_hosts=localhost"],
        )
        for way in (
            ("--proxy", f"http://127.0.0.1:{ports[0]}"),
            ("--socks5-hostname", f"127.0.0.1:{ports[1]}"),
            ("--connect-to", f"localhost:{tls}:127.0.0.1:{ports[2]}"),
            ("--connect-to", f"localhost:{tls}:127.0.0.1:{ports[3]}"),
        ):
            completed = await self.curl(
                *(*way, "--cacert", self.material.certificate_file),
                f"https://localhost:{tls}/echo",
            )
            self.check_echo(completed, None)
        plain = f"http://localhost:{self.origin.port}/echo"
        tunnel = ("--proxytunnel", "--proxy", f"http://127.0.0.1:{ports[0]}")
        self.check_echo(await self.curl(*tunnel, plain), None)
        socks = ("--socks5-hostname", f"127.0.0.1:{ports[1]}")
        self.check_echo(await self.curl(*socks, plain), None)
        self.check_connections(factory)

    def check_connections(self, factory: NextHopFactory | None) -> None:
        """Each connection to an origin is one that the next hop was asked for."""
        if factory is not None:
            accepted = self.origin.accepted + self.tls_origin.accepted + self.greeter.accepted
            self.assertEqual(accepted, len(factory.asked))

    async def test_direct(self):
        await self.check_all(None)

    async def test_direct_untouched(self):
        await self.check_passthrough(None)

    async def test_http(self):
        await self.check_all("http")

    async def test_https(self):
        await self.check_all("https")

    async def test_socks5(self):
        await self.check_all("socks5")

    async def test_socks5h(self):
        await self.check_all("socks5h")

    async def test_http_untouched(self):
        await self.check_passthrough("http")

    async def test_https_untouched(self):
        await self.check_passthrough("https")

    async def test_socks5_untouched(self):
        await self.check_passthrough("socks5")

    async def test_socks5h_untouched(self):
        await self.check_passthrough("socks5h")


class TrapTests(NextHopCase):
    """What must never happen."""

    async def test_nothing_is_dialled_where_the_next_hop_is_down(self):
        await self.start_origins()
        for scheme in SCHEMES:
            hop = f"{scheme}://127.0.0.1:{free_port()}"
            reverse = f"reverse:http://127.0.0.1:{self.origin.port}"
            proxy = await self.start_chained(hop, "regular", reverse, "socks5")
            through = ("--proxy", proxy.url)
            socks = ("--socks5-hostname", f"127.0.0.1:{proxy.listeners[2].port}")
            for arguments in (
                (*through, f"{self.origin.url}/echo"),
                (*through, f"{self.tls_origin.tls_url}/echo"),
                (*through, "--proxytunnel", f"{self.origin.url}/echo"),
                (f"{proxy.listeners[1].url}/echo",),
            ):
                completed = await self.curl(*arguments)
                self.assertIn(b" 502 ", completed.out + completed.err)
            for url in (self.origin.url, self.tls_origin.tls_url):
                # SOCKS has its own way to say so: "general failure".
                completed = await self.curl(*socks, f"{url}/echo")
                self.assertEqual(completed.status, 97, completed.out)
                self.assertIn(b"(1)", completed.err)
            await self.until_told(proxy, b"upstream-proxy-unreachable", 4)
        self.assertEqual(self.origin.accepted + self.tls_origin.accepted, 0)

    async def test_socks5h_looks_up_nothing(self):
        await self.start_origins()
        factory, listener = await self.start_hop("socks5h")
        # An address, so that not even the next hop has a name.
        proxy = await self.start_chained(
            *(f"socks5h://127.0.0.1:{listener.port}", "regular", "socks5"),
            f"reverse:http://only.hop.invalid:{self.origin.port}",
        )
        url = f"http://only.hop.invalid:{self.origin.port}/echo"
        self.check_echo(
            await self.curl("--proxy", proxy.url, url), f"socks5h://127.0.0.1:{listener.port}"
        )
        completed = await self.curl(
            "--proxy", proxy.url, "--insecure", f"https://only.hop.invalid:{self.tls_origin.port}/"
        )
        # Its certificate is for another name.
        self.assertIn(b" 502 ", completed.out)
        for way in (
            ("--socks5-hostname", f"127.0.0.1:{proxy.listeners[1].port}", url),
            (f"{proxy.listeners[2].url}/echo",),
        ):
            self.check_echo(await self.curl(*way), f"socks5h://127.0.0.1:{listener.port}")
        self.assertEqual([name for _, name, _ in factory.asked], ["only.hop.invalid"] * 4)
        self.assertNotIn(b"looked up", proxy.process.out)

    async def test_it_is_the_proxy_itself(self):
        port = free_port()
        proxy = await self.start_proxy(f"upstream:http://localhost:{port}@127.0.0.1:{port}")
        completed = await self.curl("--proxy", proxy.url, "http://192.0.2.1/")
        self.assertIn(b"interceptor: proxy-loop\n", completed.out)


class ProgramTests(NextHopCase):
    """Real proxies as next hops."""

    async def test_another_interceptor(self):
        await self.start_origins()
        further = await self.start_proxy(
            *("regular", "socks5"),
            arguments=["--set", "proxyauth=user:secret", "--set", "ignore_hosts=.*"],
        )
        for scheme, listener in zip(("http", "socks5"), further.listeners, strict=True):
            credentials = self.write("credentials", f"# for the next hop\n\n{USER_AND_PASSWORD}\n")
            proxy = await self.start_chained(
                f"{scheme}://127.0.0.1:{listener.port}",
                arguments=["--set", f"upstream_auth_file={credentials}"],
            )
            for url in (self.origin.url, self.tls_origin.tls_url):
                completed = await self.curl("--proxy", proxy.url, f"{url}/echo")
                self.check_echo(completed, f"{scheme}://127.0.0.1:{listener.port}")
                self.assertNotIn(b"roxy-", completed.out)
            self.assertNotIn("secret", proxy.process.report())
            unknown = await self.start_chained(f"{scheme}://127.0.0.1:{listener.port}")
            for url in (self.origin.url, self.tls_origin.tls_url):
                completed = await self.curl("--proxy", unknown.url, f"{url}/echo")
                self.assertIn(b"502", completed.out + completed.err)
            await self.until_told(unknown, b"upstream-proxy-auth", 2)

    async def test_squid(self):
        squid = require("squid")
        await self.start_origins()
        port = free_port()
        configuration = self.write("squid.conf", SQUID.format(port=port))
        # Under a name of its own, so that it shares no memory with others of its kind.
        self.start_process(
            *(squid, "-N", "-n", f"test{port}", "-f", configuration), stop=signal.SIGTERM
        )
        await self.wait_for_port(port)
        proxy = await self.start_chained(f"http://127.0.0.1:{port}")
        for url in (self.origin.url, self.tls_origin.tls_url):
            completed = await self.curl("--proxy", proxy.url, f"{url}/echo")
            self.check_echo(completed, f"http://127.0.0.1:{port}")
        completed = await self.curl("--proxy", proxy.url, "https://127.0.0.1:1/")
        self.assertIn(b" 502 ", completed.out + completed.err)
        await self.until_told(proxy, b"upstream-proxy-refused", 1)


USER_AND_PASSWORD = "user:secret"

SQUID = """\
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
cache_log /dev/null
cache_store_log none
access_log none
coredump_dir none
pid_filename none
pinger_enable off
visible_hostname test
shutdown_lifetime 0 seconds
"""
