"""Which resolvers are asked."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError, UpstreamError
from interceptor.layers.nameservers import NameServers
from interceptor.model.modes import parse_mode
from interceptor.testing import make_options

DNS = parse_mode("dns")


class NameServersTests(SynchronousTestCase):
    def servers(self, *texts: str) -> NameServers:
        made = NameServers(make_options(dns_servers=texts))
        made.resolv_conf = self.mktemp()
        return made

    def test_the_mode_comes_first(self):
        servers = self.servers("9.9.9.9")
        self.assertEqual(servers.of_mode(parse_mode("dns:1.1.1.1")), (("1.1.1.1", 53),))

    def test_then_the_option(self):
        servers = self.servers("9.9.9.9", "Resolver.example:54", "[2001:db8::1]", "[::1]:55")
        self.assertEqual(
            servers.of_mode(DNS),
            (("9.9.9.9", 53), ("resolver.example", 54), ("2001:db8::1", 53), ("::1", 55)),
        )

    def test_then_the_system(self):
        servers = self.servers()
        path = Path(servers.resolv_conf)
        path.write_text(
            "# a comment\nsearch example\nnameserver 192.0.2.1\n;nameserver 192.0.2.2\n"
            "nameserver\t2001:db8::1 # more\nnameserver fe80::1%eth0\nnameserver\n"
            "nameserver 192.0.2.4\noptions edns0\n"
        )
        self.assertEqual(
            servers.of_mode(DNS), (("192.0.2.1", 53), ("2001:db8::1", 53), ("fe80::1%eth0", 53))
        )
        path.write_text("nameserver 192.0.2.9\n")
        os.utime(path, ns=(1, 1))
        self.assertEqual(servers.of_mode(DNS), (("192.0.2.9", 53),))

    def test_none(self):
        servers = self.servers()
        for text in (None, "", "search example\n"):
            if text is not None:
                Path(servers.resolv_conf).write_text(text)
            error = self.assertRaises(UpstreamError, servers.of_mode, DNS)
            self.assertEqual(error.code, "dns-no-server")

    def test_what_is_no_server(self):
        for text in ("", "1.2.3", "2001:db8::1", "a:0", "a:x", "[::1", "a b"):
            error = self.assertRaises(OptionsError, self.servers, text)
            self.assertIn("option `dns_servers`: ", str(error))
