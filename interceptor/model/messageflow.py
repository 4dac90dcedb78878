"""Flows of messages: what a client and a server say to each other in any protocol."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from interceptor.model.connectionflow import ConnectionFlow
from interceptor.model.flow import FlowControl

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection


class Message:
    """One message. What it says is in the attributes of the protocol's own subclass.

    ``raw`` is the message as it was received, and empty for one that we made. Codecs make messages;
    hooks change what their attributes say, and `drop` those that shall not be passed on. A
    subclass names in ``event`` the event that it comes with; without one that is ``NAME_message``.
    """

    event: ClassVar[str | None] = None

    dropped = False
    """Whether it is not passed on."""
    injected = False
    """Whether it was sent by `MessageFlow.inject`."""

    def __init__(self, from_client: bool, raw: bytes = b"") -> None:
        self.from_client = from_client
        self.raw = raw
        self.timestamp = time.time()

    def drop(self) -> None:
        """Do not pass it on."""
        self.dropped = True

    def copy(self) -> Self:
        """Return an independent copy."""
        return deepcopy(self)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __str__(self) -> str:
        return self.raw.decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        arrow = "->" if self.from_client else "<-"
        return f"<{type(self).__name__} {arrow} {len(self.raw)} bytes>"


class BytesMessage(Message):
    """A message that is nothing but its bytes: ``content``, which may be changed."""

    def __init__(self, from_client: bool, content: bytes) -> None:
        super().__init__(from_client, content)
        self.content = content

    def __str__(self) -> str:
        return self.content.decode("utf-8", "backslashreplace")


class MessageControl(FlowControl, Protocol):
    """What steers a `MessageFlow`."""

    def injected(self, message: Message) -> None:
        """Send a message to the peer that it does not come from."""


class MessageFlow(ConnectionFlow[Any]):
    """A client's conversation with a server in a protocol whose messages are understood.

    ``type`` is the name of the protocol. ``messages`` has the latest messages, as far as anybody
    listens, and ``forgotten`` counts those that are no longer there. ``bytes_from_client``,
    ``bytes_from_server``, ``messages_from_client`` and ``messages_from_server`` count what was
    received. ``timestamp_end`` is None while the flow goes on.
    """

    __slots__ = ("messages_from_client", "messages_from_server", "type")

    facts = (*ConnectionFlow.facts, *__slots__)

    _control: MessageControl | None

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "regular",
        control: MessageControl | None = None,
        *,
        type: str = "messages",
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.type = type
        self.messages_from_client = 0
        self.messages_from_server = 0

    @property
    def message(self) -> Any:
        """The message that the event is about: the latest one. None before the first."""
        return self.messages[-1] if self.messages else None

    def inject(self, to_client: bool, message: Message) -> None:
        """Send a message of our own to the client or to the server.

        It is sent as soon as may be, so in front of the message whose hook is running; no hook is
        called for it. Raises `RuntimeError` where the flow is over.
        """
        control = self._control
        if control is None:
            raise RuntimeError("the flow is over: nothing can be injected")
        message.injected = True
        message.from_client = not to_client
        control.injected(message)

    def _named(self) -> str:
        return f"{self.type} "
