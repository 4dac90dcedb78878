"""SIGHUP: the configuration, certificates and scripts are read again while connections go on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interceptor.errors import InterceptorError
from interceptor.model.options import Options

log = Logger()


class Reloader:
    """Reads everything again when it is called, once at a time; the log tells what came of it.

    ``gather`` gives the options that the program would start with now. ``service`` is what runs
    the proxy, in this process or in several.
    """

    def __init__(self, service: Any, gather: Callable[[], Options]) -> None:
        self._service = service
        self._gather = gather
        self._under_way = False
        self._again = False

    def __call__(self) -> None:
        """Begin; what is asked for meanwhile is done once, afterwards."""
        if self._under_way:
            self._again = True
            return
        self._under_way = True
        Deferred.fromCoroutine(self._reload()).addErrback(
            lambda failure: log.failure("the configuration was not loaded again", failure)
        )

    async def _reload(self) -> None:
        try:
            self._again = True
            while self._again:
                self._again = False
                await self._once()
        finally:
            self._under_way = False

    async def _once(self) -> None:
        service = self._service
        if not service.running or not service.started.called:
            log.warn("the configuration is not loaded again: the proxy does not serve")
            return
        try:
            waiting = service.reload(self._gather().exported())
            if waiting is not None:
                await waiting
        except InterceptorError as error:
            log.error(
                "the configuration was not loaded again: {error}",
                error=str(error),
                code=error.code,
                proxy=service,
            )
        else:
            log.info("the configuration was loaded again", proxy=service)


def hangup_means_end() -> bool:
    """Whether SIGHUP says that the terminal is gone which the program runs in."""
    try:
        return os.isatty(0)
    except OSError:
        return False
