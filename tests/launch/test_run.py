"""Which listener a command is told of, and what its end is called."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.launch.process import exit_status
from interceptor.launch.run import proxy_address
from interceptor.model.modes import parse_mode
from interceptor.net.addresses import HostPort

REGULAR, REVERSE = parse_mode("regular"), parse_mode("reverse:http://example.test")
UPSTREAM = parse_mode("upstream:http://proxy.test:3128")


class ProxyAddressTests(SynchronousTestCase):
    def chosen(self, *addresses: HostPort) -> HostPort:
        return proxy_address([(REGULAR, address) for address in addresses])

    def test_the_first_that_has_a_port(self):
        self.assertEqual(self.chosen(("/run/i", 0), ("192.0.2.1", 1), ("::1", 2)), ("192.0.2.1", 1))

    def test_reverse_proxies_are_no_proxies_to_clients(self):
        listeners = [(REVERSE, ("127.0.0.1", 1)), (REGULAR, ("127.0.0.1", 2))]
        self.assertEqual(proxy_address(listeners), ("127.0.0.1", 2))

    def test_proxies_by_way_of_another_are(self):
        listeners = [(UPSTREAM, ("127.0.0.1", 1)), (REGULAR, ("127.0.0.1", 2))]
        self.assertEqual(proxy_address(listeners), ("127.0.0.1", 1))

    def test_an_address_that_means_all(self):
        self.assertEqual(self.chosen(("0.0.0.0", 1)), ("127.0.0.1", 1))
        self.assertEqual(self.chosen(("::", 1)), ("::1", 1))

    def test_there_has_to_be_one(self):
        for listeners in ([], [(REVERSE, ("127.0.0.1", 1))], [(REGULAR, ("/run/i", 0))]):
            self.assertRaises(OptionsError, proxy_address, listeners)


class ExitStatusTests(SynchronousTestCase):
    def test_as_a_shell_has_it(self):
        self.assertEqual(
            [exit_status(each) for each in (0, 7, 255, -9, -15)], [0, 7, 255, 137, 143]
        )
