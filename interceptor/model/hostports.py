"""Hosts and ports as people write them: ``host:port``, ``[v6]:port``, taken apart and checked."""

from __future__ import annotations

import ipaddress
import re

from interceptor.errors import ModeError
from interceptor.model.wording import shown

# Labels of RFC 1123, section 2.1, and the underscore that is common in private networks.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str) -> tuple[str, str]:
    """The host, without brackets, and the port's text, empty if there is none.

    Raises `ModeError`.
    """
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


def check_host(host: str) -> str:
    """The host as it is used: in lower case, international names in ASCII. Raises `ModeError`."""
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


def ascii_host(host: str) -> bytes:
    """The host as protocols carry it; international names in ASCII. Raises `UnicodeError`."""
    return host.encode("ascii" if host.isascii() else "idna")


def check_port(text: str, lowest: int) -> int:
    """The number of a port from ``lowest`` to 65535. Raises `ModeError`."""
    if not is_number(text) or not lowest <= int(text) <= 65535:
        raise ModeError(f"expected a port from {lowest} to 65535, not {shown(text)}")
    return int(text)


def is_number(text: str) -> bool:
    """Whether the text can be a port's number: a few ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= 6
