"""Sizes and durations."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.units import format_duration, format_size, parse_duration, parse_size


class SizeTests(SynchronousTestCase):
    """`parse_size` and `format_size`."""

    def test_powers_of_1024(self):
        written = {"0": 0, "512": 512, "64k": 65536, "1m": 1 << 20, "2G": 2 << 30, "1t": 1 << 40}
        self.assertEqual({text: parse_size(text) for text in written}, written)

    def test_a_b_may_follow(self):
        self.assertEqual([parse_size(t) for t in ("5b", "1kb", "1KiB", " 1 MB ")][1:3], [1024] * 2)

    def test_what_is_no_size(self):
        for text in ("", "k", "-1", "1.5m", "1x", "1e3", "٣", "1 k k", "9" * 30):
            self.assertRaises(ValueError, parse_size, text)

    def test_the_largest_exact_unit_is_written(self):
        sizes = {0: "0", 1000: "1000", 1024: "1k", 1536: "1536", 1 << 30: "1g", 3 << 20: "3m"}
        self.assertEqual({size: format_size(size) for size in sizes}, sizes)

    def test_what_is_written_is_read_back(self):
        for size in (0, 1, 1023, 1024, 1025, 10**9, 1 << 40, 7 << 30):
            self.assertEqual(parse_size(format_size(size)), size)


class DurationTests(SynchronousTestCase):
    """`parse_duration` and `format_duration`."""

    def test_units(self):
        written = {"5": 5.0, "5s": 5.0, "250ms": 0.25, "1.5s": 1.5, "1m": 60.0, "2h": 7200.0}
        self.assertEqual({text: parse_duration(text) for text in written}, written)

    def test_milliseconds_are_not_blurred(self):
        self.assertEqual(
            [parse_duration(f"{n}ms") for n in range(1000)], [n / 1000 for n in range(1000)]
        )

    def test_what_is_no_duration(self):
        for text in ("", "s", "-1s", "nan", "inf", "1e3", "5 minutes", "1s2", "5M"):
            self.assertRaises(ValueError, parse_duration, text)

    def test_what_is_written_is_read_back(self):
        for seconds in (0.0, 0.001, 0.007, 0.25, 0.1, 1.0, 1.5, 59.9, 60.0, 3600.0):
            self.assertEqual(parse_duration(format_duration(seconds)), seconds)

    def test_infinity_is_not_written(self):
        self.assertRaises(ValueError, format_duration, float("inf"))
