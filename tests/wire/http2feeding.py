"""Plays the peer of HTTP/2 codecs: builds frames by hand, and writes down what comes of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import hpack
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Mode
from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2Mirror, HTTP2ServerCodec
from interceptor.wire.http2events import (
    AltSvc,
    GoAway,
    HTTP2RequestHead,
    PingAcknowledged,
    SettingsChanged,
    WindowOpened,
)
from interceptor.wire.httpevents import (
    NEED_DATA,
    Data,
    EndOfMessage,
    ResponseHead,
    StreamReset,
)

NOW = 1_000.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
) = range(10)

Codec = HTTP2ServerCodec | HTTP2ClientCodec
Pairs = list[tuple[bytes, bytes]]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def build(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame, right or wrong."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


def parse(data: bytes) -> list[Frame]:
    """Return the frames that a codec sent; a client's preface is skipped."""
    if data.startswith(PREFACE):
        data = data[len(PREFACE) :]
    frames = []
    while data:
        length = int.from_bytes(data[:3], "big")
        kind, flags, stream_id = struct.unpack(">BBI", data[3:9])
        assert len(data) >= 9 + length
        frames.append(Frame(kind, flags, stream_id, data[9 : 9 + length]))
        data = data[9 + length :]
    return frames


def settings(*pairs: tuple[int, int]) -> bytes:
    return build(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


SETTINGS_ACK = build(SETTINGS, 1, 0)
HELLO = PREFACE + settings() + SETTINGS_ACK


def data(stream_id: int, content: bytes, end: bool = False, padding: int | None = None) -> bytes:
    if padding is None:
        return build(DATA, int(end), stream_id, content)
    payload = bytes((padding,)) + content + bytes(padding)
    return build(DATA, 8 | int(end), stream_id, payload)


def window_update(stream_id: int, increment: int) -> bytes:
    return build(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    return build(RST_STREAM, 0, stream_id, struct.pack(">I", code))


def goaway(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    return build(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def ping(payload: bytes = b"12345678", ack: bool = False) -> bytes:
    return build(PING, int(ack), 0, payload)


GET: Pairs = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.com"),
    (b":path", b"/path?q=1"),
]
POST: Pairs = [(b":method", b"POST"), *GET[1:]]
OK: Pairs = [(b":status", b"200")]


class Compressor:
    """The peer's header compression, by the oracle's encoder."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()

    def block(self, fields: Pairs) -> bytes:
        return self.encoder.encode(fields)

    def headers(
        self,
        stream_id: int,
        fields: Pairs,
        end: bool = False,
        *,
        padding: int | None = None,
        priority: bytes = b"",
        pieces: int = 1,
    ) -> bytes:
        """Return HEADERS, with CONTINUATION where the block goes in several pieces."""
        block = self.block(fields)
        size = max(1, -(-len(block) // pieces))
        parts = [block[begin : begin + size] for begin in range(0, len(block), size)] or [b""]
        flags = int(end) | (4 if len(parts) == 1 else 0) | (0x20 if priority else 0)
        payload = priority + parts[0]
        if padding is not None:
            flags |= 8
            payload = bytes((padding,)) + payload + bytes(padding)
        out = build(HEADERS, flags, stream_id, payload)
        for number, part in enumerate(parts[1:], 2):
            out += build(CONTINUATION, 4 if number == len(parts) else 0, stream_id, part)
        return out


def headers(stream_id: int, fields: Pairs, end: bool = False, **options: Any) -> bytes:
    """Return HEADERS of a compressor without a past."""
    return Compressor().headers(stream_id, fields, end, **options)


def describe(event: Any) -> tuple[Any, ...]:
    """Return all that there is to an event."""
    match event:
        case HTTP2RequestHead(request=request):
            values: tuple[Any, ...] = (
                request.method_bytes,
                request.scheme_bytes,
                request.authority_bytes,
                (request.host_bytes, request.port),
                request.path_bytes,
                request.first_line_format,
                request.headers.fields,
                request.anomalies,
                repr(event.framing),
                event.end_of_message,
                event.protocol,
                event.priority,
            )
        case ResponseHead(response=response):
            values = (
                response.status_code,
                response.headers.fields,
                response.anomalies,
                repr(event.framing),
                event.end_of_message,
            )
        case Data():
            values = (event.data, event.end_of_message)
        case EndOfMessage():
            values = (event.trailers and event.trailers.fields,)
        case StreamReset():
            values = (event.code, event.error and event.error.code, event.retryable)
        case GoAway():
            values = (event.last_stream_id, event.code, event.debug)
        case SettingsChanged():
            values = (event.first,)
        case PingAcknowledged():
            values = (event.payload,)
        case AltSvc():
            values = (event.origin, event.value)
        case _:
            assert isinstance(event, WindowOpened)
            values = ()
    return (type(event).__name__, *values)


class Result:
    """What a codec said, and sent, until it needed data or failed."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Any]] = []
        self.error: RemoteProtocolError | None = None
        self.output = b""

    def pull(self, codec: Codec, now: float = NOW) -> None:
        while self.error is None:
            try:
                pair = codec.next_event(now)
            except RemoteProtocolError as error:
                self.error = error
                break
            if pair is NEED_DATA:
                break
            self.events.append(pair)
        self.output += codec.data_to_send()

    @property
    def frames(self) -> list[Frame]:
        return parse(self.output)

    def of(self, stream_id: int) -> list[Any]:
        """Return the events of one stream."""
        return [event for number, event in self.events if number == stream_id]

    def kinds(self) -> list[tuple[int, str]]:
        return [(number, type(event).__name__) for number, event in self.events]

    def body(self, stream_id: int) -> bytes:
        return b"".join(event.data for event in self.of(stream_id) if isinstance(event, Data))

    @property
    def goaway(self) -> tuple[int, int] | None:
        """The last stream and code of the GOAWAY that was sent last."""
        found = [frame for frame in self.frames if frame.kind == GOAWAY]
        return struct.unpack(">II", found[-1].payload[:8]) if found else None

    @property
    def resets(self) -> dict[int, int]:
        """The streams that were reset, with their codes."""
        return {
            frame.stream_id: int.from_bytes(frame.payload, "big")
            for frame in self.frames
            if frame.kind == RST_STREAM
        }

    def key(self) -> tuple[Any, ...]:
        """All there is to compare, data joined."""
        out: list[tuple[Any, ...]] = []
        for number, event in self.events:
            key = (number, *describe(event))
            if key[1] == "Data" and out and out[-1][:2] == key[:2] and not out[-1][3]:
                key = (*key[:2], out[-1][2] + key[2], key[3])
                out[-1] = key
            else:
                out.append(key)
        frames = [
            frame._replace(payload=frame.payload[:8]) if frame.kind == GOAWAY else frame
            for frame in self.frames
        ]
        return out, self.error and self.code, frames

    @property
    def code(self) -> str | None:
        """The code of the error, if there is one."""
        return None if self.error is None else self.error.code


def feed(codec: Codec, *pieces: bytes, now: float = NOW) -> Result:
    """Feed pieces, pulling after each."""
    result = Result()
    for piece in pieces:
        codec.receive_data(piece)
        result.pull(codec, now)
    return result


def feed_every_way(make: Callable[[], Codec], whole: bytes) -> Result:
    """Return what came of ``whole``, having checked that no way of splitting it matters."""
    expected = feed(make(), whole)
    for step in (1, 3, 7, 100):
        pieces = [whole[begin : begin + step] for begin in range(0, len(whole), step)]
        found = feed(make(), *pieces)
        if found.key() != expected.key():
            raise AssertionError(f"{step} at a time: {found.key()}\nwhole: {expected.key()}")
    return expected


def new_server(
    mode: Mode = "repair", connect_protocol: bool = False, **limits: Any
) -> HTTP2ServerCodec:
    """A codec that has met its client."""
    codec = HTTP2ServerCodec(HTTP2Limits(**limits), mode, connect_protocol=connect_protocol)
    feed(codec, HELLO)
    return codec


def new_client(
    *methods: str, mode: Mode = "repair", mirror: HTTP2Mirror | None = None, **limits: Any
) -> HTTP2ClientCodec:
    """A codec that has met its server, and sent requests with these methods."""
    codec = HTTP2ClientCodec(HTTP2Limits(**limits), mode, mirror)
    feed(codec, settings() + SETTINGS_ACK)
    for method in methods:
        codec.send_request(new_request(method), end_stream=method != "POST")
    codec.data_to_send()
    return codec


def new_pair(**limits: Any) -> tuple[HTTP2ClientCodec, HTTP2ServerCodec]:
    """Two codecs that have met each other."""
    client = HTTP2ClientCodec(HTTP2Limits(**limits), "repair")
    server = HTTP2ServerCodec(HTTP2Limits(**limits), "repair")
    answer = feed(server, client.data_to_send()).output
    feed(server, feed(client, answer).output)
    return client, server


def read_requests(sent: bytes, mode: Mode = "repair", **options: Any) -> Result:
    """Read what a client sent after its preface, in every way."""
    return feed_every_way(lambda: new_server(mode, **options), sent)


def read_responses(sent: bytes, *methods: str, mode: Mode = "repair", **limits: Any) -> Result:
    """Read what a server answered, in every way."""
    return feed_every_way(lambda: new_client(*(methods or ("GET",)), mode=mode, **limits), sent)


def new_request(
    method: str = "GET",
    url: str = "https://example.com/path?q=1",
    fields: Iterable[tuple[bytes, bytes]] = (),
) -> Request:
    """A request as if it had come by HTTP/2."""
    made = Request.make("GET" if method == "CONNECT" else method, url)
    form = "relative"
    if method == "CONNECT":
        form = "authority"
    request = Request(
        method.encode(),
        made.scheme_bytes,
        made.host_bytes,
        made.port,
        made.path_bytes,
        b"HTTP/2.0",
        Headers.from_wire(tuple(fields), None),
        form,
        NOW,
    )
    request.authority_bytes = made.headers["Host"].encode()
    if method == "CONNECT":
        request.authority_bytes = b"%b:%d" % (made.host_bytes, made.port)
    return request


def new_response(status: int = 200, fields: Iterable[tuple[bytes, bytes]] = ()) -> Response:
    """A response as if it had come by HTTP/2."""
    return Response(b"HTTP/2.0", status, b"", Headers.from_wire(tuple(fields), None), NOW)


def decode_heads(frames: list[Frame]) -> list[tuple[int, int, Pairs]]:
    """Return stream, flags and fields of the header blocks that were sent, by the oracle."""
    decoder = hpack.Decoder()
    found = []
    block = b""
    first = frames[0]
    for frame in frames:
        if frame.kind == HEADERS:
            first = frame
            block = frame.payload[5:] if frame.flags & 0x20 else frame.payload
        elif frame.kind == CONTINUATION:
            block += frame.payload
        else:
            continue
        if frame.flags & 4:
            fields = [(bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True)]
            found.append((first.stream_id, first.flags, fields))
    return found


class ConnectionTestCase(SynchronousTestCase):
    """For tests of what ends a connection."""

    def fails(self, result: Result, code: str, h2_code: int, last: int = 0) -> Result:
        self.assertIsNotNone(result.error)
        self.assertEqual(result.code, code)
        self.assertEqual(result.goaway, (last, h2_code))
        return result

    def refuse(self, sent: bytes, code: str, h2_code: int = 1, last: int = 0) -> None:
        self.fails(read_requests(sent), code, h2_code, last)
