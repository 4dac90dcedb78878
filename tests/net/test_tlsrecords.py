"""Counting records over any cut."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.tlsrecords import RecordCounter


def record(size: int, kind: int = 23) -> bytes:
    return bytes((kind, 3, 3, size >> 8, size & 0xFF)) + bytes(size)


class RecordCounterTests(SynchronousTestCase):
    def test_whole_records_are_counted(self) -> None:
        self.assertEqual(RecordCounter().feed(record(5) + record(0) + record(16_401)), 3)

    def test_a_record_counts_when_it_is_complete(self) -> None:
        counter = RecordCounter()
        pieces = (record(9)[:6], b"1234567", b"8", b"")
        self.assertEqual([counter.feed(piece) for piece in pieces], [0, 0, 1, 0])

    def test_every_cut_gives_the_same_count(self) -> None:
        stream = record(7) + record(1) + record(0) + record(30)
        for cut in range(len(stream)):
            counter = RecordCounter()
            count = counter.feed(stream[:cut]) + counter.feed(stream[cut:])
            self.assertEqual(count, 4, cut)

    def test_byte_by_byte(self) -> None:
        counter = RecordCounter()
        stream = record(7) + record(1) + record(0) + record(30)
        self.assertEqual(sum(counter.feed(bytes((byte,))) for byte in stream), 4)

    def test_nothing_completes_nothing(self) -> None:
        self.assertEqual(RecordCounter().feed(b""), 0)

    def test_what_is_no_tls_is_always_looked_at(self) -> None:
        counter = RecordCounter()
        self.assertEqual(counter.feed(b"HTTP/1.1 200 OK\r\n"), 1)
        self.assertEqual(counter.feed(b"\r\n"), 1)

    def test_a_record_that_is_too_long_is_looked_at(self) -> None:
        self.assertEqual(RecordCounter().feed(record(1) + b"\x17\x03\x03\xff\xff"), 2)
