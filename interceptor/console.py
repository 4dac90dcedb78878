"""The log on a terminal: one terse line per event, safe to look at."""

from __future__ import annotations

from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from interceptor.model.options import Options
from interceptor.model.wording import escape_controls

_LEVELS = {
    LogLevel.debug: ("debug", 0, "2"),
    LogLevel.info: ("info", 1, ""),
    LogLevel.warn: ("warn", 2, "33"),
    LogLevel.error: ("error", 3, "31"),
    LogLevel.critical: ("error", 3, "31"),
}
_RANKS = {"debug": 0, "info": 1, "warn": 2, "error": 3}
_OURS = "interceptor"


@implementer(ILogObserver)
class ConsoleLogObserver:
    """Writes log events to a stream as ``level: text``.

    ``options.log_level`` is obeyed at each event; of what Twisted itself has to say, nothing below
    a warning is shown unless that is ``debug``. What is said of a flow (field ``of_flow``) is left
    to the flow's own line where flows are printed. Further lines of an event are indented, so that
    nothing a peer sent can look like an event of its own. ``prefix`` begins every text. A stream
    that cannot be written to any more loses the log and stops nothing.
    """

    def __init__(
        self, stream: TextIO, options: Options, *, color: bool = False, prefix: str = ""
    ) -> None:
        self._stream = stream
        self._options = options
        self._color = color
        self._prefix = prefix

    def __call__(self, event: LogEvent) -> None:
        name, rank, color = _LEVELS.get(event.get("log_level", LogLevel.info), ("info", 1, ""))
        threshold = _RANKS[self._options.log_level]
        namespace, _, _ = str(event.get("log_namespace", "")).partition(".")
        if threshold and namespace != _OURS:
            threshold = max(threshold, _RANKS["warn"])
        if rank < threshold:
            return
        if threshold and event.get("of_flow") and self._options.flow_detail:
            # The line of the flow itself says it, to whoever chose to see that.
            return
        text = f"{name}: {self._prefix}{_text(event)}".replace("\n", "\n  ")
        if self._color and color:
            text = f"\x1b[{color}m{text}\x1b[0m"
        encoding = self._stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass


def wants_color(setting: str, stream: TextIO, no_color: bool) -> bool:
    """Tell whether to colour: ``setting`` is the option ``color``.

    ``auto`` means on a terminal, unless ``no_color`` (the environment variable ``NO_COLOR``) says
    no.
    """
    if setting == "auto":
        return not no_color and stream.isatty()
    return setting == "always"


def _text(event: LogEvent) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        traceback = failure.getTraceback().rstrip()
        text = f"{text}\n{traceback}" if text else traceback
    return escape_controls(text.strip())
