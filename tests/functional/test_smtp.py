"""SMTP: ``smtplib`` with a mail server of Twisted's, shown and edited by a script."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.mail import smtp
from zope.interface import implementer

from tests.functional.harness import CountingFactory, ProxyProcess
from tests.functional.pki import NAMES, PKITestCase, ServerContexts
from tests.net.certificates import issue

HOOKS = """\
def smtp_command(flow):
    command = flow.message
    print("command", command, flush=True)
    if command.verb == "RCPT" and "boss" in command.argument:
        command.answer(550, "5.7.1 not to the boss")


def smtp_mail(flow):
    mail = flow.message
    print("mail from", mail.sender, "to", *mail.recipients, flush=True)
    changed = mail.email
    changed.replace_header("Subject", "[seen] " + changed["Subject"])
    changed.set_content(changed.get_content().replace("secret", "*****"))
    mail.email = changed


def smtp_reply(flow):
    if flow.message.command is None:
        flow.message.lines[0] += " by way of a proxy"
"""

CLIENT = """\
import smtplib
import ssl
import sys

port, authority, kind = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
if kind == "implicit":
    server = smtplib.SMTP_SSL("localhost", int(port), context=context, timeout=30)
else:
    server = smtplib.SMTP("localhost", int(port), timeout=30)
if kind == "starttls":
    server.starttls(context=context)
mail = "Subject: hello\\r\\n\\r\\nThe word is secret.\\r\\n.A dot\\r\\n"
print(server.sendmail("anna@example.test", ["bob@example.test", "boss@example.test"], mail))
server.quit()
"""


@implementer(smtp.IMessage)
class Letter:
    """Keeps the lines of one mail."""

    def __init__(self, kept: list[bytes]) -> None:
        self.kept = kept
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.kept.append(b"\n".join(self.lines))
        return succeed(None)

    def connectionLost(self) -> None:
        self.lines = []


@implementer(smtp.IMessageDelivery)
class Delivery:
    """Accepts whatever comes, and keeps it in ``mails``."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: here"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: Letter(self.mails)


class SMTPTests(PKITestCase):
    """Plain, by STARTTLS, and in TLS from the beginning."""

    proxy: ProxyProcess

    async def start(self, scheme: str, **tls: Any) -> None:
        """Start a mail server, and a proxy for it."""
        self.delivery = Delivery()
        contexts = ServerContexts(issue(*NAMES, issuer=self.root))

        class MailFactory(Factory):
            noisy = False

            def buildProtocol(factory, addr: Any) -> Any:
                made = smtp.ESMTP()
                made.delivery = self.delivery
                made.host = b"mail.test"
                if not tls:
                    made.ctx = contexts
                    made.canStartTLS = True
                return made

        origin = await self.listen(MailFactory(), contexts if tls else None)
        self.assertIsInstance(origin.factory, CountingFactory)
        self.proxy = await self.start_tls_proxy(
            f"reverse:{scheme}://localhost:{origin.port}", scripts=[self.write("hooks.py", HOOKS)]
        )

    async def send(self, kind: str) -> None:
        """Send a mail with ``smtplib``, and look what became of it."""
        script = self.write("client.py", CLIENT)
        completed = await self.check_program(
            sys.executable, str(script), str(self.proxy.port), str(self.ca_file), kind
        )
        self.assertIn(b"550, b'5.7.1 not to the boss'", completed.out)
        (mail,) = self.delivery.mails
        self.assertIn(b"Subject: [seen] hello\n", mail)
        self.assertIn(b"The word is *****.\n.A dot", mail)
        self.assertIn(b"mail from anna@example.test to bob@example.test\n", self.proxy.process.out)

    async def test_plain(self):
        await self.start("smtp")
        await self.send("plain")

    async def test_starttls(self):
        await self.start("smtp")
        await self.send("starttls")
        self.assertIn(b"command STARTTLS\n", self.proxy.process.out)

    async def test_tls_from_the_beginning(self):
        await self.start("smtps", implicit=True)
        await self.send("implicit")
