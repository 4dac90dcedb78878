"""What is fuzzed. A target is a function that raises where an input shows something to be wrong.

All of them let pass the errors that are meant for peers, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

from interceptor.errors import (
    DecodeError,
    FilterError,
    InterceptorError,
    LocalProtocolError,
    ModeError,
    RemoteProtocolError,
    UpstreamError,
)
from interceptor.filters.expression import match, parse
from interceptor.model.codings import Decoder, decode
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.model.modes import parse_mode
from interceptor.model.sse import ServerSentEvent
from interceptor.model.websocket import WebSocketMessage
from interceptor.names.message import Request as DNSRequest
from interceptor.names.message import Response as DNSResponse
from interceptor.wire.altsvc import without_http3
from interceptor.wire.connectclient import ConnectClient
from interceptor.wire.framing import Mode
from interceptor.wire.hpack import (
    HeaderListTooLargeError,
    HPACKBombError,
    HPACKDecoder,
    static_entries,
)
from interceptor.wire.hpacktables import HPACKError
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.http2fields import classify
from interceptor.wire.httpevents import Data, EndOfMessage, StreamReset
from interceptor.wire.messagecodec import Buffer
from interceptor.wire.proxyprotocol import ProxyHeaderReader
from interceptor.wire.resp import INCOMPLETE, RESPReader
from interceptor.wire.socks5 import Credentials, Greeting, SOCKS5ServerCodec
from interceptor.wire.socks5client import Socks5Client
from interceptor.wire.sse import EventStreamParser, encode_event
from interceptor.wire.tlshello import ClientHelloReader
from interceptor.wire.websocket import WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import agreed, parse_extensions
from tests.filters.flows import answered, http_flow
from tests.fuzz.seeds import SEEDS, WORDS
from tests.smuggling.judges import REQUEST_JUDGES, by_us
from tests.smuggling.test_http1 import agree
from tests.wire.feeding import client_codec, feed
from tests.wire.http2feeding import HELLO, Codec, new_client, new_server
from tests.wire.http2feeding import feed as http2_feed

Pieces = Sequence[bytes]
MODES: tuple[Mode, ...] = ("reject", "repair", "pass")


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` is given an input in pieces. ``seeds`` and ``words`` are what inputs are made of."""

    name: str
    run: Callable[[Pieces], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def same(one: object, other: object, what: str) -> None:
    """Raise where two outcomes differ that must not."""
    if one != other:
        raise AssertionError(f"{what}:\n{one!r}\n{other!r}")


# HTTP/1


def http1_requests(pieces: Pieces) -> None:
    """Cut however it may be, a request is the same; and so it is for the server that gets it."""
    data = b"".join(pieces)
    for mode in MODES:
        whole = feed(HTTP1ServerCodec(HTTP1Limits(), mode), [data], True)
        cut = feed(HTTP1ServerCodec(HTTP1Limits(), mode), list(pieces), True)
        if whole.error or cut.error:
            same(whole.error, cut.error, mode)
        else:
            same(whole.key(), cut.key(), mode)
        if not whole.complete or whole.error:
            continue
        message: Request = whole.message
        if whole.trailers:
            message.trailers = Headers.from_wire(whole.trailers, None)
        try:
            sent = HTTP1ClientCodec(HTTP1Limits(), mode).send_message(message, whole.body)
        except LocalProtocolError:
            continue
        if message.method_bytes == b"CONNECT":
            continue
        expected = by_us(sent)
        same([read and read[2] for read in expected], [whole.body], f"{mode}: {sent!r}")
        for judge, read in REQUEST_JUDGES.items():
            verdict = read(sent)
            if not agree(verdict, expected):
                raise AssertionError(f"{mode}: {judge} reads {verdict} in {sent!r}")


def http1_responses(pieces: Pieces) -> None:
    """The same of responses, and of the client that gets them."""
    data = b"".join(pieces)
    for mode in MODES:
        for method in (b"GET", b"HEAD"):
            whole = feed(client_codec(method, mode), [data], True)
            cut = feed(client_codec(method, mode), list(pieces), True)
            if whole.error or cut.error:
                same(whole.error, cut.error, mode)
                continue
            same(whole.key(), cut.key(), mode)
            if not whole.complete or whole.message.status_code == 101:
                continue
            server = HTTP1ServerCodec(HTTP1Limits(), mode)
            feed(server, [method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"], False)
            try:
                sent = server.send_message(
                    Request.make(method, "http://a/"), whole.message, whole.body
                )
            except LocalProtocolError:
                continue
            again = feed(client_codec(method, "pass"), [sent], True)
            same((again.body, again.error), (whole.body, None), f"{mode}: {sent!r}")


# HTTP/2


def _http2(make: Callable[[Mode], Codec]) -> Callable[[Pieces], None]:
    def run(pieces: Pieces) -> None:
        data = b"".join(pieces)
        for mode in MODES:
            whole, cut = http2_feed(make(mode), data), http2_feed(make(mode), *pieces)
            same(whole.key(), cut.key(), mode)
            if len(whole.output) > 100 * (len(data) + 1000):
                raise AssertionError(f"{len(whole.output)} bytes are said to {len(data)}")

    return run


def http2_servers(pieces: Pieces) -> None:
    """The requests that are whole are those that h2 reads, as far as it accepts them."""
    _http2(lambda mode: new_server(mode))(pieces)
    data = b"".join(pieces)
    ours = http2_feed(new_server("reject"), data)
    theirs = _by_h2(data)
    if theirs is None or ours.error is not None:
        return
    found: dict[int, list[Any]] = {}
    for number, event in ours.events:
        if isinstance(event, HTTP2RequestHead):
            request = event.request
            method, path = request.method_bytes, request.path_bytes
            found[number] = [method, path, b"", event.end_of_message]
        elif isinstance(event, StreamReset):
            found.pop(number, None)
        elif isinstance(event, Data) and number in found:
            found[number][2] += event.data
            found[number][3] = event.end_of_message
        elif isinstance(event, EndOfMessage) and number in found:
            found[number][3] = True
    for number, (method, path, body, ended) in found.items():
        if ended and number in theirs:
            same((method, path, body), theirs[number], f"stream {number}")


def _by_h2(data: bytes) -> dict[int, tuple[bytes, bytes, bytes]] | None:
    """The whole requests that h2 reads; None where it refuses the connection."""
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding=None)
    )
    connection.initiate_connection()
    heads: dict[int, dict[bytes, bytes]] = {}
    bodies: dict[int, bytes] = {}
    found = {}
    try:
        events = connection.receive_data(HELLO + data)
    except (h2.exceptions.ProtocolError, KeyError, ValueError):
        return None
    for event in events:
        match event:
            case h2.events.RequestReceived():
                heads[event.stream_id] = dict(event.headers)
                bodies[event.stream_id] = b""
            case h2.events.DataReceived():
                bodies[event.stream_id] += event.data
            case h2.events.StreamEnded() if event.stream_id in heads:
                head = heads[event.stream_id]
                path = head.get(b":path", b"")
                found[event.stream_id] = (head[b":method"], path, bodies[event.stream_id])
    return found


def hpack_blocks(pieces: Pieces) -> None:
    """Every block, one after the other in the same table, is what the oracle reads, or refused."""
    ours = HPACKDecoder(static_entries(classify), classify)
    oracle = hpack.Decoder(65536)
    for block in pieces:
        try:
            found = [entry[0] for entry in ours.decode(block, 65536, 1000)]
        except (HPACKError, HPACKBombError, HeaderListTooLargeError):
            return
        try:
            theirs = oracle.decode(block, raw=True)
        except hpack.HPACKError as error:
            raise AssertionError(
                f"the oracle refuses {block!r}: {error!r}; we read {found}"
            ) from error
        same([tuple(field) for field in found], [(bytes(n), bytes(v)) for n, v in theirs], "fields")


# WebSocket


def _websocket(from_client: bool) -> Callable[[Pieces], None]:
    limits = WebSocketLimits(message=65536, frame=65536)

    def read(pieces: Pieces, compressed: bool) -> tuple[list[tuple[Any, ...]], str | None]:
        deflate = agreed(parse_extensions([b"permessage-deflate"])) if compressed else None
        reader = WebSocketReader(from_client, limits, deflate)
        found: list[tuple[Any, ...]] = []
        try:
            for piece in pieces:
                reader.receive_data(piece)
                while (message := reader.next_message(0.0)) is not None:
                    found.append(_told(message))
        except RemoteProtocolError as error:
            return found, error.code
        return found, None

    def run(pieces: Pieces) -> None:
        data = b"".join(pieces)
        for compressed in (False, True):
            whole = read([data], compressed)
            same(whole, read(pieces, compressed), f"compressed {compressed}")
            if whole[1] is None and not compressed:
                same(whole[0], _by_wsproto(data, from_client, whole[0]), "wsproto")

    return run


def _told(message: WebSocketMessage) -> tuple[Any, ...]:
    return (message.type, message.content)


def _by_wsproto(data: bytes, from_client: bool, ours: list[Any]) -> list[Any]:
    """What wsproto reads, as far as it reads; it knows no limits and looks no further than that."""
    from wsproto import connection, events
    from wsproto.utilities import RemoteProtocolError as TheirError

    kind = connection.ConnectionType.SERVER if from_client else connection.ConnectionType.CLIENT
    peer = connection.Connection(kind)
    found: list[Any] = []
    content = b""
    peer.receive_data(data)
    try:
        for event in peer.events():
            match event:
                case events.TextMessage() | events.BytesMessage():
                    part = event.data
                    content += part.encode() if isinstance(part, str) else bytes(part)
                    if event.message_finished:
                        text = isinstance(event, events.TextMessage)
                        found.append(("text" if text else "binary", content))
                        content = b""
                case events.Ping():
                    found.append(("ping", bytes(event.payload)))
                case events.Pong():
                    found.append(("pong", bytes(event.payload)))
                case events.CloseConnection():
                    found.append(("close", (event.reason or "").encode()))
                    break
    except TheirError:
        # Which codes a close may have is a matter of the registry's date.
        return ours
    if len(found) > len(ours) and found[len(ours)][0] == "close":
        # What it finds wrong in a frame that is not complete, it tells as a close.
        return found[: len(ours)]
    return found


# Messages of smaller protocols


def client_hellos(pieces: Pieces) -> None:
    def read(pieces: Pieces) -> object:
        reader = ClientHelloReader(65536)
        try:
            for piece in pieces:
                found = reader.feed(piece)
                if found is not None:
                    return (found.sni, found.alpn, found.raw)
        except RemoteProtocolError as error:
            return error.code
        return None

    same(read([b"".join(pieces)]), read(pieces), "hello")


def socks5_servers(pieces: Pieces) -> None:
    def read(pieces: Pieces, method: int) -> object:
        codec = SOCKS5ServerCodec()
        found: list[object] = []
        try:
            for piece in pieces:
                codec.receive_data(piece)
                while (event := codec.next_event()) is not None:
                    found.append(event)
                    if isinstance(event, Greeting):
                        codec.choose(method)
                    elif isinstance(event, Credentials):
                        codec.verdict(True)
            codec.receive_eof()
            codec.next_event()
        except RemoteProtocolError as error:
            found.append(error.code)
            return found
        return found, codec.take_rest()

    for method in (0, 2):
        same(read([b"".join(pieces)], method), read(pieces, method), f"method {method}")


def _upstream_client(make: Callable[[], Any]) -> Callable[[Pieces], None]:
    def read(pieces: Pieces) -> object:
        client = make()
        sent = client.start()
        rest = b""
        try:
            for piece in pieces:
                if client.done:
                    rest += piece
                else:
                    sent += client.receive(piece)
        except UpstreamError as error:
            return error.code
        return sent, client.done, client.rest + rest

    def run(pieces: Pieces) -> None:
        same(read([b"".join(pieces)]), read(pieces), "answer")

    return run


def proxy_headers(pieces: Pieces) -> None:
    def read(pieces: Pieces) -> object:
        reader = ProxyHeaderReader()
        header = None
        rest = b""
        try:
            for piece in pieces:
                if header is None:
                    header = reader.receive(piece)
                else:
                    rest += piece
            if header is None:
                reader.receive_eof()
        except RemoteProtocolError as error:
            return error.code
        return header, reader.rest + rest

    same(read([b"".join(pieces)]), read(pieces), "header")


def event_streams(pieces: Pieces) -> None:
    def read(pieces: Pieces, limit: int) -> tuple[list[ServerSentEvent], bytes]:
        parser = EventStreamParser(limit)
        items = [item for piece in pieces for item in parser.feed(piece)]
        items += parser.finish()
        events = [item for item in items if isinstance(item, ServerSentEvent)]
        out = [item if isinstance(item, bytes) else encode_event(item) for item in items]
        return events, b"".join(out)

    data = b"".join(pieces)
    whole, cut = read([data], 1 << 20), read(pieces, 1 << 20)
    same(whole, cut, "events")
    same(whole[1], data, "bytes")
    same(read(pieces, 5)[1], data, "bytes with a limit")
    for event in whole[0]:
        event.data = "new\ndata"
        # Behind a line, so that a byte order mark inside of the event is none.
        [again] = read([b"\n" + encode_event(event) + b"\n"], 1 << 20)[0]
        same((again.data, again.event, again.id), ("new\ndata", event.event, event.id), "edited")


def alternative_services(pieces: Pieces) -> None:
    value = b"".join(pieces)
    left, removed = without_http3(value)
    same(without_http3(left), (left, []), "twice")
    if not removed:
        same(left, value, "nothing removed")


def redis_replies(pieces: Pieces) -> None:
    def read(pieces: Pieces) -> object:
        reader, buffer = RESPReader(4096), Buffer()
        found: list[object] = []
        try:
            for piece in pieces:
                buffer.append(piece)
                while (value := reader.read(buffer)) is not INCOMPLETE:
                    found.append(repr(value))
        except InterceptorError as error:
            found.append(error.code)
        return found

    same(read([b"".join(pieces)]), read(pieces), "replies")


def names(pieces: Pieces) -> None:
    """A DNS message that is read can be written, and is the same then."""
    data = b"".join(pieces)
    for kind in (DNSRequest, DNSResponse):
        try:
            message = kind.from_wire(data)
        except RemoteProtocolError:
            continue
        same(message.to_wire(), data, "untouched")
        told = [
            [repr(r), r.data]
            for s in (message.answers, message.authority, message.additional)
            for r in s
        ]
        message.id = message.id ^ 1
        written = message.to_wire()
        again = kind.from_wire(written)
        same(
            [
                [repr(r), r.data]
                for s in (again.answers, again.authority, again.additional)
                for r in s
            ],
            told,
            "again",
        )


# What hooks ask of messages


def content_codings(pieces: Pieces) -> None:
    data = b"".join(pieces)
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, br"):
        try:
            whole: bytes | None = decode(data, coding, 1 << 20)
        except DecodeError:
            whole = None
        decoder = Decoder(coding, 1 << 20)
        try:
            cut: bytes | None = b"".join([decoder.feed(piece) for piece in pieces])
            decoder.finish()
        except DecodeError:
            cut = None
        same(whole, cut, coding)


def filter_expressions(pieces: Pieces) -> None:
    text = b"".join(pieces).decode("utf-8", "replace")
    try:
        expression = parse(text)
    except FilterError as error:
        if not 1 <= error.column <= len(text) + 1:
            raise AssertionError(f"column {error.column} of {text!r}") from error
        return
    for flow in _FLOWS:
        match(expression, flow)


_FLOWS = (http_flow(), answered(content="text"), http_flow("POST", content=b"a=b"))


def modes(pieces: Pieces) -> None:
    try:
        parse_mode(b"".join(pieces).decode("utf-8", "replace"))
    except ModeError:
        pass


def views(pieces: Pieces) -> None:
    """Whatever hooks look at of a message, looking never raises."""
    data = b"".join(pieces)
    kind, _, body = data.partition(b"\n")
    fields = ((b"Content-Type", kind), (b"Cookie", kind), (b"Content-Encoding", body[:10]))
    request = Request(
        b"POST",
        b"http",
        b"a",
        80,
        b"/" + kind,
        b"HTTP/1.1",
        Headers.from_wire(fields, None),
        "relative",
        0.0,
    )
    request.attach_body(body)
    for each in (request.urlencoded_form, request.multipart_form, request.cookies, request.query):
        list(each.items(multi=True))
    _ = (request.text, request.content, request.url, request.pretty_url, request.path_components)
    response = Response(
        b"HTTP/1.1", 200, b"", Headers.from_wire((*fields, (b"Set-Cookie", kind)), None), 0.0
    )
    response.attach_body(body)
    list(response.cookies.items(multi=True))
    _ = (response.text, response.content)


_RUN: dict[str, Callable[[Pieces], object]] = {
    "http1-requests": http1_requests,
    "http1-responses": http1_responses,
    "http2-server": http2_servers,
    "http2-client": _http2(lambda mode: new_client("GET", "HEAD", "POST", mode=mode)),
    "hpack": hpack_blocks,
    "websocket-client": _websocket(True),
    "websocket-server": _websocket(False),
    "client-hello": client_hellos,
    "socks5-server": socks5_servers,
    "socks5-client": _upstream_client(lambda: Socks5Client("a.example", 80, (b"u", b"p"))),
    "connect-client": _upstream_client(lambda: ConnectClient("a.example", 443)),
    "proxy-protocol": proxy_headers,
    "event-stream": event_streams,
    "alt-svc": alternative_services,
    "redis": redis_replies,
    "dns": names,
    "content-codings": content_codings,
    "filters": filter_expressions,
    "modes": modes,
    "views": views,
}

TARGETS = tuple(Target(name, run, SEEDS[name], WORDS[name]) for name, run in _RUN.items())
"""Everything that is fuzzed."""
