"""Writing messages: as they came, or made anew."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.websocket import WebSocketMessage
from interceptor.wire.websocket import WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import Deflate, Deflater, Direction
from interceptor.wire.websocketwrite import MessageEncoder, encode_close, encode_frame
from tests.websockets import BINARY, CONTINUATION, TEXT, close_frame, frame, messages

DEFLATE = Deflate()
SEPARATE = Deflate(Direction(False), Direction(False))


class FrameTests(SynchronousTestCase):
    def test_lengths(self):
        for length in (0, 125, 126, 65535, 65536):
            data = b"x" * length
            self.assertEqual(encode_frame(2, data, masked=False), frame(2, data, masked=False))

    def test_masked_frames_have_keys_of_their_own(self):
        one, other = (encode_frame(2, b"hello", masked=True) for _ in range(2))
        self.assertNotEqual(one, other)
        self.assertEqual([each.content for each in messages(one + other, True)], [b"hello"] * 2)

    def test_closes(self):
        self.assertEqual(encode_close(1000, "bye", masked=False), b"\x88\x05\x03\xe8bye")
        self.assertEqual(encode_close(1005, "bye", masked=False), b"\x88\0")

    def test_a_long_reason_is_cut_between_characters(self):
        [message] = messages(encode_close(1000, "ö" * 100, masked=False), False)
        self.assertEqual(message.text, "ö" * 61)


class EncoderTests(SynchronousTestCase):
    """A client sends, and a server gets what the encoder makes of it."""

    def setUp(self):
        self.deflater = Deflater(Direction())

    def message(
        self, payload: bytes, deflate: Deflate | None = DEFLATE, compressed: bool = True
    ) -> WebSocketMessage:
        if compressed:
            assert deflate is not None
            if not deflate.client.takeover:
                self.deflater = Deflater(deflate.client)
            data = frame(TEXT, self.deflater.deflate(payload), reserved=4)
        else:
            data = frame(TEXT, payload)
        message = WebSocketMessage(True, "text", payload, 0.0, data, compressed)
        return message

    def received(self, data: bytes, deflate: Deflate | None = DEFLATE) -> list[bytes]:
        """What a server makes of it that has been there from the beginning."""
        reader = WebSocketReader(True, WebSocketLimits(), deflate)
        reader.receive_data(data)
        return [each.content for each in iter(lambda: reader.next_message(0.0), None)]

    def test_what_nobody_changed(self):
        encoder = MessageEncoder(True, DEFLATE, DEFLATE)
        for text in (b"hello" * 20, b"hello" * 30):
            message = self.message(text)
            self.assertEqual(encoder.encode(message), message.frames)

    def test_setting_what_is_there_changes_nothing(self):
        encoder = MessageEncoder(True, None, None)
        message = self.message(b"hello", compressed=False)
        message.content = b"hello"
        message.text = "hello"
        self.assertEqual(encoder.encode(message), message.frames)

    def test_a_change(self):
        encoder = MessageEncoder(True, None, None)
        message = self.message(b"hello", compressed=False)
        message.content = b"bye"
        [read] = messages(encoder.encode(message), True)
        self.assertEqual((read.type, read.content), ("text", b"bye"))

    def test_after_a_change_everything_is_compressed_anew(self):
        encoder = MessageEncoder(True, DEFLATE, DEFLATE)
        texts = [b"first message " * 9, b"second message " * 9, b"third message " * 9]
        sent = [self.message(text) for text in texts]
        sent[1].content = b"another message " * 9
        out = [encoder.encode(message) for message in sent]
        self.assertEqual(out[0], sent[0].frames)
        self.assertNotEqual(out[2], sent[2].frames)
        self.assertTrue(out[1][0] & 0x40 and out[2][0] & 0x40)
        self.assertEqual(
            self.received(b"".join(out)), [texts[0], b"another message " * 9, texts[2]]
        )

    def test_after_a_dropped_message_too(self):
        encoder = MessageEncoder(True, DEFLATE, DEFLATE)
        encoder.dropped(self.message(b"secret " * 20))
        message = self.message(b"secret " * 20)
        out = encoder.encode(message)
        self.assertNotEqual(out, message.frames)
        self.assertEqual(self.received(out), [b"secret " * 20])

    def test_without_takeover_the_next_one_stays_as_it_is(self):
        encoder = MessageEncoder(True, SEPARATE, SEPARATE)
        first = self.message(b"hello" * 20, SEPARATE)
        first.content = b"other" * 20
        second = self.message(b"hello" * 20, SEPARATE)
        out = encoder.encode(first)
        self.assertEqual(encoder.encode(second), second.frames)
        self.assertEqual(self.received(out, SEPARATE), [b"other" * 20])

    def test_injected_messages_disturb_nobody(self):
        encoder = MessageEncoder(True, DEFLATE, DEFLATE)
        first, second = self.message(b"hello" * 50), self.message(b"hello" * 50)
        injected = WebSocketMessage(True, "text", b"hello" * 50)
        out = [encoder.encode(first), encoder.encode(injected), encoder.encode(second)]
        self.assertEqual(out[2], second.frames)
        self.assertFalse(out[1][0] & 0x40)
        self.assertEqual(self.received(b"".join(out)), [b"hello" * 50] * 3)

    def test_a_receiver_without_compression(self):
        encoder = MessageEncoder(True, DEFLATE, None)
        out = encoder.encode(self.message(b"hello" * 50)) + encoder.encode(
            self.message(b"hello" * 50)
        )
        self.assertFalse(out[0] & 0x40)
        self.assertEqual(self.received(out, None), [b"hello" * 50] * 2)

    def test_a_receiver_with_a_smaller_window(self):
        small = Deflate(Direction(True, 9), Direction())
        encoder = MessageEncoder(True, DEFLATE, small)
        text = b"".join(b"%05d " % number for number in range(2000))
        out = encoder.encode(self.message(text)) + encoder.encode(self.message(text))
        self.assertEqual(self.received(out, small), [text] * 2)

    def test_fragments_stay(self):
        data = frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b")
        message = WebSocketMessage(True, "binary", None, 0.0, data)
        self.assertEqual(MessageEncoder(True, None, None).encode(message), data)

    def test_a_close_with_another_code(self):
        [message] = messages(close_frame(1000, b"bye"), True)
        message.close_code = 4000
        [read] = messages(MessageEncoder(True, None, None).encode(message), True)
        self.assertEqual((read.close_code, read.text), (4000, "bye"))
