"""From `twisted.logger` to the event ``log``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python import threadable
from zope.interface import implementer

from interceptor.hooks.context import CURRENT, LogEntry, Proxy, sole

NAMESPACE: Final = "interceptor"
"""Events of this namespace, and of those below it, become ``log`` events."""

_LEVELS: Final = {
    LogLevel.debug: "debug",
    LogLevel.info: "info",
    LogLevel.warn: "warn",
    LogLevel.error: "error",
    LogLevel.critical: "error",
}
_inside: Final[ContextVar[bool]] = ContextVar("interceptor_inside_log", default=False)


def entry_of(event: LogEvent) -> LogEntry:
    """A logged event as hooks are given it."""
    return LogEntry(formatEvent(event), _LEVELS.get(event.get("log_level"), "info"))


@implementer(ILogObserver)
class LogEventObserver:
    """Passes what one proxy logs on to ``deliver``, one call for each message.

    A message belongs to the proxy that it names in its field ``proxy``, else to the one whose hook
    is running, else to the only one that is live. What is logged while a message is being
    delivered, also later by a coroutine that this started, is not delivered. Messages of other
    threads are delivered in the reactor's.
    """

    def __init__(
        self,
        proxy: Proxy,
        deliver: Callable[[LogEntry], object],
        reactor: IReactorFromThreads,
    ) -> None:
        self._proxy = proxy
        self._deliver = deliver
        self._reactor = reactor

    def __call__(self, event: LogEvent) -> None:
        namespace: Any = event.get("log_namespace", "")
        if not (namespace == NAMESPACE or namespace.startswith(NAMESPACE + ".")):
            return
        # A hook for ``log`` that fails later does so outside of what it was called in.
        if _inside.get() or event.get("hook") == "log" or not self._is_ours(event):
            return
        # Before a reactor runs for the first time there is no thread of its own.
        if getattr(threadable, "ioThread", None) is None or threadable.isInIOThread():
            self._pass_on(entry_of(event))
        else:
            self._reactor.callFromThread(self._pass_on, entry_of(event))

    def _is_ours(self, event: LogEvent) -> bool:
        proxy = event.get("proxy")
        if not isinstance(proxy, Proxy):
            binding = CURRENT.get() or sole()
            proxy = binding.proxy if binding is not None else None
        return proxy is self._proxy

    def _pass_on(self, entry: LogEntry) -> None:
        token = _inside.set(True)
        try:
            self._deliver(entry)
        finally:
            _inside.reset(token)
