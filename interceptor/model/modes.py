"""Mode strings (``regular@8080``, ``reverse:http://example.org``) parsed into frozen specs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from interceptor.errors import ModeError
from interceptor.model.wording import did_you_mean, shown

DEFAULT_PREFIXES: Final = frozenset(
    ("haproxy", "ssl", "stdio", "systemd", "tcp", "tcp6", "tls", "unix")
)
"""The server endpoint prefixes that Twisted itself registers."""

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080

_KINDS: Final = ("regular", "reverse")
_REVERSE_PORTS: Final = {"http": 80, "https": 443}
_MODE_SYNTAX: Final = "`regular`, `reverse:http://HOST[:PORT]` or `reverse:https://HOST[:PORT]`"
_LISTEN_SYNTAX: Final = "PORT, HOST:PORT, [V6]:PORT or a Twisted endpoint string"
_NO_CREDENTIALS: Final = "credentials are not part of a mode"
# `reverse:http://user:password`, as `reverse:http://user:password@host` begins.
_PASSWORD = re.compile(r"reverse:[a-z]+://[^\[/?#:]*:(?!\d{1,6}/?\Z)", re.IGNORECASE)
# Labels of RFC 1123, section 2.1, and the underscore that is common in private networks.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)


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

    ``kind`` is ``"regular"`` (clients name the server of each request) or ``"reverse"`` (every
    request goes to ``scheme``, ``host``, ``port``; these are empty and 0 in regular mode). An
    IPv6 ``host`` has no brackets. ``text`` is the mode as it was written.
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
        if self.kind == "regular":
            return self.kind
        port = "" if self.port == _REVERSE_PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}:{self.scheme}://{host}{port}"


def parse_mode(text: str, endpoint_prefixes: Collection[str] = DEFAULT_PREFIXES) -> ModeSpec:
    """The meaning of ``MODE[@LISTEN]``.

    The text after the last ``@`` is LISTEN: an endpoint string when its first word is one of
    ``endpoint_prefixes``, else ``PORT`` (on 127.0.0.1), ``HOST:PORT`` or ``[V6]:PORT``. Without
    one it is 127.0.0.1:8080. Raises `ModeError` with a message of one line.
    """
    mode, at, listen = text.rpartition("@")
    if not at:
        mode, listen = listen, ""
    try:
        if "@" in mode:
            raise ModeError(_NO_CREDENTIALS)
        if at and _PASSWORD.match(mode):
            raise ModeError(_NO_CREDENTIALS)
        kind, scheme, host, port = _parse_kind(mode)
        spec = (
            _parse_listen(listen, endpoint_prefixes)
            if at
            else ListenSpec("tcp", DEFAULT_HOST, DEFAULT_PORT)
        )
    except ModeError as error:
        # What may be a password is not repeated.
        secret = str(error) == _NO_CREDENTIALS
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
            if listen == other.listen and (listen.kind == "endpoint" or listen.port):
                raise ModeError(
                    f"mode {shown(text)}: {listen} is taken by {shown(other.text)} already"
                )
        specs.append(spec)
    if not specs:
        raise ModeError(f"no mode given: expected {_MODE_SYNTAX}")
    return tuple(specs)


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_kind(mode: str) -> tuple[str, str, str, int]:
    kind, colon, rest = mode.partition(":")
    if kind == "regular":
        if colon:
            raise ModeError("nothing but @LISTEN can follow `regular`")
        return kind, "", "", 0
    if kind == "reverse":
        scheme, host, port = _parse_url(rest)
        return kind, scheme, host, port
    near = did_you_mean(kind, _KINDS)
    raise ModeError(f"expected {_MODE_SYNTAX}{near}")


def _parse_url(url: str) -> tuple[str, str, int]:
    scheme, separator, authority = url.partition("://")
    if not separator:
        raise ModeError(f"expected {_MODE_SYNTAX}")
    scheme = scheme.lower()
    if scheme not in _REVERSE_PORTS:
        supported = " and ".join(_REVERSE_PORTS)
        raise ModeError(f"scheme {shown(scheme)} is not supported, only {supported} are")
    authority = authority.removesuffix("/")
    if re.search(r"[/?#\\]", authority):
        raise ModeError("the URL of a server has no path and no query")
    host, port = _split_host_port(authority)
    if port == "":
        return scheme, _check_host(host), _REVERSE_PORTS[scheme]
    return scheme, _check_host(host), _check_port(port, 1)


def _parse_listen(text: str, endpoint_prefixes: Collection[str]) -> ListenSpec:
    first, colon, _ = text.partition(":")
    if first in endpoint_prefixes:
        if not colon:
            raise ModeError(f"endpoint {shown(text)} needs arguments, such as `{first}:…`")
        return ListenSpec("endpoint", description=text)
    if _is_number(text):
        return ListenSpec("tcp", DEFAULT_HOST, _check_port(text, 0))
    expected = f"cannot listen on {shown(text)}: expected {_LISTEN_SYNTAX}"
    try:
        host, port = _split_host_port(text)
    except ModeError:
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}") from None
    if not host and port:
        raise ModeError(f"{expected}; every address is 0.0.0.0:{port} or [::]:{port}")
    if not host or not port:
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}")
    if not _is_number(port):
        raise ModeError(f"{expected}{did_you_mean(first, endpoint_prefixes)}")
    return ListenSpec("tcp", _check_host(host), _check_port(port, 0))


def _split_host_port(text: str) -> tuple[str, str]:
    """The host, without brackets, and the port's text, empty if there is none."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ModeError(f"{shown(text)} is not [V6]:PORT")
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ModeError(f"{shown(host)} is not an IPv6 address") from None
        port = rest[1:]
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise ModeError(f"{shown(text)}: an IPv6 address needs brackets, as in [::1]:8080")
        rest = colon + port
    if rest == ":":
        raise ModeError(f"{shown(text)} ends without a port")
    return host, port


def _check_host(host: str) -> str:
    if not host:
        raise ModeError("a host is missing")
    if ":" in host:
        return host.lower()
    try:
        name = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        raise ModeError(f"{shown(host)} is not a host name") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ModeError(f"{shown(host)} is not a host name")
    if labels[-1].isdigit():
        # A name whose last label is a number is an IPv4 address or a mistake (WHATWG URL, 3.5).
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ModeError(f"{shown(host)} is not an IPv4 address") from None
    return name.lower()


def _check_port(text: str, lowest: int) -> int:
    if not _is_number(text) or not lowest <= int(text) <= 65535:
        raise ModeError(f"expected a port from {lowest} to 65535, not {shown(text)}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
