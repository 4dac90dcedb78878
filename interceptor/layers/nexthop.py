"""The way to a server: straight, or by a next hop, which is another proxy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone

from interceptor.errors import LoopError, ModeError, OptionsError, UpstreamError
from interceptor.layers.serverside import server_side, start
from interceptor.layers.servertls import secure_next_hop
from interceptor.model.nexthop import Credentials, NextHop, parse_next_hop
from interceptor.model.wording import shown
from interceptor.net.sides import Side, SideProtocol
from interceptor.wire.connectclient import ConnectClient, basic
from interceptor.wire.framing import wanted_upgrade
from interceptor.wire.httpwrite import encode_authority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.session import Session
    from interceptor.model.connections import ServerConnection
    from interceptor.model.http import Request
    from interceptor.model.modes import ModeSpec
    from interceptor.model.options import Options


class NextHops:
    """The options ``upstream_proxy``, ``upstream_auth`` and ``upstream_auth_file``."""

    default: NextHop | None
    """What connections go through unless a mode or a hook says otherwise."""

    def __init__(self, options: Options) -> None:
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Follow the options. Raises `OptionsError`."""
        text = options.upstream_proxy
        try:
            default = None if text is None else parse_next_hop(text)
        except ModeError as error:
            raise OptionsError(f"option `upstream_proxy`: {error}") from None
        path = options.upstream_auth_file
        if path is None:
            credentials = Credentials(options.upstream_auth)
        elif options.upstream_auth:
            raise OptionsError(
                "options `upstream_auth` and `upstream_auth_file` exclude each other"
            )
        else:
            credentials = Credentials(_entries(path), source=path)
        self.default = default
        self._credentials = credentials

    def credentials(self, hop: NextHop, mode: ModeSpec) -> tuple[bytes, bytes] | None:
        """Return the user's name and password for ``hop`` in a session of ``mode``."""
        configured = hop in (mode.next_hop, self.default)
        return self._credentials.get(hop, configured=configured)


def _entries(path: str) -> list[str]:
    """Return what a file of credentials says: one entry a line; ``#`` begins a comment."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionsError(f"option `upstream_auth_file`: {shown(path, 4096)}: {reason}") from None
    except UnicodeDecodeError:
        raise OptionsError(
            f"option `upstream_auth_file`: {shown(path, 4096)}: it is not UTF-8"
        ) from None
    lines = (line.strip("\r") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def needs_tunnel(request: Request) -> bool:
    """Whether an ``http`` request would not come through an HTTP proxy as it is.

    Proxies leave Upgrade out (RFC 9110 section 7.8; RFC 6455 section 4.1 asks for CONNECT), and put
    what the target names in the place of the Host field (RFC 9112 section 3.2.2).
    """
    headers = request.headers
    upgrade = headers.get_bytes(b"upgrade")
    if upgrade is not None and wanted_upgrade(upgrade) is not None:
        return True
    host = request.host_header_bytes
    return host is not None and host.lower() not in (
        encode_authority(request).lower(),
        encode_authority(request, with_port=True).lower(),
    )


async def reach(
    session: Session,
    server_conn: ServerConnection,
    *,
    requests: bool = False,
    received_via: Sequence[str] = (),
) -> ServerSide:
    """Connect to where ``server_conn`` is to go, by its ``via`` if it has one.

    Returns the side on which the server is spoken to, held. With ``requests`` only plain HTTP
    requests will be sent there: then a next hop that speaks HTTP is not asked for a tunnel, but
    gets them in absolute form, with the side's `ServerSide.next_hop_fields`. ``received_via`` are
    the Via fields of what it is for.

    Raises `UpstreamError`. What goes wrong with the next hop never leads to anything being
    connected to directly.
    """
    hop = server_conn.via = as_next_hop(server_conn.via)
    assert server_conn.address is not None
    if hop is None:
        side = server_side(session, server_conn)
        await _dial(side, server_conn.address)
        return side
    # A request that is sent to the next hop itself has no place for what only the server may read.
    requests = requests and not _proxy_header(session, server_conn.address)
    host, _ = server_conn.address
    hosts: Sequence[str] = (host,)
    if hop.scheme == "socks5":
        hosts = await _resolve(session, host)
    try:
        if hop.speaks_http:
            return await _by_http(session, server_conn, hop, requests, received_via)
        return await _by_socks(session, server_conn, hop, hosts)
    except LoopError as error:
        raise LoopError(f"next hop {hop}: {error}") from error
    except UpstreamError as error:
        raise UpstreamError(f"next hop {hop}: {error}", error.code, error.status) from error


def as_next_hop(via: Any) -> NextHop | None:
    """Return what a hook may have made of ``via`` as a next hop. Raises `UpstreamError`."""
    if via is None or isinstance(via, NextHop):
        return via
    try:
        if isinstance(via, str):
            return parse_next_hop(via)
        problem = f"{shown(via)} is neither a text nor a NextHop"
    except ModeError as error:
        problem = str(error)
    raise UpstreamError(f"a hook set `via`: {problem}", "upstream-proxy-invalid")


async def _dial(side: ServerSide, address: tuple[str, int]) -> None:
    environment = side.session.environment
    await environment.connector.connect(
        address,
        lambda: side,
        timeout=environment.settings.connect_timeout,
        source_address=None,
        server_connection=side.server_conn,
    )
    _write_proxy_header(side, address)


def _proxy_header(session: Session, address: tuple[str, int]) -> bytes:
    return session.environment.proxy_protocol.header(session.context.client_conn, address)


def _write_proxy_header(side: ServerSide, address: tuple[str, int]) -> None:
    """Say who the client is, before anything else is sent to ``address``, if it wants that."""
    header = _proxy_header(side.session, address)
    if header:
        side.write(header)


async def _to_next_hop(session: Session, server_conn: ServerConnection, hop: NextHop) -> ServerSide:
    """Connect to the next hop itself, and speak TLS with it if that is how it is spoken to."""
    side = server_side(session, server_conn)
    try:
        await _dial(side, hop.address)
    except LoopError:
        raise
    except UpstreamError as error:
        raise UpstreamError(str(error), "upstream-proxy-unreachable", error.status) from error
    # It is the next hop's address. The server's is known to nobody here.
    server_conn.ip_address = None
    if hop.scheme == "https":
        return await secure_next_hop(side, hop)
    return side


async def _by_http(
    session: Session,
    server_conn: ServerConnection,
    hop: NextHop,
    requests: bool,
    received_via: Sequence[str],
) -> ServerSide:
    """Get ready to send the next hop requests, or let it make a tunnel."""
    assert server_conn.address is not None
    credentials = session.environment.next_hops.credentials(hop, session.mode)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    if credentials is not None:
        fields = ((b"Proxy-Authorization", basic(*credentials)),)
    ring, client_conn = session.environment.ring, session.context.client_conn
    if requests:
        side = await _to_next_hop(session, server_conn, hop)
        side.next_hop_fields = fields + ring.request_field(session.context.via, client_conn)
        return side
    fields += ring.connect_field(received_via, client_conn)
    return await _through(session, server_conn, hop, ConnectClient(*server_conn.address, fields))


async def _by_socks(
    session: Session, server_conn: ServerConnection, hop: NextHop, hosts: Sequence[str]
) -> ServerSide:
    """Let the next hop connect to the first of ``hosts`` that it gets to."""
    assert server_conn.address is not None
    _, port = server_conn.address
    credentials = session.environment.next_hops.credentials(hop, session.mode)
    from interceptor.wire.socks5client import AddressRefusedError, Socks5Client

    *others, last = [Socks5Client(host, port, credentials) for host in hosts]
    for codec in others:
        try:
            return await _through(session, server_conn, hop, codec)
        except AddressRefusedError:
            continue
    return await _through(session, server_conn, hop, last)


async def _through(
    session: Session, server_conn: ServerConnection, hop: NextHop, codec: _Codec
) -> ServerSide:
    """Let the next hop connect to the server, as ``codec`` asks it to."""
    side = await _to_next_hop(session, server_conn, hop)
    negotiation = _Negotiation(codec, session.environment.settings.connect_timeout)
    if side.closing:
        raise negotiation.closed()
    start(side, negotiation)
    await negotiation.done
    if hop.scheme == "socks5":
        server_conn.ip_address = codec.destination
    assert server_conn.address is not None
    _write_proxy_header(side, server_conn.address)
    return side


async def _resolve(session: Session, host: str) -> Sequence[str]:
    environment = session.environment
    addresses: Sequence[str] = await environment.connector.resolve(
        host, timeout=environment.settings.connect_timeout
    )
    return addresses


class _Codec(Protocol):
    """What asks a next hop for a connection."""

    destination: tuple[str, int]
    done: bool
    rest: bytes

    def start(self) -> bytes: ...
    def receive(self, data: bytes) -> bytes: ...


class _Negotiation(SideProtocol):
    """Stands on a next hop's side until it has connected to the server, or will not.

    ``done`` fires when the side is the server's, held; it fails with `UpstreamError`.
    """

    side: ServerSide

    def __init__(self, codec: _Codec, timeout: float) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self.side.abort())
        self._codec = codec
        self._timeout = timeout

    def attach(self, side: Side) -> None:
        super().attach(side)
        side.deadline.set(self._timeout)
        try:
            request = self._codec.start()
        except UpstreamError as error:
            self._fail(error)
            return
        side.write(request)

    def dataReceived(self, data: bytes) -> None:
        try:
            answer = self._codec.receive(data)
        except UpstreamError as error:
            self._fail(error)
            return
        if answer:
            self.side.write(answer)
        if self._codec.done:
            self.side.hold(self._codec.rest)
            self.done.callback(None)

    def closed(self) -> UpstreamError:
        """Return the error for a next hop that is gone."""
        return UpstreamError(
            "it closed the connection before it had answered", "upstream-proxy-disconnected"
        )

    def read_closed(self) -> None:
        self._fail(self.closed())

    def timed_out(self) -> None:
        self._fail(UpstreamError("no answer in time", "upstream-proxy-timeout", 504))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.read_closed()

    def _fail(self, error: UpstreamError) -> None:
        self.side.abort()
        if not self.done.called:
            self.done.errback(error)
