"""Tests of `interceptor.model.connections`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.connections import ClientConnection, ServerConnection, format_address
from interceptor.model.nexthop import NextHop

# What the event contract promises for both.
NAMES = (
    "address",
    "alpn",
    "cipher_name",
    "clientcert",
    "error",
    "id",
    "ip_address",
    "sni",
    "ssl_established",
    "timestamp_end",
    "timestamp_ssl_setup",
    "timestamp_start",
    "timestamp_tls_setup",
    "tls_established",
    "tls_version",
)


class ClientConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.conn = ClientConnection(("10.0.0.1", 5000), ("10.0.0.2", 8080), 3.0)

    def test_new(self) -> None:
        for name in (*NAMES, "sockname", "principal", "proxy_address", "proxy_mode"):
            getattr(self.conn, name)
        self.assertEqual(("10.0.0.1", 5000), self.conn.ip_address)
        self.assertEqual(("10.0.0.2", 8080), self.conn.sockname)
        self.assertEqual(3.0, self.conn.timestamp_start)
        self.assertFalse(self.conn.tls_established)
        self.assertFalse(hasattr(self.conn, "__dict__"))

    def test_connected_until_it_ends(self) -> None:
        self.assertTrue(self.conn.connected())
        self.conn.timestamp_end = 4.0
        self.assertFalse(self.conn.connected())

    def test_refuse(self) -> None:
        self.conn.refuse("not you")
        self.assertEqual("not you", self.conn.error)
        self.conn.refuse()
        self.assertEqual("refused by a script", self.conn.error)

    def test_old_names(self) -> None:
        self.conn.ssl_established = True
        self.assertTrue(self.conn.tls_established)
        self.conn.timestamp_tls_setup = 5.0
        self.assertEqual(5.0, self.conn.timestamp_ssl_setup)

    def test_copy_is_independent_under_the_same_id(self) -> None:
        copied = self.conn.copy()
        self.assertEqual(self.conn.id, copied.id)
        copied.principal = "somebody"
        self.assertIsNone(self.conn.principal)

    def test_repr(self) -> None:
        self.assertEqual("<ClientConnection 10.0.0.1:5000>", repr(self.conn))
        self.conn.tls_established = True
        self.conn.timestamp_end = 4.0
        self.assertEqual("<ClientConnection 10.0.0.1:5000, TLS, closed>", repr(self.conn))


class ServerConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.conn = ServerConnection(("example.com", 80))

    def test_new(self) -> None:
        for name in (
            *NAMES,
            "source_address",
            "cert",
            "via",
            "ssl_verification_error",
            "timestamp_tcp_setup",
        ):
            getattr(self.conn, name)
        self.assertFalse(hasattr(self.conn, "__dict__"))

    def test_connected_between_setup_and_end(self) -> None:
        self.assertFalse(self.conn.connected())
        self.conn.timestamp_tcp_setup = 1.0
        self.assertTrue(self.conn.connected())
        self.conn.timestamp_end = 2.0
        self.assertFalse(self.conn.connected())

    def test_address_may_be_changed(self) -> None:
        self.conn.address = ("other", 81)
        self.assertEqual(("other", 81), self.conn.address)

    def test_copy(self) -> None:
        copied = self.conn.copy()
        copied.via = NextHop("http", "proxy", 3128)
        self.assertIsNone(self.conn.via)
        self.assertEqual(self.conn.id, copied.id)

    def test_repr(self) -> None:
        self.assertEqual("<ServerConnection example.com:80, not connected>", repr(self.conn))
        self.conn.via = NextHop("http", "proxy", 3128)
        self.conn.timestamp_tcp_setup = 1.0
        self.assertEqual(
            "<ServerConnection example.com:80 via http://proxy:3128, open>", repr(self.conn)
        )
        self.conn.timestamp_end = 2.0
        self.assertTrue(repr(self.conn).endswith(", closed>"))
        self.conn.refuse("no")
        self.assertTrue(repr(self.conn).endswith(", no>"))


class FormatAddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        self.assertEqual("a:1", format_address(("a", 1)))
        self.assertEqual("[::1]:1", format_address(("::1", 1)))
        self.assertEqual("/run/i.sock", format_address(("/run/i.sock", 0)))
        self.assertEqual("nowhere", format_address(None))
