"""Sides: what becomes of a connection when one end or the other is over."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.memory import HalfCloseRecorder, MemoryLink
from interceptor.net.sides import Side, SideProtocol


class Listening(SideProtocol):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def read_closed(self) -> None:
        self.ended = True


class SideTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.side = Side(self.clock)
        self.peer = HalfCloseRecorder()
        self.link = MemoryLink(self.peer, self.side)
        self.protocol = Listening()
        self.side.use(self.protocol)

    def test_lingering_close_ends_when_the_peer_has_read_all(self):
        self.side.write(b"last words")
        self.side.close(5.0, linger=True)
        self.link.flush()
        self.assertEqual(self.peer.data, b"last words")
        self.assertTrue(self.peer.ended)
        self.peer.close()
        self.link.flush()
        self.assertTrue(self.side.lost)
        self.assertFalse(self.link.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lingering_close_ends_when_the_peer_closes_its_direction_only(self):
        self.side.close(5.0, linger=True)
        self.link.flush()
        self.peer.close_write()
        self.link.flush()
        self.assertTrue(self.side.lost)

    def test_lingering_close_drops_what_still_comes(self):
        self.side.close(5.0, linger=True)
        self.peer.write(b"more")
        self.link.flush()
        self.assertEqual(self.protocol.data, b"")
        self.assertFalse(self.side.lost)

    def test_lingering_close_has_a_deadline(self):
        self.side.close(5.0, linger=True)
        self.link.flush()
        self.clock.advance(5.0)
        self.link.flush()
        self.assertTrue(self.side.lost)

    def test_close_after_half_close(self):
        self.side.half_close()
        self.link.flush()
        self.assertTrue(self.peer.ended)
        self.side.close(5.0)
        self.link.flush()
        self.assertTrue(self.side.lost)

    def test_a_protocol_that_comes_later_hears_of_the_end(self):
        self.peer.close_write()
        self.link.flush()
        self.assertTrue(self.protocol.ended)
        later = Listening()
        self.side.use(later, b"kept")
        self.assertEqual((later.data, later.ended), (b"kept", True))


class AskedSocket(socket.socket):
    """A socket that notes how much it is asked for at once."""

    asked = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.asked = size
        return b"some"


class ReadSizeTests(SynchronousTestCase):
    def test_64_kib_and_a_head_are_one_read(self):
        asked = AskedSocket()
        self.addCleanup(asked.close)
        side = Side(Clock())
        connection = Connection(asked, side, MemoryReactor())
        side.makeConnection(connection)
        side.use(Listening())
        connection.doRead()
        self.assertGreater(asked.asked, 65536 + 4096)
