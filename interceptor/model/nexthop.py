"""Next hops: the proxies that connections to servers may go through, and what they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from interceptor.errors import ModeError, OptionsError
from interceptor.model.hostports import check_host, check_port, join_host_port, split_host_port
from interceptor.model.wording import did_you_mean, shown

PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The schemes of next hops, with the ports they have where none is given."""

SYNTAX: Final = "`http://HOST:PORT`, `https://HOST:PORT`, `socks5://HOST:PORT` or `socks5h://…`"

_CREDENTIALS: Final = "credentials are not part of it, but of the option `upstream_auth`"
_NAMED = re.compile(r"((?:https?|socks5h?)://[^=@]+)=(.*)", re.DOTALL)
_LONGEST: Final = 255
"""Bytes that a name, and a password, may have in SOCKS5 (RFC 1929, section 2)."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """A proxy on the way to servers.

    ``scheme`` is how it is spoken to: ``http`` and ``https`` (HTTP, with CONNECT for whatever is no
    plain HTTP request; ``https`` is that inside of TLS), ``socks5`` (names are resolved here) or
    ``socks5h`` (names are left to the next hop). An IPv6 ``host`` has no brackets.
    """

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port."""
        return (self.host, self.port)

    @property
    def speaks_http(self) -> bool:
        """Whether it can be sent HTTP requests as they are."""
        return self.scheme in ("http", "https")

    def __str__(self) -> str:
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"


def parse_next_hop(text: str) -> NextHop:
    """The next hop that a text such as ``http://proxy.example:3128`` names.

    Raises `ModeError` with a message of one line, in which no password is repeated.
    """
    if "@" in text:
        raise ModeError(f"next hop `…`: {_CREDENTIALS}")
    scheme, separator, authority = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PORTS:
        near = did_you_mean(scheme, PORTS) if separator else ""
        raise ModeError(f"next hop {shown(text)}: expected {SYNTAX}{near}")
    authority = authority.removesuffix("/")
    if re.fullmatch(r"[^\[/?#:]*:(?!\d{0,6}\Z).*", authority, re.DOTALL):
        # It may be `http://user:password`, which somebody cut off.
        raise ModeError(f"next hop `{scheme}://…`: its port is no number, or {_CREDENTIALS}")
    try:
        if re.search(r"[/?#\\]", authority):
            raise ModeError("the URL of a proxy has no path and no query")
        host, port = split_host_port(authority)
        return NextHop(scheme, check_host(host), check_port(port, 1) if port else PORTS[scheme])
    except ModeError as error:
        raise ModeError(f"next hop {shown(text)}: {error}") from None


class Credentials:
    """Who we are to next hops: ``USER:PASSWORD`` for one of them, or for all that are configured.

    Its representation tells nothing.
    """

    __slots__ = ("_by_hop", "_general")

    def __init__(self, entries: Iterable[str] = (), *, source: str = "upstream_auth") -> None:
        """Each entry is ``USER:PASSWORD`` or ``SCHEME://HOST:PORT=USER:PASSWORD``.

        Raises `OptionsError`, which names ``source`` and the place, but repeats no entry.
        """
        self._by_hop: dict[NextHop, tuple[bytes, bytes]] = {}
        self._general: tuple[bytes, bytes] | None = None
        for number, entry in enumerate(entries, 1):
            where = f"`{source}`, entry {number}"
            named = _NAMED.fullmatch(entry)
            if named is None:
                self._general = _pair(entry, where)
                continue
            try:
                hop = parse_next_hop(named[1])
            except ModeError as error:
                raise OptionsError(f"{where}: {error}") from None
            self._by_hop[hop] = _pair(named[2], where)

    def get(self, hop: NextHop, *, configured: bool) -> tuple[bytes, bytes] | None:
        """Return the user's name and password for ``hop``, or None.

        What is meant for no next hop by name is only for those that are ``configured``: by a mode
        or an option. One that a hook chose is not told.
        """
        found = self._by_hop.get(hop)
        return self._general if found is None and configured else found


def _pair(text: str, where: str) -> tuple[bytes, bytes]:
    user, colon, password = text.partition(":")
    if not colon or not user:
        raise OptionsError(f"{where}: expected USER:PASSWORD, perhaps after SCHEME://HOST:PORT=")
    pair = (user.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape"))
    if any(len(part) > _LONGEST for part in pair):
        raise OptionsError(f"{where}: a name or password is longer than {_LONGEST} bytes")
    if re.search(r"[\x00-\x1f\x7f]", text):
        # RFC 7617, section 2.
        raise OptionsError(f"{where}: control characters have no place in it")
    return pair
