"""What the transport of a side can do."""

from __future__ import annotations

from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from zope.interface import Attribute


class IStreamTransport(ITransport, IConsumer, IPushProducer):
    """What Twisted's stream transports have in common, which none of its interfaces tells.

    Sides, gates and TLS ask for this and nothing more: a TCP connection, a Unix socket, TLS on
    either, and a stream of HTTP/2 are all one to them.
    """

    def abortConnection() -> None:
        """Close at once, and drop what has been written; the peer sees a reset, if it can."""

    def loseWriteConnection() -> None:
        """Send the end of our bytes when everything before it has left, and go on reading.

        A transport of somebody else's may have no such method: look before you call it.
        """


class ISocketTransport(IStreamTransport):
    """A transport that reads for a protocol, which may be replaced at any time."""

    protocol = Attribute("The `IProtocol` that hears of what happens.")
