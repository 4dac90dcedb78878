"""What ``ctx`` means: the binding of running code to one proxy and one addon."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger, LogLevel

from interceptor.model import elsewhere
from interceptor.model.options import Options

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from interceptor.hooks.shared import Shared

SCRIPT_NAMESPACE: Final = "interceptor.script"
"""The namespace under which `twisted.logger` sees what scripts log; a dot and a name follow."""

_LEVELS: Final = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
_OTHER_LEVELS: Final = {"warning": "warn", "alert": "info", "critical": "error"}

_MOST_LOADING: Final = 2


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One message as the event ``log`` gives it; ``level`` is debug, info, warn or error."""

    msg: str
    level: str


class Proxy:
    """What all addons of one proxy share: its options, its master, its threads.

    ``shared`` is what they share with those of other workers; ``worker`` counts from 1.
    """

    __slots__ = ("__weakref__", "in_thread", "loading", "master", "options", "shared", "worker")

    shared: Shared

    def __init__(
        self,
        options: Options,
        master: Any,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self.options = options
        self.master = master
        self.in_thread = in_thread
        self.worker = 1
        # Few bodies are decoded at a time: each may need hundreds of megabytes meanwhile.
        self.loading = DeferredSemaphore(_MOST_LOADING)


class ScriptLog:
    """``ctx.log``: call it with a text and a level, or call the method that the level names."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, proxy: Proxy, addon: str) -> None:
        namespace = f"{SCRIPT_NAMESPACE}.{addon}" if addon else SCRIPT_NAMESPACE
        self._logger = Logger(namespace=namespace)
        self._fields = {"proxy": proxy, "addon": addon}

    def __call__(self, msg: object, level: str = "info") -> None:
        """Log ``msg``; raises `ValueError` when there is no such level."""
        constant = _LEVELS.get(_OTHER_LEVELS.get(level, level))
        if constant is None:
            raise ValueError(f"no such log level: {level!r}; expected {', '.join(_LEVELS)}")
        self._logger.emit(constant, "{text}", text=str(msg), **self._fields)

    def debug(self, msg: object) -> None:
        """Log what only somebody looking for a fault wants to see."""
        self(msg, "debug")

    def info(self, msg: object) -> None:
        """Log what happened."""
        self(msg, "info")

    def warn(self, msg: object) -> None:
        """Log what is probably wrong."""
        self(msg, "warn")

    warning = warn

    def error(self, msg: object) -> None:
        """Log what went wrong."""
        self(msg, "error")


class Binding:
    """``ctx`` as one addon of one proxy sees it."""

    __slots__ = ("addon", "args", "log", "proxy")

    def __init__(self, proxy: Proxy, addon: str = "", args: Sequence[str] = ()) -> None:
        self.proxy = proxy
        self.addon = addon
        self.args = list(args)
        self.log = ScriptLog(proxy, addon)

    @property
    def options(self) -> Options:
        """The proxy's current options."""
        return self.proxy.options

    @property
    def master(self) -> Any:
        """The running proxy; see `interceptor.hooks.interfaces.IMaster`."""
        return self.proxy.master

    @property
    def shared(self) -> Shared:
        """What all workers of the proxy share."""
        return self.proxy.shared

    @property
    def worker(self) -> int:
        """The number of this process among the proxy's workers, from 1."""
        return self.proxy.worker

    def __repr__(self) -> str:
        return f"<ctx of {self.addon or 'the proxy'}>"


CURRENT: Final[ContextVar[Binding | None]] = ContextVar("interceptor_ctx", default=None)
"""The binding of the hook that is running."""

_live: list[Binding] = []


@contextmanager
def own_arguments(binding: Binding) -> Iterator[None]:
    """Make ``sys.argv`` the script's own for a while; nothing changes for what is no script."""
    if not binding.args:
        yield
        return
    saved = sys.argv
    sys.argv = list(binding.args)
    try:
        yield
    finally:
        sys.argv = saved


def enter(binding: Binding) -> None:
    """Count a proxy as live: code that runs outside all hooks may belong to it."""
    _live.append(binding)


def leave(binding: Binding) -> None:
    """End what `enter` began."""
    if binding in _live:
        _live.remove(binding)


def sole() -> Binding | None:
    """The binding of the only live proxy of this process; None if there are none or several."""
    return _live[0] if len(_live) == 1 else None


def current() -> Binding:
    """The binding of the running code.

    Outside all hooks it is that of the only live proxy. Raises `RuntimeError` when there is none,
    or when there are several.
    """
    binding = CURRENT.get()
    if binding is None:
        binding = sole()
    if binding is None:
        if _live:
            raise RuntimeError(
                "ctx was used outside of a hook while several proxies run in this process; "
                "keep what you need of it while a hook runs"
            )
        raise RuntimeError("ctx was used while no proxy runs in this process")
    return binding


def _run_elsewhere(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    proxy = current().proxy
    deferred: Deferred[Any] = proxy.loading.run(proxy.in_thread, function, *args)
    return deferred


elsewhere.set_runner(_run_elsewhere)
