"""No WebSocket peer gets a worse verdict through the proxy than without it, in any case."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.websocketcases import all_cases
from tests.conformance.websocketrunner import FRAMINGS, Outcome, Stage, Verdict
from tests.events.cases import Hooks

CASES = all_cases()


class CaseTests(SynchronousTestCase):
    def test_there_are_many_and_each_has_a_name(self):
        self.assertGreater(len(CASES), 400)
        self.assertEqual(len({case.name for case in CASES}), len(CASES))


class ConformanceCases:
    """Cases sent as a client or as a server, to a peer of some framing, past some hooks."""

    framing = "own"
    as_client = True
    addCleanup: Any
    assertEqual: Any

    def addons(self) -> tuple[object, ...]:
        """What the proxy has loaded."""
        return ()

    def compare(self, prefix: str) -> None:
        stage = Stage(FRAMINGS[self.framing], *self.addons())
        self.addCleanup(stage.close)
        worse: list[tuple[str, Outcome, Outcome | None]] = []
        for case in CASES:
            if not case.name.startswith(prefix):
                continue
            direct = stage.run(case, as_client=self.as_client, proxied=False)
            proxied = stage.run(case, as_client=self.as_client, proxied=True)
            if proxied.verdict > direct.verdict:
                worse.append((case.name, direct, proxied))
            elif self.framing == "own" and direct.verdict is not Verdict.OK:
                # What the proxy reads with has to be right in all of them.
                worse.append((case.name, direct, None))
        self.assertEqual(worse, [])

    def test_framing(self):
        self.compare("1.")

    def test_pings(self):
        self.compare("2.")

    def test_reserved_bits(self):
        self.compare("3.")

    def test_opcodes_and_masks(self):
        self.compare("4.")

    def test_fragmentation(self):
        self.compare("5.")

    def test_utf_8(self):
        self.compare("6.")

    def test_closing(self):
        self.compare("7.")

    def test_sizes(self):
        self.compare("9.")

    def test_compression(self):
        self.compare("12.")

    def test_compressed_frames(self):
        self.compare("13.")


class OwnServerTests(ConformanceCases, SynchronousTestCase):
    """Our codec as the server."""


class OwnClientTests(ConformanceCases, SynchronousTestCase):
    """Our codec as the client."""

    as_client = False


class ForeignServerTests(ConformanceCases, SynchronousTestCase):
    """wsproto as the server."""

    framing = "wsproto"


class ForeignClientTests(ConformanceCases, SynchronousTestCase):
    """wsproto as the client."""

    framing = "wsproto"
    as_client = False


class EditedTests(ConformanceCases, SynchronousTestCase):
    """Every message is made anew by a hook."""

    def addons(self) -> tuple[object, ...]:
        def touch(flow: Any) -> None:
            flow.websocket.messages[-1].edited = True

        return (Hooks(websocket_message=touch),)
