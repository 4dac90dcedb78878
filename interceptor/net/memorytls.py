"""TLS for peers in memory: a client or a server of its own, with nothing of the proxy's in it.

The standard library's ``ssl`` does it, where the proxy has pyOpenSSL: what the two agree on is TLS.
"""

from __future__ import annotations

import atexit
import datetime
import fcntl
import ipaddress
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from glob import escape, glob
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.net.overtcp import OverTCP

__all__ = ["MemoryTLS", "OriginAuthority", "client_context", "origin_authority", "private_folder"]

_READ: Final = 65536
_FOLDER: Final = "interceptor-testing-"


@implementer(ITCPTransport, IConsumer, IPushProducer, IHalfCloseableProtocol)
class MemoryTLS(Protocol, OverTCP):
    """TLS between a transport and a protocol, as one end of a connection in memory has it.

    ``protocol`` is connected once the handshake is over. Whatever goes wrong is in ``error``; as a
    real peer would, this one sends its alert then and closes. It does not hold writes back: the
    peer's buffers are as large as a test lets them grow.
    """

    transport: Any

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: IProtocol,
        *,
        server: bool = False,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """``server_name`` is what a client asks for, and a numeric address is checked only."""
        self.protocol = protocol
        """Gets what was decrypted. May be replaced at any time."""
        self.error: ssl.SSLError | None = None
        """Why the handshake failed, or what came instead of more records."""
        self.established = False
        self.ended = False
        """Whether the peer's ``close_notify`` has come."""
        self.truncated = False
        """Whether its bytes ended without."""
        self._lost = False
        self._closing = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server,
            server_hostname=server_name,
            session=session,
        )
        """The standard library's object, for questions about what was negotiated."""

    @property
    def certificate(self) -> x509.Certificate:
        """The peer's certificate."""
        found = self.tls.getpeercert(binary_form=True)
        assert found is not None, "the peer has shown no certificate"
        return x509.load_der_x509_certificate(found)

    @property
    def below(self) -> Any:
        return self.transport

    def take_over(self, transport: Any) -> None:
        """Begin on a connection on which something else was spoken until now."""
        transport.protocol = self
        start: Any = self.makeConnection
        start(transport)

    # IProtocol

    def connectionMade(self) -> None:
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        self._incoming.write(data)
        if self.established:
            self._receive()
        elif self.error is None:
            self._shake_hands()

    def readConnectionLost(self) -> None:
        if not self.ended:
            self.truncated = True
            self._tell_end(ConnectionLost("the peer did not end TLS"))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended:
            self.truncated = True
        self._lose(reason)

    def _shake_hands(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._fail(error)
            return
        self._flush()
        self.established = True
        self.protocol.makeConnection(self)
        self._receive()

    def _receive(self) -> None:
        while not self.ended and self.error is None:
            try:
                data = self.tls.read(_READ)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                self._fail(error)
                return
            if data:
                self.protocol.dataReceived(data)
            else:
                self.ended = True
                self._tell_end(ConnectionDone())
        self._flush()

    def _fail(self, error: ssl.SSLError) -> None:
        self.error = error
        self._flush()
        self.transport.loseConnection()
        self._lose(Failure(error))

    def _tell_end(self, reason: Exception) -> None:
        if not self.established:
            self._lose(Failure(reason))
        elif IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.loseConnection()

    def _lose(self, reason: Failure) -> None:
        if not self._lost:
            self._lost = True
            self.protocol.connectionLost(reason)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    # ITransport

    def write(self, data: bytes) -> None:
        if data and self.error is None and not (self._lost or self._closing):
            self.tls.write(data)
            self._flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Send ``close_notify``, and go on reading."""
        if not self._closing:
            self._closing = True
            try:
                self.tls.unwrap()
            except (ssl.SSLError, OSError):
                # The peer's has not come yet: ours is on its way all the same.
                pass
            self._flush()

    def loseConnection(self) -> None:
        """Send ``close_notify`` and close the connection below."""
        if self.established:
            self.loseWriteConnection()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        self.transport.abortConnection()

    def getPeer(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        address: IAddress = self.transport.getPeer()
        return address

    def getHost(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        address: IAddress = self.transport.getHost()
        return address

    # IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()


@cache
def private_folder() -> str:
    """Give a folder for files of this process's tests, which goes when the process ends.

    That of a process that was killed goes when the next one asks for a folder: a lock, which ends
    with the process whatever ends it, tells that somebody uses it.
    """
    folder = None
    # Another process may have found it before it was locked.
    while folder is None or _locked(folder, fcntl.LOCK_EX) is None:
        folder = tempfile.mkdtemp(prefix=_FOLDER)
    for path in glob(os.path.join(escape(os.path.dirname(folder)), f"{_FOLDER}*")):
        lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _locked(folder: str, how: int) -> int | None:
    """Return a descriptor that locks a folder of ours; None if it is in use, or not there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how)
        if os.fstat(descriptor).st_uid == os.geteuid() and os.path.isdir(folder):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def client_context(
    roots: str | None, alpn: Sequence[str] = (), *, check_names: bool = True
) -> ssl.SSLContext:
    """Make what a client speaks TLS with.

    ``roots`` is a file with what it trusts; None trusts everybody. ``alpn`` is what it offers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_names and roots is not None
    if roots is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(roots)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@cache
def origin_authority() -> OriginAuthority:
    """Give the authority of this process's origins."""
    return OriginAuthority(private_folder())


class OriginAuthority:
    """Issues the certificates of origins. ``path`` is the file that clients of theirs trust."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._files: dict[tuple[str, ...], str] = {}
        self._subject = _subject("Authority of origins in memory")
        certificate = self._sign(self._subject, self._key.public_key(), (), authority=True)
        self.path = os.path.join(folder, "origins.pem")
        self.certificate = certificate
        with open(self.path, "wb") as file:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))

    def certify(self, *names: str) -> str:
        """Give a file with a key and a certificate for ``names``, made when first asked for."""
        path = self._files.get(names)
        if path is None:
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._sign(_subject(names[0][:64]), key.public_key(), names)
            path = os.path.join(self._folder, f"origin-{len(self._files)}.pem")
            with open(path, "wb", opener=_private) as file:
                file.write(certificate.public_bytes(serialization.Encoding.PEM))
                file.write(
                    key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                )
            self._files[names] = path
        return path

    def context(self, *names: str, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """Make what an origin with these names speaks TLS with; of ``alpn`` it chooses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certify(*names))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...],
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        if not authority:
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = (
                builder.add_extension(above, critical=False)
                .add_extension(usage, critical=False)
                .add_extension(alternative, critical=False)
            )
        return builder.sign(self._key, hashes.SHA256())


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
