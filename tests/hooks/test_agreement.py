from __future__ import annotations

from typing import Any

from interceptor.errors import HookFailed
from interceptor.hooks.bus import HookBus
from interceptor.http import HTTPFlow
from interceptor.testing import make_flow
from tests.hooks.doubles import HookTestCase


class Guard:
    """Has to see every request; ``stream`` is what it leaves, None for nothing."""

    policy: str | None = "kill"

    def __init__(self, stream: Any = None) -> None:
        self.stream = stream
        self.shown: list[Any] = []

    def requestheaders(self, flow: HTTPFlow) -> None:
        self.shown.append(flow.request.stream)
        if self.stream is not None:
            flow.request.stream = self.stream

    def request(self, flow: HTTPFlow) -> None:
        pass


class AgreementTests(HookTestCase):
    def agreed(self, bus: HookBus, flow: HTTPFlow | None = None) -> bool:
        flow = make_flow() if flow is None else flow
        assert bus.requestheaders is not None and bus.request is not None
        self.assertIsNone(bus.requestheaders(flow))
        return bus.request.agreed(flow)

    def test_own_word_counts(self) -> None:
        for stream, agreed in ((True, True), (bytes.upper, True), (None, False), (False, False)):
            self.assertIs(self.agreed(self.bus_of(Guard(stream))), agreed)

    def test_guard_is_shown_nothing_and_nothing_is_lost(self) -> None:
        flow = make_flow()
        flow.request.stream = bytes.upper
        guard = Guard()
        self.assertFalse(self.agreed(self.bus_of(guard), flow))
        self.assertEqual(guard.shown, [False])
        self.assertIs(flow.request.stream, bytes.upper)

    def test_all_have_to_agree(self) -> None:
        self.assertFalse(self.agreed(self.bus_of(Guard(True), Guard())))
        self.assertTrue(self.agreed(self.bus_of(Guard(True), Guard(True))))

    def test_policy_of_the_bus(self) -> None:
        class Addon(Guard):
            policy = None

        self.assertTrue(self.agreed(self.bus_of(Addon())))
        self.assertFalse(self.agreed(self.bus_of(Addon(), policy="kill")))

    def test_flows_do_not_meet(self) -> None:
        guard = Guard(True)
        bus = self.bus_of(guard)
        self.assertTrue(self.agreed(bus))
        guard.stream = None
        self.assertFalse(self.agreed(bus))

    def test_guard_that_fails_did_not_agree(self) -> None:
        class Broken(Guard):
            def requestheaders(self, flow: HTTPFlow) -> None:
                raise ValueError

        flow = make_flow()
        flow.request.stream = True
        bus = self.bus_of(Broken())
        assert bus.requestheaders is not None and bus.request is not None
        self.assertRaises(HookFailed, bus.requestheaders, flow)
        self.assertFalse(bus.request.agreed(flow))
        self.assertIs(flow.request.stream, True)

    def test_word_of_a_version_that_is_gone(self) -> None:
        """After a reload the guard is another one, which was not asked."""
        bus = self.bus_of(Guard(True))
        flow = make_flow()
        assert bus.requestheaders is not None
        bus.requestheaders(flow)
        later = self.bus_of(Guard(True))
        assert later.request is not None
        self.assertFalse(later.request.agreed(flow))
