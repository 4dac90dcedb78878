"""Bodies of ``multipart/form-data`` (RFC 7578, RFC 2046 section 5.1)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PARAMETER = re.compile(
    rb"""[ \t]*;[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"""
    rb"""(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))""",
    re.DOTALL,
)
_DISPOSITION = re.compile(rb"(?im)^content-disposition[ \t]*:[ \t]*([^;\r\n]*)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part. ``head`` is its header block as on the wire, without the empty line after it."""

    name: bytes
    content: bytes
    head: bytes


def _parameter(data: bytes, start: int, wanted: bytes) -> bytes | None:
    """Return a parameter's value from a list of them, as it is written between the quotes."""
    found = _PARAMETER.match(data, start)
    while found is not None:
        if found[1].lower() == wanted:
            return found[3] if found[2] is None else found[2]
        found = _PARAMETER.match(data, found.end())
    return None


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a ``multipart/form-data`` Content-Type, or None for any other."""
    data = content_type.encode("utf-8", "surrogateescape")
    kind, semicolon, _ = data.partition(b";")
    if not semicolon or kind.strip().lower() != b"multipart/form-data":
        return None
    boundary = _parameter(data, len(kind), b"boundary")
    # RFC 2046 section 5.1.1
    return boundary if boundary and len(boundary) <= 70 else None


def decode(content: bytes, boundary: bytes) -> tuple[Part, ...]:
    """Return the parts of a body; what is not a well-formed part is left out.

    A name is given as it is written; a part without one has an empty name.
    """
    parts = []
    # RFC 2046 section 5.1.1: the line break before a delimiter belongs to the delimiter.
    segments = (b"\r\n" + content).split(b"\r\n--" + boundary)
    for segment in segments[1:]:
        if segment.startswith(b"--"):
            break
        padding, line_break, rest = segment.partition(b"\r\n")
        if not line_break or padding.strip(b" \t"):
            continue
        if rest.startswith(b"\r\n"):
            head, data = b"", rest[2:]
        else:
            head, empty_line, data = rest.partition(b"\r\n\r\n")
            if not empty_line:
                continue
        name = b""
        disposition = _DISPOSITION.search(head)
        if disposition is not None:
            name = _parameter(head, disposition.end(), b"name") or b""
        parts.append(Part(name, data, head))
    return tuple(parts)


def encode(parts: Iterable[Part], boundary: bytes) -> bytes:
    """Return a body of these parts."""
    pieces = []
    for part in parts:
        head = part.head + b"\r\n" if part.head else b""
        pieces.append(b"--%b\r\n%b\r\n%b\r\n" % (boundary, head, part.content))
    pieces.append(b"--%b--\r\n" % boundary)
    return b"".join(pieces)


def merge(pairs: Iterable[tuple[bytes, bytes]], before: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts for (name, content) pairs.

    A pair takes over the header block of a part that was there ``before`` under the same name,
    each once, one with the same content first.
    """
    by_name: dict[bytes, list[int]] = {}
    by_both: dict[tuple[bytes, bytes], list[int]] = {}
    for index in range(len(before) - 1, -1, -1):
        part = before[index]
        by_name.setdefault(part.name, []).append(index)
        by_both.setdefault((part.name, part.content), []).append(index)
    pairs = list(pairs)
    same = [indices.pop() if (indices := by_both.get(pair)) else None for pair in pairs]
    used = set(same)
    parts = []
    for (name, content), found in zip(pairs, same, strict=True):
        index_left = found
        candidates = by_name.get(name, [])
        while index_left is None and candidates:
            candidate = candidates.pop()
            if candidate not in used:
                index_left = candidate
        head = _head(name) if index_left is None else before[index_left].head
        parts.append(Part(name, content, head))
    return tuple(parts)


def _head(name: bytes) -> bytes:
    # RFC 7578 section 2, as browsers do it.
    escaped = name.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
    return b'Content-Disposition: form-data; name="%b"' % escaped


def fits(boundary: bytes, parts: Iterable[Part]) -> bool:
    """Return whether no part contains the boundary."""
    delimiter = b"--" + boundary
    return not any(delimiter in part.content or delimiter in part.head for part in parts)


def new_boundary() -> bytes:
    """Return a boundary that nobody can guess."""
    return b"----interceptor" + secrets.token_hex(16).encode("ascii")
