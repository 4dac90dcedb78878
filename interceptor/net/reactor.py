"""Twisted's reactor for epoll, with less between an event and the transport that it is for.

Around each event Twisted sets up a context, so that its old logging functions can tell whom a
message is about. Nothing here logs by them, and a request, which is two events of some
microseconds, would spend an eighth of its time outside of the kernel on that.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet import epollreactor, main
from twisted.internet.error import ConnectionFdescWentAway
from twisted.python import log

_READABLE: Final = select.EPOLLIN
_WRITABLE: Final = select.EPOLLOUT
_LOST: Final = ConnectionFdescWentAway("File descriptor lost")


class LeanEPollReactor(epollreactor.EPollReactor):
    """What `twisted.internet.epollreactor` has, but for the context around events."""

    def doPoll(self, timeout: float | None) -> None:  # noqa: N802 - Twisted's name
        selectables: dict[int, Any] = self._selectables
        lose: Callable[..., object] = self._disconnectSelectable
        usual: Callable[..., object] = self._doReadOrWrite
        # A signal neither ends this nor shortens it: its handler wakes the reactor.
        events = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                # Gone by what another event of this turn has led to.
                continue
            reads = event == _READABLE
            if not reads and event != _WRITABLE:
                log.callWithLogger(selectable, usual, selectable, fd, event)
                continue
            why: BaseException | int | None = _LOST
            try:
                if selectable.fileno() != -1:
                    why = selectable.doRead() if reads else selectable.doWrite()
            except BaseException as error:
                log.err()
                why = error
            if why:
                log.callWithLogger(selectable, lose, selectable, why, reads)

    doIteration = doPoll  # noqa: N815 - Twisted's name


def install() -> None:
    """Make it the reactor of this program, unless that has one already."""
    if "twisted.internet.reactor" not in sys.modules:
        main.installReactor(cast(Any, LeanEPollReactor)())
