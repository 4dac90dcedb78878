"""Cookies (RFC 6265): the Cookie and Set-Cookie fields as pairs, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate, mktime_tz, parsedate_tz
from typing import Any

from interceptor.model.multidict import MultiDict, pairs_of


class CookieAttributes(MultiDict[str, "str | None"]):
    """The attributes of a cookie, in any case: ``Path``, ``Max-Age``, …; a bare one is None."""

    __slots__ = ()

    def _fold(self, key: Any) -> Any:
        return key.lower() if isinstance(key, str) else key


CookieValue = tuple[str, CookieAttributes]
"""A cookie of a response: its value and its attributes."""

_FORBIDDEN = re.compile(r"[;\x00-\x1f\x7f]")
_EXPIRES = re.compile(r"(?i)(;\s*expires\s*=\s*)([^;]*)")


def parse_cookie(line: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a Cookie field; quotes are part of a value (RFC 6265 section 4.1.1)."""
    pairs = []
    for item in line.split(";"):
        name, _, value = item.strip().partition("=")
        if name or value:
            pairs.append((name.rstrip(), value.lstrip()))
    return tuple(pairs)


def _check(what: str, text: str, also: str = "") -> str:
    if _FORBIDDEN.search(text) is not None or (also and also in text):
        raise ValueError(f"{what} must not contain {also}; or control characters: {text!r}")
    return text


def _pair(name: str, value: str) -> str:
    return f"{_check('a cookie name', name, '=')}={_check('a cookie value', value)}"


def format_cookie(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a Cookie field. Raises `ValueError` for what would end a pair early."""
    return "; ".join([_pair(name, value) for name, value in pairs])


def parse_set_cookies(lines: Iterable[str]) -> tuple[tuple[str, CookieValue], ...]:
    """Return name, value and attributes of each Set-Cookie field; empty fields are left out."""
    found = []
    for line in lines:
        first, *rest = line.split(";")
        name, _, value = first.partition("=")
        if not first.strip():
            continue
        attributes: list[tuple[str, str | None]] = []
        for item in rest:
            key, equals, setting = item.partition("=")
            if key.strip():
                attributes.append((key.strip(), setting.strip() if equals else None))
        found.append((name.strip(), (value.strip(), CookieAttributes(attributes))))
    return tuple(found)


def format_set_cookie(name: str, value: str | tuple[str, Any]) -> str:
    """Return a Set-Cookie field for a value, or a value and its attributes.

    Attributes are a mapping or pairs; None as a value makes a bare one such as ``Secure``. Raises
    `ValueError` for what would end a part early.
    """
    attributes: Mapping[str, str | None] | Iterable[tuple[str, str | None]] = ()
    if not isinstance(value, str):
        value, attributes = value
    parts = [_pair(name, value)]
    for key, setting in pairs_of(attributes):
        _check("a cookie attribute's name", key, "=")
        if setting is None:
            parts.append(key)
        else:
            parts.append(f"{key}={_check('a cookie attribute', setting)}")
    return "; ".join(parts)


def shift_date(text: str, shift: float) -> str | None:
    """Return an HTTP date moved by ``shift`` seconds, or None where ``text`` is not a date."""
    try:
        parsed = parsedate_tz(text)
        return None if parsed is None else formatdate(mktime_tz(parsed) + shift, usegmt=True)
    except (ValueError, OverflowError, OSError):
        return None


def shift_expiry(line: str, shift: float) -> str:
    """Return a Set-Cookie field whose expiry is moved by ``shift`` seconds; the rest stays."""

    def moved(found: re.Match[str]) -> str:
        date = shift_date(found[2].strip(), shift)
        return found[0] if date is None else found[1] + date

    return _EXPIRES.sub(moved, line)
