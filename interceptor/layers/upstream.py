"""The connections to servers that one session holds: opened with their hooks, kept, reused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Union
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interceptor.errors import HookFailed, UpstreamError
from interceptor.layers.destinations import ENCRYPTED, RAW, Destination
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.hooking import run_hook
from interceptor.layers.http1 import HTTP1ClientProtocol
from interceptor.layers.internal import InternalStream
from interceptor.layers.nexthop import needs_tunnel, reach
from interceptor.layers.serverside import start
from interceptor.layers.servertls import Offer, secure
from interceptor.layers.task import Task
from interceptor.model.connections import ServerConnection, format_address
from interceptor.net.gate import SETUP
from interceptor.net.handshakes import is_address

if TYPE_CHECKING:
    from interceptor.hooks.bus import Fire
    from interceptor.layers.http2client import HTTP2ClientStream
    from interceptor.layers.http2pool import HTTP2Pool
    from interceptor.layers.http2server import HTTP2ServerProtocol
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.session import Session
    from interceptor.model.flow import Flow, HTTPFlow
    from interceptor.model.http import Request
    from interceptor.model.nexthop import NextHop

Route = tuple[Destination, "NextHop | None", bool]
"""A destination, the next hop on the way there, and whether that takes requests as they are."""

Stream = Union[HTTP1ClientProtocol, "HTTP2ClientStream", InternalStream]
"""What an exchange sends its request on."""

_MOST_IDLE = 32


class ServerPool:
    """What a session is connected to. Nothing here is shared with another session."""

    log = Logger()

    def __init__(self, session: Session) -> None:
        # The session owns this pool, and who works with the pool keeps the session.
        self._owner = ref(session)
        self._mode_hop = session.mode.next_hop
        self._next_hops = session.environment.next_hops
        self._ring = session.environment.ring
        self._sides: set[ServerSide] = set()
        self._idle: dict[Route, list[HTTP1ClientProtocol]] = {}
        self._idle_count = 0
        # Whether any connection takes requests in absolute form.
        self._forwarding = False
        self._closed = False
        self._offers: dict[tuple[str, int], Offer] = {}
        self._unreachable: dict[Destination, tuple[UpstreamError, ServerConnection]] = {}
        self.http2: HTTP2Pool | None = None
        self._warming: Task | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def _session(self) -> Session:
        session = self._owner()
        assert session is not None
        return session

    def take(
        self, destination: Destination, request: Request, careful: bool
    ) -> HTTP1ClientProtocol | None:
        """Return an idle connection where that is all there is to think of; see `acquire`."""
        if self._closed or self.http2 is not None or self._ring.always:
            return None
        return self._take_idle(destination, request, careful)

    async def acquire(
        self, destination: Destination, flow: HTTPFlow, *, fresh: bool, careful: bool
    ) -> Stream:
        """Return a connection to ``destination`` for ``flow``: an idle one, or a new one.

        For an internal host it is what answers in the place of a server.

        ``fresh`` insists on a new one. ``careful`` looks at the socket of an idle one for an end
        that the reactor has not reported yet: for requests that must not be sent twice. Raises
        `UpstreamError`.
        """
        self._check_open()
        if self._ring.always and not fresh:
            self._ring.pass_on(flow.request)
        route: Route | None = None
        http2 = self.http2
        if http2 is not None:
            route = (destination, self._next_hop, False)
            stream = await http2.acquire(route)
            if stream is not None:
                stream.mark(flow)
                return stream
        try:
            protocol = await self._acquire(destination, flow, fresh=fresh, careful=careful)
        except BaseException as error:
            if http2 is not None and route is not None:
                http2.failed(route, error)
            raise
        if http2 is not None and route is not None:
            http2.connected(route, shared=protocol.shared)
        if protocol.shared:
            protocol.mark(flow)
        return protocol

    async def _acquire(
        self, destination: Destination, flow: HTTPFlow, *, fresh: bool, careful: bool
    ) -> Stream:
        if not fresh:
            protocol = self._take_idle(destination, flow.request, careful)
            if protocol is not None:
                return protocol
            if self._warming is not None:
                warm: Deferred[None] = Deferred(self._waiting.remove)
                self._waiting.append(warm)
                await warm
                return await self._acquire(destination, flow, fresh=False, careful=careful)
        answer = self._session.environment.internal(destination[1])
        if answer is not None:
            return InternalStream(answer, self._session.context.client_conn)
        scheme = destination[0]
        if scheme not in (b"http", b"https"):
            raise UpstreamError(
                f"the scheme `{scheme.decode('latin-1')}` is not supported",
                "scheme-unsupported",
                501,
            )
        tunnel = scheme != b"http" or needs_tunnel(flow.request)
        return self.adopt(await self.open(destination, flow, tunnel=tunnel), destination)

    def _take_idle(
        self, destination: Destination, request: Request, careful: bool
    ) -> HTTP1ClientProtocol | None:
        """Return an idle connection to the destination itself, or else to a next hop."""
        hop = self._next_hop
        for forwarded in (False, True) if self._forwarding else (False,):
            idle = self._idle.get((destination, hop, forwarded))
            if idle and forwarded and needs_tunnel(request):
                break
            while idle:
                protocol = idle.pop()
                self._idle_count -= 1
                if protocol.take(careful):
                    return protocol
        return None

    @property
    def _next_hop(self) -> NextHop | None:
        """What connections go through now, unless a hook says otherwise."""
        return self._mode_hop or self._next_hops.default

    async def open(
        self, destination: Destination, flow: Flow | None = None, *, tunnel: bool = True
    ) -> ServerSide:
        """Connect to ``destination``, with TLS where its scheme says so.

        Without ``tunnel`` a next hop may be given what is sent as requests of its own. Raises
        `UpstreamError`.
        """
        known = self._unreachable.get(destination)
        if known is not None:
            failure, server_conn = known
            if flow is not None:
                flow.server_conn = server_conn
            raise UpstreamError(str(failure), failure.code, failure.status)
        scheme, name, port = destination
        host = name.decode("utf-8", "surrogateescape")
        side = await self.connect((host, port), flow, tunnel=tunnel)
        if scheme in ENCRYPTED:
            offer = self._offers.get((host, port))
            if offer is None:
                # In what is passed on as it is, nobody knows what will be spoken.
                protocols = () if scheme in RAW else self._protocols
                offer = Offer(host, None if is_address(host) else host, protocols)
            side = await secure(side, offer.name, offer)
        return side

    def warm_up(self, destination: Destination) -> None:
        """Connect to ``destination`` before the first request is there to ask for it.

        If that fails the request tries again, and tells.
        """
        if self._session.environment.internal(destination[1]) is not None:
            return

        async def warm_up() -> None:
            tunnel = destination[0] != b"http"
            self.keep(await self.open(destination, tunnel=tunnel), destination)

        self._warming = Task(warm_up(), self._warmed)
        self._warming.start()

    def _warmed(self, error: BaseException | None) -> None:
        self._warming = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def offer(self, host: str, port: int, offer: Offer) -> None:
        """Say to a server what the client said: its SNI, its protocols."""
        self._offers[host, port] = offer

    def fail(
        self, destination: Destination, error: UpstreamError, server_conn: ServerConnection
    ) -> None:
        """Let every request to ``destination`` fail: what is wrong with it is known already.

        ``server_conn`` is the connection that failed.
        """
        self._unreachable[destination] = error, server_conn

    def unreachable(self, destination: Destination) -> bool:
        """Whether `fail` was told of ``destination``."""
        return destination in self._unreachable

    def replace(self, below: ServerSide, above: ServerSide) -> None:
        """A side was wrapped: the one above is the connection now."""
        self._sides.discard(below)
        if not above.lost:
            self._sides.add(above)

    def keep(self, side: ServerSide, destination: Destination) -> None:
        """Keep a connection, made before there was a request, for the first one."""
        if self._speaks_http2(side, destination):
            self.share_http2().keep(side, (destination, side.asked_hop, False))
        else:
            self.adopt(side, destination).release()

    def speak_http2(self, client: HTTP2ServerProtocol, *, cleartext: bool) -> None:
        """The client speaks HTTP/2: exchanges run side by side, and servers are offered it too.

        ``cleartext`` says that servers without TLS are to be spoken to in HTTP/2, as we are.
        """
        http2 = self.share_http2()
        http2.client = client
        http2.cleartext = cleartext

    @property
    def _protocols(self) -> tuple[bytes, ...]:
        """What a server is offered by ALPN where the client has not said what it speaks."""
        wanted = self._session.environment.settings.h2_upstream
        if wanted == "always" or (
            wanted == "mirror" and self.http2 is not None and self.http2.client is not None
        ):
            return (b"h2", b"http/1.1")
        return (b"http/1.1",)

    def share_http2(self) -> HTTP2Pool:
        """Return what keeps the connections that speak HTTP/2; made when first needed."""
        if self.http2 is None:
            # Most programs never meet HTTP/2: its modules cost memory and time to start.
            from interceptor.layers.http2pool import HTTP2Pool

            self.http2 = HTTP2Pool(self._session.environment)
        return self.http2

    def _speaks_http2(self, side: ServerSide, destination: Destination) -> bool:
        if destination[0] != b"http":
            return side.server_conn.alpn == b"h2"
        settings = self._session.environment.settings
        if not settings.h2_cleartext or side.next_hop_fields is not None:
            return False
        wanted = settings.h2_upstream
        return wanted == "always" or (
            wanted == "mirror" and self.http2 is not None and self.http2.cleartext
        )

    def adopt(
        self, side: ServerSide, destination: Destination
    ) -> HTTP1ClientProtocol | HTTP2ClientStream:
        """Speak HTTP on a connection that was just made, or made before it was known."""
        fields = side.next_hop_fields
        if self._speaks_http2(side, destination):
            route = (destination, side.asked_hop, False)
            return self.share_http2().adopt(side, route, reused=False)
        self._forwarding = self._forwarding or fields is not None
        route = (destination, side.asked_hop, fields is not None)
        protocol = HTTP1ClientProtocol(
            side.server_conn, self._session.environment.settings, self, route, fields
        )
        start(side, protocol)
        return protocol

    def give_back(self, protocol: HTTP1ClientProtocol, route: Route) -> None:
        """Keep an idle connection for the next request that goes the same way."""
        if self._closed:
            protocol.side.close()
            return
        if self._idle_count >= _MOST_IDLE:
            self._evict()
        self._idle.setdefault(route, []).append(protocol)
        self._idle_count += 1

    def forget(self, protocol: HTTP1ClientProtocol, route: Route) -> None:
        """An idle connection is gone."""
        idle = self._idle.get(route)
        if idle is not None and protocol in idle:
            idle.remove(protocol)
            self._idle_count -= 1

    def _evict(self) -> None:
        for route, idle in self._idle.items():
            if idle:
                oldest = idle.pop(0)
                self._idle_count -= 1
                if not idle:
                    del self._idle[route]
                oldest.side.close()
                return

    async def connect(
        self, address: tuple[str, int], flow: Flow | None = None, *, tunnel: bool = True
    ) -> ServerSide:
        """Open a connection, with its hooks around it. The side holds its bytes until `start`.

        ``flow``, if any, is what it is for: it is given the connection at once, so that the flow of
        a failed connect tells with whom it failed. A hook may change the address or the next hop,
        or refuse. ``tunnel`` as for `open`. Raises `UpstreamError`.
        """
        self._check_open()
        session = self._session
        environment = session.environment
        hooks = environment.hooks
        server_conn = ServerConnection(address)
        asked_hop = server_conn.via = self._next_hop
        session.context.server_conn = server_conn
        if flow is not None:
            flow.server_conn = server_conn
        if hooks.serverconnect is not None:
            await self._ask(hooks.serverconnect, server_conn)
        # A request's own target would lead a next hop past what a hook has made of the address.
        requests = not tunnel and server_conn.address == address
        try:
            received = self._received_via(flow, server_conn)
            side = await reach(session, server_conn, requests=requests, received_via=received)
        except Exception as error:
            # Failed, or not wanted any more: then it is what `Task.abort` was given.
            self._failed(server_conn, str(error))
            raise
        if self._closed:
            self._failed(server_conn, "the client is gone")
            side.abort()
            raise UpstreamError("the client is gone", "client-disconnected")
        self._sides.add(side)
        side.asked_hop = asked_hop
        side.established = True
        fire = hooks.serverconnected
        if fire is not None:
            side.reading.pause(SETUP)
            try:
                waiting = fire(server_conn)
                if waiting is not None:
                    await waiting
            except BaseException:
                side.abort()
                raise
        if side.lost:
            raise UpstreamError(
                f"{format_address(server_conn.address)} closed the connection at once",
                "server-disconnected",
            )
        return side

    def _received_via(self, flow: Flow | None, server_conn: ServerConnection) -> tuple[str, ...]:
        """Return the Via of what a connection through a next hop is for.

        Raises `UpstreamError` where that is a request that has been here before.
        """
        if server_conn.via is None:
            return ()
        outer = self._session.context.via
        request: Request | None = None
        if flow is not None and flow.type == "http":
            request = getattr(flow, "request", None)
        if request is None:
            self._ring.check(outer)
            return outer
        inner = tuple(request.headers.get_all("via"))
        # Where all requests get our entry, this one was looked at when it got it.
        known = self._ring.always and request.first_line_format != "authority"
        self._ring.check(outer if known else outer + inner)
        return outer or inner

    async def _ask(self, fire: Fire, server_conn: ServerConnection) -> None:
        """Fire ``serverconnect``; raise where its hooks do not want the connection.

        Unless they refuse it, whoever heard of the connection hears of its end.
        """
        try:
            waiting = fire(server_conn)
            if waiting is not None:
                await waiting
        except HookFailed as error:
            # A hook whose failure is fatal has failed: that counts as its refusal.
            server_conn.refuse(str(error))
            raise
        except Exception as error:
            self._failed(server_conn, str(error))
            raise
        if server_conn.error is not None:
            raise UpstreamError(
                f"connection to {format_address(server_conn.address)} refused: {server_conn.error}",
                "refused-by-hook",
            )
        if server_conn.address is None:
            missing = UpstreamError("a hook took the server's address away", "no-destination")
            self._failed(server_conn, str(missing))
            raise missing

    def _failed(self, server_conn: ServerConnection, reason: str) -> None:
        server_conn.error = reason
        server_conn.timestamp_end = time.time()
        fire = self._session.environment.hooks.serverconnect_failed
        if fire is not None:
            run_hook(fire, server_conn)

    def _check_open(self) -> None:
        """Raise `UpstreamError` where the session is over: nobody would read what came."""
        if self._closed:
            raise UpstreamError("the client is gone", "client-disconnected")

    def lost(self, side: ServerSide) -> None:
        """A connection is gone."""
        self._sides.discard(side)

    def close(self) -> None:
        """The session is over: close all connections."""
        self._closed = True
        if self.http2 is not None:
            self.http2.close()
        if self._warming is not None:
            self._warming.abort(ClientGoneError("the client closed its connection"))
        for side in tuple(self._sides):
            side.close()
