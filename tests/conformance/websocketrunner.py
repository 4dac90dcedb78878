"""Runs WebSocket cases against peers that echo, directly and through a proxy, and judges them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.python.failure import Failure
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import PROXY_ADDRESS, MemoryProxy
from interceptor.wire.websocket import WebSocketError, WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import Deflate, Deflater, Direction
from interceptor.wire.websocketwrite import OPCODES, encode_close, encode_frame
from tests.conformance.websocketcases import CLOSE, CONT, PING, TEXT, Case, Frame
from tests.websockets import frame, handshake, switching

ORIGIN = ("example.test", 80)
_KINDS = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


class Framing(Protocol):
    """What a peer that echoes speaks: bytes in, bytes out; ``ended`` once it is done."""

    ended: bool

    def receive(self, data: bytes) -> bytes:
        """Take bytes and return the answer."""


class OwnFraming:
    """The codec of the proxy."""

    def __init__(self, case: Case, from_client: bool) -> None:
        deflate = None
        if case.agreed:
            direction = Direction(case.takeover, case.bits)
            deflate = Deflate(direction, direction)
        self._reader = WebSocketReader(from_client, WebSocketLimits(), deflate)
        self._deflater = None if deflate is None else Deflater(deflate.server)
        self._masked = not from_client
        self.ended = False

    def receive(self, data: bytes) -> bytes:
        out = b""
        self._reader.receive_data(data)
        try:
            while not self.ended and (message := self._reader.next_message(0.0)) is not None:
                content = message.content
                if message.type == "close":
                    self.ended = True
                    out += encode_close(message.close_code, "", masked=self._masked)
                elif message.type == "ping":
                    out += encode_frame(10, content, masked=self._masked)
                elif message.type != "pong":
                    if self._deflater is not None:
                        content = self._deflater.deflate(content)
                    opcode, packed = OPCODES[message.type], self._deflater is not None
                    out += encode_frame(opcode, content, masked=self._masked, rsv1=packed)
        except WebSocketError as error:
            self.ended = True
            out += encode_close(error.close_code, str(error), masked=self._masked)
        return out


class ForeignFraming:
    """wsproto."""

    def __init__(self, case: Case, from_client: bool) -> None:
        extensions: list[Any] = []
        if case.agreed:
            extension = PerMessageDeflate(
                client_max_window_bits=case.bits, server_max_window_bits=case.bits
            )
            if from_client:
                extension.accept(case.agreed)
            else:
                extension.finalize(case.agreed)
            extensions.append(extension)
        kind = ConnectionType.SERVER if from_client else ConnectionType.CLIENT
        self._connection = Connection(kind, extensions)
        self._parts: list[Any] = []
        self.ended = False

    def receive(self, data: bytes) -> bytes:
        if self.ended:
            return b""
        out = b""
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    self._parts.append(event.data)
                    if event.message_finished:
                        out += self._connection.send(type(event)(data=self._whole()))
                elif isinstance(event, Ping):
                    out += self._connection.send(event.response())
                elif isinstance(event, CloseConnection):
                    out += self._connection.send(event.response())
                    self.ended = True
        except RemoteProtocolError as error:
            self.ended = True
            if error.event_hint is not None:
                out += self._connection.send(error.event_hint)
        except LocalProtocolError:
            self.ended = True
        return out

    def _whole(self) -> Any:
        parts, self._parts = self._parts, []
        return parts[0][:0].join(parts)


FRAMINGS: dict[str, Callable[[Case, bool], Framing]] = {
    "own": OwnFraming,
    "wsproto": ForeignFraming,
}


class EchoPeer(TwistedProtocol):
    """A client or a server that sends back what it gets."""

    def __init__(self, framing: Framing, case: Case, is_server: bool) -> None:
        self._framing = framing
        self._case = case
        self._is_server = is_server
        self._head: bytes | None = b""

    def connectionMade(self) -> None:
        if not self._is_server:
            self._write(request_of(self._case))

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = None
            if self._is_server:
                self._write(response_of(self._case))
        framing: Any = self._framing
        if framing.ended:
            return
        answer = framing.receive(data)
        if answer:
            self._write(answer)
        if framing.ended and self._is_server:
            assert self.transport is not None
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._framing.ended = True


def request_of(case: Case) -> bytes:
    """The handshake of a client."""
    fields = [b"Sec-WebSocket-Extensions: " + case.offer.encode()] if case.offer else []
    return handshake("/echo", *fields, target="")


def response_of(case: Case) -> bytes:
    """The handshake of a server."""
    fields = [b"Sec-WebSocket-Extensions: " + case.agreed.encode()] if case.agreed else []
    return switching(*fields)


class Tester(HalfCloseRecorder):
    """The other end: it has made its handshake once ``open`` is true."""

    def __init__(self, case: Case, is_server: bool) -> None:
        super().__init__()
        self._case = case
        self._is_server = is_server
        self.open = False

    def connectionMade(self) -> None:
        if not self._is_server:
            self.write(request_of(self._case))

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if not self.open and b"\r\n\r\n" in self.data:
            self.open = True
            self.data = self.data.partition(b"\r\n\r\n")[2]
            if self._is_server:
                self.write(response_of(self._case))


class Verdict(IntEnum):
    """How good a peer is; less is better."""

    OK = 0
    NOT_STRICT = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case, and what it is worth."""

    verdict: Verdict
    why: str = ""


class Stage:
    """A network with a proxy in it, and an origin that is what the case needs."""

    def __init__(self, framing: Callable[[Case, bool], Framing], *addons: object) -> None:
        self.proxy = MemoryProxy(*addons, mode="reverse:http://example.test")
        self._framing = framing
        self._next: list[TwistedProtocol] = []
        factory: Any = ServerFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: self._next.pop()
        self.proxy.network.listen(ORIGIN, factory)

    def close(self) -> None:
        """End it."""
        self.proxy.close()

    def run(self, case: Case, *, as_client: bool, proxied: bool) -> Outcome:
        """Send a case's frames, as a client or as a server, and judge what comes back."""
        network = self.proxy.network
        tester = Tester(case, not as_client)
        echo = EchoPeer(self._framing(case, as_client), case, as_client)
        client, server = (tester, echo) if as_client else (echo, tester)
        self._next.append(server)
        link = network.dial(PROXY_ADDRESS if proxied else ORIGIN, client)
        network.flush()
        if not tester.open:
            return Outcome(Verdict.FAILED, "no handshake")
        for data in self._chunks(case, as_client):
            if tester.lost is not None:
                break
            tester.write(data)
            network.flush()
        network.advance(3)
        outcome = judge(case, tester, as_client)
        tester.transport.abortConnection()
        link.client.abortConnection()
        network.flush()
        return outcome

    def _chunks(self, case: Case, as_client: bool) -> list[bytes]:
        frames = [_encode(each, as_client) for each in case.frames]
        if not case.closes:
            frames.append(_encode(Frame(CLOSE, b"\x03\xe8"), as_client))
        if not case.chop:
            return frames
        data = b"".join(frames)
        return [data[at : at + case.chop] for at in range(0, len(data), case.chop)]


def _encode(each: Frame, as_client: bool) -> bytes:
    masked = as_client is not each.wrong_mask
    return frame(each.opcode, each.payload, fin=each.fin, reserved=each.rsv, masked=masked)


class _BrokenError(Exception):
    """What came back is no WebSocket."""


def judge(case: Case, tester: Tester, as_client: bool) -> Outcome:
    """Compare what a tester got with what a case wants."""
    try:
        messages, code = _read(case, tester.data, masked=not as_client)
    except (_BrokenError, zlib.error, IndexError) as error:
        return Outcome(Verdict.FAILED, f"nonsense came back: {error}")
    verdict, why = Verdict.OK, ""
    if messages != list(case.messages):
        # Whoever breaks the rules may lose the answers to what came before.
        few = len(messages) < len(case.messages) and case.closes
        same = sorted(messages) == sorted(case.messages)
        verdict = Verdict.NOT_STRICT if few or same else Verdict.FAILED
        why = f"{len(messages)} messages for {len(case.messages)}: {str(messages)[:200]}"
    wanted = case.closes or (1000,)
    if code != wanted[0]:
        why += f" closed with {code} instead of {wanted[0]}"
        mild = code in wanted or (code is None and bool(case.closes))
        verdict = max(verdict, Verdict.NOT_STRICT if mild else Verdict.FAILED)
    if as_client and not tester.ended and tester.lost is None:
        verdict, why = Verdict.FAILED, why + " not closed"
    return Outcome(verdict, why)


def _read(case: Case, data: bytes, *, masked: bool) -> tuple[list[tuple[str, bytes]], int | None]:
    """Read what came back, by a reader that knows nothing of the proxy's."""
    messages: list[tuple[str, bytes]] = []
    inflate = zlib.decompressobj(-15)
    kind, packed, content = 0, False, b""
    at = 0
    while at < len(data):
        first, second = data[at], data[at + 1]
        size, at = second & 0x7F, at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if (second > 127) is not masked:
            raise _BrokenError("masked or not")
        key = data[at : at + 4] if masked else b"\0\0\0\0"
        at += 4 if masked else 0
        payload = data[at : at + size]
        if len(payload) < size:
            raise _BrokenError("cut off")
        at += size
        if masked:
            stream = key * (size // 4 + 1)
            plain = int.from_bytes(payload, "big") ^ int.from_bytes(stream[:size], "big")
            payload = plain.to_bytes(size, "big")
        opcode = first & 0x0F
        if opcode == CLOSE:
            return messages, int.from_bytes(payload[:2], "big") if payload else 1005
        if opcode >= PING:
            messages.append((_KINDS[opcode], payload))
            continue
        if opcode != CONT:
            kind, packed, content = opcode, first & 0x40 != 0, b""
        content += payload
        if first & 0x80:
            if packed:
                if not case.takeover:
                    inflate = zlib.decompressobj(-15)
                content = inflate.decompress(content + b"\x00\x00\xff\xff")
            if kind == TEXT:
                content.decode()
            messages.append((_KINDS[kind], content))
    return messages, None
