"""Proxies in a ring, told by Via."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import GET, OK
from tests.layers.test_nexthop import NextHopCase


def with_via(request: bytes, *values: str) -> bytes:
    """A request with Via fields."""
    lines = "".join(f"Via: {value}\r\n" for value in values).encode()
    return request.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n")


CONNECT = b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n"


class ViaTests(NextHopCase):
    """What next hops are sent, and servers are not."""

    def via(self, data: bytes) -> list[str]:
        """The Via fields in some head."""
        head = data.partition(b"\r\n\r\n")[0].decode()
        return [line[5:] for line in head.split("\r\n") if line.lower().startswith("via: ")]

    def test_requests(self):
        proxy, factory, _ = self.chained("http")
        proxy.origin().respond(OK)
        client = proxy.client().send(with_via(GET, "1.0 first, 1.1 second"))
        self.assertEqual(self.response(client).content, b"ok")
        [head] = factory.heads
        self.assertEqual(
            self.via(head), ["1.0 first, 1.1 second", f"1.1 {proxy.environment.ring.name}"]
        )

    def test_connect(self):
        proxy, factory, _ = self.chained("http")
        proxy.origin().respond(OK)
        proxy.client().send(with_via(CONNECT, "1.0 first", "1.1 second"))
        [head] = factory.heads
        self.assertEqual(
            self.via(head), [f"1.0 first, 1.1 second, 1.1 {proxy.environment.ring.name}"]
        )

    def test_lazy(self):
        proxy, factory, _ = self.chained("http", connection_strategy="lazy")
        proxy.origin().respond(OK)
        client = proxy.client().send(with_via(CONNECT, "1.0 first"))
        client.take()
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(
            self.via(factory.heads[0]), [f"1.0 first, 1.1 {proxy.environment.ring.name}"]
        )

    def test_never(self):
        proxy, factory, _ = self.chained("http", via="never")
        proxy.origin().respond(OK)
        name = proxy.environment.ring.name
        proxy.client().send(with_via(GET, *[f"1.1 {name}"] * 5))
        proxy.client().send(CONNECT)
        self.assertEqual([len(self.via(head)) for head in factory.heads], [5, 0])

    def test_servers_are_told_only_if_wanted(self):
        for wanted in (False, True):
            proxy = self.proxy(via="always" if wanted else "auto")
            origin = proxy.origin().respond(OK)
            client = proxy.client()
            for _ in range(2):
                client.send(GET)
                self.assertEqual(self.response(client).content, b"ok")
            name = f"1.1 {proxy.environment.ring.name}"
            self.assertEqual(
                [request.headers.get_all("via") for request in origin.requests],
                [[name] if wanted else []] * 2,
            )

    def test_always_and_a_next_hop(self):
        proxy, factory, _ = self.chained("http", via="always", via_limit=1)
        proxy.origin().respond(OK)
        name = f"1.1 {proxy.environment.ring.name}"
        client = proxy.client().send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        proxy.client().send(CONNECT)
        self.assertEqual([self.via(head) for head in factory.heads], [[name], [name]])

    def test_a_request_that_is_sent_again(self):
        proxy = self.proxy(via="always", via_limit=1)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        client.send(GET)
        self.response(client)
        # It is only noticed when the next request has been sent.
        origin.respond(OK, lambda request: None)
        client.send(GET)
        origin.abort()
        origin.respond(OK)
        name = f"1.1 {proxy.environment.ring.name}"
        self.assertEqual(
            {tuple(request.headers.get_all("via")) for request in origin.requests}, {(name,)}
        )


class RingTests(NextHopCase):
    """Requests that have been here before."""

    def check_ring(self, client: MemoryClient, proxy: MemoryProxy) -> None:
        """The client is told, and nobody was asked."""
        response = self.response(client)
        self.assertEqual(response.status_code, 508)
        self.assertIn(b"interceptor: proxy-ring\n", response.content)
        self.assertEqual(proxy.network.attempts, [])

    def passed(self, proxy: MemoryProxy, times: int) -> tuple[str, ...]:
        """The Via fields of a request that was here so many times."""
        name = proxy.environment.ring.name
        return ("1.1 other (a, comment)", ", 1.1 other, ".join([f"1.1 {name}"] * times))

    def test_requests(self):
        proxy, _, recorder = self.chained("http")
        proxy.origin().respond(OK)
        client = proxy.client().send(with_via(GET, *self.passed(proxy, 2)))
        self.assertEqual(self.response(client).content, b"ok")
        proxy, _, recorder = self.chained("http")
        self.check_ring(proxy.client().send(with_via(GET, *self.passed(proxy, 3))), proxy)
        self.assertEqual(self.code(recorder), "proxy-ring")

    def test_connect(self):
        proxy, _, _ = self.chained("http", via_limit=1)
        self.check_ring(proxy.client().send(with_via(CONNECT, *self.passed(proxy, 1))), proxy)

    def test_in_a_tunnel_that_was_asked_for(self):
        proxy, _, _ = self.chained("http", via_limit=1, connection_strategy="lazy")
        client = proxy.client().send(with_via(CONNECT, *self.passed(proxy, 1)))
        client.take()
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.check_ring(client, proxy)

    def test_a_hook_chose_the_next_hop(self):
        def choose(server_conn: Any) -> None:
            server_conn.via = "http://hop.test:3128"

        proxy = self.proxy(EventRecorder(serverconnect=choose), via_limit=1)
        self.check_ring(proxy.client().send(with_via(GET, *self.passed(proxy, 1))), proxy)

    def test_always(self):
        proxy = self.proxy(via="always", via_limit=1)
        self.check_ring(proxy.client().send(with_via(GET, *self.passed(proxy, 1))), proxy)

    def test_names_like_ours(self):
        proxy, _, _ = self.chained("http", via_limit=1)
        proxy.origin().respond(OK)
        name = proxy.environment.ring.name
        client = proxy.client().send(with_via(GET, f"1.1 {name}0, 1.1 x{name}, {name}"))
        self.assertEqual(self.response(client).content, b"ok")

    def test_told_by_the_next_hop(self):
        proxy, factory, _ = self.chained("http")
        factory.answer = b"HTTP/1.1 508 Loop Detected\r\nContent-Length: 0\r\n\r\n"
        response = self.response(proxy.client().send(CONNECT))
        self.assertEqual(response.status_code, 508)
        self.assertIn(b"interceptor: proxy-ring\n", response.content)
