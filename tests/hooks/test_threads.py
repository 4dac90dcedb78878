from __future__ import annotations

import threading
import time
import weakref
from typing import Any

from twisted.internet.defer import CancelledError

from interceptor.errors import InterceptorError
from interceptor.hooks.threads import HookThreads, concurrent
from tests.hooks.doubles import HookTestCase


class Blocking:
    """A function that blocks until it is told to go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.go.wait(10)


class HookThreadsTests(HookTestCase):
    def threads(self, limit: int = 2) -> HookThreads:
        threads = HookThreads(self.clock, limit)
        self.addCleanup(threads.stop)
        return threads

    def test_result_comes_back_in_the_reactors_thread(self) -> None:
        result = self.threads().run(threading.get_ident)
        self.assertNoResult(result)
        self.clock.make_call()
        self.assertNotEqual(self.successResultOf(result), threading.get_ident())

    def test_arguments(self) -> None:
        result = self.threads().run(lambda *args, **kwargs: (args, kwargs), 1, two=2)
        self.clock.make_call()
        self.assertEqual(self.successResultOf(result), ((1,), {"two": 2}))

    def test_error(self) -> None:
        result = self.threads().run(lambda: 1 / 0)
        self.clock.make_call()
        self.failureResultOf(result, ZeroDivisionError)

    def test_an_idle_thread_holds_on_to_nothing(self) -> None:
        class Large:
            pass

        result = self.threads().run(Large)
        self.clock.make_call()
        kept = weakref.ref(self.successResultOf(result))
        del result
        deadline = time.monotonic() + 10
        while kept() is not None and time.monotonic() < deadline:
            time.sleep(0.001)
        self.assertIsNone(kept())

    def test_no_more_threads_than_the_limit(self) -> None:
        threads = self.threads(limit=2)
        go = threading.Event()
        results = [threads.run(lambda: (go.wait(10), threading.get_ident())) for _ in range(6)]
        go.set()
        for _ in results:
            self.clock.make_call()
        idents = {self.successResultOf(result)[1] for result in results}
        self.assertLessEqual(len(idents), 2)

    def test_cancelled_before_it_began_it_never_does(self) -> None:
        threads = self.threads(limit=1)
        go = threading.Event()
        calls: list[int] = []
        first = threads.run(go.wait, 10)
        second = threads.run(calls.append, 2)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        go.set()
        self.clock.make_call()
        self.successResultOf(first)
        last = threads.run(calls.append, 3)
        self.clock.make_call()
        self.successResultOf(last)
        self.assertEqual(calls, [3])

    def test_result_of_what_was_cancelled_is_dropped(self) -> None:
        blocking = Blocking()
        result = self.threads().run(blocking)
        blocking.begun.wait(10)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        blocking.go.set()
        self.clock.make_call()

    def test_stopping_waits_for_the_longest(self) -> None:
        threads = HookThreads(self.clock, 2)
        blocking = Blocking()
        result = threads.run(blocking)
        blocking.begun.wait(10)
        stopped = threads.stop()
        again = threads.stop()
        self.assertNoResult(stopped)
        blocking.go.set()
        self.clock.make_call()
        self.successResultOf(result)
        self.clock.make_call()
        self.successResultOf(stopped)
        self.successResultOf(again)

    def test_what_never_began_fails_at_the_stop(self) -> None:
        threads = HookThreads(self.clock, 1)
        blocking = Blocking()
        threads.run(blocking)
        blocking.begun.wait(10)
        waiting = threads.run(lambda: None)
        threads.stop()
        self.failureResultOf(waiting, InterceptorError)
        blocking.go.set()

    def test_stopping_what_never_began(self) -> None:
        self.successResultOf(HookThreads(self.clock, 2).stop())

    def test_nothing_begins_after_the_stop(self) -> None:
        threads = self.threads()
        threads.stop()
        self.failureResultOf(threads.run(lambda: None), InterceptorError)


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
