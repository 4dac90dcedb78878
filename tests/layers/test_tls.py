"""TLS opened on both legs: what each side is told, and what hooks hear of it."""

from __future__ import annotations

import ssl

from twisted.internet.defer import Deferred

from interceptor.http import Request, Response
from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.net.memory import HalfCloseRecorder
from interceptor.net.memorytls import client_context
from interceptor.testing import MemoryProxy, MemoryTLS
from interceptor.wire.tlshello import ClientHello
from tests.events.cases import Guard, Hooks, Waiting
from tests.layers.tlscases import GET, HOST, OK, TLSLayerTestCase, names_of
from tests.net.certificates import authority, issue


class EventTests(TLSLayerTestCase):
    """``tls_clienthello`` and ``tls_established``."""

    def test_order(self):
        proxy, recorder = self.tls()
        proxy.tls_origin().respond(OK)
        client = proxy.tls_client()
        self.get(client)
        self.assertEqual(
            [name for name in recorder.names if name not in ("running", "next_layer")],
            [
                "clientconnect",
                "http_connect",
                "serverconnect",
                "serverconnected",
                "http_connected",
                "tls_clienthello",
                "tls_established",
                "tls_established",
                "requestheaders",
                "request",
                "responseheaders",
                "response",
            ],
        )

    def test_clienthello_tells_what_the_client_asks_for(self):
        proxy, recorder = self.tls()
        proxy.tls_origin()
        proxy.tls_client(alpn=("h2", "http/1.1"))
        [event] = recorder.arguments("tls_clienthello")
        self.assertEqual((event.sni, event.alpn), (HOST, (b"h2", b"http/1.1")))
        self.assertEqual((event.host, event.port), (HOST, 443))
        self.assertIsInstance(event.client_hello, ClientHello)
        self.assertIs(event.context.client_conn, recorder.arguments("clientconnect")[0].client_conn)
        self.assertFalse(event.passthrough)

    def test_established_describes_both_connections(self):
        proxy, recorder = self.tls()
        proxy.tls_origin()
        proxy.tls_client()
        server_conn, client_conn = recorder.arguments("tls_established")
        self.assertIsInstance(server_conn, ServerConnection)
        self.assertIsInstance(client_conn, ClientConnection)
        for conn in (server_conn, client_conn):
            self.assertTrue(conn.tls_established)
            self.assertTrue(conn.ssl_established)
            self.assertEqual(conn.sni, HOST)
            self.assertEqual(conn.alpn, b"http/1.1")
            self.assertEqual(conn.tls_version, "TLSv1.3")
            self.assertTrue(conn.cipher_name.startswith("TLS_"))
            self.assertIsNotNone(conn.timestamp_tls_setup)
            self.assertIsNone(conn.tls_error)
        self.assertEqual(names_of(server_conn.cert), {HOST})
        self.assertIsNone(server_conn.ssl_verification_error)

    def test_flow_has_both_connections(self):
        proxy, recorder = self.tls()
        proxy.tls_origin().respond(OK)
        self.get(proxy.tls_client())
        [flow] = recorder.arguments("response")
        self.assertEqual(
            [flow.server_conn, flow.client_conn], recorder.arguments("tls_established")
        )
        self.assertEqual(flow.request.url, "https://example.test/")

    def test_hello_waits_for_its_hook(self):
        waiting = Waiting()
        proxy, _ = self.hooked_tls(tls_clienthello=waiting)
        proxy.tls_origin().respond(OK)
        client = proxy.tls_client()
        self.assertFalse(client.tls.established)
        waiting.go_on()
        proxy.flush()
        self.assertTrue(client.tls.established)
        self.assertEqual(self.get(client).status_code, 200)

    def test_established_waits_for_its_hooks(self):
        waiting = Waiting()
        proxy, _ = self.hooked_tls(tls_established=waiting)
        origin = proxy.tls_origin().respond(OK)
        client = proxy.tls_client()
        self.assertFalse(client.tls.established)
        waiting.go_on()
        proxy.flush()
        client.send(GET)
        self.assertEqual(origin.requests, [])
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(origin.requests), 1)

    def test_client_that_leaves_while_a_hook_waits_takes_the_server_along(self):
        waiting = Waiting()
        proxy, recorder = self.hooked_tls(tls_established=waiting)
        origin = proxy.tls_origin()
        client = proxy.tls_client()
        client.abort()
        proxy.advance(60)
        self.assertIn("clientdisconnect", recorder.names)
        self.assertIn("serverdisconnect", recorder.names)
        self.assertIsNotNone(origin.connections[0].lost)

    def test_hello_hook_that_fails_closed_ends_the_connection(self):
        for name in ("tls_clienthello", "tls_established"):
            with self.subTest(name):
                proxy, _ = self.tls(self.failing(name))
                origin = proxy.tls_origin().respond(OK)
                client = proxy.tls_client()
                self.assertTrue(client.tls.truncated)
                self.assertEqual(origin.requests, [])
                self.flushLoggedErrors()

    def hooked_tls(self, **hooks):
        return self.tls(Hooks(**hooks))

    def failing(self, name):
        def fail(argument):
            raise RuntimeError("no")

        return Guard(**{name: fail})


class SplitTests(TLSLayerTestCase):
    """However the bytes arrive."""

    def test_byte_by_byte(self):
        recorder_proxy = self.proxy(chunk=1)
        recorder_proxy.tls_origin().respond(OK)
        self.assertEqual(self.get(recorder_proxy.tls_client()).status_code, 200)

    def test_every_cut_of_the_hello(self):
        proxy = self.proxy()
        proxy.tls_origin()
        for cut in range(1, 600, 37):
            with self.subTest(cut):
                client = proxy.client()
                client.connect(HOST, 443)
                client.link.chunk = (cut,)
                client.start_tls(HOST)
                self.assertTrue(client.tls.established)
                client.close()

    def test_hello_together_with_the_connect(self):
        # RFC 9110 section 9.3.6 lets a client send before it has the answer, at its own risk.
        proxy = self.proxy()
        proxy.tls_origin().respond(OK)
        client = proxy.client()
        client.peer.write(b"CONNECT example.test:443 HTTP/1.1\r\nHost: example.test:443\r\n\r\n")
        tls = MemoryTLS(self.client_context(proxy, "http/1.1"), client.peer, server_name=HOST)
        below = client.peer.transport
        answer = b"HTTP/1.1 200 Connection established\r\n\r\n"

        class Answer:
            """Takes the answer to CONNECT off, and lets TLS have the rest."""

            seen = b""

            def dataReceived(self, data: bytes) -> None:
                self.seen += data
                if len(self.seen) >= len(answer):
                    below.protocol = tls
                    tls.dataReceived(self.seen[len(answer) :])

        start = tls.makeConnection
        below.protocol = Answer()
        start(below)
        proxy.flush()
        self.assertTrue(tls.established)


class ALPNTests(TLSLayerTestCase):
    """What is spoken is what the server chose."""

    def offered(self, *client: str, server: tuple[str, ...] = ("http/1.1",), **options):
        proxy, _ = self.tls()
        proxy.options.update(**options)
        offers = []

        context = self.server_context(alpn=server)
        proxy.options.update(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        origin = proxy.tls_origin(context=context).respond(OK)
        recorder_client = proxy.tls_client(alpn=client)
        offers = [each.tls.selected_alpn_protocol() for each in origin.handshakes]
        return recorder_client, offers

    def test_h2_and_http11(self):
        client, [server] = self.offered("h2", "http/1.1", server=("h2", "http/1.1"))
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "h2")
        self.assertEqual(server, "h2")

    def test_server_without_h2(self):
        client, [server] = self.offered("h2", "http/1.1", server=("http/1.1",))
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.1")
        self.assertEqual(server, "http/1.1")
        self.assertEqual(self.get(client).status_code, 200)

    def test_h2_switched_off(self):
        client, [server] = self.offered("h2", "http/1.1", server=("h2", "http/1.1"), http2=False)
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.1")
        self.assertEqual(server, "http/1.1")

    def test_h2_alone_switched_off(self):
        client, [server] = self.offered("h2", server=("h2", "http/1.1"), http2=False)
        self.assertIsNone(client.tls.tls.selected_alpn_protocol())
        self.assertIsNone(server)
        self.assertEqual(self.get(client).status_code, 200)

    def test_h2_for_servers_always(self):
        client, [server] = self.offered("http/1.1", server=("h2", "http/1.1"), h2_upstream="always")
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.1")
        self.assertEqual(server, "h2")

    def test_h2_for_servers_never(self):
        client, [server] = self.offered(
            "h2", "http/1.1", server=("h2", "http/1.1"), h2_upstream="never"
        )
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.1")
        self.assertEqual(server, "http/1.1")

    def test_none(self):
        client, [server] = self.offered()
        self.assertIsNone(client.tls.tls.selected_alpn_protocol())
        self.assertIsNone(server)
        self.assertEqual(self.get(client).status_code, 200)

    def test_http10(self):
        client, [server] = self.offered("http/1.0", "http/1.1", server=("http/1.0",))
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "http/1.0")
        self.assertEqual(server, "http/1.0")

    def test_unknown(self):
        client, [server] = self.offered("surprise", server=("other", "surprise"))
        self.assertEqual(client.tls.tls.selected_alpn_protocol(), "surprise")
        self.assertEqual(server, "surprise")

    def test_server_that_chooses_none(self):
        client, [server] = self.offered("http/1.1", server=())
        self.assertIsNone(client.tls.tls.selected_alpn_protocol())
        self.assertIsNone(server)
        self.assertEqual(self.get(client).status_code, 200)

    def test_an_unknown_protocol_is_passed_on(self):
        context = self.server_context(alpn=("surprise",))
        proxy, _ = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        origin = proxy.tls_origin(context=context)
        client = proxy.tls_client(alpn=("surprise",))
        client.send(b"\x00\x01\x02")
        self.assertEqual(origin.received, b"\x00\x01\x02")
        origin.send(b"\x03")
        self.assertEqual(client.received, b"\x03")


class NameTests(TLSLayerTestCase):
    """SNI is passed on; certificates are for what the client asked for, and what the server is."""

    def test_sni_is_passed_on(self):
        seen = []
        context = self.server_context()
        context.sni_callback = lambda tls, name, context: seen.append(name)
        proxy, _ = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        proxy.tls_origin("192.0.2.9", context=context).respond(OK)
        client = proxy.client().connect("192.0.2.9", 443).start_tls(HOST)
        self.assertEqual(seen, [HOST])
        self.assertTrue(client.tls.established)

    def test_the_certificate_has_to_be_for_the_sni(self):
        proxy, recorder = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        self.bad_origin(proxy, issue("192.0.2.9", issuer=authority()), host="192.0.2.9")
        client = proxy.client().connect("192.0.2.9", 443).start_tls(HOST)
        self.assertEqual(self.get(client).status_code, 502)
        self.assertEqual(self.code(recorder), "cert-wrong-host")

    def test_no_sni_stays_none(self):
        seen = []
        context = self.server_context()
        context.sni_callback = lambda tls, name, context: seen.append(name)
        proxy, recorder = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        proxy.tls_origin(context=context).respond(OK)
        client = proxy.client().connect(HOST, 443)
        client.start_tls(None)
        self.assertEqual(seen, [None])
        self.assertEqual(names_of(client.tls.certificate), {HOST})
        self.assertIsNone(recorder.arguments("tls_clienthello")[0].sni)
        self.assertEqual(self.get(client).status_code, 200)

    def test_address(self):
        proxy, _ = self.tls()
        proxy.tls_origin("192.0.2.9").respond(OK)
        client = proxy.tls_client("192.0.2.9")
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(names_of(client.tls.certificate), {"192.0.2.9"})

    def test_address_of_version_6(self):
        proxy, _ = self.tls()
        proxy.tls_origin("2001:db8::1").respond(OK)
        client = proxy.tls_client("2001:db8::1")
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(names_of(client.tls.certificate), {"2001:db8::1"})

    def test_names_are_mirrored(self):
        names = {HOST, "*.example.test", "other.test", "192.0.2.9"}
        proxy, _ = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        self.bad_origin(proxy, issue(*names, issuer=authority()))
        self.assertEqual(names_of(proxy.tls_client().tls.certificate), names)

    def test_a_hook_chooses_the_sni(self):
        seen = []
        context = self.server_context(issue("inside.test", issuer=authority()))
        context.sni_callback = lambda tls, name, context: seen.append(name)

        def serverconnect(server_conn):
            server_conn.sni = "inside.test"

        proxy, _ = self.tls(
            Hooks(serverconnect=serverconnect),
            ssl_verify_upstream_trusted_ca=self.trusted(authority()),
        )
        proxy.tls_origin(context=context).respond(OK)
        client = proxy.tls_client()
        self.assertEqual(seen, ["inside.test"])
        # What the client called it is there too, or it would not have it.
        self.assertEqual(names_of(client.tls.certificate), {HOST, "inside.test"})
        self.assertEqual(self.get(client).status_code, 200)

    def test_a_redirected_request_is_for_the_other_server(self):
        def request(flow):
            flow.request.host = "other.test"

        proxy, recorder = self.tls(Hooks(request=request))
        proxy.tls_origin().respond(OK)
        other = proxy.tls_origin("other.test").respond(OK)
        self.assertEqual(self.get(proxy.tls_client()).status_code, 200)
        self.assertEqual(len(other.requests), 1)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.server_conn.sni, "other.test")

    def test_own_certificate(self):
        own = authority(77)
        leaf = issue("*.example.test", issuer=own)
        proxy, _ = self.tls(certs=[f"*.example.test={self.pem(leaf, own)}"])
        proxy.tls_origin("www.example.test")
        context = ssl.create_default_context(cafile=self.trusted(own))
        client = proxy.tls_client("www.example.test", context=context)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(client.tls.certificate, leaf.certificate)


class ClientTests(TLSLayerTestCase):
    """Clients that can do only some of it."""

    def limited(self, **attributes):
        proxy, recorder = self.tls(**attributes.pop("options", {}))
        proxy.tls_origin().respond(OK)
        context = self.client_context(proxy, "http/1.1")
        for name, value in attributes.items():
            setattr(context, name, value)
        return proxy, recorder, context

    def test_tls12_with_ecdsa_alone(self):
        proxy, _, context = self.limited(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE+ECDSA")
        client = proxy.tls_client(context=context)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertIn("ECDSA", client.tls.tls.cipher()[0])

    def test_tls12_with_rsa_alone(self):
        proxy, _, context = self.limited(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE+aRSA")
        client = proxy.tls_client(context=context)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertIn("RSA", client.tls.tls.cipher()[0])
        self.assertEqual(self.get(client).status_code, 200)

    def test_too_old_a_version(self):
        proxy, recorder, context = self.limited(
            minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
        )
        context.set_ciphers("ALL:@SECLEVEL=0")
        client = proxy.tls_client(context=context)
        self.assertFalse(client.tls.established)
        [conn] = recorder.arguments("tls_failed")
        self.assertEqual(conn.tls_error.code, "tls-version")
        self.assertIn("TLSV1_ALERT_PROTOCOL_VERSION", str(client.tls.error))

    def test_old_versions_where_they_are_allowed(self):
        proxy, _, context = self.limited(
            minimum_version=ssl.TLSVersion.TLSv1,
            maximum_version=ssl.TLSVersion.TLSv1,
            options={
                "tls_version_client_min": "tls1.0",
                "ciphers_client": "ALL:@SECLEVEL=0",
            },
        )
        context.set_ciphers("ALL:@SECLEVEL=0")
        client = proxy.tls_client(context=context)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(client.tls.tls.version(), "TLSv1")

    def test_ciphers(self):
        proxy, _, context = self.limited(
            maximum_version=ssl.TLSVersion.TLSv1_2,
            options={"ciphers_client": "ECDHE-ECDSA-AES256-GCM-SHA384"},
        )
        client = proxy.tls_client(context=context)
        self.assertEqual(client.tls.tls.cipher()[0], "ECDHE-ECDSA-AES256-GCM-SHA384")

    def test_client_that_does_not_trust_us(self):
        proxy, recorder = self.tls()
        origin = proxy.tls_origin()
        messages = self.messages()
        client = proxy.tls_client(context=ssl.create_default_context())
        self.assertFalse(client.tls.established)
        [conn] = recorder.arguments("tls_failed")
        error = conn.tls_error
        self.assertEqual(
            (error.code, error.alert, error.received, error.peer),
            ("client-distrusts-ca", 48, True, "client"),
        )
        self.assertIn("client-distrusts-ca", " ".join(messages.texts))
        self.assertIsNotNone(origin.connections[0].lost)

    def test_client_that_leaves_in_the_handshake(self):
        proxy, recorder = self.tls()
        proxy.tls_origin()
        client = proxy.client().connect(HOST, 443)
        client.link.server.high_water = 10
        context = self.client_context(proxy)
        tls = MemoryTLS(context, client.peer, server_name=HOST)
        tls.take_over(client.peer.transport)
        client.link.client.pauseProducing()
        proxy.flush()
        client.link.client.abortConnection()
        proxy.flush()
        self.assertEqual(
            [conn.tls_error.code for conn in recorder.arguments("tls_failed")], ["tls-closed"]
        )


class ProxyTLSTests(TLSLayerTestCase):
    """TLS with the proxy itself, and TLS in TLS."""

    def over_tls(self, proxy: MemoryProxy):
        context = client_context(proxy.ca_file, ("http/1.1",), check_names=False)
        client = proxy.client()
        client.start_tls(None, context=context)
        return client

    def test_plain_requests(self):
        proxy, recorder = self.tls()
        proxy.origin().respond(OK)
        client = self.over_tls(proxy)
        client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 200)
        [event] = recorder.arguments("tls_clienthello")
        self.assertEqual((event.host, event.port), (None, 0))

    def test_certificate_is_for_the_address_of_the_listener(self):
        proxy, _ = self.tls()
        client = self.over_tls(proxy)
        self.assertEqual(names_of(client.tls.certificate), {"proxy.test"})

    def test_certificate_is_for_the_name_that_is_asked_for(self):
        proxy, _ = self.tls()
        client = proxy.client()
        client.start_tls("my-proxy.test")
        self.assertTrue(client.tls.established, client.tls.error)

    def test_tls_in_tls(self):
        proxy, recorder = self.tls()
        proxy.tls_origin().respond(OK)
        client = self.over_tls(proxy)
        client.connect(HOST, 443)
        client.start_tls(HOST)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(names_of(client.tls.certificate), {HOST})
        self.assertEqual(self.get(client).status_code, 200)
        self.assertEqual(recorder.names.count("tls_established"), 3)

    def test_tls_in_opened_tls(self):
        proxy, recorder = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        origin = proxy.tls_origin(context=self.server_context(alpn=("surprise",)))
        client = proxy.tls_client(alpn=("surprise",))
        outer = origin.connections[0]
        spoken = HalfCloseRecorder()
        MemoryTLS(self.server_context(), spoken, server=True).take_over(outer.transport)
        client.start_tls(HOST)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(recorder.names.count("tls_established"), 4)
        client.send(GET)
        self.assertEqual(spoken.data, GET)

    def test_a_large_body_through_tls_in_tls(self):
        body = bytes(range(256)) * 4096
        proxy, _ = self.tls()
        proxy.tls_origin().respond(Response.make(200, body))
        client = self.over_tls(proxy)
        client.connect(HOST, 443).start_tls(HOST)
        self.assertEqual(self.get(client).content, body)


class ReverseTests(TLSLayerTestCase):
    """Reverse mode in front of a server that speaks TLS."""

    def test_plain_client(self):
        proxy, recorder = self.tls(mode="reverse:https://example.test")
        origin = proxy.tls_origin().respond(OK)
        client = proxy.client()
        client.send(b"GET /path HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 200)
        [request] = origin.requests
        self.assertEqual((request.path, request.headers["Host"]), ("/path", HOST))
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.url, "https://example.test/path")
        self.assertEqual(flow.server_conn.sni, HOST)

    def test_tls_client(self):
        proxy, recorder = self.tls(mode="reverse:https://example.test")
        origin = proxy.tls_origin().respond(OK)
        client = proxy.tls_client("my-front.test")
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(names_of(client.tls.certificate), {HOST, "my-front.test"})
        self.assertEqual(self.get(client).status_code, 200)
        self.assertEqual(len(origin.handshakes), 1)
        server_conn, client_conn = recorder.arguments("tls_established")
        self.assertEqual((server_conn.sni, client_conn.sni), (HOST, "my-front.test"))

    def test_tls_client_that_names_nobody(self):
        proxy, _ = self.tls(mode="reverse:https://example.test")
        proxy.tls_origin().respond(OK)
        client = proxy.client()
        client.start_tls(None)
        self.assertEqual(names_of(client.tls.certificate), {HOST, "proxy.test"})
        self.assertEqual(self.get(client).status_code, 200)

    def test_tls_client_in_front_of_a_plain_server(self):
        proxy, recorder = self.tls(mode="reverse:http://example.test")
        origin = proxy.origin().respond(OK)
        client = proxy.tls_client("my-front.test")
        self.assertEqual(self.get(client).status_code, 200)
        self.assertEqual(len(origin.requests), 1)
        self.assertEqual(recorder.names.count("tls_established"), 1)

    def test_a_server_that_is_an_address(self):
        proxy, _ = self.tls(mode="reverse:https://192.0.2.9:8443")
        seen = []
        context = self.server_context(issue("192.0.2.9", issuer=authority()))
        context.sni_callback = lambda tls, name, context: seen.append(name)
        proxy.options.update(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        proxy.tls_origin("192.0.2.9", 8443, context=context).respond(OK)
        client = proxy.tls_client("my-front.test")
        self.assertEqual(seen, [None])
        self.assertEqual(self.get(client).status_code, 200)


class RequestTests(TLSLayerTestCase):
    """What the published test doubles do."""

    def test_a_request_to_an_https_url(self):
        proxy, _ = self.tls()
        origin = proxy.tls_origin(port=8443).respond(OK)
        response = proxy.send(Request.make("PUT", "https://example.test:8443/x", b"body"))
        self.assertEqual(response.content, b"ok")
        [request] = origin.requests
        self.assertEqual((request.method, request.path, request.content), ("PUT", "/x", b"body"))

    def test_absolute_form_for_https(self):
        # Clients that leave TLS to the proxy: RFC 9112 section 3.2.2 allows any scheme.
        proxy, _ = self.tls()
        proxy.tls_origin().respond(OK)
        client = proxy.client()
        client.send(b"GET https://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 200)

    def test_deferreds_are_what_hooks_may_return(self):
        waiting: Deferred[None] = Deferred()
        proxy, _ = self.tls(Hooks(request=lambda flow: waiting))
        proxy.tls_origin().respond(OK)
        client = proxy.tls_client().send(GET)
        self.assertEqual(client.received, b"")
        waiting.callback(None)
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 200)
