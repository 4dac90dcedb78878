from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from interceptor import ctx
from interceptor.errors import HookFailed, OptionsError, ScriptError
from interceptor.hooks.loader import Loader
from interceptor.model.coreoptions import core_options
from interceptor.model.options import Options
from tests.hooks.doubles import HookTestCase


class Recorder:
    """Notes the lifecycle events that it gets."""

    def __init__(self, name: str, events: list[Any] | None = None) -> None:
        self.name = name
        self.events: list[Any] = [] if events is None else events

    def start(self) -> object:
        self.events.append(f"{self.name} start")
        return None

    def load(self, loader: Loader) -> None:
        self.events.append(f"{self.name} load")

    def configure(self, options: Options, updated: set[str]) -> None:
        self.events.append(f"{self.name} configure {len(updated)}")

    def running(self) -> Any:
        self.events.append(f"{self.name} running")

    def done(self) -> Any:
        self.events.append(f"{self.name} done")


class AddTests(HookTestCase):
    def test_start_load_configure(self) -> None:
        chain = self.chain()
        recorder = Recorder("one")
        chain.add(recorder)
        everything = len(chain.options)
        self.assertEqual(recorder.events, ["one start", "one load", f"one configure {everything}"])

    def test_names(self) -> None:
        class Named:
            name = "given"

        class Plain:
            pass

        chain = self.chain()
        first, second, third = Plain(), Plain(), Named()
        chain.add(first, second, third)
        self.assertEqual(chain.names(), ["plain", "plain-2", "given"])
        self.assertEqual(list(chain), [first, second, third])
        self.assertEqual(len(chain), 3)
        self.assertIs(chain.get("plain-2"), second)
        self.assertIsNone(chain.get("other"))
        self.assertIn(third, chain)
        self.assertIn("given", chain)

    def test_same_addon_twice_is_refused(self) -> None:
        chain = self.chain()
        addon = Recorder("one")
        chain.add(addon)
        self.assertRaises(ScriptError, chain.add, addon)

    def test_error_at_start(self) -> None:
        class Broken:
            def start(self) -> None:
                raise ValueError("no good")

        chain = self.chain()
        error = self.assertRaises(ScriptError, chain.add, Broken())
        self.assertTrue(str(error).startswith("addon `broken`: `start` failed\nTraceback"))
        self.assertIn("ValueError: no good", str(error))
        self.assertNotIn("installed.py", str(error))
        self.assertEqual(chain.names(), [])

    def test_refusal_at_start_up_is_passed_on_as_it_is(self) -> None:
        class Refusing:
            def configure(self, options: Options, updated: set[str]) -> None:
                raise OptionsError("the port is odd")

        error = self.assertRaises(OptionsError, self.chain().add, Refusing())
        self.assertEqual(str(error), "the port is odd")

    def test_options_of_an_addon_that_failed_are_gone(self) -> None:
        class Broken:
            def load(self, loader: Loader) -> None:
                loader.add_option("mine", str, "", "Mine.")
                raise ValueError

        chain = self.chain()
        self.assertRaises(ScriptError, chain.add, Broken())
        self.assertNotIn("mine", chain.options)

    def test_waiting_is_refused_where_an_answer_is_due_at_once(self) -> None:
        class Slow:
            async def start(self) -> None:
                pass

        error = self.assertRaises(ScriptError, self.chain().add, Slow())
        self.assertEqual(str(error), "addon `slow`: `start` has to answer at once")

    def test_unknown_error_policy_is_refused(self) -> None:
        class Odd:
            error_policy = "explode"

        error = self.assertRaises(ScriptError, self.chain().add, Odd())
        self.assertIn("'explode'; expected continue or kill", str(error))

    def test_addon_added_by_a_hook(self) -> None:
        seen: list[str] = []

        class Late:
            def request(self, flow: object) -> None:
                seen.append("late")

        class Adding:
            def request(self, flow: object) -> None:
                chain.add(Late())

        chain = self.chain()
        chain.add(Adding())
        assert chain.bus.request is not None
        chain.bus.request(None)
        self.assertEqual(seen, [])
        chain.bus.request(None)
        self.assertEqual(seen, ["late"])

    def test_faults_are_reported(self) -> None:
        class Faulty:
            def responseheader(self, flow: object) -> None:
                pass

            def request(self) -> None:
                pass

        self.chain().add(Faulty())
        near, arity = sorted(self.messages.texts, key=lambda text: "did you" not in text)
        self.assertRegex(near, r"test_addons\.py:\d+: `responseheader`: did you mean")
        self.assertIn("`request()` cannot be called as `request(flow)`", arity)


class ReplacementTests(HookTestCase):
    def test_what_start_returns_replaces_the_addon(self) -> None:
        events: list[Any] = []
        inner = Recorder("inner", events)

        class Outer(Recorder):
            def start(self) -> object:
                super().start()
                return inner

        chain = self.chain()
        chain.add(Outer("outer", events))
        everything = len(chain.options)
        self.assertEqual(
            events,
            ["outer start", "inner start", "inner load", f"inner configure {everything}"],
        )
        self.assertEqual(list(chain), [inner])

    def test_addon_that_returns_itself(self) -> None:
        class Same:
            def start(self) -> object:
                return self

        chain = self.chain()
        same = Same()
        chain.add(same)
        self.assertEqual(list(chain), [same])

    def test_replacing_without_end_is_refused(self) -> None:
        class Endless:
            def start(self) -> object:
                return Endless()

        self.assertRaises(ScriptError, self.chain().add, Endless())

    def test_replacement_keeps_name_and_policy_unless_it_has_its_own(self) -> None:
        class Inner:
            def request(self, flow: object) -> None:
                pass

        class Outer:
            name = "outer"
            error_policy = "kill"

            def start(self) -> object:
                return Inner()

        chain = self.chain()
        outer = Outer()
        chain.add(outer)
        self.assertEqual(chain.names(), ["outer"])
        assert chain.bus.request is not None
        self.assertTrue(chain.bus.request.fail_closed)
        self.assertIn(outer, chain)

    def test_addons_brought_along_follow_their_parent(self) -> None:
        events: list[Any] = []

        class Parent(Recorder):
            addons: Sequence[object] = ()

        inner = Parent("inner", events)
        inner.addons = (Recorder("innermost", events),)
        outer = Parent("outer", events)
        outer.addons = [inner, Recorder("last", events)]
        chain = self.chain()
        chain.add(outer, Recorder("next", events))
        self.assertEqual(chain.names(), ["outer", "inner", "innermost", "last", "next"])
        self.assertEqual(
            [event for event in events if "start" in event],
            [f"{name} start" for name in chain.names()],
        )
        self.successResultOf(chain.remove("outer"))
        self.assertEqual(chain.names(), ["next"])
        self.assertEqual(
            [event for event in events if "done" in event],
            ["outer done", "inner done", "innermost done", "last done"],
        )

    def test_addon_that_brings_itself_along_is_refused(self) -> None:
        class Circular:
            addons: list[object]

        circular = Circular()
        circular.addons = [circular]
        self.assertRaises(ScriptError, self.chain().add, circular)


class RemoveTests(HookTestCase):
    def test_done_is_called_and_hooks_are_no_more(self) -> None:
        class Addon(Recorder):
            def request(self, flow: object) -> None:
                pass

        chain = self.chain()
        addon = Addon("one")
        chain.add(addon)
        self.successResultOf(chain.remove(addon))
        self.assertEqual(addon.events[-1], "one done")
        self.assertIsNone(chain.bus.request)
        self.assertEqual(list(chain), [])

    def test_removing_waits_for_done(self) -> None:
        waiting: Deferred[None] = Deferred()

        class Slow:
            async def done(self) -> None:
                await waiting

        chain = self.chain()
        chain.add(Slow())
        ended = chain.remove("slow")
        self.assertNoResult(ended)
        waiting.callback(None)
        self.successResultOf(ended)

    def test_done_that_fails_is_logged(self) -> None:
        class Broken:
            error_policy = "kill"

            def done(self) -> None:
                raise ValueError("no good")

        chain = self.chain()
        chain.add(Broken())
        self.successResultOf(chain.remove("broken"))
        self.assertTrue(self.messages.texts[0].startswith("addon `broken`: `done` failed\n"))

    def test_one_that_was_brought_along(self) -> None:
        class Parent:
            def __init__(self, *addons: object) -> None:
                self.addons = addons

        events: list[Any] = []
        chain = self.chain()
        chain.add(Parent(Recorder("a", events), Recorder("b", events)))
        self.successResultOf(chain.remove("a"))
        self.assertEqual(chain.names(), ["parent", "b"])
        self.assertEqual(events[-1], "a done")

    def test_unknown_addon(self) -> None:
        self.assertRaises(ValueError, self.chain().remove, "nobody")

    def test_options_go_with_their_addon(self) -> None:
        class Addon:
            def load(self, loader: Loader) -> None:
                loader.add_option("mine", str, "x", "Mine.")

            def done(self) -> None:
                ctx.options.mine  # noqa: B018 - still there

        chain = self.chain()
        chain.add(Addon())
        self.assertEqual(chain.options.mine, "x")
        self.successResultOf(chain.remove("addon"))
        self.assertNotIn("mine", chain.options)
        self.assertEqual(self.messages.texts, [])

    def test_option_that_another_one_declares_too_stays(self) -> None:
        class Addon:
            def load(self, loader: Loader) -> None:
                loader.add_option("mine", str, "x", "Mine.")

        chain = self.chain()
        chain.add(Addon(), Addon())
        self.successResultOf(chain.remove("addon"))
        self.assertIn("mine", chain.options)
        self.successResultOf(chain.remove("addon-2"))
        self.assertNotIn("mine", chain.options)

    def test_option_of_the_core_stays(self) -> None:
        core = core_options().option("hook_timeout")

        class Addon:
            def load(self, loader: Loader) -> None:
                chain.options.declare(core)

        chain = self.chain()
        chain.add(Addon())
        self.successResultOf(chain.remove("addon"))
        self.assertIn("hook_timeout", chain.options)


class OptionTests(HookTestCase):
    def test_values_given_before_the_declaration(self) -> None:
        class Addon:
            limit = 0

            def load(self, loader: Loader) -> None:
                loader.add_option("limit", int, 3, "A limit.")

            def configure(self, options: Options, updated: set[str]) -> None:
                self.limit = options.limit

        options = core_options()
        options.set("limit=7", defer=True)
        chain = self.chain(options)
        addon = Addon()
        chain.add(addon)
        self.assertEqual(addon.limit, 7)
        options.check_deferred()

    def test_changes_are_told_with_their_names(self) -> None:
        told: list[set[str]] = []

        class Addon:
            def configure(self, options: Options, updated: set[str]) -> None:
                told.append(updated)

        chain = self.chain()
        chain.add(Addon())
        self.assertEqual(told.pop(), chain.options.keys())
        chain.options.update(hook_timeout=3.0, body_size_limit=10)
        self.assertEqual(told, [{"hook_timeout", "body_size_limit"}])

    def test_refusal_rolls_back_and_everyone_is_told(self) -> None:
        told: list[float] = []

        class First:
            def configure(self, options: Options, updated: set[str]) -> None:
                told.append(options.hook_timeout)

        class Second:
            def configure(self, options: Options, updated: set[str]) -> None:
                if options.hook_timeout < 2:
                    raise OptionsError("too short")

        chain = self.chain()
        chain.add(First(), Second())
        error = self.assertRaises(OptionsError, chain.options.update, hook_timeout=1.0)
        self.assertEqual(str(error), "too short")
        self.assertEqual(chain.options.hook_timeout, 60.0)
        self.assertEqual(told, [60.0, 1.0, 60.0])
        self.assertEqual(chain.bus.timeout, 60.0)

    def test_configure_that_fails_later_is_logged(self) -> None:
        class Broken:
            def configure(self, options: Options, updated: set[str]) -> None:
                if len(updated) == 1:
                    raise ValueError("no good")

        chain = self.chain()
        chain.add(Broken())
        chain.options.update(hook_timeout=3.0)
        self.assertIn("`configure` failed", self.messages.texts[0])
        self.assertEqual(chain.options.hook_timeout, 3.0)

    def test_configure_that_fails_later_with_kill_policy_refuses(self) -> None:
        class Broken:
            error_policy = "kill"

            def configure(self, options: Options, updated: set[str]) -> None:
                if len(updated) == 1 and options.hook_timeout == 3:
                    raise ValueError("no good")

        chain = self.chain()
        chain.add(Broken())
        self.assertRaises(OptionsError, chain.options.update, hook_timeout=3.0)
        self.assertEqual(chain.options.hook_timeout, 60.0)

    def test_settings_of_the_bus_follow(self) -> None:
        class Addon:
            def request(self, flow: object) -> None:
                pass

        chain = self.chain(hook_timeout=5.0, hook_stall=0.5)
        chain.add(Addon())
        self.assertEqual((chain.bus.timeout, chain.bus.stall), (5.0, 0.5))
        chain.options.update(script_error_policy="kill", script_threads=3)
        assert chain.bus.request is not None
        self.assertTrue(chain.bus.request.fail_closed)
        self.assertEqual(chain.threads.limit, 3)


class RunningTests(HookTestCase):
    def test_all_hooks_have_answered(self) -> None:
        waiting: Deferred[None] = Deferred()
        events: list[Any] = []

        class Slow(Recorder):
            def running(self) -> Any:
                super().running()
                return waiting

        chain = self.chain()
        chain.add(Slow("one", events), Recorder("two", events))
        ready = chain.running()
        self.assertNoResult(ready)
        self.assertNotIn("two running", events)
        waiting.callback(None)
        self.successResultOf(ready)
        self.assertIn("two running", events)

    def test_addon_that_comes_later(self) -> None:
        chain = self.chain()
        self.successResultOf(chain.running())
        recorder = Recorder("late")
        chain.add(recorder)
        self.assertEqual(recorder.events[-1], "late running")

    def test_error_with_kill_policy_fails(self) -> None:
        class Broken:
            error_policy = "kill"

            def running(self) -> None:
                raise ValueError

        chain = self.chain()
        chain.add(Broken())
        self.failureResultOf(chain.running(), HookFailed)


class TickTests(HookTestCase):
    def test_every_100_ms_while_somebody_listens(self) -> None:
        class Ticker:
            ticks = 0

            def tick(self) -> None:
                self.ticks += 1

        chain = self.chain()
        ticker = Ticker()
        chain.add(ticker)
        self.clock.advance(1)
        self.assertEqual(ticker.ticks, 0)
        self.successResultOf(chain.running())
        for _ in range(10):
            self.clock.advance(0.1)
        self.assertEqual(ticker.ticks, 10)
        chain.remove(ticker)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_tick_is_waited_for(self) -> None:
        waiting: Deferred[None] = Deferred()

        class Ticker:
            ticks = 0

            async def tick(self) -> None:
                self.ticks += 1
                await waiting

        chain = self.chain()
        ticker = Ticker()
        chain.add(ticker)
        self.successResultOf(chain.running())
        for _ in range(5):
            self.clock.advance(0.1)
        self.assertEqual(ticker.ticks, 1)
        waiting.callback(None)
        self.clock.advance(0.1)
        self.assertEqual(ticker.ticks, 2)

    def test_slow_tick_of_an_addon_that_went_does_not_double_the_rate(self) -> None:
        waiting: Deferred[None] = Deferred()

        class Slow:
            def tick(self) -> Deferred[None]:
                return waiting

        class Ticker:
            ticks = 0

            def tick(self) -> None:
                self.ticks += 1

        chain = self.chain()
        slow, ticker = Slow(), Ticker()
        chain.add(slow)
        self.successResultOf(chain.running())
        self.clock.advance(0.1)
        chain.remove(slow)
        chain.add(ticker)
        waiting.callback(None)
        self.clock.pump([0.1] * 5)
        self.assertEqual(ticker.ticks, 5)

    def test_failing_tick_goes_on(self) -> None:
        class Ticker:
            error_policy = "kill"
            ticks = 0

            def tick(self) -> None:
                self.ticks += 1
                raise ValueError

        chain = self.chain()
        ticker = Ticker()
        chain.add(ticker)
        self.successResultOf(chain.running())
        self.clock.pump([0.1] * 3)
        self.assertEqual(ticker.ticks, 3)


class ShutdownTests(HookTestCase):
    def test_done_in_order(self) -> None:
        events: list[Any] = []
        chain = self.chain()
        chain.add(Recorder("one", events), Recorder("two", events))
        events.clear()
        self.successResultOf(chain.shutdown())
        self.assertEqual(events, ["one done", "two done"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_done_is_waited_for_no_longer_than_the_grace(self) -> None:
        events: list[Any] = []

        class Slow(Recorder):
            async def done(self) -> None:
                await Deferred()

        chain = self.chain(shutdown_grace=5.0)
        chain.add(Slow("slow", events), Recorder("quick", events))
        ended = chain.shutdown()
        self.clock.advance(4.9)
        self.assertNoResult(ended)
        self.clock.advance(0.2)
        self.successResultOf(ended)
        self.assertEqual(events[-1], "quick done")
        self.assertEqual(
            self.messages.texts, ["shutting down without waiting for `done` of addon `slow`"]
        )

    def test_twice(self) -> None:
        chain = self.chain()
        chain.add(Recorder("one"))
        self.successResultOf(chain.shutdown())
        self.successResultOf(chain.shutdown())
