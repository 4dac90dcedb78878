"""A command's start and the signals that it is told of."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from interceptor.launch.process import Command, exit_status

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


class EarlySignalTests(TestCase):
    """Signals that come before ``subprocess`` has told us which process it is."""

    async def ended_by(self, number: int, terminate: bool = False) -> int:
        command = Command(SLEEP, reactor)

        def started(*arguments: Any, **keywords: Any) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(*arguments, **keywords)
            if terminate:
                command.terminate()
            else:
                command.pass_on(number)
            return process

        module = sys.modules[Command.__module__]
        self.patch(module, "subprocess", type("Patched", (), {"Popen": staticmethod(started)}))
        return await command.start({})

    async def test_they_are_passed_on_as_soon_as_that_is_known(self):
        for number in (signal.SIGTERM, signal.SIGUSR1):
            self.assertEqual(await self.ended_by(number), exit_status(-number))

    async def test_so_is_a_wish_that_it_end(self):
        self.assertEqual(
            await self.ended_by(signal.SIGTERM, terminate=True), exit_status(-signal.SIGTERM)
        )
