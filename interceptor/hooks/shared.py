"""``ctx.shared``: what scripts of all workers of one proxy know together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import threads
from twisted.internet.defer import Deferred, execute
from twisted.python import threadable

from interceptor.model.sharedstore import SharedStore, check_expiry, check_key, encode


@dataclass(frozen=True, slots=True)
class SharedMessage:
    """What `Shared.publish` sent: the ``channel``, the ``value``, and the number of the worker."""

    channel: str
    value: Any
    worker: int


Ask = Callable[[dict[str, Any]], "Deferred[Any]"]
"""Has a command done by whoever keeps what is shared; fails with `SharedStateError`."""


class Shared:
    """Values, counters and messages that all workers of a proxy share; with one worker, its own.

    Values are what JSON can carry, of at most 64 KiB; keys and channels are texts of at most 256
    characters. In a hook marked ``@concurrent``, which runs in a thread, a call waits and returns
    the result; everywhere else it returns a Deferred, which coroutines await. Either fails with
    `interceptor.errors.SharedStateError`; its ``code`` is ``shared-invalid``, ``shared-full`` or
    ``shared-unavailable``.
    """

    __slots__ = ("_ask", "_reactor")

    def __init__(self, reactor: Any, ask: Ask) -> None:
        self._reactor = reactor
        self._ask = ask

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, ``default`` where there is none."""
        return self._call({"do": "get", "key": key}, lambda found: found[0] if found else default)

    def set(
        self, key: str, value: Any, *, expires: float | None = None, absent: bool = False
    ) -> Any:
        """Keep a value, for ``expires`` seconds or for good.

        With ``absent`` it is kept only where there is none. The result is whether it was kept: of
        several workers that do the same at once, it is True for one.
        """
        command = {"do": "set", "key": key, "value": value, "expires": expires, "absent": absent}
        return self._call(command)

    def delete(self, key: str) -> Any:
        """Forget a value; the result is whether there was one."""
        return self._call({"do": "delete", "key": key})

    def add(self, key: str, amount: float = 1, *, expires: float | None = None) -> Any:
        """Add to a number, which is 0 at first; the result is the sum.

        ``expires`` seconds after it was made the number is forgotten, however often it was added
        to: a counter per minute is ``add("name", expires=60)``.
        """
        return self._call({"do": "add", "key": key, "amount": amount, "expires": expires})

    def publish(self, channel: str, value: Any) -> Any:
        """Send a message to the hook ``shared_message`` of every worker, this one too.

        The result is to how many workers it went.
        """
        return self._call({"do": "publish", "key": channel, "value": value})

    def _call(self, command: dict[str, Any], finish: Callable[[Any], Any] | None = None) -> Any:
        # A mistake of the script is told at once, and never leaves this process.
        check_key(command["key"])
        check_expiry(command.get("expires"))
        encode(command.get("value"))
        encode(command.get("amount"))
        # Until a reactor runs there is no thread of it.
        if getattr(threadable, "ioThread", None) is None or threadable.isInIOThread():
            asked = self._ask(command)
            return asked if finish is None else asked.addCallback(finish)
        result = threads.blockingCallFromThread(self._reactor, self._ask, command)
        return result if finish is None else finish(result)


def own_store(now: Callable[[], float], publish: Callable[[SharedMessage], object]) -> Ask:
    """What a proxy of a single process shares: with itself."""
    store = SharedStore(now)

    def run(command: dict[str, Any]) -> object:
        if command["do"] != "publish":
            return store.run(command)
        publish(SharedMessage(command["key"], command["value"], 1))
        return 1

    return lambda command: execute(run, command)
