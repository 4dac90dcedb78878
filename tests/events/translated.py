"""The tests of the event contract over HTTP/2: peers that translate what those say in HTTP/1.

A test writes and reads HTTP/1. `FrontPeer` and `BackPeer` stand between it and the proxy, read and
write that with codecs of HTTP/1, and speak HTTP/2 with the proxy by the library h2. What ends a
connection in HTTP/1 ends a stream here: see `FrontPeer` and `BackPeer.close`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from interceptor.errors import RemoteProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import (
    PROXY_ADDRESS,
    MemoryClient,
    MemoryOrigin,
    MemoryProxy,
    OriginPeer,
)
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    RequestHead,
    ResponseHead,
)
from tests.events.translation import End, Link, Names, ReportingPeer, Sender, Spelled
from tests.layers.h2peers import Fields

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class FrontPeer(HalfCloseRecorder):
    """What a test takes for a client's connection in HTTP/1.

    A stream that is reset is a connection that is lost; where the proxy asks without an error to
    stop (RFC 9113 section 8.1), or answers with a page of its own, it is one that was closed.
    """

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.h2 = ReportingPeer(True, self)
        self.trailers: deque[Headers | None] = deque()
        """Those of the responses that have come, since not all can have them in HTTP/1."""
        self.told_to_stop = False
        """Whether the proxy wanted no more of the last request."""
        self._names = names
        self.sender = Sender(self.h2, names)
        self._codec = HTTP1ServerCodec(HTTP1Limits(), "pass")
        self._request: Request | None = None
        self._stream = 0
        self._tunnel = False
        self._trailers: Headers | None = None
        self._head: Response | None = None

    def write(self, data: bytes) -> None:
        if self._tunnel:
            self.sender.send(self._stream, data)
        elif not self.told_to_stop and self.lost is None:
            self._codec.receive_data(data)
            self._read()

    def close_write(self) -> None:
        if self._request is None:
            self.h2.transport.loseWriteConnection()
        else:
            self.sender.end(self._stream, None)

    def end_tunnel(self) -> None:
        """End the tunnel, if there is one, before the connection is closed."""
        if self._tunnel:
            self.sender.end(self._stream, None)

    def _read(self) -> None:
        self.h2.start()
        while not self._tunnel:
            try:
                event = self._codec.next_event(time.time())
            except RemoteProtocolError:
                self._break()
                break
            if event is NEED_DATA or event is CONNECTION_CLOSED:
                break
            if isinstance(event, RequestHead):
                self._begin(event)
            elif isinstance(event, Data):
                self.sender.send(self._stream, event.data)
                if event.end_of_message:
                    self.sender.end(self._stream, None)
            elif isinstance(event, EndOfMessage):
                self.sender.end(self._stream, event.trailers)
        self.h2.flush()

    def _break(self) -> None:
        """Say what is as wrong in HTTP/2 as that which the test says in HTTP/1."""
        connection = self.h2.h2
        self.told_to_stop = True
        if self._request is None:
            stream = self._stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, [(b":method", b"GET"), (b":scheme", b"http")])
        else:
            connection.reset_stream(self._stream, h2.errors.ErrorCodes.PROTOCOL_ERROR)

    def _begin(self, event: RequestHead) -> None:
        request = self._request = event.request
        connection = self.h2.h2
        stream = self._stream = connection.get_next_available_stream_id()
        self._trailers = self._head = None
        self.ended = False
        authority = request.authority_bytes or request.headers.get_bytes(b"host") or b""
        fields = self._names.fields(request.headers)
        if request.method_bytes == b"CONNECT":
            head = [(b":method", b"CONNECT"), (b":authority", authority)]
            connection.send_headers(stream, head + fields)
            # Whatever follows belongs into the tunnel, whether that is there already or not.
            self._tunnel = True
            early = self._codec.take_rest()
            if early:
                self.sender.send(stream, early)
            return
        head = [
            (b":method", request.method_bytes),
            (b":scheme", request.scheme_bytes or b"http"),
            (b":authority", authority),
            (b":path", request.path_bytes),
        ]
        connection.send_headers(stream, head + fields, end_stream=event.end_of_message)

    def event(self, event: Any) -> None:
        """Something came from the proxy."""
        if isinstance(event, h2.events.WindowUpdated):
            self.sender.go_on()
        if getattr(event, "stream_id", None) != self._stream:
            return
        if isinstance(event, h2.events.StreamReset):
            self._reset(event.error_code)
        elif self._request is None:
            return
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self.data += self._codec.send_informational(self._response(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            self._answered(self._request, self._response(event.headers), event.stream_ended)
        elif isinstance(event, h2.events.DataReceived):
            self.data += event.data if self._tunnel else self._codec.send_data(event.data)
        elif isinstance(event, h2.events.TrailersReceived):
            self._trailers = self._names.headers(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self._end()

    def _reset(self, code: int) -> None:
        self.sender.forget(self._stream)
        self.told_to_stop = True
        if code == h2.errors.ErrorCodes.NO_ERROR:
            self.ended = True
        else:
            self.lost = Failure(ConnectionLost(f"the stream was reset with {code}"))

    def _answered(self, request: Request, response: Response, last: Any) -> None:
        self._head = response
        length = response.headers.get_bytes(b"content-length")
        if request.method_bytes == b"CONNECT":
            self._tunnel = response.status_code < 300
        if self._tunnel or last is not None:
            self.data += self._codec.send_message(request, response, b"")
        else:
            size = None if length is None else int(length)
            self.data += self._codec.send_head(request, response, size)

    def _response(self, fields: Fields) -> Response:
        status = int(dict(fields)[b":status"])
        reason = Response.make(status).reason_bytes
        headers = self._names.headers(fields)
        if self._tunnel and status == 200 and not headers:
            # There are no such phrases in HTTP/2; this is what the proxy has for HTTP/1.
            reason = b"Connection established"
        return Response(b"HTTP/1.1", status, reason, headers, time.time())

    def _end(self) -> None:
        if self._tunnel:
            self.ended = True
            return
        assert self._head is not None
        end = self._codec.send_end(self._trailers)
        headers = self._head.headers
        if headers.get_bytes(b"content-length") is None or self._trailers:
            self.data += end
        self.trailers.append(self._trailers)
        self._request = None
        # Its own pages are what the proxy has to say before it closes a connection.
        self.ended = headers.get_bytes(b"x-content-type-options") == b"nosniff"
        if self._codec.request_complete and self._codec.keep_alive:
            self._codec.next_cycle()
            self._read()


class TranslatedClient(MemoryClient):
    """A client whose test speaks HTTP/1, and which speaks HTTP/2 with the proxy."""

    peer: FrontPeer
    link: Any

    def __init__(
        self,
        proxy: MemoryProxy,
        chunk: int | None,
        names: Names,
        address: tuple[str, int] | None,
    ) -> None:
        self._proxy = proxy
        self._target = "absolute"
        self.peer = FrontPeer(names)
        link = proxy.network.dial(PROXY_ADDRESS, self.peer.h2, chunk=chunk, client_address=address)
        self.peer.transport = End(link.client, self.peer.sender, self.peer.end_tunnel)
        self.link = Link(self.peer.transport)
        proxy.network.flush()

    def response(self, method: bytes = b"GET") -> Response | None:
        response = super().response(method)
        if response is not None:
            trailers = self.peer.trailers.popleft() if self.peer.trailers else None
            if response.trailers is None:
                response.trailers = trailers
            if self.peer.told_to_stop:
                response.headers["Connection"] = "close"
        return response


class _PlainPeer(Spelled):
    """A client's connection in HTTP/1."""

    def __init__(self, names: Names) -> None:
        self.names = names
        super().__init__()


class PlainClient(MemoryClient):
    """A client of HTTP/1 that reads names of fields as if they had come from HTTP/1."""

    def __init__(
        self,
        proxy: MemoryProxy,
        chunk: int | None,
        names: Names,
        address: tuple[str, int] | None,
    ) -> None:
        self._proxy = proxy
        self._target = "absolute"
        self.peer = _PlainPeer(names)
        self.link = proxy.network.dial(
            PROXY_ADDRESS, self.peer, chunk=chunk, client_address=address
        )
        proxy.network.flush()


class BackPeer(OriginPeer, Spelled):
    """What a test takes for a server's connection in HTTP/1.

    It is that of an origin, or of a server that only records. It speaks HTTP/2 if the proxy does:
    what goes through a tunnel may be anything.
    """

    _first: bytes | None = b""

    def __init__(self, names: Names, origin: TranslatedOrigin | None) -> None:
        self.names = names
        super().__init__(origin)  # type: ignore[arg-type]  # who only records has no origin
        self._records = origin is None
        self.h2: ReportingPeer | None = None
        self._sender: Sender
        self._codecs: dict[int, HTTP1ClientCodec] = {}
        self._requests: dict[int, Request] = {}
        self._bodies: dict[int, bytes] = {}
        self._trailers: dict[int, Headers] = {}
        self._stream = 0

    def connectionMade(self) -> None:
        if not self._records:
            super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self.h2 is not None:
            self.h2.dataReceived(data)
            return
        if self._first is not None:
            self._first = data = self._first + data
            if data.startswith(_PREFACE):
                self._speak_http2(data)
                return
            if _PREFACE.startswith(data):
                return
            self._first = None
        if self._records:
            Spelled.dataReceived(self, data)
        else:
            super().dataReceived(data)

    def _speak_http2(self, data: bytes) -> None:
        self.h2 = ReportingPeer(False, self)
        self._sender = Sender(self.h2, self.names)
        self.h2.makeConnection(self.transport)
        self.h2.start()
        self.transport = End(self.transport, self._sender)
        self.h2.dataReceived(data)

    def event(self, event: Any) -> None:
        """Something came from the proxy."""
        stream: int = getattr(event, "stream_id", 0) or 0
        if isinstance(event, h2.events.WindowUpdated):
            self._sender.go_on()
        elif isinstance(event, h2.events.RequestReceived):
            self._begin(stream, event)
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[stream] += event.data
            if event.data:
                self._heard += self._codecs[stream].send_data(event.data)
        elif isinstance(event, h2.events.TrailersReceived):
            self._trailers[stream] = self.names.headers(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self._ended(stream)
        elif isinstance(event, h2.events.StreamReset):
            self._sender.forget(stream)
            if stream == self._stream:
                self.ended = True
                self.lost = Failure(ConnectionLost(f"stream reset with {event.error_code}"))

    def _begin(self, stream: int, event: Any) -> None:
        pseudo = dict(event.headers)
        headers = self.names.headers([(b"host", pseudo[b":authority"]), *event.headers])
        request = Request(
            pseudo[b":method"],
            pseudo.get(b":scheme", b"http"),
            pseudo[b":authority"].partition(b":")[0],
            80,
            pseudo.get(b":path", b"/"),
            b"HTTP/1.1",
            headers,
            "relative",
            time.time(),
        )
        self._stream = stream
        self.lost = None
        self.ended = False
        codec = self._codecs[stream] = HTTP1ClientCodec(HTTP1Limits(), "pass")
        self._requests[stream] = request
        self._bodies[stream] = b""
        length = headers.get_bytes(b"content-length")
        if length is None:
            size = None if event.stream_ended is None else 0
        else:
            size = int(length)
        self._heard += codec.send_head(request, size)

    def _ended(self, stream: int) -> None:
        request = self._requests[stream]
        codec = self._codecs[stream]
        trailers = self._trailers.get(stream)
        if not codec.sent:
            self._heard += codec.send_end(trailers)
        if self._records:
            return
        request.trailers = trailers
        request.attach_body(self._bodies[stream])
        self.codec = HTTP1ServerCodec(HTTP1Limits(), "pass")
        self.codec.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.codec.next_event(time.time())
        answer = self._origin.answer(self, request)
        if answer is not None:
            self._say(stream, answer)

    def write(self, data: bytes) -> None:
        if self.h2 is None:
            super().write(data)
        else:
            self._say(self._stream, data)

    def _say(self, stream: int, data: bytes) -> None:
        self._codecs[stream].receive_data(data)
        try:
            self._answer(stream)
        except RemoteProtocolError:
            self._break(stream)

    def _break(self, stream: int) -> None:
        """Say what is as wrong in HTTP/2 as that which the test says in HTTP/1."""
        assert self.h2 is not None
        connection = self.h2.h2
        if connection.streams[stream].state_machine.headers_sent:
            connection.reset_stream(stream, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        else:
            connection.send_headers(stream, [(b":status", b"hello")], end_stream=True)
        self.h2.flush()

    def _answer(self, stream: int) -> None:
        assert self.h2 is not None
        codec, connection = self._codecs[stream], self.h2.h2
        ended = False
        while not ended:
            event = codec.next_event(time.time())
            if event is NEED_DATA or event is CONNECTION_CLOSED:
                break
            ended = isinstance(event, EndOfMessage) or getattr(event, "end_of_message", True)
            if isinstance(event, ResponseHead):
                response = event.response
                fields = self.names.fields(response.headers)
                head = [(b":status", b"%d" % response.status_code), *fields]
                # Informational responses end nothing.
                ended = ended and response.status_code >= 200
                connection.send_headers(stream, head, end_stream=ended)
            elif isinstance(event, Data):
                if event.data:
                    self._sender.send(stream, event.data)
                if ended:
                    self._sender.end(stream, None)
            elif isinstance(event, EndOfMessage):
                self._sender.end(stream, event.trailers)
        self.h2.flush()

    def close(self) -> None:
        """End a body that ends with the connection, and close that."""
        if self.h2 is not None and self._stream:
            self._codecs[self._stream].receive_eof()
            try:
                self._answer(self._stream)
            except (RemoteProtocolError, h2.exceptions.ProtocolError):
                # It is truncated, or was over: that is what the test wants.
                self.h2.flush()
        self.transport.loseConnection()


class TranslatedOrigin(MemoryOrigin):
    """An origin whose test speaks HTTP/1, and which speaks HTTP/2 if the proxy does."""

    def __init__(self, network: Any, address: tuple[str, int], names: Names) -> None:
        self._names = names
        super().__init__(network, address)

    def build_peer(self) -> OriginPeer:
        return BackPeer(self._names, self)


class TranslatedProxy(MemoryProxy):
    """A proxy that is spoken to in HTTP/2, or speaks it, or both."""

    front = True
    """Whether clients speak HTTP/2."""

    def __init__(self, *addons: object, **options: Any) -> None:
        self.names = Names()
        super().__init__(*addons, **options)

    def client(
        self, chunk: int | None = None, address: tuple[str, int] | None = None
    ) -> MemoryClient:
        kind = TranslatedClient if self.front else PlainClient
        return kind(self, chunk, self.names, address)

    def origin(self, host: str = "example.test", port: int = 80) -> MemoryOrigin:
        return TranslatedOrigin(self.network, (host, port), self.names)
