"""Protocols of messages as layers: a codec and a name are all that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from interceptor.layers.protocollayer import ProtocolLayer

if TYPE_CHECKING:
    from interceptor.wire.messagecodec import MessageCodec


class MessageLayer(ProtocolLayer):
    """Speaks a protocol of messages with a client and a server, and shows hooks each of them.

    A subclass has a ``name``, of small letters and digits, and a ``codec``: a subclass of
    `MessageCodec`, or a function that makes one; each connection gets its own. All else is done
    here: the connection to the server, which is made when there is something to pass on;
    back-pressure in both directions; deadlines; bounds; the flow, its events and their order;
    errors.
    """

    codec: ClassVar[Callable[[], MessageCodec]]

    server_first: ClassVar[bool] = False
    """Whether the server begins, so that it is connected to at once."""

    def start(self, data: bytes) -> None:
        # Layers are declared when the program starts, and few of them are ever used.
        from interceptor.layers.messageexchange import MessageExchange

        MessageExchange(self, type(self).codec()).start(data)
