"""The commands as processes: what they print, how they stop, the exit status."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

from tests.functional.harness import (
    STOP_TIMEOUT,
    Completed,
    FunctionalTestCase,
    RunningProcess,
    require,
    sleep,
)

BAD_SCRIPT = "def request(flow):\n    pass\n\n\n1 / 0\n"
NOTES = """
def running():
    print("script: running", flush=True)


def done():
    print("script: done", flush=True)
"""


REACTOR_RUNS = """
from twisted.internet import reactor


def running():
    reactor.callLater(0, print, "script: the reactor runs", flush=True)
"""


class ForegroundTests(FunctionalTestCase):
    """``interceptor run``."""

    def start(self, *arguments: str | Path) -> RunningProcess:
        return self.start_process(
            sys.executable, "-m", "interceptor", "run", "-m", "regular@0", *arguments
        )

    async def refused(self, *arguments: str | Path) -> str:
        """What is on stderr when the proxy does not start."""
        ended = await self.run_program(sys.executable, "-m", "interceptor", "run", *arguments)
        self.assertEqual((ended.status, ended.out), (1, b""))
        return ended.err.decode()

    async def stopped_by(self, number: int) -> Completed:
        process = self.start("-s", self.write("notes.py", NOTES))
        await process.until(lambda p: b"listening: " in p.out)
        process.signal(number)
        return await process.ended(STOP_TIMEOUT)

    async def test_signals_stop_it_cleanly(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            ended = await self.stopped_by(number)
            self.assertEqual((ended.status, ended.err), (0, b""))
            lines = ended.out.decode().splitlines()
            self.assertEqual(lines[0], "script: running")
            self.assertRegex(lines[1], r"^listening: regular on 127\.0\.0\.1:[1-9]\d*$")
            self.assertEqual(lines[2:], ["script: done"])

    async def test_a_hangup_loads_everything_again(self):
        config = self.write("config.toml", "log_level = 'info'\n")
        script = self.write("notes.py", NOTES)
        settings = ("--set", "script_reload=false", "--config", config)
        process = self.start(*settings, "-s", script)
        await process.until(lambda p: b"listening: " in p.out)
        config.write_text("log_level = 'loud'\n")
        process.signal(signal.SIGHUP)
        await process.until(lambda p: b"was not loaded again" in p.err)
        self.assertIn(b"option `log_level`", process.err)
        self.assertNotIn(b"notes.py was loaded again", process.err)
        config.write_text("log_level = 'debug'\n")
        process.signal(signal.SIGHUP)
        await process.until(lambda p: b"the configuration was loaded again" in p.err)
        self.assertIn(b"notes.py was loaded again", process.err)
        self.assertEqual(process.out.count(b"script: running"), 2)
        process.signal(signal.SIGTERM)
        self.assertEqual((await process.ended(STOP_TIMEOUT)).status, 0)

    async def test_each_listener_is_announced(self):
        # The name of a socket may have no more than 107 bytes: the test's directory is too deep.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        process = self.start(
            "-m", "reverse:http://example.org@[::1]:0", "-m", f"regular@unix:{directory}/a"
        )
        await process.until(lambda p: p.out.count(b"\n") == 3)
        first, second, third = process.out.decode().splitlines()
        self.assertRegex(first, r"^listening: regular on 127\.0\.0\.1:\d+$")
        self.assertRegex(second, r"^listening: reverse:http://example\.org on \[::1\]:\d+$")
        self.assertEqual(third, f"listening: regular on unix:{directory}/a")

    async def test_an_endpoint_with_a_bare_address(self):
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            port = free.getsockname()[1]
        process = self.start("-m", f"regular@tcp:{port}:interface=::1")
        await process.until(lambda p: p.out.count(b"\n") == 2)
        second = process.out.decode().splitlines()[1]
        self.assertEqual(second, f"listening: regular on [::1]:{port}")

    async def test_a_word_that_is_nearly_an_endpoint_s_ends_it(self):
        message = await self.refused("-m", "regular@tpc:8080")
        self.assertTrue(message.startswith("interceptor: "), message)
        self.assertIn("cannot listen on tpc:8080: ", message)
        self.assertTrue(message.endswith(": did you mean `tcp`?\n"), message)

    async def test_wrong_options_end_it(self):
        self.assertEqual(
            await self.refused("--set", "body_size_limt=1"),
            "interceptor: --set: unknown option `body_size_limt`: "
            "did you mean `body_size_limit`?\n",
        )
        # Addons may bring more of them.
        self.assertRegex(
            await self.refused("-m", "reverse:gopher://a"),
            r"\Ainterceptor: mode `reverse:gopher://a`: scheme `gopher` is not known, only http, "
            r"https, tcp, [a-z, ]+ are\n\Z",
        )

    async def test_a_script_that_cannot_be_loaded_ends_it(self):
        message = await self.refused("-s", self.write("bad.py", BAD_SCRIPT))
        self.assertIn('bad.py", line 5, in <module>', message)
        self.assertTrue(message.rstrip().endswith("ZeroDivisionError: division by zero"))
        self.assertNotIn("interceptor/hooks", message)

    async def test_a_port_that_is_taken_ends_it(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            message = await self.refused("-m", f"regular@{port}")
        self.assertTrue(message.startswith("interceptor: "))
        self.assertIn(f"127.0.0.1:{port}", message)
        self.assertEqual(message.count("\n"), 1)

    async def test_the_file_in_the_home_directory_is_read(self):
        self.write("home/.interceptor/config.toml", 'log_level = "loud"')
        message = await self.refused()
        self.assertIn("option `log_level`: expected one of debug, info, warn, error", message)


class DaemonTests(FunctionalTestCase):
    """``twistd interceptor`` and ``twist interceptor``."""

    def program(self, name: str) -> Path:
        return Path(sys.executable).parent / name

    async def stopped(self, name: str, *arguments: str) -> Completed:
        """Wait until a service listens and its reactor runs, then tell it to stop."""
        script = self.write("runs.py", REACTOR_RUNS)
        words = [*arguments, "interceptor", "-m", "regular@0", "-s", str(script)]
        process = self.start_process(self.program(name), *words)
        await process.until(lambda p: b"the reactor runs" in p.out)
        self.assertIn(b"listening: regular on 127.0.0.1:", process.out)
        process.signal(signal.SIGTERM)
        return await process.ended(STOP_TIMEOUT)

    async def test_twistd_serves_and_stops(self):
        ended = await self.stopped("twistd", "-n", "--pidfile=")
        # twistd ends itself with the signal it was ended by, once all is done.
        self.assertEqual(ended.status, -signal.SIGTERM)
        self.assertIn(b"Server Shut Down", ended.out)

    async def test_twist_serves_and_stops(self):
        ended = await self.stopped("twist")
        self.assertEqual(ended.status, -signal.SIGTERM)
        self.assertIn(b"Main loop terminated", ended.out)

    async def test_what_cannot_start_ends_with_a_failure(self):
        bad = self.write("bad.py", BAD_SCRIPT)
        for words in (["twistd", "-n", "--pidfile="], ["twist"]):
            ended = await self.run_program(
                self.program(words[0]), *words[1:], "interceptor", "-m", "regular@0", "-s", bad
            )
            self.assertEqual(ended.status, 1, words)
            self.assertIn(b"the proxy could not start: ", ended.out + ended.err)
            self.assertIn(b"ZeroDivisionError", ended.out + ended.err)

    async def test_wrong_options_end_with_a_failure(self):
        for name in ("twistd", "twist"):
            ended = await self.run_program(
                self.program(name), "interceptor", "--set", "flow_detail=9"
            )
            self.assertNotEqual(ended.status, 0)
            self.assertIn(b"option `flow_detail`: expected", ended.out + ended.err)

    async def test_a_daemon_that_cannot_start_tells_its_caller(self):
        bad = self.write("bad.py", BAD_SCRIPT)
        ended = await self.run_program(
            self.program("twistd"), "--logfile=log", "interceptor", "-m", "regular@0", "-s", bad
        )
        self.assertEqual(ended.status, 1)
        self.assertIn(b"ScriptError", ended.out + ended.err)
        self.assertIn("ZeroDivisionError", (self.directory / "log").read_text())

    async def test_a_daemon_serves_until_it_is_killed(self):
        kill = require("kill")
        await self.check_program(
            self.program("twistd"), "--logfile=log", "interceptor", "-m", "regular@0"
        )
        log, pid = self.directory / "log", self.directory / "twistd.pid"
        await self.until(lambda: "listening: regular on" in log.read_text())
        await self.check_program(kill, "-TERM", pid.read_text().strip())
        await self.until(lambda: not pid.exists())
        self.assertIn("Server Shut Down", log.read_text())

    async def until(self, condition: object) -> None:
        assert callable(condition)
        for _ in range(200):
            if condition():
                return
            await sleep(0.05)
        self.fail("the daemon does not get there")
