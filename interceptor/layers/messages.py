"""Protocols of messages as layers: a codec and a name are all that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from interceptor.layers.context import Context, Layer
from interceptor.layers.messageexchange import MessageExchange
from interceptor.wire.messagecodec import MessageCodec

if TYPE_CHECKING:
    from zope.interface.interface import InterfaceClass

    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide


class MessageLayer(Layer):
    """Speaks a protocol of messages with a client and a server, and shows hooks each of them.

    A subclass has a ``name``, of small letters and digits, and a ``codec``: a subclass of
    `MessageCodec`, of which each connection gets an instance. All else is done here: the connection
    to the server, which is made when there is something to pass on; back-pressure in both
    directions; deadlines; bounds; the flow, its events and their order; errors.

    ``hooks`` is the zope interface that declares the events, where the standard ones will not do,
    and ``title`` the protocol's name for people.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    codec: ClassVar[Callable[[], MessageCodec]]
    hooks: ClassVar[InterfaceClass | None] = None

    port: ClassVar[int | None] = None
    """The port of servers that a mode names without one, and with TLS ``tls_port``."""
    tls_port: ClassVar[int | None] = None

    server_first: ClassVar[bool] = False
    """Whether the server begins, so that it is connected to at once."""

    def __init__(
        self,
        context: Context,
        server: ServerSide | None = None,
        destination: Destination | None = None,
    ) -> None:
        super().__init__(context)
        self.server = server
        self.destination = destination

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in cls.__dict__ and "name" in cls.__dict__:
            cls.title = cls.name

    def start(self, data: bytes) -> None:
        MessageExchange(self, type(self).codec()).start(data)
