"""Tests of `interceptor.net.guard`. Probing sockets are opened, but nothing is sent or bound."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.errors import LoopError
from interceptor.net import guard as guard_module
from interceptor.net.guard import LoopGuard, is_local


@implementer(IListeningPort)
class Port:
    """A port that says that it listens somewhere."""

    def __init__(self, address):
        self.address = address

    def startListening(self):
        raise NotImplementedError

    def stopListening(self):
        self.address = None

    def getHost(self):
        return self.address


def port(host, number=8080):
    address = IPv6Address if ":" in host else IPv4Address
    return Port(address("TCP", host, number))


class LoopGuardTests(SynchronousTestCase):
    def setUp(self):
        self.guard = LoopGuard()
        # This machine's address on the network, whatever the machine that runs this has.
        local = {"192.0.2.10", "2001:db8::10"}
        self.asked: list[str] = []

        def local_here(address):
            self.asked.append(str(address))
            return address.is_loopback or str(address) in local

        self.patch(guard_module, "is_local", local_here)

    def refused(self, *hosts, number=8080):
        for host in hosts:
            self.assertRaises(LoopError, self.guard.check, host, number)

    def allowed(self, *hosts, number=8080):
        for host in hosts:
            self.guard.check(host, number)

    def test_without_listeners_everything_goes(self):
        self.allowed("127.0.0.1", "::1", "0.0.0.0", "/run/i.sock")

    def test_a_loopback_listener(self):
        self.guard.add(port("127.0.0.1"))
        self.refused("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::ffff:0.0.0.0")
        self.allowed("127.0.0.2", "::1", "::", "192.0.2.10", "192.0.2.99")

    def test_an_ipv6_loopback_listener(self):
        self.guard.add(port("::1"))
        self.refused("::1", "::", "0:0:0:0:0:0:0:1", "::1%lo")
        self.allowed("127.0.0.1", "0.0.0.0")

    def test_an_ipv4_wildcard(self):
        self.guard.add(port("0.0.0.0"))
        self.refused("127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1", "0.0.0.0", "192.0.2.10")
        self.allowed("192.0.2.99", "::1", "2001:db8::10")

    def test_an_ipv6_wildcard_covers_both_families(self):
        self.guard.add(port("::"))
        self.refused("::1", "::", "2001:db8::10", "127.0.0.1", "192.0.2.10", "0.0.0.0")
        self.allowed("192.0.2.99", "2001:db8::99")

    def test_a_listener_on_the_network(self):
        self.guard.add(port("192.0.2.10"))
        self.refused("192.0.2.10", "::ffff:192.0.2.10")
        self.allowed("127.0.0.1", "192.0.2.99")

    def test_another_port_costs_no_probe(self):
        self.guard.add(port("0.0.0.0"))
        self.allowed("127.0.0.1", "192.0.2.10", number=80)
        self.assertEqual(self.asked, [])

    def test_several_listeners_on_one_port(self):
        self.guard.add(port("127.0.0.1"))
        self.guard.add(port("::1"))
        self.refused("127.0.0.1", "::1")

    def test_one_that_is_gone(self):
        closed, open_ = port("127.0.0.1"), port("::1")
        self.guard.add(closed)
        self.guard.add(open_)
        closed.stopListening()
        self.guard.remove(closed)
        self.allowed("127.0.0.1")
        self.refused("::1")

    def test_one_that_never_was(self):
        self.guard.remove(port("127.0.0.1"))

    def test_the_error_names_the_address_and_has_a_code(self):
        self.guard.add(port("::1"))
        error = self.assertRaises(LoopError, self.guard.check, "::1", 8080)
        self.assertEqual((error.code, error.status), ("proxy-loop", 502))
        self.assertIn("[::1]:8080", str(error))

    def test_a_path_under_another_name(self):
        directory = self.mktemp()
        os.mkdir(directory)
        path = os.path.abspath(os.path.join(directory, "i.sock"))
        for name in (path, path + ".other"):
            with open(name, "w"):
                pass
        os.symlink(path, path + ".link")
        self.guard.add(Port(UNIXAddress(path)))
        self.refused(path, path + ".link", number=0)
        self.allowed(path + ".other", path + ".missing", number=0)


class IsLocalTests(SynchronousTestCase):
    def test_loopback(self):
        for host in ("127.0.0.1", "127.1.2.3", "::1"):
            self.assertTrue(is_local(ip_address(host)), host)

    def test_addresses_that_nobody_has(self):
        for host in ("192.0.2.1", "2001:db8::1", "198.51.100.7", "fe80::dead:beef"):
            self.assertFalse(is_local(ip_address(host)), host)

    def test_the_addresses_of_this_machine(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                self.skipTest("this machine has no route")
            own = probe.getsockname()[0]
        self.assertTrue(is_local(ip_address(own)))

    def test_being_able_to_bind_is_no_sign_where_anything_can_be_bound(self):
        self.patch(guard_module, "_can_bind", lambda family, host: True)
        self.assertFalse(is_local(ip_address("198.51.100.7")))

    def test_being_able_to_bind_is_a_sign_where_not(self):
        self.patch(guard_module, "_can_bind", lambda family, host: host == "198.51.100.7")
        self.assertTrue(is_local(ip_address("198.51.100.7")))
