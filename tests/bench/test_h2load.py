"""What h2load prints, read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.errors import BenchError
from bench.h2load import parse

OUTPUT = """\
starting benchmark...
Application protocol: h2

finished in 1.50s, 2.00 req/s, 9.71MB/s
requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 10.42MB (10923456) total, 1.2KB (1229) headers (space savings 50.00%), 3.0KB (3072) data
"""
LOG = "1700000000000000\t200\t300\n1700000000000001\t200\t100\n1700000000000002\t200\t200\n"


class ParseTests(SynchronousTestCase):
    def test_figures(self):
        result = parse(OUTPUT, LOG, True)
        self.assertEqual((result.requests, result.seconds, result.received), (3, 1.5, 3072))
        self.assertEqual((result.p50, result.p99), (200.0, 300.0))
        self.assertEqual(result.errors, {"failed": 1})

    def test_milliseconds(self):
        self.assertEqual(parse(OUTPUT.replace("1.50s", "250.00ms"), LOG, True).seconds, 0.25)

    def test_no_log(self):
        self.assertEqual(parse(OUTPUT, "", True).p50, 0.0)

    def test_other_protocol(self):
        self.assertRaises(BenchError, parse, OUTPUT.replace(": h2", ": http/1.1"), LOG, True)

    def test_nothing_to_read(self):
        self.assertRaises(BenchError, parse, "Application protocol: h2\n", "", True)
