"""Tests of `interceptor.model.codings`."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import brotli
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import DecodeError
from interceptor.model import codings

TEXT = b"The quick brown fox. " * 300
MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


# name -> (coding, coded form of TEXT)
SAMPLES = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("x-gzip", gzip.compress(TEXT)),
    "gzip members": ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
    "gzip padded": ("gzip", gzip.compress(TEXT) + b"\0" * 20),
    "gzip padded members": (
        "gzip",
        gzip.compress(TEXT[:7]) + b"\0\0\0" + gzip.compress(TEXT[7:]),
    ),
    "gzip with bytes after it": ("gzip", gzip.compress(TEXT) + b"\nfoo"),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", raw_deflate(TEXT)),
    "br": ("br", brotli.compress(TEXT)),
    "zstd": ("zstd", zstandard.compress(TEXT)),
    "zstd frames": ("zstd", zstandard.compress(TEXT[:50]) + zstandard.compress(TEXT[50:])),
    "identity": ("identity", TEXT),
    "nothing": ("", TEXT),
    "nested": ("gzip, br", brotli.compress(gzip.compress(TEXT))),
    "upper case": (" GZIP ,Identity", gzip.compress(TEXT)),
}


class DecodeTests(SynchronousTestCase):
    def test_samples_whole(self) -> None:
        for name, (coding, coded) in SAMPLES.items():
            self.assertEqual(TEXT, codings.decode(coded, coding), name)

    def test_samples_byte_by_byte(self) -> None:
        for name, (coding, coded) in SAMPLES.items():
            decoder = codings.Decoder(coding)
            decoded = b"".join(decoder.feed(coded[i : i + 1]) for i in range(len(coded)))
            decoder.finish()
            self.assertEqual(TEXT, decoded, name)

    def test_an_empty_body_stays_empty(self) -> None:
        for coding in codings.DECODABLE:
            self.assertEqual(b"", codings.decode(b"", coding))

    @given(
        st.binary(max_size=2000),
        st.lists(st.sampled_from(codings.DECODABLE), max_size=codings.MAX_CODINGS),
        st.integers(1, 50),
    )
    def test_round_trip_in_pieces(self, data: bytes, names: list[str], size: int) -> None:
        coding = ", ".join(names)
        coded = codings.encode(data, coding)
        decoder = codings.Decoder(coding)
        pieces = [decoder.feed(coded[i : i + size]) for i in range(0, len(coded), size)]
        decoder.finish()
        self.assertEqual(data, b"".join(pieces))

    @given(st.binary(max_size=300), st.sampled_from(codings.DECODABLE))
    def test_garbage_raises_nothing_but_decode_error(self, data: bytes, coding: str) -> None:
        try:
            codings.decode(data, coding)
        except DecodeError as error:
            self.assertIn(error.code, ("content-damaged", "content-too-large"))


class DamageTests(SynchronousTestCase):
    def assert_code(self, code: str, data: bytes, coding: str, limit: int = MIB) -> None:
        error = self.assertRaises(DecodeError, codings.decode, data, coding, limit)
        self.assertEqual(code, error.code, coding)

    def test_plain_body_announced_as_coded(self) -> None:
        for coding in ("gzip", "deflate", "br", "zstd"):
            self.assert_code("content-damaged", b"<html>plain text</html>" * 9, coding)

    def test_truncated(self) -> None:
        for name in ("gzip", "gzip members", "zlib", "raw deflate", "br", "zstd", "nested"):
            coding, coded = SAMPLES[name]
            self.assert_code("content-damaged", coded[:-6], coding)
            self.assert_code("content-damaged", coded[:1], coding)

    def test_bytes_behind_the_end_of_brotli(self) -> None:
        data = brotli.compress(TEXT) + b"x"
        for size in (1, len(data) - 1, len(data)):
            decoder = codings.Decoder("br")
            with self.assertRaises(DecodeError):
                for start in range(0, len(data), size):
                    decoder.feed(data[start : start + size])

    def test_bit_flip_is_found_by_the_checksum(self) -> None:
        coded = bytearray(gzip.compress(TEXT))
        coded[-6] ^= 1
        self.assert_code("content-damaged", bytes(coded), "gzip")

    def test_unknown_coding(self) -> None:
        self.assert_code("content-coding-unknown", TEXT, "compress")
        self.assert_code("content-coding-unknown", TEXT, "gzip, sdch")

    def test_too_many_codings(self) -> None:
        self.assert_code("content-codings-excessive", TEXT, ", ".join(["gzip"] * 6))

    def test_identity_does_not_count(self) -> None:
        coding = ", ".join(["identity"] * 50 + ["gzip"])
        self.assertEqual(TEXT, codings.decode(gzip.compress(TEXT), coding))

    def test_zstd_window_is_bounded(self) -> None:
        parameters = zstandard.ZstdCompressionParameters(window_log=27)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        coded = packer.compress(TEXT) + packer.flush()
        self.assert_code("content-damaged", coded, "zstd")


class BoundTests(SynchronousTestCase):
    def test_exactly_the_limit_is_allowed(self) -> None:
        for name, (coding, coded) in SAMPLES.items():
            if codings.normalize(coding) in ("gzip", "deflate", "br", "zstd"):
                self.assertEqual(TEXT, codings.decode(coded, coding, len(TEXT)), name)

    def test_one_byte_more_is_not(self) -> None:
        for coding in ("gzip", "deflate", "br", "zstd"):
            coded = codings.encode(TEXT, coding)
            error = self.assertRaises(DecodeError, codings.decode, coded, coding, len(TEXT) - 1)
            self.assertEqual("content-too-large", error.code)

    def test_bombs_are_refused_without_the_memory_they_ask_for(self) -> None:
        bombs = {coding: codings.encode(bytes(48 * MIB), coding) for coding in ("gzip", "br")}
        frame = zstandard.ZstdCompressor().compressobj()
        bombs["zstd"] = b"".join([*(frame.compress(bytes(MIB)) for _ in range(48)), frame.flush()])
        for coding, coded in bombs.items():
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            error = self.assertRaises(DecodeError, codings.decode, coded, coding, MIB)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertEqual("content-too-large", error.code)
            self.assertLess(peak, 20 * MIB, coding)

    def test_the_ratio_is_bounded(self) -> None:
        coded = brotli.compress(bytes(32 * MIB), quality=5)
        error = self.assertRaises(DecodeError, codings.decode, coded, "br")
        self.assertEqual("content-too-large", error.code)

    def test_the_ratio_is_what_it_is_set_to(self) -> None:
        coded = gzip.compress(bytes(100_000))
        ratio = 100_000 // len(coded)
        for of, free, allowed in (
            (ratio + 1, 0, True),
            (ratio // 2, 0, False),
            (ratio // 2, 99_999, False),
            (ratio // 2, 100_000, True),
            (0, 0, True),
        ):
            limits = codings.DecodeLimits(100_000, ratio=of, ratio_free=free)
            if allowed:
                self.assertEqual(codings.decode(coded, "gzip", limits), bytes(100_000))
            else:
                error = self.assertRaises(DecodeError, codings.decode, coded, "gzip", limits)
                self.assertEqual("content-too-large", error.code)
                self.assertIn(f"{of} times its size", str(error))

    def test_small_bodies_may_have_any_ratio(self) -> None:
        for coding in ("br", "zstd"):
            data = bytes(8 * MIB)
            self.assertEqual(data, codings.decode(codings.encode(data, coding), coding))

    def test_deflate_at_its_best_is_within_the_ratio(self) -> None:
        data = bytes(20 * MIB)
        self.assertEqual(data, codings.decode(zlib.compress(data, 9), "deflate"))

    def test_an_inner_bomb_is_bounded_too(self) -> None:
        coded = gzip.compress(gzip.compress(bytes(8 * MIB)))
        error = self.assertRaises(DecodeError, codings.decode, coded, "gzip, gzip", MIB)
        self.assertEqual("content-too-large", error.code)

    def test_many_tiny_members_take_linear_time(self) -> None:
        # Half a megabyte; with a copy of the rest for each member it would be 6 GB of copying.
        coded = gzip.compress(b"") * 25_000
        self.assertEqual(b"", codings.decode(coded, "gzip"))


class WorkTests(SynchronousTestCase):
    """``seconds``: what makes much work of few bytes is given up."""

    def test_much_work_is_given_up(self) -> None:
        empty = {
            "gzip": gzip.compress(b"") * 20_000,
            "zstd": zstandard.compress(b"") * 20_000,
            "deflate": zlib.compress(bytes(8 * MIB), 9),
            "br": brotli.compress(bytes(8 * MIB), quality=1),
        }
        for coding, coded in empty.items():
            with self.assertRaises(DecodeError) as caught:
                codings.decode(coded, coding, seconds=0.0001)
            self.assertEqual(caught.exception.code, "content-too-slow", coding)
            codings.decode(coded, coding, seconds=60)

    def test_it_is_the_work_of_all_feeds_and_codings(self) -> None:
        coded = gzip.compress(gzip.compress(b"") * 20_000)
        decoder = codings.Decoder("gzip, gzip", seconds=0.0001)
        with self.assertRaises(DecodeError) as caught:
            for start in range(0, len(coded), 10):
                decoder.feed(coded[start : start + 10])
        self.assertEqual(caught.exception.code, "content-too-slow")

    def test_time_between_feeds_does_not_count(self) -> None:
        decoder = codings.Decoder("gzip", seconds=0.05)
        coded = gzip.compress(TEXT)
        decoded = b""
        for start in range(0, len(coded), 10):
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                pass
            decoded += decoder.feed(coded[start : start + 10])
        self.assertEqual(decoded, TEXT)


class EndlessTests(SynchronousTestCase):
    """``per_feed``: a body that goes on and on, bounded in what comes at once."""

    def test_the_bound_is_that_of_one_call(self) -> None:
        packer = zlib.compressobj(wbits=31)
        decoder = codings.Decoder("gzip", 1000, per_feed=True)
        for _ in range(50):
            part = packer.compress(bytes(1000)) + packer.flush(zlib.Z_SYNC_FLUSH)
            self.assertEqual(decoder.feed(part), bytes(1000))
        with self.assertRaises(DecodeError) as caught:
            decoder.feed(packer.compress(bytes(1001)) + packer.flush(zlib.Z_SYNC_FLUSH))
        self.assertEqual(caught.exception.code, "content-too-large")

    def test_the_end_is_asked_for_all_the_same(self) -> None:
        decoder = codings.Decoder("gzip", 1000, per_feed=True)
        decoder.feed(gzip.compress(b"text")[:-1])
        with self.assertRaises(DecodeError):
            decoder.finish()


class EncodeTests(SynchronousTestCase):
    def test_equal_bodies_stay_equal(self) -> None:
        self.assertEqual(codings.encode(TEXT, "gzip"), codings.encode(TEXT, "gzip"))

    def test_unknown_coding(self) -> None:
        error = self.assertRaises(DecodeError, codings.encode, TEXT, "rot13")
        self.assertEqual("content-coding-unknown", error.code)

    def test_normalize(self) -> None:
        self.assertEqual("gzip, br", codings.normalize("X-Gzip,,identity , BR"))
        self.assertEqual("", codings.normalize("identity"))
