"""Channel binding: a client that signs in ties that to the TLS it speaks (RFC 5802, section 6).

It proves to the server which certificate it was shown. Where TLS is opened on the way that is not
the server's, and the server has to refuse: that is what channel binding is for.
"""

from __future__ import annotations

import re
from typing import Final

_WATCHED: Final = 16384
"""Bytes that a client may send before it signs in, at most."""

_NAME_LIMIT: Final = 64

_MECHANISM: Final = re.compile(rb"(?<![A-Z0-9-])SCRAM-[A-Z0-9]{1,16}(?:-[0-9]{1,8})?-PLUS")
_SASL: Final = ord("p")


class BindingWatch:
    """Watches what a client says inside of TLS for a mechanism that binds.

    ``over`` is set when it cannot come any more. In PostgreSQL the messages are followed; elsewhere
    (SMTP, IMAP, POP3, XMPP, LDAP, …) the name of the mechanism says enough.
    """

    __slots__ = ("_data", "_left", "over", "postgresql")

    def __init__(self, protocol: str) -> None:
        self.postgresql = protocol == "postgresql"
        self._data = b""
        self._left = _WATCHED
        self.over = False

    def client_sent(self, data: bytes) -> str | None:
        """Take what the client says; return the name of the mechanism that binds, once."""
        if self.over:
            return None
        self._left -= len(data)
        if self._left < 0:
            self.over = True
            data = data[: self._left]
        self._data += data
        found = self._initial_response() if self.postgresql else self._named()
        if found is not None:
            self.over = True
        return found

    def _named(self) -> str | None:
        found = _MECHANISM.search(self._data)
        if found is not None:
            return found[0].decode("ascii")
        self._data = self._data[-_NAME_LIMIT:]
        return None

    def _initial_response(self) -> str | None:
        """Read the startup packet, and SASLInitialResponse if that is what comes behind it."""
        data = self._data
        start = int.from_bytes(data[:4], "big")
        if len(data) < max(start, 4) + 5:
            return None
        end = start + 1 + int.from_bytes(data[start + 1 : start + 5], "big")
        if data[start] == _SASL and len(data) < end:
            return None
        self.over = True
        # A password, which comes in the same kind of message, ends with the zero.
        name, _, rest = data[start + 5 : end].partition(b"\0")
        if data[start] == _SASL and rest and _MECHANISM.fullmatch(name):
            return name.decode("ascii")
        return None


def postgresql_error(message: str, hint: str) -> bytes:
    """Return what a PostgreSQL server says to a client that it does not let in, in UTF-8."""
    fields = (
        ("S", "FATAL"),
        ("V", "FATAL"),
        ("C", "28000"),
        ("M", message),
        ("H", hint),
    )
    body = b"".join(f"{kind}{text}\0".encode() for kind, text in fields) + b"\0"
    return b"E" + (4 + len(body)).to_bytes(4, "big") + body
