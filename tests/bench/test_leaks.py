"""What counts as left behind, and the odd peers that try to leave something."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench import hooks_leaks, leaks, oddities
from bench.errors import BenchError
from bench.leaks import Census
from interceptor.testing import make_flow

DEFERRED = "twisted.internet.defer.Deferred"
BEFORE = Census({DEFERRED: 3, "builtins.dict": 5000}, {"a.later": 2}, 15, 3, 60.0)


class CensusTests(SynchronousTestCase):
    def test_the_same_again_is_no_growth(self) -> None:
        self.assertEqual(BEFORE.growth(BEFORE), [])

    def test_less_is_no_growth(self) -> None:
        self.assertEqual(BEFORE.growth(Census({}, {}, 1, 1, 1.0)), [])

    def test_a_type_that_was_not_there_is_growth(self) -> None:
        kind = "interceptor.layers.session.Session"
        later = replace(BEFORE, objects={**BEFORE.objects, kind: leaks.OWN_MORE + 1})
        self.assertEqual(BEFORE.growth(later), [f"+21 {kind}"])

    def test_of_other_types_there_may_be_more(self) -> None:
        for more, growth in ((leaks.OTHERS_MORE, []), (2001, ["+2001 builtins.dict"])):
            later = replace(BEFORE, objects={"builtins.dict": 5000 + more})
            self.assertEqual(BEFORE.growth(later), growth)

    def test_delayed_calls_are_told_by_what_they_call(self) -> None:
        later = replace(BEFORE, calls={"a.later": 3, "b.never": 10})
        self.assertEqual(BEFORE.growth(later), ["+11 delayed calls: +10 b.never, +1 a.later"])

    def test_descriptors_and_memory(self) -> None:
        self.assertEqual(BEFORE.growth(replace(BEFORE, descriptors=19)), ["+4 descriptors"])
        self.assertEqual(BEFORE.growth(replace(BEFORE, rss_mib=68.5)), ["+8.5 MiB"])


class ScriptTests(SynchronousTestCase):
    def test_the_census_is_an_answer(self) -> None:
        flow = make_flow(url=f"http://{hooks_leaks.CENSUS}/")
        hooks_leaks.request(flow)
        assert flow.response is not None
        found = json.loads(flow.response.content or b"")
        self.assertEqual(Census(**found, rss_mib=1.0).threads, threading.active_count())
        self.assertGreater(found["objects"]["builtins.dict"], 0)

    def test_every_action_is_in_the_mix_or_with_the_odd_clients(self) -> None:
        mix = Path(leaks.__file__).with_name("leaks.lua").read_text()
        odd = Path(oddities.__file__).read_text()
        for path in hooks_leaks.ACTIONS:
            self.assertTrue(f'"{path}"' in mix or f"}}{path}" in odd, path)


class OddClientTests(SynchronousTestCase):
    async def answered(self, answer: bytes, status: bytes | None) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            port: int = server.sockets[0].getsockname()[1]
            await oddities._ask(port, b"GET / HTTP/1.1\r\n\r\n", status)
        finally:
            server.close()

    def test_the_answer_that_is_due(self) -> None:
        asyncio.run(self.answered(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b" 502 "))

    def test_another_answer_is_an_error(self) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\n\r\n", b""):
            ask = self.answered(answer, b" 502 ")
            self.assertRaises(BenchError, asyncio.run, ask)

    def test_where_none_is_due_any_end_will_do(self) -> None:
        asyncio.run(self.answered(b"HTTP/1.1 200", None))


class LapTests(SynchronousTestCase):
    def compare(self, requests: int, more: float) -> tuple[int, int]:
        """Return the exit status and the number of laps, where memory grows by so many MiB."""
        leaking = mock.Mock()
        leaking.lap.return_value = 60
        leaking.process.rss.return_value = 60.0
        leaking.settled.return_value = BEFORE
        leaking.settled_below.return_value = replace(BEFORE, rss_mib=60.0 + more)
        with mock.patch("builtins.print"):
            return leaks._compare(leaking, requests), leaking.lap.call_count

    def test_what_grew_is_an_exit_status(self) -> None:
        self.assertEqual(self.compare(600, more=0.0), (0, 10))
        self.assertEqual(self.compare(600, more=9.0), (1, 10))

    def test_without_a_warm_up_nothing_is_compared(self) -> None:
        self.assertRaises(BenchError, self.compare, 60, more=0.0)
