"""What translating peers share: names of fields, windows, and the ends of connections."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import h2.exceptions

from interceptor.model.headers import Headers
from interceptor.net.memory import HalfCloseRecorder
from tests.layers.h2peers import Fields, H2Peer

_CONNECTION_FIELDS = (
    b"connection",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
)

_FIELDS = rb"(?:[^\s:]+:[^\r\n]*\r\n)"
_HEADS = re.compile(
    rb"(?:HTTP/1\.[01] [0-9]{3}[^\r\n]*|[A-Za-z-]+ \S+ HTTP/1\.[01])\r\n" + _FIELDS + rb"+"
    rb"|(?:^|\r\n)0\r\n" + _FIELDS + rb"+(?=\r\n)"
)
_WRITTEN = re.compile(rb"(?<=\r\n)[A-Za-z0-9-]+(?=:)")
_NAME = re.compile(rb"(?<=\r\n)[a-z0-9-]+(?=:)")


class Names(dict[bytes, bytes]):
    """Names of fields as a test spells them, by what becomes of them in HTTP/2.

    Those that it does not spell are spelled as usual.
    """

    def __missing__(self, name: bytes) -> bytes:
        return re.sub(rb"\b[a-z]", lambda letter: letter[0].upper(), name)

    def fields(self, headers: Headers) -> Fields:
        """Return fields for HTTP/2 (RFC 9113 section 8.2), and note how they are spelled."""
        fields = []
        options = (headers.get_bytes(b"connection") or b"").lower().replace(b" ", b"").split(b",")
        for name, value in headers.fields:
            lower = name.lower()
            self.setdefault(lower, name)
            if lower not in _CONNECTION_FIELDS and lower not in options:
                fields.append((lower, value))
        return fields

    def headers(self, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return fields for HTTP/1."""
        kept = (field for field in fields if not field[0].startswith(b":"))
        return Headers(tuple((self[name], value) for name, value in kept))

    def note(self, data: bytes) -> None:
        """Note the names in what a test writes in HTTP/1."""
        for name in _WRITTEN.findall(data):
            self.setdefault(name.lower(), name)

    def spell(self, data: bytes) -> bytes:
        """Spell the names in messages of HTTP/1 that came from HTTP/2."""
        if b":" not in data:
            return data
        return _HEADS.sub(
            lambda head: _NAME.sub(lambda name: self[name[0]], head[0]),
            data,
        )


class Spelled(HalfCloseRecorder):
    """Its ``data`` has the names of fields as the test spells them."""

    names: Names
    _heard = b""

    @property
    def data(self) -> bytes:
        return self.names.spell(self._heard)

    @data.setter
    def data(self, data: bytes) -> None:
        self._heard = data

    def write(self, data: bytes) -> None:
        self.names.note(data)
        super().write(data)

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        self.chunks.append(data)


class End:
    """A transport, as a test uses it; its ``buffer`` has what closed windows hold back as well."""

    def __init__(
        self, transport: Any, sender: Sender, before_close: Callable[[], None] | None = None
    ) -> None:
        self._sender = sender
        self._transport = transport
        self._before_close = before_close
        self.pauseProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing
        self.abortConnection = transport.abortConnection
        self.getHost = transport.getHost

    def loseConnection(self) -> None:
        if self._before_close is not None:
            self._before_close()
        self._transport.loseConnection()

    @property
    def buffer(self) -> bytes:
        return bytes(self._transport.buffer) + self._sender.held


class Link:
    """A client's connection, as a test uses it."""

    def __init__(self, client: End) -> None:
        self.client = client


class Sender:
    """Sends data on streams as far as the windows are open, and the rest when they open."""

    def __init__(self, h2: H2Peer, names: Names) -> None:
        self._h2 = h2
        self._names = names
        self._held: dict[int, deque[Any]] = {}

    @property
    def held(self) -> bytes:
        """What waits for windows to open."""
        return b"".join(
            data for held in self._held.values() for data in held if isinstance(data, bytes)
        )

    def send(self, stream: int, data: bytes) -> None:
        self._held.setdefault(stream, deque()).append(data)
        self.go_on()

    def end(self, stream: int, trailers: Headers | None) -> None:
        self._held.setdefault(stream, deque()).append(trailers or ())
        self.go_on()

    def go_on(self) -> None:
        for stream, held in list(self._held.items()):
            try:
                self._send_some(stream, held)
            except h2.exceptions.ProtocolError:
                # It is closed: as on a closed connection, what is written gets nowhere.
                self.forget(stream)
        self._h2.flush()

    def _send_some(self, stream: int, held: deque[Any]) -> None:
        connection = self._h2.h2
        while held:
            if not isinstance(held[0], bytes):
                trailers = held.popleft()
                if trailers:
                    fields = self._names.fields(trailers)
                    connection.send_headers(stream, fields, end_stream=True)
                else:
                    connection.end_stream(stream)
                continue
            room = connection.local_flow_control_window(stream)
            data = held[0][: min(room, connection.max_outbound_frame_size)]
            if not data:
                break
            connection.send_data(stream, data)
            held[0] = held[0][len(data) :]
            if not held[0]:
                held.popleft()

    def forget(self, stream: int) -> None:
        self._held.pop(stream, None)


class ReportingPeer(H2Peer):
    """A peer that tells its translator of everything."""

    def __init__(self, client: bool, translator: Any) -> None:
        super().__init__(client)
        self._translator = translator
        self._started = False
        self.on_event = translator.event

    def connectionMade(self) -> None:
        """Wait with the preface: a client that has not been told to send anything sends nothing."""

    def start(self) -> None:
        """Begin the connection, where that was not done."""
        if not self._started:
            self._started = True
            super().connectionMade()

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        self._translator.readConnectionLost()

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self._translator.connectionLost(reason)
