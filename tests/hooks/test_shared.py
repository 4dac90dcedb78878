"""``ctx.shared`` in a proxy of one process."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import SharedStateError
from interceptor.hooks.addons import MOST_MESSAGES, AddonChain
from interceptor.hooks.shared import SharedMessage
from interceptor.model.coreoptions import core_options


class Listening:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[SharedMessage] = []

    def shared_message(self, message: SharedMessage) -> None:
        self.heard.append(message)


class SharedTests(SynchronousTestCase):
    """What one process shares with itself."""

    def setUp(self):
        clock: Any = Clock()
        clock.callFromThread = lambda call: call()
        self.clock = clock
        self.chain = AddonChain(core_options(), reactor=self.clock)
        self.shared: Any = self.chain.proxy.shared
        self.chain.start()
        self.addCleanup(self.chain.shutdown)
        self.addon = Listening()

    def get(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)

    def test_values_and_counters(self):
        self.assertEqual(self.get(self.shared.get("a", "nothing")), "nothing")
        self.assertTrue(self.get(self.shared.set("a", [1], expires=5)))
        self.assertFalse(self.get(self.shared.set("a", 2, absent=True)))
        self.assertEqual(self.get(self.shared.get("a")), [1])
        self.assertEqual(self.get(self.shared.add("n")), 1)
        self.assertEqual(self.get(self.shared.add("n", 2)), 3)
        self.assertTrue(self.get(self.shared.delete("n")))
        self.clock.advance(5)
        self.assertIsNone(self.get(self.shared.get("a")))

    def test_mistakes_are_told_at_once(self):
        for call in (
            lambda: self.shared.get(""),
            lambda: self.shared.set("a", object()),
            lambda: self.shared.set("a", 1, expires=-1),
            lambda: self.shared.add("a", "1" * 70_000),
            lambda: self.shared.publish("a", {1, 2}),
        ):
            self.assertRaises(SharedStateError, call)
        failure = self.failureResultOf(self.shared.add("a", "1"))
        self.assertEqual(failure.value.code, "shared-invalid")

    def test_messages_come_later_and_in_order(self):
        self.chain.add(self.addon)
        self.chain.running()
        for number in range(3):
            self.assertEqual(self.get(self.shared.publish("news", number)), 1)
        self.assertEqual(self.addon.heard, [])
        self.clock.advance(0)
        self.assertEqual(self.addon.heard, [SharedMessage("news", n, 1) for n in range(3)])

    def test_messages_that_nobody_hears_are_not_kept(self):
        self.chain.running()
        self.get(self.shared.publish("news", 1))
        self.assertEqual(len(self.chain._messages), 0)

    def test_messages_that_wait_are_bounded(self):
        self.chain.add(self.addon)
        self.chain.running()
        for number in range(MOST_MESSAGES + 10):
            self.get(self.shared.publish("news", number))
        self.clock.advance(0)
        self.assertEqual(len(self.addon.heard), MOST_MESSAGES)
        self.get(self.shared.publish("news", "more"))
        self.clock.advance(0)
        self.assertEqual(self.addon.heard[-1].value, "more")
