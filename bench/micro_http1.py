"""What the HTTP/1 codecs cost per head, in microseconds: ``python -m bench.micro_http1``.

A connection's codec recognises a field block that it parsed just before, so each head is measured
both ways: *new* alternates between two blocks of the same length, *same* repeats one.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from itertools import cycle
from typing import Any

from interceptor.model.http import Request
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec

BROWSER = (
    b"GET http://example.com:8080/path/index.html?x=1 HTTP/1.1\r\n"
    b"Host: example.com:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: session=abcdef0123456789; theme=dark\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n\r\n"
)
LOAD = b"GET http://127.0.0.1:8081/1k HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nX-Run: dark\r\n\r\n"
NGINX = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx/1.22.1\r\n"
    b"Date: Sat, 14 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\n"
    b"Content-Length: 1024\r\n"
    b"Last-Modified: Sat, 14 Nov 2026 11:00:00 GMT\r\n"
    b"Connection: keep-alive\r\n"
    b'ETag: "6736-dark"\r\n'
    b"Accept-Ranges: bytes\r\n\r\n"
)
BODY = bytes(1024)
_ROUNDS = 20000


def measure(name: str, work: Callable[[], object]) -> None:
    """Print the best of five runs."""
    best = min(timeit.repeat(work, number=_ROUNDS, repeat=5))
    print(f"{name:<56} {best / _ROUNDS * 1e6:6.2f} µs")


def _variants(head: bytes, same: bool) -> list[bytes]:
    return [head] if same else [head, head.replace(b"dark", b"lite")]


def _server() -> HTTP1ServerCodec:
    return HTTP1ServerCodec(HTTP1Limits(), "repair")


def _request(head: bytes) -> Request:
    codec = _server()
    codec.receive_data(head)
    event: Any = codec.next_event(0.0)
    request: Request = event.request
    return request


def parse_request(head: bytes, same: bool) -> Callable[[], object]:
    """One request's head to its event."""
    codec = _server()
    heads = cycle(_variants(head, same))

    def work() -> None:
        codec.receive_data(next(heads))
        codec.next_event(0.0)
        codec.next_cycle()

    return work


def send_request(head: bytes, same: bool) -> Callable[[], object]:
    """One untouched request's head to bytes."""
    requests = cycle([_request(variant) for variant in _variants(head, same)])
    codec = HTTP1ClientCodec(HTTP1Limits(), "repair")

    def work() -> None:
        codec.send_message(next(requests), b"")
        # The cycle is ended by hand: reading a response is measured by itself.
        codec._state = 8

    return work


def parse_response(head: bytes, same: bool) -> Callable[[], object]:
    """One response's head to its event, the body taken in one piece."""
    codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
    codec.send_message(_request(LOAD), b"")
    messages = cycle([variant + BODY for variant in _variants(head, same)])

    def work() -> None:
        codec.receive_data(next(messages))
        codec.next_event(0.0)
        codec.next_event(0.0)
        codec._state = 0

    return work


def send_response(head: bytes, same: bool) -> Callable[[], object]:
    """One untouched response with its body to bytes."""
    responses = []
    for variant in _variants(head, same):
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
        codec.send_message(_request(LOAD), b"")
        codec.receive_data(variant)
        event: Any = codec.next_event(0.0)
        responses.append(event.response)
    answers = cycle(responses)
    server = _server()
    server.receive_data(LOAD)
    request: Any = server.next_event(0.0)

    def work() -> None:
        server.send_message(request.request, next(answers), BODY)

    return work


def main() -> None:
    """Measure and print."""
    for title, make, head in (
        ("parse a browser's request", parse_request, BROWSER),
        ("parse a load generator's request", parse_request, LOAD),
        ("send the browser's request on", send_request, BROWSER),
        ("parse an nginx response and 1 KiB", parse_response, NGINX),
        ("send it on", send_response, NGINX),
    ):
        for label, same in (("new", False), ("same", True)):
            measure(f"{title}, head of {len(head)} bytes, {label}", make(head, same))


if __name__ == "__main__":
    main()
