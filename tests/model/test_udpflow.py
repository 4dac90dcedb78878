"""UDP flows as records."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.udp import UDPFlow, UDPMessage


class UDPFlowTests(SynchronousTestCase):
    def setUp(self):
        self.flow = UDPFlow(
            ClientConnection(("192.0.2.1", 5000)), ServerConnection(("192.0.2.2", 514)), "udp"
        )

    def test_messages(self):
        message = UDPMessage(True, b"hello", 1.0)
        self.assertEqual(message, message.copy())
        self.assertEqual(hash(message), hash(message.copy()))
        message.drop()
        self.assertTrue(message.dropped)
        self.assertNotEqual(message, UDPMessage(True, b"hello", 1.0))
        self.assertEqual(repr(message), "<UDPMessage -> 5 bytes>")

    def test_copies_and_backups(self):
        flow = self.flow
        flow.messages.append(UDPMessage(True, b"one"))
        flow.lost = 3
        flow.backup()
        copy = flow.copy()
        flow.messages[0].content = b"two"
        self.assertTrue(flow.modified())
        self.assertEqual((copy.messages[0].content, copy.lost, copy.live), (b"one", 3, False))
        flow.revert()
        self.assertEqual(flow.messages[0].content, b"one")
        self.assertEqual(repr(flow), "<UDPFlow 192.0.2.1:5000 <-> 192.0.2.2:514, 1 messages>")

    def test_a_mere_record_injects_nothing(self):
        self.flow.inject(b"hello")
        self.assertEqual(self.flow.messages, [])
