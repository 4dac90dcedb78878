"""STARTTLS: notice, in a plain conversation, the moment after which both peers speak TLS.

What is watched are bytes on their way: nothing is answered here, and nothing is changed. Bytes that
a client sends behind its request, and those that a server sends behind its consent, were written by
nobody who had shaken hands. Taken for the beginning of what comes inside of TLS they would be the
words of whoever put them there (CVE-2011-0411). So the client's are held back until the server has
answered, and neither leg gets over the moment with any.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire.starttlslines import IMAP, POP3, SMTP
from interceptor.wire.starttlspackets import LDAP, MySQL, PostgreSQL
from interceptor.wire.starttlsspeech import Heard, Speech
from interceptor.wire.starttlsxmpp import XMPP
from interceptor.wire.tlshello import ClientHelloReader, looks_like_tls

PROTOCOLS: Final = ("smtp", "imap", "pop3", "postgresql", "mysql", "xmpp", "ldap")
"""The protocols that are understood as far as it takes to see when TLS is agreed on."""

GENERIC: Final = "generic"
"""What stands for all others: a ClientHello that follows an answer of the server's."""

_WATCHED: Final = 65536
"""Bytes, of both directions together, after which a protocol is followed no longer."""

_PREFIX: Final = 16
"""Bytes by which it is told what is spoken, at most."""

_CLIENT_BEGINS: Final = re.compile(
    rb"(?P<postgresql>\x00\x00\x00\x08\x04\xd2\x16[\x2f\x30])"
    rb"|(?P<xmpp>[ \t\r\n]*<(?:\?xml|stream))"
    rb"|(?P<ldap>\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)\x02)",
    re.DOTALL,
)
_SERVER_BEGINS: Final = re.compile(
    rb"(?P<smtp>220[ -])|(?P<imap>\* (?:OK|BYE|PREAUTH))|(?P<pop3>\+OK)"
    rb"|(?P<mysql>.[\x00-\x03]\x00\x00\x0a)",
    re.DOTALL,
)
_SPEECHES: Final[dict[str, type[Speech]]] = {
    "smtp": SMTP,
    "imap": IMAP,
    "pop3": POP3,
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "xmpp": XMPP,
    "ldap": LDAP,
}


class Phase(Enum):
    """How far two peers have got."""

    PLAIN = "plain"
    """They speak plain text, and may ask for TLS."""
    ASKED = "asked"
    """The client has asked for TLS. What it sends before the answer is held back."""
    HELLO = "hello"
    """The client has begun what may be a ClientHello, which is held back until that is clear."""
    AGREED = "agreed"
    """TLS begins now, on both legs."""
    OVER = "over"
    """There is nothing to watch for any more."""


class StartTLSWatch:
    """Watches one connection. It is told everything that arrives, in the order of arrival.

    ``protocols`` are names of `PROTOCOLS`, and perhaps `GENERIC`. After each call `phase` says what
    has become of it; the bytes returned are to be passed on first. ``protocol`` is the name of what
    is spoken, `GENERIC` where that is none of them.
    """

    __slots__ = (
        "_allowed",
        "_begun",
        "_budget",
        "_generic",
        "_held",
        "_prefix",
        "_reader",
        "_speech",
        "answered",
        "phase",
        "protocol",
    )

    def __init__(self, protocols: Collection[str]) -> None:
        self._allowed = frozenset(protocols) - {GENERIC}
        self._generic = GENERIC in protocols
        self._budget = _WATCHED
        self._speech: Speech | None = None
        # What each peer began with, the client first, while it is not known what is spoken. None
        # where that cannot be found out any more.
        self._prefix: dict[bool, bytes] | None = {True: b"", False: b""} if self._allowed else None
        self._held = b""
        self._reader: ClientHelloReader | None = None
        self.protocol = GENERIC
        self.answered = False
        """Whether the server has said something since the client last did."""
        self.phase = Phase.PLAIN if self._allowed or self._generic else Phase.OVER

    @property
    def waits_for_hello(self) -> bool:
        """Whether nothing but a hello out of the blue matters any more.

        Then it is enough to call `client_sent` where bytes begin like a hello, if `answered` is
        kept up to date otherwise.
        """
        return self.phase is Phase.PLAIN and self._speech is None and self._prefix is None

    @property
    def hello(self) -> bytes:
        """What the client has sent of its hello, once TLS is agreed on."""
        return self._held

    def client_sent(self, data: bytes) -> bytes:
        """Take bytes of the client's; return those that may be passed on now.

        Raises `RemoteProtocolError` with the code ``starttls-injection``.
        """
        match self.phase:
            case Phase.ASKED:
                self._held += data
                return b""
            case Phase.HELLO:
                return self._read_hello(data)
            case Phase.AGREED:
                self._held += data
                self._check_held()
                return b""
            case Phase.OVER:
                return data
        if self._generic and self.answered and data[:1] == b"\x16":
            self._reader = ClientHelloReader()
            self.phase = Phase.HELLO
            return self._read_hello(data)
        return self._client_said(data)

    def server_sent(self, data: bytes) -> bytes:
        """Take bytes of the server's; return those that may be passed on now.

        Raises `RemoteProtocolError` with the code ``starttls-injection``.
        """
        self.answered = True
        match self.phase:
            case Phase.AGREED:
                raise injection("server")
            case Phase.HELLO:
                # A server that has agreed waits for the hello. So that is none.
                self.give_up()
        speech = self._spoken(False, data)
        at = 0
        while speech is not None and at < len(data):
            heard, at = speech.server_sent(data, at)
            if heard is Heard.AGREES:
                self._agree(data[at:])
                return data
            if heard is Heard.REFUSES:
                if self.phase is Phase.ASKED:
                    self.phase = Phase.PLAIN
                continue
            if heard is Heard.OVER:
                self._stop_listening()
            break
        self._spend(data)
        return data

    def give_up(self) -> None:
        """Take what may have been a hello for what it is: `release` has it then."""
        if self.phase is Phase.HELLO:
            self._reader = None
            self.phase = Phase.PLAIN

    def withdraw(self) -> None:
        """The latest bytes were not passed on after all. Watch no longer; see `release`."""
        self.phase = Phase.OVER

    def release(self) -> bytes:
        """Return what was held back and may be passed on now; call it in `PLAIN` and `OVER`.

        As with `client_sent` the phase may have changed after it.
        """
        held, self._held = self._held, b""
        if not held or self.phase is Phase.OVER:
            return held
        # Whatever it begins with: nothing has been agreed on before it.
        return self._client_said(held)

    # The client

    def _client_said(self, data: bytes) -> bytes:
        self.answered = False
        speech = self._spoken(True, data)
        if speech is not None:
            heard, at = speech.client_sent(data, 0)
            if heard is Heard.ASKS:
                self.phase = Phase.ASKED
                self._held = data[at:]
                return data[:at]
            if heard is Heard.AGREES:
                self.phase = Phase.AGREED
                self._held = data[at:]
                self._check_held()
                return data[:at]
            if heard is Heard.OVER:
                self._stop_listening()
        self._spend(data)
        return data

    def _read_hello(self, data: bytes) -> bytes:
        assert self._reader is not None
        self._held += data
        try:
            hello = self._reader.feed(data)
        except RemoteProtocolError:
            self.give_up()
            return self.release()
        if hello is not None:
            self._reader = None
            self.phase = Phase.AGREED
        return b""

    # What is spoken

    def _spoken(self, from_client: bool, data: bytes) -> Speech | None:
        """Return what follows the conversation, found out by its first bytes."""
        if self._prefix is None:
            return self._speech
        before = self._prefix[from_client]
        begun = before + data[: _PREFIX - len(before)]
        found = (_CLIENT_BEGINS if from_client else _SERVER_BEGINS).match(begun)
        if found is None:
            self._prefix[from_client] = begun
            if not from_client and len(begun) > 8:
                # Whoever is known by its client's first words would have been by now.
                self._stop_listening()
            return None
        name = found.lastgroup
        assert name is not None
        self._prefix = None
        if name not in self._allowed:
            self._stop_listening()
            return None
        self.protocol = name
        speech = self._speech = _SPEECHES[name]()
        if before:
            # It was passed on before it was understood; alone it means nothing yet.
            (speech.client_sent if from_client else speech.server_sent)(before, 0)
        return speech

    def _stop_listening(self) -> None:
        self._speech = self._prefix = None
        if self.phase in (Phase.PLAIN, Phase.ASKED):
            self.phase = Phase.PLAIN if self._generic else Phase.OVER

    def _spend(self, data: bytes) -> None:
        if self._speech is not None or self._prefix is not None:
            self._budget -= len(data)
            if self._budget < 0:
                self._stop_listening()

    # The moment

    def _agree(self, rest: bytes) -> None:
        if self.protocol == "xmpp":
            # RFC 6120, section 5.3.3, wants no white space here, but it means nothing.
            rest = rest.strip()
            self._held = self._held.lstrip()
        if rest:
            raise injection("server")
        self._check_held()
        self.phase = Phase.AGREED

    def _check_held(self) -> None:
        """Refuse whatever the client has sent early, unless it is the handshake itself."""
        if self._held and looks_like_tls(self._held) is False:
            raise injection("client")


def injection(peer: str) -> RemoteProtocolError:
    """Return the error for plain text of ``peer``, "client" or "server", where TLS has to begin."""
    behind = "its request for TLS" if peer == "client" else "its consent to TLS"
    return RemoteProtocolError(
        f"the {peer} sent plain text behind {behind}: it, or somebody on the way, may want that "
        "taken for what comes inside of TLS",
        "starttls-injection",
    )
