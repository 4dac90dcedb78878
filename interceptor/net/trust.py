"""Whom we trust upstream: the platform's roots, and those that the operator adds."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import certifi
from OpenSSL import SSL, crypto

from interceptor.errors import OptionsError

# Where the systems that we know keep their roots in one file: Debian and its kin, Red Hat and its
# kin, openSUSE, Alpine and the BSDs, macOS.
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
)
_SUFFIXES: Final = (".pem", ".crt", ".cer", ".cert")


def platform_roots() -> Path:
    """Find the file that holds the platform's roots; certifi's where the platform has none.

    OpenSSL's own variable ``SSL_CERT_FILE`` comes first, then the place that Python's OpenSSL was
    built for, then the places that are usual: the OpenSSL that pyOpenSSL brings along was built for
    none of them.
    """
    given = os.environ.get(ssl.get_default_verify_paths().openssl_cafile_env)
    built = ssl.get_default_verify_paths().openssl_cafile
    for candidate in (given, built, *_BUNDLES):
        if candidate and os.path.isfile(candidate) and os.access(candidate, os.R_OK):
            return Path(candidate)
    return Path(certifi.where())


class TrustStore:
    """A set of roots, checked when it is made, and loaded into each context that uses it.

    OpenSSL reads about 140 roots in 4 ms, once per context, and there are few contexts.
    """

    def __init__(
        self, extra: str | os.PathLike[str] | None = None, *, roots: Path | None = None
    ) -> None:
        """Trust ``roots``, by default the platform's, and what ``extra`` holds.

        ``extra`` is a file of PEM certificates, or a folder of such files; a certificate in DER
        will do in either. Raises `OptionsError` (``trusted-ca-invalid``).
        """
        self.roots = platform_roots() if roots is None else roots
        self.extra: tuple[crypto.X509, ...] = ()
        if extra:
            self.extra = tuple(_certificates(Path(extra).expanduser()))

    def load_into(self, context: SSL.Context) -> None:
        """Make a new context trust these roots. Raises `OptionsError` if they cannot be read."""
        try:
            context.load_verify_locations(str(self.roots))
        except SSL.Error as error:
            raise _invalid(self.roots, "it holds no certificate that can be read") from error
        store = context.get_cert_store()
        if store is None:
            return
        # What the operator trusts is trusted as it is, a root or not.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for certificate in self.extra:
            store.add_cert(certificate)


def _certificates(path: Path) -> Iterable[crypto.X509]:
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
        if not files:
            raise _invalid(path, f"the folder holds no file named {', '.join(_SUFFIXES)}")
    else:
        files = [path]
    for file in files:
        yield from _in_file(file)


def _in_file(path: Path) -> list[crypto.X509]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _invalid(path, (error.strerror or "it cannot be read").lower()) from error
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    try:
        if begin not in data:
            return [crypto.load_certificate(crypto.FILETYPE_ASN1, data)]
        return [
            crypto.load_certificate(crypto.FILETYPE_PEM, begin + piece.partition(end)[0] + end)
            for piece in data.split(begin)[1:]
        ]
    except crypto.Error as error:
        raise _invalid(path, "it holds no certificate that can be read") from error


def _invalid(path: Path, why: str) -> OptionsError:
    return OptionsError(f"the trusted certificates in {path}: {why}", "trusted-ca-invalid")
