from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred

from interceptor import ctx
from interceptor.hooks.context import current, own_arguments
from interceptor.hooks.threads import concurrent
from tests.hooks.doubles import HookTestCase


class UnboundTests(HookTestCase):
    def test_outside_any_proxy(self) -> None:
        error = self.assertRaises(RuntimeError, lambda: ctx.options)
        self.assertIn("no proxy runs", str(error))

    def test_names_that_ctx_does_not_have(self) -> None:
        error = self.assertRaises(AttributeError, getattr, ctx, "optins")
        names = "args, log, master, options, shared, worker"
        self.assertEqual(str(error), f"ctx has no 'optins'; it has {names}")

    def test_only_live_proxy_is_fallen_back_to(self) -> None:
        chain = self.chain()
        self.assertIs(ctx.options, chain.options)
        self.assertEqual(ctx.args, [])

    def test_with_two_proxies_there_is_none_to_fall_back_to(self) -> None:
        self.chain(), self.chain()
        error = self.assertRaises(RuntimeError, lambda: ctx.options)
        self.assertIn("several proxies", str(error))

    def test_proxy_that_has_ended_is_none(self) -> None:
        chain = self.chain()
        self.shut_down(chain)
        self.assertRaises(RuntimeError, lambda: ctx.options)


class LogTests(HookTestCase):
    def test_levels(self) -> None:
        self.chain()
        ctx.log("plain")
        ctx.log("chosen", "warn")
        ctx.log("other name", "warning")
        for level in ("debug", "info", "warn", "warning", "error"):
            getattr(ctx.log, level)(level)
        self.assertEqual(
            self.messages.levels,
            ["info", "warn", "warn", "debug", "info", "warn", "warn", "error"],
        )

    def test_braces_are_text(self) -> None:
        self.chain()
        ctx.log("{nothing} to fill in")
        self.assertEqual(self.messages.texts, ["{nothing} to fill in"])

    def test_unknown_level(self) -> None:
        self.chain()
        error = self.assertRaises(ValueError, ctx.log, "text", "loud")
        self.assertIn("'loud'", str(error))


class TwoProxiesTests(HookTestCase):
    """Two proxies in one process do not meet, by whatever way a hook comes to use ``ctx``."""

    def setUp(self) -> None:
        super().setUp()
        self.chains = [self.chain(), self.chain()]
        self.seen: list[Any] = []

    def expected(self) -> list[Any]:
        return [chain.options for chain in self.chains]

    def fire(self, addon: object) -> list[Any]:
        waiting = []
        for chain in self.chains:
            chain.add(addon)
            assert chain.bus.request is not None
            waiting.append(chain.bus.request(None))
        return waiting

    def addon(self, hook: Any) -> Any:
        addon: Any = ModuleType("addon")
        addon.request = hook
        return addon

    def test_plain_hooks(self) -> None:
        self.fire(self.addon(lambda flow: self.seen.append(ctx.options)))
        self.assertEqual(self.seen, self.expected())

    def test_hook_of_one_that_fires_the_other(self) -> None:
        first, second = self.chains
        second.add(self.addon(lambda flow: self.seen.append(ctx.options)))

        def hook(flow: object) -> None:
            self.seen.append(ctx.options)
            assert second.bus.request is not None
            second.bus.request(None)
            self.seen.append(ctx.options)

        first.add(self.addon(hook))
        assert first.bus.request is not None
        first.bus.request(None)
        self.assertEqual(self.seen, [first.options, second.options, first.options])

    def test_coroutines(self) -> None:
        shared: Deferred[None] = Deferred()

        async def hook(flow: object) -> None:
            await shared
            self.seen.append(ctx.options)

        self.fire(self.addon(hook))
        shared.callback(None)
        self.assertEqual(self.seen, self.expected())

    def test_threads(self) -> None:
        @concurrent
        def hook(flow: object) -> None:
            self.seen.append(ctx.options)

        self.fire(self.addon(hook))
        self.clock.make_call()
        self.clock.make_call()
        self.assertCountEqual(map(id, self.seen), map(id, self.expected()))

    def test_concurrent_function_called_by_a_coroutine(self) -> None:
        waiting: Deferred[None] = Deferred()

        @concurrent
        def look() -> Any:
            return ctx.options

        async def hook(flow: object) -> None:
            await waiting
            self.seen.append(await look())

        self.fire(self.addon(hook))
        waiting.callback(None)
        self.clock.make_call()
        self.clock.make_call()
        self.assertCountEqual(map(id, self.seen), map(id, self.expected()))

    def test_current_names_the_addon(self) -> None:
        addon = self.addon(lambda flow: self.seen.append(current().addon))
        self.fire(addon)
        self.assertEqual(self.seen, ["addon", "addon"])


class OwnArgumentsTests(HookTestCase):
    def test_arguments_are_put_back(self) -> None:
        from interceptor.hooks.context import Binding

        chain = self.chain()
        before = sys.argv
        with own_arguments(Binding(chain.proxy, "x", ["x.py", "1"])):
            self.assertEqual(sys.argv, ["x.py", "1"])
        self.assertIs(sys.argv, before)
