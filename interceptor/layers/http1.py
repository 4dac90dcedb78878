"""HTTP/1 on a side: the protocol that faces the client, and the one that faces a server."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import RemoteProtocolError, TLSError, UpstreamError
from interceptor.interfaces import IClientStream, IServerStream
from interceptor.layers.failures import ClientGoneError, ClientTooSlowError, client_gone
from interceptor.layers.task import Task, Wakeup
from interceptor.model.connections import format_address
from interceptor.net.gate import BACKLOG
from interceptor.net.sides import LAST_CALL, SideProtocol
from interceptor.net.unseen import ended_unseen
from interceptor.wire.connectclient import refusal
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import CONNECTION_CLOSED, NEED_DATA, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.python.failure import Failure

    from interceptor.layers.environment import Settings
    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import Route, ServerPool
    from interceptor.model.connections import ServerConnection
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response
    from interceptor.net.sides import Side

_HIGH_WATER = 65536
"""Bytes held unread above which the peer is not read from."""

_MOST_IN_A_ROW = 16
"""Pipelined requests served before every other connection has its turn."""


@lru_cache(maxsize=8)
def _limits(head_size: int, field_count: int) -> HTTP1Limits:
    return HTTP1Limits(head_size=head_size, field_count=field_count)


class _HTTP1Protocol(SideProtocol, ABC):
    """What both directions have in common: a codec that is fed, pulled from, and waited on."""

    codec: Any
    _settings: Settings
    _readable: Wakeup | None = None
    _broken: Exception | None = None

    def dataReceived(self, data: bytes) -> None:
        codec = self.codec
        codec.receive_data(data)
        readable = self._readable
        if readable is not None:
            self._readable = None
            readable.wake()
        elif codec.buffered > _HIGH_WATER:
            self.side.reading.pause(BACKLOG)

    def read_closed(self) -> None:
        self.codec.receive_eof()
        self._wake()

    def _wake(self) -> None:
        readable = self._readable
        if readable is not None:
            self._readable = None
            readable.wake()

    def when_readable(self) -> Awaitable[None]:
        if self._broken is not None:
            return fail(self._broken)
        self.side.reading.resume(BACKLOG)
        # Resuming may have delivered at once: that is not an end of waiting, only one turn more.
        readable = self._readable = Wakeup(self._forget)
        return readable

    def _forget(self) -> None:
        self._readable = None

    @property
    def write_paused(self) -> bool:
        return self.side.writing.paused

    def when_writable(self) -> Deferred[None]:
        if self._broken is not None:
            return fail(self._broken)
        waiting = self.side.when_writable(self._settings.write_timeout)
        return waiting.addErrback(self._write_failed)

    def _write_failed(self, failure: Failure) -> None:
        # A transport that still had something to write tells of its loss here first.
        failure.trap(ConnectionLost)
        if self._broken is None:
            self._broken = self._gone()
        raise self._broken

    @abstractmethod
    def _gone(self) -> Exception:
        """Return the error that says that the peer is lost."""

    def send_data(self, data: bytes) -> None:
        self.side.write(self.codec.send_data(data))

    def send_end(self, trailers: Headers | None) -> None:
        end = self.codec.send_end(trailers)
        if end:
            self.side.write(end)


@implementer(IServerStream)
class HTTP1ServerProtocol(_HTTP1Protocol):
    """Reads one request after the other from a client, and hands each to an exchange."""

    log = Logger()
    tunnel = None
    carries_resets = False

    def __init__(self, layer: HTTPLayer) -> None:
        self.layer = layer
        settings = layer.context.environment.settings
        self._settings = settings
        self.codec = HTTP1ServerCodec(
            _limits(settings.head_size_limit, settings.header_count_limit),
            settings.http_framing,
        )
        self.in_exchange = False
        self.draining = False
        self._taken_over: Callable[[bytes], None] | None = None
        self._waiting_for = ""
        self.task = Task(self._serve(), self._served)

    def attach(self, side: Side) -> None:
        super().attach(side)
        self.task.start()

    # What the side tells

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.in_exchange:
            # Between two requests nobody has to be told.
            self._readable = None
            self.task.discard()
        elif self._broken is None:
            self._broken = self._gone()
            self.task.abort(self._broken)

    def _gone(self) -> Exception:
        return client_gone(self.layer.context.environment)

    def timed_out(self) -> None:
        if self._waiting_for == "request":
            # A kept-alive connection that is not used any more: nobody is waiting for a word.
            self.side.close(self._settings.close_timeout)
            return
        error = ClientTooSlowError(
            f"the client was too slow: no {self._waiting_for} in time",
            f"{self._waiting_for}-timeout",
        )
        self.task.abort(error)

    def write_timed_out(self) -> None:
        self._broken = ClientGoneError("the client stopped reading", "client-not-reading")
        self.task.abort(self._broken)
        self.side.abort()

    def drain(self) -> None:
        """Finish the exchange that is under way, if any, and close then.

        A client that had an answer just now may have sent its next request already.
        """
        if self.draining:
            return
        self.draining = True
        if self.in_exchange or self.codec.buffered:
            return
        left = self.side.deadline.remaining or 0.0
        rested = self._settings.idle_timeout - left
        if rested < LAST_CALL:
            self.side.deadline.set(min(left, LAST_CALL - rested))
        else:
            self.side.close(self._settings.close_timeout)

    # The loop

    async def _serve(self) -> None:
        codec, side, settings = self.codec, self.side, self._settings
        run = self.layer.exchange
        in_a_row = 0
        while True:
            self._waiting_for = "request"
            side.deadline.set(LAST_CALL if self.draining else settings.idle_timeout)
            while (event := codec.next_event(time.time())) is NEED_DATA:
                if self._waiting_for == "request" and codec.buffered:
                    self._waiting_for = "head"
                    side.deadline.set(settings.head_timeout)
                in_a_row = 0
                await self.when_readable()
            if event is CONNECTION_CLOSED:
                return
            side.deadline.clear()
            self.in_exchange = True
            try:
                await run(self, event)
            except RemoteProtocolError as error:
                # No exchange was begun: those answer by themselves.
                self.layer.refuse(self, error, event.request)
                return
            self.in_exchange = False
            if self._taken_over is not None or side.closing:
                return
            if not codec.keep_alive:
                return
            if side.writing.paused:
                await self.when_writable()
            in_a_row += 1
            if in_a_row >= _MOST_IN_A_ROW:
                in_a_row = 0
                await deferLater(self.layer.context.environment.clock, 0)
            codec.next_cycle()

    def _served(self, error: BaseException | None) -> None:
        side = self.side
        if error is None:
            if self._taken_over is not None:
                if not side.closing:
                    self._taken_over(self.codec.take_rest())
            elif not side.closing:
                unread = not self.codec.request_complete or self.codec.buffered > 0
                side.close(self._settings.close_timeout, linger=unread)
        elif isinstance(error, (RemoteProtocolError, ClientTooSlowError)):
            self.layer.refuse(self, error)
        elif not isinstance(error, ClientGoneError):
            proxy = self.layer.context.environment.proxy
            self.log.failure("exchange failed: {error}", error=error, proxy=proxy)
            side.abort()

    # The stream

    def next_event(self) -> Any:
        event = self.codec.next_event(time.time())
        if event is NEED_DATA:
            if self._broken is not None:
                raise self._broken
            self._waiting_for = "body"
            self.side.deadline.set(self._settings.body_timeout)
        else:
            self.side.deadline.clear()
        return event

    def send_informational(self, response: Response) -> None:
        self.side.write(self.codec.send_informational(response))

    def send_head(self, request: Request, response: Response, length: int | None) -> None:
        self.side.write(self.codec.send_head(request, response, length, self._last))

    def send_message(self, request: Request, response: Response, body: bytes) -> None:
        self.side.write(self.codec.send_message(request, response, body, self._last))

    @property
    def _last(self) -> bool:
        """Whether this response has to be the connection's last one."""
        return self.draining or not self.codec.request_complete

    def send_continue(self) -> None:
        """Ask for the body that the client holds back (RFC 9110 section 10.1.1)."""
        self.side.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, request: Request | None, response: Response) -> None:
        """Send a response that ends the connection, whatever the client still sends."""
        self.draining = True
        body = response.raw_content or b""
        if not self.side.closing:
            self.side.write(self.codec.send_message(request, response, body, close=True))

    def take_over(self, callback: Callable[[bytes], None]) -> None:
        """Leave the side to another protocol once the exchange is over.

        ``callback`` is given what the client sent and nobody consumed.
        """
        self._taken_over = callback

    def hang_up(self) -> None:
        """The client was refused: close, so that it can read the answer."""
        self.side.close(self._settings.close_timeout, linger=True)

    def abort(self, reason: str, code: int | None = None) -> None:
        self.side.abort()


@implementer(IClientStream)
class HTTP1ClientProtocol(_HTTP1Protocol):
    """Sends one request after the other to a server, each on behalf of one exchange."""

    side: ServerSide
    unprocessed = False
    shared: Literal[False] = False

    def __init__(
        self,
        server_conn: ServerConnection,
        settings: Settings,
        pool: ServerPool,
        route: Route,
        next_hop_fields: tuple[tuple[bytes, bytes], ...] | None = None,
    ) -> None:
        """``next_hop_fields`` is set where the peer is a proxy: they are sent with each request."""
        self.server_conn = server_conn
        self._settings = settings
        self._patience = settings.read_timeout
        self.reused = False
        self.response_begun = False
        self._head_seen = False
        self._pool = pool
        self._route = route
        self._forwarded = next_hop_fields is not None
        self._in_use = True
        self.codec = HTTP1ClientCodec(
            _limits(settings.head_size_limit, settings.header_count_limit),
            settings.http_framing,
            "absolute" if self._forwarded else "origin",
            own_fields=next_hop_fields or (),
        )

    # What the side tells

    def dataReceived(self, data: bytes) -> None:
        if not self._in_use:
            # Nothing was asked for: whatever this is, it belongs to no request of ours.
            self._pool.forget(self, self._route)
            self.side.abort()
            return
        self.response_begun = True
        if self._head_seen:
            self.side.deadline.clear()
        super().dataReceived(data)

    def read_closed(self) -> None:
        if not self._in_use:
            self._pool.forget(self, self._route)
            self.side.close()
            return
        if not self.response_begun:
            self._broken = self._disconnected()
        super().read_closed()

    def _disconnected(self) -> UpstreamError:
        address = format_address(self.server_conn.address)
        return UpstreamError(
            f"{address} closed the connection before it answered", "server-disconnected"
        )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._in_use:
            self._pool.forget(self, self._route)
            return
        if reason.check(ConnectionDone):
            if not self.response_begun:
                self._broken = self._disconnected()
            self.codec.receive_eof()
        elif isinstance(reason.value, TLSError):
            # In TLS 1.3 a server refuses our certificate, or the lack of one, after the handshake.
            self._broken = UpstreamError(str(reason.value), reason.value.code)
        else:
            self._broken = self._gone()
        self._wake()

    def _gone(self) -> Exception:
        address = format_address(self.server_conn.address)
        return UpstreamError(f"the connection to {address} was reset", "server-reset")

    def timed_out(self) -> None:
        address = format_address(self.server_conn.address)
        self._broken = UpstreamError(f"no answer from {address} in time", "read-timeout", 504)
        self._wake()

    def write_timed_out(self) -> None:
        address = format_address(self.server_conn.address)
        self._broken = UpstreamError(f"{address} stopped reading", "write-timeout", 504)
        self._wake()
        self.side.abort()

    # The pool's view

    def take(self, careful: bool) -> bool:
        """Begin another exchange; False if the connection turns out to be gone."""
        if self.side.closing or (careful and ended_unseen(self.side)):
            return False
        self._in_use = True
        self._patience = self._settings.read_timeout
        self.reused = True
        self.response_begun = False
        self.codec.next_cycle()
        return True

    # The stream

    def next_event(self) -> Any:
        if self._broken is not None and not self.response_begun:
            raise self._broken
        event = self.codec.next_event(time.time())
        if event is NEED_DATA:
            if self._broken is not None:
                raise self._broken
            if self.codec.sent and (self._head_seen or not self.side.deadline.active):
                # A head has this time as a whole; of a body, each step.
                self.side.deadline.set(self._patience)
        elif not self._head_seen and type(event) is ResponseHead:
            self._head_came(event.response)
        return event

    def _head_came(self, response: Response) -> None:
        self.side.deadline.clear()
        status = response.status_code
        # An informational response has another head behind it.
        self._head_seen = status >= 200 or status == 101
        if status == 407 and self._forwarded:
            # It is us whom the next hop asks, not the client.
            raise refusal(407, response.reason)

    def send_head(self, request: Request, length: int | None) -> None:
        self._head_seen = False
        self.side.write(self.codec.send_head(request, length))

    def send_message(self, request: Request, body: bytes) -> None:
        self._head_seen = False
        self.side.write(self.codec.send_message(request, body))

    def send_end(self, trailers: Headers | None) -> None:
        super().send_end(trailers)
        if self._readable is not None:
            # Only now is a byte from the server due: until here it was still being sent to.
            self.side.deadline.set(self._patience)

    def be_patient(self, seconds: float) -> None:
        self._patience = seconds
        if self.side.deadline.active:
            self.side.deadline.set(seconds)

    def abort(self, reason: str, code: int | None = None) -> None:
        self._in_use = False
        self.side.abort()

    @property
    def request_complete(self) -> bool:
        """Whether the whole request has been written."""
        return bool(self.codec.sent)

    def hand_over(self) -> tuple[ServerSide, bytes]:
        """Leave the side, and what came after the response's head, to another protocol."""
        self._in_use = False
        self.side.deadline.clear()
        return self.side, self.codec.take_rest()

    def release(self) -> None:
        side = self.side
        side.deadline.clear()
        self._in_use = False
        if side.closing:
            return
        if self.codec.reusable and not side.read_ended:
            self._pool.give_back(self, self._route)
        else:
            side.close(self._settings.close_timeout)
