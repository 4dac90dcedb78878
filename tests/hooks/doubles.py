"""What the tests of hooks share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.hooks.addons import AddonChain
from interceptor.hooks.bus import HookBus
from interceptor.hooks.context import Binding, Proxy
from interceptor.hooks.listener import Listener
from interceptor.interfaces import ILayer
from interceptor.model.coreoptions import core_options
from interceptor.model.options import Options


@implementer(IReactorFromThreads)
class ThreadsClock(Clock):
    """A clock that also takes calls from threads, and makes them when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = threading.Condition()
        self._calls: list[Callable[[], object]] = []

    def callFromThread(  # type: ignore[override]  # Twisted names the argument twice
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        with self._arrived:
            self._calls.append(lambda: function(*args, **kwargs))
            self._arrived.notify()

    def make_call(self) -> None:
        """Wait for the next call, and make it."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: self._calls, timeout=10)
            assert arrived, "no thread called within 10 s"
            call = self._calls.pop(0)
        call()


@implementer(ILayer)
class Layer:
    """A layer of which only the identity counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context: Any = None

    def start(self, data: bytes) -> None:
        raise AssertionError("not for starting")


@implementer(ILogObserver)
class Messages:
    """The texts of what was logged in our namespace."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("interceptor"):
            self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    @property
    def levels(self) -> list[str]:
        return [event["log_level"].name for event in self.events]


class HookTestCase(SynchronousTestCase):
    """Gathers log messages; builds buses and chains."""

    def setUp(self) -> None:
        self.clock = ThreadsClock()
        self.messages = Messages()
        globalLogPublisher.addObserver(self.messages)
        self.addCleanup(globalLogPublisher.removeObserver, self.messages)

    def bus_of(self, *addons: object, **settings: Any) -> HookBus:
        """A bus with these addons; those that have a `policy` keep it."""
        bus = HookBus(self.clock, **settings)
        in_thread: Any = None
        proxy = Proxy(Options(), None, in_thread)
        bus.rebuild(
            Listener(
                addon,
                f"addon{number}",
                Binding(proxy, f"addon{number}"),
                policy=getattr(addon, "policy", None),
                observes_only=getattr(addon, "observes_only", False),
                owns=lambda filename: filename == __file__ or "/test_" in filename,
            )
            for number, addon in enumerate(addons, 1)
        )
        return bus

    def chain(self, options: Options | None = None, **values: Any) -> AddonChain:
        """A chain that is started, and shut down after the test."""
        options = core_options() if options is None else options
        options.update(**values)
        chain = AddonChain(options, reactor=self.clock)
        chain.start()
        self.addCleanup(self.shut_down, chain)
        return chain

    def shut_down(self, chain: AddonChain) -> None:
        ended = chain.shutdown(1)
        self.clock.advance(1)
        self.clock.advance(1)
        self.successResultOf(ended)
