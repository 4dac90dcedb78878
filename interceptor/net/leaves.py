"""Leaf certificates: what clients see in place of a server's certificate, signed when needed."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interceptor.errors import AuthorityError
from interceptor.net.authority import Authority, Clock, common_name
from interceptor.net.pemfiles import EXTENSION_ERRORS, PrivateKey

NAMES_LIMIT: Final = 100
"""How many names of a server's certificate are mirrored."""

_CHARACTERS_LIMIT = 4096
# RFC 5280, appendix A.1: ub-common-name and ub-organization-name.
_LONGEST_ATTRIBUTE = 64
_LONGEST_NAME = 255
# Clients refuse more than 200 days (398 before March 2026) from well-known roots, and some do not
# ask whose root it is.
_VALIDITY = timedelta(days=197)
# A client whose clock is slow is served, too.
_BACK = timedelta(days=2)
# A leaf is replaced before a client could find it expired.
_RENEWAL = timedelta(days=1)
_SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Leaf:
    """A certificate to show, its key, and the certificates to send behind it, issuer first.

    Compared by identity: whoever keeps something per leaf may use it as a key.
    """

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def is_rsa(self) -> bool:
        """Whether the key is RSA; it is EC otherwise."""
        return isinstance(self.key, rsa.RSAPrivateKey)


class LeafStore:
    """Signs leaves in the name of an authority, and keeps the ``size`` used last.

    All leaves of one type of key share one key, made when first needed: a leaf is then one
    signature. Only `prepare` may be called in another thread.
    """

    def __init__(self, authority: Authority, *, size: int = 1000, clock: Clock = time.time) -> None:
        self.authority = authority
        self._size = size
        self._clock = clock
        self._leaves: OrderedDict[tuple[tuple[str, ...], bool, str | None], Leaf] = OrderedDict()
        self._lock = threading.Lock()
        self._keys: dict[bool, tuple[PrivateKey, x509.SubjectKeyIdentifier, x509.KeyUsage]] = {}
        self._issuer_key_id = _issuer_key_id(authority.certificate)
        self._hash = _hash(authority.key)

    def __len__(self) -> int:
        return len(self._leaves)

    def leaf(
        self, names: tuple[str, ...], *, rsa: bool = False, organization: str | None = None
    ) -> Leaf:
        """Give the leaf for host names, wildcard names and IP addresses, the main one first.

        The key is EC on the curve P-256, or ``rsa`` with 2048 bits. The same arguments give the
        same leaf, as long as it is kept and valid. Names that no certificate can hold are left
        out; raises `AuthorityError` with the code ``leaf-without-name`` when none remains.
        """
        key = (names, rsa, organization)
        leaf = self._leaves.get(key)
        if leaf is not None:
            if self._now() < leaf.certificate.not_valid_after_utc - _RENEWAL:
                self._leaves.move_to_end(key)
                return leaf
            del self._leaves[key]
        wanted = tuple(dict.fromkeys(filter(None, map(normal_name, names))))
        if not wanted:
            raise AuthorityError("there is no name to make a certificate for", "leaf-without-name")
        if wanted != names:
            leaf = self.leaf(wanted, rsa=rsa, organization=organization)
        else:
            leaf = self._issue(wanted, rsa, organization)
        self._leaves[key] = leaf
        if len(self._leaves) > self._size:
            self._leaves.popitem(last=False)
        return leaf

    def prepare(self) -> None:
        """Make the keys, if they are not there: 50 ms for RSA, which a thread may take."""
        self._key(False)
        self._key(True)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _key(self, rsa_key: bool) -> tuple[PrivateKey, x509.SubjectKeyIdentifier, x509.KeyUsage]:
        with self._lock:
            found = self._keys.get(rsa_key)
            if found is None:
                key: PrivateKey
                if rsa_key:
                    key = rsa.generate_private_key(65537, 2048)
                else:
                    key = ec.generate_private_key(ec.SECP256R1())
                key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
                found = self._keys[rsa_key] = (key, key_id, _usage(rsa_key))
        return found

    def _issue(self, names: tuple[str, ...], rsa_key: bool, organization: str | None) -> Leaf:
        authority = self.authority
        key, key_id, usage = self._key(rsa_key)
        attributes = []
        main = next((name for name in names if len(name) <= _LONGEST_ATTRIBUTE), None)
        if main is not None:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, main))
        if organization and _fits(organization):
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        start = self._now().replace(microsecond=0) - _BACK
        end = start + _VALIDITY
        issuer = authority.certificate
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(start, issuer.not_valid_before_utc))
            .not_valid_after(min(end, issuer.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(_SERVER_AUTH, critical=False)
            # RFC 5280, section 4.2.1.6: critical where there is no subject.
            .add_extension(
                x509.SubjectAlternativeName(map(_general_name, names)), critical=not attributes
            )
            .add_extension(key_id, critical=False)
            .add_extension(self._issuer_key_id, critical=False)
            .sign(authority.key, self._hash)
        )
        return Leaf(certificate, key, authority.chain)


@lru_cache(maxsize=512)
def mirror_names(certificate: x509.Certificate, wanted: str | None = None) -> tuple[str, ...]:
    """Give the names of a server's certificate that a leaf is to have as well.

    They are the DNS names and IP addresses of subjectAltName, or the common name where there are
    none, normalised, up to `NAMES_LIMIT` of them. ``wanted`` is put in front where those given do
    not cover it, because the list was cut or the certificate is for another host.
    """
    names: list[str] = []
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except EXTENSION_ERRORS:
        pass
    else:
        names.extend(
            str(each.value)
            for each in extension.value
            if isinstance(each, x509.DNSName | x509.IPAddress)
        )
    if not names:
        try:
            names.append(common_name(certificate))
        except ValueError:
            pass
    found = _bounded(names)
    if wanted is not None:
        name = normal_name(wanted)
        if name is not None and not any(covers(pattern, name) for pattern in found):
            return (name, *found)
    return found


@lru_cache(maxsize=1024)
def normal_name(name: str) -> str | None:
    """Give a name as certificates have it: lower case, A-labels, addresses in their short form.

    None is for what no certificate can hold: an empty name, one with blanks or control characters,
    one that is too long.
    """
    name = name.strip().rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        pass
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if not 0 < len(name) <= _LONGEST_NAME or not all("!" <= each <= "~" for each in name):
        return None
    return name


def covers(pattern: str, name: str) -> bool:
    """Tell whether a name of a certificate is that of a host, both of them normalised.

    A wildcard stands for the whole leftmost label (RFC 9525, section 6.3), never for an address.
    """
    if pattern == name:
        return True
    if not pattern.startswith("*.") or _is_address(name):
        return False
    label, dot, rest = name.partition(".")
    return bool(label and dot) and rest == pattern[2:]


def _fits(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeError:
        return False
    return len(text) <= _LONGEST_ATTRIBUTE


def _bounded(names: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    room = _CHARACTERS_LIMIT
    for each in names:
        name = normal_name(each)
        if name is None or name in found:
            continue
        room -= len(name)
        if room < 0 or len(found) == NAMES_LIMIT:
            break
        found[name] = None
    return tuple(found)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _issuer_key_id(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The identifier that has to be the issuer's own, however that was made."""
    try:
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except EXTENSION_ERRORS:
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """The hash that is as strong as the signing key (RFC 8446, section 4.2.3)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256()


def _usage(rsa_key: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=rsa_key,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
