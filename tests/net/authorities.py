"""Authorities and certificates made for tests, and what OpenSSL and others make of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from OpenSSL import crypto

from interceptor.net.pemfiles import PrivateKey

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
"""What the clocks of these tests say."""


def clock() -> float:
    return NOW.timestamp()


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, the same for the same size: making one takes a while."""
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


class Made:
    """A certificate made for a test, with its key."""

    def __init__(
        self,
        name: str,
        *,
        key: PrivateKey | None = None,
        issuer: Made | None = None,
        start: timedelta = timedelta(days=-10),
        end: timedelta = timedelta(days=1000),
        ca: bool | None = True,
        sign: bool = True,
        key_id: bool = True,
        extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> None:
        self.key: PrivateKey = key or ec_key()
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        public = self.key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject if issuer else self.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + start)
            .not_valid_after(NOW + end)
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        if ca:
            usage = x509.KeyUsage(True, False, False, False, False, sign, sign, False, False)
            builder = builder.add_extension(usage, True)
        if key_id:
            own = x509.SubjectKeyIdentifier.from_public_key(public)
            builder = builder.add_extension(own, False)
        if issuer is not None:
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
            builder = builder.add_extension(above, False)
        for extension in extensions:
            builder = builder.add_extension(extension, False)
        self.certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            protection = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, protection
        )


def write(path: str, *parts: bytes, mode: int = 0o600) -> str:
    Path(path).write_bytes(b"".join(parts))
    Path(path).chmod(mode)
    return path


def openssl_accepts(
    certificate: x509.Certificate, above: tuple[x509.Certificate, ...], anchor: x509.Certificate
) -> str | None:
    """What OpenSSL, asked to be strict, has against a chain at `NOW`."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(anchor))
    store.set_time(NOW)
    store.set_flags(crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN)
    chain = [crypto.X509.from_cryptography(each) for each in above]
    leaf = crypto.X509.from_cryptography(certificate)
    try:
        crypto.X509StoreContext(store, leaf, chain).verify_certificate()
    except crypto.X509StoreContextError as error:
        return str(error)
    return None


def web_accepts(
    certificate: x509.Certificate,
    above: tuple[x509.Certificate, ...],
    anchor: x509.Certificate,
    name: x509.DNSName | x509.IPAddress,
) -> None:
    """Raise unless the rules of the web (CA/B Forum, as cryptography has them) accept a chain."""
    builder = PolicyBuilder().store(Store([anchor])).time(NOW)
    builder.build_server_verifier(name).verify(certificate, [c for c in above if c != anchor])
