"""One flow of messages as hooks see it: its beginning, its messages in order, its end."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from twisted.logger import Logger

from interceptor.layers.flowcontrol import FlowTelling
from interceptor.model.connections import ServerConnection
from interceptor.model.messageflow import Message, MessageFlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.hooks.bus import Fire, HookBus
    from interceptor.layers.context import Layer
    from interceptor.layers.failures import KilledError

_OVERHEAD = 200
"""What a message costs besides its bytes, about."""


class Conversation(FlowTelling):
    """Fires the events of one layer's flow, and is the flow's control.

    The events are ``NAME_start``; then, for each message, the one that its class names, or
    ``NAME_message``; ``NAME_error`` where it went wrong; and ``NAME_end``, always and once.
    ``waits`` is called before anything is waited for, ``stop`` with the error that shall end all,
    ``inject`` with a message to send.
    """

    log = Logger()

    bytes_of = attrgetter("raw")
    overhead = _OVERHEAD
    flow: MessageFlow
    _hooks: HookBus

    def __init__(
        self,
        layer: Layer,
        stop: Callable[[Exception], object],
        inject: Callable[[Message], object],
        waits: Callable[[], object] = lambda: None,
    ) -> None:
        context = layer.context
        environment = context.environment
        self._hooks = environment.hooks
        self.environment = environment
        self.events = layer.name
        self._stop = stop
        self._inject = inject
        self._waits = waits
        self._resumed = None
        self._over = False
        address = layer.address
        self.flow = MessageFlow(
            context.client_conn, ServerConnection(address), context.mode, self, type=layer.name
        )

    def listens(self, message: Message) -> bool:
        """Whether anybody wants to see the message."""
        return self._fire(message) is not None

    def changes(self, message: Message) -> bool:
        """Whether anybody wants to see the message who may change it."""
        fire = self._fire(message)
        return fire is not None and not fire.observes_only

    def _fire(self, message: Message) -> Fire | None:
        return self._hooks.get(message.event or f"{self.events}_message")

    async def tell(self, message: Message) -> None:
        """Show hooks a message. Raises `KilledError` where that is the end.

        The caller waits for one message before it tells of the next.
        """
        self.keep(message)
        fire = self._fire(message)
        # Written out, because it is paid for every message.
        if fire is not None:
            waiting = fire(self.flow)
            if waiting is not None:
                self._waits()
                await waiting
        if self.flow.intercepted or self.flow.killed:
            await self._heed()

    async def _call_hooks(self, fire: Fire | None) -> None:
        if fire is not None:
            waiting = fire(self.flow)
            if waiting is not None:
                self._waits()
                await waiting

    async def _pause(self) -> None:
        self._waits()
        await super()._pause()

    # The flow's control

    def _kill(self, error: KilledError) -> None:
        self._stop(error)

    def injected(self, message: Message) -> None:
        """Implement `MessageControl.injected`."""
        self._inject(message)

    # The end

    def end(self, error: Exception | None) -> None:
        """Tell the end, and why; only the first call counts."""
        if not self._over:
            self._over = True
            self._tell_end(error)
