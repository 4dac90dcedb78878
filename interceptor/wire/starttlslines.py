"""STARTTLS in protocols of lines: SMTP (RFC 3207), IMAP (RFC 9051) and POP3 (RFC 2595)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from interceptor.errors import RemoteProtocolError
from interceptor.wire.starttlsspeech import Heard, Speech

_LINE: Final = 1024
"""Bytes that are kept of a line: far more than what asks for TLS, or answers, has."""

_REPLY: Final = re.compile(rb"(\d{3})(?: |\Z)")
_LITERAL: Final = re.compile(rb"\{\d+\+?\}\Z")

_TRANSACTION: Final = frozenset((b"DATA", b"BDAT"))
_MAILBOX: Final = frozenset((b"LIST", b"RETR", b"TOP", b"UIDL"))


class _Lines:
    """Splits one direction into lines, as servers do: at each LF. Gives the beginning of each."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line = b""

    def feed(self, data: bytes, start: int) -> Iterator[tuple[bytes, int]]:
        """Give the lines that end in ``data``, and where. To stop early leaves the rest unread."""
        at = start
        while (end := data.find(b"\n", at)) >= 0:
            line = self._line + data[at : min(end, at + _LINE)]
            self._line = b""
            at = end + 1
            yield line[:_LINE].rstrip(b"\r"), at
        if len(self._line) < _LINE:
            self._line += data[at : at + _LINE]


class SMTP(Speech):
    """SMTP, and LMTP. A mail is not followed: its text may look like a command."""

    __slots__ = ("_asked", "_authenticating", "_client", "_passed", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Lines(), _Lines()
        self._asked = False
        # Whether anything went to the server after it was asked.
        self._passed = False
        # Whether lines of the client's answer challenges.
        self._authenticating = False

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        self._passed = True
        for line, at in self._client.feed(data, start):
            if self._authenticating:
                continue
            words = line.upper().split(None, 1)
            if words == [b"STARTTLS"]:
                self._asked, self._passed = True, False
                return Heard.ASKS, at
            if words and words[0] in _TRANSACTION:
                return Heard.OVER, at
            if words and words[0] == b"AUTH":
                self._authenticating = True
        return Heard.NOTHING, len(data)

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for line, at in self._server.feed(data, start):
            reply = _REPLY.match(line)
            if reply is None:
                continue
            code = reply[1]
            if code != b"334":
                self._authenticating = False
            if not self._asked:
                continue
            # Replies to what came before STARTTLS may still be due, but none of them is 220.
            if code == b"220":
                if self._passed:
                    raise RemoteProtocolError(
                        "the client did not wait for the answer to STARTTLS, and the server began "
                        "TLS behind what it has sent since",
                        "starttls-injection",
                    )
                return Heard.AGREES, at
            if code >= b"400":
                return Heard.REFUSES, at
        return Heard.NOTHING, len(data)


class IMAP(Speech):
    """IMAP, up to the first literal."""

    __slots__ = ("_client", "_server", "_tag")

    def __init__(self) -> None:
        self._client, self._server = _Lines(), _Lines()
        self._tag: bytes | None = None

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for line, at in self._client.feed(data, start):
            words = line.split(None, 2)
            if len(words) == 2 and words[1].upper() == b"STARTTLS":
                self._tag = words[0] + b" "
                return Heard.ASKS, at
            if len(line) >= _LINE or _LITERAL.search(line):
                # What follows need not be commands.
                return Heard.OVER, at
        return Heard.NOTHING, len(data)

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for line, at in self._server.feed(data, start):
            if self._tag is not None and line.startswith(self._tag):
                words = line[len(self._tag) :].split(None, 1)
                self._tag = None
                agrees = bool(words) and words[0].upper() == b"OK"
                return (Heard.AGREES if agrees else Heard.REFUSES), at
        return Heard.NOTHING, len(data)


class POP3(Speech):
    """POP3, up to the first look into a mailbox."""

    __slots__ = ("_asked", "_client", "_greeted", "_pending", "_server")

    def __init__(self) -> None:
        self._client, self._server = _Lines(), _Lines()
        self._greeted = False
        self._asked = False
        # Commands whose answer is due (RFC 2449, section 6.6, allows for more than one).
        self._pending = 0

    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for line, at in self._client.feed(data, start):
            words = line.upper().split(None, 1)
            if words == [b"STLS"]:
                self._asked = True
                return Heard.ASKS, at
            if words and words[0] in _MAILBOX:
                return Heard.OVER, at
            self._pending += 1
        return Heard.NOTHING, len(data)

    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        for line, at in self._server.feed(data, start):
            # Lines of what CAPA lists begin with none of these; challenges of AUTH do.
            if not line.startswith((b"+OK", b"-ERR", b"+ ")):
                continue
            if not self._greeted:
                self._greeted = True
            elif self._pending:
                self._pending -= 1
            elif self._asked:
                self._asked = False
                agrees = line.startswith(b"+OK")
                return (Heard.AGREES if agrees else Heard.REFUSES), at
        return Heard.NOTHING, len(data)
