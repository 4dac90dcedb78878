"""Mode ``auto``, as curl uses it in all its ways."""

from __future__ import annotations

from tests.functional.harness import FunctionalTestCase, require
from tests.functional.origins import Echo, TLSMaterial, tree


class AutoTests(FunctionalTestCase):
    """One port."""

    async def test_all_ways(self):
        curl = require("curl")
        material = TLSMaterial(self.directory)
        plain = await self.start_site(tree(echo=Echo()))
        secure = await self.start_site(tree(echo=Echo()), material.contexts())
        script = self.write(
            "hooks.py",
            "def response(flow):\n"
            "    flow.response.headers['X-Seen'] = f'{flow.mode} {flow.client_conn.principal}'\n",
        )
        proxy = await self.start_proxy(
            "auto",
            scripts=[script],
            arguments=(
                *("--set", "proxyauth=anna:secret"),
                *("--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}"),
            ),
        )
        authority = self.directory / "conf" / "interceptor-ca-cert.pem"
        for scheme in ("http", "https", "socks5h", "socks5"):
            for url in (
                f"http://127.0.0.1:{plain.port}/echo",
                f"https://127.0.0.1:{secure.port}/echo",
            ):
                ask = (curl, "-sS", "-i", "-m", "60", "--cacert", authority)
                trust = ("--proxy-cacert", authority)
                place = f"127.0.0.1:{proxy.port}"
                completed = await self.check_program(
                    *(*ask, *trust, "-x", f"{scheme}://anna:secret@{place}", url)
                )
                self.assertIn(b"x-seen: auto anna\r\n", completed.out.lower(), (scheme, url))
                completed = await self.run_program(
                    *(*ask, *trust, "-x", f"{scheme}://anna:wrong@{place}", url)
                )
                self.assertNotIn(b" 200 ", completed.out, (scheme, url))
        self.assertIn("proxy-auth-required", proxy.log)
