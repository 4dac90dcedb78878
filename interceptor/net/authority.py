"""The certificate authority: whose key signs what clients see in place of a server's certificate.

A new authority has an RSA key of 2048 bits. Clients that cannot do ECDSA can follow no chain with
an EC key anywhere in it, and the rest understand both, so that an EC root would make RSA leaves
useless. Signing with it takes 0.3 ms, once per name; 3072 bits take four times as long, for a
certificate that is trusted by a handful of machines and easily replaced.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interceptor.errors import AuthorityError
from interceptor.model.wording import shown
from interceptor.net.pemfiles import EXTENSION_ERRORS, Identity, PrivateKey, read_identity

KEY_NAME: Final = "interceptor-ca.pem"
"""The file in the directory of the configuration that holds the key and the certificate."""

CERTIFICATE_NAME: Final = "interceptor-ca-cert"
"""What the files with the certificate alone are called, before ``.pem``, ``.cer`` and ``.p12``."""

_BITS = 2048
_VALIDITY = timedelta(days=3652)
# Machines whose clock is slow are to accept a new authority, too.
_BACK = timedelta(days=2)
_SERVERS = frozenset((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))

Clock = Callable[[], float]


class Authority:
    """A key and a certificate that sign, with the certificates above.

    ``chain`` is what is sent behind a leaf: the signing certificate and those above it, as far as
    the file had them. ``anchor``, the last of them, is what clients are to trust. ``path`` is the
    file with the key.
    """

    __slots__ = ("_certificate_files", "anchor", "certificate", "chain", "key", "path")

    def __init__(
        self, identity: Identity, path: str, certificate_files: tuple[str, ...] = ()
    ) -> None:
        self.key: PrivateKey = identity.key
        self.certificate = identity.certificate
        self.chain: tuple[x509.Certificate, ...] = (identity.certificate, *identity.chain)
        self.anchor = self.chain[-1]
        self.path = path
        self._certificate_files = certificate_files

    @classmethod
    def load(
        cls,
        confdir: str,
        *,
        create: bool = True,
        ca_file: str | None = None,
        passphrase: str | None = None,
        clock: Clock = time.time,
    ) -> Authority:
        """Read the authority: ``ca_file``, or that of ``confdir``, which is made if need be.

        With a ``passphrase`` a new key is encrypted. Raises `AuthorityError` with one of the codes
        ``ca-missing``, ``ca-unreadable``, ``ca-permissions``, ``ca-key-mismatch``, ``ca-expired``,
        ``ca-invalid`` (not an authority, or too weak a key) and ``ca-unwritable``.
        """
        if ca_file is not None:
            path = os.path.abspath(os.path.expanduser(ca_file))
            return cls(_read(path, passphrase, clock), path)
        directory = os.path.abspath(os.path.expanduser(confdir))
        path = os.path.join(directory, KEY_NAME)
        if not os.path.lexists(path):
            if not create:
                raise AuthorityError(
                    f"there is no CA file {shown(path, 4096)}, and ca_create is off", "ca-missing"
                )
            _create(directory, path, passphrase, clock)
        authority = cls(_read(path, passphrase, clock), path, _certificate_files(directory))
        authority._write_certificates()
        return authority

    @property
    def certificate_files(self) -> tuple[str, ...]:
        """The files ``.pem``, ``.cer`` (DER) and ``.p12`` with the certificate clients trust.

        Empty for an authority from a file of its own, and where they could not be written.
        """
        return self._certificate_files

    @property
    def pem(self) -> bytes:
        """The certificate clients are to trust, as PEM."""
        return self.anchor.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate clients are to trust, as DER."""
        return self.anchor.public_bytes(serialization.Encoding.DER)

    @property
    def p12(self) -> bytes:
        """The certificate clients are to trust, as PKCS #12 without key and without password.

        It is marked as trusted in the way of Java, whose programs pass over other certificates.
        """
        entry = pkcs12.PKCS12Certificate(self.anchor, common_name(self.anchor).encode())
        return pkcs12.serialize_java_truststore([entry], serialization.NoEncryption())

    def fingerprint(self, algorithm: hashes.HashAlgorithm | None = None) -> str:
        """Give the fingerprint of what clients are to trust, by SHA-256 unless told."""
        return fingerprint(self.anchor, algorithm)

    def _write_certificates(self) -> None:
        """Write the files with the certificate alone, unless they are there and right."""
        if not self._certificate_files:
            return
        try:
            with open(self._certificate_files[0], "rb") as file:
                right = file.read() == self.pem
            if right and all(map(os.path.exists, self._certificate_files)):
                return
        except OSError:
            pass
        try:
            for path, content in zip(
                self._certificate_files, (self.pem, self.der, self.p12), strict=True
            ):
                os.replace(_temporary(path, content, 0o644), path)
        except OSError:
            # The directory may well be read-only: `interceptor ca export` is there.
            self._certificate_files = ()


def common_name(certificate: x509.Certificate) -> str:
    """Give the common name of the subject, or an empty text."""
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        value = attribute.value
        return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return ""


def fingerprint(
    certificate: x509.Certificate, algorithm: hashes.HashAlgorithm | None = None
) -> str:
    """Give the fingerprint of a certificate, as ``AB:CD:…``, by SHA-256 unless told."""
    return certificate.fingerprint(algorithm or hashes.SHA256()).hex(":").upper()


def _certificate_files(directory: str) -> tuple[str, ...]:
    start = os.path.join(directory, CERTIFICATE_NAME)
    return (f"{start}.pem", f"{start}.cer", f"{start}.p12")


def _read(path: str, passphrase: str | None, clock: Clock) -> Identity:
    identity = read_identity(path, passphrase, what="CA file", prefix="ca", private=True)
    name = f"CA file {shown(path, 4096)}"
    now = datetime.fromtimestamp(clock(), UTC)
    for certificate in (identity.certificate, *identity.chain):
        whose = f"the certificate {shown(certificate.subject.rfc4514_string())} in {name}"
        if not _may_sign(certificate):
            raise AuthorityError(f"{whose} is not that of an authority", "ca-invalid")
        if now > certificate.not_valid_after_utc:
            raise AuthorityError(
                f"{whose} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: replace it, or "
                "move the file away to have a new authority made",
                "ca-expired",
            )
        if now < certificate.not_valid_before_utc:
            raise AuthorityError(
                f"{whose} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}: is the "
                "clock right?",
                "ca-expired",
            )
    # What OpenSSL refuses at the security level it has by default.
    key = identity.key
    if key.key_size < (2048 if isinstance(key, rsa.RSAPrivateKey) else 224):
        raise AuthorityError(f"the key in {name} is too weak: {key.key_size} bits", "ca-invalid")
    return identity


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether the extensions of a certificate let it sign those of servers (RFC 5280, 4.2.1)."""
    try:
        extensions = certificate.extensions
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except EXTENSION_ERRORS:
        return False
    for each in extensions:
        value = each.value
        if isinstance(value, x509.KeyUsage) and not value.key_cert_sign:
            return False
        # Clients take it as a bound on what is below.
        if isinstance(value, x509.ExtendedKeyUsage) and _SERVERS.isdisjoint(value):
            return False
    return True


def _create(directory: str, path: str, passphrase: str | None, clock: Clock) -> None:
    """Make a new authority, unless another process is faster."""
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        temporary = _temporary(path, _new_authority(passphrase, clock), 0o600)
        try:
            _place(temporary, path)
        finally:
            os.unlink(temporary)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AuthorityError(
            f"cannot create the CA file {shown(path, 4096)}: {reason}", "ca-unwritable"
        ) from None


def _place(temporary: str, path: str) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        # A link never replaces a file: of several processes one wins, the rest read its file.
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(temporary, "rb") as file, open(path, "xb", opener=_private) as copy:
            copy.write(file.read())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _temporary(path: str, content: bytes, mode: int) -> str:
    """Write a new file beside ``path``, whole and on the disk, and give its name."""
    name = f"{path}.{secrets.token_hex(8)}.tmp"
    number = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(number)
    except OSError:
        os.unlink(name)
        raise
    return name


def _new_authority(passphrase: str | None, clock: Clock) -> bytes:
    """Make a key and a certificate signed with it, both as PEM."""
    key = rsa.generate_private_key(65537, _BITS)
    serial = x509.random_serial_number()
    # Two authorities of the same name and different keys confuse everyone who has seen both.
    label = f"interceptor CA {serial:040x}"[: len("interceptor CA ") + 8]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, label),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "interceptor"),
        ]
    )
    start = datetime.fromtimestamp(int(clock()), UTC) - _BACK
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(
            passphrase.encode("utf-8", "surrogateescape")
        )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    ) + certificate.public_bytes(serialization.Encoding.PEM)
