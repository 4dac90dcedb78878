"""Mode strings (``regular@8080``, ``reverse:http://example.org``) parsed into frozen specs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from interceptor.errors import ModeError
from interceptor.model.hostports import (
    check_host,
    check_port,
    is_number,
    join_host_port,
    split_host_port,
)
from interceptor.model.nexthop import NextHop, parse_next_hop
from interceptor.model.wording import did_you_mean, shown

DEFAULT_PREFIXES: Final = frozenset(
    ("haproxy", "ssl", "stdio", "systemd", "tcp", "tcp6", "tls", "unix")
)
"""The server endpoint prefixes that Twisted itself registers."""

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080
DNS_PORT: Final = 53

_SERVERLESS: Final = ("auto", "dns", "regular", "reverse", "socks5", "transparent")
"""The modes that may be written without any server."""
_KINDS: Final = ("auto", "dns", "regular", "reverse", "socks5", "transparent", "upstream")
_REVERSE_PORTS: Final[dict[str, int | None]] = {
    "http": 80,
    "https": 443,
    "tcp": None,
    "tls": None,
    "udp": None,
}
"""The schemes of servers, and the ports that they have unless told otherwise."""
_MODE_SYNTAX: Final = (
    "`regular`, `socks5`, `auto`, `transparent`, `reverse:http://HOST[:PORT]`, "
    "`reverse:https://HOST[:PORT]`, "
    "`reverse:tcp://HOST:PORT`, `reverse:tls://HOST:PORT`, `reverse:udp://HOST:PORT`, "
    "`reverse` (with `reverse_backends`), `dns[:HOST[:PORT]]` or `upstream:SCHEME://HOST:PORT`"
)
_SERVER_SYNTAX: Final = (
    "`http://HOST[:PORT]`, `https://HOST[:PORT]`, `tcp://HOST:PORT` or `tls://HOST:PORT`"
)
SCHEMES: Final = ", ".join(_REVERSE_PORTS)
"""The schemes of servers that need no layer by that name, for messages."""
_SCHEME = re.compile(r"[a-z][a-z0-9]{0,32}", re.ASCII)
_LISTEN_SYNTAX: Final = "PORT, HOST:PORT, [V6]:PORT or a Twisted endpoint string"
_NO_CREDENTIALS: Final = "credentials are not part of a mode"
# `reverse:http://user:password`, as `reverse:http://user:password@host` begins.
_PASSWORD = re.compile(
    r"(?:reverse|upstream):[a-z0-9]+://[^\[/?#:]*:(?!\d{1,6}/?\Z)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ListenSpec:
    """Where to listen.

    ``kind`` is ``"tcp"``: an address or name and a port (0 lets the system choose), or
    ``"endpoint"``: ``description`` is a Twisted server endpoint string, not checked further here.
    """

    kind: str
    host: str = ""
    port: int = 0
    description: str = ""

    def __str__(self) -> str:
        if self.kind == "endpoint":
            return self.description
        return join_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class ModeSpec:
    """What to speak with clients, and where.

    ``kind`` is ``"regular"`` (clients name the server of each request), ``"socks5"`` (clients name
    the server of each connection), ``"auto"`` (as they please in either of these ways),
    ``"transparent"`` (a packet filter gives us connections that were going elsewhere),
    ``"upstream"`` (as in regular mode, by way of the next hop ``scheme``, ``host``, ``port``),
    ``"reverse"`` (everything goes to ``scheme``, ``host``, ``port``, or to what the option
    ``reverse_backends`` says where there are none; these are empty and 0 in the other modes) or
    ``"dns"`` (clients ask for names; the resolver is ``host`` and ``port``, if the mode has one).
    An IPv6 ``host`` has no brackets. ``text`` is the mode as it was written.
    """

    kind: str
    scheme: str
    host: str
    port: int
    listen: ListenSpec
    text: str

    @property
    def name(self) -> str:
        """The mode without its listener: ``regular``, ``reverse:http://example.org:8000``."""
        if self.kind == "dns" and self.host:
            return f"{self.kind}:{join_host_port(self.host, self.port)}"
        if not self.scheme:
            return self.kind
        if self.kind == "upstream":
            return f"{self.kind}:{self.next_hop}"
        port = "" if self.port == _REVERSE_PORTS.get(self.scheme, 0) else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}:{self.scheme}://{host}{port}"

    @property
    def names_layer(self) -> bool:
        """Whether ``scheme`` is the name of a layer, which an addon may declare.

        Nobody can tell before the addons are there whether one does, and what its port is: unless
        it was written, ``port`` is 0.
        """
        return self.kind == "reverse" and self.scheme not in ("", *_REVERSE_PORTS)

    @property
    def transports(self) -> frozenset[str]:
        """What is listened for: ``tcp``, ``udp``, or both on one port."""
        if self.kind == "dns":
            return frozenset(("tcp", "udp"))
        return frozenset(("udp",) if self.scheme == "udp" else ("tcp",))

    @property
    def next_hop(self) -> NextHop | None:
        """The proxy that this mode itself goes through."""
        if self.kind == "upstream":
            return NextHop(self.scheme, self.host, self.port)
        return None


def parse_mode(text: str, endpoint_prefixes: Collection[str] = DEFAULT_PREFIXES) -> ModeSpec:
    """The meaning of ``MODE[@LISTEN]``.

    The text after the last ``@`` is LISTEN: an endpoint string when its first word is one of
    ``endpoint_prefixes``, else ``PORT`` (on 127.0.0.1), ``HOST:PORT`` or ``[V6]:PORT``. Without
    one it is 127.0.0.1:8080, for ``dns`` port 53. Raises `ModeError` with a message of one line.
    """
    mode, at, listen = text.rpartition("@")
    if not at:
        mode, listen = listen, ""
    try:
        if "@" in mode:
            first = mode.partition("@")[0]
            raise ModeError(
                f"one @LISTEN can follow `{first}`, and not two"
                if first in _SERVERLESS
                else _NO_CREDENTIALS
            )
        if at and _PASSWORD.match(mode):
            raise ModeError(_NO_CREDENTIALS)
        kind, scheme, host, port = _parse_kind(mode)
        spec = (
            _parse_listen(listen, endpoint_prefixes)
            if at
            else ListenSpec("tcp", DEFAULT_HOST, DNS_PORT if kind == "dns" else DEFAULT_PORT)
        )
        if spec.kind == "endpoint" and (kind == "dns" or scheme == "udp"):
            raise ModeError("UDP is listened for at PORT, HOST:PORT or [V6]:PORT only")
    except ModeError as error:
        # What may be a password is not repeated.
        secret = "@" in mode or str(error) == _NO_CREDENTIALS
        raise ModeError(f"mode {'`…`' if secret else shown(text)}: {error}") from None
    return ModeSpec(kind, scheme, host, port, spec, text)


def parse_modes(
    texts: Iterable[str], endpoint_prefixes: Collection[str] = DEFAULT_PREFIXES
) -> tuple[ModeSpec, ...]:
    """Several modes. Raises `ModeError` also when two share a listener, or none is given."""
    specs: list[ModeSpec] = []
    for text in texts:
        spec = parse_mode(text, endpoint_prefixes)
        for other in specs:
            listen = spec.listen
            fixed = listen.kind == "endpoint" or listen.port
            if listen == other.listen and fixed and spec.transports & other.transports:
                raise ModeError(
                    f"mode {shown(text)}: {listen} is taken by {shown(other.text)} already"
                )
        specs.append(spec)
    if not specs:
        raise ModeError(f"no mode given: expected {_MODE_SYNTAX}")
    return tuple(specs)


def _parse_kind(mode: str) -> tuple[str, str, str, int]:
    kind, colon, rest = mode.partition(":")
    if mode == "reverse":
        return kind, "", "", 0
    if kind in ("regular", "socks5", "auto", "transparent"):
        if colon:
            near = f": did you mean `{kind}@{rest}`?" if is_number(rest) else ""
            raise ModeError(f"nothing but @LISTEN can follow `{kind}`{near}")
        return kind, "", "", 0
    if kind == "reverse":
        scheme, host, port = parse_server(rest, layers=True)
        return kind, scheme, host, port
    if kind == "dns":
        if not colon:
            return kind, "", "", 0
        host, text = split_host_port(rest)
        return kind, "", check_host(host), check_port(text, 1) if text else DNS_PORT
    if kind == "upstream":
        hop = parse_next_hop(rest)
        return kind, hop.scheme, hop.host, hop.port
    near = did_you_mean(kind, _KINDS)
    # Whoever mistyped one does not want to read of them all.
    raise ModeError(f"there is no such mode{near}" if near else f"expected {_MODE_SYNTAX}")


def parse_server(url: str, *, layers: bool = False) -> tuple[str, str, int]:
    """The scheme, host and port of a server of reverse mode. Raises `ModeError`.

    With ``layers`` the scheme may be the name of a layer, of which nothing is known here.
    """
    scheme, separator, authority = url.partition("://")
    if not separator:
        raise ModeError(f"{shown(url)} is no server: expected {_SERVER_SYNTAX}")
    scheme = scheme.lower()
    if scheme not in _REVERSE_PORTS and not (layers and _SCHEME.fullmatch(scheme)):
        raise ModeError(f"scheme {shown(scheme)} is not supported, only {SCHEMES} are")
    authority = authority.removesuffix("/")
    if re.search(r"[/?#\\]", authority):
        raise ModeError("the URL of a server has no path and no query")
    host, port = split_host_port(authority)
    if port:
        return scheme, check_host(host), check_port(port, 1)
    default = _REVERSE_PORTS.get(scheme, 0)
    if default is None:
        raise ModeError(f"a server of scheme `{scheme}` needs a port: `{scheme}://HOST:PORT`")
    return scheme, check_host(host), default


def _parse_listen(text: str, endpoint_prefixes: Collection[str]) -> ListenSpec:
    first, colon, _ = text.partition(":")
    if first in endpoint_prefixes:
        if not colon:
            raise ModeError(f"endpoint {shown(text)} needs arguments, such as `{first}:…`")
        return ListenSpec("endpoint", description=text)
    if is_number(text):
        return ListenSpec("tcp", DEFAULT_HOST, check_port(text, 0))
    expected = f"cannot listen on {shown(text)}: expected {_LISTEN_SYNTAX}"
    try:
        host, port = split_host_port(text)
    except ModeError:
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}") from None
    if not host and port:
        raise ModeError(f"{expected}; every address is 0.0.0.0:{port} or [::]:{port}")
    if not host or not port:
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}")
    if not is_number(port):
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}")
    return ListenSpec("tcp", check_host(host), check_port(port, 0))
