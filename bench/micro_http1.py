"""What the HTTP/1 codecs cost per head, in microseconds: ``python -m bench.micro_http1``."""

from __future__ import annotations

import timeit
from collections.abc import Callable

from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import RequestHead, ResponseHead

_BROWSER_FIELDS = (
    b"Host: example.com:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\n"
    b"Cookie: session=abcdef0123456789; theme=dark\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n\r\n"
)
BROWSER = b"GET http://example.com:8080/path/index.html?x=1 HTTP/1.1\r\n" + _BROWSER_FIELDS
LOAD = b"GET http://127.0.0.1:8081/1k HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n\r\n"
NGINX = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx/1.22.1\r\n"
    b"Date: Sat, 14 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\n"
    b"Content-Length: 1024\r\n"
    b"Last-Modified: Sat, 14 Nov 2026 11:00:00 GMT\r\n"
    b"Connection: keep-alive\r\n"
    b'ETag: "6736-400"\r\n'
    b"Accept-Ranges: bytes\r\n\r\n"
)
BODY = bytes(1024)
_ROUNDS = 20000


def measure(name: str, work: Callable[[], object]) -> None:
    """Print the best of five runs."""
    best = min(timeit.repeat(work, number=_ROUNDS, repeat=5))
    print(f"{name:<58} {best / _ROUNDS * 1e6:6.2f} µs")


def _requests(head: bytes) -> Callable[[], object]:
    codec = HTTP1ServerCodec(HTTP1Limits(), "repair")

    def work() -> None:
        codec.receive_data(head)
        codec.next_event(0.0)
        codec.next_cycle()

    return work


def _one_request(head: bytes) -> RequestHead:
    codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
    codec.receive_data(head)
    event = codec.next_event(0.0)
    assert isinstance(event, RequestHead)
    return event


def _cycle(request_head: bytes, response: bytes, emit: bool) -> Callable[[], object]:
    """A whole exchange in memory, with or without sending the response on."""
    limits = HTTP1Limits()
    server = HTTP1ServerCodec(limits, "repair")
    client = HTTP1ClientCodec(limits, "repair")

    def work() -> None:
        server.receive_data(request_head)
        request = server.next_event(0.0).request  # type: ignore[union-attr]
        client.send_message(request, b"")
        client.receive_data(response)
        head = client.next_event(0.0)
        assert isinstance(head, ResponseHead)
        data = client.next_event(0.0)
        if emit:
            server.send_message(request, head.response, data.data)  # type: ignore[union-attr]
        client.next_cycle()
        server.next_cycle()

    return work


def main() -> None:
    """Measure and print."""
    for name, head in (("browser", BROWSER), ("load generator", LOAD)):
        measure(f"parse request, {name}, {len(head)} bytes", _requests(head))
        request = _one_request(head).request
        client = HTTP1ClientCodec(HTTP1Limits(), "repair")

        def send(client: HTTP1ClientCodec = client, request: object = request) -> None:
            client.send_message(request, b"")  # type: ignore[arg-type]
            client.receive_data(b"HTTP/1.1 204 \r\n\r\n")
            client.next_event(0.0)
            client.next_cycle()

        measure(f"send it on, untouched, and parse a bare 204, {name}", send)
    measure(
        "parse both heads, send the request on, 1 KiB body", _cycle(LOAD, NGINX + BODY, emit=False)
    )
    measure(
        "the same, and send the response on: one whole exchange",
        _cycle(LOAD, NGINX + BODY, emit=True),
    )

    client = HTTP1ClientCodec(HTTP1Limits(), "repair")
    request = _one_request(LOAD).request
    prepared = client.send_head(request, 0)
    assert prepared
    client.send_end()

    def response() -> None:
        # A response head by itself: an informational one may be followed by any number of others.
        client.receive_data(NGINX_HINTS)
        client.next_event(0.0)
        client._informational = 0

    measure(f"parse response, nginx, {len(NGINX_HINTS)} bytes", response)


NGINX_HINTS = NGINX.replace(b"200 OK", b"103 Early Hints").replace(b"Content-Length", b"X-Length")

if __name__ == "__main__":
    main()
