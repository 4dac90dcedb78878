"""When servers are connected to: the option ``connection_strategy``."""

from __future__ import annotations

from interceptor.net.memory import RecorderFactory
from tests.layers.test_exchange import OK, ExchangeTestCase

REQUEST = b"GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
CONNECT = b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n"


class ReverseTests(ExchangeTestCase):
    """In reverse mode the server is known from the start."""

    def test_lazy_waits_for_the_request(self):
        proxy, client, _ = self.started(mode="reverse:http://example.test")
        proxy.origin().respond(OK)
        client.send(REQUEST[:10])
        self.assertEqual(proxy.network.attempts, [])

    def test_eager_does_not(self):
        proxy, client, recorder = self.started(
            mode="reverse:http://example.test", connection_strategy="eager"
        )
        origin = proxy.origin().respond(OK)
        client.send(REQUEST[:10])
        self.assertEqual(proxy.network.attempts, [("example.test", 80)])
        client.send(REQUEST[10:])
        self.assertEqual(client.received, OK)
        self.assertEqual(len(origin.connections), 1)
        self.assertLess(
            recorder.names.index("serverconnect"), recorder.names.index("requestheaders")
        )

    def test_a_request_waits_for_the_connection_under_way(self):
        proxy, client, _ = self.started(
            mode="reverse:http://example.test", connection_strategy="eager"
        )
        origin = proxy.origin().respond(OK)
        proxy.network.delay(("example.test", 80), 3)
        client.send(REQUEST)
        self.assertEqual(client.received, b"")
        proxy.advance(3)
        self.assertEqual(client.received, OK)
        self.assertEqual(len(origin.connections), 1)

    def test_a_connection_that_failed_is_tried_again(self):
        proxy, client, recorder = self.started(
            mode="reverse:http://example.test", connection_strategy="eager"
        )
        client.send(REQUEST[:10])
        proxy.origin().respond(OK)
        client.send(REQUEST[10:])
        self.assertEqual(client.received, OK)
        self.assertEqual(recorder.names.count("serverconnect_failed"), 1)

    def test_a_client_that_leaves_takes_it_along(self):
        proxy, client, recorder = self.started(
            mode="reverse:http://example.test", connection_strategy="eager"
        )
        proxy.network.stall(("example.test", 80))
        client.send(REQUEST[:10])
        client.abort()
        self.assertEqual(recorder.names.count("serverconnect_failed"), 1)
        self.assertEqual(proxy.clock.getDelayedCalls(), [])


class ConnectTests(ExchangeTestCase):
    """A tunnel's server is known from the start as well."""

    def test_lazy_answers_at_once(self):
        proxy, client, recorder = self.started(connection_strategy="lazy")
        client.send(CONNECT)
        self.assertIn(b" 200 ", client.take())
        self.assertEqual(proxy.network.attempts, [])
        proxy.origin().respond(OK)
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(client.received, OK)
        self.assertLess(recorder.names.index("request"), recorder.names.index("serverconnect"))

    def test_lazy_relays_what_is_no_http(self):
        proxy, client, _ = self.started(connection_strategy="lazy")
        origin = RecorderFactory()
        proxy.network.listen(("example.test", 80), origin)
        client.send(CONNECT)
        client.take()
        proxy.network.delay(("example.test", 80), 1)
        client.send(b"\x00\x01first")
        client.send(b" second")
        proxy.advance(1)
        self.assertEqual(origin.protocols[0].chunks, [b"\x00\x01first second"])

    def test_auto_connects_first(self):
        _, client, _ = self.started()
        client.send(CONNECT)
        self.assertIn(b" 502 ", client.take())
