"""STARTTLS with real clients: openssl, curl, and Python's smtplib, imaplib and poplib."""

from __future__ import annotations

import sys
from typing import Any

from tests.functional.harness import Completed, FunctionalTestCase, ProxyProcess, require
from tests.functional.origins import TLSMaterial
from tests.functional.starttlspeers import (
    EXCHANGES,
    Mailboxes,
    MailTransfer,
    PostOffice,
    turning,
)

HOOKS = """\
def tcp_message(flow):
    message = flow.messages[-1]
    if flow.client_conn.tls_established:
        message.content = message.content.replace(b"apple", b"peach")


def tcp_end(flow):
    said = b"".join(m.content for m in flow.messages if m.from_client)
    code = flow.error.code if flow.error else "well"
    print("ended:", code, flow.metadata.get("starttls"), b"peach" in said, flush=True)
"""

SMTP_CLIENT = """\
import smtplib, ssl, sys
with smtplib.SMTP("localhost", int(sys.argv[1])) as client:
    client.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
    client.sendmail("me@example.test", ["you@example.test"], "Subject: an apple\\r\\n\\r\\nA day.")
"""

IMAP_CLIENT = """\
import imaplib, ssl, sys
with imaplib.IMAP4("localhost", int(sys.argv[1])) as client:
    client.starttls(ssl.create_default_context(cafile=sys.argv[2]))
    client.login("apple", "secret")
    print(client.noop()[0])
"""

POP3_CLIENT = """\
import poplib, ssl, sys
client = poplib.POP3("localhost", int(sys.argv[1]))
client.stls(ssl.create_default_context(cafile=sys.argv[2]))
client.user("apple")
client.pass_("secret")
print(client.retr(1)[1][0].decode())
client.quit()
"""


NAMES = {"postgres": "postgresql"}
"""What openssl calls otherwise than we do."""


class StartTLSTestCase(FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.material = TLSMaterial(self.directory)
        self.ca = self.directory / "conf" / "interceptor-ca-cert.pem"

    async def start(
        self, *modes: str, arguments: tuple[str, ...] = (), trust: bool = True
    ) -> ProxyProcess:
        if trust:
            file = self.material.certificate_file
            arguments = (*arguments, "--set", f"ssl_verify_upstream_trusted_ca={file}")
        script = self.write("hooks.py", HOOKS)
        return await self.start_proxy(*modes, scripts=[script], arguments=arguments)

    async def ended(self, proxy: ProxyProcess, *how: str) -> None:
        """Wait until flows have ended in these ways, among others."""
        lines = [f"ended: {each}\n".encode() for each in how]
        await proxy.process.until(lambda process: all(line in process.out for line in lines))


class OpenSSLTests(StartTLSTestCase):
    """``openssl s_client -starttls``, which knows all seven protocols."""

    async def s_client(self, name: str, port: int, *arguments: Any) -> Completed:
        return await self.run_program(
            *(require("openssl"), "s_client", "-starttls", name, "-quiet"),
            *("-servername", "localhost", "-verify_hostname", "localhost"),
            *("-verify_return_error", "-CAfile", self.ca, "-connect", f"127.0.0.1:{port}"),
            *arguments,
            stdin=b"apple\n",
        )

    async def test_reverse(self):
        contexts = self.material.contexts()
        for name in EXCHANGES:
            origin = await self.listen(turning(name, contexts))
            proxy = await self.start(f"reverse:tcp://localhost:{origin.port}")
            completed = await self.s_client(name, proxy.port)
            self.assertEqual(completed.out, b"you said peach\n", (name, completed.err, proxy.log))
            await self.ended(proxy, f"well {NAMES.get(name, name)} True")

    async def test_tunnels(self):
        contexts = self.material.contexts()
        proxy = await self.start()
        # Where the server begins, openssl loses what comes together with the proxy's answer.
        for name in ("postgres", "xmpp", "ldap"):
            origin = await self.listen(turning(name, contexts))
            through = ("-proxy", f"127.0.0.1:{proxy.port}")
            completed = await self.s_client(name, origin.port, *through)
            self.assertEqual(completed.out, b"you said peach\n", (name, completed.err, proxy.log))
            await self.ended(proxy, f"well {NAMES.get(name, name)} True")

    async def test_no_more_than_was_asked_for(self):
        contexts = self.material.contexts()
        proxy = await self.start(arguments=("--set", "starttls=imap"))
        self.ca = self.material.certificate_file
        for name in ("xmpp", "ldap"):
            origin = await self.listen(turning(name, contexts))
            through = ("-proxy", f"127.0.0.1:{proxy.port}")
            completed = await self.s_client(name, origin.port, *through)
            self.assertEqual(completed.out, b"you said apple\n", (name, completed.err, proxy.log))

    async def test_a_server_that_is_not_trusted(self):
        origin = await self.listen(turning("smtp", self.material.contexts()))
        proxy = await self.start(f"reverse:tcp://localhost:{origin.port}", trust=False)
        completed = await self.s_client("smtp", proxy.port)
        self.assertEqual(completed.out, b"")
        self.assertIn(b"alert", completed.err)
        await self.ended(proxy, "cert-self-signed None False")
        said = b"error: cert-self-signed: localhost:"
        await proxy.process.until(lambda process: said in process.out)


class MailTests(StartTLSTestCase):
    """Python's own clients, and curl, with the servers of Twisted."""

    async def client(self, text: str, port: int) -> bytes:
        script = self.write("client.py", text)
        completed = await self.check_program(sys.executable, script, str(port), self.ca)
        return completed.out

    async def test_smtplib(self):
        transfer = MailTransfer(self.material.contexts())
        origin = await self.listen(transfer)
        proxy = await self.start(f"reverse:tcp://localhost:{origin.port}")
        await self.client(SMTP_CLIENT, proxy.port)
        [mail] = transfer.mails
        self.assertIn(b"Subject: an peach", mail)
        await self.ended(proxy, "well smtp True")

    async def test_imaplib(self):
        origin = await self.listen(Mailboxes(self.material.contexts()))
        proxy = await self.start(f"reverse:tcp://localhost:{origin.port}")
        printed = await self.client(IMAP_CLIENT, proxy.port)
        self.assertEqual(printed, b"OK\n")
        await self.ended(proxy, "well imap True")

    async def test_poplib(self):
        origin = await self.listen(PostOffice(self.material.contexts()))
        proxy = await self.start(f"reverse:tcp://localhost:{origin.port}")
        printed = await self.client(POP3_CLIENT, proxy.port)
        self.assertEqual(printed, b"Subject: an peach\n")
        await self.ended(proxy, "well pop3 True")

    async def test_curl_by_way_of_socks(self):
        curl = require("curl")
        transfer = MailTransfer(self.material.contexts())
        origin = await self.listen(transfer)
        proxy = await self.start("socks5")
        mail = self.write("mail", "Subject: an apple\r\n\r\nA day.\r\n")
        await self.check_program(
            *(curl, "-sS", "-m", "60", "--socks5-hostname", f"127.0.0.1:{proxy.port}"),
            *("--ssl-reqd", "--cacert", self.ca, "--upload-file", mail),
            *("--mail-from", "me@example.test", "--mail-rcpt", "you@example.test"),
            f"smtp://localhost:{origin.port}",
        )
        [received] = transfer.mails
        self.assertIn(b"Subject: an peach", received)
        await self.ended(proxy, "well smtp True")
