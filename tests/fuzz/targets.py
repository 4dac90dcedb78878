"""What is fuzzed. A target is a function that raises where an input shows something to be wrong.

All of them let pass the errors that are meant for peers, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interceptor.errors import (
    DecodeError,
    FilterError,
    InterceptorError,
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
from interceptor.names.message import Request as DNSRequest
from interceptor.names.message import Response as DNSResponse
from interceptor.wire.altsvc import without_http3
from interceptor.wire.connectclient import ConnectClient
from interceptor.wire.messagecodec import Buffer, MessageCodec
from interceptor.wire.proxyprotocol import ProxyHeaderReader
from interceptor.wire.redis import RedisCodec
from interceptor.wire.resp import INCOMPLETE, RESPReader
from interceptor.wire.smtp import SMTPCodec
from interceptor.wire.socks5 import Credentials, Greeting, SOCKS5ServerCodec
from interceptor.wire.socks5client import Socks5Client
from interceptor.wire.sse import EventStreamParser, encode_event
from interceptor.wire.starttls import GENERIC, PROTOCOLS, Phase, StartTLSWatch
from interceptor.wire.tlshello import ClientHelloReader
from interceptor.wire.websocketdeflate import agreed, parse_extensions
from tests.filters.flows import answered, http_flow
from tests.fuzz.httptargets import (
    hpack_blocks,
    http1_requests,
    http1_responses,
    http2_clients,
    http2_servers,
    websocket_clients,
    websocket_servers,
)
from tests.fuzz.mutation import LONGEST
from tests.fuzz.outcomes import Pieces, same
from tests.fuzz.seeds import SEEDS, TURN, WORDS


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` is given an input in pieces. ``seeds`` and ``words`` are what inputs are made of."""

    name: str
    run: Callable[[Pieces], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


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
    short = read(pieces, 9)
    same(read([data], 9), short, "events with a limit")
    same(short[1], data, "bytes with a limit")
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


def _turns(pieces: Pieces) -> list[tuple[bool, bytes]]:
    """What two peers say in turn, the client first; see `tests.fuzz.seeds.conversation`."""
    parts = b"".join(pieces).split(TURN)
    return [(not index % 2, part) for index, part in enumerate(parts) if part]


def _conversation(make: Callable[[], MessageCodec]) -> Callable[[Pieces], None]:
    """Messages are the same however they come, and can be written again."""

    def read(turns: list[tuple[bool, bytes]], size: int) -> object:
        codec = make()
        found: list[object] = []
        try:
            for from_client, data in turns:
                for start in range(0, len(data), size):
                    codec.receive(data[start : start + size], from_client)
                    while (message := codec.next_message(from_client)) is not None:
                        message.timestamp = 0.0
                        found.append((message, codec.encode(message)))
                        codec.sent(message)
        except InterceptorError as error:
            found.append(error.code)
        return found

    def run(pieces: Pieces) -> None:
        turns = _turns(pieces)
        same(read(turns, LONGEST), read(turns, 1), "messages")

    return run


def starttls_watches(pieces: Pieces) -> None:
    """What a watch holds back it gives back, and nothing else: no byte is lost or made up."""
    watch = StartTLSWatch((*PROTOCOLS, GENERIC))
    given = {True: b"", False: b""}
    passed = {True: b"", False: b""}
    try:
        for from_client, data in _turns(pieces):
            given[from_client] += data
            passed[from_client] += (watch.client_sent if from_client else watch.server_sent)(data)
            while watch.phase in (Phase.PLAIN, Phase.OVER):
                released = watch.release()
                passed[True] += released
                if not released:
                    break
    except RemoteProtocolError:
        return
    same(passed[False], given[False], "server")
    held = given[True][len(passed[True]) :]
    same(passed[True] + held, given[True], "client")
    if watch.phase is Phase.AGREED and not held.endswith(watch.hello.lstrip()):
        raise AssertionError(f"{watch.hello!r} is not what was held back: {held!r}")


def websocket_extensions(pieces: Pieces) -> None:
    try:
        agreed(parse_extensions([b"".join(pieces)]))
    except (ValueError, InterceptorError):
        pass


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
    "http2-client": http2_clients,
    "hpack": hpack_blocks,
    "websocket-client": websocket_clients,
    "websocket-server": websocket_servers,
    "client-hello": client_hellos,
    "socks5-server": socks5_servers,
    "socks5-client": _upstream_client(lambda: Socks5Client("a.example", 80, (b"u", b"p"))),
    "connect-client": _upstream_client(lambda: ConnectClient("a.example", 443)),
    "proxy-protocol": proxy_headers,
    "event-stream": event_streams,
    "alt-svc": alternative_services,
    "redis": redis_replies,
    "dns": names,
    "redis-messages": _conversation(RedisCodec),
    "smtp-messages": _conversation(SMTPCodec),
    "starttls": starttls_watches,
    "websocket-extensions": websocket_extensions,
    "content-codings": content_codings,
    "filters": filter_expressions,
    "modes": modes,
    "views": views,
}

TARGETS = tuple(Target(name, run, SEEDS[name], WORDS[name]) for name, run in _RUN.items())
"""Everything that is fuzzed."""
