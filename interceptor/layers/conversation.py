"""One flow of messages as hooks see it: its beginning, its messages in order, its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from interceptor.errors import HookFailed
from interceptor.layers.failures import KilledError, describe
from interceptor.layers.hooking import run_hook
from interceptor.model.connections import ServerConnection, format_address
from interceptor.model.flow import KILLED_MESSAGE, Error
from interceptor.model.messageflow import Message, MessageFlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.hooks.bus import Fire
    from interceptor.layers.context import Layer

_OVERHEAD = 200
"""What a message costs besides its bytes, about."""


class Conversation:
    """Fires the events of one layer's flow, and is the flow's control.

    The events are ``NAME_start``; then, for each message, the one that its class names, or
    ``NAME_message``; ``NAME_error`` where it went wrong; and ``NAME_end``, always and once.
    ``waits`` is called before anything is waited for, ``stop`` with the error that shall end all,
    ``inject`` with a message to send.
    """

    log = Logger()

    def __init__(
        self,
        layer: Layer,
        stop: Callable[[Exception], object],
        inject: Callable[[Message], object],
        waits: Callable[[], object] = lambda: None,
    ) -> None:
        context = layer.context
        environment = context.environment
        self._bus = environment.hooks
        self._proxy = environment.proxy
        self._limit = environment.settings.body_memory_limit
        self._name = layer.name
        self._stop = stop
        self._inject = inject
        self._waits = waits
        self._resumed: Deferred[None] | None = None
        self._kept = 0
        self._over = False
        address = layer.address
        self.flow = MessageFlow(
            context.client_conn, ServerConnection(address), context.mode, self, type=layer.name
        )

    async def begin(self) -> None:
        """Fire ``NAME_start``. Raises `KilledError` where that is the end."""
        await self._ask(f"{self._name}_start")

    def listens(self, message: Message) -> bool:
        """Whether anybody wants to see the message."""
        return self._fire(message) is not None

    def changes(self, message: Message) -> bool:
        """Whether anybody wants to see the message who may change it."""
        fire = self._fire(message)
        return fire is not None and not fire.observes_only

    def _fire(self, message: Message) -> Fire | None:
        return self._bus.get(message.event or f"{self._name}_message")

    async def tell(self, message: Message) -> None:
        """Show hooks a message. Raises `KilledError` where that is the end.

        The caller waits for one message before it tells of the next.
        """
        self._keep(message)
        await self._ask(message.event or f"{self._name}_message")

    async def _ask(self, event: str) -> None:
        flow, fire = self.flow, self._bus.get(event)
        if fire is not None:
            waiting = fire(flow)
            if waiting is not None:
                self._waits()
                await waiting
        while flow.intercepted:
            self._waits()
            await self._pause()
        if flow.killed:
            raise KilledError(self._kill_message())

    def _keep(self, message: Message) -> None:
        flow = self.flow
        flow.messages.append(message)
        self._kept += len(message.raw) + _OVERHEAD
        while self._kept > self._limit and len(flow.messages) > 1:
            self._kept -= len(flow.messages.pop(0).raw) + _OVERHEAD
            flow.forgotten += 1

    def count(self, from_client: bool, size: int) -> None:
        """Count bytes that came from a peer."""
        if from_client:
            self.flow.bytes_from_client += size
        else:
            self.flow.bytes_from_server += size

    def note_injected(self, message: Message, before: bool) -> None:
        """Keep a message of our own, ``before`` the latest one or behind it."""
        messages = self.flow.messages
        messages.insert(len(messages) - before, message)
        self._kept += len(message.raw) + _OVERHEAD

    # The flow's control

    def killed(self, flow: MessageFlow) -> None:
        """Implement `FlowControl.killed`."""
        self._stop(KilledError(self._kill_message()))

    def intercepted(self, flow: MessageFlow) -> None:
        """Implement `FlowControl.intercepted`: heeded after the event that is being answered."""

    def resumed(self, flow: MessageFlow) -> None:
        """Implement `FlowControl.resumed`."""
        waiting, self._resumed = self._resumed, None
        if waiting is not None:
            waiting.callback(None)

    def injected(self, message: Message) -> None:
        """Implement `MessageControl.injected`."""
        self._inject(message)

    async def _pause(self) -> None:
        bus, flow = self._bus, self.flow
        if bus.intercept is not None:
            waiting = bus.intercept(flow)
            if waiting is not None:
                await waiting
        if flow.intercepted:
            self._resumed = Deferred(self._forget_resume)
            await self._resumed
        if bus.resume is not None:
            waiting = bus.resume(flow)
            if waiting is not None:
                await waiting

    def _forget_resume(self, _: Deferred[None]) -> None:
        self._resumed = None

    def _kill_message(self) -> str:
        error = self.flow.error
        return KILLED_MESSAGE if error is None else error.msg

    # The end

    def end(self, error: Exception | None) -> None:
        """Tell the end, and why; only the first call counts."""
        if self._over:
            return
        self._over = True
        flow = self.flow
        flow.timestamp_end = time.time()
        if error is not None:
            code, _, message = describe(error)
            if flow.error is None:
                flow.error = Error(message, flow.timestamp_end, code)
            if code == "internal-error":
                self.log.error(
                    "{flow}: unexpected error",
                    flow=flow,
                    log_failure=Failure(error),
                    proxy=self._proxy,
                )
            self.log.info(
                "{client} {server}: {code}: {message}",
                client=format_address(flow.client_conn.address),
                server=format_address(flow.server_conn.address),
                code=code,
                message=message,
                of_flow=True,
                proxy=self._proxy,
            )
        Deferred.fromCoroutine(self._tell_end(error is not None)).addErrback(self._end_failed)

    async def _tell_end(self, failed: bool) -> None:
        bus, flow = self._bus, self.flow
        fire = bus.get(f"{self._name}_error") if failed else None
        try:
            if fire is not None:
                waiting = fire(flow)
                if waiting is not None:
                    await waiting
        except HookFailed as error:
            # The bus has logged it; what was to be stopped has ended already.
            self.log.debug("{event} hook: {error}", event="error", error=error, proxy=self._proxy)
        flow.detach()
        fire = bus.get(f"{self._name}_end")
        if fire is not None:
            run_hook(fire, flow)

    def _end_failed(self, failure: Failure) -> None:
        self.log.failure(
            "the end of {flow} could not be told", failure, flow=self.flow, proxy=self._proxy
        )
