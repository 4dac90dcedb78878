"""The PROXY protocol between load balancers, the proxy and servers, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.layers.proxyprotocol import ProxyProtocol
from interceptor.model.http import Response
from interceptor.net.sides import LAST_CALL
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy, make_options
from interceptor.wire.proxyprotocol import encode_header
from tests.events.cases import GET, OK, EventTestCase, Hooks
from tests.layers.test_nexthop import NextHopCase

CLIENT = ("203.0.113.9", 40000)
FRONT = ("198.51.100.1", 443)
PROXY = ("proxy.test", 8080)
HEADERS = tuple(encode_header(version, CLIENT, FRONT) for version in (1, 2))
SIGNATURE = HEADERS[1][:12]
EVERYBODY = ("0.0.0.0/0", "::/0")
LOCAL = SIGNATURE + b"\x20\0\0\0"


def addresses(recorder: EventRecorder) -> tuple[Any, ...]:
    """Return what the one client's connection looked like."""
    [root] = recorder.arguments("clientconnect")
    client_conn = root.client_conn
    assert client_conn.ip_address == client_conn.address
    return client_conn.address, client_conn.sockname, client_conn.proxy_address


class FromCase(EventTestCase):
    """Makes proxies that want headers."""

    def start(
        self, *addons: object, chunk: int | None = None, **options: Any
    ) -> tuple[MemoryProxy, EventRecorder, MemoryClient]:
        """Return a proxy, what it fires, and a client that has sent nothing yet."""
        recorder = EventRecorder()
        options.setdefault("proxy_protocol_from", EVERYBODY)
        proxy = self.proxy(recorder, *addons, **options)
        proxy.origin().respond(OK)
        recorder.events.clear()
        return proxy, recorder, proxy.client(chunk)


class FromTests(FromCase):
    """Headers that come in."""

    def test_the_client_is_whom_the_header_names(self):
        for header in HEADERS:
            for chunk in (None, 1):
                _, recorder, client = self.start(chunk=chunk)
                self.assertEqual(recorder.names, [])
                client.send(header + GET)
                self.assertEqual(client.received, OK)
                address, sockname, proxy_address = addresses(recorder)
                self.assertEqual((address, sockname), (CLIENT, FRONT))
                self.assertEqual(proxy_address[0], "127.0.0.1")
                client.close()
                self.assertEqual(recorder.names[0], "clientconnect")
                self.assertIn("clientdisconnect", recorder.names)

    def test_every_split(self):
        for header in HEADERS:
            data = header + GET
            for cut in range(1, len(header) + 2):
                proxy, recorder, client = self.start()
                client.send(data[:cut])
                self.assertEqual("clientconnect" in recorder.names, cut >= len(header), cut)
                client.send(data[cut:])
                self.assertEqual(client.received, OK)
                self.assertEqual(addresses(recorder)[0], CLIENT)
                proxy.close()

    def test_a_header_that_names_nobody(self):
        for header in (LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\0\0\0"):
            _, recorder, client = self.start()
            client.send(header + GET)
            self.assertEqual(client.received, OK)
            address, sockname, proxy_address = addresses(recorder)
            self.assertEqual(sockname, PROXY)
            self.assertEqual(address, proxy_address)

    def test_without_the_option_nothing_is_known_of_headers(self):
        _, recorder, client = self.start(proxy_protocol_from=())
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertEqual(addresses(recorder)[1:], (PROXY, None))

    def test_a_header_from_somebody_else_is_a_faulty_request(self):
        for header in HEADERS:
            _, recorder, client = self.start(proxy_protocol_from=("10.0.0.0/8",))
            client.send(header + GET)
            response = self.response(client)
            self.assertEqual(response.status_code, 400)
            self.assertIn("head-malformed", response.text)
            self.assertIn("`proxy_protocol_from`", response.text)
            self.assertEqual(addresses(recorder)[0][0], "127.0.0.1")

    def test_only_one_header(self):
        _, _, client = self.start()
        client.send(HEADERS[0] * 2 + GET)
        self.assertEqual(self.response(client).status_code, 400)

    def test_hooks_may_take_their_time(self):
        for header in HEADERS:
            waiting: Deferred[None] = Deferred()
            hooks = Hooks(clientconnect=lambda root, waiting=waiting: waiting)
            proxy, _, client = self.start(hooks)
            client.send(header + GET)
            self.assertEqual(client.received, b"")
            waiting.callback(None)
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_hooks_refuse_by_the_address_of_the_client(self):
        def clientconnect(root: Any) -> None:
            if root.client_conn.address == CLIENT:
                root.refuse("not you")

        _, recorder, client = self.start(Hooks(clientconnect=clientconnect))
        client.send(HEADERS[0] + GET)
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names, ["clientconnect", "clientdisconnect"])

    def test_tls_after_the_header(self):
        proxy, recorder, client = self.start(mode="reverse:https://example.test")
        proxy.tls_origin().respond(Response.make(200, b"hello"))
        client.send(HEADERS[1])
        client.start_tls("example.test").send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(self.response(client).content, b"hello")
        self.assertEqual(addresses(recorder)[0], CLIENT)

    def test_shutting_down_while_a_header_is_waited_for(self):
        proxy, recorder, client = self.start()
        client.send(HEADERS[0][:10])
        [session] = proxy.environment.sessions
        session.shut_down()
        proxy.flush()
        self.assertFalse(client.closed)
        proxy.advance(LAST_CALL)
        self.assertTrue(client.closed)
        self.assertEqual(proxy.environment.sessions, set())
        self.assertEqual(recorder.names, [])


class RefusedTests(FromCase):
    """What is no header is not taken for anything else."""

    def check_refused(self, code: str, data: bytes, then: Any = None) -> None:
        """The connection ends without an answer, the log has one line, and no hook was called."""
        proxy, recorder, client = self.start()
        messages = self.messages()
        client.send(data)
        if then is not None:
            self.assertFalse(client.closed)
            then(proxy, client)
        self.assertTrue(client.closed)
        self.assertEqual(client.received, b"")
        self.assertEqual(recorder.names, [])
        [text] = messages.texts
        self.assertIn(f": {code}: ", text)
        self.assertIn("127.0.0.1:", text)
        self.assertEqual(proxy.environment.sessions, set())

    def test_missing(self):
        for data in (GET, b"\x16\x03\x01\x00\x05", b"\x05\x01\x00", b"\0"):
            self.check_refused("proxy-header-missing", data)

    def test_malformed(self):
        self.check_refused("proxy-header-malformed", b"PROXY TCP4 nobody\r\n" + GET)
        self.check_refused("proxy-header-malformed", SIGNATURE + b"\x21\x12\0\0" + GET)

    def test_too_large(self):
        self.check_refused("proxy-header-too-large", b"PROXY " + b"x" * 200)
        self.check_refused("proxy-header-too-large", SIGNATURE + b"\x21\x11\xff\xff")

    def test_truncated(self):
        def leave(proxy: MemoryProxy, client: MemoryClient) -> None:
            client.close()
            proxy.flush()

        for header in HEADERS:
            self.check_refused("proxy-header-truncated", header[:-1], leave)

    def test_too_slow(self):
        def wait(proxy: MemoryProxy, client: MemoryClient) -> None:
            proxy.advance(29)
            self.assertFalse(client.closed)
            proxy.advance(2)

        for data in (b"", b"P", HEADERS[1][:-1]):
            self.check_refused("proxy-header-timeout", data, wait)

    def test_somebody_who_only_looks_is_not_worth_a_word(self):
        proxy, recorder, client = self.start()
        messages = self.messages()
        client.close()
        proxy.flush()
        self.assertEqual((messages.texts, recorder.names), ([], []))
        self.assertEqual(proxy.environment.sessions, set())


class TrustTests(SynchronousTestCase):
    """Who has to send headers."""

    def expected(self, trusted: list[str], peer: str, own: tuple[str, int] = PROXY) -> bool:
        options = make_options(proxy_protocol_from=trusted)
        return ProxyProtocol(options).expected((peer, 1 if peer else 0), own)

    def test_networks(self):
        trusted = ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32"]
        for peer in ("10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.1.2.3", "2001:db8::1%eth0"):
            self.assertTrue(self.expected(trusted, peer), peer)
        for peer in ("10.2.0.1", "192.0.2.8", "2001:db9::1", "::ffff:10.2.0.1", "::1", ""):
            self.assertFalse(self.expected(trusted, peer), peer)

    def test_listeners(self):
        for trusted in (["10.0.0.0/8@8080"], ["::1", "10.0.0.0/8@8080"]):
            self.assertTrue(self.expected(trusted, "10.0.0.1"))
            self.assertFalse(self.expected(trusted, "10.0.0.1", ("proxy.test", 8081)))

    def test_unix_sockets(self):
        self.assertTrue(self.expected(["unix"], "", ("/run/a", 0)))
        self.assertTrue(self.expected(["unix@/run/a"], "", ("/run/a", 0)))
        self.assertFalse(self.expected(["unix@/run/a"], "", ("/run/b", 0)))
        self.assertFalse(self.expected(["unix"], "127.0.0.1"))
        self.assertFalse(self.expected(["0.0.0.0/0", "::/0"], "", ("/run/a", 0)))

    def test_mistakes(self):
        for entry in (
            "",
            "@8080",
            "10.0.0.1/8",
            "10.0.0",
            "example.test",
            "10.0.0.0/8@",
            "10.0.0.0/8@0",
            "10.0.0.0/8@65536",
            "10.0.0.0/8@99999999",
            "10.0.0.0/8@http",
            "unix@",
            "unix@run",
        ):
            error = self.assertRaises(OptionsError, self.expected, [entry], "127.0.0.1")
            self.assertIn("proxy_protocol_from", str(error))

    def test_options_can_change(self):
        proxy = MemoryProxy()
        self.addCleanup(proxy.close)
        proxy.options.update(proxy_protocol_from=["127.0.0.0/8"])
        client = proxy.client().send(GET)
        self.assertEqual((client.closed, client.received), (True, b""))
        with self.assertRaises(OptionsError):
            proxy.options.update(proxy_protocol_to=["("])
        self.assertEqual(proxy.options.proxy_protocol_from, ("127.0.0.0/8",))


class ToTests(NextHopCase):
    """Headers that go out."""

    def test_to_a_server(self):
        for version in (1, 2):
            proxy = self.proxy(
                proxy_protocol_from=EVERYBODY,
                proxy_protocol_to=["^example.test:80$"],
                proxy_protocol_version=f"v{version}",
            )
            origin, other = self.raw_origin(proxy), self.raw_origin(proxy, "other.test")
            client = proxy.client().send(HEADERS[0] + GET)
            [server] = origin.protocols
            header = encode_header(version, CLIENT, FRONT)
            self.assertEqual(server.data[: len(header)], header)
            self.assertTrue(server.data[len(header) :].startswith(b"GET / HTTP/1.1\r\n"))
            server.write(OK)
            proxy.flush()
            self.assertEqual(client.take(), OK)
            # On a connection that is used again nothing is said a second time.
            server.take()
            client.send(GET)
            self.assertTrue(server.data.startswith(b"GET / HTTP/1.1\r\n"))
            client = proxy.client().send(HEADERS[0] + GET.replace(b"example", b"other"))
            [server] = other.protocols
            self.assertTrue(server.data.startswith(b"GET / HTTP/1.1\r\n"))

    def test_the_own_address_where_nobody_said_another(self):
        proxy = self.proxy(proxy_protocol_to=["example"], proxy_protocol_version="v1")
        origin = self.raw_origin(proxy)
        proxy.client().send(GET)
        # The listener in memory has a name for an address.
        self.assertTrue(origin.protocols[0].data.startswith(b"PROXY UNKNOWN\r\nGET / "))

    def test_before_tls(self):
        proxy = self.proxy(
            mode="reverse:https://example.test",
            proxy_protocol_from=EVERYBODY,
            proxy_protocol_to=["^example.test:443$"],
        )
        origin = self.raw_origin(proxy, port=443)
        proxy.client().send(HEADERS[0] + b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        [server] = origin.protocols
        self.assertTrue(server.data.startswith(HEADERS[1] + b"\x16\x03"))

    def test_in_the_tunnel_of_a_next_hop(self):
        for scheme in ("http", "https", "socks5", "socks5h"):
            proxy, hop, _ = self.chained(
                scheme, proxy_protocol_from=EVERYBODY, proxy_protocol_to=["^example.test:80$"]
            )
            origin = self.raw_origin(proxy)
            proxy.client().send(HEADERS[0] + GET)
            self.assertNotEqual(hop.asked[0][0], "request")
            [server] = origin.protocols
            self.assertTrue(server.data.startswith(HEADERS[1] + b"GET / HTTP/1.1\r\n"), scheme)

    def test_to_a_next_hop(self):
        for scheme, begins in (
            ("http", b"GET http://"),
            ("https", b"\x16\x03"),
            ("socks5h", b"\x05"),
        ):
            proxy = self.proxy(
                mode=f"upstream:{scheme}://hop.test:3128",
                proxy_protocol_from=EVERYBODY,
                proxy_protocol_to=["^hop.test:3128$"],
            )
            hop = self.raw_origin(proxy, "hop.test", 3128)
            proxy.client().send(HEADERS[0] + GET)
            [server] = hop.protocols
            self.assertTrue(server.data.startswith(HEADERS[1] + begins), scheme)
