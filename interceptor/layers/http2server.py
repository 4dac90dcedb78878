"""HTTP/2 with a client: every stream is an exchange of its own, and none waits for another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from interceptor.errors import RemoteProtocolError
from interceptor.interfaces import IServerStream
from interceptor.layers.failures import ClientGoneError, ClientTooSlowError, client_gone
from interceptor.layers.http2connection import HTTP2Protocol, codec_limits
from interceptor.layers.http2stream import HTTP2Stream
from interceptor.layers.http2tunnel import StreamSession
from interceptor.layers.task import Task
from interceptor.model.headers import Headers
from interceptor.model.http import Response
from interceptor.wire.framing import Framing
from interceptor.wire.http2events import HTTP2RequestHead, PingAcknowledged
from interceptor.wire.http2frames import (
    CANCEL,
    INTERNAL_ERROR,
    MAX_STREAM_ID,
    NO_ERROR,
    error_name,
)
from interceptor.wire.http2server import HTTP2ServerCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from interceptor.layers.http import HTTPLayer
    from interceptor.model.http import Request
    from interceptor.wire.httpevents import RequestHead, StreamReset


@implementer(IServerStream)
class HTTP2ServerStream(HTTP2Stream):
    """Reads one request from a client, and writes the response."""

    log = Logger()

    __slots__ = ("_request", "_taken_over", "layer", "task", "tunnel")

    protocol: HTTP2ServerProtocol
    carries_resets = True

    def __init__(self, protocol: HTTP2ServerProtocol, stream_id: int) -> None:
        super().__init__(protocol, stream_id)
        self.layer = protocol.layer
        # What a CONNECT request would turn the stream into.
        self.tunnel: StreamSession | None = None
        self._taken_over: Callable[[bytes], None] | None = None
        self.task: Task

    def serve(self, head: RequestHead) -> None:
        """Begin the exchange."""
        self._request = head.request
        if head.request.first_line_format == "authority":
            self.tunnel = StreamSession(self.layer.context.session, self)
            self.layer = self.tunnel.layer(self.layer)
        elif isinstance(head, HTTP2RequestHead) and head.protocol is not None:
            # RFC 8441: what is agreed on with the server takes the stream over.
            self.tunnel = StreamSession(self.layer.context.session, self)
            head.framing = Framing("tunnel", 0, True, upgrade=head.protocol)
        self.task = Task(self._serve(head), self._served)
        self.task.start()

    async def _serve(self, head: RequestHead) -> None:
        await self.layer.exchange(self, head)

    def _served(self, error: BaseException | None) -> None:
        if error is None:
            if self._taken_over is not None and self._broken is None and self.tunnel is not None:
                self.tunnel.begin(self._taken_over)
                return
        elif isinstance(error, (RemoteProtocolError, ClientTooSlowError)):
            self.layer.refuse(self, error, self._request)
        elif not isinstance(error, ClientGoneError):
            proxy = self.layer.context.environment.proxy
            self.log.failure("exchange failed: {error}", error=error, proxy=proxy)
            self.reset(INTERNAL_ERROR)
        if self.tunnel is not None:
            self.tunnel.give_up()
        if self.output_ended:
            self._stop_input()

    def _ended(self) -> None:
        super()._ended()
        if self.task.done and self.listener is None:
            self._stop_input()

    def _stop_input(self) -> None:
        """The response is complete: what the client still sends is not wanted."""
        if not self.input_ended:
            # RFC 9113 section 8.1: the client is asked without an error to stop.
            self.reset(NO_ERROR)
        else:
            self.drop_unread()

    # What the connection tells

    def was_reset(self, event: StreamReset) -> None:
        error: Exception | None = event.error
        if error is None:
            gone = ClientGoneError(f"the client reset the stream ({error_name(event.code)})")
            gone.reset_code = event.code
            error = gone
        self.broke(error)

    def broke(self, error: Exception) -> None:
        if self._broken is not None:
            return
        self._readable = None
        super().broke(error)
        self.drop_unread()
        self.task.abort(error)

    def timed_out(self, *, reading: bool) -> None:
        if reading:
            self.task.abort(
                ClientTooSlowError("the client was too slow: no body in time", "body-timeout")
            )
            return
        self.reset(CANCEL)
        self.broke(ClientGoneError("the client stopped reading", "client-not-reading"))

    def _expect(self) -> None:
        self.read_due = self.protocol.due(self.protocol.settings.body_timeout)

    # The stream

    def send_informational(self, response: Response) -> None:
        if not self.output_ended:
            self.protocol.codec.send_informational(self.stream_id, response)
            self.protocol.wrote()

    def send_continue(self) -> None:
        """Ask for the body that the client holds back (RFC 9110 section 10.1.1)."""
        self.send_informational(Response(b"HTTP/2.0", 100, b"", Headers(), time.time()))

    def send_head(self, request: Request, response: Response, length: int | None) -> None:
        if not self.output_ended:
            self._send_head(request, response, length, False)
            self.protocol.wrote()

    def _send_head(
        self, request: Request, response: Response, length: int | None, last: bool
    ) -> None:
        codec = self.protocol.codec
        if codec.send_response(self.stream_id, request, response, last, length):
            self._ended()

    def send_message(self, request: Request, response: Response, body: bytes) -> None:
        if self.output_ended:
            return
        trailers = response.trailers
        last = not (body or trailers)
        if last and request.method_bytes == b"CONNECT" and response.status_code < 300:
            # What follows is no message.
            last = False
            self._send_head(request, response, None, False)
        else:
            self._send_head(request, response, len(body), last)
        if last or self.output_ended:
            self.protocol.wrote()
        elif trailers:
            self.send_data(body)
            self.send_end(trailers)
        elif body:
            self.send_last(body)
        else:
            self.protocol.wrote()

    def refuse(self, request: Request | None, response: Response) -> None:
        """Send a response that ends the exchange, whatever the client still sends."""
        if request is None:
            self.reset(INTERNAL_ERROR)
        else:
            self.send_message(request, response, response.raw_content or b"")

    def hang_up(self) -> None:
        """The client was refused: its other streams go on."""

    def take_over(self, callback: Callable[[bytes], None]) -> None:
        """Leave the stream to another protocol once the exchange is over."""
        self._taken_over = callback

    def abort(self, reason: str, code: int | None = None) -> None:
        self.reset(INTERNAL_ERROR if code is None else code)


class HTTP2ServerProtocol(HTTP2Protocol):
    """Speaks HTTP/2 with a client (RFC 9113)."""

    codec: HTTP2ServerCodec

    def __init__(self, layer: HTTPLayer) -> None:
        environment = layer.context.environment
        settings = environment.settings
        super().__init__(environment, settings)
        self.layer = layer
        self.codec = HTTP2ServerCodec(codec_limits(settings), settings.http_framing)
        self.draining = False
        # Whether a client that is to send nothing more knows of it.
        self._knows = False
        self._offers_connect_protocol = False

    def attach(self, side: Any) -> None:
        super().attach(side)
        self._idle_due = self.due(self.settings.idle_timeout)

    def _new_stream(self, stream_id: int, event: Any) -> None:
        if type(event) is not HTTP2RequestHead:
            super()._new_stream(stream_id, event)
            return
        stream = HTTP2ServerStream(self, stream_id)
        self.add(stream)
        stream.input_ended = event.end_of_message
        stream.serve(event)

    def _stream_reset(self, stream: Any, stream_id: int, event: StreamReset) -> None:
        if stream is None and event.error is not None:
            # A request whose head could not be understood.
            nobody = HTTP2ServerStream(self, stream_id)
            nobody.input_ended = nobody.output_ended = True
            self.layer.refuse(nobody, event.error)
        super()._stream_reset(stream, stream_id, event)

    def _connection_event(self, event: Any) -> None:
        if type(event) is not PingAcknowledged:
            self.room()
        elif self.draining:
            # A round trip has passed: whatever the client sent before it knew has come.
            self._knows = True
            if self.streams:
                self.codec.goaway()
                self.wrote()
            else:
                self.close_gracefully()

    def offer_connect_protocol(self) -> None:
        """A server can do WebSocket over HTTP/2: let the client know (RFC 8441 section 3)."""
        if not self._offers_connect_protocol:
            self._offers_connect_protocol = True
            self.codec.enable_connect_protocol()
            self.wrote()

    def _connection_failed(self, error: RemoteProtocolError) -> None:
        super()._connection_failed(error)
        self.layer.tell_failure(error)

    # What the side tells

    def read_closed(self) -> None:
        # There are no half-closed connections in HTTP/2: who closes has no use for answers.
        self._put_off()
        self.side.close(self.settings.close_timeout)
        self._fail_streams(ClientGoneError("the client closed its connection"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._put_off()
        self._fail_streams(client_gone(self.layer.context.environment))

    def unanswered(self) -> Exception:
        return ClientGoneError("the client does not answer a PING", "client-not-answering")

    def write_timed_out(self) -> None:
        self.side.abort()

    def became_idle(self) -> None:
        super().became_idle()
        if self._knows:
            self.close_gracefully()

    def drain(self) -> None:
        """Let the streams that are there finish, take no others, and close then."""
        for stream in tuple(self.streams.values()):
            if stream.listener is not None and stream.tunnel is not None:
                # What is spoken inside of it knows when it is through.
                stream.tunnel.shut_down()
        if self.draining:
            return
        self.draining = True
        # RFC 9113 section 6.8: requests that are on their way now are served still.
        self.codec.goaway(MAX_STREAM_ID)
        self.codec.ping()
        self.flush()
