"""URLs, authorities and urlencoded pairs (RFC 3986, RFC 9110 section 4), as bytes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(rb"[a-z][a-z0-9+.\-]*")
# RFC 3986 section 3.2.2, reg-name; the length is DNS's, with the final dot.
_REG_NAME = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=]{1,254}")
_ZONE = re.compile(r"[A-Za-z0-9\-._~]{1,64}")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_URL = re.compile(rb"(?i)([a-z][a-z0-9+.\-]*)://([^/?#]*)([^#]*)(?:#.*)?", re.DOTALL)
_AUTHORITY = re.compile(rb"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")

# RFC 3986 section 3.3, pchar, without what quote() leaves alone anyway.
_PCHAR = "!$&'()*+,;=:@"

_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def default_port(scheme: bytes) -> int | None:
    """Return 80 for http, 443 for https, None for others."""
    return _DEFAULT_PORTS.get(scheme)


def check_token(what: str, value: bytes) -> bytes:
    """Return ``value``; raise ``ValueError`` unless it is a token (RFC 9110 section 5.6.2)."""
    if _TOKEN.fullmatch(value) is None:
        raise ValueError(f"{what} {value!r} must be made of letters, digits and !#$%&'*+-.^_`|~")
    return value


def check_scheme(value: bytes) -> bytes:
    """Return a scheme in lower case; raise ``ValueError`` for what cannot be one."""
    scheme = value.lower()
    if _SCHEME.fullmatch(scheme) is None:
        raise ValueError(f"{value!r} is not a URL scheme; expected http or https")
    return scheme


def check_port(value: int) -> int:
    """Return ``value``; raise ``ValueError`` unless it is a port, 1 to 65535."""
    if not 1 <= value <= 65535:
        raise ValueError(f"{value!r} is not a port; expected a number from 1 to 65535")
    return value


def check_host(value: str | bytes) -> bytes:
    """Return a name or address as bytes, an IPv6 address without its brackets.

    A name with other letters than ASCII's becomes its IDNA form. Raises ``ValueError`` for what is
    neither a name nor an address.
    """
    fault = ValueError(f"{value!r} is not a host name or address")
    try:
        text = value if isinstance(value, str) else value.decode("utf-8")
        host = text.encode("ascii" if text.isascii() else "idna")
    except UnicodeError:
        raise fault from None
    if host[:1] == b"[" and host[-1:] == b"]":
        host = host[1:-1]
        if b":" not in host:
            raise fault
    if b":" in host:
        address, percent, zone = host.decode("ascii").partition("%")
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            raise fault from None
        if percent and _ZONE.fullmatch(zone) is None:
            raise fault
    elif _REG_NAME.fullmatch(host) is None:
        raise fault
    return host


def check_path(value: bytes) -> bytes:
    """Return a path with its query, spaces percent-encoded.

    Raises ``ValueError`` for control characters, and unless it begins with a slash; ``*`` (asterisk
    form) and nothing (authority form) are paths, too.
    """
    if _CONTROL.search(value) is not None:
        raise ValueError(f"a path must not contain control characters: {value!r}")
    if value[:1] != b"/" and value not in (b"", b"*"):
        raise ValueError(f"a path must begin with a slash: {value!r}")
    return value.replace(b" ", b"%20")


def hostport(scheme: bytes, host: bytes, port: int) -> bytes:
    """Return ``host:port`` for a Host field: a default port left out, IPv6 in brackets."""
    if b":" in host:
        host = b"[" + host + b"]"
    if _DEFAULT_PORTS.get(scheme) == port:
        return host
    return b"%b:%d" % (host, port)


def unparse(scheme: bytes, host: bytes, port: int, path: bytes) -> bytes:
    """Return a URL; a default port is left out."""
    return b"%b://%b%b" % (scheme, hostport(scheme, host, port), path)


def parse_authority(authority: bytes) -> tuple[bytes, int | None]:
    """Split ``host[:port]``; the port is None where it is missing or empty.

    Raises ``ValueError`` for a faulty host or port.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError(f"{authority!r} is not a host with an optional port")
    host = check_host(found[1])
    return host, check_port(int(found[2])) if found[2] else None


def parse(url: str | bytes) -> tuple[bytes, bytes, int, bytes]:
    """Split an http or https URL into scheme, host, port and path with query.

    A fragment is dropped. Raises ``ValueError`` for other schemes, credentials, and faulty parts.
    """
    data = url.encode("utf-8", "surrogateescape") if isinstance(url, str) else url
    found = _URL.fullmatch(data)
    if found is None:
        raise ValueError(f"{url!r} is not a URL; expected http://host[:port]/path")
    scheme = found[1].lower()
    standard = default_port(scheme)
    if standard is None:
        raise ValueError(f"{url!r} has scheme {found[1]!r}; expected http or https")
    if b"@" in found[2]:
        raise ValueError(f"{url!r} must not contain credentials; set an Authorization header")
    host, explicit = parse_authority(found[2])
    path = found[3]
    if path[:1] != b"/":
        path = b"/" + path
    return scheme, host, standard if explicit is None else explicit, check_path(path)


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Split a path with its query at the first question mark."""
    path, _, query = path.partition(b"?")
    return path, query


def decode_path(path: bytes) -> tuple[str, ...]:
    """Return the decoded parts between a path's slashes, without empty ones."""
    if path[:1] != b"/":
        return ()
    text = path.decode("utf-8", "surrogateescape")
    return tuple(unquote(part, errors="surrogateescape") for part in text.split("/") if part)


def encode_path(components: Iterable[str]) -> bytes:
    """Join parts into a path; everything that would end a part is percent-encoded."""
    parts = [quote(part, safe=_PCHAR, errors="surrogateescape") for part in components]
    return b"/" + "/".join(parts).encode("ascii")


def _decode_pair(segment: bytes) -> tuple[str, str]:
    name, _, value = segment.decode("utf-8", "surrogateescape").partition("=")
    return (
        unquote_plus(name, errors="surrogateescape"),
        unquote_plus(value, errors="surrogateescape"),
    )


def decode_form(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a query or a urlencoded form; a name without value has an empty one."""
    return tuple(_decode_pair(segment) for segment in data.split(b"&") if segment)


def encode_form(pairs: Iterable[tuple[str, str]], like: bytes = b"") -> bytes:
    """Return pairs as a query or urlencoded form.

    A pair that is in ``like``, the form before the change, is written as it was there: servers
    that sign queries, or are particular about their encoding, then see what they expect.
    """
    known: dict[tuple[str, str], list[bytes]] = {}
    for segment in reversed(like.split(b"&")):
        if segment:
            known.setdefault(_decode_pair(segment), []).append(segment)
    segments = []
    for name, value in pairs:
        name, value = str(name), str(value)
        as_before = known.get((name, value))
        if as_before:
            # The last one stays, for a pair that is repeated.
            segments.append(as_before.pop() if len(as_before) > 1 else as_before[0])
        else:
            encoded = (
                f"{quote_plus(name, errors='surrogateescape')}="
                f"{quote_plus(value, errors='surrogateescape')}"
            )
            segments.append(encoded.encode("ascii"))
    return b"&".join(segments)
