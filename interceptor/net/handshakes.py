"""Everything TLS is spoken with, put together from the options: one object per configuration."""

from __future__ import annotations

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from interceptor.errors import OptionsError, TLSError
from interceptor.model.patterns import compile_patterns
from interceptor.net.authority import Authority
from interceptor.net.customcerts import CustomCertificates
from interceptor.net.keylog import KeyLog
from interceptor.net.leaves import LeafStore, mirror_names, normal_name
from interceptor.net.pemfiles import read_identity
from interceptor.net.tlscontext import (
    VERSIONS,
    ClientCertificate,
    ClientContexts,
    ServerContexts,
    ServerIdentity,
    TLSProfile,
)
from interceptor.net.tlssessions import SessionCache
from interceptor.net.tlsverify import ChainRecord, verify_peer
from interceptor.net.trust import TrustStore

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import SSL

    from interceptor.model.options import Options
    from interceptor.wire.tlshello import ClientHello

TLS_OPTIONS: Final = frozenset(
    """
    confdir ca_file ca_passphrase ca_create certs ssl_insecure ssl_insecure_hosts
    ssl_verify_upstream_trusted_ca client_certs tls_legacy_hosts tls_version_client_min
    tls_version_client_max tls_version_server_min tls_version_server_max ciphers_client
    ciphers_server tls_keylog_file tls_session_cache
    """.split()
)
"""The options that are looked at here."""


class Handshakes:
    """Makes connections of OpenSSL that are ready for a handshake, with either side.

    Nothing is shared with another instance, so that no session, ticket or trust outlives a change
    of the options. Raises `AuthorityError` and `OptionsError`, when it is made.
    """

    def __init__(self, options: Options) -> None:
        confdir = os.path.expanduser(options.confdir)
        self.authority = Authority.load(
            confdir,
            create=options.ca_create,
            ca_file=options.ca_file,
            passphrase=options.ca_passphrase,
        )
        self._leaves = LeafStore(self.authority)
        self._custom = CustomCertificates.load(options.certs)
        path = options.tls_keylog_file or os.environ.get("SSLKEYLOGFILE")
        keylog = KeyLog(path) if path else None
        self._towards_clients = ServerContexts(keylog=keylog)
        self._towards_servers = ClientContexts(
            TrustStore(options.ssl_verify_upstream_trusted_ca),
            keylog=keylog,
            sessions=SessionCache(options.tls_session_cache),
        )
        self._client_profile = _profile(options, "client")
        self._server_profile = _profile(options, "server")
        self._legacy_profile = TLSProfile(
            "tls1.0", options.tls_version_server_max, options.ciphers_server, legacy=True
        )
        self._insecure = options.ssl_insecure
        self._insecure_hosts = compile_patterns("ssl_insecure_hosts", options.ssl_insecure_hosts)
        self._legacy_hosts = compile_patterns("tls_legacy_hosts", options.tls_legacy_hosts)
        self._certificates = _ClientCertificates(options.client_certs)

    def prepare(self) -> None:
        """Load the roots and try the profiles. Raises `OptionsError`."""
        self._client_profile.check()
        self._legacy_profile.check()
        self._towards_servers.prepare(self._server_profile)

    def to_client(
        self, hello: ClientHello, names: tuple[str, ...], alpn: tuple[bytes, ...]
    ) -> SSL.Connection:
        """Make the connection that answers a client's ``hello``.

        ``names`` are what the certificate is to be for, the one asked for first. Of ``alpn`` the
        first that the client offers is chosen. Raises `AuthorityError` without a usable name.
        """
        rsa = not hello.supports_ecdsa
        leaf = self._custom.find(names[0] if names else None, rsa=rsa)
        if leaf is None:
            leaf = self._leaves.leaf(names, rsa=rsa)
        return self._towards_clients.connection(leaf, alpn=alpn, profile=self._client_profile)

    def to_server(
        self, host: str, port: int, sni: str | None, alpn: tuple[bytes, ...]
    ) -> ServerHandshake:
        """Make what shakes hands with the server ``host``, a name or a numeric address."""
        where = f"{host}:{port}"
        legacy = any(pattern.search(where) for pattern in self._legacy_hosts)
        trusted = self._insecure or any(pattern.search(where) for pattern in self._insecure_hosts)
        identity = ServerIdentity(
            host,
            port,
            _server_name(sni),
            alpn,
            self._legacy_profile if legacy else self._server_profile,
            self._certificates.find(host),
            trusted,
        )
        return ServerHandshake(self._towards_servers, identity)


class ServerHandshake:
    """One handshake with a server: its connection, and what is thought of it afterwards."""

    __slots__ = ("_contexts", "_identity", "connection", "verification_error")

    def __init__(self, contexts: ClientContexts, identity: ServerIdentity) -> None:
        self._contexts = contexts
        self._identity = identity
        self.connection = contexts.connection(identity)
        self.verification_error: str | None = None
        """Why the server would not be trusted, also where that is overlooked."""

    @property
    def certificate(self) -> x509.Certificate | None:
        """The server's certificate, once `verify` has been called."""
        record: ChainRecord = self.connection.get_app_data()
        return record.certificate

    def verify(self) -> TLSError | None:
        """Return why nothing may be sent to this server, or None if all is well."""
        identity = self._identity
        failure = verify_peer(self.connection, identity.host, self.connection.get_app_data())
        if failure is None:
            return None
        self.verification_error = failure.message
        if identity.trusted_anyway:
            return None
        return TLSError(
            f"{identity.host}:{identity.port} is not trusted: {failure.message}",
            failure.code,
            peer="server",
        )

    def keep_session(self, connection: SSL.Connection) -> None:
        """Remember what the connection can be resumed by."""
        if self.verification_error is None:
            self._contexts.remember(self._identity, connection)


def server_names(certificate: x509.Certificate, wanted: str | None) -> tuple[str, ...]:
    """Return the names of a server's certificate, and ``wanted`` if they do not cover it."""
    return mirror_names(certificate, wanted)


@lru_cache(maxsize=1024)
def is_address(host: str) -> bool:
    """Whether ``host`` is a numeric IP address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _server_name(sni: str | None) -> str | None:
    """What may be sent as server_name: a host's name in ASCII, no address (RFC 6066, section 3)."""
    if not sni or is_address(sni):
        return None
    return sni if sni.isascii() else normal_name(sni)


class _ClientCertificates:
    """The option ``client_certs``: one file for all servers, or a folder with one for each."""

    def __init__(self, path: str | None) -> None:
        self._for_all: ClientCertificate | None = None
        self._by_host: dict[str, ClientCertificate] = {}
        if path is None:
            return
        place = Path(path).expanduser()
        if place.is_dir():
            for file in sorted(place.glob("*.pem")):
                self._by_host[file.stem.lower()] = _read(file)
        else:
            self._for_all = _read(place)

    def find(self, host: str) -> ClientCertificate | None:
        """Return the certificate that is shown to ``host``, if any."""
        return self._by_host.get(host.lower(), self._for_all)


def _read(path: Path) -> ClientCertificate:
    identity = read_identity(str(path), what="client certificate", prefix="client-cert")
    return ClientCertificate(identity.certificate, identity.key, identity.chain)


def _profile(options: Options, side: str) -> TLSProfile:
    minimum = getattr(options, f"tls_version_{side}_min")
    maximum = getattr(options, f"tls_version_{side}_max")
    if VERSIONS[minimum] > VERSIONS[maximum]:
        raise OptionsError(
            f"option `tls_version_{side}_min` ({minimum}) is above "
            f"`tls_version_{side}_max` ({maximum})"
        )
    return TLSProfile(minimum, maximum, getattr(options, f"ciphers_{side}"))
