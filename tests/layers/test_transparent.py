"""Mode ``transparent``: from the original destination to what is spoken on the way there."""

from __future__ import annotations

from typing import Any

from interceptor.errors import LoopError, UpstreamError
from interceptor.http import Response
from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import OK, EventTestCase, Waiting

GET = b"GET /page HTTP/1.1\r\nHost: name.test\r\n\r\n"
ADDRESS = "192.0.2.80"


class TransparentTestCase(EventTestCase):
    """Makes proxies in mode ``transparent``, whose clients wanted to go to a given address."""

    destination: tuple[str, int] | UpstreamError = (ADDRESS, 80)

    def find(self, transport: Any) -> tuple[str, int]:
        """Stands in for the system."""
        if isinstance(self.destination, UpstreamError):
            raise self.destination
        return self.destination

    def prepare(self, *addons: object, **options: Any) -> tuple[MemoryProxy, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, mode="transparent", **options)
        proxy.environment.original_destination = self.find
        return proxy, recorder


class TunnelTests(TransparentTestCase):
    """What is spoken on the way to the original destination."""

    def test_http(self):
        proxy, recorder = self.prepare()
        origin = proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        self.assertEqual(len(origin.connections), 1)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        [root] = recorder.arguments("clientconnect")
        self.assertEqual(root.client_conn.sockname, (ADDRESS, 80))
        [flow] = recorder.arguments("response")
        self.assertEqual((flow.mode, flow.request.url), ("transparent", f"http://{ADDRESS}/page"))
        self.assertEqual(flow.request.pretty_url, "http://name.test/page")
        self.assertEqual(len(origin.connections), 1)

    def test_byte_by_byte(self):
        proxy, _ = self.prepare(chunk=1)
        proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        client.send(GET)
        self.assertTrue(client.received.endswith(b"ok"))

    def test_https_by_sni(self):
        self.destination = (ADDRESS, 443)
        proxy, recorder = self.prepare(ssl_insecure=True)
        proxy.tls_origin(ADDRESS).respond(OK)
        client = proxy.client().start_tls("name.test")
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.pretty_url, "https://name.test/page")
        self.assertEqual(flow.server_conn.sni, "name.test")

    def test_a_server_that_speaks_first(self):
        self.destination = (ADDRESS, 25)
        proxy, _ = self.prepare()
        origin = self.raw_origin(proxy, ADDRESS, 25)
        client = proxy.client()
        origin.protocols[0].write(b"220 ready\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 ready\r\n")
        client.send(b"QUIT\r\n")
        self.assertEqual(origin.protocols[0].data, b"QUIT\r\n")

    def test_half_close(self):
        proxy, _ = self.prepare()
        origin = self.raw_origin(proxy, ADDRESS)
        client = proxy.client()
        client.send(b"\0all").end()
        [peer] = origin.protocols
        assert isinstance(peer, HalfCloseRecorder)
        self.assertEqual((peer.data, peer.ended), (b"\0all", True))
        peer.write(b"answer")
        proxy.flush()
        self.assertEqual(client.received, b"answer")

    def test_lazy(self):
        proxy, _ = self.prepare(connection_strategy="lazy")
        origin = proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        self.assertEqual(origin.connections, [])
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")

    def test_lazy_and_a_server_that_speaks_first(self):
        self.destination = (ADDRESS, 25)
        proxy, _ = self.prepare(connection_strategy="lazy")
        origin = self.raw_origin(proxy, ADDRESS, 25)
        client = proxy.client()
        self.assertEqual(origin.protocols, [])
        proxy.advance(proxy.options.detect_timeout)
        origin.protocols[0].write(b"220 ready\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 ready\r\n")

    def test_what_comes_while_the_server_is_waited_for(self):
        waiting = Waiting()
        proxy, _ = self.prepare(EventRecorder(serverconnect=waiting))
        proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        client.send(GET[:10])
        client.send(GET[10:])
        self.assertEqual(client.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.response(client).content, b"ok")

    def test_much_while_the_server_is_waited_for(self):
        waiting = Waiting()
        proxy, _ = self.prepare(EventRecorder(serverconnect=waiting))
        origin = self.raw_origin(proxy, ADDRESS)
        client = proxy.client()
        data = b"\0" * 1_000_000
        client.send(data)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(origin.protocols[0].data, data)

    def test_a_client_that_leaves_before_the_server_is_there(self):
        waiting = Waiting()
        proxy, recorder = self.prepare(EventRecorder(serverconnect=waiting))
        origin = proxy.origin(ADDRESS)
        client = proxy.client()
        client.abort()
        self.assertEqual(waiting.cancelled, 1)
        proxy.flush()
        self.assertEqual((origin.connections, proxy.environment.sessions), ([], set()))
        self.assertEqual(recorder.names.count("clientdisconnect"), 1)

    def test_the_proxy_itself(self):
        proxy, _ = self.prepare()
        origin = proxy.origin(ADDRESS)
        proxy.environment.internal_hosts[b"own.test"] = lambda request, client: Response.make(
            200, b"own page"
        )
        client = proxy.client()
        client.send(b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n")
        self.assertEqual(self.response(client).content, b"own page")
        self.assertEqual(origin.received, b"")

    def test_behind_a_load_balancer(self):
        proxy, recorder = self.prepare(proxy_protocol_from=["0.0.0.0/0", "::/0"])
        proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        client.send(b"PROXY TCP4 198.51.100.7 203.0.113.9 4000 99\r\n" + GET)
        self.assertEqual(self.response(client).content, b"ok")
        # Where it goes is what the system says, not the peer.
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.server_conn.address, (ADDRESS, 80))
        self.assertEqual(flow.client_conn.address, ("198.51.100.7", 4000))

    def test_nobody_has_to_authenticate(self):
        proxy, _ = self.prepare(proxyauth="any")
        proxy.origin(ADDRESS).respond(OK)
        client = proxy.client()
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")


class FailureTests(TransparentTestCase):
    """There is no way to the original destination, or none is known."""

    def told(self, proxy: MemoryProxy, status: int, code: bytes) -> MemoryClient:
        """Ask with HTTP; the answer has to have a status and a code."""
        client = proxy.client()
        client.send(GET)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 %d " % status), client.received)
        self.assertIn(code, client.received)
        return client

    def test_nobody_listens(self):
        proxy, recorder = self.prepare()
        self.told(proxy, 502, b"connect-refused")
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.error.code, "connect-refused")
        self.assertEqual(proxy.network.attempts, [(ADDRESS, 80)])

    def test_nobody_listens_and_the_client_does_not_speak_http(self):
        proxy, _ = self.prepare()
        client = proxy.client()
        client.send(b"\0hello")
        self.assertEqual((client.received, client.closed), (b"", True))

    def test_nobody_listens_and_the_client_waits_for_a_greeting(self):
        proxy, recorder = self.prepare(close_timeout=5.0)
        client = proxy.client()
        self.assertFalse(client.closed)
        proxy.advance(5.0)
        self.assertEqual((client.received, client.closed), (b"", True))
        [flow] = recorder.arguments("tcp_error")
        self.assertEqual(flow.error.code, "connect-refused")
        self.assertEqual(proxy.network.attempts, [(ADDRESS, 80)])

    def test_nobody_listens_and_the_client_ends_without_a_word(self):
        messages = self.messages()
        proxy, _ = self.prepare()
        client = proxy.client().end()
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertEqual(str(messages.texts).count("connect-refused"), 1)

    def test_nobody_listens_and_the_client_leaves(self):
        messages = self.messages()
        proxy, _ = self.prepare()
        proxy.client().abort()
        self.assertEqual(str(messages.texts).count("connect-refused"), 1)
        self.assertEqual(proxy.environment.sessions, set())

    def test_a_hook_refuses(self):
        def refuse(server_conn: Any) -> None:
            server_conn.refuse("not there")

        proxy, _ = self.prepare(EventRecorder(serverconnect=refuse))
        proxy.origin(ADDRESS)
        self.told(proxy, 502, b"not there")

    def test_loop(self):
        for strategy in ("auto", "lazy"):
            self.destination = LoopError("192.0.2.80:80 is this proxy's own listener")
            proxy, recorder = self.prepare(connection_strategy=strategy)
            self.told(proxy, 502, b"proxy-loop")
            self.assertEqual(proxy.network.attempts, [])
            [root] = recorder.arguments("clientconnect")
            self.assertIn("own listener", root.client_conn.error)

    def test_unknown(self):
        self.destination = UpstreamError("the system does not tell", "no-destination")
        proxy, _ = self.prepare()
        self.told(proxy, 502, b"no-destination")
        self.assertEqual(proxy.network.attempts, [])
