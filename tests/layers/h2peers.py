"""Peers in memory that speak HTTP/2 by the library h2: it is the oracle for what we say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from twisted.internet.protocol import ServerFactory

from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import PROXY_ADDRESS, MemoryProxy

Fields = list[tuple[bytes, bytes]]


class GoAway(NamedTuple):
    """A GOAWAY frame that came."""

    last_stream_id: int
    error_code: int


class H2Peer(HalfCloseRecorder):
    """One end of an HTTP/2 connection.

    What came on each stream is in ``heads`` (lists of fields), ``bodies``, ``trailers``,
    ``finished`` and ``resets`` (error codes); ``goaway`` has the frames of that name. Data is
    acknowledged at once, unless ``credit`` is False. ``on_event`` is called with every event, if
    it is set.
    """

    def __init__(self, client: bool, **settings: int) -> None:
        super().__init__()
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self._settings = {
            getattr(h2.settings.SettingCodes, name.upper()): value
            for name, value in settings.items()
        }
        self.heads: dict[int, list[Fields]] = defaultdict(list)
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.trailers: dict[int, Fields] = {}
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: list[GoAway] = []
        self._unread = b""
        self.events: list[Any] = []
        self.credit = True
        self.on_event: Callable[[Any], None] | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if self._settings:
            self.h2.local_settings = h2.settings.Settings(
                client=self.h2.config.client_side, initial_values=self._settings
            )
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Write what h2 has to say."""
        data = self.h2.data_to_send()
        if data:
            self.write(data)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        for event in self.h2.receive_data(self._without_goaway(data)):
            self.events.append(event)
            self._note(event)
            if self.on_event is not None:
                self.on_event(event)
        self.flush()

    def _without_goaway(self, data: bytes) -> bytes:
        """Take GOAWAY out, which h2 takes for the end of everything."""
        preface = b"" if self.h2.config.client_side else b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self._unread += data
        out = b""
        if preface and self._unread.startswith(preface):
            out, self._unread = preface, self._unread[len(preface) :]
        while len(self._unread) >= 9:
            size = 9 + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < size:
                break
            frame, self._unread = self._unread[:size], self._unread[size:]
            if frame[3] == 7:
                last, code = (int.from_bytes(frame[at : at + 4], "big") for at in (9, 13))
                self.goaway.append(GoAway(last, code))
            else:
                out += frame
        return out

    def _note(self, event: Any) -> None:
        stream: int = getattr(event, "stream_id", 0) or 0
        if isinstance(
            event,
            (
                h2.events.RequestReceived,
                h2.events.ResponseReceived,
                h2.events.InformationalResponseReceived,
            ),
        ):
            self.heads[stream].append(list(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[stream] += event.data
            if self.credit and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[stream] = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.finished.add(stream)
        elif isinstance(event, h2.events.StreamReset):
            self.resets[stream] = int(event.error_code)

    def field(self, stream: int, name: bytes) -> bytes | None:
        """Return a field of the last head on a stream."""
        return dict(self.heads[stream][-1]).get(name)


class H2Client(H2Peer):
    """A client of a proxy in memory."""

    def __init__(self, proxy: MemoryProxy, **settings: int) -> None:
        super().__init__(True, **settings)
        self._proxy = proxy
        self.link = proxy.network.dial(PROXY_ADDRESS, self)
        proxy.network.flush()

    def request(
        self,
        path: str = "/",
        *fields: tuple[str, str],
        method: str = "GET",
        host: str = "example.test",
        body: bytes | None = None,
        end: bool = True,
        scheme: str = "http",
    ) -> int:
        """Send a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [
            (":method", method),
            (":authority", host),
            (":scheme", scheme),
            (":path", path),
            *fields,
        ]
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        if body is not None:
            self.send_body(stream, body, end=end)
        self.go()
        return stream

    def send_body(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Send body bytes, as far as the windows go."""
        while True:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            piece, body = body[:room], body[room:]
            self.h2.send_data(stream, piece, end_stream=end and not body)
            self.go()
            if not body or not room:
                return

    def go(self) -> None:
        """Let everything move that can."""
        self.flush()
        self._proxy.network.flush()

    def status(self, stream: int) -> bytes | None:
        """Return the status of the last head on a stream, if there is one."""
        return self.field(stream, b":status") if self.heads[stream] else None


class H2Origin:
    """A server in a proxy's network; ``peers`` are its connections.

    ``answer`` is called with a connection and a stream when a request is complete.
    """

    def __init__(
        self,
        proxy: MemoryProxy,
        answer: Callable[[H2Peer, int], None] | None = None,
        host: str = "example.test",
        port: int = 80,
        **settings: int,
    ) -> None:
        self.peers: list[H2Peer] = []
        self.requests: list[tuple[H2Peer, int]] = []
        self._proxy = proxy

        def make() -> H2Peer:
            peer = H2Peer(False, **settings)
            self.peers.append(peer)

            def on_event(event: Any) -> None:
                if isinstance(event, h2.events.StreamEnded):
                    self.requests.append((peer, event.stream_id))
                    if answer is not None:
                        answer(peer, event.stream_id)

            peer.on_event = on_event
            return peer

        factory: Any = ServerFactory.forProtocol(make)
        factory.noisy = False
        proxy.network.listen((host, port), factory)

    def go(self) -> None:
        """Let everything move that can."""
        for peer in self.peers:
            peer.flush()
        self._proxy.network.flush()


def ok(peer: H2Peer, stream: int) -> None:
    """Answer with the path that was asked for."""
    path = peer.field(stream, b":path") or b""
    peer.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
    peer.h2.send_data(stream, path, end_stream=True)
    peer.flush()
