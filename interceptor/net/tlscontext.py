"""OpenSSL contexts: few, immutable, shared; and connections made from them, each with its own.

A context cannot be changed once it was used, a session is resumed under the context that it was
made under or not at all, and loading roots takes milliseconds. So what many connections have in
common is in a context: versions, ciphers, roots, keys, chains, callbacks. What differs is set on
each connection: certificate, server name, ALPN, and where its callbacks find what they need.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from cryptography import x509
from OpenSSL import SSL, crypto

from interceptor.errors import OptionsError
from interceptor.net.keylog import KeyLog
from interceptor.net.tlssessions import SessionCache
from interceptor.net.tlsverify import ChainRecord
from interceptor.net.trust import TrustStore

VERSIONS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "tls1.0": SSL.TLS1_VERSION,
        "tls1.1": SSL.TLS1_1_VERSION,
        "tls1.2": SSL.TLS1_2_VERSION,
        "tls1.3": SSL.TLS1_3_VERSION,
    }
)
"""The versions of TLS by the names that options have for them."""

# OpenSSL's numbers that pyOpenSSL has no names for.
_PARTIAL_WRITE: Final = 0x1
_ALLOW_UNSAFE_LEGACY_RENEGOTIATION: Final = 0x40000

_CIPHERS: Final = "DEFAULT"
_LEGACY_CIPHERS: Final = "ALL:!aNULL:!eNULL:@SECLEVEL=0"


@dataclass(frozen=True, slots=True)
class TLSProfile:
    """How much of TLS is spoken with one side: its versions and ciphers."""

    minimum: str = "tls1.2"
    """The oldest version, a key of `VERSIONS`."""

    maximum: str = "tls1.3"
    """The newest version."""

    ciphers: str | None = None
    """OpenSSL's cipher string for TLS 1.2 and below; None for its default."""

    legacy: bool = False
    """Speak with what is very old: TLS 1.0 on, any key size, any cipher, the old renegotiation."""

    def check(self) -> None:
        """Find out whether OpenSSL can do it. Raises `OptionsError` (``ciphers-invalid``)."""
        self.apply(SSL.Context(SSL.TLS_METHOD))

    def apply(self, context: SSL.Context) -> None:
        """Set up a new context. Raises `OptionsError` (``ciphers-invalid``)."""
        minimum = SSL.TLS1_VERSION if self.legacy else VERSIONS[self.minimum]
        context.set_min_proto_version(minimum)
        context.set_max_proto_version(VERSIONS[self.maximum])
        ciphers = self.ciphers or (_LEGACY_CIPHERS if self.legacy else _CIPHERS)
        if minimum < SSL.TLS1_2_VERSION and self.ciphers is None and not self.legacy:
            # OpenSSL has no older version at its usual level of security.
            ciphers += ":@SECLEVEL=0"
        if self.legacy:
            if "@SECLEVEL" not in ciphers:
                ciphers += ":@SECLEVEL=0"
            context.set_options(SSL.OP_LEGACY_SERVER_CONNECT | _ALLOW_UNSAFE_LEGACY_RENEGOTIATION)
        try:
            context.set_cipher_list(ciphers.encode("ascii"))
        except (SSL.Error, UnicodeEncodeError) as error:
            raise OptionsError(
                f"OpenSSL knows no cipher of `{ciphers}`", "ciphers-invalid"
            ) from error


DEFAULT_PROFILE: Final = TLSProfile()
LEGACY_PROFILE: Final = TLSProfile(minimum="tls1.0", legacy=True)


class CertifiedKey(Protocol):
    """A certificate with its key and the certificates that lead from it to a root."""

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate itself."""

    @property
    def key(self) -> Any:
        """Its private key, of the cryptography library."""

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What is sent after the certificate, in order."""


class ServerState:
    """What the callbacks of a connection with a client look for."""

    __slots__ = ("alpn",)

    def __init__(self, alpn: tuple[bytes, ...]) -> None:
        self.alpn = alpn


class ServerContexts:
    """Makes connections on which we are the server: those with clients.

    There is a context for each profile, key and chain. The keys of session tickets belong to the
    context, so that no ticket works under another profile or authority.
    """

    def __init__(self, *, keylog: KeyLog | None = None, size: int = 64) -> None:
        self._keylog = keylog
        self._contexts = _Contexts(size)

    def connection(
        self,
        leaf: CertifiedKey,
        *,
        alpn: tuple[bytes, ...] = (),
        profile: TLSProfile = DEFAULT_PROFILE,
    ) -> SSL.Connection:
        """Make a connection that shows ``leaf`` and is waiting for a ClientHello.

        Of ``alpn`` the first protocol that the client offers is chosen; where it offers none of
        them, none is. Raises `OptionsError` for a profile that OpenSSL cannot do.
        """
        key = (profile, id(leaf.key), leaf.chain)
        context = self._contexts.get(key, lambda: self._make(leaf, profile))
        connection = SSL.Connection(context, None)
        connection.use_certificate(leaf.certificate)
        connection.set_app_data(ServerState(alpn))
        connection.set_accept_state()
        return connection

    def _make(self, leaf: CertifiedKey, profile: TLSProfile) -> SSL.Context:
        context = _new_context(profile, self._keylog)
        # The key is the context's, because handing it over takes longer than anything else here;
        # this also keeps the object, whose identity is in the key of the cache.
        context.set_app_data(leaf.key)
        context.use_privatekey(leaf.key)
        for certificate in leaf.chain:
            context.add_extra_chain_cert(certificate)
        context.set_alpn_select_callback(_select_alpn)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_session_id(b"interceptor")
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        return context


def _select_alpn(connection: SSL.Connection, offered: list[bytes]) -> Any:
    for protocol in connection.get_app_data().alpn:
        if protocol in offered:
            return protocol
    return SSL.NO_OVERLAPPING_PROTOCOLS


@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """A certificate that we show to servers. Each object is one identity."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Which server is connected to, and on what terms. A session is resumed only under equal ones.

    ``host`` is the name or numeric address that the server has to prove, ``sni`` the name that is
    sent, if any. ``trusted_anyway`` says that a failed verification is to be overlooked, for
    everything (``ssl_insecure``) or for this host.
    """

    host: str
    port: int
    sni: str | None = None
    alpn: tuple[bytes, ...] = ()
    profile: TLSProfile = DEFAULT_PROFILE
    certificate: ClientCertificate | None = None
    trusted_anyway: bool = False


class ClientContexts:
    """Makes connections on which we are the client: those with servers.

    There is a context for each profile and client certificate, with one set of roots. OpenSSL
    always checks the chain, but goes on whatever it finds: see `verify_peer`.
    """

    def __init__(
        self,
        trust: TrustStore,
        *,
        keylog: KeyLog | None = None,
        sessions: SessionCache | None = None,
        size: int = 32,
    ) -> None:
        self.trust = trust
        self.sessions = SessionCache(1000) if sessions is None else sessions
        """What can be resumed. Filled by `remember`."""
        self._keylog = keylog
        self._contexts = _Contexts(size)

    def connection(self, server: ServerIdentity) -> SSL.Connection:
        """Make a connection that is about to send a ClientHello, resuming a session if it can.

        Its app data is the `ChainRecord` that `verify_peer` wants. Raises `OptionsError` for a
        profile that OpenSSL cannot do or a client certificate that does not match its key.
        """
        key = (server.profile, server.certificate)
        context = self._contexts.get(key, lambda: self._make(server))
        connection = SSL.Connection(context, None)
        connection.set_app_data(ChainRecord())
        if server.sni:
            connection.set_tlsext_host_name(server.sni.encode("ascii"))
        if server.alpn:
            connection.set_alpn_protos(list(server.alpn))
        connection.set_connect_state()
        if not server.trusted_anyway:
            self.sessions.offer(server, connection)
        return connection

    def prepare(self, profile: TLSProfile = DEFAULT_PROFILE) -> None:
        """Make the context of a profile now, so that its roots are loaded before they are needed.

        Raises `OptionsError`, so that a bad option is told at the start.
        """
        server = ServerIdentity("", 0, profile=profile)
        self._contexts.get((profile, None), lambda: self._make(server))

    def remember(self, server: ServerIdentity, connection: SSL.Connection) -> None:
        """Keep the session of a server that was verified, for the next connection.

        Not one that is trusted anyway: what it proved is not what others have to prove.
        """
        if not server.trusted_anyway and not connection.get_app_data().errors:
            self.sessions.remember(server, connection)

    def _make(self, server: ServerIdentity) -> SSL.Context:
        context = _new_context(server.profile, self._keylog)
        self.trust.load_into(context)
        context.set_verify(SSL.VERIFY_PEER, _note_chain)
        # The cache is ours: OpenSSL's would need the same object anyway.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        certificate = server.certificate
        if certificate is not None:
            try:
                context.use_certificate(certificate.certificate)
                context.use_privatekey(certificate.key)
                context.check_privatekey()
            except SSL.Error as error:
                subject = certificate.certificate.subject.rfc4514_string()
                raise OptionsError(
                    f"the client certificate {subject} cannot be used with its key",
                    "client-cert-invalid",
                ) from error
            for link in certificate.chain:
                context.add_extra_chain_cert(link)
        return context


def _note_chain(
    connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int
) -> bool:
    connection.get_app_data().note(number, depth, ok)
    return True


def was_resumed(connection: SSL.Connection) -> bool:
    """Tell whether a finished handshake with a server resumed a session: no chain was sent."""
    return not connection.get_app_data().called


def _new_context(profile: TLSProfile, keylog: KeyLog | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    profile.apply(context)
    # The buffers in memory take all that is written, so that one call can encrypt it all; and an
    # idle connection needs no buffers of OpenSSL's own.
    context.clear_mode(_PARTIAL_WRITE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_options(SSL.OP_NO_COMPRESSION)
    if keylog is not None:
        context.set_keylog_callback(keylog.write)
    return context


class _Contexts:
    """The contexts in use, of which the least recently used are dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._contexts: OrderedDict[Hashable, SSL.Context] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], SSL.Context]) -> SSL.Context:
        contexts = self._contexts
        context = contexts.get(key)
        if context is None:
            context = contexts[key] = make()
            if len(contexts) > self._size:
                contexts.popitem(last=False)
        else:
            contexts.move_to_end(key)
        return context
