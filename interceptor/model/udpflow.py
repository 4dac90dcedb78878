"""UDP flows: the datagrams between one client's address and a server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from interceptor.model.connections import format_address
from interceptor.model.flow import Flow, FlowControl

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection


class UDPMessage:
    """One datagram: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. ``injected`` says that a script sent it.
    """

    __slots__ = ("content", "dropped", "from_client", "injected", "timestamp")

    def __init__(
        self,
        from_client: bool,
        content: bytes,
        timestamp: float | None = None,
        *,
        injected: bool = False,
    ) -> None:
        self.from_client = from_client
        self.content = content
        self.timestamp = time.time() if timestamp is None else timestamp
        self.injected = injected
        self.dropped = False

    def drop(self) -> None:
        """Do not pass the datagram on."""
        self.dropped = True

    def copy(self) -> UDPMessage:
        """Return an independent copy."""
        made = UDPMessage(self.from_client, self.content, self.timestamp, injected=self.injected)
        made.dropped = self.dropped
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UDPMessage):
            return self._key() == other._key()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.from_client, self.content, self.timestamp, self.injected, self.dropped)

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        return f"<UDPMessage {arrow} {len(self.content)} bytes>"


class UDPControl(FlowControl, Protocol):
    """What a live exchange of datagrams implements."""

    def inject(self, message: UDPMessage) -> None:
        """Pass on a datagram of a script's, behind those that wait."""


class UDPFlow(Flow):
    """The datagrams between one address of a client and the server.

    UDP knows no connections: a flow begins with a client's first datagram and ends when there was
    none, in either direction, for ``udp_idle_timeout``. ``messages`` holds what passed, as far as
    anybody listens to ``udp_message``: the latest of it, up to ``body_memory_limit``, and
    ``forgotten`` counts those that are no longer there. ``bytes_from_client`` and
    ``bytes_from_server`` count what was received, ``lost`` the datagrams that came while too many
    were waiting already. ``timestamp_end`` is None while the flow goes on.
    """

    __slots__ = (
        "bytes_from_client",
        "bytes_from_server",
        "forgotten",
        "lost",
        "messages",
        "timestamp_end",
    )

    type: str = "udp"

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "",
        control: UDPControl | None = None,
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.messages: list[UDPMessage] = []
        self.forgotten = 0
        self.lost = 0
        self.bytes_from_client = 0
        self.bytes_from_server = 0
        self.timestamp_end: float | None = None

    def inject(self, content: bytes, *, to_client: bool = False) -> None:
        """Send a datagram of one's own to the server, or to the client.

        It takes its place behind those that wait, is kept in ``messages``, and does not fire
        ``udp_message``. Does nothing when the flow is not live.
        """
        control: Any = self._control
        if control is not None and not self.killed:
            control.inject(UDPMessage(not to_client, content, injected=True))

    def copy(self) -> UDPFlow:
        made = super().copy()
        made.bytes_from_client = self.bytes_from_client
        made.bytes_from_server = self.bytes_from_server
        made.lost = self.lost
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
        return f"<UDPFlow {client} <-> {server}, {len(self.messages)} messages>"
