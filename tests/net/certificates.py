"""Certificates for tests, good ones and bad ones, made anew in each process."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@cache
def new_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """A key of its own for each number."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)


@dataclass
class Certified:
    """A certificate with its key, and what leads from it to a root."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = field(default=())

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def save(self, path: str) -> str:
        Path(path).write_bytes(self.pem())
        return path


def issue(
    *names: str,
    issuer: Certified | None = None,
    key: Any = None,
    common_name: str = "server",
    not_before: datetime.datetime = NOW - DAY,
    not_after: datetime.datetime = NOW + DAY,
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    authority: bool = False,
    constraints: x509.NameConstraints | None = None,
    digest: Any = None,
) -> Certified:
    """Issue a certificate; without `issuer` it signs itself, without `names` it has no SAN."""
    if key is None:
        key = new_key(1)
    subject = name_of(common_name)
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(alternative_names(names), critical=False)
    if usage is not None and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=True)
    return Certified(builder.sign(signer, hashes.SHA256() if digest is None else digest), key)


def authority(number: int = 10, *, issuer: Certified | None = None, **more: Any) -> Certified:
    """A CA; each number has a key and a name of its own."""
    return issue(
        issuer=issuer,
        key=new_key(number),
        common_name=f"Test CA {number}",
        authority=True,
        not_before=NOW - 10 * DAY,
        not_after=NOW + 10 * DAY,
        **more,
    )
