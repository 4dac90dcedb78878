"""Servers by way of other proxies, in memory."""

from __future__ import annotations

import base64
import itertools
from typing import Any

from twisted.internet.defer import fail

from interceptor.config import gather_options
from interceptor.errors import LoopError, OptionsError, UpstreamError
from interceptor.layers.nexthop import NextHops
from interceptor.model.http import Response
from interceptor.model.nexthop import NextHop
from interceptor.net.memorytls import MemoryTLS, client_context, origin_authority
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy, make_options
from tests.events.cases import EventTestCase, Hooks
from tests.nexthops import HTTPHop, NextHopFactory, SOCKSHop

SCHEMES = ("http", "https", "socks5", "socks5h")
HOP = ("hop.test", 3128)
SERVER_ADDRESS = "192.0.2.99"
BASIC = b"Basic " + base64.b64encode(b"user:secret")


class NextHopCase(EventTestCase):
    """Makes proxies with a next hop at ``hop.test``, port 3128."""

    def next_hop(self, proxy: MemoryProxy, scheme: str) -> NextHopFactory:
        def connect(address: tuple[str, int], make: Any) -> Any:
            # The next hop has its own idea of names.
            names = {SERVER_ADDRESS: "example.test"}
            place = (names.get(address[0], address[0]), address[1])
            return proxy.network.connect(place, make, timeout=10)

        kind = SOCKSHop if scheme.startswith("socks") else HTTPHop
        factory = NextHopFactory(kind, connect)
        listener: Any = factory
        if scheme == "https":
            listener = _OverTLS(factory)
        proxy.network.listen(HOP, listener)
        proxy.network.names["example.test"] = (SERVER_ADDRESS,)
        return factory

    def chained(
        self, scheme: str, *addons: object, mode: str = "", **options: Any
    ) -> tuple[MemoryProxy, NextHopFactory, EventRecorder]:
        """Return a proxy in ``mode``, by default upstream mode, its next hop, and a recorder."""
        recorder = EventRecorder()
        hop = f"{scheme}://hop.test:3128"
        if mode:
            options["upstream_proxy"] = hop
        proxy = self.proxy(recorder, *addons, mode=mode or f"upstream:{hop}", **options)
        return proxy, self.next_hop(proxy, scheme), recorder

    def get(self, proxy: MemoryProxy, url: str = "http://example.test/") -> MemoryClient:
        """Ask for ``url``, as a client of a proxy does."""
        host = url.split("/")[2]
        return proxy.client().send(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    def ask(self, proxy: MemoryProxy, port: int = 443) -> MemoryClient:
        """Ask for a tunnel to ``example.test``."""
        return proxy.client().send(f"CONNECT example.test:{port} HTTP/1.1\r\n\r\n".encode())

    def check_refused(
        self, client: MemoryClient, proxy: MemoryProxy, code: str, status: int = 502
    ) -> None:
        """The client was told of a failure, and nothing but the next hop was dialled."""
        response = self.response(client)
        self.assertEqual(response.status_code, status)
        self.assertIn(f"interceptor: {code}\n".encode(), response.content)
        self.assertIn(b"hop.test:3128", response.content)
        self.assertEqual(set(proxy.network.attempts), {HOP})


class _OverTLS:
    """Puts TLS under the protocols of a factory."""

    def __init__(self, factory: NextHopFactory) -> None:
        self._factory = factory
        self._context = origin_authority().context("hop.test", alpn=["http/1.1"])

    def doStart(self) -> None:
        pass

    def doStop(self) -> None:
        pass

    def buildProtocol(self, addr: Any) -> Any:
        return MemoryTLS(self._context, self._factory.buildProtocol(addr), server=True)


class MatrixTests(NextHopCase):
    """Each mode, by way of each kind of next hop, with each kind of traffic."""

    def check_way(self, scheme: str, hop: NextHopFactory, proxy: MemoryProxy, port: int) -> None:
        kind = "socks" if scheme.startswith("socks") else "connect"
        host = SERVER_ADDRESS if scheme == "socks5" else "example.test"
        self.assertEqual(hop.asked, [(kind, host, port)], scheme)
        self.check_dials(proxy, port)

    def check_dials(self, proxy: MemoryProxy, port: int) -> None:
        # The first is the proxy's, the second the next hop's.
        self.assertEqual(proxy.network.attempts, [HOP, ("example.test", port)])

    def test_http_1(self):
        for scheme, reverse in itertools.product(SCHEMES, (False, True)):
            mode = "reverse:http://example.test" if reverse else "regular"
            proxy, hop, recorder = self.chained(scheme, mode=mode)
            origin = proxy.origin().respond(Response.make(200, b"hello"))
            client = proxy.client()
            for _ in range(2):
                if reverse:
                    client.send(b"GET /a HTTP/1.1\r\nHost: example.test\r\n\r\n")
                else:
                    client.send(b"GET http://example.test/a HTTP/1.1\r\nHost: example.test\r\n\r\n")
                self.assertEqual(self.response(client).content, b"hello")
            self.assertEqual([each.url for each in origin.requests], ["http://example.test/a"] * 2)
            [server_conn] = recorder.arguments("serverconnected")
            self.assertEqual(server_conn.via, NextHop(scheme, *HOP))
            self.assertEqual(server_conn.address, ("example.test", 80))
            if scheme.startswith("socks"):
                self.check_way(scheme, hop, proxy, 80)
            else:
                self.assertEqual(hop.asked, [("request", "example.test", 80)])
                self.check_dials(proxy, 80)

    def test_https(self):
        for scheme, reverse in itertools.product(SCHEMES, (False, True)):
            mode = "reverse:https://example.test" if reverse else "regular"
            proxy, hop, recorder = self.chained(scheme, mode=mode)
            proxy.tls_origin().respond(Response.make(200, b"secret"))
            client = proxy.tls_client("example.test")
            client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
            self.assertEqual(self.response(client).content, b"secret")
            self.check_way(scheme, hop, proxy, 443)
            [server_conn] = recorder.arguments("serverconnected")
            self.assertTrue(server_conn.tls_established)
            self.assertEqual(server_conn.sni, "example.test")
            self.assertEqual(recorder.names.count("tls_failed"), 0)

    def test_raw_tunnel(self):
        for scheme in SCHEMES:
            proxy, hop, _ = self.chained(scheme, mode="regular")
            origin = self.raw_origin(proxy, port=7)
            client = proxy.client().connect("example.test", 7)
            client.send(b"\x00ping")
            [peer] = origin.protocols
            peer.write(b"\x00pong")
            proxy.flush()
            self.assertEqual((peer.data, client.received), (b"\x00ping", b"\x00pong"))
            self.check_way(scheme, hop, proxy, 7)
            client.close()
            proxy.flush()
            self.assertTrue(peer.ended)

    def test_bytes_to_one_server(self):
        for scheme, secure in itertools.product(SCHEMES, (False, True)):
            mode = "reverse:tls://example.test:7" if secure else "reverse:tcp://example.test:7"
            proxy, hop, recorder = self.chained(scheme, mode=mode)
            origin: Any = proxy.tls_origin(port=7) if secure else self.raw_origin(proxy, port=7)
            client = proxy.client().send(b"ping")
            self.check_way(scheme, hop, proxy, 7)
            [peer] = origin.connections if secure else origin.protocols
            peer.write(b"pong")
            proxy.flush()
            self.assertEqual((peer.data, client.received), (b"ping", b"pong"))
            [flow] = recorder.arguments("tcp_start")
            self.assertEqual(flow.server_conn.via, NextHop(scheme, *HOP))
            # One that is silent, and one that speaks TLS.
            silent = proxy.client()
            proxy.advance(1)
            [_, peer] = origin.connections if secure else origin.protocols
            peer.write(b"220 hello")
            proxy.flush()
            self.assertEqual(silent.received, b"220 hello")
            proxy.client().start_tls("front.test").send(b"ping")
            [_, _, peer] = origin.connections if secure else origin.protocols
            self.assertEqual(peer.data, b"ping")
            self.assertEqual({HOP, ("example.test", 7)}, set(proxy.network.attempts))

    def test_bytes_when_the_next_hop_is_down(self):
        for scheme, secure in itertools.product(SCHEMES, (False, True)):
            mode = "reverse:tls://example.test:7" if secure else "reverse:tcp://example.test:7"
            proxy, _, recorder = self.chained(scheme, mode=mode)
            self.raw_origin(proxy, port=7)
            proxy.network.refuse(HOP)
            silent = proxy.client()
            client = proxy.client().send(b"ping")
            proxy.advance(1)
            self.assertEqual((client.closed, silent.closed), (True, True))
            for flow in recorder.arguments("tcp_error"):
                self.assertEqual(flow.error.code, "upstream-proxy-unreachable")
            self.assertEqual(set(proxy.network.attempts), {HOP})

    def test_backends(self):
        for scheme in SCHEMES:
            proxy, hop, _ = self.chained(
                scheme, mode="reverse", reverse_backends=["front.test=https://example.test"]
            )
            proxy.tls_origin().respond(Response.make(200, b"secret"))
            client = proxy.client().start_tls("front.test")
            client.send(b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n")
            self.assertEqual(self.response(client).content, b"secret")
            self.check_way(scheme, hop, proxy, 443)

    def test_a_server_that_speaks_first(self):
        for scheme in SCHEMES:
            proxy, _, _ = self.chained(scheme, mode="regular")
            factory = self.raw_origin(proxy, port=25)
            client = proxy.client().connect("example.test", 25)
            factory.protocols[0].write(b"220 hello\r\n")
            proxy.flush()
            self.assertEqual(client.received, b"220 hello\r\n")

    def test_passthrough(self):
        for scheme, reverse in itertools.product(SCHEMES, (False, True)):
            mode = "reverse:https://example.test" if reverse else "regular"
            proxy, hop, _ = self.chained(scheme, mode=mode, ignore_hosts=["example.test"])
            origin = proxy.tls_origin().respond(Response.make(200, b"untouched"))
            client = proxy.client()
            if not reverse:
                client.connect("example.test", 443)
            # The client sees the server's own certificate.
            context = client_context(origin_authority().path, ("http/1.1",))
            client.start_tls("example.test", context=context)
            client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
            self.assertEqual(self.response(client).content, b"untouched")
            self.assertEqual(len(origin.requests), 1)
            self.check_way(scheme, hop, proxy, 443)

    def test_in_any_pieces(self):
        for scheme in SCHEMES:
            proxy, _, _ = self.chained(scheme, mode="regular", chunk=1)
            proxy.tls_origin().respond(Response.make(200, b"secret"))
            self.assertEqual(proxy.get("https://example.test/").content, b"secret")


class FailureTests(NextHopCase):
    """A next hop that fails: the client hears of it, and nothing is dialled in its stead."""

    def test_down(self):
        asks: tuple[Any, ...] = (self.get, self.ask)
        for scheme, ask in itertools.product(SCHEMES, asks):
            proxy, _, recorder = self.chained(scheme)
            proxy.origin()
            proxy.network.refuse(HOP)
            self.check_refused(ask(proxy), proxy, "upstream-proxy-unreachable")
            self.assertEqual(recorder.names.count("serverconnect_failed"), 1)
            self.assertEqual(recorder.names.count("serverconnected"), 0)
            self.assertEqual(self.code(recorder), "upstream-proxy-unreachable")

    def test_silent_below(self):
        proxy, _, _ = self.chained("http", connect_timeout=3.0)
        proxy.network.stall(HOP)
        client = self.get(proxy)
        proxy.advance(3)
        self.check_refused(client, proxy, "upstream-proxy-unreachable", 504)

    def test_silent(self):
        for scheme in SCHEMES:
            proxy, hop, recorder = self.chained(scheme, connect_timeout=3.0)
            hop.answer = b""
            client = self.ask(proxy)
            proxy.advance(2.9)
            self.assertEqual(client.received, b"")
            proxy.advance(0.2)
            self.check_refused(client, proxy, "upstream-proxy-timeout", 504)
            self.assertEqual(recorder.names.count("serverconnect_failed"), 1)

    def test_what_it_says_makes_no_sense(self):
        for scheme in SCHEMES:
            proxy, hop, _ = self.chained(scheme)
            hop.answer = b"SSH-2.0-OpenSSH\r\n\r\n"
            self.check_refused(self.ask(proxy), proxy, "upstream-proxy-malformed")

    def test_it_closes(self):
        for scheme in SCHEMES:
            proxy, hop, recorder = self.chained(scheme)
            hop.answer = b""
            client = self.ask(proxy)
            hop.hops[0].transport.loseConnection()
            proxy.flush()
            self.check_refused(client, proxy, "upstream-proxy-disconnected")
            self.assertEqual(recorder.names.count("serverdisconnect"), 0)

    def test_it_refuses(self):
        for scheme in SCHEMES:
            proxy, hop, _ = self.chained(scheme)
            proxy.network.refuse(("example.test", 443))
            response = self.response(self.ask(proxy))
            self.assertIn(b"interceptor: upstream-proxy-refused\n", response.content)
            self.assertEqual(len(hop.asked), 1)
            self.assertEqual(proxy.network.attempts, [HOP, ("example.test", 443)])

    def test_the_answer_of_a_next_hop_to_a_request_is_passed_on(self):
        proxy, _, recorder = self.chained("http")
        proxy.network.refuse(("example.test", 80))
        self.assertEqual(self.response(self.get(proxy)).status_code, 502)
        self.assertEqual(self.ends(recorder), ["response"])

    def test_it_is_not_trusted(self):
        proxy, _, recorder = self.chained("https", ssl_verify_upstream_trusted_ca=None)
        for client in (self.ask(proxy), self.get(proxy)):
            response = self.response(client)
            self.assertIn(b"next hop https://hop.test:3128: ", response.content)
            self.assertIn(b"interceptor: cert-unknown-issuer\n", response.content)
        self.assertEqual(set(proxy.network.attempts), {HOP})
        self.assertEqual(recorder.names.count("tls_failed"), 0)
        self.assertEqual(recorder.names.count("serverconnect_failed"), 2)

    def test_it_is_the_proxy_itself(self):
        proxy, _, _ = self.chained("http")
        self.patch(proxy.network, "connect", _looping)
        response = self.response(self.get(proxy))
        self.assertIn(b"interceptor: proxy-loop\nnext hop http://hop.test", response.content)

    def test_the_client_leaves_while_it_is_asked(self):
        for scheme in SCHEMES:
            proxy, hop, recorder = self.chained(scheme)
            hop.answer = b""
            client = self.ask(proxy)
            client.abort()
            self.assertFalse(proxy.network.links[-1].open)
            self.assertEqual(recorder.names.count("serverconnect_failed"), 1)
            self.assertEqual(self.flushLoggedErrors(), [])


def _looping(address: Any, make: Any, **more: Any) -> Any:
    return fail(LoopError("it is this proxy's own listener"))


class NameTests(NextHopCase):
    """Who looks up names."""

    def test_socks5h_looks_up_nothing(self):
        for mode in ("regular", "reverse:http://example.test"):
            proxy, hop, _ = self.chained("socks5h", mode=mode)
            proxy.origin().respond(Response.make(200))
            self.patch(proxy.network, "resolve", self.fail)
            client = proxy.client()
            client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
            self.assertEqual(self.response(client).status_code, 200)
            self.assertEqual(hop.asked, [("socks", "example.test", 80)])

    def test_socks5_looks_up_once_a_connection(self):
        proxy, _, recorder = self.chained("socks5")
        proxy.origin().respond(Response.make(200))
        self.get(proxy)
        self.assertEqual(proxy.network.lookups, ["example.test"])
        [server_conn] = recorder.arguments("serverconnected")
        self.assertEqual(server_conn.ip_address, (SERVER_ADDRESS, 80))

    def test_socks5_tries_one_address_after_the_other(self):
        proxy, hop, recorder = self.chained("socks5")
        proxy.origin().respond(Response.make(200))
        proxy.network.names["example.test"] = ("2001:db8::1", SERVER_ADDRESS)
        self.assertEqual(self.response(self.get(proxy)).status_code, 200)
        self.assertEqual([host for _, host, _ in hop.asked], ["2001:db8::1", SERVER_ADDRESS])
        self.assertEqual(recorder.names.count("serverconnect"), 1)
        self.assertEqual(recorder.names.count("serverconnected"), 1)

    def test_socks5_and_a_name_that_does_not_resolve(self):
        proxy, _, recorder = self.chained("socks5")
        error = UpstreamError("cannot resolve example.test: no such host", "dns-failed")
        self.patch(proxy.network, "resolve", lambda host, timeout: fail(error))
        response = self.response(self.get(proxy))
        self.assertIn(b"dns-failed\n%b\n" % str(error).encode(), response.content)
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(recorder.names.count("serverconnect_failed"), 1)

    def test_the_address_of_the_server_is_unknown_where_it_is_not_resolved_here(self):
        for scheme in ("http", "https", "socks5h"):
            proxy, _, recorder = self.chained(scheme)
            proxy.origin().respond(Response.make(200))
            self.get(proxy)
            [server_conn] = recorder.arguments("serverconnected")
            self.assertIsNone(server_conn.ip_address)
            self.assertIsNotNone(server_conn.timestamp_tcp_setup)


class HookTests(NextHopCase):
    """What hooks see of next hops, and decide."""

    def test_http_connect_comes_first_and_may_end_it(self):
        def refuse(flow: Any) -> None:
            self.assertEqual(self.network.attempts, [])
            flow.response = Response.make(403)

        for scheme in SCHEMES:
            proxy, _, _ = self.chained(scheme, Hooks(http_connect=refuse))
            self.network = proxy.network
            self.assertEqual(self.response(self.ask(proxy)).status_code, 403)
            self.assertEqual(proxy.network.attempts, [])

    def test_via_is_there_before_the_connect(self):
        proxy, _, _ = self.chained("http")
        seen: list[Any] = []
        proxy.tester.chain.add(
            Hooks(serverconnect=lambda conn: seen.append((str(conn.via), conn.address)))
        )
        self.get(proxy)
        self.assertEqual(seen, [("http://hop.test:3128", ("example.test", 80))])

    def test_a_hook_sets_it(self):
        for via in ("http://hop.test:3128", NextHop("http", *HOP)):
            hook = Hooks(serverconnect=lambda conn, via=via: setattr(conn, "via", via))
            proxy = self.proxy(recorder := EventRecorder(), hook)
            hop = self.next_hop(proxy, "http")
            proxy.origin().respond(Response.make(200))
            self.assertEqual(proxy.get("http://example.test/").status_code, 200)
            self.assertEqual(hop.asked, [("request", "example.test", 80)])
            [server_conn] = recorder.arguments("serverconnected")
            self.assertEqual(server_conn.via, NextHop("http", *HOP))

    def test_a_hook_takes_it_away(self):
        hook = Hooks(serverconnect=lambda conn: setattr(conn, "via", None))
        proxy, _, _ = self.chained("http", hook)
        proxy.origin().respond(Response.make(200))
        self.assertEqual(self.response(self.get(proxy)).status_code, 200)
        self.assertEqual(proxy.network.attempts, [("example.test", 80)])

    def test_a_hook_sets_nonsense(self):
        for via in ("", "nonsense", "http://user:secret@hop.test", ("hop.test", 3128)):
            hook = Hooks(serverconnect=lambda conn, via=via: setattr(conn, "via", via))
            proxy, _, recorder = self.chained("http", hook)
            response = self.response(self.get(proxy))
            self.assertIn(b"interceptor: upstream-proxy-invalid\n", response.content)
            self.assertNotIn(b"secret", response.content)
            self.assertEqual(proxy.network.attempts, [])
            self.assertEqual(recorder.names.count("serverconnect_failed"), 1)

    def test_a_hook_changes_the_address(self):
        # The request's own target would still name the old one.
        hook = Hooks(serverconnect=lambda conn: setattr(conn, "address", ("other.test", 81)))
        proxy, hop, _ = self.chained("http", hook)
        proxy.origin("other.test", 81).respond(Response.make(200))
        self.assertEqual(self.response(self.get(proxy)).status_code, 200)
        self.assertEqual(hop.asked, [("connect", "other.test", 81)])

    def test_each_mode_has_its_name(self):
        proxy, _, recorder = self.chained("http")
        self.get(proxy)
        [flow] = recorder.arguments("requestheaders")
        self.assertEqual(flow.mode, "upstream:http://hop.test:3128")


class RequestTests(NextHopCase):
    """Plain HTTP requests to a next hop that speaks HTTP."""

    def test_absolute_form_on_a_connection_that_is_kept(self):
        proxy, hop, recorder = self.chained("http")
        origin = proxy.origin().respond(Response.make(200))
        client = proxy.client()
        for path in (b"a", b"b"):
            client.send(b"GET http://example.test/%b HTTP/1.1\r\nHost: example.test\r\n\r\n" % path)
            self.response(client)
        self.assertTrue(hop.heads[0].startswith(b"GET http://example.test/a HTTP/1.1\r\n"))
        self.assertIn(b"GET http://example.test/b HTTP/1.1\r\n", origin.received)
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_one_connection_for_each_server(self):
        proxy, _, recorder = self.chained("http")
        for host in ("a.test", "b.test"):
            proxy.origin(host).respond(Response.make(200))
        client = proxy.client()
        for name in (b"a.test", b"b.test", b"a.test"):
            client.send(b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
            self.assertEqual(self.response(client).status_code, 200)
        addresses = [conn.address for conn in recorder.arguments("serverconnected")]
        self.assertEqual(addresses, [("a.test", 80), ("b.test", 80)])

    def test_an_upgrade_goes_through_a_tunnel(self):
        proxy, hop, _ = self.chained("http")
        proxy.origin().respond(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        )
        client = proxy.client().send(
            b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
            b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
        )
        self.assertTrue(client.received.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(hop.asked, [("connect", "example.test", 80)])

    def test_an_upgrade_does_not_take_a_connection_for_requests(self):
        proxy, hop, _ = self.chained("http")
        proxy.origin().respond(Response.make(200))
        client = self.get(proxy)
        self.response(client)
        client.send(
            b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
            b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
        )
        self.response(client)
        self.assertEqual([kind for kind, _, _ in hop.asked], ["request", "connect"])

    def test_a_host_of_its_own_goes_through_a_tunnel(self):
        proxy, hop, _ = self.chained(
            "http", mode="reverse:http://example.test", keep_host_header=True
        )
        origin = proxy.origin().respond(Response.make(200))
        client = proxy.client().send(b"GET / HTTP/1.1\r\nHost: public.test\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(hop.asked, [("connect", "example.test", 80)])
        self.assertEqual(origin.requests[0].headers["Host"], "public.test")

    def test_http_in_a_tunnel_stays_in_it(self):
        proxy, hop, _ = self.chained("http")
        proxy.origin(port=8000).respond(Response.make(200))
        client = proxy.client().connect("example.test", 8000)
        client.send(b"GET / HTTP/1.1\r\nHost: example.test:8000\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(hop.asked, [("connect", "example.test", 8000)])

    def test_lazily_as_well(self):
        for scheme in SCHEMES:
            proxy, _, _ = self.chained(scheme, connection_strategy="lazy")
            proxy.tls_origin().respond(Response.make(200))
            client = proxy.client().connect("example.test", 443)
            self.assertEqual(proxy.network.attempts, [])
            client.start_tls("example.test")
            client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
            self.assertEqual(self.response(client).status_code, 200)
            self.assertEqual(proxy.network.attempts, [HOP, ("example.test", 443)])

    def test_another_next_hop_means_another_connection(self):
        proxy, hop, _ = self.chained("http", mode="regular")
        origin = proxy.origin().respond(Response.make(200))
        client = self.get(proxy)
        self.response(client)
        proxy.options.update(upstream_proxy=None)
        client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.response(client)
        self.assertEqual(len(hop.asked), 1)
        self.assertEqual(proxy.network.attempts[-1], ("example.test", 80))
        self.assertTrue(origin.connections[-1].data.startswith(b"GET / HTTP/1.1\r\n"))


class CredentialsTests(NextHopCase):
    """What next hops are shown."""

    def test_shown_to_the_next_hop_and_to_nobody_else(self):
        for scheme in SCHEMES:
            messages = self.messages()
            proxy, hop, recorder = self.chained(scheme, upstream_auth=["user:secret"])
            hop.password = b"user:secret" if scheme.startswith("socks") else BASIC
            origin = proxy.tls_origin().respond(Response.make(200))
            self.assertEqual(proxy.get("https://example.test/").status_code, 200)
            self.assertEqual(hop.credentials, [hop.password])
            self.assertNotIn("Proxy-Authorization", origin.requests[0].headers)
            for flow in recorder.arguments("request") + recorder.arguments("http_connect"):
                self.assertNotIn("Proxy-Authorization", flow.request.headers)
            self.assertNotIn("secret", "".join(messages.texts))

    def test_shown_with_each_request_in_absolute_form(self):
        proxy, hop, _ = self.chained("https", upstream_auth=["user:secret"])
        hop.password = BASIC
        origin = proxy.origin().respond(Response.make(200))
        client = proxy.client()
        for _ in range(2):
            client.send(
                b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
                b"Proxy-Authorization: Basic Y2xpZW50\r\n\r\n"
            )
            self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(origin.received.count(b"Proxy-Authorization: " + BASIC), 2)
        self.assertNotIn(b"Y2xpZW50", origin.received)

    def test_wrong_or_missing(self):
        for scheme, given in itertools.product(SCHEMES, ([], ["user:wrong"])):
            messages = self.messages()
            proxy, hop, _ = self.chained(scheme, upstream_auth=given)
            hop.password = b"user:secret" if scheme.startswith("socks") else BASIC
            self.check_refused(self.ask(proxy), proxy, "upstream-proxy-auth")
            self.assertNotIn("wrong", "".join(messages.texts))

    def test_wrong_for_a_request_in_absolute_form(self):
        proxy, hop, recorder = self.chained("http", upstream_auth=["user:wrong"])
        hop.password = BASIC
        response = self.response(self.get(proxy))
        self.assertEqual(response.status_code, 502)
        self.assertIn(b"interceptor: upstream-proxy-auth\n", response.content)
        self.assertEqual(self.ends(recorder), ["error"])

    def test_a_next_hop_of_a_hook_gets_only_what_is_meant_for_it(self):
        for entry, shown in (
            ("user:secret", []),
            ("http://hop.test:3128=user:secret", [BASIC]),
        ):
            hook = Hooks(serverconnect=lambda conn: setattr(conn, "via", "http://hop.test:3128"))
            proxy = self.proxy(hook, upstream_auth=[entry])
            hop = self.next_hop(proxy, "http")
            proxy.origin().respond(Response.make(200))
            proxy.get("http://example.test/")
            self.assertEqual(hop.credentials, shown)


class OptionTests(NextHopCase):
    """The options of next hops."""

    def test_a_file_of_credentials(self):
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("# next hops\n\nuser:secret\r\nhttp://other.test:1=other:word\n")
        proxy, hop, _ = self.chained("http", upstream_auth_file=path)
        self.ask(proxy)
        self.assertEqual(hop.credentials, [BASIC])

    def test_credentials_from_the_environment(self):
        options = gather_options(environ={"INTERCEPTOR_UPSTREAM_AUTH": "user:secret"})
        proxy, hop, _ = self.chained("http", upstream_auth=options.upstream_auth)
        self.ask(proxy)
        self.assertEqual(hop.credentials, [BASIC])

    def test_what_is_refused(self):
        for values, part in (
            ({"upstream_proxy": "nonsense"}, "option `upstream_proxy`: next hop `nonsense`"),
            ({"upstream_auth": ["secret"]}, "`upstream_auth`, entry 1: expected USER:PASSWORD"),
            ({"upstream_auth_file": "/nowhere/at/all"}, "No such file"),
            ({"upstream_auth": ["a:b"], "upstream_auth_file": "/x"}, "exclude each other"),
        ):
            error = self.assertRaises(OptionsError, NextHops, make_options(**values))
            self.assertIn(part, str(error))
            self.assertNotIn("secret", str(error))

    def test_a_file_that_is_no_text(self):
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"user:\xff")
        options = make_options(upstream_auth_file=path)
        self.assertIn("not UTF-8", str(self.assertRaises(OptionsError, NextHops, options)))

    def test_a_faulty_change_is_taken_back(self):
        proxy, hop, _ = self.chained("http", mode="regular")
        proxy.origin().respond(Response.make(200))
        self.assertRaises(OptionsError, proxy.options.update, upstream_proxy="nonsense")
        self.assertEqual(self.response(self.get(proxy)).status_code, 200)
        self.assertEqual(len(hop.asked), 1)
