"""A server in memory, which answers what a test of the proxy wants."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, ServerFactory

from interceptor.errors import RemoteProtocolError
from interceptor.model.http import Request, Response
from interceptor.net.memory import HalfCloseRecorder, MemoryNetwork
from interceptor.net.memorytls import MemoryTLS
from interceptor.wire.http1 import HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    RequestHead,
)


class MemoryOrigin:
    """A server in a `MemoryProxy`'s network.

    It answers each request with the next of the answers that `respond` was given, and with the last
    one from then on; without any it keeps silent, and `send` does what the test wants. The requests
    are in ``requests``, whole; ``connections`` are the raw peers, and with TLS ``handshakes`` what
    is below each of them, also where the handshake failed. What is no HTTP is only in `received`.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        address: tuple[str, int],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._network = network
        self._answers: list[Response | bytes | Callable[[Request], Any]] = []
        self.requests: list[Request] = []
        self.connections: list[OriginPeer] = []
        self.handshakes: list[MemoryTLS] = []

        def peer() -> Protocol:
            if context is None:
                return self.build_peer()
            self.handshakes.append(MemoryTLS(context, self.build_peer(), server=True))
            return self.handshakes[-1]

        factory: Any = ServerFactory.forProtocol(peer)
        factory.noisy = False
        self.port = network.listen(address, factory)

    def build_peer(self) -> OriginPeer:
        """Return what is to serve a new connection."""
        return OriginPeer(self)

    @property
    def received(self) -> bytes:
        """All bytes that came, over all connections."""
        return b"".join(peer.data for peer in self.connections)

    def respond(self, *answers: Response | bytes | Callable[[Request], Any]) -> MemoryOrigin:
        """Set the answers: responses, raw bytes, or functions of the request that return either."""
        self._answers.extend(answers)
        return self

    def send(self, data: bytes) -> None:
        """Send raw bytes on the newest connection, and let everything move that can."""
        self.connections[-1].write(data)
        self._network.flush()

    def close(self) -> None:
        """Close the newest connection."""
        self.connections[-1].close()
        self._network.flush()

    def abort(self) -> None:
        """Reset the newest connection."""
        self.connections[-1].transport.abortConnection()
        self._network.flush()

    def answer(self, peer: OriginPeer, request: Request) -> bytes | None:
        """Return the answer to a request, as bytes."""
        self.requests.append(request)
        if not self._answers:
            return None
        queued = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        answer: Response | bytes | None = queued(request) if callable(queued) else queued
        if isinstance(answer, Response):
            body = answer.raw_content or b""
            return peer.codec.send_message(request, answer, body)
        return answer


class OriginPeer(HalfCloseRecorder):
    """One connection to a `MemoryOrigin`."""

    def __init__(self, origin: MemoryOrigin) -> None:
        super().__init__()
        self._origin = origin
        self._request: Request | None = None
        self._body: list[bytes] = []
        self.codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        self.data = b""

    def connectionMade(self) -> None:
        self._origin.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.codec.receive_data(data)
        try:
            self._read()
        except RemoteProtocolError:
            # What else the client speaks is for the test to judge.
            return

    def _read(self) -> None:
        while True:
            event = self.codec.next_event(time.time())
            if event is NEED_DATA or event is CONNECTION_CLOSED:
                return
            ended = isinstance(event, EndOfMessage) or getattr(event, "end_of_message", False)
            if isinstance(event, RequestHead):
                self._request, self._body = event.request, []
            elif isinstance(event, Data):
                self._body.append(event.data)
            elif isinstance(event, EndOfMessage) and self._request is not None:
                self._request.trailers = event.trailers
            if ended and self._request is not None:
                self._complete(self._request)

    def _complete(self, request: Request) -> None:
        request.attach_body(b"".join(self._body))
        answer = self._origin.answer(self, request)
        if answer is not None:
            self.write(answer)
        self.codec.next_cycle()
