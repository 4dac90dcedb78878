"""TCP flows: two connections joined, and what passed between them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from interceptor.errors import InterceptorError
from interceptor.model.connections import format_address
from interceptor.model.flow import Flow, FlowControl

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection


class TCPMessage:
    """Bytes that came from one peer at once: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. TCP knows no messages: where one ends is up to the
    network, and nothing may be read into it. ``injected`` says that no peer sent it, but a script.
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

    def copy(self) -> TCPMessage:
        """Return an independent copy."""
        return TCPMessage(self.from_client, self.content, self.timestamp, self.injected)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TCPMessage):
            return self._key() == other._key()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return (self.from_client, self.content, self.timestamp, self.injected)

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        return f"<TCPMessage {arrow} {len(self.content)} bytes>"


class TCPControl(FlowControl, Protocol):
    """What a live relay of TCP implements."""

    def inject(self, message: TCPMessage) -> None:
        """Send a script's bytes on. Raises `InterceptorError` where that cannot be."""


class TCPFlow(Flow):
    """A client's connection that is passed on as it is: a tunnel, an upgrade, a host left alone.

    ``messages`` holds what passed, as far as anybody listens to ``tcp_message``: the latest of it,
    up to ``body_memory_limit``, and ``forgotten`` counts those that are no longer there.
    ``bytes_from_client`` and ``bytes_from_server`` count what was received. ``timestamp_end`` is
    None while the flow goes on. ``metadata["passthrough"]`` says why TLS was left alone, if so;
    ``metadata["starttls"]`` says that TLS has begun in the middle, and in which protocol.
    """

    __slots__ = (
        "bytes_from_client",
        "bytes_from_server",
        "forgotten",
        "messages",
        "timestamp_end",
    )

    type: str = "tcp"

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: TCPControl | None = None,
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.messages: list[TCPMessage] = []
        self.forgotten = 0
        self.bytes_from_client = 0
        self.bytes_from_server = 0
        self.timestamp_end: float | None = None

    def inject(self, content: bytes, *, to_client: bool = False) -> None:
        """Send bytes of one's own to the server, or to the client.

        They leave at once: behind what was passed on already, and before the message that hooks are
        looking at. While there is no connection to the server, or one of the two turns to TLS, they
        wait for it. They are kept in ``messages``, but do not fire ``tcp_message``. To be called in
        the reactor's thread.

        Raises `InterceptorError` with the code ``tcp-not-open`` where nothing more can be sent that
        way, and ``tcp-inject-full`` where more waits to be taken than ``body_memory_limit``.
        """
        control: Any = self._control
        if control is None or self.killed:
            raise InterceptorError("the connections are closed", "tcp-not-open")
        if content:
            control.inject(TCPMessage(not to_client, bytes(content), injected=True))

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
