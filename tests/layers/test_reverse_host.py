"""The Host field of requests that a reverse proxy gives their server's name."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.flow import HTTPFlow
from interceptor.testing import MemoryClient, MemoryOrigin, MemoryProxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FIELDS = b"X-First: 1\r\nHost: proxy.test\r\nCookie: a=b\r\nConnection: keep-alive\r\n"
SENT = b"X-First: 1\r\nHost: example.test\r\nCookie: a=b\r\n"


class HostTests(SynchronousTestCase):
    def start(self, *addons: object, **options: Any) -> tuple[MemoryClient, MemoryOrigin]:
        proxy = MemoryProxy(*addons, mode="reverse:http://example.test", **options)
        self.addCleanup(proxy.close)
        return proxy.client(), proxy.origin().respond(OK)

    def ask(self, client: MemoryClient, target: bytes, fields: bytes = FIELDS) -> None:
        client.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, fields))
        self.assertEqual(client.take(), OK)

    def test_every_request_of_a_connection_is_given_it(self) -> None:
        client, origin = self.start()
        wanted = b""
        for target in (b"/1", b"/2", b"/3"):
            self.ask(client, target)
            wanted += b"GET %b HTTP/1.1\r\n%b\r\n" % (target, SENT)
        self.assertEqual(origin.received, wanted)

    def test_other_fields_in_between(self) -> None:
        client, origin = self.start()
        other = b"Host: other.test\r\nX: y\r\n"
        for fields in (FIELDS, other, FIELDS):
            self.ask(client, b"/", fields)
        blocks = [bytes(request.headers) for request in origin.requests]
        self.assertEqual(blocks, [SENT, b"Host: example.test\r\nX: y\r\n", SENT])

    def test_a_target_that_names_another_server(self) -> None:
        client, origin = self.start()
        fields = b"Host: proxy.test\r\n"
        for _ in range(2):
            self.ask(client, b"http://proxy.test/", fields)
        hosts = [request.headers["Host"] for request in origin.requests]
        self.assertEqual(hosts, ["example.test"] * 2)

    def test_what_a_hook_makes_of_one_request_is_not_in_the_next(self) -> None:
        class Once:
            done = False

            def request(self, flow: HTTPFlow) -> None:
                if not self.done:
                    self.done = True
                    flow.request.headers["X-First"] = "2"

        client, origin = self.start(Once())
        for _ in range(3):
            self.ask(client, b"/")
        values = [request.headers["X-First"] for request in origin.requests]
        self.assertEqual(values, ["2", "1", "1"])

    def test_the_option_of_a_running_proxy_counts_at_once(self) -> None:
        proxy = MemoryProxy(mode="reverse:http://example.test")
        self.addCleanup(proxy.close)
        client, origin = proxy.client(), proxy.origin().respond(OK)
        for keep in (False, True, False):
            proxy.options.update(keep_host_header=keep)
            self.ask(client, b"/")
        hosts = [request.headers["Host"] for request in origin.requests]
        self.assertEqual(hosts, ["example.test", "proxy.test", "example.test"])
