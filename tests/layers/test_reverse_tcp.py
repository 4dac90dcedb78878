"""Modes ``reverse:tcp`` and ``reverse:tls``: bytes to one server, and who speaks first."""

from __future__ import annotations

import ssl
from typing import Any

from interceptor.net.memory import HalfCloseRecorder
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.layers.tlscases import TLSLayerTestCase

HOST = "example.test"
GREETING = b"220 example.test at your service\r\n"
GET = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
TCP_EVENTS = ("tcp_start", "tcp_message", "tcp_error", "tcp_end")


class ReverseTestCase(TLSLayerTestCase):
    """Makes proxies in front of one server that speaks no HTTP."""

    scheme = "tcp"

    def start(
        self, *addons: object, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, mode=f"reverse:{self.scheme}://{HOST}:25", **options)
        return proxy, proxy.client(), recorder

    @property
    def trusting_origins(self) -> ssl.SSLContext:
        return client_context(origin_authority().path)

    def tcp_names(self, recorder: EventRecorder) -> list[str]:
        return [name for name in recorder.names if name in TCP_EVENTS]


class TCPTests(ReverseTestCase):
    """``reverse:tcp``: the server is spoken to as it is."""

    def test_a_client_that_speaks_first(self):
        for chunk in (None, 1):
            proxy, client, recorder = self.start(chunk=chunk)
            origin = self.raw_origin(proxy, port=25)
            self.assertEqual(proxy.network.attempts, [])
            client.send(b"PING\r\n")
            origin.protocols[0].write(b"+PONG\r\n")
            proxy.flush()
            self.assertEqual(
                (origin.protocols[0].data, client.received), (b"PING\r\n", b"+PONG\r\n")
            )
            [flow] = recorder.arguments("tcp_start")
            self.assertEqual(flow.mode, "reverse:tcp://example.test:25")

    def test_http_is_not_looked_for(self):
        proxy, client, recorder = self.start()
        origin = self.raw_origin(proxy, port=25)
        client.send(GET)
        self.assertEqual(origin.protocols[0].data, GET)
        self.assertNotIn("requestheaders", recorder.names)

    def test_a_server_that_speaks_first(self):
        proxy, client, recorder = self.start()
        origin = self.raw_origin(proxy, port=25)
        proxy.advance(0.24)
        self.assertEqual(proxy.network.attempts, [])
        proxy.advance(0.01)
        origin.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(client.received, GREETING)
        client.send(b"QUIT\r\n")
        self.assertEqual(origin.protocols[0].data, b"QUIT\r\n")
        self.assertEqual(self.tcp_names(recorder), ["tcp_start", "tcp_message", "tcp_message"])

    def test_without_a_wait_the_server_is_there_at_once(self):
        proxy, client, _ = self.start(detect_timeout=0)
        origin = self.raw_origin(proxy, port=25)
        other = proxy.client()
        origin.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(other.received, GREETING)
        self.assertEqual(client.closed, True)

    def test_eager_connects_at_once_and_keeps_the_greeting(self):
        proxy, _, _ = self.start(connection_strategy="eager")
        origin = self.raw_origin(proxy, port=25)
        client = proxy.client()
        origin.protocols[0].write(GREETING)
        proxy.advance(0.24)
        self.assertEqual(client.received, b"")
        proxy.advance(0.01)
        self.assertEqual(client.received, GREETING)

    def test_eager_while_the_server_is_slow(self):
        proxy, _, _ = self.start(connection_strategy="eager")
        origin = self.raw_origin(proxy, port=25)
        proxy.network.delay((HOST, 25), 3)
        client = proxy.client()
        self.assertEqual(len(proxy.network.attempts), 2)
        proxy.advance(1)
        client.send(b"hello")
        proxy.advance(2)
        self.assertEqual(origin.protocols[-1].data, b"hello")
        self.assertEqual(len(origin.protocols), 1)

    def test_what_a_client_sends_while_its_server_is_connected_to(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy, port=25)
        proxy.network.delay((HOST, 25), 3)
        proxy.advance(1)
        client.send(b"one").send(b" two").end()
        proxy.advance(3)
        [peer] = origin.protocols
        assert isinstance(peer, HalfCloseRecorder)
        self.assertEqual((peer.data, peer.ended), (b"one two", True))
        peer.write(b"three")
        peer.close()
        proxy.flush()
        self.assertEqual((client.received, client.closed), (b"three", True))

    def test_it_is_not_read_from_for_ever_meanwhile(self):
        proxy, client, _ = self.start()
        self.raw_origin(proxy, port=25)
        proxy.network.delay((HOST, 25), 3)
        proxy.advance(1)
        client.send(bytes(70000))
        [session] = proxy.environment.sessions
        self.assertEqual(session.side.reading.reasons, ("backlog",))
        proxy.advance(3)
        self.assertEqual(session.side.reading.reasons, ())

    def test_a_client_that_has_nothing_to_say(self):
        # As `daytime` is asked.
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy, port=25)
        client.end()
        [peer] = origin.protocols
        assert isinstance(peer, HalfCloseRecorder)
        self.assertTrue(peer.ended)
        peer.write(b"today")
        peer.close()
        proxy.flush()
        self.assertEqual((client.received, client.closed), (b"today", True))

    def test_a_server_that_closes_at_once(self):
        proxy, client, recorder = self.start()
        origin = self.raw_origin(proxy, port=25)
        proxy.advance(1)
        origin.protocols[0].close()
        proxy.flush()
        self.assertTrue(client.closed)
        client.close()
        self.assertEqual(self.tcp_names(recorder), ["tcp_start", "tcp_end"])

    def test_a_client_that_leaves_meanwhile(self):
        proxy, client, recorder = self.start()
        proxy.network.stall((HOST, 25))
        proxy.advance(1)
        client.abort()
        self.assertEqual(recorder.names.count("serverconnect_failed"), 1)
        self.assertEqual(proxy.clock.getDelayedCalls(), [])

    def test_no_server(self):
        for send in (b"hello", b""):
            proxy, client, recorder = self.start()
            messages = self.messages()
            client.send(send)
            proxy.advance(1)
            self.assertTrue(client.closed)
            self.assertEqual(self.tcp_names(recorder), ["tcp_start", "tcp_error", "tcp_end"])
            [flow] = recorder.arguments("tcp_error")
            self.assertEqual(flow.error.code, "connect-refused")
            self.assertEqual(flow.server_conn.address, (HOST, 25))
            self.assertEqual(recorder.names.count("serverconnect"), 1)
            self.assertIn("connect-refused", messages.texts[-1])

    def test_no_server_and_nobody_who_listens(self):
        proxy = self.proxy(mode=f"reverse:tcp://{HOST}:25")
        messages = self.messages()
        client = proxy.client().send(b"hello")
        self.assertTrue(client.closed)
        self.assertIn("connect-refused", messages.texts[-1])

    def test_a_hook_sends_it_elsewhere(self):
        def elsewhere(server_conn: Any) -> None:
            server_conn.address = ("other.test", 26)

        recorder = EventRecorder(serverconnect=elsewhere)
        proxy = self.proxy(recorder, mode=f"reverse:tcp://{HOST}:25")
        origin = self.raw_origin(proxy, "other.test", 26)
        proxy.client().send(b"hello")
        self.assertEqual(origin.protocols[0].data, b"hello")


class TCPWithTLSClientTests(ReverseTestCase):
    """``reverse:tcp``: a client's TLS ends here."""

    def test_the_server_gets_plain_bytes(self):
        for chunk in (None, 1):
            proxy, client, recorder = self.start(chunk=chunk)
            origin = self.raw_origin(proxy, port=25)
            client.start_tls("front.test", alpn=("h2", "http/1.1")).send(b"hello")
            origin.protocols[0].write(b"you too")
            proxy.flush()
            self.assertEqual((origin.protocols[0].data, client.received), (b"hello", b"you too"))
            # Nobody knows what is spoken there.
            self.assertIsNone(client.tls.tls.selected_alpn_protocol())
            self.assertEqual(self.tcp_names(recorder)[:2], ["tcp_start", "tcp_message"])

    def test_a_server_that_speaks_first_need_not_be_waited_for_again(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy, port=25)
        client.start_tls("front.test")
        origin.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(client.received, GREETING)

    def test_tls_after_a_greeting_that_was_kept(self):
        proxy, _, _ = self.start(connection_strategy="eager")
        origin = self.raw_origin(proxy, port=25)
        client = proxy.client()
        origin.protocols[0].write(GREETING)
        proxy.flush()
        client.start_tls("front.test")
        self.assertEqual(client.received, GREETING)

    def test_tls_after_the_wait(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy, port=25)
        proxy.advance(1)
        self.assertEqual(len(origin.protocols), 1)
        client.start_tls("front.test").send(b"hello")
        self.assertEqual([peer.data for peer in origin.protocols], [b"hello"])

    def test_a_beginning_that_might_be_tls(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy, port=25)
        client.send(b"\x16")
        self.assertEqual(origin.protocols, [])
        proxy.advance(0.25)
        self.assertEqual(origin.protocols[0].data, b"\x16")

    def test_ignored_hosts_pass_through(self):
        proxy, client, recorder = self.start(ignore_hosts=["example"])
        origin = proxy.tls_origin(port=25)
        client.start_tls(HOST, context=self.trusting_origins).send(b"hello")
        self.assertEqual(origin.received, b"hello")
        [flow] = recorder.arguments("tcp_start")
        self.assertEqual(flow.metadata["passthrough"], "ignore_hosts")


class TLSTests(ReverseTestCase):
    """``reverse:tls``: the server is spoken to in TLS."""

    scheme = "tls"

    def test_a_plain_client(self):
        proxy, client, recorder = self.start()
        origin = proxy.tls_origin(port=25)
        client.send(b"hello")
        origin.send(b"you too")
        self.assertEqual((origin.received, client.received), (b"hello", b"you too"))
        self.assertIsNone(origin.handshakes[0].tls.selected_alpn_protocol())
        [conn] = recorder.arguments("tls_established")
        self.assertEqual(conn.sni, HOST)

    def test_a_plain_client_and_a_server_that_speaks_first(self):
        proxy, client, _ = self.start()
        origin = proxy.tls_origin(port=25)
        proxy.advance(0.25)
        origin.send(GREETING)
        self.assertEqual(client.received, GREETING)

    def test_a_client_with_tls(self):
        for strategy in ("auto", "eager", "lazy"):
            proxy, client, recorder = self.start(connection_strategy=strategy)
            origin = proxy.tls_origin(port=25, alpn=("smtp",))
            client.start_tls("front.test", alpn=("other", "smtp"))
            origin.send(GREETING)
            self.assertEqual(client.received, GREETING)
            client.send(b"QUIT\r\n")
            self.assertEqual(origin.received, b"QUIT\r\n")
            self.assertEqual(len(origin.connections), 1)
            self.assertEqual(
                client.tls.tls.selected_alpn_protocol(), None if strategy == "lazy" else "smtp"
            )
            self.assertEqual(len(recorder.arguments("tls_established")), 2)

    def test_http2_is_passed_on_as_bytes(self):
        proxy, client, recorder = self.start()
        origin = proxy.tls_origin(port=25, alpn=("h2",))
        client.start_tls("front.test", alpn=("h2",)).send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "h2")
        self.assertTrue(origin.received.startswith(b"PRI"))
        self.assertIn("tcp_start", recorder.names)

    def test_tls_after_the_wait(self):
        proxy, client, _ = self.start()
        origin = proxy.tls_origin(port=25)
        proxy.advance(1)
        client.start_tls("front.test").send(b"hello")
        self.assertEqual(origin.received, b"hello")
        self.assertEqual(len(origin.connections), 1)

    def test_ignored_after_the_wait(self):
        proxy, client, _ = self.start(ignore_hosts=["example"])
        origin = proxy.tls_origin(port=25)
        proxy.advance(1)
        client.start_tls(HOST, context=self.trusting_origins).send(b"hello")
        self.assertEqual(origin.connections[-1].data, b"hello")
        self.assertEqual(len(origin.connections), 2)

    def test_no_server(self):
        _, client, _ = self.start()
        client.start_tls("front.test")
        self.assertIn("alert", str(client.tls.error).lower())
        self.assertTrue(client.closed)

    def test_a_server_that_is_not_trusted(self):
        proxy, client, recorder = self.start(ssl_verify_upstream_trusted_ca=None)
        origin = proxy.tls_origin(port=25)
        client.send(b"hello")
        self.assertEqual((origin.received, client.closed), (b"", True))
        [flow] = recorder.arguments("tcp_error")
        self.assertEqual(flow.error.code, "cert-unknown-issuer")
