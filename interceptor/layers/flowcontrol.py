"""What every exchange does alike for hooks that steer its flow, and tell of it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from interceptor.errors import HookFailed
from interceptor.layers.buffermemory import Account
from interceptor.layers.failures import KilledError, describe
from interceptor.layers.hooking import run_hook
from interceptor.model.connections import format_address
from interceptor.model.flow import KILLED_MESSAGE, Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.layers.environment import Environment


class FlowSteering(ABC):
    """Implements `FlowControl`: hooks pause an exchange, let it go on, and kill it.

    An exchange has its ``flow``, and the bus in ``_hooks``; `_kill` says how it ends. It sets
    ``_resumed`` to None: that is what is waited for while the flow is intercepted.
    """

    __slots__ = ("_resumed",)

    flow: Any
    _hooks: Any
    _resumed: Deferred[None] | None

    @abstractmethod
    def _kill(self, error: KilledError) -> object:
        """End the exchange because of ``error``, at once."""

    def killed(self, flow: Any) -> None:
        """Implement `FlowControl.killed`."""
        self._kill(self._kill_error())

    def intercepted(self, flow: Any) -> None:  # noqa: B027 - most look when the hooks are through
        """Implement `FlowControl.intercepted`: heeded after the event that is being answered."""

    def resumed(self, flow: Any) -> None:
        """Implement `FlowControl.resumed`."""
        waiting, self._resumed = self._resumed, None
        if waiting is not None:
            waiting.callback(None)

    def _kill_error(self) -> KilledError:
        """Return what ends a killed flow, with the words of whoever killed it."""
        error = self.flow.error
        return KilledError(KILLED_MESSAGE if error is None else error.msg)

    async def _call_hooks(self, fire: Any) -> None:
        """Run an event's hooks, if there are any, and wait for them."""
        if fire is not None:
            waiting = fire(self.flow)
            if waiting is not None:
                await waiting

    async def _heed(self) -> None:
        """Do what hooks asked for: wait as long as they like. Raises `KilledError`."""
        flow = self.flow
        while flow.intercepted:
            await self._pause()
        if flow.killed:
            raise self._kill_error()

    async def _pause(self) -> None:
        """Tell that the flow is intercepted, wait until it is no more, and tell that."""
        await self._call_hooks(self._hooks.intercept)
        if self.flow.intercepted:
            self._resumed = Deferred(self._forget_resume)
            await self._resumed
        await self._call_hooks(self._hooks.resume)

    def _forget_resume(self, _: Deferred[None]) -> None:
        self._resumed = None


class Holding(FlowSteering):
    """For an exchange without a task: what it passes on waits until hooks have answered."""

    _waiting: Deferred[Any] | None = None
    """What is waited for: hooks, or that the flow is resumed."""
    _over = False
    """Whether the exchange has ended, so that nobody goes on."""

    @abstractmethod
    def _fail(self, error: Exception) -> None:
        """End the exchange because of ``error``."""

    def _kill(self, error: KilledError) -> None:
        self._fail(error)

    @property
    def _held(self) -> bool:
        """Whether somebody has intercepted the flow."""
        return bool(self.flow.intercepted) and not self._over

    def _wait(self, waiting: Deferred[Any] | None, go_on: Callable[[], object]) -> bool:
        """Wait for hooks, and for who has intercepted the flow, and then call ``go_on``.

        Returns True, and does not call it, where that is over already.
        """
        at_once, over = True, False
        self._waiting = waited = Deferred.fromCoroutine(self._settled(waiting))

        def answered(_: object) -> None:
            nonlocal over
            self._waiting = None
            if at_once:
                over = True
            elif not self._over:
                go_on()

        def failed(failure: Failure) -> None:
            self._waiting = None
            if not self._over and isinstance(failure.value, Exception):
                self._fail(failure.value)

        waited.addCallbacks(answered, failed)
        at_once = False
        return over

    async def _settled(self, waiting: Deferred[Any] | None) -> None:
        if waiting is not None:
            await waiting
        while self.flow.intercepted:
            await self._pause()

    def _stop_waiting(self) -> None:
        """Wait for nobody any more."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.addErrback(_cancelled)
            waiting.cancel()


class FlowTelling(FlowSteering):
    """For an exchange with the events ``NAME_start``, ``NAME_error`` and ``NAME_end``.

    ``events`` is their common name. The latest of what passed is kept in ``flow.messages``.
    """

    log = Logger()

    environment: Environment
    events: str
    bytes_of: ClassVar[attrgetter[bytes]] = attrgetter("content")
    """Returns what a message holds. Written in C, and called for each."""
    overhead: ClassVar[int] = 0
    """Bytes that a message costs besides what it holds, about."""

    _kept = 0
    _room = 0
    _holding: Account | None = None

    async def begin(self) -> None:
        """Fire ``NAME_start``. Raises `KilledError` where that is the end."""
        await self._call_hooks(self._hooks.get(f"{self.events}_start"))
        await self._heed()

    def count(self, from_client: bool, size: int) -> None:
        """Count bytes that came from a peer."""
        if from_client:
            self.flow.bytes_from_client += size
        else:
            self.flow.bytes_from_server += size

    def keep(self, message: Any, *, before_latest: bool = False) -> None:
        """Keep a message in the flow, and let go of the oldest above ``body_memory_limit``."""
        flow = self.flow
        messages = flow.messages
        if before_latest:
            messages.insert(len(messages) - 1, message)
        else:
            messages.append(message)
        kept = self._kept = self._kept + len(self.bytes_of(message)) + self.overhead
        if kept > self._room:
            self._make_room()

    def _make_room(self) -> None:
        """Have more room for what is kept, or keep less: the latest message in any case."""
        flow = self.flow
        messages = flow.messages
        holding = self._holding
        if holding is None:
            holding = self._holding = Account(self.environment.buffer_memory)
        limit = self.environment.settings.body_memory_limit
        room = holding.room(self._kept, limit)
        while self._kept > room and len(messages) > 1:
            self._kept -= len(self.bytes_of(messages.pop(0))) + self.overhead
            flow.forgotten += 1
        if self._kept > room:
            # Larger than what may be kept, for as long as it is the latest.
            holding.update(self._kept)
            self._room = 0
        else:
            self._room = holding.room(self._kept, limit)

    def _tell_end(self, error: Exception | None) -> None:
        """Fire ``NAME_error`` where there is an ``error``, and ``NAME_end``: the flow is over."""
        flow = self.flow
        if self._holding is not None:
            self._holding.close()
        flow.timestamp_end = time.time()
        if error is not None:
            note_failure(
                self.log,
                flow,
                error,
                self.environment.proxy,
                server=format_address(flow.server_conn.address),
            )
        ending = Deferred.fromCoroutine(self._fire_end(error is not None))
        ending.addErrback(self._end_failed)

    async def _fire_end(self, failed: bool) -> None:
        if failed:
            event = f"{self.events}_error"
            try:
                await self._call_hooks(self._hooks.get(event))
            except HookFailed as error:
                # The bus has logged it; what was to be stopped has ended already.
                self.log.debug(
                    "{event} hook: {error}", event=event, error=error, proxy=self.environment.proxy
                )
        self.flow.detach()
        self._detached()
        fire = self._hooks.get(f"{self.events}_end")
        if fire is not None:
            run_hook(fire, self.flow)

    def _detached(self) -> None:
        """The flow is a mere record from now on."""

    def _end_failed(self, failure: Failure) -> None:
        self.log.failure(
            "the end of {flow} could not be told",
            failure,
            flow=self.flow,
            proxy=self.environment.proxy,
        )


def note_failure(
    log: Logger, flow: Any, error: Exception, proxy: object, **about: str
) -> tuple[str, str]:
    """Tell the log, and the flow itself, how it failed; return the error's code and message.

    ``about`` says what the flow is about, in the order of a reader. What is a mistake of ours comes
    with its traceback.
    """
    code, _, message = describe(error)
    if flow.error is None:
        flow.error = Error(message, time.time(), code)
    if code == "internal-error":
        log.failure("{flow}: unexpected error", Failure(error), flow=flow, proxy=proxy)
    what = " ".join(f"{{{name}}}" for name in about)
    log.info(
        f"{{client}} {what}: {{code}}: {{message}}",
        client=format_address(flow.client_conn.address),
        code=code,
        message=message,
        of_flow=True,
        proxy=proxy,
        **about,
    )
    return code, message


def _cancelled(failure: Failure) -> None:
    """Drop it: nobody waits any more."""
