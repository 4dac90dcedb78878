"""TLS towards a server: the handshake over a connected side, and whether it is to be trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from interceptor.errors import TLSError, UpstreamError
from interceptor.layers.hooking import run_hook
from interceptor.layers.serverside import ServerSide, start
from interceptor.net.gate import SETUP
from interceptor.net.handshakes import is_address
from interceptor.net.tls import TLSTransport

if TYPE_CHECKING:
    from interceptor.model.connections import Connection
    from interceptor.model.nexthop import NextHop
    from interceptor.net.handshakes import ServerHandshake


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server is told in the client's place: ``sni`` (None for none) and ``alpn``.

    ``name`` is the host name or IP address that the server's certificate has to be for. A hook that
    sets ``server_conn.sni`` before the handshake decides about both.
    """

    name: str
    sni: str | None
    alpn: tuple[bytes, ...]


async def secure(below: ServerSide, host: str, offer: Offer | None) -> ServerSide:
    """Shake hands with the server on ``below``, and return the side on top of TLS, held.

    Fires ``tls_established`` or ``tls_failed``. Raises `UpstreamError`, and has closed the
    connection then: nothing was sent to a server that is not who it should be.
    """
    session = below.session
    environment = session.environment
    server_conn = below.server_conn
    if offer is None:
        offer = Offer(host, None if is_address(host) else host, (b"http/1.1",))
    if server_conn.sni is not None:
        offer = Offer(server_conn.sni, server_conn.sni, offer.alpn)
    port = server_conn.address[1] if server_conn.address is not None else 0
    handshake = environment.handshakes.to_server(offer.name, port, offer.sni, offer.alpn)
    server_conn.sni = offer.sni
    hooks = environment.hooks
    try:
        above, transport = await _shake_hands(below, handshake)
    except TLSError as error:
        server_conn.ssl_verification_error = handshake.verification_error
        server_conn.tls_error = error
        if hooks.tls_failed is not None:
            run_hook(hooks.tls_failed, server_conn)
        raise _as_upstream(error) from error
    server_conn.ssl_verification_error = handshake.verification_error
    describe_session(server_conn, transport)
    server_conn.cert = handshake.certificate
    if hooks.tls_established is not None:
        try:
            waiting = hooks.tls_established(server_conn)
            if waiting is not None:
                await waiting
        except BaseException:
            above.abort()
            raise
    return above


async def secure_next_hop(below: ServerSide, hop: NextHop) -> ServerSide:
    """Shake hands with a next hop, and return the side on top of TLS, held.

    No event tells of it, and nothing is noted on the server's connection, which is not this one.
    Raises `UpstreamError`, and has closed the connection then.
    """
    sni = None if is_address(hop.host) else hop.host
    handshakes = below.session.environment.handshakes
    handshake = handshakes.to_server(hop.host, hop.port, sni, (b"http/1.1",))
    try:
        above, _ = await _shake_hands(below, handshake)
    except TLSError as error:
        raise _as_upstream(error) from error
    return above


def _as_upstream(error: TLSError) -> UpstreamError:
    return UpstreamError(str(error), error.code, 504 if error.code == "tls-timeout" else 502)


async def _shake_hands(
    below: ServerSide, handshake: ServerHandshake
) -> tuple[ServerSide, TLSTransport]:
    """Do it, and verify. Raises `TLSError`, and has closed the connection then."""
    settings = below.session.environment.settings
    above = below.stacked()
    done: Deferred[None] = Deferred(lambda _: below.abort())

    def established(transport: TLSTransport) -> None:
        above.reading.pause(SETUP)
        below.stand_in(above)
        done.callback(None)

    def failed(transport: TLSTransport, error: TLSError) -> None:
        below.abort()
        done.errback(error)

    transport = TLSTransport(
        handshake.connection,
        above,
        peer="server",
        on_established=established,
        on_failed=failed,
        on_session=handshake.keep_session,
        handshake_timeout=settings.tls_timeout,
        close_timeout=settings.close_timeout,
    )
    start(below, transport)
    try:
        await done
        error = handshake.verify()
        if error is not None:
            raise error
    except TLSError:
        above_or_below = above if below.established is False and above.established else below
        above_or_below.abort()
        raise
    return above, transport


def describe_session(connection: Connection, transport: TLSTransport) -> None:
    """Note on a connection what its handshake agreed on."""
    tls = transport.connection
    connection.tls_established = True
    connection.timestamp_tls_setup = time.time()
    connection.alpn = tls.get_alpn_proto_negotiated() or None
    connection.cipher_name = tls.get_cipher_name()
    connection.tls_version = tls.get_protocol_version_name()
