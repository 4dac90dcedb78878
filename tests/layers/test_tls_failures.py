"""Handshakes that fail: what the client, the log and the flow are told, and that nothing leaks."""

from __future__ import annotations

import random
import ssl
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from interceptor.errors import UpstreamError
from interceptor.layers import HTTPLayer
from interceptor.net.memory import RecorderFactory
from interceptor.net.memorytls import MemoryTLS
from interceptor.testing import EventRecorder, MemoryProxy
from interceptor.wire.tlsalert import ALERTS
from tests.events.cases import Hooks
from tests.layers.tlscases import GET, HOST, OK, POST, TLSLayerTestCase
from tests.net.certificates import DAY, NOW, Certified, authority, issue, rsa_key

ROOT = authority()


def bad_certificates() -> dict[str, tuple[Certified, ...]]:
    """A chain that an origin shows, by the code of what is wrong with it."""
    other = authority(20)
    below = authority(21, issuer=ROOT)
    constrained = authority(
        22,
        issuer=ROOT,
        constraints=x509.NameConstraints([x509.DNSName("elsewhere.test")], None),
    )
    return {
        "cert-expired": (issue(HOST, issuer=ROOT, not_after=NOW - timedelta(hours=1)),),
        "cert-not-yet-valid": (
            issue(HOST, issuer=ROOT, not_before=NOW + timedelta(hours=1), not_after=NOW + DAY),
        ),
        "cert-wrong-host": (issue("other.test", issuer=ROOT),),
        "cert-unknown-issuer": (issue(HOST, issuer=other),),
        "cert-self-signed": (issue(HOST),),
        "cert-no-san": (issue(issuer=ROOT, common_name=HOST),),
        "cert-wrong-purpose": (issue(HOST, issuer=ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH),),
        "cert-weak-key": (issue(HOST, issuer=ROOT, key=rsa_key(1024)),),
        "cert-name-constraint": (issue(HOST, issuer=constrained), constrained),
        "cert-chain-order": (issue(HOST, issuer=below), authority(23, issuer=ROOT)),
    }


class FailureTestCase(TLSLayerTestCase):
    def tls(self, *addons: object, mode: str = "regular", **options: Any) -> Any:
        options.setdefault("ssl_verify_upstream_trusted_ca", self.trusted(ROOT))
        return super().tls(*addons, mode=mode, **options)

    def assert_page(self, client: Any, recorder: EventRecorder, code: str, status: int = 502):
        """The client gets a page inside of a good TLS session, hooks the same code."""
        self.assertTrue(client.tls.established, client.tls.error)
        response = self.get(client)
        self.assertEqual(response.status_code, status)
        self.assertIn(f"interceptor: {code}\n", response.text)
        self.assertEqual(self.code(recorder), code)
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.server_conn.address, (HOST, 443))
        self.assertFalse(flow.server_conn.tls_established)


class CertificateTests(FailureTestCase):
    """Servers that cannot prove who they are."""

    def test_codes(self):
        for code, chain in bad_certificates().items():
            with self.subTest(code):
                messages = self.messages()
                proxy, recorder = self.tls()
                origin = self.bad_origin(proxy, *chain)
                client = proxy.tls_client()
                self.assert_page(client, recorder, code)
                [conn] = recorder.arguments("tls_failed")
                self.assertEqual(conn.tls_error.code, code)
                self.assertEqual(conn.tls_error.peer, "server")
                self.assertTrue(conn.ssl_verification_error)
                self.assertTrue(any(code in text for text in messages.texts))
                # Not one byte of HTTP went there, and nobody waits for any.
                self.assertEqual(origin.received, b"")
                self.assertTrue(all(peer.lost is not None for peer in origin.connections))

    def test_a_plain_client_in_reverse_mode_gets_the_page(self):
        proxy, _ = self.tls(mode="reverse:https://example.test")
        origin = self.bad_origin(proxy, issue(HOST))
        client = proxy.client()
        client.send(POST)
        response = self.response(client)
        self.assertEqual(response.status_code, 502)
        self.assertIn("cert-self-signed", response.text)
        self.assertEqual(origin.received, b"")

    def test_absolute_form_gets_the_page(self):
        proxy, _ = self.tls()
        origin = self.bad_origin(proxy, issue(HOST))
        client = proxy.client()
        client.send(b"GET https://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertIn("cert-self-signed", self.response(client).text)
        self.assertEqual(origin.received, b"")

    def test_lazy_tells_at_the_first_request(self):
        proxy, recorder = self.tls(connection_strategy="lazy")
        origin = self.bad_origin(proxy, issue(HOST))
        client = proxy.tls_client()
        self.assertEqual(origin.handshakes, [])
        self.assert_page(client, recorder, "cert-self-signed")
        self.assertEqual(origin.received, b"")

    def test_a_kept_failure_is_told_to_every_request(self):
        proxy, _ = self.tls()
        origin = self.bad_origin(proxy, issue(HOST))
        client = proxy.tls_client()
        client.peer.write(GET + GET)
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(len(origin.handshakes), 1)

    def test_client_without_http_gets_an_alert(self):
        proxy, _ = self.tls()
        origin = self.bad_origin(proxy, issue(HOST))
        messages = self.messages()
        client = proxy.tls_client(alpn=("surprise",))
        self.assertFalse(client.tls.established)
        self.assertIn("HANDSHAKE_FAILURE", str(client.tls.error))
        self.assertEqual(origin.received, b"")
        self.assertTrue(any("cert-self-signed" in text for text in messages.texts))

    def test_client_without_alpn_that_speaks_no_http_is_dropped(self):
        proxy, _ = self.tls()
        origin = self.bad_origin(proxy, issue(HOST))
        client = proxy.tls_client(alpn=())
        self.assertTrue(client.tls.established)
        client.send(b"\x00\x01\x02\x03")
        self.assertTrue(client.closed)
        self.assertEqual(origin.received, b"")

    def test_client_that_agreed_on_http_and_speaks_something_else_gets_a_page(self):
        proxy, _ = self.tls()
        origin = proxy.tls_origin(context=self.server_context(issue(HOST, issuer=ROOT))).respond(OK)
        client = proxy.tls_client()
        client.send(b"\x00\x01\x02\x03\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 400)
        self.assertEqual(origin.received, b"")


class ExceptionTests(FailureTestCase):
    """``ssl_insecure`` and ``ssl_insecure_hosts``."""

    def assert_overlooked(self, **options: Any) -> None:
        proxy, recorder = self.tls(**options)
        self.bad_origin(proxy, issue("other.test"))
        client = proxy.tls_client()
        self.assertEqual(self.get(client).status_code, 200)
        [flow] = recorder.arguments("response")
        self.assertIn("signed by itself", flow.server_conn.ssl_verification_error)
        self.assertIn("other.test", flow.server_conn.ssl_verification_error)
        self.assertEqual(recorder.arguments("tls_failed"), [])

    def test_for_all(self):
        self.assert_overlooked(ssl_insecure=True)

    def test_for_one(self):
        self.assert_overlooked(ssl_insecure_hosts=[r"^example\.test:443$"])

    def test_not_for_others(self):
        proxy, recorder = self.tls(ssl_insecure_hosts=[r"^other\.test:443$"])
        self.bad_origin(proxy, issue(HOST))
        self.assert_page(proxy.tls_client(), recorder, "cert-self-signed")


class HandshakeTests(FailureTestCase):
    """Servers with which there is no TLS at all."""

    def raw(self, *answers: bytes, close: bool = False, **options: Any) -> Any:
        """A proxy in front of a server that answers a hello with bytes of its own."""
        proxy, recorder = self.tls(**options)
        factory = RecorderFactory()
        proxy.network.listen((HOST, 443), factory)
        client = proxy.client().connect(HOST, 443)
        tls = MemoryTLS(self.client_context(proxy, "http/1.1"), client.peer, server_name=HOST)
        below = client.peer.transport
        client.peer = type(client.peer)()
        tls.protocol = client.peer
        client.tls = tls
        tls.take_over(below)
        proxy.flush()
        [peer] = factory.protocols
        for answer in answers:
            peer.write(answer)
            proxy.flush()
        if close:
            peer.close()
        proxy.flush()
        return proxy, recorder, client, peer

    def test_server_that_speaks_plain_http(self):
        answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        _, recorder, client, peer = self.raw(answer, close=True)
        self.assert_page(client, recorder, "tls-not-tls")
        self.assertNotIn(b"GET", peer.data)

    def test_server_that_hangs(self):
        proxy, recorder, client, _ = self.raw()
        proxy.advance(9.9)
        self.assertFalse(client.tls.established)
        proxy.advance(0.2)
        self.assert_page(client, recorder, "tls-timeout", 504)

    def test_server_that_hangs_up(self):
        _, recorder, client, _ = self.raw(close=True)
        self.assert_page(client, recorder, "tls-closed")

    def test_server_that_sends_an_alert(self):
        _, recorder, client, _ = self.raw(b"\x15\x03\x03\x00\x02\x02\x70", close=True)
        self.assert_page(client, recorder, "tls-alert-unrecognized-name")
        [conn] = recorder.arguments("tls_failed")
        self.assertEqual((conn.tls_error.alert, conn.tls_error.received), (0x70, True))

    def test_garbage(self):
        _, recorder, client, _ = self.raw(b"\x16\x03\x03\x00\x04abcd")
        self.assert_page(client, recorder, "tls-handshake-failed")

    def test_a_servers_alert_is_passed_on_to_clients_without_http(self):
        proxy, _ = self.tls()
        factory = RecorderFactory()
        proxy.network.listen((HOST, 443), factory)
        client = proxy.tls_client(alpn=("surprise",))
        factory.protocols[0].write(b"\x15\x03\x03\x00\x02\x02\x70")
        proxy.flush()
        self.assertIn("UNRECOGNIZED_NAME", str(client.tls.error))

    def test_too_old_a_server(self):
        proxy, _ = self.tls()
        context = self.server_context(issue(HOST, issuer=ROOT))
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        proxy.tls_origin(context=context)
        client = proxy.tls_client()
        self.assertTrue(client.tls.established)
        self.assertIn(
            self.get(client).text.split("interceptor: ")[1].split()[0],
            ("tls-version", "tls-alert-protocol-version"),
        )

    def test_a_legacy_server(self):
        proxy, recorder = self.tls(tls_legacy_hosts=[r"^example\.test:"])
        context = self.server_context(issue(HOST, issuer=ROOT, key=rsa_key(1024)))
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1
        proxy.tls_origin(context=context).respond(OK)
        client = proxy.tls_client()
        self.assertEqual(self.get(client).status_code, 200)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.server_conn.tls_version, "TLSv1")

    def test_ciphers_that_no_server_has(self):
        proxy, recorder = self.tls(
            ciphers_server="ECDHE-RSA-AES128-GCM-SHA256", tls_version_server_max="tls1.2"
        )
        proxy.tls_origin(context=self.server_context(issue(HOST, issuer=ROOT)))
        self.assert_page(proxy.tls_client(), recorder, "tls-alert-handshake-failure")

    def test_unreachable_server_in_reverse_mode(self):
        proxy, _ = self.tls(mode="reverse:https://example.test")
        client = proxy.tls_client()
        self.assertTrue(client.tls.established)
        response = self.get(client)
        self.assertEqual(response.status_code, 502)
        self.assertIn("connect-refused", response.text)

    def test_a_refused_connection_is_told_inside_of_tls(self):
        proxy, _ = self.tls(mode="reverse:https://example.test")
        proxy.network.fail((HOST, 443), UpstreamError("late", "connect-timeout", 504))
        self.assertEqual(self.get(proxy.tls_client()).status_code, 504)

    def test_server_demands_a_client_certificate(self):
        proxy, recorder = self.tls()
        context = self.server_context(issue(HOST, issuer=ROOT))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.trusted(ROOT))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        proxy.tls_origin(context=context)
        client = proxy.tls_client()
        self.assertEqual(self.get(client).status_code, 502)
        self.assertTrue(self.code(recorder).startswith("tls-alert-"), self.code(recorder))


class PlainClientTests(FailureTestCase):
    """Clients that speak plain HTTP where TLS is due."""

    def test_get(self):
        messages = self.messages()
        proxy, recorder = self.tls()
        origin = proxy.tls_origin()
        client = proxy.client().connect(HOST, 443)
        client.send(GET)
        response = self.response(client)
        self.assertEqual(response.status_code, 400)
        self.assertIn("interceptor: client-not-tls\n", response.text)
        self.assertEqual(self.code(recorder), "client-not-tls")
        self.assertTrue(any("client-not-tls" in text for text in messages.texts))
        self.assertTrue(client.closed)
        self.assertEqual(origin.received, b"")
        proxy.advance(10)
        self.assertEqual(proxy.environment.sessions, set())

    def test_other_ports_are_the_servers_own_affair(self):
        proxy, _ = self.tls()
        proxy.origin(port=8080).respond(OK)
        client = proxy.client().connect(HOST, 8080)
        self.assertEqual(self.get(client).status_code, 200)

    def test_a_layer_of_a_hooks_own_may_do_it(self):
        def next_layer(layer):
            if layer.name == "not-tls":
                return HTTPLayer(layer.context, layer.destination)
            return None

        proxy, _ = self.tls(Hooks(next_layer=next_layer))
        proxy.origin(port=443).respond(OK)
        client = proxy.client().connect(HOST, 443)
        self.assertEqual(self.get(client).status_code, 200)

    def test_ignored_hosts_are_passed_on(self):
        proxy, _ = self.tls(ignore_hosts=["example"])
        proxy.origin(port=443).respond(OK)
        client = proxy.client().connect(HOST, 443)
        client.send(GET)
        self.assertEqual(client.received, OK)


class BadHelloTests(FailureTestCase):
    """Hellos that are none."""

    def hello(self, proxy: MemoryProxy) -> bytes:
        """A good one."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.client_context(proxy, "http/1.1").wrap_bio(
            incoming, outgoing, server_hostname=HOST
        )
        self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
        return outgoing.read()

    def send(self, data: bytes, end: bool = False) -> Any:
        proxy, recorder = self.tls()
        origin = proxy.tls_origin()
        client = proxy.client().connect(HOST, 443)
        client.send(data)
        if end:
            client.end()
        return proxy, recorder, client, origin

    def failure(self, recorder: EventRecorder) -> str:
        [conn] = recorder.arguments("tls_failed")
        return str(conn.tls_error.code)

    def test_truncated(self):
        proxy = self.proxy()
        messages = self.messages()
        _, recorder, client, origin = self.send(self.hello(proxy)[:100], end=True)
        self.assertEqual(self.failure(recorder), "tls-truncated")
        self.assertTrue(any("tls-truncated" in text for text in messages.texts))
        self.assertTrue(client.closed)
        self.assertEqual(origin.received, b"")

    def test_half_a_hello_and_no_more(self):
        proxy = self.proxy()
        other, recorder, client, _ = self.send(self.hello(proxy)[:100])
        other.advance(9.9)
        self.assertFalse(client.closed)
        other.advance(0.2)
        self.assertEqual(self.failure(recorder), "tls-timeout")
        self.assertTrue(client.closed)

    def test_malformed(self):
        hello = bytearray(self.hello(self.proxy()))
        # The length of the list of cipher suites.
        hello[5 + 4 + 2 + 32 + 1 + 32] = 0xFF
        _, recorder, client, _ = self.send(bytes(hello))
        self.assertEqual(self.failure(recorder), "tls-hello-malformed")
        self.assertEqual(client.received[:1] + client.received[5:], b"\x15\x02\x32")
        self.assertEqual(ALERTS[0x32], "decode_error")

    def test_fuzzed(self):
        hello = self.hello(self.proxy())
        chance = random.Random(3)
        for _ in range(150):
            damaged = bytearray(hello)
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(5, len(damaged))] = chance.randrange(256)
            proxy, _recorder, client, origin = self.send(bytes(damaged))
            client.end()
            proxy.advance(20)
            proxy.advance(20)
            self.assertEqual(origin.received, b"")
            self.assertTrue(client.closed)
            self.assertEqual(self.flushLoggedErrors(), [])
            proxy.close()

    def test_name_for_which_there_can_be_no_certificate(self):
        hello = self.hello(self.proxy())
        self.assertEqual(hello.count(HOST.encode()), 1)
        _, recorder, client, _ = self.send(hello.replace(HOST.encode(), b"e mple.test."))
        self.assertEqual(self.failure(recorder), "tls-hello-malformed")
        self.assertTrue(client.closed)

    def test_reverse_mode(self):
        proxy, recorder = self.tls(mode="reverse:https://example.test")
        proxy.tls_origin()
        client = proxy.client().send(b"\x16\x03\x01\x00\x02\x01\x00").end()
        self.assertEqual(self.failure(recorder), "tls-truncated")
        self.assertTrue(client.closed)
