"""Lines written to files, pipes and streams."""

from __future__ import annotations

import io
import os
import select
from typing import Any, TextIO, cast

from twisted.trial.unittest import SynchronousTestCase

from interceptor.addons.output import DRAIN_TIMEOUT, LineOutput
from tests.addons.reactors import ThreadClock


class StreamTests(SynchronousTestCase):
    """A stream that is no file."""

    def setUp(self):
        self.clock = ThreadClock()
        self.stream = io.StringIO()
        self.output = LineOutput(self.clock, self.stream)

    def test_lines_are_written_when_the_reactor_turns(self):
        self.output.write("one")
        self.output.write("two\nthree")
        self.assertEqual("", self.stream.getvalue())
        self.clock.turn()
        self.assertEqual("one\ntwo\nthree\n", self.stream.getvalue())

    def test_one_write_for_each_turn(self):
        written: list[str] = []
        self.patch(self.stream, "write", written.append)
        for turn in range(2):
            for line in range(100):
                self.output.write(f"{turn} {line}")
            self.clock.turn()
        self.assertEqual(2, len(written))

    def test_nothing_is_due_while_nothing_is_written(self):
        self.assertEqual([], self.clock.getDelayedCalls())
        self.output.write("one")
        self.clock.turn()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_drain_writes_what_is_left(self):
        self.output.write("one")
        self.assertIsNone(self.successResultOf(self.output.drain()))
        self.assertEqual("one\n", self.stream.getvalue())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_more_lines_after_drain(self):
        self.output.drain()
        self.output.write("one")
        self.clock.turn()
        self.assertEqual("one\n", self.stream.getvalue())

    def test_closed_stream(self):
        self.stream.close()
        self.output.write("one")
        self.clock.turn()
        self.output.write("two")
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertFalse(self.output.isatty())

    def test_standard_output_is_looked_up_when_it_is_needed(self):
        output = LineOutput(self.clock)
        replaced = io.StringIO()
        self.patch(__import__("sys"), "stdout", replaced)
        output.write("one")
        self.clock.turn()
        self.assertEqual("one\n", replaced.getvalue())


class FileTests(SynchronousTestCase):
    """A regular file."""

    def test_written_at_once_and_behind_what_was_printed_before(self):
        clock = ThreadClock()
        with open(self.mktemp(), "w+", encoding="ascii") as file:
            print("listening", file=file)
            output = LineOutput(clock, file)
            output.write("one é")
            clock.turn()
            file.seek(0)
            self.assertEqual("listening\none \\xe9\n", file.read())

    def test_full_disk_ends_the_output(self):
        clock = ThreadClock()
        with open(self.mktemp(), "w", encoding="utf-8") as file:
            output = LineOutput(clock, file)

            def fail(descriptor: int, data: Any) -> int:
                raise OSError(28, "No space left on device")

            self.patch(os, "write", fail)
            output.write("one")
            clock.turn()
            output.write("two")
            self.assertEqual([], clock.getDelayedCalls())


class PipeTests(SynchronousTestCase):
    """A pipe, whose reader may be slow or gone."""

    def setUp(self):
        self.clock = ThreadClock()
        self.reader, writer = os.pipe()
        self.stream: TextIO = cast(TextIO, os.fdopen(writer, "w", encoding="utf-8"))
        self.output = LineOutput(self.clock, self.stream, pending_limit=100_000)
        self.addCleanup(self.stream.close)
        self.addCleanup(self.close_reader)

    def close_reader(self) -> None:
        """Go away as a reader."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def drain(self) -> None:
        """Wait for the writer."""
        drained = self.output.drain()
        self.clock.run_from_threads()
        self.successResultOf(drained)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_lines_arrive_in_order(self):
        for number in range(1000):
            self.output.write(f"line {number}")
            if number % 100 == 99:
                self.clock.turn()
        self.drain()
        data = os.read(self.reader, 1 << 16)
        self.assertEqual([f"line {n}" for n in range(1000)], data.decode().splitlines())

    def test_more_lines_after_drain(self):
        for text in ("one", "two"):
            self.output.write(text)
            self.drain()
        self.assertEqual(b"one\ntwo\n", os.read(self.reader, 100))

    def test_reader_that_does_not_read_holds_nobody_up(self):
        line = "x" * 999
        for _ in range(3000):
            self.output.write(line)
            self.clock.turn()
        drained = self.output.drain()
        self.assertNoResult(drained)
        self.clock.advance(DRAIN_TIMEOUT)
        self.successResultOf(drained)

    def test_lines_beyond_the_limit_are_counted(self):
        line = "x" * 9_999
        for _ in range(300):
            self.output.write(line)
            self.clock.turn()
        received = b""
        # The writer counts what it wrote after it wrote it: the last bytes may be here before that.
        while received.count(b"\n") < 11 or self.output.pending:
            if select.select([self.reader], [], [], 0.01)[0]:
                received += os.read(self.reader, 1 << 16)
        self.output.write("last")
        self.drain()
        received += os.read(self.reader, 1 << 16)
        lines = received.decode().splitlines()
        self.assertEqual("last", lines[-1])
        dropped = 300 - (len(lines) - 2)
        self.assertEqual(f"({dropped} not printed: the reader is too slow)", lines[-2])

    def test_reader_that_went_away_ends_the_output(self):
        self.close_reader()
        self.output.write("one")
        self.drain()
        self.assertTrue(self.output.ended)
        self.output.write("two")
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_reader_that_went_away_is_noticed_without_drain(self):
        self.close_reader()
        while not self.output.ended:
            self.output.write("one")
            self.clock.turn()
        self.output.write("two")
        self.assertEqual([], self.clock.getDelayedCalls())
        self.drain()

    def test_descriptor_that_somebody_made_non_blocking(self):
        os.set_blocking(self.stream.fileno(), False)
        text = "x" * 300_000
        self.output.write(text)
        drained = self.output.drain()
        received = b""
        while len(received) < len(text) + 1:
            received += os.read(self.reader, 1 << 16)
        self.clock.run_from_threads()
        self.successResultOf(drained)
        self.assertEqual(text + "\n", received.decode())
