from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from interceptor.hooks.context import CURRENT, Binding, Proxy, current
from interceptor.hooks.coroutines import run_coroutine
from interceptor.model.options import Options


class RunCoroutineTests(SynchronousTestCase):
    def setUp(self) -> None:
        in_thread: Any = None
        proxy = Proxy(Options(), None, in_thread)
        self.binding = Binding(proxy, "mine")
        self.steps: list[float] = []

    def start(self, coroutine: Any) -> Any:
        return run_coroutine(coroutine, self.binding, self.steps.append)

    def test_result_at_once(self) -> None:
        async def answer() -> int:
            return await succeed(3)

        self.assertEqual(self.start(answer()), 3)

    def test_error_at_once(self) -> None:
        async def broken() -> None:
            raise ValueError

        self.assertRaises(ValueError, self.start, broken())

    def test_result_later(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()

        async def answer() -> int:
            return await first + await second

        result = self.start(answer())
        first.callback(1)
        self.assertNoResult(result)
        second.callback(2)
        self.assertEqual(self.successResultOf(result), 3)
        self.assertEqual(len(self.steps), 3)

    def test_failure_is_raised_inside(self) -> None:
        waiting: Deferred[int] = Deferred()

        async def answer() -> str:
            try:
                await waiting
            except ValueError as error:
                return str(error)
            return ""

        result = self.start(answer())
        waiting.errback(ValueError("no good"))
        self.assertEqual(self.successResultOf(result), "no good")

    def test_two_coroutines_await_one_deferred(self) -> None:
        shared: Deferred[int] = Deferred()

        async def answer() -> int:
            return await shared

        results = [self.start(answer()), self.start(answer())]
        shared.callback(3)
        self.assertEqual([self.successResultOf(result) for result in results], [3, 3])

    def test_result_that_is_a_deferred_is_waited_for(self) -> None:
        waiting: Deferred[None] = Deferred()
        answer: Deferred[int] = Deferred()

        async def forgetful() -> Deferred[int]:
            await waiting
            return answer

        result = self.start(forgetful())
        waiting.callback(None)
        self.assertNoResult(result)
        answer.callback(3)
        self.assertEqual(self.successResultOf(result), 3)

    def test_many_answers_at_once_do_not_recurse(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def patient() -> None:
            await waiting
            for _ in range(5000):
                await succeed(None)

        result = self.start(patient())
        waiting.callback(None)
        self.assertIsNone(self.successResultOf(result))

    def test_binding_is_there_at_every_step_and_only_inside(self) -> None:
        waiting: Deferred[None] = Deferred()
        seen: list[Binding] = []

        async def hook() -> None:
            seen.append(current())
            await waiting
            seen.append(current())

        self.start(hook())
        waiting.callback(None)
        self.assertEqual(seen, [self.binding, self.binding])
        self.assertIsNone(CURRENT.get())

    def test_cancelling(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def hook() -> None:
            await waiting

        result = self.start(hook())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(waiting.called)

    def test_cancelling_itself(self) -> None:
        waiting: Deferred[None] = Deferred()
        never: Deferred[None] = Deferred()
        results: list[Deferred[None]] = []
        seen: list[str] = []

        async def hook() -> None:
            await waiting
            results[0].cancel()
            try:
                await never
            except CancelledError:
                seen.append("cancelled")

        results.append(self.start(hook()))
        waiting.callback(None)
        self.failureResultOf(results[0], CancelledError)
        self.assertEqual(seen, ["cancelled"])

    def test_asyncio_future(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()

        async def hook() -> int:
            value: int = await future
            return value

        result = self.start(hook())
        future.set_result(3)
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(self.successResultOf(result), 3)

    def test_asyncio_future_is_cancelled(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()

        async def hook() -> None:
            await future

        result = self.start(hook())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        loop.run_until_complete(asyncio.sleep(0))
        self.assertTrue(future.cancelled())

    def test_anything_else_cannot_be_awaited(self) -> None:
        class Odd:
            def __await__(self) -> Any:
                yield "odd"

        async def hook() -> None:
            await Odd()

        error = self.assertRaises(TypeError, self.start, hook())
        self.assertEqual(str(error), "a hook cannot await a str")
