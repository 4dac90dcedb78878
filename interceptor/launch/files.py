"""The files that a command is pointed to: roots in the formats that programs read."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from interceptor.errors import LaunchError

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
)

NODE_MODULE: Final = str(Path(__file__).with_name("node-proxy.cjs"))
"""What makes versions of Node that know no proxy variables follow them."""


class TrustFiles:
    """A temporary directory with the roots in ``sources``, and with our authority's certificate.

    Only we can read it. ``authority`` is PEM. What in ``sources`` is no certificate, or cannot be
    read, is passed over: a program that inherited the name of such a file would have to do without
    it, too.
    """

    def __init__(
        self, authority: bytes, sources: Iterable[str], environ: Mapping[str, str]
    ) -> None:
        self._authority = authority
        self._sources = tuple(sources)
        self._environ = environ
        self.directory = ""

    @property
    def bundle(self) -> str:
        """All certificates as PEM."""
        return os.path.join(self.directory, "ca-bundle.pem")

    @property
    def trust_store(self) -> str:
        """All certificates as a PKCS #12 trust store of Java, without a password."""
        return os.path.join(self.directory, "ca-bundle.p12")

    @property
    def wgetrc(self) -> str:
        """The start-up file of GNU wget that the user has, with the bundle added."""
        return os.path.join(self.directory, "wgetrc")

    def write(self) -> None:
        """Write the files. Raises `LaunchError` where that fails."""
        try:
            # mkdtemp lets nobody else in.
            self.directory = tempfile.mkdtemp(prefix="interceptor-run-")
            certificates = self._certificates()
            _write(self.bundle, b"".join(pem + b"\n" for pem in certificates))
            _write(self.trust_store, java_trust_store(certificates))
            _write(self.wgetrc, self._wget_settings())
        except OSError as error:
            self.remove()
            raise LaunchError(f"cannot write the trusted certificates: {error}", 126) from None

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _certificates(self) -> list[bytes]:
        found = _CERTIFICATE.findall(self._authority)
        for source in self._sources:
            found += _CERTIFICATE.findall(_read(source))
        return list(dict.fromkeys(pem.replace(b"\r\n", b"\n") for pem in found))

    def _wget_settings(self) -> bytes:
        inherited = self._environ.get("WGETRC") or os.path.expanduser("~/.wgetrc")
        bundle = os.fsencode(self.bundle)
        return b"%b\nuse_proxy = on\nca_certificate = %b\n" % (_read(inherited), bundle)


def java_trust_store(certificates: Iterable[bytes]) -> bytes:
    """Give certificates in PEM as a PKCS #12 trust store that Java reads without a password."""
    entries = []
    with warnings.catch_warnings():
        # Some roots are older than the rules that they break.
        warnings.simplefilter("ignore")
        for number, pem in enumerate(certificates):
            try:
                certificate = x509.load_pem_x509_certificate(pem)
            except ValueError:
                continue
            entries.append(pkcs12.PKCS12Certificate(certificate, b"%d" % number))
        return pkcs12.serialize_java_truststore(entries, serialization.NoEncryption())


def _write(path: str, content: bytes) -> None:
    with open(path, "xb", opener=_private) as file:
        file.write(content)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
