"""Servers that turn to TLS: for mail from Twisted, for the rest just so much that TLS begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.mail import imap4, pop3, smtp
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from tests.wire.test_starttls import ldap_response, mysql_greeting

Exchange = tuple[bytes, bytes]
"""What the client has to say, as an expression, and what it is answered."""


class Turning(Protocol):
    """Says what is due in plain text, turns to TLS, and repeats the first that it is told then."""

    def __init__(self, contexts: Any, greeting: bytes, exchanges: Sequence[Exchange]) -> None:
        self._contexts = contexts
        self._greeting = greeting
        self._exchanges = list(exchanges)
        self._data = b""
        self.transport: Any

    def connectionMade(self) -> None:
        if self._greeting:
            self.transport.write(self._greeting)

    def dataReceived(self, data: bytes) -> None:
        if not self._exchanges:
            self.transport.write(b"you said " + data)
            self.transport.loseConnection()
            return
        self._data += data
        while self._exchanges:
            said = re.match(self._exchanges[0][0], self._data, re.DOTALL)
            if said is None:
                return
            self._data = self._data[said.end() :]
            self.transport.write(self._exchanges.pop(0)[1])
        rest, self._data = self._data, b""
        self.transport.startTLS(self._contexts)
        if rest:
            # Only clients of MySQL may be that fast. The wrapper of the harness is in between.
            self.transport.transport.protocol.dataReceived(rest)


GREETINGS: dict[str, bytes] = {
    "smtp": b"220 here\r\n",
    "imap": b"* OK here\r\n",
    "pop3": b"+OK here\r\n",
    "postgres": b"",
    "mysql": mysql_greeting(),
    "xmpp": b"",
    "ldap": b"",
}
EXCHANGES: dict[str, Sequence[Exchange]] = {
    "smtp": (
        (rb"EHLO .*?\r\n", b"250-here\r\n250 STARTTLS\r\n"),
        (rb"STARTTLS\r\n", b"220 go\r\n"),
    ),
    "imap": (
        (rb"\. CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n. OK done\r\n"),
        (rb"\. STARTTLS\r\n", b". OK go\r\n"),
    ),
    "pop3": ((rb"STLS\r\n", b"+OK go\r\n"),),
    "postgres": ((rb"\0\0\0\x08\x04\xd2\x16\x2f", b"S"),),
    "mysql": ((rb"\x20\0\0\x01.{32}", b""),),
    "xmpp": (
        (
            rb"<stream:stream .*?>",
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
            b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
            b"</stream:features>",
        ),
        (rb"<starttls .*?/>", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ),
    "ldap": ((rb"\x30.\x02\x01\x01\x77.{25}", ldap_response()),),
}


def turning(name: str, contexts: Any) -> Factory:
    """Make servers that speak ``name``, as openssl calls it, until TLS begins."""
    factory: Any = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Turning(contexts, GREETINGS[name], EXCHANGES[name])
    made: Factory = factory
    return made


@implementer(smtp.IMessage)
class _Mail:
    """A mail that is being received."""

    def __init__(self, mails: list[bytes]) -> None:
        self._mails = mails
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self._mails.append(b"\n".join(self._lines))
        return succeed(None)

    def connectionLost(self) -> None:
        self._lines.clear()


@implementer(smtp.IMessageDelivery)
class _Delivery:
    def __init__(self, mails: list[bytes]) -> None:
        self._mails = mails

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: here"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: _Mail(self._mails)


class MailTransfer(Factory):
    """An SMTP server; what it got is in ``mails``."""

    noisy = False

    def __init__(self, contexts: Any) -> None:
        self.mails: list[bytes] = []
        self._contexts = contexts

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol = smtp.ESMTP(contextFactory=self._contexts)
        protocol.delivery = _Delivery(self.mails)
        protocol.factory = self
        made: Protocol = protocol
        return made


@implementer(IRealm)
class _Realm:
    """Everybody has the same mail."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if IMailboxPOP3 in interfaces:
            return IMailboxPOP3, _Mailbox(), lambda: None
        return imap4.IAccount, imap4.MemoryAccount(avatarId), lambda: None


class _Mailbox(pop3.Mailbox):
    MAIL = b"Subject: an apple\n\nA day.\n"

    def listMessages(self, index: int | None = None) -> Any:
        return [len(self.MAIL)] if index is None else len(self.MAIL)

    def getMessage(self, index: int) -> Any:
        return BytesIO(self.MAIL)

    def getUidl(self, index: int) -> Any:
        return b"1"


def _portal() -> Portal:
    return Portal(_Realm(), [InMemoryUsernamePasswordDatabaseDontUse(peach=b"secret")])


class Mailboxes(Factory):
    """An IMAP server, for the user peach with the password secret."""

    noisy = False

    def __init__(self, contexts: Any) -> None:
        self._contexts = contexts

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol: Any = imap4.IMAP4Server(contextFactory=self._contexts)
        protocol.portal = _portal()
        protocol.factory = self
        made: Protocol = protocol
        return made


class _POP3(pop3.POP3):
    """Twisted's server, which has no STLS of its own."""

    contexts: Any
    transport: Any

    def listCapabilities(self) -> list[bytes]:
        return [*super().listCapabilities(), b"STLS"]

    def do_STLS(self) -> None:
        self.successResponse(b"Begin TLS")
        self.transport.startTLS(self.contexts)


class PostOffice(Factory):
    """A POP3 server, for the same user."""

    noisy = False

    def __init__(self, contexts: Any) -> None:
        self._contexts = contexts

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol: Any = _POP3()
        protocol.contexts = self._contexts
        protocol.AUTH_CMDS = [*protocol.AUTH_CMDS, b"STLS"]
        protocol.portal = _portal()
        protocol.factory = self
        made: Protocol = protocol
        return made
