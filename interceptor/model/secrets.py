"""Secrets that must not be shown: passwords and tokens in URLs."""

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
