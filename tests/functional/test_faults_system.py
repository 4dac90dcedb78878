"""What fails around the proxy: the clock, the disk, its own workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.functional.faultorigin import PIECES
from tests.functional.faults import (
    LONG,
    FaultCase,
    Outcome,
    ask_h2,
    ask_plain,
    ask_tls,
    processes_of,
    read_all,
    read_response,
    request,
    way_to,
)
from tests.functional.harness import (
    START_TIMEOUT,
    RunningProcess,
    parse_listening,
    require,
)

OK = Outcome(200, b"ok", True)

CLOCK = """\
import time

from twisted.internet.base import ReactorBase

from interceptor import ctx, http

actual = time.time
ahead = 0.0


def moved():
    return actual() + ahead


time.time = moved
# What any reactor goes by that nobody has told otherwise.
ReactorBase.seconds = staticmethod(moved)


async def requestheaders(flow):
    global ahead
    words = flow.request.path.strip("/").split("/")
    if words[0] == "jump":
        ahead = float(words[1])
        flow.response = http.Response.make(200, b"ok")
    elif words[0] == "keep":
        await ctx.shared.set("kept", "ok", expires=600)
        flow.response = http.Response.make(200, b"ok")
    elif words[0] == "kept":
        flow.response = http.Response.make(200, await ctx.shared.get("kept", "nothing"))
"""
DAY = 86400.0


class ClockTests(FaultCase):
    """Somebody sets the time of day."""

    async def test_jumps(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty(script=CLOCK)
        port = proxy.port

        def asked(path: str) -> Outcome:
            return ask_plain(port, 1, path)

        def keeps_alive() -> list[Outcome]:
            """A connection that rests while the clock jumps."""
            with way_to(port) as client:
                outcomes = []
                for path in ("ok", "slow", "long", "ok"):
                    client.sendall(request(path, f"127.0.0.1:{origin.plain}"))
                    outcomes.append(read_response(client))
                return outcomes

        self.assertEqual(await deferToThread(asked, "keep"), OK)
        for ask, to in ((ask_plain, origin.plain), (ask_tls, origin.tls), (ask_h2, origin.tls)):
            self.assertEqual(await deferToThread(ask, port, to, "ok"), OK)
        before = await self.holding(proxy)
        long = Outcome(200, b"0123456789" * PIECES, True)
        for jump in (DAY, -DAY, 2 * DAY, 0):
            with way_to(port) as resting:
                resting.sendall(request("ok", f"127.0.0.1:{origin.plain}"))
                self.assertEqual(await deferToThread(read_response, resting), OK)
                told = origin.process.out.count(b"long\n")
                running = self.in_threads(
                    (ask_plain, port, origin.plain, "slow"),
                    (ask_tls, port, origin.tls, "long"),
                    (ask_h2, port, origin.tls, "long"),
                    (keeps_alive,),
                )

                def begun(process: RunningProcess, told: int = told) -> bool:
                    return process.out.count(b"long\n") >= told + 2

                await origin.process.until(begun, LONG)
                self.assertEqual(await deferToThread(asked, f"jump/{jump}"), OK)
                self.assertEqual(await running, [OK, long, long, [OK, OK, long, OK]])
                # The one that rests is not idle for a day now.
                resting.sendall(request("ok", f"127.0.0.1:{origin.plain}"))
                self.assertEqual(await deferToThread(read_response, resting), OK)
            # What makes and verifies certificates goes on, and so does what scripts share.
            self.assertEqual(await deferToThread(ask_tls, port, origin.tls, "ok"), OK)
            self.assertEqual(await deferToThread(asked, "kept"), OK)
        await self.let_go(proxy, before)
        self.assertEqual(set(self.accounts.codes()), {"response", "clientdisconnect"})

    async def test_deadlines_after_a_jump_back(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty(script=CLOCK, read_timeout="3s", head_timeout="3s")
        port = proxy.port

        def half_a_head() -> bytes:
            with way_to(port) as client:
                client.sendall(b"GET http://")
                return read_all(client)[0]

        running = self.in_threads((ask_plain, port, origin.plain, "none"), (half_a_head,))
        await origin.told("none")
        # What is due already stays due.
        jumped = await deferToThread(ask_plain, port, 1, f"jump/{-DAY}")
        self.assertEqual(jumped, OK)
        silent, half = await running
        self.assertEqual((silent.status, b"read-timeout" in silent.body), (504, True))
        self.assertIn(b"head-timeout", half)


GATHER = """\
def request(flow):
    pass


def response(flow):
    pass
"""


class DiskTests(FaultCase):
    """The disk is full."""

    def full_disk(self) -> tuple[Path, list[str]]:
        """A directory, and the command that puts a disk of 64 KiB there."""
        inside = [require("unshare"), "--user", "--map-root-user", "--mount"]
        if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("namespaces cannot be had here")
        directory = self.directory / "disk"
        directory.mkdir()
        mount = f"mount -t tmpfs -o size=64k none '{directory}' && exec \"$@\""
        return directory, [*inside, "sh", "-c", mount, "sh"]

    async def test_bodies(self):
        origin = await self.start_origin()
        directory, inside = self.full_disk()
        inside += ["env", f"TMPDIR={directory}"]
        proxy = await self.start_faulty(
            script=GATHER, body_memory_limit="16k", arguments=[], inside=inside
        )
        port = proxy.port
        self.assertEqual(await deferToThread(ask_plain, port, origin.plain, "ok"), OK)
        before = await self.holding(proxy)

        def upload() -> Outcome:
            with way_to(port) as client:
                client.sendall(
                    request("upload", f"127.0.0.1:{origin.plain}", "Content-Length: 1000000")
                )
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"y" * 1_000_000)
                return read_response(client)

        for _ in range(3):
            large, uploaded, small, secured = await self.in_threads(
                (ask_plain, port, origin.plain, "large"),
                (upload,),
                (ask_plain, port, origin.plain, "ok"),
                (ask_tls, port, origin.tls, "ok"),
            )
            self.assertEqual((small, secured), (OK, OK))
            for outcome in (large, uploaded):
                self.assertEqual((outcome.status, outcome.complete), (500, True), outcome)
                self.assertIn(b"body-spool-failed", outcome.body)
        await self.let_go(proxy, before)
        codes = self.accounts.codes()
        self.assertEqual(codes["body-spool-failed"], 6, codes)

    async def test_printing_and_logging(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty(
            inside=["sh", "-c", 'exec "$@" 2>/dev/full', "sh"], flow_detail="2", log_level="debug"
        )
        before = await self.holding(proxy)
        for _ in range(5):
            outcome = await deferToThread(ask_plain, proxy.port, origin.plain, "ok")
            self.assertEqual(outcome, OK)
            self.assertEqual(await deferToThread(ask_tls, proxy.port, origin.tls, "ok"), OK)
        await self.let_go(proxy, before)

    async def test_confdir(self):
        directory, inside = self.full_disk()
        fill = f"head -c 1000000 /dev/zero >'{directory}/zeros' 2>/dev/null; exec \"$@\""
        ended = await self.run_program(
            *(*inside, "sh", "-c", fill, "sh", sys.executable, "-m", "interceptor", "run"),
            *("--set", f"confdir={directory / 'conf'}", "--mode", "regular@127.0.0.1:0"),
        )
        self.assertEqual((ended.status, ended.out), (1, b""), ended.err)
        self.assertEqual(len(ended.err.splitlines()), 1, ended.err)
        self.assertIn(b"No space left on device", ended.err)


class WorkerTests(FaultCase):
    """SIGKILL, for workers and for their parent."""

    async def one_each(self, port: int) -> dict[int, Any]:
        """What each of two workers holds."""
        found: dict[int, Any] = {}

        async def both() -> bool:
            state = await self.state(port)
            found[state["worker"]] = state
            return len(found) == 2

        await self.until(both)
        return found

    async def test_a_worker_is_killed_under_load(self):
        origin = await self.start_origin()
        proxy = await self.start_faulty(
            arguments=["--workers", "2"], client_connection_limit="1000", flow_limit="1000"
        )
        port = proxy.port
        workers = await self.one_each(port)
        victim, other = workers[1]["process"], workers[2]["process"]
        outcomes: list[tuple[int, str, Outcome]] = []
        stopped: list[bool] = []

        def load() -> None:
            """Ask on one connection after the other, each of which has one worker."""
            while not stopped:
                worker = 0
                try:
                    with way_to(port) as client:
                        client.sendall(request("state", "127.0.0.1:1"))
                        state = read_response(client)
                        if not state.complete:
                            outcomes.append((worker, "state", state))
                            continue
                        worker = json.loads(state.body)["process"]
                        for path in ("ok", "slow"):
                            client.sendall(request(path, f"127.0.0.1:{origin.plain}"))
                            outcomes.append((worker, path, read_response(client)))
                except ConnectionError as error:
                    outcomes.append((worker, str(error), Outcome(None, b"", False)))

        loading = self.in_threads(*((load,) for _ in range(12)))

        async def from_both() -> bool:
            done = [worker for worker, path, _ in outcomes if path == "slow"]
            return {victim, other} <= set(done)

        await self.until(from_both)
        os.kill(victim, signal.SIGKILL)
        await proxy.process.until(lambda process: b"worker 1 (process" in process.err, LONG)
        await proxy.process.until(lambda process: b"serves" in process.err, LONG)
        new = (await self.one_each(port))[1]["process"]

        async def served_by_the_new_one() -> bool:
            return any(worker == new and path == "slow" for worker, path, _ in outcomes)

        await self.until(served_by_the_new_one)
        stopped.append(True)
        await loading
        self.assertIn(f"worker 1 (process {victim}) was killed by SIGKILL", proxy.log)
        # Only those of the dead worker were cut off, and those that it had not accepted yet.
        for worker, path, outcome in outcomes:
            if worker not in (0, victim):
                self.assertEqual(outcome, OK, (worker, path))
        cut = [each for each in outcomes if each[2] != OK]
        self.assertLessEqual(len(cut), 24, cut)

        async def at_rest() -> bool:
            states = await self.one_each(port)
            return all(
                (state["flows"], state["sessions"], state["connections"]) == (0, 1, 1)
                for state in states.values()
            )

        await self.until(at_rest)
        # The flows of worker 1 may be those of the dead one, which nobody can end.
        left = self.accounts.open(lost=[1])
        self.assertLessEqual(len(left), 1, left)
        self.assertEqual(set(self.accounts.codes()), {"response", "clientdisconnect"})

    async def test_the_parent_is_killed(self):
        origin = await self.start_origin()
        process = self.start_process(
            *(sys.executable, "-m", "interceptor", "run", "--workers", "2"),
            *("--mode", "regular@127.0.0.1:0", "--mode", "dns@127.0.0.1:0"),
            *("--set", "confdir=conf", "--set", "shutdown_grace=1s"),
        )
        await process.until(lambda process: len(parse_listening(process.out)) >= 2, START_TIMEOUT)
        ports = {listener.port for listener in parse_listening(process.out)}
        port = parse_listening(process.out)[0].port
        assert process.transport is not None and process.transport.pid is not None
        workers = processes_of(process.transport.pid)
        self.assertEqual(len(workers), 2)
        running = self.in_threads(
            *((ask_plain, port, origin.plain, path) for path in ["slow"] * 4 + ["none"] * 4)
        )
        await origin.told(*["slow"] * 4, *["none"] * 4)
        process.signal(signal.SIGKILL)
        await process.ended(LONG)
        outcomes = await running
        # What can be finished in time is.
        self.assertEqual(len([each for each in outcomes if each.complete]), 4, outcomes)

        async def gone() -> bool:
            return not any(alive(worker) for worker in workers)

        await self.until(gone)
        for each in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as free:
                    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    free.bind(("127.0.0.1", each))


def alive(pid: int) -> bool:
    """Whether there is such a process which has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
