"""Feeds HTTP/1 codecs in every way, and writes down what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interceptor.errors import RemoteProtocolError
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Mode
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    RequestHead,
    ResponseHead,
)

NOW = 1_000.0
TRAILING = b"\x00trailing"

Codec = HTTP1ServerCodec | HTTP1ClientCodec


class Message:
    """One message as a codec reported it, or the error it ended in."""

    def __init__(self) -> None:
        self.message: Any = None
        self.framing: Any = None
        self.body = b""
        self.trailers: tuple[tuple[bytes, bytes], ...] | None = None
        self.complete = False
        self.closed = False
        self.informational: list[int] = []
        self.error: tuple[str, int] | None = None

    def key(self) -> tuple[Any, ...]:
        """Everything there is to compare."""
        head: tuple[Any, ...] = ()
        message = self.message
        if message is not None:
            head = (message.http_version_bytes, message.headers.fields, message.headers.raw)
            head += tuple(message.anomalies)
        if isinstance(message, Request):
            head += (message.method, message.scheme, message.host, message.port, message.path)
            head += (message.first_line_format,)
        elif isinstance(message, Response):
            head += (message.status_code, message.reason)
        end = (self.body, self.trailers, self.complete, self.closed)
        return (*head, repr(self.framing), *end, self.informational, self.error)


def pull(codec: Codec, into: Message) -> None:
    """Take all events that are there."""
    while not into.complete:
        try:
            event = codec.next_event(NOW)
        except RemoteProtocolError as error:
            into.error = (error.code, error.status)
            return
        if event is NEED_DATA:
            return
        if event is CONNECTION_CLOSED:
            into.closed = True
            return
        if isinstance(event, (RequestHead, ResponseHead)):
            message = event.request if isinstance(event, RequestHead) else event.response
            done = event.end_of_message
            if isinstance(message, Response) and message.status_code < 200 and not done:
                into.informational.append(message.status_code)
                continue
            into.message = message
            into.framing = event.framing
            into.complete = done
        elif isinstance(event, Data):
            assert event.data or event.end_of_message
            into.body += event.data
            into.complete = event.end_of_message
        else:
            assert isinstance(event, EndOfMessage)
            into.trailers = event.trailers.fields if event.trailers is not None else None
            into.complete = True


def feed(codec: Codec, pieces: list[bytes], eof: bool) -> Message:
    """Feed pieces, pulling after each, and perhaps the end of the connection."""
    result = Message()
    for piece in pieces:
        codec.receive_data(piece)
        pull(codec, result)
        if result.error is not None:
            return result
    if eof:
        codec.receive_eof()
        pull(codec, result)
    return result


def feed_every_way(make: Callable[[], Codec], data: bytes, eof: bool = False) -> Message:
    """Return what came of ``data``, having checked that no way of splitting it matters."""
    whole = feed(make(), [data], eof)
    single = feed(make(), [data[i : i + 1] for i in range(len(data))], eof)
    same = (single.error == whole.error) if whole.error else (single.key() == whole.key())
    if not same:
        raise AssertionError(f"byte by byte: {single.key()}\nwhole: {whole.key()}")
    for step in (3, 7):
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        other = feed(make(), pieces, eof)
        if other.error != whole.error or (not whole.error and other.key() != whole.key()):
            raise AssertionError(f"{step} bytes at a time: {other.key()}\nwhole: {whole.key()}")
    if whole.complete and not eof:
        codec = make()
        followed = feed(codec, [data + TRAILING], False)
        if followed.key() != whole.key():
            raise AssertionError(f"with more behind: {followed.key()}\nalone: {whole.key()}")
        if codec.take_rest() != TRAILING:
            raise AssertionError("the bytes behind the message were touched")
    return whole


def read_request(data: bytes, mode: Mode = "repair", eof: bool = False, **limits: int) -> Message:
    """Read a request in every way."""
    return feed_every_way(lambda: HTTP1ServerCodec(HTTP1Limits(**limits), mode), data, eof)


def client_codec(method: bytes = b"GET", mode: Mode = "repair", **limits: int) -> HTTP1ClientCodec:
    """A codec that has just sent a request."""
    codec = HTTP1ClientCodec(HTTP1Limits(**limits), mode)
    request = Request.make(method, "http://example.com/")
    if method == b"UPGRADE":
        request.method = "GET"
        request.headers["Connection"] = "Upgrade"
        request.headers["Upgrade"] = "websocket"
    codec.send_message(request, b"")
    return codec


def read_response(
    data: bytes, mode: Mode = "repair", method: bytes = b"GET", eof: bool = False, **limits: int
) -> Message:
    """Read a response in every way."""
    return feed_every_way(lambda: client_codec(method, mode, **limits), data, eof)


def head(*lines: bytes) -> bytes:
    """Join lines to a head."""
    return b"".join([line + b"\r\n" for line in lines]) + b"\r\n"
