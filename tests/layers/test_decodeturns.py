"""Turns for messages that are costly to decode, in memory."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from interceptor.http import HTTPFlow
from interceptor.layers.turns import Turns
from interceptor.model import codings
from interceptor.testing import MemoryProxy
from tests.events.cases import OK, EventTestCase, Hooks, post
from tests.proxies import ProxyTestCase

PACKED = gzip.compress(b"x" * 1000)
GZIP = b"Content-Encoding: gzip"


class QueueTests(ProxyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.turns = Turns(self.clock)
        self.order: list[int] = []

    def wait(self, number: int, seconds: float) -> Any:
        def go_on(result: object) -> None:
            self.order.append(number)
            self.turns.strain.add(seconds)

        return self.turns.wait().addCallback(go_on)

    def test_what_takes_long_has_a_turn_of_its_own(self) -> None:
        for number in range(3):
            self.wait(number, 1.0)
        self.assertEqual(self.order, [])
        for number in range(3):
            self.assertEqual(self.order, list(range(number)))
            self.clock.advance(0.001)
        self.clock.advance(0.001)
        self.assertFalse(self.turns.strain.crowded)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_takes_little_goes_on_together(self) -> None:
        for number in range(5):
            self.wait(number, 0.006)
        self.clock.advance(0.001)
        self.assertEqual(self.order, [0, 1, 2, 3])
        # Who comes now lines up behind the others.
        self.assertTrue(self.turns.strain.crowded)
        self.clock.advance(0.001)
        self.assertEqual(self.order, [0, 1, 2, 3, 4])

    def test_who_gives_up_is_passed_over(self) -> None:
        first, _ = self.wait(0, 1.0), self.wait(1, 1.0)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.clock.advance(0.001)
        self.assertEqual(self.order, [1])

    def test_nobody_has_to_wait_for_the_next_turn_to_be_a_new_one(self) -> None:
        self.turns.strain.add(1.0)
        self.assertTrue(self.turns.strain.crowded)
        self.turns.pass_by()
        self.turns.pass_by()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.001)
        self.assertFalse(self.turns.strain.crowded)


class MessageTests(EventTestCase):
    """Any decoding counts as much here."""

    def start(self) -> MemoryProxy:
        self.patch(codings, "_MUCH", -1.0)
        self.seen: list[str] = []

        def read(flow: HTTPFlow) -> None:
            assert flow.request.content
            self.seen.append(flow.request.headers.get("x-name", ""))

        proxy = self.proxy(Hooks(request=read))
        proxy.origin().respond(OK)
        return proxy

    def test_coded_requests_take_turns_and_others_do_not_wait(self) -> None:
        proxy = self.start()
        for name in (b"first", b"second", b"third"):
            proxy.client().send(post(len(PACKED), GZIP, b"X-Name: " + name) + PACKED)
        proxy.client().send(post(1, b"X-Name: plain") + b"x")
        self.assertEqual(self.seen, ["first", "plain"])
        proxy.advance(0.001)
        self.assertEqual(self.seen, ["first", "plain", "second"])
        proxy.advance(0.001)
        self.assertEqual(self.seen, ["first", "plain", "second", "third"])
        proxy.advance(0.001)
        self.assertFalse(proxy.environment.turns.strain.crowded)

    def test_a_client_that_goes_away_while_it_waits(self) -> None:
        proxy = self.start()
        proxy.client().send(post(len(PACKED), GZIP, b"X-Name: first") + PACKED)
        second = proxy.client()
        second.send(post(len(PACKED), GZIP, b"X-Name: second") + PACKED)
        second.abort()
        proxy.advance(0.001)
        proxy.advance(0.001)
        self.assertEqual(self.seen, ["first"])

    def test_responses(self) -> None:
        self.patch(codings, "_MUCH", -1.0)
        seen: list[bytes] = []
        proxy = self.proxy(Hooks(response=lambda flow: seen.append(flow.response.content)))
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        proxy.origin().respond(head % len(PACKED) + PACKED)
        clients = [proxy.client() for _ in range(3)]
        for client in clients:
            client.send(post(0))
        for count in range(1, 4):
            self.assertEqual(len(seen), count)
            self.assertTrue(clients[count - 1].received.endswith(PACKED))
            proxy.advance(0.001)
        self.assertEqual(set(seen), {b"x" * 1000})
