"""The hook bus: calls the hooks of an event one after another, in the order of the addon chain.

The table of hooks is built when addons change. For each event the bus has an attribute: ``None``
where nobody listens, so that such an event costs an attribute look-up, else a function that calls
the hooks. A Deferred is made only when a hook does not answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from interceptor.hooks.agreement import all_agreed, asking
from interceptor.hooks.context import CURRENT, own_arguments
from interceptor.hooks.events import PER_ADDON, Event
from interceptor.hooks.listener import Call, Listener, Policy, find_hook
from interceptor.hooks.rules import HookRules
from interceptor.hooks.run import HookRun, Raised
from interceptor.hooks.statistics import HookRecord, HookStatistics

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime


class Fire(Protocol):
    """Calls every hook of one event, and answers when all of them have.

    ``fail_closed``: an addon whose error policy is ``kill`` listens.
    ``observes_only``: everyone who listens declares to change nothing (``observes_only = True``),
    so that no body need be kept for them.
    ``agreed`` tells, of ``request`` and where it is ``fail_closed``, whether all such addons let
    the body of a flow's request stream; see `interceptor.hooks.agreement`.
    """

    fail_closed: bool
    observes_only: bool
    agreed: Callable[[Any], bool]

    def __call__(self, argument: Any = None) -> Deferred[None] | None:
        """Return ``None`` when all hooks answered at once, else a Deferred.

        `HookFailed` is raised, or is the Deferred's failure, when an addon whose policy is
        ``kill`` raised or overran; the hooks behind it are not called then. Cancelling the
        Deferred cancels the hook that is waited for.
        """


class FireValue(Protocol):
    """Like `Fire`, for an event whose hooks may replace the argument."""

    fail_closed: bool
    observes_only: bool

    def __call__(self, argument: Any) -> Any:
        """Return what the argument became, or a Deferred of it."""


class HookBus(HookRules):
    """One attribute per event: ``None``, or what calls the hooks.

    The caller's side, where a coroutine can wait::

        fire = bus.request
        if fire is not None:
            waiting = fire(flow)
            if waiting is not None:
                await waiting

    An event that an addon declares has its attribute as long as the addon is there: ask `get`.
    `HookRules` has the limits, which are read when the table is built.
    """

    running: Fire | None
    tick: Fire | None
    shared_message: Fire | None
    log: Fire | None
    clientconnect: Fire | None
    clientdisconnect: Fire | None
    next_layer: FireValue | None
    serverconnect: Fire | None
    serverconnected: Fire | None
    serverconnect_failed: Fire | None
    serverdisconnect: Fire | None
    tls_clienthello: Fire | None
    tls_established: Fire | None
    tls_failed: Fire | None
    http_connect: Fire | None
    http_connected: Fire | None
    requestheaders: Fire | None
    request: Fire | None
    responseheaders: Fire | None
    sse_event: Fire | None
    response: Fire | None
    error: Fire | None
    intercept: Fire | None
    resume: Fire | None
    websockets_handshake: Fire | None
    websocket_start: Fire | None
    websocket_message: Fire | None
    websocket_control: Fire | None
    websocket_end: Fire | None
    tcp_start: Fire | None
    tcp_message: Fire | None
    tcp_error: Fire | None
    tcp_end: Fire | None
    udp_start: Fire | None
    udp_message: Fire | None
    udp_error: Fire | None
    udp_end: Fire | None
    dns_request: Fire | None
    dns_response: Fire | None
    dns_error: Fire | None
    protocol_start: Fire | None
    protocol_message: Fire | None
    protocol_error: Fire | None
    protocol_end: Fire | None

    def __init__(
        self,
        clock: IReactorTime,
        *,
        timeout: float = 60.0,
        stall: float = 0.1,
        policy: Policy = "continue",
    ) -> None:
        super().__init__(clock, timeout=timeout, stall=stall, policy=policy)
        self._records: dict[tuple[str, str], HookRecord] = {}
        self._names: frozenset[str] = frozenset()
        self.rebuild(())

    def rebuild(self, listeners: Iterable[Listener]) -> None:
        """Take ``listeners``, in their order, as the table; events in flight keep the old one."""
        listeners = tuple(listeners)
        events = self.declared.events
        for name in self._names.difference(events):
            setattr(self, name, None)
        self._names = frozenset(events) - PER_ADDON
        for name in self._names:
            setattr(self, name, self._fire_for(events[name], listeners))

    def get(self, event: str) -> Fire | None:
        """Return what fires an event that may have been declared; None where nobody listens."""
        return getattr(self, event) if event in self._names else None

    def statistics(self) -> list[HookStatistics]:
        """What every hook that was called has cost so far, in the order of the first calls."""
        return [record.snapshot() for record in self._records.values() if record.calls]

    def call(self, listener: Listener, event: str, *arguments: Any) -> Any:
        """Call one addon's own hook and return its answer, measured but otherwise untouched.

        What it raises is raised. ``None`` when the addon has no such hook.
        """
        hook = find_hook(listener.addon, event)
        if hook is None:
            return None
        call = self._call_for(listener, event, hook)
        token = CURRENT.set(listener.binding)
        started = perf_counter()
        try:
            with own_arguments(listener.binding):
                return hook(*arguments)
        except Exception:
            call.record.errors += 1
            raise
        finally:
            CURRENT.reset(token)
            elapsed = perf_counter() - started
            call.record.add(elapsed)
            if elapsed > self.stall:
                self.stalled(call, elapsed)

    def fire_at(self, listener: Listener, event: str) -> Deferred[None] | None:
        """Fire an event that has no argument at one addon only; answers like `Fire`."""
        fire = self._fire_for(self.declared.events[event], (listener,))
        if fire is None:
            return None
        if event not in PER_ADDON:
            waiting: Deferred[None] | None = fire(None)
            return waiting
        with own_arguments(listener.binding):
            waiting = fire(None)
            return waiting

    # -- the table --------------------------------------------------------------------------------

    def _call_for(self, listener: Listener, event: str, hook: Callable[..., Any]) -> Call:
        key = (listener.name, event)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = HookRecord(*key)
        return Call(hook, listener, record)

    def _fire_for(self, event: Event, listeners: Sequence[Listener]) -> Any:
        name, calls = event.name, []
        for listener in listeners:
            hook = find_hook(listener.addon, name)
            if hook is None and event.general:
                hook = find_hook(listener.addon, event.general)
            if hook is not None:
                if not event.arguments:
                    hook = _without_argument(hook)
                elif name == "requestheaders" and self._guards(listener):
                    hook = asking(listener, hook)
                calls.append(self._call_for(listener, name, hook))
        if not calls:
            return None
        make = self._value_fire if event.answers else self._plain_fire
        fire = make(tuple(calls))
        vars(fire).update(
            fail_closed=any(self.kills(call) for call in calls),
            observes_only=all(call.listener.observes_only for call in calls),
        )
        if name == "request":
            guards = frozenset(call.listener for call in calls if self._guards(call.listener))
            vars(fire).update(agreed=partial(all_agreed, guards))
        return fire

    def _guards(self, listener: Listener) -> bool:
        """Whether no request may be sent before the ``request`` hook of ``listener`` has run."""
        return (
            (listener.policy or self.policy) == "kill"
            and not listener.observes_only
            and find_hook(listener.addon, "request") is not None
        )

    def _plain_fire(self, calls: tuple[Call, ...]) -> Callable[..., Any]:
        steps = tuple((call.hook, call.listener.binding, call.record, call) for call in calls)
        # Names of the enclosing function are the quickest ones there are.
        bind, unbind, clock, limit = CURRENT.set, CURRENT.reset, perf_counter, self.stall

        def fire(argument: Any = None) -> Any:
            for hook, binding, record, call in steps:
                token = bind(binding)
                started = clock()
                try:
                    outcome = hook(argument)
                except BaseException as error:
                    outcome = Raised(error)
                finally:
                    unbind(token)
                elapsed = clock() - started
                record.calls += 1
                record.seconds += elapsed
                if elapsed > record.longest:
                    record.longest = elapsed
                if elapsed > limit:
                    self.stalled(call, elapsed)
                if outcome is not None:
                    return HookRun(self, calls, calls.index(call), argument).go_on(outcome)
            return None

        return fire

    def _value_fire(self, calls: tuple[Call, ...]) -> Callable[..., Any]:
        def fire(argument: Any) -> Any:
            return HookRun(self, calls, -1, argument, carries=True).go_on(None)

        return fire


def _without_argument(hook: Callable[[], Any]) -> Callable[..., Any]:
    return lambda argument: hook()
