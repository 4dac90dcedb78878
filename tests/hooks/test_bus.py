from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed

from interceptor.errors import HookFailed
from interceptor.hooks import bus as bus_module
from interceptor.hooks import coroutines as coroutines_module
from interceptor.hooks import run as run_module
from interceptor.hooks.context import CURRENT
from tests.hooks.doubles import HookTestCase, Layer


class Hook:
    """An addon whose `request` hook is a function."""

    def __init__(self, hook: Callable[[Any], Any], policy: str | None = None) -> None:
        self.request = hook
        self.policy = policy


class SynchronousHooksTests(HookTestCase):
    def test_event_without_hooks_is_none(self) -> None:
        bus = self.bus_of(Hook(lambda flow: None))
        self.assertIsNone(bus.response)
        self.assertIsNotNone(bus.request)

    def test_hooks_are_called_in_the_order_of_the_chain(self) -> None:
        def adding(number: int) -> Hook:
            return Hook(lambda flow: flow.append(number))

        bus = self.bus_of(*(adding(number) for number in range(3)))
        flow: list[int] = []
        assert bus.request is not None
        self.assertIsNone(bus.request(flow))
        self.assertEqual(flow, [0, 1, 2])

    def test_events_without_argument(self) -> None:
        calls: list[str] = []

        class Ticker:
            def tick(self) -> None:
                calls.append("tick")

        bus = self.bus_of(Ticker())
        assert bus.tick is not None
        self.assertIsNone(bus.tick())
        self.assertEqual(calls, ["tick"])

    def test_event_in_flight_goes_on_with_the_table_it_began_with(self) -> None:
        waiting: Deferred[None] = Deferred()
        flow: list[str] = []
        bus = self.bus_of(Hook(lambda flow: waiting), Hook(lambda flow: flow.append("old")))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        bus.rebuild(())
        self.assertIsNone(bus.request)
        waiting.callback(None)
        self.successResultOf(ended)
        self.assertEqual(flow, ["old"])

    def test_classes_and_builtins_of_an_events_name_are_no_hooks(self) -> None:
        bus = self.bus_of(Hook(dict), Hook(len))
        self.assertIsNone(bus.request)

    def test_binding_is_set_while_a_hook_runs(self) -> None:
        names: list[str] = []

        def hook(flow: object) -> None:
            binding = CURRENT.get()
            assert binding is not None
            names.append(binding.addon)

        bus = self.bus_of(Hook(hook), Hook(hook))
        assert bus.request is not None
        bus.request(None)
        self.assertEqual(names, ["addon1", "addon2"])
        self.assertIsNone(CURRENT.get())

    def test_flags(self) -> None:
        class Observer(Hook):
            observes_only = True

        quiet = self.bus_of(Observer(lambda flow: None)).request
        mixed = self.bus_of(Observer(lambda f: None), Hook(lambda f: None, "kill")).request
        assert quiet is not None and mixed is not None
        self.assertEqual((quiet.observes_only, quiet.fail_closed), (True, False))
        self.assertEqual((mixed.observes_only, mixed.fail_closed), (False, True))

    def test_policy_of_the_bus_counts_where_an_addon_has_none(self) -> None:
        fire = self.bus_of(Hook(lambda flow: None), policy="kill").request
        assert fire is not None
        self.assertTrue(fire.fail_closed)
        fire = self.bus_of(Hook(lambda flow: None, "continue"), policy="kill").request
        assert fire is not None
        self.assertFalse(fire.fail_closed)


class AsynchronousHooksTests(HookTestCase):
    def test_next_addon_waits_for_the_deferred_of_the_one_before(self) -> None:
        waiting: Deferred[None] = Deferred()
        flow: list[str] = []
        bus = self.bus_of(Hook(lambda flow: waiting), Hook(lambda flow: flow.append("second")))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        assert ended is not None
        self.assertNoResult(ended)
        self.assertEqual(flow, [])
        waiting.callback(None)
        self.assertIsNone(self.successResultOf(ended))
        self.assertEqual(flow, ["second"])

    def test_deferred_that_has_fired_makes_none(self) -> None:
        bus = self.bus_of(Hook(lambda flow: succeed(None)))
        assert bus.request is not None
        self.assertIsNone(bus.request(None))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_coroutine_that_never_waits_makes_none(self) -> None:
        flow: list[int] = []

        async def hook(flow: list[int]) -> None:
            flow.append(1)

        bus = self.bus_of(Hook(hook), Hook(hook))
        assert bus.request is not None
        self.assertIsNone(bus.request(flow))
        self.assertEqual(flow, [1, 1])

    def test_coroutine_is_waited_for(self) -> None:
        waiting: Deferred[str] = Deferred()
        flow: list[str] = []

        async def hook(flow: list[str]) -> None:
            flow.append(await waiting)

        bus = self.bus_of(Hook(hook))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        waiting.callback("answer")
        self.successResultOf(ended)
        self.assertEqual(flow, ["answer"])

    def test_inline_callbacks(self) -> None:
        waiting: Deferred[None] = Deferred()

        @inlineCallbacks
        def hook(flow: list[str]):
            yield waiting
            flow.append("done")

        flow: list[str] = []
        bus = self.bus_of(Hook(hook))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        waiting.callback(None)
        self.successResultOf(ended)
        self.assertEqual(flow, ["done"])

    def test_many_hooks_do_not_recurse(self) -> None:
        waiting: Deferred[None] = Deferred()
        hooks = [Hook(lambda flow: waiting), *(Hook(lambda flow: succeed(None)),) * 2000]
        bus = self.bus_of(*hooks)
        assert bus.request is not None
        ended: Any = bus.request(None)
        waiting.callback(None)
        self.successResultOf(ended)

    def test_flows_do_not_wait_for_each_other(self) -> None:
        bus = self.bus_of(Hook(lambda flow: flow))
        assert bus.request is not None
        slow: Deferred[None] = Deferred()
        first = bus.request(slow)
        assert first is not None
        self.assertIsNone(bus.request(succeed(None)))
        self.assertNoResult(first)
        slow.callback(None)

    def test_deferred_shared_by_two_flows_keeps_its_result(self) -> None:
        shared: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: shared))
        assert bus.request is not None
        both: list[Any] = [bus.request(None), bus.request(None)]
        shared.callback(None)
        for ended in both:
            self.successResultOf(ended)


class ErrorTests(HookTestCase):
    def test_going_on_after_an_error(self) -> None:
        def broken(flow: object) -> None:
            raise ValueError("no good")

        flow: list[int] = []
        bus = self.bus_of(Hook(broken), Hook(lambda flow: flow.append(2)))
        assert bus.request is not None
        self.assertIsNone(bus.request(flow))
        self.assertEqual(flow, [2])
        (text,) = self.messages.texts
        self.assertTrue(text.startswith("addon `addon1`: `request` failed; going on without it"))
        self.assertIn('raise ValueError("no good")', text)
        self.assertNotIn("in fire", text)

    def test_kill_policy_raises_and_calls_nobody_else(self) -> None:
        def broken(flow: object) -> None:
            raise ValueError("no good")

        flow: list[int] = []
        bus = self.bus_of(Hook(broken, "kill"), Hook(lambda flow: flow.append(2)))
        assert bus.request is not None
        error = self.assertRaises(HookFailed, bus.request, flow)
        self.assertEqual(str(error), "addon `addon1`: `request` failed")
        self.assertEqual(flow, [])
        self.assertIn("what it was called for is killed", self.messages.texts[0])

    def test_error_of_a_coroutine_at_once(self) -> None:
        async def broken(flow: object) -> None:
            raise ValueError("no good")

        bus = self.bus_of(Hook(broken, "kill"))
        assert bus.request is not None
        self.assertRaises(HookFailed, bus.request, None)

    def test_error_of_a_deferred(self) -> None:
        bus = self.bus_of(Hook(lambda flow: fail(ValueError("no good")), "kill"))
        assert bus.request is not None
        self.assertRaises(HookFailed, bus.request, None)

    def test_late_error_with_kill_policy(self) -> None:
        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting, "kill"))
        assert bus.request is not None
        ended: Any = bus.request(None)
        waiting.errback(ValueError("no good"))
        self.failureResultOf(ended, HookFailed)

    def test_late_error_with_continue_policy(self) -> None:
        waiting: Deferred[None] = Deferred()
        flow: list[int] = []
        bus = self.bus_of(Hook(lambda flow: waiting), Hook(lambda flow: flow.append(2)))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        waiting.errback(ValueError("no good"))
        self.successResultOf(ended)
        self.assertEqual(flow, [2])
        self.assertIn("ValueError: no good", self.messages.texts[0])

    def test_error_of_a_later_hook_after_waiting(self) -> None:
        def broken(flow: object) -> None:
            raise ValueError("no good")

        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting), Hook(broken, "kill"))
        assert bus.request is not None
        ended: Any = bus.request(None)
        waiting.callback(None)
        self.failureResultOf(ended, HookFailed)

    def test_system_exit_is_an_error_like_others(self) -> None:
        def leaving(flow: object) -> None:
            raise SystemExit(1)

        bus = self.bus_of(Hook(leaving))
        assert bus.request is not None
        self.assertIsNone(bus.request(None))
        self.assertIn("SystemExit", self.messages.texts[0])

    def test_keyboard_interrupt_is_an_error_like_others(self) -> None:
        """Who presses Control-C sends a signal, which is the program's affair and not a hook's."""

        def interrupted(flow: object) -> None:
            raise KeyboardInterrupt

        async def later(flow: object) -> None:
            raise KeyboardInterrupt

        bus = self.bus_of(Hook(interrupted), Hook(later))
        assert bus.request is not None
        self.assertIsNone(bus.request(None))
        self.assertEqual(["KeyboardInterrupt" in text for text in self.messages.texts], [True] * 2)

    def test_value_that_may_not_be_returned_is_reported_once(self) -> None:
        async def late(flow: object) -> int:
            return 3

        bus = self.bus_of(Hook(lambda flow: "text"), Hook(late))
        assert bus.request is not None
        for _ in range(3):
            self.assertIsNone(bus.request(None))
        self.assertEqual(
            self.messages.texts,
            [
                f"addon `addon{number}`: `request` returned a {kind}, which is ignored; it may "
                "return nothing, a Deferred or a coroutine"
                for number, kind in ((1, "str"), (2, "int"))
            ],
        )


class CancellationTests(HookTestCase):
    def test_cancelling_reaches_the_hooks_deferred_and_no_policy(self) -> None:
        for policy in ("continue", "kill"):
            self.check_cancelling(policy)
        self.assertEqual(self.messages.texts, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def check_cancelling(self, policy: str) -> None:
        cancelled: list[object] = []
        waiting: Deferred[None] = Deferred(cancelled.append)
        flow: list[int] = []
        bus = self.bus_of(Hook(lambda flow: waiting, policy), Hook(lambda flow: flow.append(2)))
        assert bus.request is not None
        ended: Any = bus.request(flow)
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(flow, [])

    def test_cancelling_reaches_a_coroutine(self) -> None:
        seen: list[str] = []

        async def hook(flow: object) -> None:
            try:
                await Deferred()
            except CancelledError:
                seen.append("cancelled")
                raise

        bus = self.bus_of(Hook(hook))
        assert bus.request is not None
        ended: Any = bus.request(None)
        assert ended is not None
        ended.cancel()
        self.failureResultOf(ended, CancelledError)
        self.assertEqual(seen, ["cancelled"])

    def test_cancelled_error_of_the_hooks_own_is_an_error(self) -> None:
        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting, "kill"))
        assert bus.request is not None
        ended: Any = bus.request(None)
        waiting.cancel()
        self.failureResultOf(ended, HookFailed)

    def test_hook_that_cancels_its_own_firing(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        flow: list[Any] = []

        def killing(flow: list[Any]) -> Deferred[None]:
            flow[0].cancel()
            return second

        third: list[int] = []
        bus = self.bus_of(
            Hook(lambda flow: first), Hook(killing), Hook(lambda flow: third.append(3))
        )
        assert bus.request is not None
        ended: Any = bus.request(flow)
        flow.append(ended)
        first.callback(None)
        self.failureResultOf(ended, CancelledError)
        self.assertTrue(second.called)
        self.assertEqual(third, [])


class DeadlineTests(HookTestCase):
    def test_overrun_with_continue_policy(self) -> None:
        cancelled: list[object] = []
        waiting: Deferred[None] = Deferred(cancelled.append)
        flow: list[int] = []
        bus = self.bus_of(
            Hook(lambda flow: waiting), Hook(lambda flow: flow.append(2)), timeout=5.0
        )
        assert bus.request is not None
        ended: Any = bus.request(flow)
        assert ended is not None
        self.clock.advance(4.9)
        self.assertNoResult(ended)
        self.clock.advance(0.2)
        self.successResultOf(ended)
        self.assertEqual(flow, [2])
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(
            self.messages.texts,
            [
                "addon `addon1`: `request` did not answer within 5 s and was cancelled; "
                "going on without it"
            ],
        )
        (statistics,) = [s for s in bus.statistics() if s.addon == "addon1"]
        self.assertEqual(statistics.overruns, 1)

    def test_overrun_with_kill_policy(self) -> None:
        bus = self.bus_of(Hook(lambda flow: Deferred(), "kill"), timeout=5.0)
        assert bus.request is not None
        ended: Any = bus.request(None)
        self.clock.advance(5)
        failure = self.failureResultOf(ended, HookFailed)
        self.assertEqual(str(failure.value), "addon `addon1`: `request` did not answer in time")

    def test_hook_that_ignores_its_cancellation_is_left_behind(self) -> None:
        later: Deferred[None] = Deferred()

        async def stubborn(flow: object) -> None:
            try:
                await Deferred()
            except CancelledError:
                await later

        bus = self.bus_of(Hook(stubborn), timeout=5.0)
        assert bus.request is not None
        ended: Any = bus.request(None)
        self.clock.advance(5)
        self.successResultOf(ended)
        later.callback(None)

    def test_answer_in_time_leaves_no_timer(self) -> None:
        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting), timeout=5.0)
        assert bus.request is not None
        bus.request(None)
        waiting.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_deadline(self) -> None:
        bus = self.bus_of(Hook(lambda flow: Deferred()), timeout=0)
        assert bus.request is not None
        bus.request(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TimedTestCase(HookTestCase):
    """Measures hooks by the test's clock: a hook that advances it is one that takes its time."""

    def setUp(self) -> None:
        super().setUp()
        for module in (bus_module, run_module, coroutines_module):
            self.patch(module, "perf_counter", self.clock.seconds)


class StallTests(TimedTestCase):
    def test_blocking_hook_is_named(self) -> None:
        bus = self.bus_of(Hook(lambda flow: self.clock.advance(0.02)), stall=0.01)
        assert bus.request is not None
        bus.request(None)
        (text,) = self.messages.texts
        self.assertTrue(text.startswith("addon `addon1`: `request` blocked the whole proxy for "))
        self.assertEqual(bus.statistics()[0].stalls, 1)

    def test_coroutine_that_blocks_after_waiting_is_named(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def hook(flow: object) -> None:
            await waiting
            self.clock.advance(0.02)

        bus = self.bus_of(Hook(hook), stall=0.01)
        assert bus.request is not None
        bus.request(None)
        self.assertEqual(self.messages.texts, [])
        waiting.callback(None)
        self.assertEqual(len(self.messages.texts), 1)

    def test_waiting_is_no_stall(self) -> None:
        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting), stall=0.01)
        assert bus.request is not None
        bus.request(None)
        self.clock.advance(0.02)
        waiting.callback(None)
        self.assertEqual(self.messages.texts, [])

    def test_hook_that_is_quick_enough_is_no_stall(self) -> None:
        bus = self.bus_of(Hook(lambda flow: self.clock.advance(0.01)), stall=0.01)
        assert bus.request is not None
        bus.request(None)
        self.assertEqual(self.messages.texts, [])
        self.assertEqual(bus.statistics()[0].stalls, 0)


class StatisticsTests(TimedTestCase):
    def test_calls_time_and_errors(self) -> None:
        def sometimes(flow: object) -> None:
            self.clock.advance(0.25)
            if flow:
                self.clock.advance(0.5)
                raise ValueError

        bus = self.bus_of(Hook(sometimes), Hook(lambda flow: None))
        assert bus.request is not None
        for flow in (0, 1, 0):
            bus.request(flow)
        first, second = bus.statistics()
        self.assertEqual((first.addon, first.event, first.calls), ("addon1", "request", 3))
        self.assertEqual((first.errors, second.errors, second.calls), (1, 0, 3))
        self.assertEqual((first.seconds, first.longest), (1.25, 0.75))
        self.assertEqual((second.seconds, second.longest), (0, 0))

    def test_waiting_counts(self) -> None:
        waiting: Deferred[None] = Deferred()
        bus = self.bus_of(Hook(lambda flow: waiting))
        assert bus.request is not None
        bus.request(None)
        self.clock.advance(2)
        waiting.callback(None)
        self.assertEqual(bus.statistics()[0].longest, 2)

    def test_hooks_never_called_are_not_listed(self) -> None:
        self.assertEqual(self.bus_of(Hook(lambda flow: None)).statistics(), [])


class NextLayerTests(HookTestCase):
    def layered(self, *hooks: Callable[[Any], Any]) -> Any:
        class Addon:
            def __init__(self, hook: Callable[[Any], Any]) -> None:
                self.next_layer = hook

        return self.bus_of(*map(Addon, hooks)).next_layer

    def test_none_keeps_the_layer(self) -> None:
        layer = Layer("proposed")
        self.assertIs(self.layered(lambda layer: None)(layer), layer)

    def test_next_addon_is_given_the_replacement(self) -> None:
        proposed, other, last = Layer("proposed"), Layer("other"), Layer("last")
        seen: list[Layer] = []

        def second(layer: Layer) -> Layer:
            seen.append(layer)
            return last

        self.assertIs(self.layered(lambda layer: other, second)(proposed), last)
        self.assertEqual(seen, [other])

    def test_replacement_that_comes_late(self) -> None:
        proposed, other = Layer("proposed"), Layer("other")
        waiting: Deferred[Layer] = Deferred()

        async def hook(layer: Layer) -> Layer:
            return await waiting

        ended = self.layered(hook, lambda layer: None)(proposed)
        waiting.callback(other)
        self.assertIs(self.successResultOf(ended), other)

    def test_anything_else_is_reported_and_ignored(self) -> None:
        layer = Layer("proposed")
        self.assertIs(self.layered(lambda layer: "http")(layer), layer)
        self.assertEqual(
            self.messages.texts,
            [
                "addon `addon1`: `next_layer` returned a str, which is ignored; it may return "
                "the layer to use instead, nothing, a Deferred or a coroutine"
            ],
        )

    def test_error_keeps_the_layer(self) -> None:
        layer = Layer("proposed")
        self.assertIs(self.layered(lambda layer: 1 / 0)(layer), layer)
