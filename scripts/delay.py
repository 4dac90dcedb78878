"""Delay requests, to see how a client copes with a slow server.

Options of its own, which may be changed while the proxy runs: ``delay_time`` (one second unless
set), ``delay_jitter`` (a random time up to this is added) and ``delay_filter``, a filter expression
that chooses the requests (all unless set)::

    interceptor run -s scripts/delay.py --set delay_time=250ms --set "delay_filter=~u /api/"

Only the chosen requests wait; nothing is blocked meanwhile. A request waits before its body is
read, so that the body costs no memory for that time. Longer than the option ``hook_timeout`` it
cannot wait.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import deferLater

from interceptor import exceptions, flowfilter, http


class Delay:
    """Delays what ``delay_filter`` chooses; ``reactor`` measures the time."""

    name = "delay"

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.time = self.jitter = 0.0
        self.chosen: flowfilter.Filter | None = None

    def load(self, loader: Any) -> None:
        loader.add_option("delay_time", "duration", 1.0, "How long delay.py delays a request.")
        loader.add_option("delay_jitter", "duration", 0.0, "Up to how much delay.py adds to that.")
        loader.add_option("delay_filter", str | None, None, "Which requests delay.py delays.")

    def configure(self, options: Any, updated: set[str]) -> None:
        try:
            text = options.delay_filter
            chosen = flowfilter.parse(text) if text else None
        except ValueError as error:
            raise exceptions.OptionsError(f"option `delay_filter`: {error}") from None
        self.time, self.jitter, self.chosen = options.delay_time, options.delay_jitter, chosen

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if flowfilter.match(self.chosen, flow):
            seconds = self.time + random.uniform(0, self.jitter)  # noqa: S311 - no secret
            # If the client goes away meanwhile the wait is cancelled.
            await deferLater(self.reactor, seconds)


def start() -> Delay:
    """Make the addon; a script that is loaded may use the reactor that runs."""
    from twisted.internet import reactor

    return Delay(reactor)
