"""Whether a server's certificate is to be believed, and in which words it is not."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)

# OpenSSL's X509_V_ERR_… numbers, by what they mean to an operator.
_EXPIRED: Final = "cert-expired"
_UNKNOWN: Final = "cert-unknown-issuer"
_CODES: Final = {
    2: _UNKNOWN,
    9: "cert-not-yet-valid",
    10: _EXPIRED,
    18: "cert-self-signed",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    26: "cert-wrong-purpose",
    27: _UNKNOWN,
    47: "cert-name-constraint",
    48: "cert-name-constraint",
    49: "cert-name-constraint",
    51: "cert-name-constraint",
    52: "cert-name-constraint",
    53: "cert-name-constraint",
    66: "cert-weak-key",
    67: "cert-weak-key",
    68: "cert-weak-key",
}
_TEXTS: Final = {
    _EXPIRED: "the certificate has expired",
    _UNKNOWN: "the certificate's issuer is not known",
    "cert-not-yet-valid": "the certificate is not valid yet",
    "cert-self-signed": "the certificate is signed by itself, and by nobody who is trusted",
    "cert-wrong-purpose": "the certificate is not meant for a server",
    "cert-name-constraint": "the certificate's issuer may not issue for this name",
    "cert-weak-key": "a key or a signature in the chain is too weak",
    "cert-chain-order": (
        "the server sent certificates that do not follow from each other, and one is missing"
    ),
}
_OTHERS: Final = {
    7: "its signature is wrong",
    22: "its chain is too long",
    23: "it has been revoked",
    24: "its issuer is no authority",
    25: "its chain is longer than its issuers allow",
    28: "it is not accepted for this purpose",
    32: "its issuer's key may not sign certificates",
}


@dataclass(frozen=True, slots=True)
class VerificationFailure:
    """Why a server is not trusted: the first reason, and all of them."""

    code: str
    """Stable: ``cert-expired``, ``cert-wrong-host``, …"""

    message: str
    """Every reason, on one line."""

    codes: tuple[str, ...]
    """The codes of all reasons, without repetition; the first is `code`."""


class ChainRecord:
    """What OpenSSL finds wrong with a chain while it goes on, so that all of it can be told."""

    __slots__ = ("called", "certificate", "errors")

    def __init__(self) -> None:
        self.called = False
        """Whether a chain was checked at all: not where a session was resumed."""
        self.errors: list[tuple[int, int]] = []
        """OpenSSL's numbers, each with the depth in the chain, 0 being the server itself."""
        self.certificate: x509.Certificate | None = None
        """The server's certificate, once `verify_peer` has looked at it."""

    def note(self, number: int, depth: int, ok: int) -> None:
        """Take down what OpenSSL's callback is told."""
        self.called = True
        if not ok:
            self.errors.append((number, depth))


def verify_peer(
    connection: SSL.Connection, host: str, record: ChainRecord
) -> VerificationFailure | None:
    """Decide, after the handshake, whether the server is ``host``: None if so.

    ``host`` is the name or the numeric address that was asked for. The names are checked after a
    resumption too, against the certificate of the session.
    """
    reasons: dict[str, str] = {}
    for number, depth in record.errors:
        code = _CODES.get(number, "cert-invalid")
        if code == _UNKNOWN and _out_of_order(connection):
            code = "cert-chain-order"
        text = _TEXTS.get(code)
        if text is None:
            why = _OTHERS.get(number, f"OpenSSL's error {number}")
            text = f"the certificate is not valid: {why}"
        elif depth and code not in (_UNKNOWN, "cert-weak-key", "cert-chain-order"):
            text += f" (that of its issuer, {depth} above it)"
        reasons.setdefault(code, text)
    certificate = record.certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        reasons["cert-missing"] = "the server has no certificate"
    else:
        wrong = check_names(certificate, host)
        if wrong is not None:
            reasons.setdefault(*wrong)
    if not reasons:
        return None
    codes = tuple(reasons)
    return VerificationFailure(codes[0], "; ".join(reasons.values()), codes)


@lru_cache(maxsize=512)
def check_names(certificate: x509.Certificate, host: str) -> tuple[str, str] | None:
    """Say why a certificate is not for ``host``, as code and text; None if it is.

    Remembered: it takes as long as a tenth of a handshake, and servers have few certificates.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "cert-no-san", "the certificate names no host (it has no subjectAltName)"
    except ValueError as error:
        return "cert-invalid", f"the certificate cannot be read: {error}"
    wanted: IPAddress_ID | DNS_ID
    try:
        wanted = IPAddress_ID(str(ipaddress.ip_address(host.strip("[]").partition("%")[0])))
    except ValueError:
        try:
            wanted = DNS_ID(host.rstrip("."))
        except (ValueError, ImportError):
            return "cert-wrong-host", f"no certificate can be for `{host}`"
    try:
        verify_service_identity(_patterns(names), [wanted], [])
    except (VerificationError, CertificateError):
        return "cert-wrong-host", f"the certificate is for {_shown(names)}, not for {host}"
    return None


def _patterns(names: x509.SubjectAlternativeName) -> list[CertificatePattern]:
    """Give what can be compared; one name that makes no sense does not spoil the others."""
    patterns: list[CertificatePattern] = []
    for name in names:
        try:
            if isinstance(name, x509.DNSName):
                patterns.append(DNSPattern.from_bytes(name.value.encode()))
            elif isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address):
                patterns.append(IPAddressPattern(name.value))
        except (CertificateError, ValueError):
            continue
    return patterns


_SHOWN: Final = 5


def _shown(names: x509.SubjectAlternativeName) -> str:
    found = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    more = len(found) - _SHOWN
    shown = ", ".join(found[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown or "no host"


def _out_of_order(connection: SSL.Connection) -> bool:
    chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    return any(below.issuer != above.subject for below, above in pairwise(chain))
