"""What all flows of whole connections do alike."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.messageflow import BytesMessage, MessageFlow
from interceptor.model.tcpflow import TCPFlow, TCPMessage
from interceptor.model.udpflow import UDPFlow, UDPMessage

ENDS = (ClientConnection(("192.0.2.1", 5000)), ServerConnection(("192.0.2.2", 80)))


class ConnectionFlowTests:
    """Has to hold of each kind."""

    kind: Any
    message: Any
    words: str

    def setUp(self) -> None:
        """Make a flow of two messages."""
        self.flow = self.kind(*ENDS, "regular")
        self.flow.messages += [self.message(True, b"one"), self.message(False, b"two")]
        for number, name in enumerate(self.flow.facts):
            setattr(self.flow, name, f"value {number}")

    def test_a_copy_has_its_own_messages(self: Any) -> None:
        made = self.flow.copy()
        self.assertEqual(made.messages, self.flow.messages)
        made.messages[0].content = b"changed"
        self.assertEqual(self.flow.messages[0].content, b"one")
        made.messages.pop()
        self.assertEqual(len(self.flow.messages), 2)

    def test_a_copy_has_all_that_was_counted(self: Any) -> None:
        self.flow.forgotten = 7
        made = self.flow.copy()
        self.assertEqual(made.forgotten, 7)
        for name in self.flow.facts:
            self.assertEqual(getattr(made, name), getattr(self.flow, name), name)

    def test_messages_are_reverted(self: Any) -> None:
        self.flow.backup()
        self.assertFalse(self.flow.modified())
        self.flow.messages[1].content = b"changed"
        self.assertTrue(self.flow.modified())
        self.flow.revert()
        self.assertEqual([each.content for each in self.flow.messages], [b"one", b"two"])

    def test_it_says_between_whom(self: Any) -> None:
        expected = f"<{self.words} 192.0.2.1:5000 <-> 192.0.2.2:80, 2 messages>"
        self.assertEqual(repr(self.flow), expected)

    def test_a_message_says_whence_it_came(self: Any) -> None:
        name = self.message.__name__
        self.assertEqual(
            [repr(each) for each in self.flow.messages],
            [f"<{name} -> 3 bytes>", f"<{name} <- 3 bytes>"],
        )


class TCPFlowTests(ConnectionFlowTests, SynchronousTestCase):
    """`TCPFlow`."""

    kind, message, words = TCPFlow, TCPMessage, "TCPFlow"


class UDPFlowTests(ConnectionFlowTests, SynchronousTestCase):
    """`UDPFlow`."""

    kind, message, words = UDPFlow, UDPMessage, "UDPFlow"


class MessageFlowTests(ConnectionFlowTests, SynchronousTestCase):
    """`MessageFlow`, whose kind is the protocol's."""

    kind, message, words = MessageFlow, BytesMessage, "MessageFlow messages"

    def setUp(self) -> None:
        super().setUp()
        self.flow.type = "messages"
