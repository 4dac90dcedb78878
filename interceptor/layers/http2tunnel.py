"""One HTTP/2 stream used as a connection: CONNECT (RFC 9113 section 8.5), WebSocket (RFC 8441)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.layers.context import Context, RootLayer
from interceptor.layers.http2transport import StreamTransport
from interceptor.layers.session import ClientSide, Session
from interceptor.model.connections import ServerConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.http2stream import HTTP2Stream


class StreamSession(Session):
    """What belongs to one stream that becomes a connection: a session within its session.

    It is the same client, with the same ``client_conn.id``; but what the client does inside, such
    as TLS with a server, is noted on a copy, since other streams do other things.
    """

    def __init__(self, parent: Session, stream: HTTP2Stream) -> None:
        side = ClientSide(parent.environment.clock)
        side.session = self
        side.flush_timeout = parent.environment.settings.write_timeout
        super().__init__(parent.environment, parent.mode, side)
        outer = parent.context
        self.context = Context(
            parent.environment, self, parent.mode, outer.client_conn.copy(), ServerConnection(None)
        )
        inner = self.context.client_conn
        inner.tls_established = False
        inner.sni = inner.alpn = inner.cipher_name = inner.tls_version = None
        self.root_layer = RootLayer(self.context)
        self.context.layers.extend(outer.layers)
        self._stream = stream

    def layer(self, outer: HTTPLayer) -> HTTPLayer:
        """Return the layer for the stream's request."""
        return type(outer)(self.context, outer.destination, rewrite_host=outer.rewrite_host)

    def accepted(self) -> None:
        """It is known whose the connection is."""

    def begin(self, callback: Callable[[bytes], None]) -> None:
        """Turn the stream into a connection, and let ``callback`` speak on it."""
        transport = StreamTransport(self._stream, self.side, self.environment.clock)
        transport.pauseProducing()
        transport.start()
        callback(b"")
        transport.resumeProducing()

    def give_up(self) -> None:
        """The stream has ended without becoming a connection."""
        self.servers.close()

    def client_lost(self) -> None:
        self.servers.close()
        self._let_go()
