"""Reading what load generators and the kernel report."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.errors import BenchError
from bench.load import LoadResult, parse_wrk
from bench.processes import parse_cpu_seconds
from bench.pyload import Tally

WRK = """\
Running 1s test @ http://127.0.0.1:9999/
  1 threads and 2 connections
  2261 requests in 1.10s, 1.12MB read

bench {"requests": 2261, "microseconds": 1099520, "bytes": 1175720, "p50_us": 843, \
"p99_us": 2373, "errors": {"connect": 0, "read": 1, "write": 0, "status": 7, "timeout": 0}}
"""


class ParseWrkTests(SynchronousTestCase):
    def test_reads_the_line_of_the_script(self) -> None:
        result = parse_wrk(WRK)
        self.assertEqual((result.requests, result.seconds), (2261, 1.09952))
        self.assertEqual((result.p50, result.p99), (843, 2373))
        self.assertEqual(result.errors["status"], 7)

    def test_output_without_the_line_is_an_error(self) -> None:
        self.assertRaises(BenchError, parse_wrk, "unable to connect\n")


class LoadResultTests(SynchronousTestCase):
    def result(self, requests: int = 10, received: int = 12_000, **errors: int) -> LoadResult:
        return LoadResult(requests, 1.0, received, 1.0, 2.0, errors)

    def test_whole_responses_without_errors_are_valid(self) -> None:
        self.assertEqual(self.result(status=0).problems(1024), ())

    def test_every_kind_of_error_is_named(self) -> None:
        problems = self.result(status=7, read=0, timeout=1).problems(1024)
        self.assertEqual(problems, ("7 status errors", "1 timeout errors"))

    def test_no_answer_is_invalid(self) -> None:
        self.assertEqual(self.result(0, 0).problems(1024), ("no request was answered",))

    def test_bodies_that_are_too_short_are_invalid(self) -> None:
        (problem,) = self.result(10, 2_000).problems(1024)
        self.assertIn("too few", problem)


class TallyTests(SynchronousTestCase):
    def test_percentiles_are_microseconds(self) -> None:
        tally = Tally()
        tally.times = [n / 1000 for n in range(1, 101)]
        self.assertAlmostEqual(tally.percentile(50), 51_000)
        self.assertAlmostEqual(tally.percentile(99), 100_000)

    def test_without_responses_they_are_zero(self) -> None:
        self.assertEqual(Tally().percentile(99), 0.0)


class CPUTimeTests(SynchronousTestCase):
    def test_a_name_with_blanks_and_parentheses_does_not_shift_the_fields(self) -> None:
        numbers = [str(n) for n in range(3, 53)]  # field 3 of proc(5) is the state
        plain = parse_cpu_seconds(f"1 (squid) {' '.join(numbers)}")
        odd = parse_cpu_seconds(f"1 (a (b) c) {' '.join(numbers)}")
        self.assertEqual(plain, odd)
        self.assertGreater(plain, 0)
