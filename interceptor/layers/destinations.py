"""Where a session goes: scheme, host and port, and what the scheme says about both legs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from interceptor.model.modes import ModeSpec

Destination = tuple[bytes, bytes, int]
"""Scheme, host and port of a server.

``http`` and ``https`` are for whatever is spoken there, HTTP most likely; ``tcp`` and ``tls`` for
bytes in which nothing is looked for. With ``https`` and ``tls`` the server is spoken to in TLS.
"""

RAW: Final = frozenset((b"tcp", b"tls"))
"""Schemes of servers whose bytes are passed on as they are."""

ENCRYPTED: Final = frozenset((b"https", b"tls"))
"""Schemes of servers that are spoken to in TLS."""


def mode_destination(mode: ModeSpec) -> Destination | None:
    """Return the one server of a reverse mode; None where clients name their servers."""
    if not mode.scheme or mode.kind != "reverse":
        return None
    return (mode.scheme.encode(), mode.host.encode("utf-8", "surrogateescape"), mode.port)


def by_name(mode: ModeSpec) -> bool:
    """Whether a reverse mode has no server of its own: clients choose one of several backends."""
    return mode.kind == "reverse" and not mode.scheme
