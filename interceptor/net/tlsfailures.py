"""What OpenSSL says when TLS fails, turned into a `TLSError` with a stable code."""

from __future__ import annotations

import re
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from interceptor.errors import TLSError
from interceptor.wire.tlsalert import ALERTS, alert_name, describe_alert


class TruncatedError(ConnectionLost):
    """The connection below ended well, but TLS did not: something may be missing."""


_NUMBERS: Final = {name: number for number, name in ALERTS.items()} | {"user_cancelled": 90}
# What an alert that was received begins with depends on its age and on OpenSSL's version.
_ALERT: Final = re.compile(r"(?:ssl/tls|sslv3|tls|tlsv1|tlsv13) (?:alert )?(.+)")

_NOT_TLS: Final = "tls-not-tls"
_CODES: Final = {
    "http request": _NOT_TLS,
    "https proxy request": _NOT_TLS,
    "wrong version number": _NOT_TLS,
    "packet length too long": _NOT_TLS,
    "unknown protocol": "tls-version",
    "unsupported protocol": "tls-version",
    "version too low": "tls-version",
    "no protocols available": "tls-version",
    "wrong ssl version": "tls-version",
    "no shared cipher": "tls-no-shared-cipher",
    "no ciphers available": "tls-no-shared-cipher",
    "no suitable key share": "tls-no-shared-cipher",
    "no shared groups": "tls-no-shared-cipher",
    "no suitable groups": "tls-no-shared-cipher",
    "no shared signature algorithms": "tls-no-shared-cipher",
    "no suitable signature algorithm": "tls-no-shared-cipher",
    "unsafe legacy renegotiation disabled": "tls-legacy-renegotiation",
    "dh key too small": "tls-weak-key",
    "ee key too small": "tls-weak-key",
    "ca key too small": "tls-weak-key",
    "bad ecpoint": "tls-weak-key",
}


def received_alert(reasons: tuple[str, ...]) -> int | None:
    """Give the number of the alert that one of OpenSSL's reasons says the peer sent."""
    for reason in reasons:
        found = _ALERT.fullmatch(reason)
        if found is not None:
            number = _NUMBERS.get(found[1].replace(" ", "_"))
            if number is not None:
                return number
    return None


def reasons_of(error: SSL.Error) -> tuple[str, ...]:
    """Give OpenSSL's own words, the first failure first. Empty for an end of input."""
    if isinstance(error, SSL.SysCallError) or not error.args:
        return ()
    queue = error.args[0]
    if not isinstance(queue, list):
        return ()
    return tuple(entry[2] for entry in queue if entry[2])


def plain_alert(data: bytes) -> int | None:
    """Give the number of the alert that ends ``data``, where it is in plain text."""
    tail = data[-7:]
    if len(tail) == 7 and tail[0] == 21 and tail[3:5] == b"\x00\x02":
        return tail[6]
    return None


def closed_error(peer: str, *, established: bool = False) -> TLSError:
    """The peer ended the connection where TLS had not ended."""
    if established:
        text = f"the {peer} closed the connection without ending TLS: something may be missing"
        return TLSError(text, "tls-truncated", peer=peer)
    text = f"the {peer} closed the connection during the TLS handshake"
    return TLSError(text, "tls-closed", peer=peer)


def timeout_error(peer: str) -> TLSError:
    """The handshake did not end in time."""
    text = f"the TLS handshake with the {peer} did not end in time"
    return TLSError(text, "tls-timeout", peer=peer)


def failure_error(
    error: SSL.Error,
    peer: str,
    *,
    beginning: bytes,
    latest: bytes,
    output: bytes,
    established: bool,
) -> TLSError:
    """Phrase what OpenSSL raised.

    ``beginning`` is how the peer's bytes began, so that plain text can be told from a broken
    handshake, ``latest`` what came last, and ``output`` what OpenSSL wants sent because of the
    failure.
    """
    if isinstance(error, SSL.SysCallError):
        return closed_error(peer, established=established)
    what = f"TLS with the {peer}" if established else f"the TLS handshake with the {peer}"
    if beginning and not established and (beginning[0] not in _RECORD_TYPES):
        return _not_tls(peer, beginning)
    reasons = reasons_of(error)
    alert = received_alert(reasons)
    if alert is None and not reasons:
        # OpenSSL has no words for the rarer alerts, nor for an end in the midst of a handshake.
        alert = plain_alert(latest)
        if alert == 0:
            return closed_error(peer)
    if alert is not None:
        name = alert_name(alert).replace("_", "-")
        ended = "TLS" if established else "the TLS handshake"
        text = f"the {peer} ended {ended} with the alert {describe_alert(alert)}"
        return TLSError(text, f"tls-alert-{name}", peer=peer, alert=alert, received=True)
    code = next((_CODES[reason] for reason in reasons if reason in _CODES), None)
    if code == _NOT_TLS:
        return _not_tls(peer, beginning)
    text = f"{what} failed: {', '.join(dict.fromkeys(reasons)) or 'no reason is known'}"
    if code is None:
        code = "tls-session-failed" if established else "tls-handshake-failed"
    return TLSError(text, code, peer=peer, alert=plain_alert(output))


_RECORD_TYPES: Final = range(20, 25)


def _not_tls(peer: str, beginning: bytes) -> TLSError:
    speaks = "plain HTTP" if beginning.startswith((b"HTTP/", b"GET ", b"POST ")) else "no TLS"
    text = f"the {peer} speaks {speaks} where TLS was due"
    return TLSError(text, _NOT_TLS, peer=peer)
