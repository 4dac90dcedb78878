"""The folder of tests: it goes with the process, or with the next one."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import sys
from interceptor.net.memorytls import private_folder

print(private_folder(), flush=True)
assert private_folder() == private_folder()
sys.stdin.read()
"""


class PrivateFolderTests(SynchronousTestCase):
    """Processes that have a folder in the same place."""

    def setUp(self):
        self.place = os.path.abspath(self.mktemp())
        os.mkdir(self.place)

    def start(self) -> tuple[subprocess.Popen[str], str]:
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "TMPDIR": self.place, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def folders(self) -> set[str]:
        return {os.path.join(self.place, name) for name in os.listdir(self.place)}

    def test_an_end(self):
        process, folder = self.start()
        self.assertEqual(self.folders(), {folder})
        process.communicate()
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.folders(), set())

    def test_a_killed_process(self):
        killed, left = self.start()
        _, used = self.start()
        self.assertEqual(self.folders(), {left, used})
        killed.kill()
        killed.wait()
        self.assertEqual(self.folders(), {left, used})
        _, own = self.start()
        self.assertEqual(self.folders(), {used, own})
