"""Transparent mode, with a packet filter that leads connections to the proxy."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from tests.functional.harness import (
    RUN_TIMEOUT,
    STOP_TIMEOUT,
    Completed,
    ProxyProcess,
    reactor,
    require,
)
from tests.functional.namespaces import (
    CLIENT,
    CLIENT6,
    HOST,
    PINNED,
    SERVER,
    SERVER6,
    NamespaceTestCase,
)

HOOKS = """\
def clientconnect(root_layer):
    print("client", *root_layer.client_conn.address[:1], *root_layer.client_conn.sockname)


def response(flow):
    flow.response.headers["X-Seen"] = f"{flow.mode} {flow.request.pretty_url}"


def tcp_message(flow):
    message = flow.messages[-1]
    message.content = message.content.replace(b"ready", b"seen")
"""


COUNTER = """\
table inet counting {
    chain output {
        type filter hook output priority 0; policy accept;
        meta mark 7 meta l4proto udp counter
    }
}
"""


class TransparentTestCase(NamespaceTestCase):
    """Proxies on the router, and the rules that the program itself makes for them."""

    async def rules(self, *arguments: str) -> str:
        """Return what ``interceptor transparent-rules`` prints."""
        completed = await self.check_program(
            sys.executable, "-m", "interceptor", "transparent-rules", *arguments
        )
        return completed.out.decode()

    async def apply_rules(self, *arguments: str) -> str:
        """Apply what it prints, on the router."""
        rules = await self.rules(*arguments)
        await self.apply(self.router, rules)
        return rules

    async def run_comments(self, rules: str, title: str) -> None:
        """Run the commands that the rules' comments have behind a title."""
        _, _, behind = rules.partition(f"# {title}:\n")
        for line in behind.splitlines():
            if not line.startswith("#   "):
                break
            await self.shell(self.router, line.removeprefix("#   "))

    def check_echo(self, completed: Completed, url: str) -> None:
        """The response is the server's, and was seen by a hook."""
        self.assertEqual(completed.status, 0, completed.err)
        # Over TLS it is HTTP/2, which knows small letters only.
        self.assertIn(f"x-seen: transparent {url}\r\n".encode(), completed.out.lower())
        _, _, body = completed.out.rpartition(b"\r\n\r\n")
        self.assertEqual(json.loads(body)["target"], "/echo")

    async def check_traffic(self, proxy: ProxyProcess, server: str, client: str) -> None:
        """HTTP, HTTPS and what speaks first, to one address of the server."""
        host = f"[{server}]" if ":" in server else server
        url = f"http://{host}/echo"
        self.check_echo(await self.curl(url), url)
        url = f"https://{HOST}/echo"
        self.check_echo(await self.curl("--resolve", f"{HOST}:443:{server}", url), url)
        url = f"https://{host}/echo"
        self.check_echo(await self.curl(url), url)
        telnet = await self.curl("--upload-file", "-", f"telnet://{host}:25", stdin=b"hello\r\n")
        self.assertEqual(telnet.out, b"220 seen\r\nyou said hello\r\n", telnet.err)
        told = [f"client {client} {server} {port}\n".encode() for port in (80, 443, 25)]
        await proxy.process.until(lambda process: all(line in process.out for line in told))


class RedirectTests(TransparentTestCase):
    """Connections that a rule redirects."""

    async def start(self, *modes: str, options: tuple[str, ...] = ()) -> ProxyProcess:
        script = self.write("hooks.py", HOOKS)
        return await self.start_inside(self.router, *modes, options=options, scripts=[script])

    async def test_from_an_interface(self):
        proxy = await self.start("transparent@[::]:8080")
        await self.apply_rules("--listen", "[::]:8080", "--interface", "c0")
        await self.check_traffic(proxy, SERVER, CLIENT)
        await self.check_traffic(proxy, SERVER6, CLIENT6)
        # The server saw the router, and each connection once.
        self.assertEqual(len(self.accepted), 8)
        self.assertNotIn(CLIENT, str(self.accepted))

    async def test_undone(self):
        await self.start("transparent@0.0.0.0:8080")
        rules = await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
        # Applied again they are not there twice.
        await self.apply(self.router, rules)
        [undo] = [line for line in rules.splitlines() if line.startswith("# Undo:")]
        await self.shell(self.router, undo.removeprefix("# Undo:"))
        listed = await self.check_program(*self.router.inside, self.nft, "list", "ruleset")
        self.assertEqual(listed.out, b"")

    async def test_only_some_ports(self):
        await self.start("transparent@0.0.0.0:8080")
        await self.apply_rules(
            *("--listen", "0.0.0.0:8080", "--interface", "c0", "--port", "80", "--port", "443")
        )
        url = f"http://{SERVER}/echo"
        self.check_echo(await self.curl(url), url)
        # Nothing forwards what is not redirected: this network ends at the router.
        completed = await self.curl("--max-time", "1", f"telnet://{SERVER}:25")
        self.assertNotEqual(completed.status, 0)

    async def test_the_host_field_leads_nobody_astray(self):
        await self.start("transparent@0.0.0.0:8080")
        await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
        completed = await self.curl("--header", "Host: elsewhere.invalid", f"http://{SERVER}/echo")
        self.check_echo(completed, "http://elsewhere.invalid/echo")

    async def test_untouched(self):
        proxy = await self.start(
            "transparent@0.0.0.0:8080", options=(f"ignore_hosts={HOST}:443|{SERVER}:80",)
        )
        await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
        for arguments in (
            (f"http://{SERVER}/echo",),
            ("--cacert", self.roots, "--resolve", f"{HOST}:443:{SERVER}", f"https://{HOST}/echo"),
        ):
            completed = await self.curl(*arguments)
            self.assertIn(b" 200", completed.out, completed.err)
            self.assertNotIn(b"x-seen", completed.out.lower())
        self.assertNotIn("error", proxy.log)

    async def test_nobody_listens(self):
        proxy = await self.start("transparent@0.0.0.0:8080", options=("close_timeout=100ms",))
        await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
        completed = await self.curl(f"http://{SERVER}:81/")
        self.assertIn(b"interceptor: connect-refused\n", completed.out)
        completed = await self.curl(f"https://{SERVER}:81/")
        self.assertIn(b"interceptor: connect-refused\n", completed.out)
        # Who says nothing is let go after a while.
        telnet = await self.curl("--upload-file", "-", f"telnet://{SERVER}:81")
        self.assertEqual(telnet.out, b"")
        told = f"TCP {SERVER}:81 ".encode()
        await proxy.process.until(lambda process: told in process.out)
        self.assertEqual(proxy.process.out.count(b"error: connect-refused"), 3)

    async def test_nobody_redirected(self):
        await self.start("transparent@0.0.0.0:8080")
        completed = await self.curl("http://198.51.100.1:8080/")
        self.assertIn(b"interceptor: proxy-loop\n", completed.out)
        self.assertIn(b"no rule of the packet filter redirected", completed.out)

    async def test_several_modes(self):
        await self.start("transparent@0.0.0.0:8080", "regular@198.51.100.1:3128")
        await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
        url = f"http://{SERVER}/echo"
        completed = await self.curl("--proxy", "http://198.51.100.1:3128", url)
        self.assertIn(b"X-Seen: regular", completed.out)
        self.check_echo(await self.curl(url), url)


class MatrixTests(TransparentTestCase):
    """By way of each kind of next hop, with each kind of traffic.

    The next hop is on the server's side. It lets everything through untouched.
    """

    async def start_chained(self, scheme: str) -> ProxyProcess:
        """Start a next hop, and a proxy that goes by it."""
        await self.start_inside(
            self.server,
            *("regular@[::]:3128", "socks5@[::]:1080"),
            options=["ignore_hosts=.*"],
        )
        # It speaks TLS as itself, with an authority of its own kind.
        trusted = self.write("trusted.pem", self.ca_file.read_bytes() + self.roots.read_bytes())
        port = 1080 if scheme.startswith("socks") else 3128
        proxy = await self.start_inside(
            *(self.router, "transparent@[::]:8080"),
            options=[
                f"ssl_verify_upstream_trusted_ca={trusted}",
                f"upstream_proxy={scheme}://{SERVER}:{port}",
                f"ignore_hosts={PINNED}",
            ],
            scripts=[self.write("hooks.py", HOOKS)],
        )
        await self.apply_rules("--listen", "[::]:8080", "--interface", "c0")
        return proxy

    async def check_way(self, scheme: str) -> None:
        """All that the router lets through has come by the next hop."""
        proxy = await self.start_chained(scheme)
        await self.check_traffic(proxy, SERVER, CLIENT)
        await self.check_traffic(proxy, SERVER6, CLIENT6)
        completed = await self.curl(
            *("--cacert", self.roots, "--resolve", f"{PINNED}:443:{SERVER}"),
            f"https://{PINNED}/echo",
        )
        self.assertIn(b" 200", completed.out, completed.err)
        self.assertNotIn(b"x-seen", completed.out.lower())
        self.assertEqual(len(self.accepted), 9)
        addresses = {line.partition(": ")[2] for line in self.accepted}
        self.assertEqual(addresses, {SERVER, SERVER6})

    async def test_http(self):
        await self.check_way("http")

    async def test_https(self):
        await self.check_way("https")

    async def test_socks5(self):
        await self.check_way("socks5")

    async def test_socks5h(self):
        await self.check_way("socks5h")

    async def test_nothing_is_dialled_where_the_next_hop_is_down(self):
        told = b"upstream-proxy-unreachable"
        for scheme in ("http", "https", "socks5", "socks5h"):
            proxy = await self.start_inside(
                *(self.router, "transparent@0.0.0.0:8080"),
                options=[f"upstream_proxy={scheme}://{SERVER}:3128", "close_timeout=100ms"],
            )
            await self.apply_rules("--listen", "0.0.0.0:8080", "--interface", "c0")
            for url in (f"http://{SERVER}/", f"https://{SERVER}/"):
                completed = await self.curl(url)
                self.assertIn(b"interceptor: %b\n" % told, completed.out)
            telnet = await self.curl("--upload-file", "-", f"telnet://{SERVER}:25")
            self.assertEqual(telnet.out, b"")
            await proxy.process.until(lambda process: process.out.count(told) == 3)
            proxy.process.signal(signal.SIGTERM)
            await proxy.process.ended(STOP_TIMEOUT)
        self.assertEqual(self.accepted, [])


class LocalTests(TransparentTestCase):
    """Connections of this machine itself: the proxy's own ones must not come back to it."""

    RULES = ("--listen", "127.0.0.1:8080", "--user", "root")

    async def test_mark(self):
        script = self.write("hooks.py", HOOKS)
        await self.start_inside(
            *(self.router, "transparent@127.0.0.1:8080"),
            options=["socket_mark=7"],
            scripts=[script],
        )
        await self.apply_rules(*self.RULES, "--proxy-user", "root", "--mark", "7")
        url = f"http://{SERVER}/echo"
        self.check_echo(await self.curl(url, namespace=self.router), url)
        self.assertEqual(self.accepted, ["port 80: 192.0.2.1"])

    async def test_marked_datagrams(self):
        await self.start_inside(
            *(self.router, f"reverse:udp://{SERVER}:9@127.0.0.1:5300"), options=["socket_mark=7"]
        )
        await self.apply(self.router, COUNTER)
        send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {})"
        await self.check_program(
            *(*self.router.inside, sys.executable, "-c", send.format(("127.0.0.1", 5300)))
        )
        deadline = reactor().seconds() + RUN_TIMEOUT
        while True:
            listed = await self.check_program(*self.router.inside, self.nft, "list", "ruleset")
            if b"packets 1 " in listed.out:
                return
            self.assertLess(reactor().seconds(), deadline, listed.out)

    async def test_own_connection(self):
        for strategy in ("auto", "lazy"):
            proxy = await self.start_inside(
                *(self.router, "transparent@127.0.0.1:8080"),
                options=[f"connection_strategy={strategy}"],
            )
            await self.apply_rules(*self.RULES)
            completed = await self.curl(f"http://{SERVER}/echo", namespace=self.router)
            self.assertIn(b"interceptor: proxy-loop\n", completed.out)
            self.assertIn(b"meta skuid", completed.out)
            # Where it stopped: the client's connection, and the first of the proxy's own.
            await proxy.process.until(lambda process: b"proxy-loop" in process.out)
            self.assertNotIn(b"too many", proxy.process.err)
            await self.shell(self.router, "nft delete table inet interceptor")
            proxy.process.signal(signal.SIGTERM)
            await proxy.process.ended(STOP_TIMEOUT)
        self.assertEqual(self.accepted, [])

    async def test_rights_that_are_missing(self):
        setpriv = require("setpriv")
        for option in ("tproxy=true", "socket_mark=7"):
            completed = await self.run_program(
                *(*self.router.inside, setpriv, "--bounding-set=-net_admin,-net_raw"),
                *(sys.executable, "-m", "interceptor", "run", "--mode", "transparent@0"),
                *("--set", option),
            )
            self.assertEqual((completed.status, completed.out), (1, b""), completed.err)
            self.assertIn(b"needs the capability CAP_NET_ADMIN", completed.err)
            self.assertEqual(completed.err.count(b"\n"), 1)


class UserTests(TransparentTestCase):
    """Connections of some users of this machine."""

    needs_root = True

    async def get(self, user: str) -> Completed:
        """Run curl on the router, as a user who need not be able to read files of the test's."""
        return await self.run_program(
            *(*self.router.inside, require("setpriv"), "--reuid", user, "--clear-groups"),
            *(self.curl_program, "--silent", "--show-error", "--include", "--max-time", "30"),
            f"http://{SERVER}/echo",
            cwd=Path("/"),
        )

    async def test_one_user(self):
        script = self.write("hooks.py", HOOKS)
        await self.start_inside(self.router, "transparent@127.0.0.1:8080", scripts=[script])
        await self.apply_rules(
            *("--listen", "127.0.0.1:8080", "--user", "nobody", "--proxy-user", "root")
        )
        self.check_echo(await self.get("nobody"), f"http://{SERVER}/echo")
        self.assertNotIn(b"X-Seen", (await self.get("root")).out)

    async def test_all_but_the_proxy(self):
        script = self.write("hooks.py", HOOKS)
        await self.start_inside(self.router, "transparent@127.0.0.1:8080", scripts=[script])
        await self.apply_rules(
            *("--listen", "127.0.0.1:8080", "--all-users", "--proxy-user", "root")
        )
        for user in ("nobody", "daemon"):
            self.check_echo(await self.get(user), f"http://{SERVER}/echo")
        self.assertEqual(len(self.accepted), 2)


class TPROXYTests(TransparentTestCase):
    """Connections that are handed over by TPROXY."""

    async def test_both_families(self):
        script = self.write("hooks.py", HOOKS)
        proxy = await self.start_inside(
            self.router, "transparent@[::]:8080", options=["tproxy=true"], scripts=[script]
        )
        rules = await self.apply_rules("--listen", "[::]:8080", "--interface", "c0", "--tproxy")
        await self.run_comments(rules, "Apply")
        await self.check_traffic(proxy, SERVER, CLIENT)
        await self.check_traffic(proxy, SERVER6, CLIENT6)
        await self.run_comments(rules, "Undo")
        listed = await self.check_program(*self.router.inside, "ip", "rule", "list")
        self.assertNotIn(b"fwmark", listed.out)
