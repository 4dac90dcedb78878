"""Samples of the stack, and the table that is made of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet import abstract, epollreactor, tcp
from twisted.trial.unittest import SynchronousTestCase

from bench.catalogue import WORKLOADS
from bench.errors import BenchError
from bench.processes import ROOT
from bench.profile import KERNEL, PATHS, Frame, Profile, parser, part_of, system_call, table
from bench.sampling import Sampler
from interceptor.net import dial, directwrite, reactor

CODEC: Frame = ("interceptor/wire/httphead.py", "parse_fields", 60)


def frame_at(module: object, text: str) -> Frame:
    """Return a frame that stands at the line of one of Twisted's modules that has ``text``."""
    path = Path(str(vars(module)["__file__"]))
    package = str(vars(module)["__package__"])
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if text in line)
    return f"{package.replace('.', '/')}/{path.name}", "function", number


class PartTests(SynchronousTestCase):
    def test_the_innermost_frame_decides(self) -> None:
        exchange: Frame = ("interceptor/layers/exchange.py", "run", 1)
        self.assertEqual(part_of([CODEC, exchange]), ("parsing and writing", CODEC))
        self.assertEqual(part_of([exchange, CODEC]), ("exchanges, connections", exchange))

    def test_the_standard_library_belongs_to_its_caller(self) -> None:
        library: Frame = ("/usr/lib/python3.11/ipaddress.py", "__init__", 1)
        self.assertEqual(part_of([library, CODEC]), ("parsing and writing", CODEC))
        self.assertEqual(part_of([library]), ("everything else", library))

    def test_the_more_special_part_wins(self) -> None:
        parts = [
            part_of([(name, "f", 1)])[0]
            for name in (
                "interceptor/net/tls.py",
                "interceptor/net/sides.py",
                "twisted/internet/defer.py",
                "twisted/internet/abstract.py",
            )
        ]
        wanted = ["TLS", "sides, gates, deadlines", "Deferreds", "reactor, transports"]
        self.assertEqual(parts, wanted)

    def test_lines_that_call_the_system_are_the_kernels(self) -> None:
        found = {}
        for module, text in (
            (tcp, "self.socket.recv("),
            (tcp, "self.socket.send,"),
            (epollreactor, "self._poller.poll("),
            (epollreactor, "self._poller.modify("),
            (reactor, "self._poller.poll(-1"),
            (directwrite, "send(data)"),
            (dial, "self.socket.connect_ex("),
        ):
            frame = frame_at(module, text)
            self.assertEqual(part_of([("twisted/python/util.py", "f", 1), frame])[0], KERNEL)
            found[text] = system_call(frame)
        wanted = ["recv", "send", "poll", "modify", "poll", "send", "connect_ex"]
        self.assertEqual(list(found.values()), wanted)

    def test_lines_beside_them_are_not(self) -> None:
        for module, text in (
            (abstract, "def registerProducer("),
            (reactor, "for fd, event in events"),
            (directwrite, "transport.write(data)"),
        ):
            self.assertEqual(part_of([frame_at(module, text)])[0], "reactor, transports")


class TableTests(SynchronousTestCase):
    PROFILE = Profile(
        3.0,
        1.0,
        0.4,
        4000,
        {
            (CODEC,): 1.0,
            (("interceptor/layers/exchange.py", "run", 1),): 2.0,
            (frame_at(tcp, "self.socket.recv("),): 1.0,
        },
    )

    def test_parts_are_shares_of_the_cost_of_a_request(self) -> None:
        lines = table(self.PROFILE, 80.0).splitlines()
        self.assertEqual(
            lines[0], "80.0 µs of CPU time each, 25% of it in the kernel; 4000 samples"
        )
        self.assertEqual(lines[1].split(), ["40.0", "µs", "50.0%", "exchanges,", "connections"])
        self.assertIn("     20.0 µs   25.0%  parsing and writing", lines)
        self.assertIn("  system calls, µs: recv 20.0", lines)
        self.assertEqual(lines[-1], "  of all that in the garbage collector: 8.0 µs")

    def test_functions_and_lines_are_told_when_asked_for(self) -> None:
        text = table(self.PROFILE, 80.0, functions=1, lines=3)
        _, functions = text.split("by function:")
        functions, lines = functions.split("by line:")
        self.assertEqual(functions.strip(), "40.0 µs   50.0%  interceptor/layers/exchange.py: run")
        self.assertEqual(len(lines.strip().splitlines()), 3)


class SamplerTests(SynchronousTestCase):
    def test_a_sample_has_the_time_since_the_one_before(self) -> None:
        sampler = Sampler()
        sampler.sample(0, sys._getframe())
        begun = time.thread_time()
        while time.thread_time() < begun + 0.02:
            pass
        sampler.stacks.clear()
        sampler.sample(0, sys._getframe())
        [(stack, seconds)] = sampler.stacks.items()
        self.assertEqual(stack[0][:2], (__file__, self._testMethodName))
        self.assertGreaterEqual(seconds, 0.02)

    def test_what_was_not_begun_has_no_samples(self) -> None:
        file = Path(self.mktemp()).absolute()
        subprocess.run(
            [sys.executable, "-m", "bench.sampling", str(file), "bench.errors"],
            check=True,
            cwd=ROOT,
            timeout=60,
        )
        self.assertEqual(json.loads(file.read_text())["samples"], 0)
        self.assertRaises(BenchError, Profile.read, file)
        self.assertRaises(BenchError, Profile.read, Path(self.mktemp()))

    def test_what_is_written_can_be_read(self) -> None:
        sampler = Sampler()
        sampler.sample(0, sys._getframe())
        file = Path(self.mktemp()).absolute()
        file.write_text(json.dumps(sampler.end()))
        profile = Profile.read(file)
        self.assertEqual(profile.samples, 1)
        [stack] = profile.stacks
        self.assertEqual(stack[0][0], "tests/bench/test_profile.py")


class CommandTests(SynchronousTestCase):
    def test_every_short_name_is_one_of_a_workload(self) -> None:
        self.assertEqual(set(PATHS.values()) - set(WORKLOADS), set())

    def test_takes_short_names_and_workloads(self) -> None:
        for name in ("tls", "reverse-1k"):
            self.assertEqual(parser().parse_args([name]).path, name)
