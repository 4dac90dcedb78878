"""What a script sees of the proxy it runs in: ``from interceptor import ctx``.

The names below are those of the proxy, and of the script, whose hook is running: two proxies in
one process do not meet. Outside any proxy they raise `RuntimeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.hooks.context import current

if TYPE_CHECKING:
    from interceptor.hooks.context import ScriptLog
    from interceptor.hooks.shared import Shared
    from interceptor.model.options import Options

    log: ScriptLog
    """``ctx.log("text", "warn")``, or ``.debug .info .warn .error``."""

    options: Options
    """The current options of the proxy."""

    master: Any
    """The proxy: ``.addons``, ``.options``, ``.listeners``, ``.shutdown()``."""

    args: list[str]
    """The script's path and arguments; the same as ``sys.argv`` while it is loaded."""

    shared: Shared
    """Values, counters and messages that all workers share."""

    worker: int
    """The number of this process among the workers, from 1; 1 where there is one only."""
else:
    # Type checkers see the names above and complain about others.
    _NAMES = ("args", "log", "master", "options", "shared", "worker")

    def __getattr__(name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(f"ctx has no {name!r}; it has {', '.join(_NAMES)}")
        return getattr(current(), name)

    def __dir__() -> list[str]:
        return list(_NAMES)
