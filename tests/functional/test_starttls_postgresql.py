"""Clients of PostgreSQL, in TLS, with a real server."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import SkipTest

from tests.functional.harness import Completed, FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import TLSMaterial
from tests.functional.postgresql import PASSWORD, USER, start_postgresql

HOOKS = """\
def tcp_message(flow):
    message = flow.messages[-1]
    if flow.client_conn.tls_established:
        message.content = message.content.replace(b"apple", b"peach")
        if b"select" in message.content:
            print("query:", message.content, flush=True)


def tcp_end(flow):
    code = flow.error.code if flow.error else "well"
    print("ended:", code, flow.metadata.get("starttls"), flush=True)
"""

CLIENT = """\
import sys, psycopg
with psycopg.connect(sys.argv[1]) as connection:
    print(connection.pgconn.ssl_in_use, connection.execute("select 'apple pie'").fetchone()[0])
"""


class PostgreSQLTests(FunctionalTestCase):
    """A session is shown decrypted, and edited."""

    async def start(self, *arguments: str, mode: str = "reverse:tcp") -> ProxyProcess:
        self.material = TLSMaterial(self.directory)
        self.ca = self.directory / "conf" / "interceptor-ca-cert.pem"
        self.server = await start_postgresql(self, self.material)
        trust = f"ssl_verify_upstream_trusted_ca={self.material.certificate_file}"
        return await self.start_proxy(
            f"{mode}://127.0.0.1:{self.server}",
            scripts=[self.write("hooks.py", HOOKS)],
            arguments=("--set", trust, *arguments),
        )

    def target(self, port: int, **settings: str) -> str:
        """The connection string of libpq."""
        settings = {"sslmode": "verify-full", "sslrootcert": str(self.ca), **settings}
        given = " ".join(f"{name}={value}" for name, value in settings.items())
        place = f"host=localhost hostaddr=127.0.0.1 port={port} dbname=postgres"
        return f"{place} user={USER} password={PASSWORD} connect_timeout=30 {given}"

    async def psycopg(self, target: str) -> Completed:
        if find_spec("psycopg") is None:
            raise SkipTest("psycopg is not installed")
        script: Path = self.write("client.py", CLIENT)
        return await self.run_program(sys.executable, script, target)

    async def test_psycopg(self):
        proxy = await self.start()
        completed = await self.psycopg(self.target(proxy.port, channel_binding="disable"))
        self.assertEqual(completed.out, b"True peach pie\n", (completed.err, proxy.log))
        await proxy.process.until(lambda process: b"ended: well postgresql\n" in process.out)
        self.assertIn(b"select 'peach pie'", proxy.process.out)

    async def test_psql(self):
        psql = require("psql")
        proxy = await self.start()
        completed = await self.check_program(
            *(psql, "--no-psqlrc", "-At", "-c", "select 'an apple'"),
            self.target(proxy.port, channel_binding="disable"),
        )
        self.assertEqual(completed.out, b"an peach\n")

    async def test_a_client_that_binds_is_told_why_not(self):
        proxy = await self.start()
        for settings in ({}, {"channel_binding": "require"}):
            completed = await self.psycopg(self.target(proxy.port, **settings))
            self.assertNotEqual(completed.status, 0)
            self.assertIn(b"interceptor: scram-channel-binding: ", completed.err)
            self.assertIn(b"channel_binding=disable", completed.err)
        said = b"ended: scram-channel-binding postgresql\n"
        await proxy.process.until(lambda process: process.out.count(said) == 2)

    async def test_a_client_that_binds_passes_untouched(self):
        proxy = await self.start("--set", r"ignore_hosts=^127\.0\.0\.1:")
        target = self.target(
            proxy.port,
            channel_binding="require",
            sslrootcert=str(self.material.certificate_file),
        )
        completed = await self.psycopg(target)
        self.assertEqual(completed.out, b"True apple pie\n", (completed.err, proxy.log))

    async def test_a_client_that_begins_with_tls(self):
        if find_spec("psycopg") is None:
            raise SkipTest("psycopg is not installed")
        import psycopg

        if psycopg.pq.version() < 170000:
            raise SkipTest("libpq does not begin with TLS before version 17")
        material = TLSMaterial(self.directory)
        server = await start_postgresql(self, material)
        # A server before version 17 does not, either: somebody has to do it in its place.
        private = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(material.certificate_file.read_bytes()),
            KeyPair.load(material.key_file.read_bytes(), 1),
        )
        contexts = private.options()
        contexts._acceptableProtocols = [b"postgresql"]
        front = await self.listen(ProxyFactory("127.0.0.1", server), contexts)
        self.ca = self.directory / "conf" / "interceptor-ca-cert.pem"
        proxy = await self.start_proxy(
            f"reverse:tls://localhost:{front.port}",
            scripts=[self.write("hooks.py", HOOKS)],
            arguments=("--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}"),
        )
        target = self.target(proxy.port, sslnegotiation="direct", channel_binding="disable")
        completed = await self.psycopg(target)
        self.assertEqual(completed.out, b"True peach pie\n", (completed.err, proxy.log))

    async def test_plain_text(self):
        proxy = await self.start()
        target = self.target(proxy.port, sslmode="disable", channel_binding="disable")
        completed = await self.psycopg(target)
        self.assertEqual(completed.out, b"False apple pie\n", (completed.err, proxy.log))
        await proxy.process.until(lambda process: b"ended: well None\n" in process.out)
