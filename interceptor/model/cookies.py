"""Cookies (RFC 6265): the Cookie and Set-Cookie fields as pairs, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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


def _check(what: str, text: str, also: str = "") -> str:
    if _FORBIDDEN.search(text) is not None or (also and also in text):
        raise ValueError(f"{what} must not contain {also}; or control characters: {text!r}")
    return text


def _pair(name: str, value: str) -> str:
    return f"{_check('a cookie name', name, '=')}={_check('a cookie value', value)}"


def _split(line: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield each pair of a Cookie field, and the same as it is written."""
    for item in line.split(";"):
        written = item.strip()
        name, _, value = written.partition("=")
        if written and written != "=":
            yield (name.rstrip(), value.lstrip()), written


def parse_cookie(line: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a Cookie field; quotes are part of a value (RFC 6265 section 4.1.1)."""
    return tuple(pair for pair, _ in _split(line))


def format_cookie(pairs: Iterable[tuple[str, str]], before: str = "") -> str:
    """Return a Cookie field; a pair that was there ``before`` is written as it was.

    Raises ``ValueError`` for what would end a new pair early.
    """
    known = dict(_split(before))
    return "; ".join([known.get((name, value)) or _pair(name, value) for name, value in pairs])


def parse_set_cookie(line: str) -> tuple[str, CookieValue] | None:
    """Return name, value and attributes of a Set-Cookie field, or None for an empty one."""
    first, *rest = line.split(";")
    if not first.strip():
        return None
    name, _, value = first.partition("=")
    attributes: list[tuple[str, str | None]] = []
    for item in rest:
        key, equals, setting = item.partition("=")
        if key.strip():
            attributes.append((key.strip(), setting.strip() if equals else None))
    return name.strip(), (value.strip(), CookieAttributes(attributes))


def parse_set_cookies(lines: Iterable[str]) -> tuple[tuple[str, CookieValue], ...]:
    """Return the cookies of Set-Cookie fields, one of each; empty fields are left out."""
    found = (parse_set_cookie(line) for line in lines)
    return tuple([cookie for cookie in found if cookie is not None])


def format_set_cookie(name: str, value: str | tuple[str, Any]) -> str:
    """Return a Set-Cookie field for a value, or a value and its attributes.

    Attributes are a mapping or pairs; None as a value makes a bare one such as ``Secure``. Raises
    ``ValueError`` for what would end a part early.
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
            parts.append(f"{key}={_check('a cookie attribute', str(setting))}")
    return "; ".join(parts)


def format_set_cookies(
    cookies: Iterable[tuple[str, str | tuple[str, Any]]], before: Iterable[str] = ()
) -> list[str]:
    """Return Set-Cookie fields; a cookie that was there ``before`` is written as it was."""
    known = {}
    for line in before:
        cookie = parse_set_cookie(line)
        if cookie is not None:
            known[cookie[0], cookie[1][0], cookie[1][1].fields] = line
    lines = []
    for name, value in cookies:
        written = (
            None if isinstance(value, str) else known.get((name, value[0], pairs_of(value[1])))
        )
        lines.append(format_set_cookie(name, value) if written is None else written)
    return lines


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
