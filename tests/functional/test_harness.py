"""The harness itself: what it reads, and that nothing that goes wrong stays unseen."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.functional.harness import (
    FunctionalTestCase,
    Listener,
    clean_environment,
    parse_listening,
    require,
)


class ReadingTests(SynchronousTestCase):
    def test_listeners(self):
        output = (
            b"listening: regular on 127.0.0.1:8080\nanything else\n"
            b"listening: reverse:http://a:1 on [::1]:81\nlistening: regular on unix:a.sock\n"
        )
        self.assertEqual(
            parse_listening(output),
            [
                Listener("regular", "127.0.0.1", 8080),
                Listener("reverse:http://a:1", "[::1]", 81),
                Listener("regular", "unix:a.sock", 0),
            ],
        )

    def test_a_line_without_its_end_is_not_read_yet(self):
        self.assertEqual(parse_listening(b"listening: regular on 127.0.0.1:80"), [])

    def test_a_missing_program_skips_by_name(self):
        error = self.assertRaises(SkipTest, require, "no-such-program", "nor-this")
        self.assertEqual(str(error), "no-such-program or nor-this is not installed")

    def test_proxies_of_the_environment_do_not_reach_programs(self):

        self.patch(os, "environ", {"HTTP_PROXY": "x", "no_proxy": "*", "PIP_PROXY": "x", "A": "b"})
        found = clean_environment(Path("/home"), EXTRA="c")
        self.assertEqual({name for name in found if "PROXY" in name.upper()}, set())
        self.assertEqual((found["A"], found["EXTRA"], found["HOME"]), ("b", "c", "/home"))


class ProcessTests(FunctionalTestCase):
    async def failure(self, waiting: Awaitable[object]) -> str:
        """Give what a failing wait says."""
        try:
            await waiting
        except (AssertionError, self.failureException) as error:
            return str(error)
        self.fail("nothing failed")

    async def test_output_input_and_status(self):
        program = "import sys; sys.stderr.write(sys.stdin.read()); print('out'); sys.exit(3)"
        completed = await self.run_program(sys.executable, "-c", program, stdin=b"in")
        self.assertEqual((completed.status, completed.out, completed.err), (3, b"out\n", b"in"))

    async def test_a_status_other_than_0_fails_with_what_was_printed(self):
        program = "import sys; sys.exit('the reason')"
        said = await self.failure(self.check_program(sys.executable, "-c", program))
        self.assertIn("status 1", said)
        self.assertIn("the reason", said)

    async def test_a_program_that_overruns_is_killed_and_fails(self):
        program = "import time; print('began', flush=True); time.sleep(60)"
        waiting = self.run_program(sys.executable, "-c", program, timeout=1.0)
        said = await self.failure(waiting)
        self.assertIn("took more than 1.0 s", said)
        self.assertIn("began", said)

    async def test_a_process_that_ends_before_it_is_ready_fails_at_once(self):
        process = self.start_process(sys.executable, "-c", "import sys; sys.exit('too soon')")
        said = await self.failure(process.until(lambda p: b"ready" in p.out))
        self.assertIn("too soon", said)
