"""The HTTP/2 connections of one session: each shared by all exchanges that go the same way."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, TimeoutError

from interceptor.errors import UpstreamError
from interceptor.layers.failures import ClientGoneError
from interceptor.layers.http2client import HTTP2ClientProtocol, HTTP2ClientStream
from interceptor.layers.http2connection import codec_limits
from interceptor.layers.serverside import start
from interceptor.wire.http2client import HTTP2ClientCodec

if TYPE_CHECKING:
    from interceptor.layers.environment import Environment
    from interceptor.layers.http2server import HTTP2ServerProtocol
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import Route

_MOST_CONNECTIONS: Final = 4
"""Connections to one server, above which an exchange waits for a stream on one of them."""


class HTTP2Pool:
    """Which connections speak HTTP/2, which are being made, and who waits for either."""

    def __init__(self, environment: Environment) -> None:
        self.client: HTTP2ServerProtocol | None = None
        """Where the client speaks HTTP/2, its connection: servers are spoken to in its manner."""
        self.cleartext = False
        """Whether servers without TLS are spoken to in HTTP/2 too, because the client does it."""
        self._environment = environment
        self._ready: dict[Route, ServerSide] = {}
        self._shared: dict[Route, list[HTTP2ClientProtocol]] = {}
        self._connecting: dict[Route, list[Deferred[None]]] = {}
        self._waiting: dict[Route, list[Deferred[None]]] = {}
        # How many streams servers allowed on their last connection: on the next one they do, too.
        self._allowed: dict[Route, int] = {}
        # Routes whose server speaks HTTP/1: connections to them are nobody else's affair.
        self._alone: set[Route] = set()

    @property
    def proxy(self) -> object:
        """Whose pool it is, for the log."""
        return self._environment.proxy

    async def acquire(self, route: Route) -> HTTP2ClientStream | None:
        """Return a stream to a server, or None where a connection has to be made.

        In that case `connected` or `failed` must be called in the end. Raises `UpstreamError`.
        """
        clock = self._environment.clock
        due = inf
        while True:
            stream = self._open_stream(route)
            if stream is not None:
                return stream
            others = self._connecting.get(route)
            if others is not None:
                waiting: Deferred[None] = Deferred(others.remove)
                others.append(waiting)
                await waiting
                continue
            if len(self._shared.get(route, ())) < _MOST_CONNECTIONS:
                if route not in self._alone and self.client is not None:
                    self._connecting[route] = []
                return None
            if due == inf:
                due = clock.seconds() + self._environment.settings.read_timeout
            others = self._waiting.setdefault(route, [])
            free: Deferred[None] = Deferred(others.remove)
            others.append(free)
            free.addTimeout(max(0.0, due - clock.seconds()), clock)
            try:
                await free
            except TimeoutError:
                raise UpstreamError(
                    "the server had no stream left in time", "stream-limit", 504
                ) from None

    def _open_stream(self, route: Route) -> HTTP2ClientStream | None:
        for protocol in self._shared.get(route, ()):
            if protocol.usable:
                return HTTP2ClientStream(protocol, reused=True)
        side = self._ready.pop(route, None)
        if side is None or side.closing or side.read_ended:
            return None
        return self.adopt(side, route, reused=True)

    def connected(self, route: Route, *, shared: bool) -> None:
        """A connection was made; ``shared`` tells whether the server speaks HTTP/2."""
        if not shared:
            self._alone.add(route)
        for waiting in self._connecting.pop(route, ()):
            waiting.callback(None)

    def failed(self, route: Route, error: BaseException) -> None:
        """No connection could be made: whoever waited for it fails by the same cause."""
        for waiting in self._connecting.pop(route, ()):
            if isinstance(error, UpstreamError):
                waiting.errback(UpstreamError(str(error), error.code, error.status))
            else:
                # It was not wanted any more by whom it was for: the next one tries.
                waiting.callback(None)

    def keep(self, side: ServerSide, route: Route) -> None:
        """Hold a connection, unspoken to, until the first exchange needs it.

        By then the client has said how it speaks HTTP/2, and the server is told the same.
        """
        other = self._ready.pop(route, None)
        if other is not None:
            other.close()
        self._ready[route] = side

    def adopt(self, side: ServerSide, route: Route, *, reused: bool) -> HTTP2ClientStream:
        """Speak HTTP/2 on a connection, and return its first stream."""
        environment = self._environment
        settings = environment.settings
        mirror = None
        if self.client is not None and settings.h2_mirror:
            mirror = self.client.codec.mirror
        limits = codec_limits(settings)
        shown = 0
        if mirror is not None:
            shown = min(mirror.window_update, settings.h2_mirror_budget)
            if not environment.windows.take(shown):
                shown = 0
                limits = replace(
                    limits,
                    mirrored_window=settings.h2_window,
                    mirrored_connection_window=settings.h2_connection_window,
                )
        codec = HTTP2ClientCodec(limits, settings.http_framing, mirror)
        codec.assumed_streams = max(1, min(self._allowed.get(route, 100), 100))
        protocol = HTTP2ClientProtocol(side.server_conn, environment, settings, codec, self, route)
        protocol.window_shown = shown
        self._shared.setdefault(route, []).append(protocol)
        stream = HTTP2ClientStream(protocol, reused=reused)
        start(side, protocol)
        return stream

    def forget_shared(self, protocol: HTTP2ClientProtocol, route: Route) -> None:
        """A connection takes no further streams."""
        protocols = self._shared.get(route)
        if protocols is not None and protocol in protocols:
            protocols.remove(protocol)
            if not protocols:
                del self._shared[route]
        self.may_open(route)

    def connection_ended(self, protocol: HTTP2ClientProtocol) -> None:
        """A connection is over, and what was held ready for it is free."""
        self._environment.windows.give_back(protocol.window_shown)
        protocol.window_shown = 0

    def may_open(self, route: Route) -> None:
        """A stream or a connection is over, or a server allows more: those that wait may begin."""
        waiting = self._waiting.get(route)
        while waiting and (
            len(self._shared.get(route, ())) < _MOST_CONNECTIONS
            or any(protocol.usable for protocol in self._shared[route])
        ):
            waiting.pop(0).callback(None)

    def settings_changed(self, protocol: HTTP2ClientProtocol, route: Route) -> None:
        """A server has said what it can: let the client know what concerns it."""
        self._allowed[route] = protocol.codec.allowed_streams
        self.may_open(route)
        if self.client is not None and protocol.codec.connect_protocol:
            self.client.offer_connect_protocol()

    def offer_alternative(self, origin: bytes, value: bytes) -> None:
        """A server told where else it can be reached: let a client that speaks HTTP/2 know."""
        if self.client is not None:
            self.client.codec.send_altsvc(origin, value)
            self.client.wrote()

    def close(self) -> None:
        """The session is over."""
        waiting, self._waiting = self._waiting, {}
        for each in [each for route in waiting.values() for each in tuple(route)]:
            each.errback(ClientGoneError("the client closed its connection"))
