"""Messages and questions between the parent and a worker."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import SharedStateError
from interceptor.workers.channel import ANSWER_TIMEOUT, MOST_QUESTIONS, Channel


class ChannelTests(SynchronousTestCase):
    """`Channel`: two of them, and what they write in between."""

    def setUp(self):
        self.clock = Clock()
        self.received: list[Any] = []
        self.lost: list[str] = []
        self.answer: Any = None
        self.one = self.end("one")
        self.other = self.end("other")

    def end(self, name: str) -> Channel:
        def received(message: dict[str, Any]) -> object:
            self.received.append(message)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        channel = Channel(self.clock, received, lambda: self.lost.append(name))
        channel.makeConnection(StringTransport())
        return channel

    def carry(self) -> None:
        """Carry what either wrote to the other, byte by byte."""
        for one, other in ((self.one, self.other), (self.other, self.one)):
            data = one.transport.value()
            one.transport.clear()
            for index in range(len(data)):
                other.dataReceived(data[index : index + 1])

    def test_a_message_is_received(self):
        self.assertTrue(self.one.send({"do": "stop", "text": "\udcff\u20ac"}))
        self.carry()
        self.assertEqual(self.received, [{"do": "stop", "text": "\udcff\u20ac"}])
        self.assertEqual(self.other.transport.value(), b"")

    def test_a_question_is_answered(self):
        self.answer = [1, None]
        asked = self.one.ask({"do": "get"})
        self.carry()
        self.carry()
        self.assertEqual(self.successResultOf(asked), [1, None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_refusal_has_its_code(self):
        self.answer = SharedStateError("no room", "shared-full")
        asked = self.one.ask({"do": "set"})
        self.carry()
        self.carry()
        error = self.failureResultOf(asked, SharedStateError).value
        self.assertEqual((str(error), error.code), ("no room", "shared-full"))

    def test_an_answer_has_a_deadline(self):
        asked = self.one.ask({"do": "get"})
        self.clock.advance(ANSWER_TIMEOUT)
        self.assertEqual(self.failureResultOf(asked).value.code, "shared-unavailable")
        # The answer comes too late for anybody.
        self.carry()
        self.carry()

    def test_questions_are_bounded(self):
        asked = [self.one.ask({"do": "get"}) for _ in range(MOST_QUESTIONS)]
        late = self.one.ask({"do": "get"})
        self.assertEqual(self.failureResultOf(late).value.code, "shared-unavailable")
        self.one.connectionLost()
        for each in asked:
            self.failureResultOf(each, SharedStateError)

    def test_the_end_of_the_connection_ends_questions(self):
        asked = self.one.ask({"do": "get"})
        self.one.connectionLost()
        self.assertEqual(self.failureResultOf(asked).value.code, "shared-unavailable")
        self.assertEqual(self.lost, ["one"])
        later = self.one.ask({"do": "get"})
        self.assertEqual(self.failureResultOf(later).value.code, "shared-unavailable")
        self.assertFalse(self.one.send({"do": "stop"}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancelled_question_is_forgotten(self):
        asked = self.one.ask({"do": "get"})
        asked.cancel()
        self.failureResultOf(asked)
        self.carry()
        self.carry()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_peer_that_does_not_read_misses_what_is_dispensable(self):
        self.one.pauseProducing()
        self.assertFalse(self.one.send({"do": "message"}, dispensable=True))
        self.assertTrue(self.one.send({"do": "stop"}))
        self.one.resumeProducing()
        self.assertTrue(self.one.send({"do": "message"}, dispensable=True))
        self.carry()
        self.assertEqual([message["do"] for message in self.received], ["stop", "message"])
