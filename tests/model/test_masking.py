"""Masking of WebSocket payloads."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.masking import is_ascii, mask, payload_of, rotated
from tests.websockets import MASK, frame


def slowly(data: bytes, key: bytes) -> bytes:
    """Mask as RFC 6455 section 5.3 has it."""
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


class MaskTests(SynchronousTestCase):
    def test_any_length(self):
        for length in (*range(20), 125, 126, 2047, 2048, 2049, 2050, 2051, 2052, 9999):
            data = os.urandom(length)
            self.assertEqual(mask(data, MASK), slowly(data, MASK), length)

    def test_keys_with_zeros(self):
        for key in (bytes(4), b"\0\1\0\2", b"\1\0\0\0", b"\xff\xff\xff\xff"):
            for length in (7, 4099):
                data = os.urandom(length)
                self.assertEqual(mask(data, key), slowly(data, key), (key, length))

    def test_twice_is_nothing(self):
        data = os.urandom(5000)
        self.assertEqual(mask(mask(data, MASK), MASK), data)

    def test_a_rotated_key_goes_on_where_it_stopped(self):
        data = os.urandom(11)
        for cut in range(12):
            parts = mask(data[:cut], MASK) + mask(data[cut:], rotated(MASK, cut))
            self.assertEqual(parts, mask(data, MASK), cut)


class PayloadTests(SynchronousTestCase):
    def test_one_frame(self):
        for length in (0, 1, 125, 126, 65535, 65536):
            for masked in (False, True):
                data = os.urandom(length)
                self.assertEqual(payload_of(frame(2, data, masked=masked)), data, length)

    def test_fragments_are_joined(self):
        frames = (
            frame(2, b"ab", fin=False) + frame(0, b"", fin=False) + frame(0, b"cd", key=b"1234")
        )
        self.assertEqual(payload_of(frames), b"abcd")


class ASCIITests(SynchronousTestCase):
    """Whether masked bytes are ASCII is told without taking the mask off."""

    def test_every_key_bit_and_length(self) -> None:
        for key in (b"\0\0\0\0", b"\x80\x01\xff\x7f", b"abcd", b"\xff\xff\xff\xff"):
            for length in (0, 1, 5, 2048, 2049, 8191, 65536):
                text = (b"plain text " * (length // 11 + 1))[:length]
                self.assertTrue(is_ascii(mask(text, key), key), (key, length))

    def test_one_other_byte_anywhere(self) -> None:
        key = b"\x80\x01\xff\x7f"
        for length in (1, 2048, 2049, 4099):
            for place in {0, length // 2, length - 1, max(0, length - 2), max(0, length - 3)}:
                text = bytearray(b"a" * length)
                text[place] = 0x80
                self.assertFalse(is_ascii(mask(bytes(text), key), key), (length, place))
