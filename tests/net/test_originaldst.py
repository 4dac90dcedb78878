"""The original destination of a connection, as the system tells it."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import CapabilityError, ListenError, LoopError, UpstreamError
from interceptor.net.addresses import HostPort
from interceptor.net.guard import LoopGuard
from interceptor.net.originaldst import (
    IP_TRANSPARENT,
    IPV6_TRANSPARENT,
    OriginalDestination,
    check_listener,
    original_destination,
)

SOURCE = ("198.51.100.2", 4000)
IPV4 = bytes.fromhex("0200 0050 c0000250 0000000000000000")
IPV6 = bytes.fromhex("0a00 01bb 00000000 20010db8000000000000000000000001 00000000")
UNTRACKED = OSError(errno.ENOENT, "not tracked")


class FakeSocket(socket.socket):
    """A socket that was accepted, and of which the system says what the test wants."""

    def __init__(self, own: str, answer: bytes | OSError) -> None:
        super().__init__(socket.AF_INET6 if ":" in own else socket.AF_INET, socket.SOCK_STREAM)
        self.own = own
        self.scope = 0
        self.answer = answer
        self.asked: list[tuple[int, int]] = []

    def getsockname(self) -> Any:
        return (self.own, 8080, 0, self.scope) if ":" in self.own else (self.own, 8080)

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        self.asked.append((level, name))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer[:size]

    def setsockopt(self, level: int, name: int, value: Any, length: Any = None) -> None:
        self.asked.append((level, name))
        if isinstance(self.answer, OSError):
            raise self.answer


class Holder:
    """A transport, or a port, that has a socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def getPeer(self) -> IPv6Address:
        return IPv6Address("TCP", f"::ffff:{SOURCE[0]}", SOURCE[1])


def made_here(source: HostPort, destination: HostPort) -> bool:
    """Say that no connection is our own."""
    return False


class SocketTestCase(SynchronousTestCase):
    """Makes sockets that are closed at the end."""

    def socket(self, own: str, answer: bytes | OSError = b"") -> FakeSocket:
        made = FakeSocket(own, answer)
        self.addCleanup(made.close)
        return made


class OriginalDestinationTests(SocketTestCase):
    """`original_destination` and what checks it."""

    def test_redirected(self):
        for own, answer, destination, asked in (
            ("127.0.0.1", IPV4, ("192.0.2.80", 80), (0, 80)),
            ("::1", IPV6, ("2001:db8::1", 443), (41, 80)),
            ("::ffff:127.0.0.1", IPV4, ("192.0.2.80", 80), (0, 80)),
        ):
            connection = self.socket(own, answer)
            self.assertEqual(original_destination(connection), destination)
            self.assertEqual(connection.asked, [asked])

    def test_not_rewritten(self):
        for own, host in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::2", "2001:db8::2"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ):
            self.assertEqual(original_destination(self.socket(own, UNTRACKED)), (host, 8080))

    def test_a_socket_of_another_kind(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.assertRaises(OSError, original_destination, ours)
        find = OriginalDestination(LoopGuard(), made_here)
        error = self.assertRaises(UpstreamError, find, Holder(ours))
        self.assertEqual(error.code, "no-destination")
        error = self.assertRaises(UpstreamError, find, object())
        self.assertEqual(error.code, "no-destination")

    def test_loop(self):
        guard = LoopGuard()
        find = OriginalDestination(guard, made_here)
        transport = Holder(self.socket("127.0.0.1", UNTRACKED))
        self.assertEqual(find(transport), ("127.0.0.1", 8080))
        port: Any = Holder(None)
        guard.add(port)
        error = self.assertRaises(LoopError, find, transport)
        self.assertEqual(error.code, "proxy-loop")
        self.assertIn("no rule of the packet filter redirected", str(error))
        self.assertEqual(find(Holder(self.socket("127.0.0.1", IPV4))), ("192.0.2.80", 80))

    def test_our_own_connection(self):
        asked = []

        def ours(source: HostPort, destination: HostPort) -> bool:
            asked.append((source, destination))
            return True

        find = OriginalDestination(LoopGuard(), ours)
        error = self.assertRaises(LoopError, find, Holder(self.socket("127.0.0.1", IPV4)))
        self.assertIn("meta skuid", str(error))
        self.assertEqual(asked, [(SOURCE, ("192.0.2.80", 80))])

    def test_link_local(self):
        link_local = IPV6.replace(bytes.fromhex("20010db8"), bytes.fromhex("fe800000"))
        for answer in (UNTRACKED, link_local, link_local[:-4] + (1).to_bytes(4, sys.byteorder)):
            connection = self.socket("fe80::1", answer)
            connection.scope = 1
            host, _ = original_destination(connection)
            self.assertEqual(host, f"fe80::1%{socket.if_indextoname(1)}")


class CheckListenerTests(SocketTestCase):
    """`check_listener`."""

    def test_redirected(self):
        listening = self.socket("127.0.0.1", PermissionError(errno.EPERM, "no"))
        port: Any = Holder(listening)
        check_listener(port, tproxy=False)
        self.assertEqual(listening.asked, [])

    def test_tproxy(self):
        for own, asked in (("127.0.0.1", (0, IP_TRANSPARENT)), ("::1", (41, IPV6_TRANSPARENT))):
            listening = self.socket(own)
            port: Any = Holder(listening)
            check_listener(port, tproxy=True)
            self.assertEqual(listening.asked, [asked])

    def test_not_allowed(self):
        port: Any = Holder(self.socket("127.0.0.1", PermissionError(errno.EPERM, "no")))
        error = self.assertRaises(CapabilityError, check_listener, port, tproxy=True)
        self.assertEqual(error.code, "net-admin-missing")
        self.assertIn("`tproxy` needs the capability CAP_NET_ADMIN", str(error))

    def test_not_possible(self):
        port: Any = Holder(self.socket("127.0.0.1", OSError(errno.ENOPROTOOPT, "not available")))
        error = self.assertRaises(ListenError, check_listener, port, tproxy=True)
        self.assertIn("not available", str(error))

    def test_no_tcp(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        for port in (Holder(None), Holder(ours)):
            error = self.assertRaises(ListenError, check_listener, port, tproxy=False)
            self.assertIn("needs a TCP listener", str(error))
