"""What is found out from the first bytes of either side, and what options say instead."""

from __future__ import annotations

from typing import Any

from interceptor.errors import OptionsError
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.layers.tlscases import OK, TLSLayerTestCase

GET = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GREETING = b"220 example.test at your service\r\n"


class DetectTestCase(TLSLayerTestCase):
    """Makes tunnels."""

    def tunnel(
        self, port: int = 80, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, **options)
        self.raw = self.raw_origin(proxy, port=25)
        self.web = proxy.origin().respond(OK)
        self.secure = proxy.tls_origin(alpn=("h2", "http/1.1")).respond(OK)
        return proxy, proxy.client().connect("example.test", port), recorder


class SilenceTests(DetectTestCase):
    """With the strategy ``lazy`` nobody has connected to a server that may speak first."""

    def test_the_server_is_heard_after_a_while(self):
        proxy, client, _ = self.tunnel(25, connection_strategy="lazy")
        proxy.advance(0.24)
        self.assertEqual(proxy.network.attempts, [])
        proxy.advance(0.01)
        self.raw.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(client.received, GREETING)

    def test_at_once(self):
        proxy, client, _ = self.tunnel(25, connection_strategy="lazy", detect_timeout=0)
        self.raw.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(client.received, GREETING)

    def test_a_client_that_speaks_late_after_all(self):
        proxy, client, recorder = self.tunnel(connection_strategy="lazy")
        proxy.advance(1)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(len(self.web.connections), 1)
        self.assertIn("request", recorder.names)
        proxy, client, recorder = self.tunnel(443, connection_strategy="lazy")
        proxy.advance(1)
        client.start_tls("example.test").send(GET)
        self.assertEqual(self.response(client).content, b"ok")

    def test_a_server_that_is_not_there(self):
        proxy, client, recorder = self.tunnel(26, connection_strategy="lazy")
        proxy.advance(1)
        self.assertTrue(client.closed)
        [flow] = recorder.arguments("tcp_error")
        self.assertEqual(flow.error.code, "connect-refused")

    def test_clients_that_agreed_on_http_begin(self):
        proxy, client, _ = self.tunnel(443, connection_strategy="lazy")
        client.start_tls("example.test")
        proxy.advance(1)
        self.assertEqual(proxy.network.attempts, [])

    def test_in_tls_without_a_word_about_its_content(self):
        proxy, client, _ = self.tunnel(443, connection_strategy="lazy")
        client.start_tls("example.test", alpn=())
        proxy.advance(1)
        self.secure.send(GREETING)
        self.assertEqual(client.received, GREETING)


class PrefaceTests(DetectTestCase):
    """HTTP/2 without TLS is told from HTTP/1 however its beginning is cut."""

    def test_one_letter_decides_nothing(self):
        for data in (b"P", PREFACE[:15]):
            proxy, client, _ = self.tunnel()
            client.send(data)
            [session] = proxy.environment.sessions
            self.assertEqual(session.context.layers[-1].name, "http")
            self.assertEqual(session.context.seen, data)
            other = proxy.client().send(data)
            self.assertEqual(other.received, b"")

    def test_requests_that_begin_alike(self):
        for chunk in (None, 1):
            proxy, client, _ = self.tunnel(chunk=chunk)
            client.send(b"PROPFIND" + GET[3:])
            self.assertEqual(self.response(client).content, b"ok")
            client = proxy.client().send(b"PUT http://example.test" + GET[4:])
            self.assertEqual(self.response(client, b"PUT").content, b"ok")


class TCPHostsTests(DetectTestCase):
    """``tcp_hosts``: nothing but TLS is looked for."""

    def test_http_is_bytes(self):
        for tcp_hosts in ([r"^example\.test:80$"], ["^198", "EXAMPLE"]):
            _, client, recorder = self.tunnel(tcp_hosts=tcp_hosts)
            client.send(GET)
            self.assertEqual(client.received, OK)
            self.assertIn("tcp_message", recorder.names)
            self.assertNotIn("request", recorder.names)

    def test_half_a_line_is_not_waited_for(self):
        _, client, _ = self.tunnel(25, tcp_hosts=["example"])
        client.send(b"stats")
        self.assertEqual(self.raw.protocols[0].data, b"stats")

    def test_others_are_looked_at(self):
        _, client, recorder = self.tunnel(tcp_hosts=["^other"])
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        self.assertIn("request", recorder.names)

    def test_tls_is_opened(self):
        for chunk in (None, 1):
            _, client, recorder = self.tunnel(443, tcp_hosts=["example"], chunk=chunk)
            client.start_tls("example.test", alpn=("h2",)).send(PREFACE)
            self.assertEqual(client.tls.tls.selected_alpn_protocol(), "h2")
            self.assertEqual(self.secure.received, PREFACE)
            first = recorder.arguments("tcp_message")[0]
            self.assertTrue(PREFACE.startswith(first.messages[0].content))
            self.assertEqual(len(recorder.arguments("tls_established")), 2)

    def test_by_the_sni(self):
        _, client, recorder = self.tunnel(443, tcp_hosts=["^front.test:443$"], ssl_insecure=True)
        client.start_tls("front.test", context=client_context(None)).send(GET)
        self.assertEqual(self.secure.received, GET)
        self.assertNotIn("request", recorder.names)

    def test_left_alone_goes_before(self):
        _, client, _ = self.tunnel(443, tcp_hosts=["example"], ignore_hosts=["example"])
        client.start_tls("example.test", context=client_context(origin_authority().path))
        self.assertTrue(client.tls.established)

    def test_a_server_that_speaks_first(self):
        proxy, client, _ = self.tunnel(25, tcp_hosts=["example"])
        self.raw.protocols[0].write(GREETING)
        proxy.flush()
        self.assertEqual(client.received, GREETING)

    def test_lazy(self):
        _, client, _ = self.tunnel(443, tcp_hosts=["example"], connection_strategy="lazy")
        client.start_tls("example.test").send(GET)
        self.assertEqual(self.secure.received, GET)

    def test_what_is_no_expression(self):
        proxy, _, _ = self.tunnel()
        error = self.assertRaises(OptionsError, proxy.options.update, tcp_hosts=["("])
        self.assertIn("option `tcp_hosts`", str(error))

    def test_reverse_modes_say_it_themselves(self):
        proxy = self.proxy(mode="reverse:http://example.test", tcp_hosts=["example"])
        proxy.origin().respond(OK)
        client = proxy.client().send(GET)
        self.assertEqual(self.response(client).content, b"ok")
