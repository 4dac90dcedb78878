"""Alternative services (RFC 7838): the offers of HTTP/3, found and taken out.

A client that takes such an offer speaks QUIC with the server, past a proxy that only sees TCP.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from interceptor.wire.framing import ALT_SVC, FIELD_KINDS

if TYPE_CHECKING:
    from interceptor.model.headers import Headers

# One element of a list, with the commas that are inside of its quoted strings.
_ELEMENT = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*+")++', re.DOTALL)

_BALANCED = re.compile(rb'(?:[^"]|"(?:[^"\\]|\\.)*+")*+', re.DOTALL)

# HTTP/3, its drafts (h3-29, h3-Q050, hq-interop), and what Google's QUIC called itself before.
_HTTP3 = re.compile(rb"(?:h3|hq|quic)(?:[^0-9A-Za-z].*)?", re.IGNORECASE | re.DOTALL)


def is_http3(protocol_id: bytes) -> bool:
    """Whether a protocol id, percent-encoded or not, is that of HTTP over QUIC."""
    return _HTTP3.fullmatch(unquote_to_bytes(protocol_id)) is not None


def without_http3(value: bytes) -> tuple[bytes, list[bytes]]:
    """Take the offers of HTTP/3 out of the value of an Alt-Svc field, or of an ALTSVC frame.

    Returns what is left, empty where that is nothing, and the offers that were taken out. The
    others keep their bytes. A value whose quotes do not match is taken out as a whole where
    anything in it may pass for such an offer: clients may not agree on what it says.
    """
    if _BALANCED.fullmatch(value) is None:
        parts = [part.partition(b"=")[0].strip(b' \t"') for part in re.split(rb"[,;]", value)]
        return (b"", [value]) if any(map(is_http3, parts)) else (value, [])
    kept: list[bytes] = []
    removed: list[bytes] = []
    for element in _ELEMENT.findall(value):
        offer = element.strip(b" \t")
        if is_http3(offer.partition(b"=")[0].rstrip(b" \t")):
            removed.append(offer)
        elif offer:
            kept.append(offer)
    if not removed:
        return value, removed
    return b", ".join(kept), removed


def hide_http3(headers: Headers) -> tuple[Headers, list[bytes]]:
    """Return headers without offers of HTTP/3, and the offers that were taken out.

    All other lines keep their bytes. Without such offers, they are the headers that were given.
    """
    removed: list[bytes] = []
    lines: list[bytes] | None = None if headers.raw is None else headers.raw.split(b"\r\n")
    fields = list(headers.fields)
    # From the end, so that a place in the list stays that of its line.
    for index in range(len(fields) - 1, -1, -1):
        name, value = fields[index]
        if FIELD_KINDS[name] != ALT_SVC:
            continue
        left, offers = without_http3(value)
        if not offers:
            continue
        removed = offers + removed
        if left:
            fields[index] = (name, left)
            if lines is not None:
                lines[index] = b"%b: %b" % (name, left)
        else:
            del fields[index]
            if lines is not None:
                del lines[index]
    if not removed:
        return headers, removed
    raw = None if lines is None else b"\r\n".join(lines)
    return type(headers).from_wire(tuple(fields), raw), removed
