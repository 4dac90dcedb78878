"""HTTP and WebSocket, compared with what other libraries make of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

from interceptor.errors import (
    LocalProtocolError,
    RemoteProtocolError,
)
from interceptor.model.headers import Headers
from interceptor.model.http import Request
from interceptor.model.websocket import WebSocketMessage
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
from interceptor.wire.websocket import WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import agreed, parse_extensions
from tests.fuzz.outcomes import Pieces, same
from tests.smuggling.judges import REQUEST_JUDGES, by_us
from tests.smuggling.test_http1 import agree
from tests.wire.feeding import client_codec, feed
from tests.wire.http2feeding import HELLO, Codec, new_client, new_server
from tests.wire.http2feeding import feed as http2_feed

MODES: tuple[Mode, ...] = ("reject", "repair", "pass")


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


http2_clients = _http2(lambda mode: new_client("GET", "HEAD", "POST", mode=mode))


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


websocket_clients = _websocket(True)
websocket_servers = _websocket(False)
