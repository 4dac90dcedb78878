"""One HTTP/2 stream as a transport: what a connection is to the protocols that are spoken on it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.net.transports import IStreamTransport
from interceptor.wire.http2frames import CANCEL, NO_ERROR
from interceptor.wire.httpevents import NEED_DATA, Data, EndOfMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IAddress, IReactorTime

    from interceptor.layers.http2stream import HTTP2Stream


@implementer(IStreamTransport)
class StreamTransport:
    """A stream's data as a transport, with back-pressure and half-close in both directions."""

    disconnecting = False

    def __init__(self, stream: HTTP2Stream, protocol: Any, clock: IReactorTime) -> None:
        self._stream = stream
        self._protocol = protocol
        self._clock = clock
        self._producer: Any = None
        self._producer_paused = False
        self._paused = False
        self._reading = False
        self._told_write_end = False
        self._half_closed = False
        self._lost = False

    def start(self) -> None:
        """Make the connection, and deliver what has come."""
        self._stream.listener = self
        self._protocol.makeConnection(self)
        self.readable()

    # From the stream

    def readable(self) -> None:
        """Deliver what there is, until somebody pauses."""
        if self._reading:
            return
        self._reading = True
        stream, protocol = self._stream, self._protocol
        try:
            while not (self._paused or self._lost):
                try:
                    event = stream.next_event()
                except Exception:
                    # `broke` tells of it, or has.
                    return
                stream.read_due = inf
                kind = type(event)
                if event is NEED_DATA:
                    return
                if kind is Data:
                    if event.data:
                        protocol.dataReceived(event.data)
                    if event.end_of_message and not self._lost:
                        protocol.readConnectionLost()
                elif kind is EndOfMessage:
                    protocol.readConnectionLost()
        finally:
            self._reading = False

    def writable(self) -> None:
        """The peer has taken what was waiting."""
        if self._stream.output_ended:
            self._output_ended()
        elif self._producer_paused and self._producer is not None:
            self._producer_paused = False
            self._producer.resumeProducing()

    def broke(self, error: Exception) -> None:
        """The stream, or its connection, is gone."""
        self._lose(ConnectionLost(str(error)))

    def _lose(self, reason: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        self._stream.listener = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._stream.drop_unread()
        self._protocol.connectionLost(Failure(reason))

    # Writing

    def write(self, data: bytes) -> None:
        if self._lost or self._half_closed or self.disconnecting:
            return
        stream = self._stream
        stream.send_data(data)
        if stream.write_paused:
            self._wait_for_room()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def _wait_for_room(self) -> None:
        stream = self._stream
        stream.protocol.waiting[stream] = None
        if self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer
        self._producer_paused = False
        if self._stream.write_paused:
            self._wait_for_room()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._producer_paused = False

    def loseWriteConnection(self) -> None:
        """Send the end of our bytes."""
        if self._lost or self._half_closed:
            return
        self._half_closed = True
        self._end()

    def loseConnection(self, *ignored: object) -> None:
        """Close once everything is sent."""
        if self._lost or self.disconnecting:
            return
        self.disconnecting = True
        if self._half_closed and self._stream.output_ended:
            self._output_ended()
        elif not self._half_closed:
            self._half_closed = True
            self._end()

    def _end(self) -> None:
        stream = self._stream
        stream.send_end(None)
        if stream.output_ended:
            self._output_ended()
        else:
            stream.protocol.waiting[stream] = None

    def _output_ended(self) -> None:
        if self.disconnecting:
            # Whatever the peer still sends is not wanted.
            self._stream.reset(NO_ERROR)
            self._clock.callLater(0, self._lose, ConnectionDone())
        elif not self._told_write_end:
            self._told_write_end = True
            self._protocol.writeConnectionLost()

    def abortConnection(self) -> None:
        """Reset the stream."""
        if not self._lost:
            self.disconnecting = True
            self._stream.reset(CANCEL)
            self._clock.callLater(0, self._lose, ConnectionAborted())

    # Reading

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if not self._lost:
            self.readable()

    def stopProducing(self) -> None:
        self.abortConnection()

    # Addresses

    def getPeer(self) -> IAddress:
        return self._stream.side.transport.getPeer()

    def getHost(self) -> IAddress:
        return self._stream.side.transport.getHost()
