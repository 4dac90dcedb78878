"""``interceptor run -- COMMAND`` with programs that speak HTTPS, and know of the proxy by it alone.

A script marks every response, so that a program that found its own way to the origin is caught.
The origin's authority is one that the proxy was told of, and the program was not.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate

from tests.functional.harness import Completed, FunctionalTestCase, Origin, require
from tests.functional.origins import Echo, tree
from tests.functional.test_clients import GitBackend

MARK = """
def responseheaders(flow):
    flow.response.headers["X-Marked"] = "yes"
"""

DAY = datetime.timedelta(days=1)


class Authority:
    """An authority of the test's, and a certificate of it for ``localhost`` and 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer, subject = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            for name in ("Test authority", "localhost")
        )

        def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(issuer)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - DAY)
                .not_valid_after(now + DAY)
            )

        anchor = (
            builder(issuer, ca_key.public_key())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = (
            builder(subject, key.public_key())
            .add_extension(names, critical=False)
            .add_extension(purpose, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self.file = directory / "authority.pem"
        self.file.write_bytes(anchor.public_bytes(serialization.Encoding.PEM))
        private = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(certificate.public_bytes(serialization.Encoding.PEM)),
            KeyPair.load(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
                1,
            ),
        )
        self.contexts: Any = private.options()


class HTTPSTestCase(FunctionalTestCase):
    """Runs programs beside an origin with TLS."""

    async def start(self, **resources: Any) -> Origin:
        self.authority = Authority(self.directory)
        self.script = self.write("mark.py", MARK)
        return await self.start_site(tree(echo=Echo(), **resources), self.authority.contexts)

    async def run_command(
        self, *command: str | Path, options: tuple[str, ...] = (), **settings: Any
    ) -> Completed:
        """Run a command through a proxy that trusts the origin."""
        run: list[str | Path] = [sys.executable, "-m", "interceptor", "run", "-s", self.script]
        for option in (
            f"confdir={self.directory / 'conf'}",
            f"ssl_verify_upstream_trusted_ca={self.authority.file}",
        ):
            run += ["--set", option]
        return await self.run_program(*run, *options, "--", *command, **settings)

    async def check_marked(self, count: int, *command: str | Path, **settings: Any) -> None:
        """Run a command that has to print the mark's value so many times, and nothing else."""
        ended = await self.run_command(*command, **settings)
        self.assertEqual((ended.status, ended.out), (0, b"yes\n" * count), ended.err)


class CurlTests(HTTPSTestCase):
    """curl and wget."""

    async def test_curl(self):
        origin = await self.start()
        await self.check_marked(
            2, require("curl"), "-sS", "-o", "/dev/null", "-o", "/dev/null",
            "-w", "%header{x-marked}\n", f"{origin.tls_url}/echo",
            f"https://localhost:{origin.port}/echo",
        )  # fmt: skip

    async def test_curl_where_tls_passes_through(self):
        origin = await self.start()
        # Then the program itself has to trust the origin, by the same bundle.
        ended = await self.run_command(
            require("curl"), "-sS", "-o", "/dev/null", "-w", "%header{x-marked}|%{http_code}",
            f"{origin.tls_url}/echo", options=("--set", "ignore_hosts=127.0.0.1"),
        )  # fmt: skip
        self.assertEqual((ended.status, ended.out), (0, b"|200"), ended.err)

    async def test_wget(self):
        origin = await self.start()
        ended = await self.run_command(
            require("wget"), "-q", "-S", "-O", "/dev/null", f"{origin.tls_url}/echo"
        )
        self.assertEqual(ended.status, 0, ended.err)
        self.assertIn(b"X-Marked: yes", ended.err)


class PythonTests(HTTPSTestCase):
    """Python's libraries, and pip."""

    async def check(self, count: int, program: str) -> None:
        origin = await self.start()
        await self.check_marked(
            count, sys.executable, "-c", textwrap.dedent(program), f"{origin.tls_url}/echo"
        )

    async def test_urllib(self):
        await self.check(
            1,
            """
            import sys, urllib.request
            print(urllib.request.urlopen(sys.argv[1]).headers["x-marked"])
            """,
        )

    async def test_requests(self):
        await self.check(
            1,
            """
            import requests, sys
            print(requests.get(sys.argv[1], timeout=20).headers["x-marked"])
            """,
        )

    async def test_httpx(self):
        await self.check(
            2,
            """
            import asyncio, httpx, sys
            print(httpx.get(sys.argv[1]).headers["x-marked"])

            async def main():
                async with httpx.AsyncClient() as client:
                    print((await client.get(sys.argv[1])).headers["x-marked"])

            asyncio.run(main())
            """,
        )

    async def test_aiohttp(self):
        await self.check(
            1,
            """
            import aiohttp, asyncio, sys

            async def main():
                async with aiohttp.ClientSession(trust_env=True) as session:
                    async with session.get(sys.argv[1]) as answer:
                        print(answer.headers["x-marked"])

            asyncio.run(main())
            """,
        )

    async def test_pip(self):
        origin = await self.start()
        ended = await self.run_command(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps",
            "-d", self.directory, "--index-url", f"{origin.tls_url}/echo", "trifle",
            options=("-v",),
        )  # fmt: skip
        # The origin has no such package; what counts is that it was asked.
        self.assertRegex(ended.err, rb"GET https://127\.0\.0\.1:\d+/echo/trifle/ 200 ")
        self.assertIn(b"    < X-Marked: yes", ended.err)


class NodeTests(HTTPSTestCase):
    """Node's fetch and its modules."""

    PROGRAM = """
        const url = process.argv[1];
        const get = () => new Promise((resolve) => require('https').get(url, (response) => {
            console.log(response.headers['x-marked']);
            response.resume();
            response.on('end', resolve);
        }));
        (async () => {
            const post = fetch(url, {method: 'POST', body: 'a'});
            for (const answer of await Promise.all([fetch(url), post])) {
                console.log(answer.headers.get('x-marked'));
                await answer.text();
            }
            await get();
            await get();
        })();
    """

    async def test_fetch_and_https(self):
        origin = await self.start()
        node = require("node", "nodejs")
        for url in (origin.tls_url, f"https://localhost:{origin.port}"):
            await self.check_marked(4, node, "-e", self.PROGRAM, f"{url}/echo")

    async def test_a_server_that_is_not_trusted(self):
        origin = await self.start()
        program = """
            fetch(process.argv[1]).then(
                async (answer) => console.log(answer.status, await answer.text()),
            );
        """
        self.authority.file = self.write("empty.pem", Path(os.devnull).read_bytes())
        other = Authority(self.write("other/x", "").parent)
        self.authority.file = other.file
        ended = await self.run_command(
            require("node", "nodejs"), "-e", program, f"{origin.tls_url}/echo"
        )
        self.assertTrue(ended.out.startswith(b"502 "), ended)


JAVA = """
import java.net.*;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        URI address = new URI(arguments[0]);
        HttpURLConnection old = (HttpURLConnection) address.toURL().openConnection();
        System.out.println(old.getHeaderField("X-Marked"));
        HttpResponse<String> answer = HttpClient.newHttpClient().send(
            HttpRequest.newBuilder(address).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.headers().firstValue("X-Marked").orElse("no"));
    }
}
"""


class JavaTests(HTTPSTestCase):
    """A Java program with both of the platform's clients."""

    async def test_both_clients(self):
        origin = await self.start()
        source = self.write("Client.java", JAVA)
        await self.check_marked(2, require("java"), source, f"{origin.tls_url}/echo")


class GitTests(HTTPSTestCase):
    """git over https."""

    async def test_clone(self):
        git, backend = require("git"), require("git-http-backend")
        served = self.directory / "served"
        settings: dict[str, Any] = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        author = ("-c", "user.name=Tester", "-c", "user.email=tester@example.invalid")
        await self.check_program(git, "init", "-q", served / "project", **settings)
        await self.check_program(
            git, *author, "-C", served / "project", "commit", "-q", "--allow-empty", "-m", "Begin",
            **settings,
        )  # fmt: skip
        origin = await self.start(git=GitBackend(backend, served))
        ended = await self.run_command(
            git, "clone", "-q", f"{origin.tls_url}/git/project/.git", "copy", **settings,
            options=("-v",),
        )  # fmt: skip
        self.assertEqual((ended.status, ended.out), (0, b""), ended.err)
        self.assertIn(b"    < X-Marked: yes", ended.err)
        log = await self.check_program(git, "-C", "copy", "log", "--format=%s", **settings)
        self.assertEqual(log.out, b"Begin\n")
