"""Mode ``reverse`` with several backends, as curl and openssl see it."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource

from tests.functional.harness import Completed, FunctionalTestCase, require
from tests.functional.origins import TLSMaterial


class Named(Resource):
    """Says its own name, and what it was called."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render_GET(self, request: Any) -> bytes:
        called = request.getHeader("host")
        return f"{self._name} called {called}".encode()


class BackendTests(FunctionalTestCase):
    """One listener, two servers, by name."""

    async def test_by_host_and_by_sni(self):
        curl, openssl = require("curl"), require("openssl")
        material = TLSMaterial(self.directory)
        plain = await self.start_site(Named("one"))
        secure = await self.start_site(Named("two"), material.contexts())
        config = self.write(
            "config.toml",
            f"""
            reverse_backends = [
                "one.example.com=http://127.0.0.1:{plain.port}",
                "*.example.com=https://localhost:{secure.port}",
            ]
            keep_host_header = true
            ssl_verify_upstream_trusted_ca = "{material.certificate_file}"
            """,
        )
        proxy = await self.start_proxy("reverse", arguments=("--config", str(config)))
        authority = self.directory / "conf" / "interceptor-ca-cert.pem"

        async def ask(url: str, *arguments: str) -> Completed:
            return await self.run_program(
                *(curl, "--silent", "--show-error", "--max-time", "30", "--cacert", authority),
                *arguments,
                *(
                    "--connect-to",
                    f"::127.0.0.1:{proxy.port}",
                    "--write-out",
                    "\\n%{http_code}",
                    url,
                ),
            )

        for host, answer in (
            ("one.example.com", b"one called one.example.com\n200"),
            ("other.example.com", b"two called other.example.com\n200"),
        ):
            for scheme in ("http", "https"):
                completed = await ask(f"{scheme}://{host}/")
                self.assertEqual((completed.out, completed.err), (answer, b""))
        for version in ("--http1.1", "--http2"):
            completed = await ask("https://one.example.com/", version)
            self.assertEqual(completed.out, b"one called one.example.com\n200")
            # Another host than that of the SNI, and one that nobody has.
            completed = await ask("https://one.example.com/", version, "-HHost: x.example.com")
            self.assertEqual(completed.out, b"two called x.example.com\n200")
            completed = await ask("https://one.example.com/", version, "-HHost: elsewhere.test")
            self.assertTrue(completed.out.endswith(b"\n421"), completed)
        completed = await ask("http://elsewhere.test/")
        self.assertIn(b"interceptor: backend-unknown", completed.out)
        self.assertTrue(completed.out.endswith(b"\n421"))
        completed = await self.run_program(
            *(openssl, "s_client", "-connect", f"127.0.0.1:{proxy.port}"),
            *("-servername", "elsewhere.test"),
        )
        self.assertIn(b"unrecognized name", completed.err)
        self.assertIn("backend-unknown: no backend has this name: `elsewhere.test`", proxy.log)
