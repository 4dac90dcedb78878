"""Tests of `interceptor.net.resolver`."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import UpstreamError
from interceptor.net.resolver import (
    Address,
    Addresses,
    Resolver,
    encode_name,
    get_addresses,
    interleave,
    parse_literal,
)


def v4(host):
    return Address(socket.AF_INET, host)


def v6(host):
    return Address(socket.AF_INET6, host)


class LaterThreads:
    """Runs each call when told to, in the test's own thread."""

    def __init__(self):
        self.calls: list[tuple[Deferred[Addresses], Callable[[], Addresses]]] = []
        self.stopped = False

    def run(self, function):
        result: Deferred[Addresses] = Deferred()
        self.calls.append((result, function))
        return result

    def stop(self):
        self.stopped = True

    def run_all(self):
        while self.calls:
            result, function = self.calls.pop(0)
            if not result.called:
                try:
                    addresses = function()
                except Exception as error:
                    result.errback(error)
                else:
                    result.callback(addresses)


class AtOnceThreads(LaterThreads):
    """Runs each call before `run` returns."""

    def run(self, function):
        result = super().run(function)
        self.run_all()
        return result


class ParseLiteralTests(SynchronousTestCase):
    def test_ipv4(self):
        self.assertEqual(parse_literal("192.0.2.1"), v4("192.0.2.1"))

    def test_ipv6(self):
        self.assertEqual(parse_literal("2001:db8::1"), v6("2001:db8::1"))

    def test_ipv6_with_a_zone(self):
        self.assertEqual(parse_literal("fe80::1%lo"), v6("fe80::1%lo"))

    def test_what_is_none(self):
        names = ("origin.test", "127.1", "1.2.3.4.5", "0x7f000001", "1", "", "256.1.1.1", "a:b")
        for name in (*names, "1.2.3.4\x001", "::1\x00"):
            self.assertIs(parse_literal(name), None, name)


class EncodeNameTests(SynchronousTestCase):
    def test_plain_names_in_lower_case_without_the_root(self):
        self.assertEqual(encode_name("WWW.Origin.Test."), "www.origin.test")

    def test_names_outside_ascii_become_a_labels(self):
        self.assertEqual(encode_name("Bücher.example"), "xn--bcher-kva.example")

    def test_underscores_are_left_alone(self):
        self.assertEqual(encode_name("_srv.origin.test"), "_srv.origin.test")

    def test_what_cannot_be_a_name(self):
        wrong = ("", ".", "a..b", ".a", "a" * 64, "a." * 127 + "ab", "a b", "a\x00b", "a\nb")
        for name in (*wrong, "\u2024", "\u00fc" * 64, "-\u00fc-\u0300"):
            error = self.assertRaises(UpstreamError, encode_name, name)
            self.assertEqual((error.code, error.status), ("dns-failed", 502), name)


class InterleaveTests(SynchronousTestCase):
    def test_alternates_and_keeps_the_order_of_each_family(self):
        addresses = [v6("::1"), v6("::2"), v6("::3"), v4("0.0.0.1"), v4("0.0.0.2")]
        hosts = [address.host for address in interleave(addresses)]
        self.assertEqual(hosts, ["::1", "0.0.0.1", "::2", "0.0.0.2", "::3"])

    def test_begins_with_the_family_that_came_first(self):
        self.assertEqual(interleave([v4("0.0.0.1"), v6("::1")]), (v4("0.0.0.1"), v6("::1")))

    def test_duplicates_go(self):
        self.assertEqual(interleave([v4("0.0.0.1"), v4("0.0.0.1")]), (v4("0.0.0.1"),))

    def test_nothing(self):
        self.assertEqual(interleave([]), ())


class GetAddressesTests(SynchronousTestCase):
    def answer(self, *sockaddrs):
        answers = [(family, socket.SOCK_STREAM, 6, "", addr) for family, addr in sockaddrs]
        self.patch(socket, "getaddrinfo", lambda *args: answers)
        return get_addresses("origin.test")

    def test_both_families(self):
        found = self.answer(
            (socket.AF_INET6, ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, ("192.0.2.1", 0))
        )
        self.assertEqual(found, [v6("2001:db8::1"), v4("192.0.2.1")])

    def test_zones_are_kept(self):
        found = self.answer((socket.AF_INET6, ("fe80::1", 0, 0, 3)))
        self.assertEqual(found, [v6("fe80::1%3")])


class ResolverTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.threads = LaterThreads()
        self.asked: list[str] = []
        self.answers: dict[str, list[Address]] = {
            "origin.test": [v6("2001:db8::1"), v6("2001:db8::2"), v4("192.0.2.1")]
        }
        self.resolver = self.make()

    def make(self, **more):
        return Resolver(self.clock, self.threads, look_up=self.look_up, **more)

    def look_up(self, name):
        self.asked.append(name)
        try:
            return self.answers[name]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None

    def resolve(self, host="origin.test"):
        """Resolve to the end."""
        result = self.resolver.resolve(host)
        if not isinstance(result, Deferred):
            return result
        self.threads.run_all()
        return self.successResultOf(result)

    def begin(self, host="origin.test"):
        result = self.resolver.resolve(host)
        self.assertIsInstance(result, Deferred)
        assert isinstance(result, Deferred)
        return result

    def failing(self, result, code):
        error = self.failureResultOf(result, UpstreamError).value
        self.assertEqual(error.code, code)
        return error

    def test_literals_are_there_at_once(self):
        self.assertEqual(self.resolver.resolve("192.0.2.1"), (v4("192.0.2.1"),))
        self.assertEqual(self.resolver.resolve("::1"), (v6("::1"),))

    def test_localhost_is_never_asked_for(self):
        for name in ("localhost", "LOCALHOST.", "app.localhost"):
            self.assertEqual(self.resolver.resolve(name), (v6("::1"), v4("127.0.0.1")))

    def test_addresses_are_interleaved(self):
        hosts = [address.host for address in self.resolve()]
        self.assertEqual(hosts, ["2001:db8::1", "192.0.2.1", "2001:db8::2"])

    def test_a_name_outside_ascii_is_asked_for_encoded(self):
        self.answers["xn--bcher-kva.test"] = [v4("192.0.2.7")]
        self.assertEqual(self.resolve("bücher.test"), (v4("192.0.2.7"),))

    def test_a_name_that_cannot_be(self):
        error = self.assertRaises(UpstreamError, self.resolver.resolve, "a..b")
        self.assertEqual(error.code, "dns-failed")

    def test_a_known_answer_is_there_at_once(self):
        first = self.resolve()
        self.assertIs(self.resolver.resolve("origin.test"), first)

    def test_an_old_answer_is_asked_for_again(self):
        self.resolve()
        self.clock.advance(30)
        self.resolve()
        self.assertEqual(self.asked, ["origin.test", "origin.test"])

    def test_forgetting(self):
        self.resolve()
        self.resolver.forget()
        self.begin()

    def test_nothing_is_kept_with_a_ttl_of_zero(self):
        self.resolver = self.make(cache_ttl=0)
        self.resolve()
        self.begin()

    def test_the_cache_is_bounded_and_drops_what_was_used_least(self):
        self.resolve()
        for number in range(1023):
            self.answers[f"h{number}.test"] = [v4("192.0.2.1")]
            self.resolve(f"h{number}.test")
        self.resolve()
        self.answers["one-more.test"] = [v4("192.0.2.1")]
        self.resolve("one-more.test")
        self.asked.clear()
        self.resolve()
        self.assertEqual(self.asked, [])
        self.resolve("h0.test")
        self.assertEqual(self.asked, ["h0.test"])

    def test_overlapping_look_ups_are_one(self):
        first, second = self.begin(), self.begin()
        self.threads.run_all()
        self.assertIs(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(self.asked, ["origin.test"])

    def test_a_name_that_does_not_exist(self):
        result = self.begin("no.test")
        self.threads.run_all()
        error = self.failing(result, "dns-failed")
        self.assertEqual(str(error), "cannot resolve no.test: name or service not known")

    def test_that_is_remembered_for_a_moment(self):
        result = self.begin("no.test")
        self.threads.run_all()
        self.failing(result, "dns-failed")
        error = self.assertRaises(UpstreamError, self.resolver.resolve, "no.test")
        self.assertEqual(error.code, "dns-failed")
        self.clock.advance(1)
        self.begin("no.test")

    def test_a_name_without_addresses(self):
        self.answers["empty.test"] = []
        result = self.begin("empty.test")
        self.threads.run_all()
        self.failing(result, "dns-failed")

    def test_what_the_c_library_refuses(self):
        def look_up(name):
            raise UnicodeError("label too long")

        self.resolver = Resolver(self.clock, self.threads, look_up=look_up)
        result = self.begin()
        self.threads.run_all()
        self.failing(result, "dns-failed")

    def test_each_who_waits_gets_an_error_of_its_own(self):
        first, second = self.begin("no.test"), self.begin("no.test")
        self.threads.run_all()
        one, other = (self.failing(each, "dns-failed") for each in (first, second))
        self.assertIsNot(one, other)

    def test_no_answer_in_time(self):
        result = self.begin()
        self.clock.advance(5)
        error = self.failing(result, "dns-timeout")
        self.assertEqual(error.status, 504)

    def test_an_answer_after_that_is_dropped(self):
        result = self.begin()
        self.clock.advance(5)
        self.failing(result, "dns-timeout")
        self.threads.run_all()
        self.assertEqual(self.asked, [])

    def test_no_timer_is_left(self):
        self.resolve()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_is_for_one(self):
        cancelled, waiting = self.begin(), self.begin()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.threads.run_all()
        self.assertEqual(len(self.successResultOf(waiting)), 3)

    def test_when_all_have_cancelled_nobody_is_asked(self):
        cancelled = self.begin()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.threads.run_all()
        self.assertEqual(self.asked, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_who_comes_after_that_begins_anew(self):
        cancelled = self.begin()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.assertEqual(len(self.resolve()), 3)

    def test_threads_that_answer_at_once(self):
        self.threads = AtOnceThreads()
        self.resolver = self.make(cache_ttl=0)
        self.assertEqual(len(self.successResultOf(self.begin())), 3)
        self.failing(self.begin("no.test"), "dns-failed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_fails_what_is_pending(self):
        result = self.begin()
        self.resolver.stop()
        self.failing(result, "dns-failed")
        self.assertTrue(self.threads.stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_it_looks_up_no_more(self):
        self.resolver.stop()
        error = self.assertRaises(UpstreamError, self.resolver.resolve, "origin.test")
        self.assertEqual(error.code, "dns-failed")
        self.assertEqual(self.resolver.resolve("192.0.2.1"), (v4("192.0.2.1"),))
