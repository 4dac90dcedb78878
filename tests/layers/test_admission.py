"""Clients that are refused for where they come from, or for how many there are; in memory."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred

from interceptor.errors import OptionsError
from interceptor.layers.admission import Admission, NotAdmittedError
from interceptor.layers.allowances import Allowances
from interceptor.model.options import Options
from interceptor.testing import EventRecorder, MemoryProxy, TestClock, make_options
from interceptor.wire.proxyprotocol import encode_header
from tests.events.cases import GET, OK, EventTestCase, Hooks

PUBLIC = ("8.8.8.8", 40000)
PRIVATE = ("192.168.1.7", 40000)
FRONT = ("198.51.100.1", 443)


def admission_of(options: Options) -> Admission:
    clock = TestClock()
    return Admission(clock, options, Allowances(clock))


class AddressTests(EventTestCase):
    """What counts as a public address."""

    def refused(self, host: str, **options: Any) -> bool:
        admission = admission_of(make_options(**options))
        try:
            admission.check_address(host)
        except NotAdmittedError as error:
            self.assertEqual(error.code, "client-global")
            return True
        return False

    def test_public_addresses_are_refused(self):
        for host in ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "::ffff:808:808"):
            self.assertTrue(self.refused(host), host)

    def test_everybody_near_is_let_in(self):
        near = "127.0.0.1 ::1 10.1.2.3 172.16.0.1 192.168.0.1 169.254.1.1 100.64.0.1 fd00::1"
        for host in (*near.split(), "fe80::1%eth0", "::ffff:10.0.0.1", "", "/run/proxy.sock"):
            self.assertFalse(self.refused(host), host)

    def test_the_option_lets_everybody_in(self):
        self.assertFalse(self.refused("8.8.8.8", block_global=False))

    def test_exceptions(self):
        for network in ("8.8.8.8", "8.8.8.0/24", "0.0.0.0/0"):
            options = {"allow_global_from": ("2001:db8::/32", network)}
            self.assertFalse(self.refused("8.8.8.8", **options), network)
            self.assertFalse(self.refused("::ffff:8.8.8.8", **options), network)
        self.assertTrue(self.refused("8.8.8.8", allow_global_from=("8.8.4.0/24",)))
        self.assertTrue(self.refused("2001:4860:4860::8888", allow_global_from=("0.0.0.0/0",)))

    def test_networks_that_are_none(self):
        for entry in ("here", "8.8.8.8/24", ""):
            with self.assertRaisesRegex(OptionsError, "allow_global_from"):
                admission_of(make_options(allow_global_from=(entry,)))


class AdmissionCase(EventTestCase):
    def start(self, *addons: object, **options: Any) -> tuple[MemoryProxy, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, **options)
        proxy.origin().respond(OK)
        recorder.events.clear()
        return proxy, recorder

    def served(self, proxy: MemoryProxy, address: Any = None) -> bool:
        """Whether a new client is served, which leaves then."""
        client = proxy.client(address=address)
        if not client.closed:
            client.send(GET)
        served = client.received == OK
        client.close()
        return served

    def assert_nothing_counted(self, proxy: MemoryProxy) -> None:
        admission = proxy.environment.admission
        self.assertEqual((admission.connections, admission.flows), (0, 0))
        self.assertEqual(len(admission._clients), 0)
        self.assertEqual(len(proxy.environment.sessions), 0)


class GlobalTests(AdmissionCase):
    """Clients from public addresses."""

    def test_a_client_is_refused_before_any_hook_hears_of_it(self):
        proxy, recorder = self.start()
        messages = self.messages()
        self.assertFalse(self.served(proxy, PUBLIC))
        self.assertFalse(self.served(proxy, ("2001:4860:4860::8888", 1)))
        self.assertEqual(recorder.names, [])
        [line] = [text for text in messages.texts if "client-global" in text]
        self.assertIn("regular: client 8.8.8.8:40000 refused: client-global: ", line)
        self.assertTrue(self.served(proxy, PRIVATE))
        self.assertTrue(self.served(proxy))
        proxy.advance(60)
        self.assert_nothing_counted(proxy)

    def test_the_log_counts_what_it_does_not_tell(self):
        proxy, _ = self.start()
        messages = self.messages()
        for _ in range(5):
            self.served(proxy, PUBLIC)
        proxy.advance(11)
        self.served(proxy, PUBLIC)
        lines = [text for text in messages.texts if "client-global" in text]
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[1].endswith("(4 more before)"))

    def test_options_hold_for_the_next_client(self):
        proxy, _ = self.start()
        self.assertFalse(self.served(proxy, PUBLIC))
        proxy.options.update(allow_global_from=("8.0.0.0/8",))
        self.assertTrue(self.served(proxy, PUBLIC))
        with self.assertRaises(OptionsError):
            proxy.options.update(allow_global_from=("nonsense",))
        self.assertTrue(self.served(proxy, PUBLIC))

    def test_every_kind_of_listener(self):
        for mode in ("socks5", "auto", "reverse:http://example.test", "transparent"):
            proxy, recorder = self.start(mode=mode)
            self.assertTrue(proxy.client(address=PUBLIC).closed, mode)
            self.assertEqual(recorder.names, [])

    def test_behind_a_load_balancer_the_client_counts(self):
        for balancer in (PRIVATE, PUBLIC):
            proxy, recorder = self.start(proxy_protocol_from=("0.0.0.0/0",))
            client = proxy.client(address=balancer)
            client.send(encode_header(2, PUBLIC, FRONT) + GET)
            self.assertTrue(client.closed)
            self.assertEqual((client.received, recorder.names), (b"", []))
            client = proxy.client(address=balancer)
            client.send(encode_header(2, PRIVATE, FRONT) + GET)
            self.assertEqual(client.received, OK)
            client.close()
            proxy.advance(60)
            self.assert_nothing_counted(proxy)

    def test_datagrams_are_dropped(self):
        proxy, recorder = self.start(mode="reverse:udp://example.test:53")
        messages = self.messages()
        proxy.datagram_server("example.test", 53)
        proxy.datagram_client(PUBLIC).send(b"one")
        self.assertEqual(recorder.names, [])
        self.assertTrue(any("client-global" in text for text in messages.texts))
        proxy.datagram_client(PRIVATE).send(b"one")
        self.assertIn("udp_start", recorder.names)

    def test_questions_are_dropped(self):
        proxy, recorder = self.start(mode="dns:192.0.2.53")
        proxy.datagram_client(PUBLIC).send(bytes.fromhex("0001 0100 0001 000000000000 0000010001"))
        self.assertEqual(recorder.names, [])


class CountTests(AdmissionCase):
    """Clients that are too many."""

    def test_connections_of_all(self):
        proxy, _ = self.start(connection_limit=2)
        messages = self.messages()
        first, second = proxy.client(), proxy.client()
        self.assertTrue(proxy.client().closed)
        [line] = [text for text in messages.texts if "connection-limit" in text]
        self.assertIn("connection_limit", line)
        self.assertEqual(first.send(GET).received, OK)
        second.close()
        self.assertTrue(self.served(proxy))
        first.close()
        proxy.advance(60)
        self.assert_nothing_counted(proxy)

    def test_connections_of_one_client(self):
        proxy, _ = self.start(client_connection_limit=2)
        messages = self.messages()
        clients = [proxy.client(address=("10.0.0.1", port)) for port in (1, 2)]
        self.assertTrue(proxy.client(address=("10.0.0.1", 3)).closed)
        self.assertTrue(any("client-connection-limit" in text for text in messages.texts))
        self.assertTrue(self.served(proxy, ("10.0.0.2", 1)))
        clients[0].close()
        self.assertTrue(self.served(proxy, ("10.0.0.1", 4)))
        clients[1].close()
        proxy.advance(60)
        self.assert_nothing_counted(proxy)

    def test_this_machine_is_not_counted(self):
        proxy, _ = self.start(client_connection_limit=1)
        clients = [proxy.client() for _ in range(3)]
        self.assertEqual([each.closed for each in clients], [False] * 3)

    def test_clients_of_load_balancers(self):
        proxy, _ = self.start(client_connection_limit=1, proxy_protocol_from=("0.0.0.0/0",))
        held = []
        for host, closed in (("10.0.0.1", False), ("10.0.0.1", True), ("10.0.0.2", False)):
            client = proxy.client(address=PRIVATE)
            client.send(encode_header(1, (host, 1), FRONT))
            self.assertEqual(client.closed, closed)
            held.append(client)
        for client in held:
            client.close()
        proxy.advance(60)
        self.assert_nothing_counted(proxy)

    def test_connections_that_a_hook_refuses_are_not_counted_on(self):
        hooks = Hooks(clientconnect=lambda root: root.client_conn.refuse("no"))
        proxy, _ = self.start(hooks)
        proxy.client(address=PRIVATE)
        proxy.advance(60)
        self.assert_nothing_counted(proxy)

    def test_requests_under_way(self):
        waiting: Deferred[None] = Deferred()
        proxy, recorder = self.start(Hooks(request=lambda flow: waiting), flow_limit=1)
        first, second = proxy.client(), proxy.client()
        first.send(GET)
        second.send(GET)
        response = second.response()
        assert response is not None
        self.assertEqual(response.status_code, 503)
        self.assertIn(b"interceptor: flow-limit", response.content)
        waiting.callback(None)
        proxy.flush()
        self.assertEqual(first.received, OK)
        self.assertEqual(recorder.arguments("error")[0].error.code, "flow-limit")
        self.assertTrue(self.served(proxy))
        first.close()
        proxy.advance(60)
        self.assert_nothing_counted(proxy)


class MappedTests(EventTestCase):
    def test_addresses_are_those_that_sockets_have(self):
        """What the system calls an IPv4 client of an IPv6 listener is understood."""
        mapped = socket.inet_ntop(socket.AF_INET6, bytes(10) + b"\xff\xff\x08\x08\x08\x08")
        admission = admission_of(make_options())
        with self.assertRaises(NotAdmittedError):
            admission.check_address(mapped)
