from __future__ import annotations

import threading
from typing import Any

from interceptor.hooks.threads import concurrent
from tests.hooks.doubles import HookTestCase


class ConcurrentTests(HookTestCase):
    def test_function_and_method_run_in_threads(self) -> None:
        idents: dict[str, int] = {}

        class Addon:
            @concurrent
            def request(self, flow: str) -> None:
                idents[flow] = threading.get_ident()

        chain = self.chain()
        chain.add(Addon())
        fire = chain.bus.request
        assert fire is not None
        ended: Any = fire("flow")
        self.clock.make_call()
        self.successResultOf(ended)
        self.assertNotEqual(idents["flow"], threading.get_ident())

    def test_others_go_on_meanwhile(self) -> None:
        go = threading.Event()

        class Addon:
            @concurrent
            def request(self, flow: threading.Event | None) -> None:
                if flow is not None:
                    flow.wait(10)

        chain = self.chain()
        chain.add(Addon())
        fire = chain.bus.request
        assert fire is not None
        slow: Any = fire(go)
        quick: Any = fire(None)
        self.clock.make_call()
        self.successResultOf(quick)
        assert slow is not None
        self.assertNoResult(slow)
        go.set()
        self.clock.make_call()
        self.successResultOf(slow)

    def test_error_is_the_hooks(self) -> None:
        class Addon:
            @concurrent
            def request(self, flow: object) -> None:
                raise ValueError("no good")

        chain = self.chain()
        chain.add(Addon())
        assert chain.bus.request is not None
        ended: Any = chain.bus.request(None)
        self.clock.make_call()
        self.successResultOf(ended)
        self.assertIn("ValueError: no good", self.messages.texts[0])
        self.assertIn("in request", self.messages.texts[0])

    def test_coroutine_functions_are_refused(self) -> None:
        async def request(flow: object) -> None:
            pass

        error = self.assertRaises(TypeError, concurrent, request)
        self.assertIn("`request` is async already", str(error))

    def test_name_and_signature_are_kept(self) -> None:
        @concurrent
        def request(flow: Any) -> None:
            """Say so."""

        self.assertEqual((request.__name__, request.__doc__), ("request", "Say so."))

    def test_outside_any_proxy(self) -> None:
        @concurrent
        def request(flow: Any) -> None:
            raise AssertionError("must not run")

        self.assertRaises(RuntimeError, request, None)
