"""Mode ``reverse`` without a server: backends by SNI and Host."""

from __future__ import annotations

from typing import Any

from interceptor.layers.destinations import by_name
from interceptor.model.modes import parse_mode
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.layers.tlscases import OK, TLSLayerTestCase

BACKENDS = (
    "api.test=http://one.internal:8001",
    "*.apps.test=https://two.internal",
    "db.test=tls://three.internal:5432",
    "raw.test=tcp://four.internal:5433",
)


def get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class BackendTestCase(TLSLayerTestCase):
    """A listener, and four servers behind it."""

    def start(
        self, *backends: str, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(
            recorder, mode="reverse", reverse_backends=backends or BACKENDS, **options
        )
        self.one = proxy.origin("one.internal", 8001).respond(OK)
        self.two = proxy.tls_origin("two.internal", 443).respond(OK)
        self.three = proxy.tls_origin("three.internal", 5432, alpn=("postgresql",))
        self.four = self.raw_origin(proxy, "four.internal", 5433)
        return proxy, proxy.client(), recorder


class HostTests(BackendTestCase):
    """Plain HTTP: the Host of each request."""

    def test_each_request_goes_to_its_own(self):
        _, client, recorder = self.start()
        for host in ("api.test", "shop.apps.test:8080", "API.TEST"):
            client.send(get(host))
            self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(
            [request.headers["Host"] for request in self.one.requests], ["one.internal:8001"] * 2
        )
        self.assertEqual(
            [request.headers["Host"] for request in self.two.requests], ["two.internal"]
        )
        self.assertEqual(len(self.one.connections), 1)
        [first, second, third] = recorder.arguments("response")
        self.assertEqual(first.mode, "reverse")
        self.assertEqual(second.request.url, "https://two.internal/")
        self.assertEqual(third.server_conn.address, ("one.internal", 8001))

    def test_the_host_may_be_kept(self):
        _, client, _ = self.start(keep_host_header=True)
        client.send(get("shop.apps.test"))
        self.assertEqual(self.two.requests[0].headers["Host"], "shop.apps.test")

    def test_the_target_counts_where_it_names_a_host(self):
        _, client, _ = self.start()
        client.send(b"GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n")
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(self.one.requests[0].path, "/x")

    def test_no_backend(self):
        for host in ("other.test", "apps.test", "raw.test", "db.test"):
            _, client, recorder = self.start()
            client.send(get(host))
            response = self.response(client)
            self.assertEqual(response.status_code, 421)
            self.assertIn("interceptor: backend-unknown", response.text or "")
            self.assertEqual(self.code(recorder), "backend-unknown")
            [flow] = recorder.arguments("error")
            self.assertEqual(flow.request.pretty_url, f"http://{host}/")
            self.assertTrue(client.closed)

    def test_all_others(self):
        _, client, _ = self.start(*BACKENDS, "*=http://one.internal:8001")
        client.send(get("other.test"))
        self.assertEqual(self.response(client).content, b"ok")

    def test_what_is_no_http(self):
        _, client, recorder = self.start()
        client.send(b"\0\1\2\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 400)
        self.assertEqual(self.code(recorder), "head-malformed")

    def test_connect_and_credentials_are_for_proxies(self):
        _, client, recorder = self.start(proxyauth="any")
        client.send(get("api.test"))
        self.assertEqual(self.response(client).status_code, 200)
        client.send(b"CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n\r\n")
        self.assertEqual(self.code(recorder), "connect-not-allowed")

    def test_a_change_counts_from_the_next_request_on(self):
        proxy, client, _ = self.start()
        client.send(get("api.test"))
        proxy.options.update(reverse_backends=("api.test=https://two.internal",))
        client.send(get("api.test"))
        self.assertEqual((len(self.one.requests), len(self.two.requests)), (1, 1))


class SNITests(BackendTestCase):
    """TLS: the name in the client's hello."""

    def test_https(self):
        _, client, recorder = self.start()
        client.start_tls("shop.apps.test").send(get("shop.apps.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(self.two.handshakes[0].tls.selected_alpn_protocol(), "http/1.1")
        # The connection that was made to know its certificate serves the request.
        self.assertEqual(len(self.two.connections), 1)
        [hello] = recorder.arguments("tls_clienthello")
        self.assertEqual((hello.host, hello.port), ("two.internal", 443))

    def test_http_behind_tls(self):
        _, client, _ = self.start()
        client.start_tls("api.test").send(get("api.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(len(self.one.requests), 1)

    def test_another_host_in_the_same_connection(self):
        _, client, _ = self.start()
        client.start_tls("shop.apps.test").send(get("api.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual((len(self.one.requests), len(self.two.requests)), (1, 0))
        client.send(get("other.test"))
        self.assertEqual(self.response(client).status_code, 421)

    def test_bytes(self):
        _, client, recorder = self.start()
        client.start_tls("db.test", alpn=("postgresql",)).send(get("api.test"))
        self.assertEqual(self.three.received, get("api.test"))
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "postgresql")
        self.assertIn("tcp_start", recorder.names)

    def test_bytes_without_tls_on_the_other_leg(self):
        proxy, client, _ = self.start()
        client.start_tls("raw.test")
        self.four.protocols[0].write(b"220 hello\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 hello\r\n")

    def test_no_backend(self):
        for name in ("other.test", None):
            _, client, recorder = self.start()
            client.start_tls(name, context=client_context(None))
            self.assertIn("UNRECOGNIZED_NAME", str(client.tls.error))
            self.assertTrue(client.closed)
            [conn] = recorder.arguments("tls_failed")
            self.assertEqual((conn.tls_error.code, conn.sni), ("backend-unknown", name))

    def test_all_others(self):
        for name in ("other.test", None):
            _, client, _ = self.start("*=https://two.internal")
            client.start_tls(name, context=client_context(None)).send(get("other.test"))
            self.assertEqual(self.response(client).content, b"ok")

    def test_left_alone(self):
        _, client, _ = self.start(ignore_hosts=["^two"])
        context = client_context(origin_authority().path, check_names=False)
        client.start_tls("shop.apps.test", context=context).send(get("shop.apps.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertEqual(self.two.requests[0].headers["Host"], "shop.apps.test")

    def test_byte_by_byte(self):
        _, client, _ = self.start(chunk=1)
        client.start_tls("shop.apps.test").send(get("shop.apps.test"))
        self.assertEqual(self.response(client).content, b"ok")


class BytesForTheRestTests(BackendTestCase):
    """The backend for all others takes bytes, and may be the one that speaks first."""

    def rest(self, **options: Any) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        return self.start(*BACKENDS, "*=tcp://four.internal:5433", **options)

    def test_bytes(self):
        _, client, _ = self.rest()
        client.send(b"\0\1\2")
        self.assertEqual(self.four.protocols[0].data, b"\0\1\2")

    def test_a_server_that_speaks_first(self):
        proxy, client, _ = self.rest()
        proxy.advance(0.25)
        self.four.protocols[0].write(b"220 hello\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 hello\r\n")

    def test_http_is_found_all_the_same(self):
        for chunk in (None, 1):
            _, client, _ = self.rest(chunk=chunk)
            client.send(get("api.test"))
            self.assertEqual(self.response(client).content, b"ok")
            self.assertEqual(self.four.protocols, [])

    def test_after_the_wait(self):
        proxy, client, recorder = self.rest()
        proxy.advance(1)
        client.send(get("api.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertIn("serverdisconnect", recorder.names)
        proxy, client, recorder = self.rest()
        proxy.advance(1)
        client.start_tls("shop.apps.test").send(get("shop.apps.test"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertIn("serverdisconnect", recorder.names)
        proxy, client, recorder = self.rest()
        proxy.advance(1)
        client.start_tls("other.test").send(b"hello")
        self.assertEqual([peer.data for peer in self.four.protocols], [b"hello"])

    def test_half_a_line(self):
        proxy, client, _ = self.rest()
        client.send(b"GET")
        self.assertEqual(self.four.protocols, [])
        proxy.advance(0.25)
        self.assertEqual(self.four.protocols[0].data, b"GET")


class ModeTests(BackendTestCase):
    """Which modes have backends."""

    def test_only_reverse_without_a_server(self):
        for text, expected in (
            ("reverse", True),
            ("reverse:http://a", False),
            ("regular", False),
            ("socks5", False),
        ):
            self.assertEqual(by_name(parse_mode(text)), expected)

    def test_they_do_not_concern_a_mode_with_a_server(self):
        proxy = self.proxy(mode="reverse:http://one.internal:8001", reverse_backends=BACKENDS)
        origin = proxy.origin("one.internal", 8001).respond(OK)
        proxy.client().send(get("shop.apps.test"))
        self.assertEqual(len(origin.requests), 1)
