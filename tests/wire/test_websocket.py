"""Reading what one peer of a WebSocket sends."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.websocket import WebSocketMessage
from interceptor.wire.websocket import WebSocketError, WebSocketLimits, WebSocketReader
from tests.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
)


class ReaderTestCase(SynchronousTestCase):
    """Every input is read whole, byte by byte and in threes: it has to mean the same."""

    from_client = True

    def read(
        self,
        data: bytes,
        limits: WebSocketLimits | None = None,
        *,
        from_client: bool = True,
        step: int = 0,
    ) -> tuple[list[WebSocketMessage], WebSocketError | None]:
        """Read until there is nothing more, or what is there is wrong."""
        reader = WebSocketReader(from_client, limits or WebSocketLimits())
        found: list[WebSocketMessage] = []
        step = step or max(1, len(data))
        try:
            for start in range(0, max(1, len(data)), step):
                reader.receive_data(data[start : start + step])
                while (message := reader.next_message(1.5)) is not None:
                    found.append(message)
        except WebSocketError as error:
            return found, error
        return found, None

    def read_each_way(
        self, data: bytes, limits: WebSocketLimits | None = None, *, from_client: bool = True
    ) -> tuple[list[tuple[str, bytes]], WebSocketError | None]:
        results = []
        for step in (0, 1, 3):
            found, error = self.read(data, limits, from_client=from_client, step=step)
            shown = [(message.type, message.content) for message in found]
            results.append((shown, None if error is None else (error.close_code, error.code)))
        self.assertEqual(results[1:], results[:1] * 2)
        return results[0][0], error

    def refused(self, data: bytes, close_code: int, code: str, *, from_client: bool = True) -> None:
        _, error = self.read_each_way(data, from_client=from_client)
        assert error is not None
        self.assertEqual((error.close_code, error.code), (close_code, code))


class MessageTests(ReaderTestCase):
    def test_lengths_of_each_encoding(self):
        for length in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537):
            for opcode, kind in ((TEXT, "text"), (BINARY, "binary")):
                payload = b"*" * length
                found, error = self.read(frame(opcode, payload))
                self.assertIsNone(error)
                [message] = found
                self.assertEqual((message.type, message.content), (kind, payload))

    def test_of_a_server(self):
        found, error = self.read_each_way(frame(TEXT, b"hello", masked=False), from_client=False)
        self.assertEqual((found, error), ([("text", b"hello")], None))

    def test_frames_are_kept_as_they_came(self):
        data = frame(TEXT, b"hello", key=b"abcd")
        for step in (0, 1, 3):
            [message], _ = self.read(data, step=step)
            self.assertEqual(message.frames, data)
            self.assertEqual(
                (message.from_client, message.timestamp, message.edited), (True, 1.5, False)
            )

    def test_many_in_one_chunk(self):
        data = b"".join(frame(BINARY, b"%d" % number) for number in range(50))
        found, _ = self.read_each_way(data)
        self.assertEqual(found, [("binary", b"%d" % number) for number in range(50)])

    def test_fragments(self):
        data = (
            frame(TEXT, b"one ", fin=False)
            + frame(CONTINUATION, b"", fin=False)
            + frame(CONTINUATION, b"two ", fin=False)
            + frame(CONTINUATION, b"three")
        )
        found, error = self.read_each_way(data + frame(BINARY, b"\0"))
        self.assertEqual((found, error), ([("text", b"one two three"), ("binary", b"\0")], None))
        [message], _ = self.read(data)
        self.assertEqual(message.frames, data)

    def test_fragments_of_bytes_are_not_looked_at(self):
        data = frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe")
        found, _ = self.read_each_way(data)
        self.assertEqual(found, [("binary", b"\xff\xfe")])

    def test_control_frames_between_fragments(self):
        first, last = frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b")
        found, error = self.read_each_way(first + frame(PING, b"?") + frame(PONG, b"!") + last)
        self.assertIsNone(error)
        self.assertEqual(found, [("ping", b"?"), ("pong", b"!"), ("text", b"ab")])
        message = self.read(first + frame(PING) + last)[0][-1]
        self.assertEqual(message.frames, first + last)

    def test_an_incomplete_frame_waits(self):
        found, error = self.read_each_way(frame(BINARY, b"hello")[:-1])
        self.assertEqual((found, error), ([], None))


class TextTests(ReaderTestCase):
    def test_characters_across_fragments(self):
        text = "κόσμε 😀".encode()
        for cut in range(len(text) + 1):
            data = frame(TEXT, text[:cut], fin=False) + frame(CONTINUATION, text[cut:])
            found, error = self.read_each_way(data)
            self.assertEqual((found, error), ([("text", text)], None))

    def test_what_is_no_utf_8(self):
        for payload in (
            b"\x80",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xfe",
            b"abc\xce",
            b"\xf0\x9f\x98",
        ):
            self.refused(frame(TEXT, payload), 1007, "websocket-text-invalid")
            fragments = frame(TEXT, payload[:1], fin=False) + frame(CONTINUATION, payload[1:])
            self.refused(fragments, 1007, "websocket-text-invalid")

    def test_it_is_met_before_the_frame_is_complete(self):
        data = frame(TEXT, b"abc\xff" + b"x" * 1000)
        reader = WebSocketReader(True, WebSocketLimits())
        reader.receive_data(data[:12])
        self.assertRaises(WebSocketError, reader.next_message, 0.0)

    def test_it_is_met_in_the_chunk_it_came_with(self):
        data = frame(TEXT, b"abc\xf4\x90" + b"x" * 1000)
        reader = WebSocketReader(True, WebSocketLimits())
        for position in range(13):
            reader.receive_data(data[position : position + 1])
            if position < 12:
                self.assertIsNone(reader.next_message(0.0))
        self.assertRaises(WebSocketError, reader.next_message, 0.0)

    def test_it_is_met_before_the_message_is_complete(self):
        self.refused(frame(TEXT, b"a\xff", fin=False), 1007, "websocket-text-invalid")

    def test_a_large_text_in_pieces(self):
        payload = "äöü".encode() * 50_000
        data = frame(TEXT, payload)
        for step in (1000, 4099, 65536):
            [message], error = self.read(data, step=step)
            self.assertIsNone(error)
            self.assertEqual(message.content, payload)
            self.assertEqual(message.frames, data)

    def test_scanned_fragments(self):
        parts = ["ä".encode() * 3000 + b"\xc3", b"\xa4" * 1 + b"x" * 5000]
        data = frame(TEXT, parts[0], fin=False) + frame(CONTINUATION, parts[1])
        for step in (0, 7, 1000):
            [message], error = self.read(data, step=step)
            self.assertIsNone(error)
            self.assertEqual(message.content, b"".join(parts))


class RulesTests(ReaderTestCase):
    def test_reserved_bits(self):
        for reserved in range(1, 8):
            for opcode in (TEXT, BINARY, PING, CLOSE):
                data = frame(opcode, b"", reserved=reserved)
                self.refused(data, 1002, "websocket-reserved-bits")

    def test_reserved_opcodes(self):
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            for payload in (b"", b"x" * 200):
                self.refused(frame(opcode, payload), 1002, "websocket-opcode-reserved")

    def test_an_unmasked_client(self):
        self.refused(frame(TEXT, b"a", masked=False), 1002, "websocket-mask-missing")
        self.refused(frame(PING, b"a", masked=False), 1002, "websocket-mask-missing")

    def test_a_masked_server(self):
        data = frame(TEXT, b"a")
        self.refused(data, 1002, "websocket-mask-unexpected", from_client=False)

    def test_long_and_fragmented_control_frames(self):
        for opcode in (PING, PONG, CLOSE):
            self.refused(frame(opcode, b"x" * 126), 1002, "websocket-control-too-long")
            self.refused(frame(opcode, b"", fin=False), 1002, "websocket-control-fragmented")

    def test_a_control_frame_of_125_bytes(self):
        found, error = self.read_each_way(frame(PING, b"x" * 125))
        self.assertEqual((found, error), ([("ping", b"x" * 125)], None))

    def test_a_continuation_of_nothing(self):
        for fin in (False, True):
            data = frame(CONTINUATION, b"a", fin=fin)
            self.refused(data, 1002, "websocket-fragment-unexpected")
        data = frame(TEXT, b"a") + frame(CONTINUATION, b"b")
        self.refused(data, 1002, "websocket-fragment-unexpected")

    def test_a_message_inside_another(self):
        for opcode in (TEXT, BINARY):
            data = frame(TEXT, b"a", fin=False) + frame(opcode, b"b")
            self.refused(data, 1002, "websocket-fragment-expected")

    def test_lengths_that_are_not_minimal(self):
        for length in (b"\x7e\x00\x05", b"\x7f" + (65535).to_bytes(8, "big")):
            data = b"\x82" + bytes((length[0] | 0x80,)) + length[1:] + b"\0" * 4
            self.refused(data, 1002, "websocket-length-invalid")

    def test_a_negative_length(self):
        data = b"\x82\xff" + b"\xff" * 8 + b"\0" * 4
        self.refused(data, 1002, "websocket-length-invalid")

    def test_messages_before_the_fault_are_there(self):
        found, error = self.read_each_way(frame(TEXT, b"fine") + frame(5))
        self.assertEqual(found, [("text", b"fine")])
        self.assertIsNotNone(error)


class CloseTests(ReaderTestCase):
    def test_codes(self):
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1014, 3000, 3999, 4999):
            [message], error = self.read(close_frame(code, "schön".encode()))
            self.assertIsNone(error)
            self.assertEqual((message.close_code, message.text), (code, "schön"))

    def test_without_a_code(self):
        [message], error = self.read(close_frame(None))
        self.assertIsNone(error)
        self.assertEqual((message.close_code, message.content), (1005, b""))

    def test_codes_that_must_not_be_sent(self):
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
            self.refused(close_frame(code), 1002, "websocket-close-invalid")

    def test_half_a_code(self):
        self.refused(frame(CLOSE, b"\x03"), 1002, "websocket-close-invalid")

    def test_a_reason_that_is_no_utf_8(self):
        self.refused(close_frame(1000, b"\xff"), 1007, "websocket-text-invalid")

    def test_nothing_is_read_after_it(self):
        found, error = self.read_each_way(close_frame() + frame(7, b"nonsense") + b"\xff" * 50)
        self.assertEqual((found, error), ([("close", b"")], None))


class LimitTests(ReaderTestCase):
    def test_a_frame(self):
        limits = WebSocketLimits(message=1000, frame=100)
        _, error = self.read_each_way(frame(BINARY, b"x" * 101), limits)
        assert error is not None
        self.assertEqual((error.close_code, error.code), (1009, "websocket-too-big"))
        found, error = self.read_each_way(frame(BINARY, b"x" * 100), limits)
        self.assertEqual((len(found), error), (1, None))

    def test_it_is_met_with_the_header(self):
        reader = WebSocketReader(True, WebSocketLimits(frame=100))
        reader.receive_data(frame(BINARY, b"x" * 101)[:8])
        self.assertRaises(WebSocketError, reader.next_message, 0.0)

    def test_a_message_of_fragments(self):
        limits = WebSocketLimits(message=100)
        data = frame(BINARY, b"x" * 60, fin=False) + frame(CONTINUATION, b"x" * 41)
        _, error = self.read_each_way(data, limits)
        assert error is not None
        self.assertEqual(error.close_code, 1009)
        data = frame(BINARY, b"x" * 60, fin=False) + frame(CONTINUATION, b"x" * 40)
        self.assertIsNone(self.read_each_way(data, limits)[1])

    def test_control_frames_do_not_count(self):
        limits = WebSocketLimits(message=100)
        data = frame(BINARY, b"x" * 100, fin=False) + frame(PING, b"x" * 100) + frame(CONTINUATION)
        self.assertIsNone(self.read_each_way(data, limits)[1])

    def test_endless_empty_fragments(self):
        reader = WebSocketReader(True, WebSocketLimits(message=1000))
        reader.receive_data(frame(BINARY, b"", fin=False))
        self.assertIsNone(reader.next_message(0.0))
        many = frame(CONTINUATION, b"", fin=False) * 20_000

        def feed() -> None:
            for _ in range(20):
                reader.receive_data(many)
                reader.next_message(0.0)

        error = self.assertRaises(WebSocketError, feed)
        self.assertEqual(error.close_code, 1009)


class BufferTests(ReaderTestCase):
    def test_what_is_buffered(self):
        reader = WebSocketReader(True, WebSocketLimits())
        data = frame(BINARY, b"hello")
        reader.receive_data(data + data[:3])
        self.assertEqual(reader.buffered, len(data) + 3)
        self.assertIsNotNone(reader.next_message(0.0))
        self.assertEqual(reader.buffered, 3)
        reader.receive_data(data[3:])
        self.assertIsNotNone(reader.next_message(0.0))
        self.assertEqual(reader.buffered, 0)

    def test_random_cuts(self):
        sent = []
        data = b""
        for number in range(200):
            payload = os.urandom(number * 7)
            sent.append(payload)
            data += frame(BINARY, payload, key=os.urandom(4))
        for step in (5, 13, 127, 1000, 5000):
            found, error = self.read(data, step=step)
            self.assertIsNone(error)
            self.assertEqual([message.content for message in found], sent)
