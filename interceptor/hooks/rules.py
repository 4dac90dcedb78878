"""What is expected of hooks, and what happens to those that do not do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from interceptor.errors import HookFailed
from interceptor.hooks.declarations import Declarations
from interceptor.hooks.interfaces import ILifecycleHooks
from interceptor.hooks.listener import Call, Policy
from interceptor.hooks.tracebacks import cut_traceback

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_log = Logger(namespace="interceptor.hooks")


class HookRules:
    """The deadline, the stall limit and the error policy; reports who breaks them.

    ``timeout`` is how many seconds a hook may take to answer, 0 for any time; ``stall`` how long
    it may block the reactor before it is named in the log; ``policy`` what failures mean where an
    addon does not say. ``declared`` knows the events.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        timeout: float = 60.0,
        stall: float = 0.1,
        policy: Policy = "continue",
    ) -> None:
        self.clock = clock
        self.timeout = timeout
        self.stall = stall
        self.policy = policy
        self.declared = Declarations()

    def stalled(self, call: Call, elapsed: float) -> None:
        """Name a hook that blocked the reactor."""
        call.record.stalls += 1
        _log.warn(
            "addon `{addon}`: `{hook}` blocked the whole proxy for {milliseconds:.0f} ms; "
            "make it async, or mark it with @concurrent",
            addon=call.listener.name,
            hook=call.record.event,
            milliseconds=elapsed * 1000,
            seconds=elapsed,
            proxy=call.listener.binding.proxy,
        )

    def failed(self, call: Call, error: BaseException) -> None:
        """Report what a hook raised; raises `HookFailed` if the addon's policy is ``kill``."""
        call.record.errors += 1
        self._report(call, "failed", cut_traceback(error, call.listener.owns))
        self._apply_policy(call, "failed", error)

    def overran(self, call: Call) -> None:
        """Report a hook that did not answer in time; raises `HookFailed` like `failed`."""
        call.record.overruns += 1
        self._report(call, f"did not answer within {self.timeout:g} s and was cancelled", "")
        self._apply_policy(call, "did not answer in time", None)

    def returned(self, call: Call, value: object) -> None:
        """Report, once for each hook, a value that may not be returned."""
        if call.record.value_reported:
            return
        call.record.value_reported = True
        event = self.declared.events.get(call.record.event)
        allowed = event.answers if event is not None else ""
        _log.warn(
            "addon `{addon}`: `{hook}` returned a {type}, which is ignored; it may return "
            "{allowed}nothing, a Deferred or a coroutine",
            addon=call.listener.name,
            hook=call.record.event,
            type=type(value).__name__,
            allowed=f"{allowed}, " if allowed else "",
            proxy=call.listener.binding.proxy,
        )

    def kills(self, call: Call) -> bool:
        """Whether a failure of this hook is the end of its flow."""
        return (call.listener.policy or self.policy) == "kill"

    def _report(self, call: Call, what: str, traceback: str) -> None:
        event = self.declared.events.get(call.record.event)
        if event is not None and event.interface is ILifecycleHooks:
            consequence = ""
        elif self.kills(call):
            consequence = "; what it was called for is killed"
        else:
            consequence = "; going on without it"
        _log.error(
            "addon `{addon}`: `{hook}` {what}{consequence}{traceback}",
            addon=call.listener.name,
            hook=call.record.event,
            what=what,
            consequence=consequence,
            traceback=f"\n{traceback}" if traceback else "",
            proxy=call.listener.binding.proxy,
            code=HookFailed.code,
        )

    def _apply_policy(self, call: Call, what: str, error: BaseException | None) -> None:
        if self.kills(call):
            raise HookFailed(
                f"addon `{call.listener.name}`: `{call.record.event}` {what}"
            ) from error
