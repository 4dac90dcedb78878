"""What joints watch for: that TLS begins, and that a client binds itself to our certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.errors import InterceptorError
from interceptor.net.tls import TLSTransport
from interceptor.wire.channelbinding import BindingWatch, postgresql_error
from interceptor.wire.starttls import GENERIC, PROTOCOLS, StartTLSWatch

if TYPE_CHECKING:
    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide

_ALL = "all"

_POSTGRESQL = b"postgresql"
"""What PostgreSQL is called in ALPN, where its clients begin with TLS."""


class ChannelBoundError(InterceptorError):
    """A client signs in with a mechanism that ties that to the certificate it was shown.

    ``answer`` is what a client of PostgreSQL is told.
    """

    code = "scram-channel-binding"

    def __init__(self, mechanism: str) -> None:
        super().__init__(
            f"the client signs in with {mechanism}, which ties that to the certificate it was "
            "shown: ours, and not the server's, so that the server has to refuse"
        )
        self.answer = postgresql_error(
            f"interceptor: scram-channel-binding: {self}",
            "Connect with channel_binding=disable, or let the connection pass untouched.",
        )


def starttls_watch(
    context: Context, server: ServerSide, destination: Destination | None
) -> StartTLSWatch | None:
    """Return what notices that a connection in plain text turns to TLS, if anything should."""
    environment = context.environment
    protocols = environment.settings.starttls
    server_conn = server.server_conn
    if not protocols or server_conn.tls_established:
        return None
    address = server_conn.address if destination is None else destination[1:]
    if address is None:
        return None
    host, port = address
    name = host.decode("utf-8", "surrogateescape") if isinstance(host, bytes) else host
    names = (name, server_conn.ip_address[0] if server_conn.ip_address else None)
    # Those that ``allow_hosts`` leaves out may still be in it by the name that the hello has.
    if environment.passthrough.reason(port, names) in ("ignore_hosts", "learned"):
        return None
    return StartTLSWatch((*PROTOCOLS, GENERIC) if _ALL in protocols else protocols)


def binding_watch(
    context: Context, server: ServerSide, protocol: str | None = None
) -> BindingWatch | None:
    """Return what notices that a client binds to our certificate, where it was shown that.

    ``protocol`` is what is spoken inside of TLS, if that is known.
    """
    transport: object = context.session.side.transport
    if not (isinstance(transport, TLSTransport) and server.server_conn.tls_established):
        return None
    if protocol is None:
        is_postgresql = context.client_conn.alpn == _POSTGRESQL
        protocol = "postgresql" if is_postgresql else GENERIC
    shown = transport.connection.get_certificate()
    if shown is not None and shown.to_cryptography() == server.server_conn.cert:
        # By the option ``certs``: then both see the same.
        return None
    return BindingWatch(protocol)
