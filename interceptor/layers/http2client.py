"""HTTP/2 with a server: exchanges share a connection, and each has a stream of its own."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Literal, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import TLSError, UpstreamError
from interceptor.interfaces import IClientStream
from interceptor.layers.alternatives import hide_frame
from interceptor.layers.http2connection import HTTP2Protocol
from interceptor.layers.http2stream import HTTP2Stream
from interceptor.layers.http2transport import StreamTransport
from interceptor.layers.serverside import server_side
from interceptor.model.connections import format_address
from interceptor.wire.http2events import AltSvc, GoAway, SettingsChanged
from interceptor.wire.http2frames import CANCEL, NO_ERROR, error_name
from interceptor.wire.httpevents import ResponseHead

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.errors import RemoteProtocolError
    from interceptor.layers.environment import Environment, Settings
    from interceptor.layers.http2pool import HTTP2Pool
    from interceptor.layers.serverside import ServerSide
    from interceptor.layers.upstream import Route
    from interceptor.model.connections import ServerConnection
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.http import Request
    from interceptor.wire.http2client import HTTP2ClientCodec
    from interceptor.wire.httpevents import StreamReset


@implementer(IClientStream)
class HTTP2ClientStream(HTTP2Stream):
    """Sends one request to a server, and reads the response."""

    __slots__ = ("_head_seen", "_patience", "flow", "response_begun", "reused", "unprocessed")

    protocol: HTTP2ClientProtocol
    shared: Literal[True] = True

    def __init__(self, protocol: HTTP2ClientProtocol, *, reused: bool) -> None:
        super().__init__(protocol, 0)
        self.reused = reused
        self.response_begun = False
        # The server said that it has not looked at the request (RFC 9113 section 8.7).
        self.unprocessed = False
        self._head_seen = False
        self._patience = protocol.settings.read_timeout

    @property
    def server_conn(self) -> ServerConnection:
        """The connection that all streams to this server share."""
        return self.protocol.server_conn

    def mark(self, flow: HTTPFlow) -> None:
        """Belong to a flow, and note on it what is special about the connection."""
        self.flow = flow
        if not self.protocol.codec.mirrored_exactly:
            flow.metadata["h2_window_reduced"] = True

    @property
    def request_complete(self) -> bool:
        """Whether the whole request has been sent."""
        return self.output_ended

    # What the connection tells

    def received(self, event: Any) -> None:
        self.response_begun = True
        super().received(event)

    def was_reset(self, event: StreamReset) -> None:
        error: Exception | None = event.error
        if error is None:
            address = format_address(self.server_conn.address)
            self.unprocessed = event.retryable and not self.response_begun
            reset = UpstreamError(
                f"{address} reset the stream ({error_name(event.code)})", "stream-reset"
            )
            reset.reset_code = event.code
            error = reset
        self.broke(error)

    def broke(self, error: Exception) -> None:
        if self._head_seen and getattr(error, "code", "") == "server-disconnected":
            # What came of the response is all there is, and not all there should be.
            error = UpstreamError(str(error), "response-truncated")
        super().broke(error)

    def timed_out(self, *, reading: bool) -> None:
        address = format_address(self.server_conn.address)
        if reading:
            error = UpstreamError(f"no answer from {address} in time", "read-timeout", 504)
        else:
            error = UpstreamError(f"{address} stopped reading", "write-timeout", 504)
        self.reset(CANCEL)
        self.broke(error)

    # The stream

    def next_event(self) -> Any:
        event = super().next_event()
        if type(event) is ResponseHead and event.response.status_code >= 200:
            # An informational response has another head behind it.
            self._head_seen = True
        return event

    def _expect(self) -> None:
        if self.output_ended and (self._head_seen or self.read_due == inf):
            # A head has this time as a whole; of a body, each step.
            self.read_due = self.protocol.due(self._patience)

    def be_patient(self, seconds: float) -> None:
        self._patience = seconds
        if self.read_due != inf:
            self.read_due = self.protocol.due(seconds)

    def _ended(self) -> None:
        super()._ended()
        if self._readable is not None:
            # Only now is a byte from the server due: until here it was still being sent to.
            self.read_due = self.protocol.due(self.protocol.settings.read_timeout)

    def send_head(self, request: Request, length: int | None) -> None:
        self.protocol.open(self, request, False, length)
        self.protocol.wrote()

    def send_message(self, request: Request, body: bytes) -> None:
        trailers = request.trailers
        last = not (body or trailers)
        self.protocol.open(self, request, last, len(body))
        if last:
            self._ended()
            self.protocol.wrote()
        elif trailers:
            self.send_data(body)
            self.send_end(trailers)
        else:
            self.send_last(body)

    def send_connect(self, request: Request, protocol: bytes) -> None:
        """Send an extended CONNECT (RFC 8441). Raises `UpstreamError` if the server knows none."""
        if not self.protocol.codec.connect_protocol:
            address = format_address(self.server_conn.address)
            raise UpstreamError(
                f"{address} speaks HTTP/2, and offers no {protocol.decode('latin-1')} over it",
                "websocket-not-offered",
            )
        self.protocol.open(self, request, False, None, protocol)
        self.protocol.wrote()

    def hand_over(self) -> tuple[ServerSide, bytes]:
        """Leave the stream to another protocol, as the side of a connection."""
        below = cast("ServerSide", self.side)
        side = server_side(below.session, self.server_conn)
        transport = StreamTransport(self, side, below.session.environment.clock)
        transport.pauseProducing()
        transport.start()
        return side, b""

    def release(self) -> None:
        self.reset(NO_ERROR if self.input_ended else CANCEL)
        self.drop_unread()

    def abort(self, reason: str, code: int | None = None) -> None:
        self.reset(CANCEL if code is None else code)
        self.drop_unread()


class HTTP2ClientProtocol(HTTP2Protocol):
    """Speaks HTTP/2 with a server (RFC 9113), for all exchanges of one session."""

    log = Logger()

    codec: HTTP2ClientCodec

    def __init__(
        self,
        server_conn: ServerConnection,
        environment: Environment,
        settings: Settings,
        codec: HTTP2ClientCodec,
        pool: HTTP2Pool,
        route: Route,
    ) -> None:
        super().__init__(environment, settings)
        self.server_conn = server_conn
        self.codec = codec
        self.leaving = False
        self.window_shown = 0
        """Bytes of the client's window that this connection has taken on."""
        self._pool = pool
        self._route = route

    @property
    def usable(self) -> bool:
        """Whether another stream can be opened now."""
        return not self.leaving and not self.side.closing and self.codec.may_open

    def open(
        self,
        stream: HTTP2ClientStream,
        request: Request,
        last: bool,
        length: int | None,
        protocol: bytes | None = None,
    ) -> None:
        """Send a request's head, on a new stream. Raises `UpstreamError` if that cannot be."""
        if self._lost is not None:
            raise self._lost
        if not self.usable:
            stream.unprocessed = True
            address = format_address(self.server_conn.address)
            raise UpstreamError(f"{address} takes no more streams", "stream-refused")
        stream.stream_id = self.codec.send_request(request, last, length, protocol=protocol)
        self.add(stream)

    # Events

    def _connection_event(self, event: Any) -> None:
        if type(event) is GoAway:
            if event.code != NO_ERROR:
                self.log.warn(
                    "{server} goes away: {code}: {debug}",
                    server=format_address(self.server_conn.address),
                    code=error_name(event.code),
                    debug=ascii(event.debug[:200])[1:],
                    proxy=self._pool.proxy,
                )
            self._leave()
            return
        if type(event) is SettingsChanged:
            self._pool.settings_changed(self, self._route)
        self.room()

    def _alternative(self, stream: HTTP2ClientStream | None, event: AltSvc) -> None:
        streams = self.streams.values() if stream is None else (stream,)
        for each in streams:
            flow = each.flow
            if flow is None:
                continue
            request = flow.request
            origin = b"%b://%b" % (request.scheme_bytes, request.host_header_bytes or b"")
            if event.origin not in (b"", origin):
                continue
            value = event.value
            if not self.settings.keep_h3_offers:
                value = hide_frame(flow, value)
            if value:
                self._pool.offer_alternative(event.origin or origin, value)

    def _leave(self) -> None:
        """The server wants no further streams; those that it took go on."""
        if not self.leaving:
            self.leaving = True
            self._pool.forget_shared(self, self._route)
        if not self.streams:
            self.close_gracefully()

    def _connection_failed(self, error: RemoteProtocolError) -> None:
        self._pool.forget_shared(self, self._route)
        super()._connection_failed(error)

    def became_idle(self) -> None:
        super().became_idle()
        if self.leaving and not self.side.closing:
            self.close_gracefully()

    def forget(self, stream: Any) -> None:
        super().forget(stream)
        self._pool.may_open(self._route)

    # What the side tells

    def read_closed(self) -> None:
        if self._put_off():
            self._take_events(inf)
        self._gone("closed the connection", "server-disconnected")
        self.side.close(self.settings.close_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._put_off():
            self._take_events(inf)
        self._pool.connection_ended(self)
        if isinstance(reason.value, TLSError):
            self._pool.forget_shared(self, self._route)
            self._fail_streams(UpstreamError(str(reason.value), reason.value.code))
        elif reason.check(ConnectionDone):
            self._gone("closed the connection", "server-disconnected")
        else:
            self._gone("reset the connection", "server-reset")

    def unanswered(self) -> Exception:
        self._pool.forget_shared(self, self._route)
        address = format_address(self.server_conn.address)
        return UpstreamError(f"{address} does not answer a PING", "server-not-answering", 504)

    def _gone(self, what: str, code: str) -> None:
        self.leaving = True
        self._pool.forget_shared(self, self._route)
        self._fail_streams(
            UpstreamError(f"{format_address(self.server_conn.address)} {what}", code)
        )
