"""TLS alerts: their names, what they mean to an operator, and one in plain text as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_MEANINGS: Final = {
    0: ("close_notify", "the connection was closed"),
    10: ("unexpected_message", "a message came that was not due"),
    20: ("bad_record_mac", "a record was damaged or decrypted with another key"),
    21: ("decryption_failed", "a record could not be decrypted"),
    22: ("record_overflow", "a record was too long"),
    30: ("decompression_failure", "a record could not be decompressed"),
    40: ("handshake_failure", "nothing that both peers support was found"),
    41: ("no_certificate", "there is no certificate"),
    42: ("bad_certificate", "the certificate was rejected"),
    43: ("unsupported_certificate", "the certificate is of a kind that is not supported"),
    44: ("certificate_revoked", "the certificate was revoked"),
    45: ("certificate_expired", "the certificate has expired or is not valid yet"),
    46: ("certificate_unknown", "the certificate was rejected for another reason"),
    47: ("illegal_parameter", "a field of the handshake was wrong"),
    48: ("unknown_ca", "the issuer of the certificate is not trusted"),
    49: ("access_denied", "the certificate gives no access"),
    50: ("decode_error", "a message could not be decoded"),
    51: ("decrypt_error", "a signature or a finished message did not verify"),
    52: ("too_many_cids_requested", "too many connection identifiers were asked for"),
    60: ("export_restriction", "the export rules of old forbid it"),
    70: ("protocol_version", "no version of TLS is supported by both peers"),
    71: ("insufficient_security", "the ciphers offered are too weak"),
    80: ("internal_error", "something failed that the other peer is not to blame for"),
    86: ("inappropriate_fallback", "the client tried a lower version than it had to"),
    90: ("user_canceled", "the handshake was given up"),
    100: ("no_renegotiation", "there is no renegotiation"),
    109: ("missing_extension", "an extension that the handshake needs is missing"),
    110: ("unsupported_extension", "an extension came that nobody had offered"),
    111: ("certificate_unobtainable", "the certificate could not be fetched"),
    112: ("unrecognized_name", "no server of that name is known"),
    113: ("bad_certificate_status_response", "the OCSP response was rejected"),
    114: ("bad_certificate_hash_value", "the certificate does not match its hash"),
    115: ("unknown_psk_identity", "the pre-shared key is not known"),
    116: ("certificate_required", "a client certificate is demanded"),
    117: ("general_error", "something failed that the other peer is not to blame for"),
    120: ("no_application_protocol", "none of the application protocols (ALPN) is supported"),
    121: ("ech_required", "the encrypted hello was rejected"),
}

ALERTS: Final[Mapping[int, str]] = MappingProxyType(
    {number: name for number, (name, _) in _MEANINGS.items()}
)
"""The name of each alert by its number, from the registry of IANA (RFC 8446, section 6)."""


def alert_name(description: int) -> str:
    """Give the name of an alert as RFC 8446 has it; an unknown one is called ``alert_NUMBER``."""
    return ALERTS.get(description) or f"alert_{description}"


def describe_alert(description: int) -> str:
    """Give name, number and meaning of an alert on one line, for logs and pages."""
    if description not in _MEANINGS:
        return f"alert {description}, which no standard names"
    name, meaning = _MEANINGS[description]
    return f"{name} ({description}): {meaning}"


def alert_record(description: int, version: int = 0x0303, *, fatal: bool = True) -> bytes:
    """Give the record of an alert in plain text, as it may stand in place of a ServerHello.

    ``version`` is what the record says, best the lower of TLS 1.2 and the client's
    ``legacy_version``; a record never says TLS 1.3 (RFC 8446, section 5.1).
    """
    shown = min(max(version, 0x0300), 0x0303)
    return bytes((21, shown >> 8, shown & 0xFF, 0, 2, 2 if fatal else 1, description))
