from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import InterceptorError, RemoteProtocolError
from interceptor.model.messageflow import BytesMessage, Message
from interceptor.wire.messagecodec import Buffer, MessageCodec


def filled(data: bytes) -> Buffer:
    buffer = Buffer()
    buffer.append(data)
    return buffer


class LengthCodec(MessageCodec):
    """Messages with their length in two bytes in front."""

    def read(self, buffer: Buffer, from_client: bool) -> Message | None:
        head = buffer.peek(2)
        if head is None:
            return None
        data = buffer.take(2 + int.from_bytes(head, "big"))
        return None if data is None else BytesMessage(from_client, data[2:])

    def encode(self, message: Any) -> bytes:
        content: bytes = message.content
        return len(content).to_bytes(2, "big") + content


class BufferTests(SynchronousTestCase):
    def test_peeking_takes_nothing(self) -> None:
        buffer = filled(b"abc")
        self.assertEqual((buffer.peek(2), buffer.peek(4), len(buffer)), (b"ab", None, 3))

    def test_a_size_is_not_negative(self) -> None:
        buffer = filled(b"abc")
        self.assertRaises(ValueError, buffer.take, -1)
        self.assertRaises(ValueError, buffer.peek, -1)

    def test_taking(self) -> None:
        buffer = filled(b"abc")
        self.assertEqual((buffer.take(2), buffer.take(2), len(buffer)), (b"ab", None, 1))

    def test_lines(self) -> None:
        buffer = filled(b"one\r\ntwo\nthr")
        self.assertEqual(buffer.take_line(), b"one\r\n")
        self.assertEqual(buffer.take_line(), b"two\n")
        self.assertIsNone(buffer.take_line())
        buffer.append(b"ee\n")
        self.assertEqual(buffer.take_line(), b"three\n")

    def test_an_end_that_comes_in_pieces(self) -> None:
        buffer = Buffer()
        for byte in b"ab\r\n.\r":
            buffer.append(bytes((byte,)))
            self.assertIsNone(buffer.take_until(b"\r\n.\r\n"))
        buffer.append(b"\n")
        self.assertEqual(buffer.take_until(b"\r\n.\r\n"), b"ab\r\n.\r\n")

    def test_lines_are_bounded(self) -> None:
        for data in (b"12345", b"12345\n"):
            error = self.assertRaises(RemoteProtocolError, filled(data).take_line, 4)
            self.assertEqual(error.code, "line-too-long")
        self.assertEqual(filled(b"123\n").take_line(4), b"123\n")

    def test_what_was_taken_is_the_message(self) -> None:
        buffer = filled(b"abcd")
        buffer.take(1)
        buffer.take(2)
        self.assertEqual(buffer.pending, 4)
        self.assertEqual(buffer.end_message(), b"abc")
        self.assertEqual((buffer.pending, buffer.take_rest()), (1, b"d"))


class MessageCodecTests(SynchronousTestCase):
    def test_directions_are_apart(self) -> None:
        codec = LengthCodec()
        codec.receive(b"\0\1", True)
        codec.receive(b"\0\2xy", False)
        self.assertIsNone(codec.next_message(True))
        message: Any = codec.next_message(False)
        self.assertEqual((message.content, message.raw), (b"xy", b"\0\2xy"))
        self.assertIsNone(codec.next_message(False))

    def test_byte_by_byte(self) -> None:
        codec, found = LengthCodec(), []
        for byte in b"\0\1a\0\0\0\2bc":
            codec.receive(bytes((byte,)), True)
            while (message := codec.next_message(True)) is not None:
                found.append(message.raw)
        self.assertEqual(found, [b"\0\1a", b"\0\0", b"\0\2bc"])

    def test_messages_are_bounded(self) -> None:
        codec = LengthCodec()
        codec.limit = 10
        codec.receive(b"\0\x20" + bytes(9), True)
        error = self.assertRaises(RemoteProtocolError, codec.next_message, True)
        self.assertEqual(error.code, "message-too-large")

    def test_an_end_in_the_middle(self) -> None:
        codec = LengthCodec()
        codec.receive(b"\0\1a\0", True)
        codec.receive_end(True)
        self.assertIsNotNone(codec.next_message(True))
        error = self.assertRaises(RemoteProtocolError, codec.next_message, True)
        self.assertEqual(error.code, "message-truncated")

    def test_an_end_between_messages(self) -> None:
        codec = LengthCodec()
        codec.receive_end(True)
        self.assertIsNone(codec.next_message(True))

    def test_nothing_is_said_at_the_end(self) -> None:
        self.assertEqual(LengthCodec().refusal(InterceptorError("no")), b"")
