"""Secrets that must not be shown: passwords, tokens, credentials."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "…"
"""What stands in the place of a secret."""

# RFC 3986, section 3.2.1: what is behind the colon is not to be shown.
_USERINFO = re.compile(r"(?<=//)([^/?#@:]*):[^/?#@]*(?=@)")

_PARAMETER = re.compile(
    r"([?&;#][^=&;#]*?(?:passw(?:or)?d|passphrase|secret|token|api[-_.]?key|signature|credential)"
    r"[^=&;#]*=|[?&;#](?:pwd|pass|auth|sig|key|jwt|session[-_]?id)=)[^&;#]+",
    re.IGNORECASE,
)


# Where nothing tells what is meant to be the target, and what a field.
_ANY_USERINFO = re.compile(r":[^/?#@:\s]*@")
_CREDENTIALS = re.compile(r"\b(basic|bearer|digest|negotiate|ntlm|token|apikey) +\S.*", re.I | re.S)
_NAMED = re.compile(
    r"\b(authorization|cookie2?|passw(?:or)?d|secret|token|api[-_]?key)(\W+)\S.*", re.I | re.S
)


def quoted(data: bytes, limit: int = 200) -> str:
    """Return what a peer sent for an error's message: escaped, cut, and without secrets.

    It is for what could not be understood, so that rather too much is masked than too little.
    """
    text = mask_url(data[:limit].decode("latin-1"))
    text = _ANY_USERINFO.sub(f":{MASK}@", text)
    text = _CREDENTIALS.sub(rf"\1 {MASK}", text)
    text = _NAMED.sub(rf"\1\2{MASK}", text)
    # No byte is decoded to the mask.
    shown = MASK.join(repr(part.encode("latin-1"))[2:-1] for part in text.split(MASK))
    return f"b'{shown}'"


def mask_url(url: str) -> str:
    """Return ``url`` without its password, and without the values of parameters that are secrets.

    Which those are is told by their names: ``password``, ``access_token``, ``api_key`` and the
    like.
    """
    if "@" in url:
        url = _USERINFO.sub(rf"\1:{MASK}", url)
    if "=" in url:
        url = _PARAMETER.sub(rf"\1{MASK}", url)
    return url
