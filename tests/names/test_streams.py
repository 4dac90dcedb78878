"""Messages on streams."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.names.streams import MessageReader, frame, looks_like_request
from tests.names.test_wire import QUESTION, message


class MessageReaderTests(SynchronousTestCase):
    def test_every_way_to_cut(self):
        messages = [b"one", b"", b"x" * 300]
        data = b"".join(map(frame, messages))
        for size in (1, 2, 3, 7, len(data)):
            reader = MessageReader()
            read: list[bytes] = []
            for at in range(0, len(data), size):
                read += reader.receive(data[at : at + size])
            self.assertEqual(read, messages)
            self.assertFalse(reader.in_the_middle)

    def test_in_the_middle(self):
        reader = MessageReader()
        self.assertEqual(list(reader.receive(b"\0")), [])
        self.assertTrue(reader.in_the_middle)

    def test_what_is_not_asked_for_stays(self):
        reader = MessageReader()
        self.assertEqual(next(reader.receive(frame(b"a") + frame(b"b"))), b"a")
        self.assertEqual(list(reader.receive(b"")), [b"b"])


class LooksLikeRequestTests(SynchronousTestCase):
    def test_a_request_byte_by_byte(self):
        data = frame(message())
        for end in range(14):
            self.assertIsNone(looks_like_request(data[:end]), end)
        for end in range(14, len(data) + 1):
            self.assertTrue(looks_like_request(data[:end]), end)

    def test_what_is_none(self):
        for data in (
            frame(message(flags=0x8180)),
            frame(message(QUESTION * 2, 2)),
            frame(message(QUESTION, 1, 1)),
            frame(message(flags=0x7800)),
            frame(message()[:12]),
            b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(50),
            b"GET / HTTP/1.1\r\n\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
        ):
            self.assertIs(looks_like_request(data), False, data)
