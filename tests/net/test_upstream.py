"""Tests of `interceptor.net.upstream`, on a reactor that connects when it is told to."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from interceptor.errors import LoopError, UpstreamError
from interceptor.interfaces import IUpstreamConnector
from interceptor.model.connections import ServerConnection
from interceptor.net.guard import LoopGuard
from interceptor.net.memory import MemoryLink, MemoryNetwork, MemoryPort, Recorder
from interceptor.net.resolver import Address, Addresses, Resolver
from interceptor.net.upstream import ConnectSettings, UpstreamConnector, disable_nagle

V6 = Address(socket.AF_INET6, "2001:db8::1")
V4 = Address(socket.AF_INET, "192.0.2.1")
OTHER_V6 = Address(socket.AF_INET6, "2001:db8::2")


class Threads:
    """Answers each look-up when it is told to."""

    def __init__(self):
        self.results: list[Deferred[Addresses]] = []

    def run(self, function):
        result: Deferred[Addresses] = Deferred()
        self.results.append(result)
        return result

    def stop(self):
        pass


class ConnectorTestCase(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.threads = Threads()
        self.resolver = Resolver(self.reactor, self.threads)
        self.guard = LoopGuard()
        self.connector = UpstreamConnector(self.reactor, self.resolver, self.guard)

    def connect(self, host, port=80, timeout=10, **more):
        return self.connector.connect((host, port), Recorder, timeout=timeout, **more)

    def connect_name(self, *addresses, **more):
        """Connect to a name that has these addresses."""
        result = self.connect("origin.test", **more)
        if self.threads.results:
            self.threads.results.pop().callback(addresses)
        return result

    @property
    def tried(self):
        """The hosts to which sockets were connected, in order."""
        return [client[0] for client in self.reactor.tcpClients]

    @property
    def given_up(self):
        """The hosts of attempts that were stopped."""
        return [
            client[0]
            for client, connector in zip(
                self.reactor.tcpClients, self.reactor.connectors, strict=True
            )
            if connector.stoppedConnecting
        ]

    def attempt(self, number):
        """The factory that the reactor has for an attempt."""
        if self.reactor.unixClients:
            return self.reactor.unixClients[number][1]
        return self.reactor.tcpClients[number][2]

    def succeed(self, number=-1):
        """Let an attempt connect; returns the link, or None if nobody wants it any more."""
        protocol = self.attempt(number).buildProtocol(IPv4Address("TCP", "192.0.2.1", 80))
        if protocol is None:
            return None
        return MemoryLink(
            protocol,
            Recorder(),
            client_address=("192.0.2.9", 4000),
            server_address=("192.0.2.1", 80),
        )

    def refuse(self, reason=None, number=-1):
        """Let an attempt fail."""
        reason = error.ConnectionRefusedError(errno.ECONNREFUSED) if reason is None else reason
        self.attempt(number).clientConnectionFailed(None, Failure(reason))

    def assert_fails(self, result, code, status=502):
        raised = self.failureResultOf(result, UpstreamError).value
        self.assertEqual((raised.code, raised.status), (code, status))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return str(raised)


class SingleAddressTests(ConnectorTestCase):
    def test_interface(self):
        verifyObject(IUpstreamConnector, self.connector)

    def test_connects(self):
        result = self.connect("192.0.2.1")
        self.assertNoResult(result)
        link = self.succeed()
        protocol = self.successResultOf(result)
        self.assertIs(protocol.transport, link.client)
        self.assertIs(link.client.protocol, protocol)

    def test_makes_no_timer_of_its_own(self):
        self.connect("192.0.2.1")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hands_its_timeout_and_source_address_to_the_reactor(self):
        self.connect("192.0.2.1", 8000, timeout=3, source_address=("192.0.2.9", 0))
        host, port, _, timeout, source = self.reactor.tcpClients[0]
        self.assertEqual((host, port, timeout, source), ("192.0.2.1", 8000, 3, ("192.0.2.9", 0)))

    def test_notes_what_it_learns(self):
        server = ServerConnection(("192.0.2.1", 80))
        # The time of day, and not whatever the reactor's timers go by.
        self.patch(time, "time", lambda: 1000.0)
        self.connect("192.0.2.1", server_connection=server)
        self.assertEqual(server.timestamp_start, 1000)
        self.patch(time, "time", lambda: 1002.0)
        self.succeed()
        self.assertEqual(server.timestamp_tcp_setup, 1002)
        self.assertEqual(server.ip_address, ("192.0.2.1", 80))
        self.assertEqual(server.source_address, ("192.0.2.9", 4000))

    def test_the_protocol_finds_it_noted(self):
        server = ServerConnection(("192.0.2.1", 80))
        seen = []

        class Looking(Recorder):
            def connectionMade(self):
                seen.append((server.ip_address, self.transport.getTcpNoDelay()))

        self.connector.connect(("192.0.2.1", 80), Looking, timeout=10, server_connection=server)
        self.succeed()
        self.assertEqual(seen, [(("192.0.2.1", 80), True)])

    def test_refused(self):
        result = self.connect("192.0.2.1")
        self.refuse()
        text = self.assert_fails(result, "connect-refused")
        self.assertEqual(text, "cannot connect to 192.0.2.1:80: connection refused")

    def test_no_answer(self):
        for reason in (error.TimeoutError(), error.TCPTimedOutError(errno.ETIMEDOUT)):
            result = self.connect("192.0.2.1")
            self.refuse(reason)
            self.assert_fails(result, "connect-timeout", 504)

    def test_unreachable(self):
        for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
            result = self.connect("192.0.2.1")
            self.refuse(error.getConnectError((number, "x")))
            self.assert_fails(result, "connect-unreachable")

    def test_the_system_s_number_is_kept(self):
        result = self.connect_name(V6, V4)
        self.refuse(error.NoRouteError(errno.ENETUNREACH))
        self.refuse(error.getConnectError((errno.EHOSTUNREACH, "x")))
        failure = self.failureResultOf(result, UpstreamError)
        self.assertEqual(failure.value.os_error, errno.ENETUNREACH)

    def test_other_failures(self):
        result = self.connect("192.0.2.1")
        self.refuse(error.ConnectError(errno.EPERM, "x"))
        text = self.assert_fails(result, "connect-failed")
        self.assertIn("operation not permitted", text)

    def test_no_descriptors_left(self):
        result = self.connect("192.0.2.1")
        self.refuse(error.ConnectBindError(errno.EMFILE, "x"))
        text = self.assert_fails(result, "connect-failed")
        self.assertIn("too many open files", text)

    def test_what_the_reactor_raises_at_once(self):
        for raised, text in (
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service"),
            (OSError(errno.EMFILE, "x", "/some/file"), "too many open files"),
            (OverflowError("port must be 0-65535."), "port must be 0-65535"),
            (RuntimeError(), "unexpected RuntimeError"),
        ):

            def connect_tcp(*args, raised=raised):
                raise raised

            self.patch(self.reactor, "connectTCP", connect_tcp)
            said = self.assert_fails(self.connect("fe80::1%lo"), "connect-failed")
            self.assertIn(f"cannot connect to [fe80::1%lo]:80: {text}", said)

    def test_ipv6_is_shown_with_brackets(self):
        result = self.connect("2001:db8::1")
        self.refuse()
        text = self.assert_fails(result, "connect-refused")
        self.assertEqual(text, "cannot connect to [2001:db8::1]:80: connection refused")

    def test_cancelling_gives_up(self):
        result = self.connect("192.0.2.1")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.given_up, ["192.0.2.1"])
        self.assertIs(self.succeed(), None)

    def test_a_protocol_that_cannot_be_made(self):
        def make():
            raise ZeroDivisionError

        result = self.connector.connect(("192.0.2.1", 80), make, timeout=10)
        link = self.succeed()
        self.failureResultOf(result, ZeroDivisionError)
        link.flush()
        self.assertFalse(link.open)

    def test_cancelled_while_it_connects(self):
        class Cancelling(Recorder):
            def connectionMade(self):
                result.cancel()

        result = self.connector.connect(("192.0.2.1", 80), Cancelling, timeout=10)
        link = self.succeed()
        self.failureResultOf(result, CancelledError)
        link.flush()
        self.assertFalse(link.open)


class UNIXTests(ConnectorTestCase):
    def test_connects_to_a_path(self):
        result = self.connect("/run/i.sock", 0, timeout=3)
        path, _, timeout, _ = self.reactor.unixClients[0]
        self.assertEqual((path, timeout), ("/run/i.sock", 3))
        self.succeed()
        self.successResultOf(result)

    def test_a_path_that_is_not_there(self):
        result = self.connect("/run/i.sock", 0)
        self.refuse(error.ConnectError(errno.ENOENT, "x"))
        text = self.assert_fails(result, "connect-failed")
        self.assertEqual(text, "cannot connect to unix:/run/i.sock: no such file or directory")

    def test_a_path_that_cannot_be(self):
        for path in ("/" + "x" * 200, "/run/\0.sock"):
            self.assert_fails(self.connect(path, 0), "connect-failed")
        self.assertEqual(self.reactor.unixClients, [])


class NameTests(ConnectorTestCase):
    def test_a_name_that_does_not_resolve(self):
        result = self.connect("origin.test")
        self.threads.results.pop().errback(socket.gaierror(socket.EAI_NONAME, "No such name"))
        self.assert_fails(result, "dns-failed")

    def test_a_name_that_cannot_be(self):
        self.assert_fails(self.connect("a..b"), "dns-failed")

    def test_resolving_takes_too_long(self):
        result = self.connect("origin.test")
        self.reactor.advance(5)
        self.assert_fails(result, "dns-timeout", 504)

    def test_resolving_takes_longer_than_connecting_may(self):
        result = self.connect("origin.test", timeout=2)
        self.reactor.advance(2)
        self.assert_fails(result, "dns-timeout", 504)

    def test_the_time_it_took_is_not_there_for_connecting(self):
        self.connect("origin.test", timeout=10)
        self.reactor.advance(4)
        self.threads.results.pop().callback((V4,))
        self.assertEqual(self.reactor.tcpClients[0][3], 6)

    def test_cancelling_while_it_resolves(self):
        result = self.connect("origin.test")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((self.tried, self.reactor.getDelayedCalls()), ([], []))

    def test_one_address_is_named_besides_the_name(self):
        result = self.connect_name(V4)
        self.refuse()
        text = self.assert_fails(result, "connect-refused")
        self.assertEqual(text, "cannot connect to origin.test:80: 192.0.2.1:80: connection refused")


class ResolveTests(ConnectorTestCase):
    def resolve(self, host="origin.test", timeout=10):
        return self.connector.resolve(host, timeout=timeout)

    def test_a_name(self):
        result = self.resolve()
        self.threads.results.pop().callback((V4, V6))
        self.assertEqual(set(self.successResultOf(result)), {V4.host, V6.host})
        self.assertEqual(self.tried, [])

    def test_an_address_is_its_own(self):
        self.assertEqual(self.successResultOf(self.resolve("192.0.2.1")), ("192.0.2.1",))

    def test_failures(self):
        result = self.resolve()
        self.threads.results.pop().errback(socket.gaierror(socket.EAI_NONAME, "No such name"))
        self.assert_fails(result, "dns-failed")
        self.assert_fails(self.resolve("a..b"), "dns-failed")

    def test_it_takes_too_long(self):
        for timeout, late in ((10, 5), (2, 2)):
            result = self.resolve(timeout=timeout)
            self.reactor.advance(late)
            self.assert_fails(result, "dns-timeout", 504)

    def test_cancelling(self):
        result = self.resolve()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class HappyEyeballsTests(ConnectorTestCase):
    def test_the_first_is_tried_alone(self):
        self.connect_name(V6, V4)
        self.assertEqual(self.tried, [V6.host])

    def test_the_next_is_tried_besides_it_after_the_delay(self):
        self.connect_name(V6, V4, OTHER_V6)
        self.reactor.advance(0.24)
        self.assertEqual(self.tried, [V6.host])
        self.reactor.advance(0.01)
        self.assertEqual(self.tried, [V6.host, V4.host])
        self.reactor.advance(0.25)
        self.assertEqual(self.tried, [V6.host, V4.host, OTHER_V6.host])

    def test_the_delay_is_a_setting(self):
        self.connector.settings = ConnectSettings(attempt_delay=1)
        self.connect_name(V6, V4)
        self.reactor.advance(0.9)
        self.assertEqual(self.tried, [V6.host])

    def test_the_next_is_tried_at_once_when_one_failed(self):
        self.connect_name(V6, V4)
        self.refuse()
        self.assertEqual(self.tried, [V6.host, V4.host])

    def test_and_the_one_after_it_a_whole_delay_later(self):
        self.connect_name(V6, V4, OTHER_V6)
        self.reactor.advance(0.2)
        self.refuse()
        self.reactor.advance(0.2)
        self.assertEqual(self.tried, [V6.host, V4.host])
        self.reactor.advance(0.05)
        self.assertEqual(self.tried, [V6.host, V4.host, OTHER_V6.host])

    def test_the_first_to_connect_wins(self):
        result = self.connect_name(V6, V4)
        self.reactor.advance(0.25)
        self.succeed(1)
        self.successResultOf(result)
        self.assertEqual(self.given_up, [V6.host])

    def test_an_earlier_one_may_still_win(self):
        result = self.connect_name(V6, V4)
        self.reactor.advance(0.25)
        self.succeed(0)
        self.successResultOf(result)
        self.assertEqual(self.given_up, [V4.host])

    def test_nothing_is_tried_after_that(self):
        self.connect_name(V6, V4)
        self.succeed()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.tried, [V6.host])

    def test_one_that_connects_in_the_same_moment_is_not_wanted(self):
        result = self.connect_name(V6, V4)
        self.reactor.advance(0.25)
        self.succeed(0)
        self.assertIs(self.succeed(1), None)
        self.successResultOf(result)

    def test_all_failed(self):
        result = self.connect_name(V6, V4)
        self.refuse(error.NoRouteError(errno.ENETUNREACH))
        self.assertNoResult(result)
        self.refuse()
        text = self.assert_fails(result, "connect-refused")
        self.assertEqual(
            text,
            "cannot connect to origin.test:80: [2001:db8::1]:80: network is unreachable; "
            "192.0.2.1:80: connection refused",
        )

    def test_a_failure_while_another_is_under_way_is_not_the_end(self):
        result = self.connect_name(V6, V4)
        self.reactor.advance(0.25)
        self.refuse(number=1)
        self.assertNoResult(result)
        self.succeed(0)
        self.successResultOf(result)

    def test_no_more_are_begun_once_the_time_is_up(self):
        self.connector.settings = ConnectSettings(attempt_delay=20)
        result = self.connect_name(V6, V4)
        self.reactor.advance(10)
        self.refuse(error.TimeoutError())
        text = self.assert_fails(result, "connect-timeout", 504)
        self.assertEqual(self.tried, [V6.host])
        self.assertIn("192.0.2.1:80: no time left to try it", text)

    def test_cancelling_gives_up_all(self):
        result = self.connect_name(V6, V4, OTHER_V6)
        self.reactor.advance(0.25)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.given_up, [V6.host, V4.host])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class WinnerTests(ConnectorTestCase):
    def setUp(self):
        super().setUp()
        self.resolver.cache_ttl = 3600

    def win_with_v4(self):
        self.connect_name(V6, V4, OTHER_V6)
        self.refuse()
        self.succeed()
        self.reactor.tcpClients.clear()

    def test_the_last_winner_goes_first(self):
        self.win_with_v4()
        self.connect_name()
        self.refuse()
        self.refuse()
        self.assertEqual(self.tried, [V4.host, V6.host, OTHER_V6.host])

    def test_not_for_ever(self):
        self.win_with_v4()
        self.reactor.advance(601)
        self.connect_name()
        self.assertEqual(self.tried, [V6.host])

    def test_not_when_the_name_no_longer_has_it(self):
        self.win_with_v4()
        self.resolver.forget()
        self.connect_name(V6, OTHER_V6)
        self.assertEqual(self.tried, [V6.host])

    def test_not_for_another_port(self):
        self.win_with_v4()
        self.connect("origin.test", 8000)
        self.assertEqual(self.tried, [V6.host])

    def test_only_so_many_are_remembered(self):
        self.win_with_v4()
        for port in range(1, 1025):
            self.connector._remember(("other.test", port), V4.host)
        self.connect_name()
        self.assertEqual(self.tried, [V6.host])


class LoopTests(ConnectorTestCase):
    def guard_against(self, host, port=80):
        factory: Any = Recorder
        self.guard.add(MemoryPort(MemoryNetwork(), (host, port), factory))

    def test_an_address_of_ours_is_not_connected_to(self):
        self.guard_against("192.0.2.1")
        result = self.connect("192.0.2.1")
        self.failureResultOf(result, LoopError)
        self.assertEqual(self.tried, [])

    def test_others_of_the_name_still_are(self):
        self.guard_against(V6.host)
        result = self.connect_name(V6, V4)
        self.assertEqual(self.tried, [V4.host])
        self.succeed()
        self.successResultOf(result)

    def test_a_loop_is_what_an_operator_should_hear_of(self):
        self.guard_against(V4.host)
        result = self.connect_name(V6, V4)
        self.refuse()
        raised = self.failureResultOf(result, LoopError).value
        self.assertEqual((raised.code, raised.status), ("proxy-loop", 502))
        self.assertIn("192.0.2.1:80: this proxy's own listener", str(raised))

    def test_localhost_is_resolved_before_it_is_checked(self):
        self.guard_against("127.0.0.1")
        self.guard_against("::1")
        self.failureResultOf(self.connect("localhost"), LoopError)
        self.assertEqual(self.tried, [])

    def test_a_path_of_ours(self):
        path = self.mktemp()
        with open(path, "w"):
            pass
        self.guard_against(os.path.abspath(path), 0)
        self.failureResultOf(self.connect(os.path.abspath(path), 0), LoopError)


class DisableNagleTests(SynchronousTestCase):
    def test_leaves_transports_without_it_alone(self):
        transport: Any = object()
        disable_nagle(transport)
