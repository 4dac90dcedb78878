"""TCP flows: two connections joined, and what passed between them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from interceptor.model.connections import format_address
from interceptor.model.flow import Flow

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.flow import FlowControl


class TCPMessage:
    """Bytes that came from one peer at once: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. TCP knows no messages: where one ends is up to the
    network, and nothing may be read into it.
    """

    __slots__ = ("content", "from_client", "timestamp")

    def __init__(self, from_client: bool, content: bytes, timestamp: float | None = None) -> None:
        self.from_client = from_client
        self.content = content
        self.timestamp = time.time() if timestamp is None else timestamp

    def copy(self) -> TCPMessage:
        """Return an independent copy."""
        return TCPMessage(self.from_client, self.content, self.timestamp)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TCPMessage):
            return self._key() == other._key()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.from_client, self.content, self.timestamp)

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        return f"<TCPMessage {arrow} {len(self.content)} bytes>"


class TCPFlow(Flow):
    """A client's connection that is passed on as it is: a tunnel, an upgrade, a host left alone.

    ``messages`` holds what passed, as far as anybody listens to ``tcp_message``: the latest of it,
    up to ``body_memory_limit``, and ``forgotten`` counts those that are no longer there.
    ``bytes_from_client`` and ``bytes_from_server`` count what was received. ``timestamp_end`` is
    None while the flow goes on. ``metadata["passthrough"]`` says why TLS was left alone, if so.
    """

    __slots__ = (
        "bytes_from_client",
        "bytes_from_server",
        "forgotten",
        "messages",
        "timestamp_end",
    )

    type: ClassVar[str] = "tcp"

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: FlowControl | None = None,
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.messages: list[TCPMessage] = []
        self.forgotten = 0
        self.bytes_from_client = 0
        self.bytes_from_server = 0
        self.timestamp_end: float | None = None

    def copy(self) -> TCPFlow:
        made = super().copy()
        made.bytes_from_client = self.bytes_from_client
        made.bytes_from_server = self.bytes_from_server
        made.timestamp_end = self.timestamp_end
        return made

    def _get_state(self) -> tuple[Any, ...]:
        return (
            *super()._get_state(),
            [message.copy() for message in self.messages],
            self.forgotten,
        )

    def _set_state(self, state: tuple[Any, ...]) -> None:
        super()._set_state(state)
        self.messages, self.forgotten = state[4:6]

    def _matches(self, state: tuple[Any, ...]) -> bool:
        return super()._matches(state) and self.messages == state[4]

    def __repr__(self) -> str:
        client = format_address(self.client_conn.address)
        server = format_address(self.server_conn.address)
        return f"<TCPFlow {client} <-> {server}, {len(self.messages)} messages>"
