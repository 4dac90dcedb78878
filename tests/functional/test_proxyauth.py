"""Proxy authentication with real clients, and a password file that the real htpasswd wrote."""

from __future__ import annotations

import sys
from typing import Any

from tests.functional.harness import Completed, FunctionalTestCase, Origin, ProxyProcess, require
from tests.functional.origins import Echo, TLSMaterial, tree

HOOKS = """\
def response(flow):
    flow.response.headers["X-Principal"] = str(flow.client_conn.principal)
    flow.response.headers["X-Left"] = str("Proxy-Authorization" in flow.request.headers)
"""


class AuthenticationTests(FunctionalTestCase):
    """curl in regular and socks5 mode, for plain HTTP and HTTPS."""

    origin: Origin
    secure: Origin
    proxy: ProxyProcess

    async def start(self, proxyauth: str) -> None:
        """Start two origins, and a proxy with one listener of each mode."""
        self.curl_program = require("curl")
        material = TLSMaterial(self.directory)
        self.origin = await self.start_site(tree(echo=Echo()))
        self.secure = await self.start_site(tree(echo=Echo()), material.contexts())
        config = self.write(
            "conf/config.toml",
            f'proxyauth = "{proxyauth}"\n'
            f'ssl_verify_upstream_trusted_ca = "{material.certificate_file}"\n',
        )
        config.chmod(0o600)
        script = self.write("hooks.py", HOOKS)
        self.proxy = await self.start_proxy(
            "regular", "socks5", scripts=[script], arguments=["--set", "flow_detail=2"]
        )

    async def curl(self, *arguments: Any) -> Completed:
        """Run curl."""
        return await self.run_program(
            *(self.curl_program, "--silent", "--show-error", "--include", "--max-time", "30"),
            *("--cacert", self.directory / "conf" / "interceptor-ca-cert.pem", *arguments),
        )

    def ways(self, credentials: str) -> list[list[str]]:
        """Give curl's arguments for every way to a server."""
        urls = [f"{self.origin.url}/echo", f"{self.secure.tls_url}/echo"]
        regular, socks = self.proxy.listeners
        return [
            [proxy, f"{credentials}127.0.0.1:{listener.port}", url]
            for proxy, listener in (("--proxy", regular), ("--socks5", socks))
            for url in urls
        ]

    async def test_who_says_who_it_is_gets_in(self):
        for proxyauth in ("anna:se-cret", f"@{await self.password_file()}"):
            await self.start(proxyauth)
            for way in self.ways("anna:se-cret@"):
                completed = await self.curl(*way)
                told = b"x-principal: anna\r\nx-left: false\r\n"
                self.assertIn(told, completed.out.lower(), way)
                self.assertNotIn(b"roxy-authorization", completed.out.lower())
            self.check_nothing_is_told()

    async def password_file(self) -> str:
        """Let htpasswd make a file with one user."""
        await self.check_program(
            *(require("htpasswd"), "-c", "-b", "-B", "users", "anna", "se-cret"),
        )
        return str(self.directory / "users")

    async def test_who_does_not_stays_outside(self):
        await self.start("anna:se-cret")
        for credentials in ("", "anna:wrong-one@", "berta:se-cret@"):
            for way in self.ways(credentials):
                completed = await self.curl(*way)
                if way[0] == "--proxy":
                    self.assertIn(b"HTTP/1.1 407 ", completed.out)
                    self.assertIn(b"\r\nProxy-Authenticate: Basic realm=", completed.out)
                else:
                    self.assertEqual(completed.status, 97, completed.err)
        self.assertEqual((self.origin.accepted, self.secure.accepted), (0, 0))
        self.assertIn("proxy-auth-required", self.proxy.log)
        self.check_nothing_is_told()

    async def test_a_command_is_told_what_it_needs(self):
        origin = await self.start_site(tree(echo=Echo()))
        script = self.write("hooks.py", HOOKS)
        run = [sys.executable, "-m", "interceptor", "run", "--set", f"confdir={self.directory}"]
        curl = [require("curl"), "--silent", "--include", f"{origin.url}/echo"]
        for proxyauth, principal in (("anna:s:e@cret", b"anna"), ("any", b"command")):
            completed = await self.check_program(
                *run, "-s", script, "--", *curl, INTERCEPTOR_PROXYAUTH=proxyauth
            )
            self.assertIn(b"X-Principal: " + principal + b"\r\n", completed.out)
        completed = await self.run_program(
            *run, "--set", f"proxyauth=@{await self.password_file()}", "--", *curl
        )
        self.assertEqual(completed.status, 1)
        self.assertIn(b"a password file has only hashes", completed.err)

    def check_nothing_is_told(self) -> None:
        """No password is printed or logged, in no form."""
        printed = self.proxy.process.out.decode() + self.proxy.log
        for secret in ("se-cret", "wrong-one", "YW5uYT"):
            self.assertNotIn(secret, printed)
