"""What the HTTP/2 codecs do per second in memory, both roles: ``python -m bench.micro_http2``.

A stream is a request and its response of 1 KiB, from one codec to the other and back, ten at a
time. *same* asks for the same path each time, *new* for another one. Below it is what h2 does with
the same, and then how fast the body of one stream goes through both codecs. Seconds are those of
the processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events

from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2ServerCodec
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.httpevents import NEED_DATA, Data

BODY = bytes(1024)
AT_ONCE = 10
REQUEST_FIELDS = (
    (b"user-agent", b"curl/8.11.0"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, br"),
    (b"x-request-id", b"0123456789abcdef"),
)
RESPONSE_FIELDS = (
    (b"server", b"nginx/1.22.1"),
    (b"date", b"Sat, 14 Nov 2026 12:00:00 GMT"),
    (b"content-type", b"application/octet-stream"),
    (b"content-length", b"%d" % len(BODY)),
)


class Pair:
    """A client's and a server's codec, and the way between them."""

    def __init__(self, answer: Callable[[Pair, int], None]) -> None:
        self.client = HTTP2ClientCodec(HTTP2Limits(), "repair")
        self.server = HTTP2ServerCodec(HTTP2Limits(), "repair")
        self.received = self.finished = 0
        self._answer = answer

    def ask(self, path: bytes) -> None:
        """Send a request."""
        headers = Headers.from_wire(REQUEST_FIELDS, None)
        request = Request(
            b"GET", b"https", b"example.com", 443, path, b"HTTP/2.0", headers, "relative", 0.0
        )
        self.client.send_request(request, True)

    def turn(self) -> None:
        """Bring what was said to the other side, in both directions."""
        self.server.receive_data(self.client.data_to_send())
        while (found := self.server.next_event(0.0)) is not NEED_DATA:
            if type(found[1]) is HTTP2RequestHead:
                self._answer(self, found[0])
        self.client.receive_data(self.server.data_to_send())
        while (found := self.client.next_event(0.0)) is not NEED_DATA:
            stream_id, event = found
            if type(event) is Data:
                self.client.acknowledge(stream_id, len(event.data))
                self.received += len(event.data)
                self.finished += event.end_of_message


def _response(fields: tuple[tuple[bytes, bytes], ...]) -> Response:
    return Response(b"HTTP/2.0", 200, b"", Headers.from_wire(fields, None), 0.0)


def _answer_whole(pair: Pair, stream_id: int) -> None:
    pair.server.send_response(stream_id, None, _response(RESPONSE_FIELDS))
    pair.server.send_data(stream_id, BODY, True)


def streams_per_second(streams: int, same: bool) -> float:
    """Return how many streams go through two of our codecs in a second."""
    pair = Pair(_answer_whole)
    begin = time.process_time()
    number = 0
    while pair.finished < streams:
        for _ in range(AT_ONCE):
            number += 1
            pair.ask(b"/index.php?id=0" if same else b"/index.php?id=%d" % number)
        pair.turn()
    return streams / (time.process_time() - begin)


def bytes_per_second(size: int) -> float:
    """Return how fast the body of one stream goes through two of our codecs."""
    opened: list[int] = []

    def begin_answer(pair: Pair, stream_id: int) -> None:
        pair.server.send_response(stream_id, None, _response(()))
        opened.append(stream_id)

    pair = Pair(begin_answer)
    pair.ask(b"/")
    pair.turn()
    chunk = bytes(65536)
    begin = time.process_time()
    while pair.received < size:
        if pair.server.sendable(opened[0]) >= len(chunk):
            pair.server.send_data(opened[0], chunk)
        pair.turn()
    return pair.received / (time.process_time() - begin)


def streams_per_second_by_h2(streams: int, same: bool) -> float:
    """Return what h2 does in both roles."""

    def connection(client: bool) -> Any:
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        made = h2.connection.H2Connection(config)
        made.initiate_connection()
        return made

    client, server = connection(True), connection(False)
    begin = time.process_time()
    number = finished = 0
    while finished < streams:
        for _ in range(AT_ONCE):
            number += 1
            path = b"/index.php?id=0" if same else b"/index.php?id=%d" % number
            head = [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"example.com"),
                (b":path", path),
                *REQUEST_FIELDS,
            ]
            client.send_headers(client.get_next_available_stream_id(), head, end_stream=True)
        for event in server.receive_data(client.data_to_send()):
            if isinstance(event, h2.events.RequestReceived):
                server.send_headers(event.stream_id, [(b":status", b"200"), *RESPONSE_FIELDS])
                server.send_data(event.stream_id, BODY, end_stream=True)
        for event in client.receive_data(server.data_to_send()):
            if isinstance(event, h2.events.DataReceived):
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                finished += 1
    return streams / (time.process_time() - begin)


def main() -> None:
    """Print all of it, the best of three runs each."""
    for what, same in (("same", True), ("new", False)):
        ours = max(streams_per_second(10000, same) for _ in range(3))
        theirs = max(streams_per_second_by_h2(2000, same) for _ in range(3))
        print(f"streams, {what:<4}  {ours:8,.0f}/s   h2: {theirs:8,.0f}/s")
    rate = max(bytes_per_second(1 << 29) for _ in range(3))
    print(f"one body       {rate / 2**20:8,.0f} MiB/s")


if __name__ == "__main__":
    main()
