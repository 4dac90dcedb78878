"""The joints between the levels: what layers, streams, sides and connectors promise each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol

    from interceptor.model.connections import ServerConnection
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response


class ILayer(Interface):
    """What a connection is spoken as.

    A layer is built, proposed to the ``next_layer`` hooks, and only then started: until `start` is
    called it owns no bytes and may be thrown away.
    """

    context = Attribute("The `Context` that all layers of a session share.")
    name = Attribute("A short lower-case name for logs: `http`, `tcp`, …")

    def start(data: bytes) -> None:
        """Take over the client's side of the session.

        ``data`` is what the client sent and nobody consumed yet; the layer treats it as if it had
        just arrived.
        """


class IStream(Interface):
    """One message in each direction: an HTTP/1 connection's turn, or an HTTP/2 stream.

    Events are pulled. What is not pulled stays where it is, and the peer is stopped from sending
    more: that is the whole of back-pressure.
    """

    write_paused = Attribute("True while the peer should not be sent more body data.")

    def next_event() -> Any:
        """Return the next event, or `NEED_DATA`.

        Raises `RemoteProtocolError` when the peer broke the protocol.
        """

    def when_readable() -> Awaitable[None]:
        """Return what can be awaited, once and by the exchange's task.

        It is over when `next_event` is worth another call, and raises when the peer is lost.
        """

    def when_writable() -> Deferred[None]:
        """Fire when `write_paused` is False again; errback when the peer is lost."""

    def send_data(data: bytes) -> None:
        """Send body bytes."""

    def send_end(trailers: Headers | None) -> None:
        """End the message that `send_head` began."""

    def abort(reason: str, code: int | None = None) -> None:
        """End the stream so that the peer can tell that the message is not whole.

        ``code`` is the error code to tell it, where it speaks HTTP/2 (RFC 9113 section 7).
        """


class IServerStream(IStream):
    """The client's half of an exchange: reads one request, writes one response."""

    carries_resets = Attribute("Whether the client can be told why a server gave a stream up.")
    task = Attribute("The `Task` that the exchange runs in.")

    def send_informational(response: Response) -> None:
        """Send a response with a status from 100 to 199."""

    def send_head(request: Request, response: Response, length: int | None) -> None:
        """Begin the final response; ``length`` is the body's length in bytes, None if unknown."""

    def send_message(request: Request, response: Response, body: bytes) -> None:
        """Send a final response whose body is all there, in one go."""

    def send_continue() -> None:
        """Ask for the body that the client holds back (RFC 9110 section 10.1.1)."""

    def refuse(request: Request | None, response: Response) -> None:
        """Send a response that ends the exchange, whatever the client still sends."""

    def hang_up() -> None:
        """Leave nothing of a client that was refused, so far as it is this stream's to end."""

    def take_over(callback: Any) -> None:
        """Leave the connection to another protocol once the exchange is over.

        ``callback`` is given what the client sent and nobody consumed.
        """


class IClientStream(IStream):
    """The server's half of an exchange: writes one request, reads one response."""

    server_conn = Attribute("The `ServerConnection` it belongs to.")
    reused = Attribute("Whether the connection has been used, or idle, before.")
    response_begun = Attribute("Whether a byte of the response has come.")
    request_complete = Attribute("Whether the whole request has been sent.")
    unprocessed = Attribute("Whether the server said that it did nothing about the request.")

    def send_head(request: Request, length: int | None) -> None:
        """Begin the request; ``length`` is the body's length in bytes, None if unknown."""

    def send_message(request: Request, body: bytes) -> None:
        """Send a request whose body is all there, in one go."""

    def be_patient(seconds: float) -> None:
        """Wait so long for each next part of this response's body, instead of ``read_timeout``."""

    def release() -> None:
        """Give the stream back: its connection may serve another exchange, if it is fit to."""


class IUpstreamConnector(Interface):
    """Connects to servers; guarded, bounded in time, and cancellable."""

    def connect(
        address: tuple[str, int],
        protocol_factory: Any,
        *,
        timeout: float,
        source_address: tuple[str, int] | None,
        server_connection: ServerConnection,
    ) -> Deferred[IProtocol]:
        """Connect within ``timeout`` seconds; errback with `UpstreamError`."""

    def resolve(host: str, *, timeout: float) -> Deferred[tuple[str, ...]]:
        """Fire with the addresses of ``host``, at least one; errback with `UpstreamError`."""


class IDatagramReceiver(Interface):
    """Whoever hears what a server sends over UDP."""

    def datagram_received(data: bytes) -> None:
        """The server has sent a datagram."""

    def channel_lost(error: Exception) -> None:
        """Nothing can be sent any more; ``error`` is an `UpstreamError`. Called once, or never."""


class IDatagramChannel(Interface):
    """A way to one server over UDP."""

    def send(data: bytes) -> None:
        """Send a datagram. It may get lost, and may find out that the channel is."""

    def close() -> None:
        """Send and hear no more; the receiver is told nothing."""


class IDatagramConnector(Interface):
    """Opens ways to servers over UDP; guarded, and cancellable."""

    def connect(
        address: tuple[str, int],
        receiver: IDatagramReceiver,
        *,
        timeout: float,
        server_connection: ServerConnection,
    ) -> Deferred[IDatagramChannel]:
        """Fire with a channel once there is a route; only the server's datagrams are heard on it.

        ``timeout`` bounds the name's resolution, in seconds. ``server_connection`` is told the
        address that is spoken to and our own. Fails with `UpstreamError`.
        """


class IRules(Interface):
    """The policy that proposes layers; ``next_layer`` hooks may overrule it."""

    def first_layer(context: Any, data: bytes) -> Any:
        """Return the layer for a new client that sent ``data``; None asks for more bytes."""

    def tunnel_layer(context: Any, data: bytes, server: Any, destination: Any) -> Any:
        """Return the layer for what a client sends inside a tunnel; None asks for more bytes."""

    def relay_layer(context: Any, server: Any, destination: Any) -> Any:
        """Return the layer that passes bytes on as they are."""

    def starttls_layer(
        context: Any, server: Any, destination: Any, joint: Any, protocol: str
    ) -> Any:
        """Return the layer that opens TLS where client and server have agreed on it just now.

        ``joint`` is what joins them, and goes on after it; ``protocol`` names what is spoken.
        """
