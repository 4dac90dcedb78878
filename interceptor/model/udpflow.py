"""UDP flows: the datagrams between one client's address and a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

from interceptor.model.connectionflow import ConnectionFlow, PeerMessage
from interceptor.model.flow import FlowControl

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection


class UDPMessage(PeerMessage):
    """One datagram: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. ``injected`` says that a script sent it.
    """

    __slots__ = ("dropped",)

    def __init__(
        self,
        from_client: bool,
        content: bytes,
        timestamp: float | None = None,
        injected: bool = False,
    ) -> None:
        super().__init__(from_client, content, timestamp, injected)
        self.dropped = False

    def drop(self) -> None:
        """Do not pass the datagram on."""
        self.dropped = True

    def copy(self) -> Self:
        made = super().copy()
        made.dropped = self.dropped
        return made

    def _key(self) -> tuple[Any, ...]:
        return (*super()._key(), self.dropped)


class UDPControl(FlowControl, Protocol):
    """What a live exchange of datagrams implements."""

    def inject(self, message: UDPMessage) -> None:
        """Pass on a datagram of a script's, behind those that wait."""


class UDPFlow(ConnectionFlow[UDPMessage]):
    """The datagrams between one address of a client and the server.

    UDP knows no connections: a flow begins with a client's first datagram and ends when there was
    none, in either direction, for ``udp_idle_timeout``. ``messages`` holds what passed, as far as
    anybody listens to ``udp_message``: the latest of it, up to ``body_memory_limit``, and
    ``forgotten`` counts those that are no longer there. ``bytes_from_client`` and
    ``bytes_from_server`` count what was received, ``lost`` the datagrams that came while too many
    were waiting already. ``timestamp_end`` is None while the flow goes on.
    """

    __slots__ = ("lost",)

    type: str = "udp"
    facts = (*ConnectionFlow.facts, "lost")

    _control: UDPControl | None

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "",
        control: UDPControl | None = None,
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.lost = 0

    def inject(self, content: bytes, *, to_client: bool = False) -> None:
        """Send a datagram of one's own to the server, or to the client.

        It takes its place behind those that wait, is kept in ``messages``, and does not fire
        ``udp_message``. Does nothing when the flow is not live.
        """
        control = self._control
        if control is not None and not self.killed:
            control.inject(UDPMessage(not to_client, content, injected=True))
