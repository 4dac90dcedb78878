"""Hosts and ports in text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import ModeError
from interceptor.model.hostports import check_host, check_port, join_host_port, split_host_port


class HostPortTests(SynchronousTestCase):
    def test_joining(self):
        self.assertEqual(join_host_port("example.org", 1), "example.org:1")
        self.assertEqual(join_host_port("::1", 80), "[::1]:80")

    def test_splitting(self):
        for text, parts in (
            ("example.org:80", ("example.org", "80")),
            ("example.org", ("example.org", "")),
            ("[::1]:80", ("::1", "80")),
            ("[::1]", ("::1", "")),
        ):
            self.assertEqual(split_host_port(text), parts)
        for text in ("a:", "::1:80", "[::1", "[::1]80", "[a]:80"):
            self.assertRaises(ModeError, split_host_port, text)

    def test_hosts(self):
        self.assertEqual(check_host("Example.ORG"), "example.org")
        self.assertEqual(check_host("b\u00fccher.example"), "xn--bcher-kva.example")
        for text in ("", "a b", "-a", "a..b", "1.2.3"):
            self.assertRaises(ModeError, check_host, text)

    def test_ports(self):
        self.assertEqual(check_port("65535", 1), 65535)
        for text in ("0", "65536", "-1", "x", ""):
            self.assertRaises(ModeError, check_port, text, 1)
