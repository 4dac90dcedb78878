"""Files with a private key and certificates: read as they should be, refused in one line."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from interceptor.errors import AuthorityError
from interceptor.model.wording import shown

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""The kinds of keys that certificates of servers have."""

EXTENSION_ERRORS = (
    ValueError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What reading an extension of somebody's certificate may raise."""

# A key and a long chain take some ten kilobytes; what is larger was not meant.
_LARGEST = 1 << 20
_SHARED = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key, the certificate that belongs to it, and the certificates above that.

    ``chain`` begins with the issuer of ``certificate`` and goes up as far as the file does.
    """

    key: PrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]


def read_identity(
    path: str, passphrase: str | None = None, *, what: str, prefix: str, private: bool = False
) -> Identity:
    """Read a PEM file with a key, its certificate and perhaps a chain, in any order.

    ``what`` is how messages call the file, ``prefix`` what the codes of the errors begin with. With
    ``private`` a file is refused that others than its owner may read or write.

    Raises `AuthorityError`: ``PREFIX-missing``, ``PREFIX-unreadable``, ``PREFIX-permissions`` or
    ``PREFIX-key-mismatch``.
    """
    name = f"{what} {shown(path, 4096)}"
    content = _read(path, name, prefix, private)
    key = _key(content, passphrase, name, prefix)
    certificates = _certificates(content, name, prefix)
    public = _spki(key.public_key())
    matching = [each for each in certificates if _spki_of(each) == public]
    if not matching:
        raise AuthorityError(
            f"the private key in {name} belongs to no certificate in it", f"{prefix}-key-mismatch"
        )
    if not _signs(key):
        raise AuthorityError(f"the private key in {name} is damaged", f"{prefix}-unreadable")
    certificate = matching[0]
    return Identity(key, certificate, chain_above(certificate, certificates))


def chain_above(
    certificate: x509.Certificate, candidates: list[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Give the issuers of a certificate that are among ``candidates``, the nearest first."""
    chain = [certificate]
    while not _is_self_signed(chain[-1]):
        for issuer in candidates:
            if issuer not in chain and issued(chain[-1], issuer):
                chain.append(issuer)
                break
        else:
            break
    return tuple(chain[1:])


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether ``certificate`` bears the name and the signature of ``issuer``."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # It has no common base: a wrong name, signature, algorithm or encoding.
        return False
    return True


def _is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject and issued(certificate, certificate)


def _read(path: str, name: str, prefix: str, private: bool) -> bytes:
    try:
        # Opened without waiting for whoever would write into a pipe of that name.
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(number, "rb") as file:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise AuthorityError(f"cannot read {name}: not a file", f"{prefix}-unreadable")
            if private and status.st_mode & _SHARED:
                raise AuthorityError(
                    f"{name} holds a private key that others than its owner may read or write "
                    f"(mode {stat.S_IMODE(status.st_mode):04o}): make it private with chmod 600",
                    f"{prefix}-permissions",
                )
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise AuthorityError(f"there is no {name}", f"{prefix}-missing") from None
    except (OSError, ValueError) as error:
        # A path with a null byte is a ValueError.
        reason = getattr(error, "strerror", None) or error
        raise AuthorityError(f"cannot read {name}: {reason}", f"{prefix}-unreadable") from None
    if len(content) > _LARGEST:
        raise AuthorityError(f"cannot read {name}: it is too large", f"{prefix}-unreadable")
    return content


def _key(content: bytes, passphrase: str | None, name: str, prefix: str) -> PrivateKey:
    code = f"{prefix}-unreadable"
    if b"PRIVATE KEY-----" not in content:
        raise AuthorityError(f"{name} holds no private key in PEM format", code)
    secret = passphrase.encode("utf-8", "surrogateescape") if passphrase else None
    try:
        # OpenSSL's own check takes 30 ms of every start. A signature tells damage as well.
        key = serialization.load_pem_private_key(
            _key_block(content), secret, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        # The one class stands for "a passphrase is needed" and for "none is".
        if secret is not None:
            return _key(content, None, name, prefix)
        raise AuthorityError(f"the private key in {name} needs a passphrase", code) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "its passphrase is wrong, or it is damaged" if secret else "it is damaged"
        raise AuthorityError(f"cannot read the private key in {name}: {hint}", code) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"the private key in {name} is neither RSA nor EC", code)
    return key


def _key_block(content: bytes) -> bytes:
    """The lines of the first private key: a file may begin with certificates or EC PARAMETERS."""
    lines = content.splitlines(keepends=True)
    found: list[bytes] = []
    for line in lines:
        if found or (line.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in line):
            found.append(line)
        if found and line.startswith(b"-----END "):
            break
    return b"".join(found)


def _certificates(content: bytes, name: str, prefix: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, x509.InvalidVersion):
        problem = "a damaged" if b"BEGIN CERTIFICATE" in content else "no"
        raise AuthorityError(
            f"{name} holds {problem} certificate in PEM format", f"{prefix}-unreadable"
        ) from None


def _signs(key: PrivateKey) -> bool:
    """Whether the public half of a key accepts what the private half signs."""
    message, by = b"interceptor", hashes.SHA256()
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(message, padding.PKCS1v15(), by)
            key.public_key().verify(signature, message, padding.PKCS1v15(), by)
        else:
            key.public_key().verify(key.sign(message, ec.ECDSA(by)), message, ec.ECDSA(by))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _spki_of(certificate: x509.Certificate) -> bytes | None:
    """The public key of a certificate, or None where it is of a kind that nobody knows."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return _spki(key)
    return None
