"""Which charset a body is in: declared, marked, or guessed from the kind of content."""

from __future__ import annotations

import codecs
import re

_CHARSET = re.compile(r"""(?i);\s*charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;]*))""")
_META = re.compile(rb"""(?i)<meta[^>]{0,512}?charset\s*=\s*["']?\s*([\w:.-]{1,40})""")
_XML = re.compile(rb"""(?i)^\s*<\?xml[^>]{0,256}?encoding\s*=\s*["']([\w:.-]{1,40})""")
_CSS = re.compile(rb"""^@charset "([\w:.-]{1,40})";""")

# The Encoding standard's prescan looks no further than this.
_PRESCAN = 1024

# Byte order marks, the longer before those that begin them.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Codecs of Python that are no charsets of the web; some take quadratic time on hostile input.
_REFUSED = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs"}
)

# The Encoding standard reads these labels as supersets of what they say.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "hz": "gb18030", "shift_jis": "cp932"}


def _known(label: str) -> str | None:
    """Return the codec for a label, or None where there is none that may be used."""
    try:
        info = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    name = info.name.lower()
    if name.replace("_", "-") in _REFUSED or not getattr(info, "_is_text_encoding", True):
        return None
    return _SUPERSETS.get(name, name)


def declared(content_type: str) -> str | None:
    """Return the codec that a Content-Type's ``charset`` names, or None."""
    found = _CHARSET.search(content_type)
    if found is None:
        return None
    label = found[1] or found[2] or found[3]
    return _known(label) if 0 < len(label) <= 40 else None


def _by_kind(content_type: str, start: bytes) -> str | None:
    kind = content_type.partition(";")[0].strip().lower()
    found: re.Match[bytes] | None = None
    fallback: str | None = None
    if "json" in kind or kind in ("application/x-ndjson", "text/event-stream"):
        return "utf-8"  # RFC 8259 section 8.1; event streams are always UTF-8
    if "html" in kind:
        found = _META.search(start) or _XML.search(start)
        fallback = "utf-8"
    elif "xml" in kind:
        found = _XML.search(start)
        fallback = "utf-8"
    elif kind == "text/css":
        found = _CSS.search(start)
        fallback = "utf-8"
    elif "javascript" in kind or kind == "application/x-www-form-urlencoded":
        return "utf-8"
    if found is not None:
        # A document that could be scanned as ASCII is in no 16-bit charset, whatever it says.
        name = _known(found[1].decode("ascii", "replace"))
        if name is not None and not name.startswith(("utf-16", "utf-32")):
            return name
    return fallback


def guess(content_type: str, content: bytes) -> str:
    """Return the codec in which ``content`` is to be read.

    In this order: a byte order mark, the declared charset, what the kind of content says (UTF-8
    for JSON, HTML, XML, CSS and scripts, with their own declarations), UTF-8 for what can be
    nothing else, latin-1.
    """
    return (
        _mark(content)
        or declared(content_type)
        or _by_kind(content_type, content[:_PRESCAN])
        or ("utf-8" if _evidently_utf8(content) else "latin-1")
    )


def encode(text: str, content_type: str, old: bytes) -> tuple[bytes, str]:
    """Return ``text`` as content, and the Content-Type that goes with it.

    The charset is the one that `guess` will find again; a byte order mark with which ``old``, the
    content so far, began is kept. Where there is none that does, it is UTF-8, and the Content-Type
    then says so. Surrogates become the bytes that they stand for.
    """
    start = text[:_PRESCAN].encode("ascii", "replace")
    charset = (
        _mark(old)
        or declared(content_type)
        or _by_kind(content_type, start)
        or ("utf-8" if _evidently_utf8(old) else "latin-1")
    )
    try:
        content = text.encode(charset)
    except UnicodeError:
        pass
    else:
        if content.isascii() or guess(content_type, content) == charset:
            return content, content_type
    # Guessing would find UTF-8 from its bytes, too, but others do not guess like that.
    if (declared(content_type) or _by_kind(content_type, start)) != "utf-8":
        content_type = with_charset(content_type, "utf-8")
    return text.encode("utf-8", "surrogateescape"), content_type


def _evidently_utf8(content: bytes) -> bool:
    if content.isascii():
        return False
    try:
        content.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _mark(content: bytes) -> str | None:
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    return None


def with_charset(content_type: str, charset: str) -> str:
    """Return a Content-Type that names ``charset``; ``text/plain`` where there was none."""
    if not content_type.strip():
        return f"text/plain; charset={charset}"
    found = _CHARSET.search(content_type)
    if found is None:
        return f"{content_type}; charset={charset}"
    return f"{content_type[: found.start()]}; charset={charset}{content_type[found.end() :]}"
