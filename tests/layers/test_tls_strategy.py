"""When servers are spoken TLS with, and what becomes of connections that were made too early."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder, MemoryClient, MemoryOrigin, MemoryProxy
from tests.layers.tlscases import GET, HOST, OK, POST, TLSLayerTestCase, names_of


class StrategyTests(TLSLayerTestCase):
    """The option ``connection_strategy``."""

    def opened(self, strategy: str, **more: Any) -> tuple[EventRecorder, MemoryProxy, MemoryClient]:
        proxy, recorder = self.tls(connection_strategy=strategy, **more)
        proxy.tls_origin().respond(OK)
        return recorder, proxy, proxy.tls_client()

    def test_lazy(self):
        recorder, proxy, client = self.opened("lazy")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(names_of(client.tls.certificate), {HOST})
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.1")
        self.assertEqual(self.get(client).status_code, 200)
        names = recorder.names
        self.assertLess(names.index("request"), names.index("serverconnect"))

    def test_auto_and_eager(self):
        for strategy in ("auto", "eager"):
            with self.subTest(strategy):
                recorder, _, client = self.opened(strategy)
                self.assertEqual(self.get(client).status_code, 200)
                names = recorder.names
                self.assertLess(names.index("serverconnect"), names.index("requestheaders"))
                self.assertEqual(names.count("serverconnect"), 1)

    def test_lazy_in_reverse_mode(self):
        _recorder, proxy, client = self.opened("lazy", mode="reverse:https://example.test")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(names_of(client.tls.certificate), {HOST})
        self.assertEqual(self.get(client).status_code, 200)

    def test_eager_for_a_plain_client_in_reverse_mode(self):
        proxy, _ = self.tls(connection_strategy="eager", mode="reverse:https://example.test")
        origin = proxy.tls_origin().respond(OK)
        client = proxy.client().send(GET[:5])
        self.assertEqual(len(origin.handshakes), 1)
        client.send(GET[5:])
        self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(len(origin.handshakes), 1)

    def test_lazy_sends_the_clients_offer_all_the_same(self):
        recorder, _, client = self.opened("lazy")
        self.get(client)
        server_conn = recorder.arguments("tls_established")[1]
        self.assertEqual((server_conn.sni, server_conn.alpn), (HOST, b"http/1.1"))


class StaleTests(TLSLayerTestCase):
    """A connection that was made eagerly and went stale is replaced."""

    def opened(self, **options: Any) -> tuple[MemoryProxy, MemoryOrigin, MemoryClient]:
        proxy, _ = self.tls(**options)
        origin = proxy.tls_origin().respond(OK)
        return proxy, origin, proxy.tls_client()

    def assert_served(self, client: MemoryClient, origin: MemoryOrigin, request: bytes) -> None:
        self.assertFalse(client.closed)
        client.send(request)
        self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(len(origin.requests), 1)
        self.assertEqual(len(origin.handshakes), 2)

    def test_server_that_closes(self):
        for request in (GET, POST):
            _proxy, origin, client = self.opened()
            origin.close()
            self.assert_served(client, origin, request)

    def test_server_that_ends_tls_alone(self):
        for request in (GET, POST):
            proxy, origin, client = self.opened()
            origin.connections[0].close_write()
            proxy.flush()
            self.assert_served(client, origin, request)

    def test_server_that_closes_without_ending_tls(self):
        for request in (GET, POST):
            proxy, origin, client = self.opened()
            origin.handshakes[0].transport.loseConnection()
            proxy.flush()
            self.assert_served(client, origin, request)

    def test_server_that_resets(self):
        for request in (GET, POST):
            _proxy, origin, client = self.opened()
            origin.abort()
            self.assert_served(client, origin, request)

    def test_server_that_says_something_first(self):
        # A server may tell of its idle timeout with a 408, which is the answer to nothing.
        _proxy, origin, client = self.opened()
        origin.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.received, b"")
        self.assert_served(client, origin, POST)

    def test_end_that_comes_while_the_request_is_under_way(self):
        proxy, origin, client = self.opened()
        # The request is there first, the end is found when it is sent.
        client.peer.write(GET)
        origin.connections[0].close()
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 200)

    def test_in_reverse_mode(self):
        proxy, _ = self.tls(mode="reverse:https://example.test")
        origin = proxy.tls_origin().respond(OK)
        client = proxy.tls_client()
        origin.close()
        self.assert_served(client, origin, POST)

    def test_after_a_while(self):
        proxy, origin, client = self.opened()
        proxy.advance(120)
        origin.close()
        proxy.advance(60)
        self.assert_served(client, origin, POST)

    def test_of_no_known_protocol(self):
        proxy, _ = self.tls()
        origin = proxy.tls_origin().respond(OK)
        client = proxy.tls_client(alpn=())
        origin.close()
        proxy.advance(10)
        self.assertFalse(client.closed)
        self.assert_served(client, origin, POST)

    def test_a_greeting_of_no_known_protocol_is_passed_on(self):
        proxy, _ = self.tls()
        origin = proxy.tls_origin()
        client = proxy.tls_client(alpn=())
        origin.send(b"* OK IMAP4rev1\r\n")
        self.assertEqual(client.received, b"* OK IMAP4rev1\r\n")
        client.send(b"a1 NOOP\r\n")
        self.assertEqual(origin.received, b"a1 NOOP\r\n")

    def test_kept_alive(self):
        _proxy, origin, client = self.opened()
        self.assertEqual(self.get(client).status_code, 200)
        self.assertEqual(self.get(client).status_code, 200)
        self.assertEqual(len(origin.handshakes), 1)


class EndTests(TLSLayerTestCase):
    """How bodies and connections end with TLS around them."""

    UNTIL_EOF = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"

    def asked(self, *addons: object) -> tuple[MemoryProxy, MemoryOrigin, MemoryClient]:
        proxy, _ = self.tls(*addons)
        origin = proxy.tls_origin()
        return proxy, origin, proxy.tls_client().send(GET)

    def test_body_until_the_end_of_tls(self):
        _, origin, client = self.asked()
        origin.send(self.UNTIL_EOF)
        origin.close()
        self.assertEqual(self.response(client).content, b"all of it")

    def test_body_without_the_end_of_tls_is_truncated(self):
        proxy, origin, client = self.asked()
        origin.send(self.UNTIL_EOF)
        origin.handshakes[0].transport.loseConnection()
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 502)

    def test_streamed_body_without_the_end_of_tls_is_truncated(self):
        proxy = self.proxy()
        origin = proxy.tls_origin()
        client = proxy.tls_client().send(GET)
        origin.send(self.UNTIL_EOF)
        self.assertIn(b"all of it", client.received)
        origin.handshakes[0].transport.loseConnection()
        proxy.flush()
        self.assertTrue(client.tls.truncated)
        self.assertFalse(client.received.endswith(b"0\r\n\r\n"))

    def test_body_with_a_length_does_not_need_the_end_of_tls(self):
        proxy, origin, client = self.asked()
        origin.send(OK)
        origin.handshakes[0].transport.loseConnection()
        proxy.flush()
        self.assertEqual(self.response(client).content, b"ok")

    def test_client_that_ends_its_direction_gets_its_answer(self):
        _proxy, origin, client = self.asked()
        client.end()
        origin.send(OK)
        self.assertEqual(self.response(client).content, b"ok")

    def test_a_reader_that_pauses_gets_all(self):
        proxy, origin, client = self.asked()
        client.link.client.pauseProducing()
        body = bytes(range(256)) * 8192
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        proxy.advance(20)
        # What was taken from the server waits for the client, in bounds.
        self.assertLess(client.link.server.bytes_written, len(body))
        client.link.client.resumeProducing()
        proxy.flush()
        self.assertEqual(self.response(client).content, body)

    def test_client_that_asks_for_nothing_needs_no_server(self):
        proxy, recorder = self.tls(connection_strategy="lazy", mode="reverse:http://example.test")
        client = proxy.tls_client().end()
        self.assertEqual(proxy.network.attempts, [])
        self.assertTrue(client.tls.ended)
        self.assertEqual(recorder.names.count("clientdisconnect"), 1)
