"""What flows of whole connections have in common: what passed, in pieces, and how much of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from interceptor.model.connections import format_address
from interceptor.model.flow import Flow, FlowControl
from interceptor.model.keyed import Keyed

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection


class Passed(Protocol):
    """What `ConnectionFlow.messages` may hold."""

    def copy(self) -> Self:
        """Return an independent copy."""


M = TypeVar("M", bound=Passed)


class PeerMessage(Keyed):
    """Bytes that came from one peer at once: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. ``injected`` says that a script sent it.
    """

    __slots__ = ("content", "from_client", "injected", "timestamp")

    def __init__(
        self,
        from_client: bool,
        content: bytes,
        timestamp: float | None = None,
        injected: bool = False,
    ) -> None:
        self.from_client = from_client
        self.content = content
        self.timestamp = time.time() if timestamp is None else timestamp
        self.injected = injected

    def copy(self) -> Self:
        """Return an independent copy."""
        return type(self)(self.from_client, self.content, self.timestamp, self.injected)

    def _key(self) -> tuple[Any, ...]:
        return (self.from_client, self.content, self.timestamp, self.injected)

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        return f"<{type(self).__name__} {arrow} {len(self.content)} bytes>"


class ConnectionFlow(Flow, Generic[M]):
    """What passes between a client and a server until one of them ends.

    ``messages`` holds what passed, as far as anybody listens: the latest of it, up to
    ``body_memory_limit``, and ``forgotten`` counts those that are no longer there.
    ``bytes_from_client`` and ``bytes_from_server`` count what was received. ``timestamp_end`` is
    None while the flow goes on.
    """

    __slots__ = ("bytes_from_client", "bytes_from_server", "forgotten", "messages", "timestamp_end")

    facts: ClassVar[tuple[str, ...]] = ("bytes_from_client", "bytes_from_server", "timestamp_end")
    """What no hook changes, and a copy has as well."""

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: FlowControl | None = None,
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.messages: list[M] = []
        self.forgotten = 0
        self.bytes_from_client = 0
        self.bytes_from_server = 0
        self.timestamp_end: float | None = None

    def copy(self) -> Self:
        made = super().copy()
        for name in self.facts:
            setattr(made, name, getattr(self, name))
        return made

    def _get_state(self) -> tuple[Any, ...]:
        messages = [message.copy() for message in self.messages]
        return (*super()._get_state(), messages, self.forgotten)

    def _set_state(self, state: tuple[Any, ...]) -> None:
        super()._set_state(state)
        self.messages, self.forgotten = state[4:6]

    def _matches(self, state: tuple[Any, ...]) -> bool:
        return super()._matches(state) and self.messages == state[4]

    def __repr__(self) -> str:
        client = format_address(self.client_conn.address)
        server = format_address(self.server_conn.address)
        ends = f"{client} <-> {server}"
        return f"<{type(self).__name__} {self._named()}{ends}, {len(self.messages)} messages>"

    def _named(self) -> str:
        """What `repr` says besides."""
        return ""
