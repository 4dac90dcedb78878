"""TCP flows: two connections joined, and what passed between them."""

from __future__ import annotations

from typing import Protocol

from interceptor.errors import InterceptorError
from interceptor.model.connectionflow import ConnectionFlow, PeerMessage
from interceptor.model.flow import FlowControl


class TCPMessage(PeerMessage):
    """Bytes that came from one peer at once: ``content``, which a hook may change.

    ``timestamp`` is in seconds since the epoch. TCP knows no messages: where one ends is up to the
    network, and nothing may be read into it. ``injected`` says that no peer sent it, but a script.
    """

    __slots__ = ()


class TCPControl(FlowControl, Protocol):
    """What a live relay of TCP implements."""

    def inject(self, message: TCPMessage) -> None:
        """Send a script's bytes on. Raises `InterceptorError` where that cannot be."""


class TCPFlow(ConnectionFlow[TCPMessage]):
    """A client's connection that is passed on as it is: a tunnel, an upgrade, a host left alone.

    ``messages`` holds what passed, as far as anybody listens to ``tcp_message``: the latest of it,
    up to ``body_memory_limit``, and ``forgotten`` counts those that are no longer there.
    ``bytes_from_client`` and ``bytes_from_server`` count what was received. ``timestamp_end`` is
    None while the flow goes on. ``metadata["passthrough"]`` says why TLS was left alone, if so;
    ``metadata["starttls"]`` says that TLS has begun in the middle, and in which protocol.
    """

    __slots__ = ()

    type: str = "tcp"

    _control: TCPControl | None

    def inject(self, content: bytes, *, to_client: bool = False) -> None:
        """Send bytes of one's own to the server, or to the client.

        They leave at once: behind what was passed on already, and before the message that hooks are
        looking at. While there is no connection to the server, or one of the two turns to TLS, they
        wait for it. They are kept in ``messages``, but do not fire ``tcp_message``. To be called in
        the reactor's thread.

        Raises `InterceptorError` with the code ``tcp-not-open`` where nothing more can be sent that
        way, and ``tcp-inject-full`` where more waits to be taken than ``body_memory_limit``.
        """
        control = self._control
        if control is None or self.killed:
            raise InterceptorError("the connections are closed", "tcp-not-open")
        if content:
            control.inject(TCPMessage(not to_client, bytes(content), injected=True))
