"""permessage-deflate: its negotiation, and the two directions."""

from __future__ import annotations

import tracemalloc
import zlib

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.websocket import WebSocketError, WebSocketLimits, WebSocketReader
from interceptor.wire.websocketdeflate import (
    Deflate,
    Deflater,
    Direction,
    Inflater,
    agreed,
    is_offer,
    parse_extensions,
)
from tests.websockets import CONTINUATION, TEXT, frame


def deflated(data: bytes, direction: Direction | None = None) -> bytes:
    """Compress one message."""
    return Deflater(direction or Direction()).deflate(data)


class ExtensionTests(SynchronousTestCase):
    def test_names_and_parameters(self):
        found = parse_extensions(
            [
                b'permessage-deflate; client_max_window_bits; server_max_window_bits="10", x-foo',
                b"Bar",
            ]
        )
        self.assertEqual(
            [(each.name, each.parameters) for each in found],
            [
                (
                    "permessage-deflate",
                    (("client_max_window_bits", None), ("server_max_window_bits", "10")),
                ),
                ("x-foo", ()),
                ("bar", ()),
            ],
        )

    def test_as_written(self):
        [one, other] = parse_extensions([b" a ;b = 1 , c"])
        self.assertEqual((one.written, other.written), (b"a ;b = 1", b"c"))

    def test_malformed(self):
        for value in (b"a b", b"a; b=", b";", b"a;;b", b"a; b=c d", b"\xff"):
            self.assertRaises(ValueError, parse_extensions, [value])

    def test_offers(self):
        for value, expected in (
            (b"permessage-deflate", True),
            (b"permessage-deflate; client_max_window_bits", True),
            (b"permessage-deflate; client_max_window_bits=8; server_no_context_takeover", True),
            (b"permessage-deflate; server_max_window_bits", False),
            (b"permessage-deflate; server_max_window_bits=7", False),
            (b"permessage-deflate; server_max_window_bits=08", False),
            (b"permessage-deflate; client_max_window_bits=16", False),
            (b"permessage-deflate; client_no_context_takeover=1", False),
            (b"permessage-deflate; what", False),
            (b"permessage-deflate; client_max_window_bits; client_max_window_bits", False),
            (b"x-webkit-deflate-frame", False),
        ):
            [extension] = parse_extensions([value])
            self.assertEqual(is_offer(extension), expected, value)

    def test_answers(self):
        def answer(value: bytes) -> Deflate | None:
            return agreed(parse_extensions([value]))

        self.assertIsNone(answer(b""))
        self.assertEqual(answer(b"permessage-deflate"), Deflate())
        self.assertEqual(
            answer(b"permessage-deflate; server_no_context_takeover; client_max_window_bits=10"),
            Deflate(Direction(True, 10), Direction(False, 15)),
        )
        for value in (
            b"x-foo",
            b"permessage-deflate, permessage-deflate",
            b"permessage-deflate; client_max_window_bits",
            b"permessage-deflate; client_max_window_bits=99",
            b"permessage-deflate; foo",
        ):
            self.assertRaises(ValueError, answer, value)


class InflaterTests(SynchronousTestCase):
    def test_with_and_without_takeover(self):
        for takeover in (True, False):
            for bits in range(8, 16):
                direction = Direction(takeover, bits)
                deflater, inflater = Deflater(direction), Inflater(direction)
                for text in (b"hello" * 10, b"", b"hello" * 1000, bytes(range(256)) * 20):
                    sent = deflater.deflate(text)
                    self.assertEqual(inflater.inflate(sent, 1 << 20, True), text, direction)

    def test_the_second_message_refers_to_the_first(self):
        deflater, inflater = Deflater(Direction()), Inflater(Direction())
        text = bytes(range(256))
        first, second = deflater.deflate(text), deflater.deflate(text)
        self.assertLess(len(second), 20)
        self.assertEqual(inflater.inflate(first, 1000, True), text)
        self.assertEqual(inflater.inflate(second, 1000, True), text)

    def test_a_new_compressor_can_follow_another(self):
        inflater = Inflater(Direction())
        for _ in range(3):
            self.assertEqual(inflater.inflate(deflated(b"abc" * 99), 1000, True), b"abc" * 99)

    def test_a_final_block_inside_a_message(self):
        maker = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = maker.compress(b"hello") + maker.flush(zlib.Z_FINISH) + b"\0"
        inflater = Inflater(Direction())
        self.assertEqual(inflater.inflate(data, 100, True), b"hello")
        self.assertEqual(inflater.inflate(deflated(b"again"), 100, True), b"again")

    def test_the_limit(self):
        data = deflated(b"x" * 1000)
        self.assertEqual(len(Inflater(Direction()).inflate(data, 1000, True)), 1000)
        error = self.assertRaises(WebSocketError, Inflater(Direction()).inflate, data, 999, True)
        self.assertEqual((error.close_code, error.code), (1009, "websocket-too-big"))

    def test_a_bomb_takes_no_memory(self):
        bomb = deflated(bytes(200 << 20))
        inflater = Inflater(Direction())
        tracemalloc.start()
        try:
            self.assertRaises(WebSocketError, inflater.inflate, bomb, 1 << 20, True)
            self.assertLess(tracemalloc.get_traced_memory()[1], 8 << 20)
        finally:
            tracemalloc.stop()

    def test_work_is_bounded(self):
        # Each of its streams is two bytes and inflates to nothing.
        ends = b"\x03\x00" * 1000
        for data in (ends, ends * 100):
            error = self.assertRaises(
                WebSocketError, Inflater(Direction()).inflate, data, 100, True
            )
            self.assertEqual((error.close_code, error.code), (1009, "websocket-too-big"))
        slow = deflated(bytes(32 << 20))
        self.assertEqual(len(Inflater(Direction(), 60).inflate(slow, 1 << 30, True)), 32 << 20)
        error = self.assertRaises(
            WebSocketError, Inflater(Direction(), 0.0001).inflate, slow, 1 << 30, True
        )
        self.assertIn("decode_timeout", str(error))

    def test_damage(self):
        error = self.assertRaises(
            WebSocketError, Inflater(Direction()).inflate, b"\xff\xff\xff", 100, True
        )
        self.assertEqual((error.close_code, error.code), (1007, "websocket-deflate-damaged"))


class CompressedMessageTests(SynchronousTestCase):
    def read(self, data: bytes, limit: int = 1000) -> list[tuple[str, bytes, bool]]:
        reader = WebSocketReader(True, WebSocketLimits(message=limit), Deflate())
        reader.receive_data(data)
        found = iter(lambda: reader.next_message(0.0), None)
        return [(each.type, each.content, each.compressed) for each in found]

    def test_in_one_frame(self):
        data = frame(TEXT, deflated(b"hello"), reserved=4) + frame(TEXT, b"plain")
        self.assertEqual(self.read(data), [("text", b"hello", True), ("text", b"plain", False)])

    def test_in_fragments(self):
        text = "schön".encode()
        packed = deflated(text)
        for cut in range(len(packed)):
            data = frame(TEXT, packed[:cut], fin=False, reserved=4)
            data += frame(CONTINUATION, packed[cut:])
            self.assertEqual(self.read(data), [("text", text, True)])

    def test_text_that_inflates_to_no_utf_8(self):
        data = frame(TEXT, deflated(b"\xff"), reserved=4)
        self.assertEqual(self.assertRaises(WebSocketError, self.read, data).close_code, 1007)

    def test_the_limit_is_that_of_the_whole_message(self):
        packed = deflated(b"x" * 1001)
        for data in (
            frame(TEXT, packed, reserved=4),
            frame(TEXT, packed[:5], fin=False, reserved=4) + frame(CONTINUATION, packed[5:]),
        ):
            self.assertEqual(self.assertRaises(WebSocketError, self.read, data).close_code, 1009)

    def test_the_bit_in_a_later_fragment(self):
        packed = deflated(b"hello")
        data = frame(TEXT, packed[:2], fin=False, reserved=4)
        data += frame(CONTINUATION, packed[2:], reserved=4)
        error = self.assertRaises(WebSocketError, self.read, data)
        self.assertEqual(error.code, "websocket-reserved-bits")

    def test_the_other_bits(self):
        for reserved in (1, 2, 3, 5, 6, 7):
            data = frame(TEXT, deflated(b""), reserved=reserved)
            error = self.assertRaises(WebSocketError, self.read, data)
            self.assertEqual(error.code, "websocket-reserved-bits")
