"""What all exchanges share: pausing, killing, waiting for hooks, telling the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import HookFailed, InterceptorError
from interceptor.layers.allowances import Allowances
from interceptor.layers.buffermemory import BufferMemory
from interceptor.layers.failures import KilledError
from interceptor.layers.flowcontrol import FlowTelling, Holding
from interceptor.model.tcpflow import TCPFlow, TCPMessage
from interceptor.testing import make_flow


class Hooks:
    """A bus that writes down what was fired; ``answers`` has what an event's hooks do."""

    def __init__(self) -> None:
        self.fired: list[str] = []
        self.answers: dict[str, Any] = {}

    def get(self, event: str) -> Any:
        """Implement `HookBus.get`."""

        def fire(flow: TCPFlow) -> Any:
            self.fired.append(event)
            answer = self.answers.get(event)
            return None if answer is None else answer(flow)

        return fire

    def __getattr__(self, event: str) -> Any:
        return self.get(event)


class Exchange(Holding, FlowTelling):
    """An exchange that does nothing by itself."""

    events = "tcp"
    overhead = 10

    def __init__(self) -> None:
        settings = SimpleNamespace(body_memory_limit=100)
        memory = BufferMemory(Allowances(Clock()))
        self.environment: Any = SimpleNamespace(
            proxy="proxy", settings=settings, buffer_memory=memory
        )
        self.hooks = self._hooks = Hooks()
        self._resumed = None
        self.errors: list[Exception] = []
        self.steps: list[str] = []
        made = make_flow()
        self.flow = TCPFlow(made.client_conn, made.server_conn, "regular", self)

    def _fail(self, error: Exception) -> None:
        self.errors.append(error)
        self._over = True
        self._stop_waiting()

    def inject(self, message: TCPMessage) -> None:
        raise AssertionError("nothing is injected")

    def wait(self, waiting: Deferred[Any] | None = None) -> bool:
        """Wait as after an event."""
        return self._wait(waiting, lambda: self.steps.append("on"))


class SteeringTests(SynchronousTestCase):
    """Pausing and killing."""

    def setUp(self) -> None:
        self.exchange = Exchange()
        self.hooks, self.flow = self.exchange.hooks, self.exchange.flow

    def begin(self) -> Deferred[None]:
        """Fire the start."""
        return Deferred.fromCoroutine(self.exchange.begin())

    def test_a_start_is_waited_for(self) -> None:
        answer: Deferred[None] = Deferred()
        self.hooks.answers["tcp_start"] = lambda flow: answer
        begun = self.begin()
        self.assertNoResult(begun)
        answer.callback(None)
        self.successResultOf(begun)
        self.assertEqual(self.hooks.fired, ["tcp_start"])

    def test_an_intercepted_start_waits_to_be_resumed(self) -> None:
        self.hooks.answers["tcp_start"] = lambda flow: flow.intercept()
        begun = self.begin()
        self.assertNoResult(begun)
        self.flow.resume()
        self.successResultOf(begun)
        self.assertEqual(self.hooks.fired, ["tcp_start", "intercept", "resume"])

    def test_a_hook_of_resume_may_intercept_again(self) -> None:
        self.flow.intercept()
        again = [lambda flow: None, lambda flow: flow.intercept()]
        self.hooks.answers["resume"] = lambda flow: again.pop()(flow)
        begun = self.begin()
        self.flow.resume()
        self.assertNoResult(begun)
        self.flow.resume()
        self.successResultOf(begun)

    def test_a_killed_start_is_the_end(self) -> None:
        self.hooks.answers["tcp_start"] = lambda flow: flow.kill()
        failure = self.failureResultOf(self.begin(), KilledError)
        self.assertEqual(str(failure.value), self.flow.error.msg)
        self.assertIsInstance(self.exchange.errors[0], KilledError)

    def test_who_waits_to_be_resumed_may_be_cancelled(self) -> None:
        self.flow.intercept()
        begun = self.begin()
        begun.cancel()
        self.failureResultOf(begun, CancelledError)
        self.flow.resume()


class HoldingTests(SynchronousTestCase):
    """Waiting for hooks without a task."""

    def setUp(self) -> None:
        self.exchange = Exchange()

    def test_what_is_over_at_once_is_said_so(self) -> None:
        self.assertTrue(self.exchange.wait())
        self.assertEqual(self.exchange.steps, [])

    def test_it_goes_on_when_the_hooks_have_answered(self) -> None:
        answer: Deferred[None] = Deferred()
        self.assertFalse(self.exchange.wait(answer))
        answer.callback(None)
        self.assertEqual(self.exchange.steps, ["on"])

    def test_it_goes_on_when_the_flow_is_resumed(self) -> None:
        self.exchange.flow.intercept()
        self.assertFalse(self.exchange.wait())
        self.exchange.flow.resume()
        self.assertEqual(self.exchange.steps, ["on"])

    def test_a_hook_that_failed_ends_it(self) -> None:
        answer: Deferred[None] = Deferred()
        self.exchange.wait(answer)
        error = HookFailed("the hook raised", "hook-failed")
        answer.errback(error)
        self.assertEqual(self.exchange.errors, [error])

    def test_a_kill_ends_the_wait(self) -> None:
        answer: Deferred[None] = Deferred()
        self.exchange.wait(answer)
        self.exchange.flow.kill()
        self.assertEqual(
            [str(error) for error in self.exchange.errors], ["flow killed by a script"]
        )
        self.assertEqual(self.exchange.steps, [])


class TellingTests(SynchronousTestCase):
    """What is kept, and the end."""

    def setUp(self) -> None:
        self.exchange = Exchange()
        self.flow = self.exchange.flow

    def test_the_oldest_messages_are_let_go(self) -> None:
        messages = [TCPMessage(True, b"x" * 20) for _ in range(5)]
        for message in messages:
            self.exchange.keep(message)
        self.assertEqual(self.flow.messages, messages[2:])
        self.assertEqual(self.flow.forgotten, 2)

    def test_one_message_is_kept_whatever_its_size(self) -> None:
        self.exchange.keep(TCPMessage(True, b"x" * 2000))
        self.assertEqual(len(self.flow.messages), 1)

    def test_a_message_may_be_put_before_the_latest(self) -> None:
        first, second = TCPMessage(True, b"1"), TCPMessage(True, b"2")
        self.exchange.keep(first)
        self.exchange.keep(second, before_latest=True)
        self.assertEqual([message.content for message in self.flow.messages], [b"2", b"1"])

    def test_an_end_without_a_fault(self) -> None:
        self.exchange._tell_end(None)
        self.assertEqual(self.exchange.hooks.fired, ["tcp_end"])
        self.assertFalse(self.flow.live)
        self.assertIsNone(self.flow.error)

    def test_an_end_with_a_fault(self) -> None:
        self.exchange._tell_end(InterceptorError("gone", "server-reset"))
        self.assertEqual(self.exchange.hooks.fired, ["tcp_error", "tcp_end"])
        self.assertEqual(self.flow.error.code, "server-reset")

    def test_a_mistake_of_ours_is_logged_where_nothing_is_being_handled(self) -> None:
        self.exchange._tell_end(ZeroDivisionError("ours"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.flow.error.code, "internal-error")
        self.assertEqual(self.exchange.hooks.fired, ["tcp_error", "tcp_end"])

    def test_a_hook_of_the_error_that_fails_keeps_nothing_from_the_end(self) -> None:
        def fail(flow: TCPFlow) -> None:
            raise HookFailed("the hook raised", "hook-failed")

        self.exchange.hooks.answers["tcp_error"] = fail
        self.exchange._tell_end(InterceptorError("gone", "server-reset"))
        self.assertEqual(self.exchange.hooks.fired, ["tcp_error", "tcp_end"])
