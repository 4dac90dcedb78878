"""Mode ``auto``: regular, SOCKS 5 and TLS with the proxy on one port."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.layers.tlscases import OK, TLSLayerTestCase

GET = b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
INSIDE = b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
CREDENTIALS = b"Proxy-Authorization: Basic YW5uYTpzZWNyZXQ=\r\n"
SOCKS_REQUEST = b"\x05\x01\x00\x03\x0cexample.test\x00\x50"
SOCKS_PASSWORD = b"\x01\x04anna\x06secret"


class AutoTestCase(TLSLayerTestCase):
    """A proxy that serves all kinds of clients."""

    def start(self, **options: Any) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, mode="auto", **options)
        self.origin = proxy.origin().respond(OK)
        return proxy, proxy.client(), recorder

    def served(self, client: MemoryClient, recorder: EventRecorder) -> None:
        self.assertEqual(self.response(client).content, b"ok")
        flow = recorder.arguments("response")[-1]
        self.assertEqual((flow.mode, flow.request.url), ("auto", "http://example.test/"))

    def socks(self, client: MemoryClient) -> None:
        """Ask for a tunnel without saying who one is."""
        client.send(b"\x05\x01\x00")
        self.assertEqual(client.take(), b"\x05\x00")
        client.send(SOCKS_REQUEST)
        self.assertEqual(client.take()[:2], b"\x05\x00")
        client.send(INSIDE)


class ClientsTests(AutoTestCase):
    """Who is served, one byte at a time or not."""

    def test_http(self):
        for chunk in (None, 1):
            _, client, recorder = self.start(chunk=chunk)
            client.send(GET + b"\r\n")
            self.served(client, recorder)

    def test_connect(self):
        _, client, recorder = self.start()
        client.connect("example.test", 80).send(INSIDE)
        self.served(client, recorder)
        self.assertIn("http_connect", recorder.names)

    def test_socks(self):
        for chunk in (None, 1):
            _, client, recorder = self.start(chunk=chunk)
            self.socks(client)
            self.served(client, recorder)

    def test_tls_with_the_proxy(self):
        for chunk in (None, 1):
            _, client, recorder = self.start(chunk=chunk)
            client.start_tls("proxy.test").send(GET + b"\r\n")
            self.served(client, recorder)
            _, client, recorder = self.start(chunk=chunk)
            client.start_tls("proxy.test")
            self.socks(client)
            self.served(client, recorder)

    def test_opened_tls(self):
        proxy, _, recorder = self.start()
        proxy.tls_origin().respond(OK)
        self.assertEqual(proxy.get("https://example.test/").content, b"ok")
        self.assertEqual(recorder.arguments("response")[-1].mode, "auto")

    def test_socks_4_is_refused_as_such(self):
        proxy, client, _ = self.start()
        messages = self.messages()
        client.send(b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00")
        self.assertEqual(client.received[:2], b"\x00\x5b")
        self.assertTrue(client.closed)
        self.assertIn("socks-version", messages.texts[-1])
        self.assertEqual(proxy.network.attempts, [])

    def test_what_is_none_of_these(self):
        _, client, recorder = self.start()
        client.send(b"\0\1\2\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 400)
        self.assertEqual(self.code(recorder), "head-malformed")

    def test_who_never_speaks(self):
        proxy, client, _ = self.start(idle_timeout=60.0)
        proxy.advance(61)
        self.assertTrue(client.closed)


class AuthenticationTests(AutoTestCase):
    """``proxyauth`` is for each of them."""

    def start(self, **options: Any) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        return super().start(proxyauth="anna:secret", **options)

    def principal(self, recorder: EventRecorder) -> str | None:
        [flow] = recorder.arguments("response")
        principal: str | None = flow.client_conn.principal
        return principal

    def test_http(self):
        _, client, recorder = self.start()
        client.send(GET + b"\r\n")
        self.assertEqual(self.response(client).status_code, 407)
        self.assertEqual(self.code(recorder), "proxy-auth-required")
        _, client, recorder = self.start()
        client.send(GET + CREDENTIALS + b"\r\n")
        self.served(client, recorder)
        self.assertEqual(self.principal(recorder), "anna")

    def test_connect(self):
        _, client, _ = self.start()
        client.send(b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 407)

    def test_socks(self):
        _, client, _ = self.start()
        client.send(b"\x05\x01\x00")
        self.assertEqual((client.received, client.closed), (b"\x05\xff", True))
        _, client, recorder = self.start()
        client.send(b"\x05\x01\x02" + SOCKS_PASSWORD + SOCKS_REQUEST + INSIDE)
        self.assertEqual(client.take()[:4], b"\x05\x02\x01\x00")
        self.assertEqual(self.principal(recorder), "anna")

    def test_tls_with_the_proxy(self):
        _, client, _ = self.start()
        client.start_tls("proxy.test").send(GET + b"\r\n")
        self.assertEqual(self.response(client).status_code, 407)
        _, client, _ = self.start()
        client.start_tls("proxy.test").send(b"\x05\x01\x00")
        self.assertEqual(client.received, b"\x05\xff")
