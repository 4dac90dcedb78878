"""``interceptor run -- COMMAND`` as a process: what the command gets, its end, signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.functional.harness import (
    STOP_TIMEOUT,
    Completed,
    FunctionalTestCase,
    Origin,
    RunningProcess,
    clean_environment,
    reactor,
    require,
    sleep,
)
from tests.functional.origins import Echo, tree

ANNOUNCE = """
import os, signal, sys, time

def tell(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(9)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, tell)
print("ready", os.environ["HTTPS_PROXY"], os.environ["SSL_CERT_FILE"], flush=True)
while True:
    time.sleep(60)
"""

MARK = """
def response(flow):
    print("script: seen", flow.request.path)
    flow.response.headers["X-Marked"] = "yes"
"""


class CommandTestCase(FunctionalTestCase):
    """Runs commands through a proxy."""

    def argv(self, *command: str | Path, options: Sequence[str | Path] = ()) -> list[str | Path]:
        confdir = self.directory / "conf"
        run = [sys.executable, "-m", "interceptor", "run", "--set", f"confdir={confdir}"]
        return [*run, *options, "--", *command]

    async def run_command(
        self,
        *command: str | Path,
        options: Sequence[str | Path] = (),
        **settings: Any,
    ) -> Completed:
        """Run a command, and give what came of it."""
        return await self.run_program(*self.argv(*command, options=options), **settings)

    async def check_command(self, *command: str | Path, **settings: Any) -> bytes:
        """Run a command that has to succeed, with nothing said by the proxy; give its output."""
        ended = await self.run_command(*command, **settings)
        self.assertEqual((ended.status, ended.err), (0, b""), ended.out)
        return ended.out


class EndTests(CommandTestCase):
    """The exit status, and what is left behind."""

    async def test_the_status_is_the_command_s(self):
        for status in (0, 1, 42, 255):
            ended = await self.run_command("/bin/sh", "-c", f"exit {status}")
            self.assertEqual((ended.status, ended.out, ended.err), (status, b"", b""))

    async def test_a_command_that_a_signal_ends(self):
        ended = await self.run_command("/bin/sh", "-c", "kill -KILL $$")
        self.assertEqual((ended.status, ended.err), (128 + signal.SIGKILL, b""))

    async def test_a_command_that_is_not_there(self):
        ended = await self.run_command("interceptor-test-no-such-command")
        self.assertEqual((ended.status, ended.out), (127, b""))
        self.assertEqual(
            ended.err,
            b"interceptor: cannot run `interceptor-test-no-such-command`: no such command\n",
        )

    async def test_a_command_that_cannot_be_run(self):
        file = self.write("file", "text")
        ended = await self.run_command(file)
        self.assertEqual((ended.status, ended.out), (126, b""))
        self.assertRegex(
            ended.err.decode(), r"\Ainterceptor: cannot run `.*`: permission denied\n\Z"
        )

    async def test_an_interpreter_that_is_not_there(self):
        file = self.write("file", "#!/nonexistent/sh\n")
        file.chmod(0o755)
        ended = await self.run_command(file)
        self.assertEqual(ended.status, 127)
        self.assertIn(b"its interpreter is missing", ended.err)

    async def test_a_proxy_that_cannot_start(self):
        ended = await self.run_command("/bin/true", options=["-m", "regular@nonexistent.invalid:1"])
        self.assertEqual((ended.status, ended.out, ended.err.count(b"\n")), (1, b"", 1))

    async def test_a_command_is_needed(self):
        ended = await self.run_command()
        self.assertEqual((ended.status, ended.out), (1, b""))
        self.assertIn(b"Missing command after '--'", ended.err)

    async def test_no_listener_that_it_could_use(self):
        ended = await self.run_command(
            "/bin/true", options=["-m", "reverse:http://127.0.0.1:1@127.0.0.1:0"]
        )
        self.assertEqual((ended.status, ended.out), (1, b""))
        self.assertIn(b"a listener in regular, upstream or auto mode on a TCP port", ended.err)

    async def test_nothing_is_left_behind(self):
        temporary = self.directory / "tmp"
        temporary.mkdir()
        listing = await self.check_command("ls", "-A", temporary, TMPDIR=str(temporary))
        self.assertRegex(listing, rb"\Ainterceptor-run-\w+\n\Z")
        self.assertEqual(list(temporary.iterdir()), [])

    async def test_what_goes_on_behind_its_back_is_drained(self):
        origin = await self.start_site(tree(echo=Echo()))
        curl = require("curl")
        marker = self.directory / "marker"
        program = f"({curl} -s -o {marker} {origin.url}/echo; true) & exit 3"
        ended = await self.run_command("/bin/sh", "-c", program)
        self.assertEqual(ended.status, 3)


class StreamTests(CommandTestCase):
    """Standard input, output and error."""

    async def test_input_and_output_are_its_own(self):
        ended = await self.run_command("/bin/sh", "-c", "cat; echo wrong >&2", stdin=b"\0in\xff")
        self.assertEqual((ended.out, ended.err), (b"\0in\xff", b"wrong\n"))

    async def test_arguments_are_not_touched(self):
        words = ["--", "-v", "--set", "a b", "", "~c", "ä"]
        out = await self.check_command(
            sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words
        )
        self.assertEqual(json.loads(out), words)

    async def test_what_we_print_goes_to_stderr(self):
        origin = await self.start_site(tree(echo=Echo()))
        script = self.write("mark.py", MARK)
        ended = await self.run_command(
            require("curl"), "-s", "-o", "/dev/null", "-w", "%header{x-marked}\n",
            f"{origin.url}/echo", options=["-v", "-s", script],
        )  # fmt: skip
        self.assertEqual((ended.status, ended.out), (0, b"yes\n"))
        for text in (b"listening: regular on 127.0.0.1:", b"script: seen /echo", b" 200 "):
            self.assertIn(text, ended.err)

    async def test_a_filter_prints_flows(self):
        origin = await self.start_site(tree(echo=Echo()))
        ended = await self.run_command(
            require("curl"), "-s", "-o", "/dev/null", f"{origin.url}/echo", f"{origin.url}/x",
            options=["~c", "404"],
        )  # fmt: skip
        self.assertIn(b"/x 404 ", ended.err)
        self.assertNotIn(b"/echo", ended.err)

    async def test_inherited_descriptors_are_its_own_too(self):
        program = ('exec 7<$1; shift; exec "$@"', "sh", str(self.write("seven", "seven")))
        ended = await self.run_program(
            "/bin/sh", "-c", *program, *self.argv("/bin/sh", "-c", "cat <&7")
        )
        self.assertEqual((ended.status, ended.out), (0, b"seven"))


class SignalTests(CommandTestCase):
    """Signals that we get."""

    async def start(self) -> RunningProcess:
        command = self.argv(sys.executable, "-c", ANNOUNCE)
        process = self.start_process(*command, stop=signal.SIGTERM)
        await process.until(lambda p: p.out.endswith(b"\n"))
        return process

    async def say(self, process: RunningProcess, name: str) -> None:
        """Send a signal and wait until the command tells of it."""
        process.signal(getattr(signal, name))
        line = f"got {name}\n".encode()
        await process.until(lambda p: p.out.endswith(line))

    async def test_they_are_passed_on(self):
        process = await self.start()
        for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
            await self.say(process, name)
        process.signal(signal.SIGTERM)
        ended = await process.ended(STOP_TIMEOUT)
        self.assertEqual((ended.status, ended.err), (9, b""))
        self.assertTrue(ended.out.endswith(b"got SIGTERM\n"))

    async def test_files_are_removed_after_them(self):
        process = await self.start()
        bundle = Path(process.out.split()[2].decode())
        self.assertTrue(bundle.exists())
        process.signal(signal.SIGTERM)
        await process.ended(STOP_TIMEOUT)
        self.assertFalse(bundle.parent.exists())

    async def test_what_the_terminal_sends_reaches_it_once(self):
        main, terminal = pty.openpty()
        self.addCleanup(os.close, main)
        # A session of its own, with the terminal in control of it: what is typed interrupts both.
        program = (
            "import fcntl, os, sys, termios\n"
            "os.setsid()\n"
            "fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)\n"
            "os.tcsetpgrp(int(sys.argv[1]), os.getpgrp())\n"
            "os.execv(sys.argv[2], sys.argv[2:])\n"
        )
        command = self.argv(sys.executable, "-c", ANNOUNCE)
        words = [sys.executable, "-c", program, str(terminal), *map(str, command)]
        process = RunningProcess("terminal")
        reactor().spawnProcess(
            process, words[0], words, path=str(self.directory),
            env=clean_environment(self.home),
            childFDs={0: "w", 1: "r", 2: "r", terminal: terminal},
        )  # fmt: skip
        os.close(terminal)
        await process.until(lambda p: b"ready" in p.out)
        os.write(main, b"\x03")
        await process.until(lambda p: b"got SIGINT" in p.out)
        await sleep(0.3)
        process.signal(signal.SIGTERM)
        ended = await process.ended(STOP_TIMEOUT)
        self.assertEqual(ended.out.count(b"got SIGINT"), 1)
        self.assertEqual((ended.status, ended.err), (9, b""))

    async def test_a_script_that_shuts_down_ends_it(self):
        script = self.write(
            "stop.py",
            "from interceptor import ctx\ndef response(flow):\n    ctx.master.shutdown()\n",
        )
        origin = await self.start_site(tree(echo=Echo()))
        ended = await self.run_command(
            "/bin/sh", "-c", f"{require('curl')} -s -o /dev/null {origin.url}/echo; exec sleep 60",
            options=["-s", script],
        )  # fmt: skip
        self.assertEqual(ended.status, 128 + signal.SIGTERM)


class ProgramTests(CommandTestCase):
    """Programs that find the proxy by themselves; what they get back was marked by a script."""

    async def start(self) -> Origin:
        self.script = self.write("mark.py", MARK)
        self.options: list[str | Path] = ["-s", self.script]
        return await self.start_site(tree(echo=Echo()))

    def assert_marked(self, ended: Completed, count: int) -> None:
        """The program has to have printed the mark's value so many times, and nothing else."""
        self.assertEqual((ended.status, ended.out), (0, b"yes\n" * count), ended.err)

    async def test_curl_whatever_was_to_be_left_out(self):
        origin = await self.start()
        ended = await self.run_command(
            require("curl"), "-s", "-o", "/dev/null", "-w", "%header{x-marked}\n",
            f"{origin.url}/echo", options=self.options, NO_PROXY="*", no_proxy="127.0.0.1",
        )  # fmt: skip
        self.assert_marked(ended, 1)

    async def test_python(self):
        origin = await self.start()
        program = """
            import asyncio, sys, urllib.request
            import aiohttp, httpx, requests
            url = sys.argv[1]
            print(urllib.request.urlopen(url).headers["x-marked"])
            print(requests.get(url, timeout=20).headers["x-marked"])
            print(httpx.get(url).headers["x-marked"])

            async def main():
                async with aiohttp.ClientSession(trust_env=True) as session:
                    async with session.get(url) as answer:
                        print(answer.headers["x-marked"])

            asyncio.run(main())
        """
        ended = await self.run_command(
            sys.executable, "-c", textwrap.dedent(program), f"{origin.url}/echo",
            options=self.options,
        )  # fmt: skip
        self.assert_marked(ended, 4)

    async def test_node(self):
        origin = await self.start()
        program = """
            const url = process.argv[1];
            const get = () => new Promise((resolve) => require('http').get(url, (response) => {
                console.log(response.headers['x-marked']);
                response.resume();
                response.on('end', resolve);
            }));
            (async () => {
                const post = fetch(url, {method: 'POST', body: 'a'});
                const answers = await Promise.all([fetch(url), post]);
                for (const answer of answers) {
                    console.log(answer.headers.get('x-marked'));
                    await answer.text();
                }
                await get();
                await get();
            })();
        """
        ended = await self.run_command(
            require("node", "nodejs"), "-e", program, f"{origin.url}/echo", options=self.options
        )
        self.assert_marked(ended, 4)

    async def test_node_that_cannot_connect(self):
        program = """
            fetch('http://127.0.0.1:2/').catch((error) => console.log(error.cause.message));
            require('http').get('http://127.0.0.1:2/').on('error', (error) => {
                console.log(error.message);
            });
        """
        ended = await self.run_command(require("node", "nodejs"), "-e", program)
        lines = ended.out.decode().splitlines()
        self.assertEqual((ended.status, len(lines)), (0, 2), ended.err)
        for line in lines:
            self.assertIn("the proxy answered 502 to CONNECT 127.0.0.1:2", line)

    async def test_git_whatever_its_configuration_says(self):
        origin = await self.start()
        self.write("home/.gitconfig", "[http]\n\tproxy = http://127.0.0.1:2\n")
        ended = await self.run_command(
            require("git"), "ls-remote", f"{origin.url}/echo", options=["-v"],
            GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1",
        )  # fmt: skip
        # The origin knows nothing of git; what counts is that it was asked through the proxy.
        self.assertIn(b"/echo/info/refs?service=git-upload-pack 200 ", ended.err)

    async def test_the_page_about_trust(self):
        out = await self.check_command(
            require("curl"), "-s", "--fail", "http://interceptor.internal/ca.pem"
        )
        self.assertTrue(out.startswith(b"-----BEGIN CERTIFICATE-----"))
