from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.messageflow import BytesMessage, Message, MessageFlow


def flow() -> MessageFlow:
    client = ClientConnection(("192.0.2.1", 1), ("192.0.2.2", 2), 0.0)
    return MessageFlow(client, ServerConnection(("example.test", 79)), type="finger")


class MessageTests(SynchronousTestCase):
    def test_dropping(self) -> None:
        message = Message(True, b"data")
        message.drop()
        self.assertTrue(message.dropped)

    def test_representation(self) -> None:
        self.assertEqual(repr(BytesMessage(False, b"data")), "<BytesMessage <- 4 bytes>")


class MessageFlowTests(SynchronousTestCase):
    def test_type(self) -> None:
        self.assertEqual((flow().type, flow().copy().type), ("finger", "finger"))

    def test_the_latest_message(self) -> None:
        made = flow()
        self.assertIsNone(made.message)
        made.messages += [BytesMessage(True, b"1"), BytesMessage(False, b"2")]
        self.assertEqual(made.message.content, b"2")

    def test_a_copy_is_independent(self) -> None:
        made = flow()
        made.messages.append(BytesMessage(True, b"1"))
        made.bytes_from_client = 1
        copied = made.copy()
        made.messages[0].content = b"2"
        self.assertEqual(copied.messages[0].content, b"1")
        self.assertEqual(copied.bytes_from_client, 1)

    def test_going_back(self) -> None:
        made = flow()
        made.messages.append(BytesMessage(True, b"1"))
        made.backup()
        self.assertFalse(made.modified())
        made.messages[0].content = b"2"
        self.assertTrue(made.modified())
        made.revert()
        self.assertEqual(made.messages[0].content, b"1")

    def test_nothing_can_be_sent_when_it_is_over(self) -> None:
        self.assertRaises(RuntimeError, flow().inject, True, BytesMessage(True, b"1"))

    def test_representation(self) -> None:
        self.assertEqual(
            repr(flow()), "<MessageFlow finger 192.0.2.1:1 <-> example.test:79, 0 messages>"
        )
