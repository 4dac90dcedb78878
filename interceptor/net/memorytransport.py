"""One end of a connection in memory; see `interceptor.net.memory` for the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from interceptor.net.addresses import HostPort, as_address
from interceptor.net.transports import ISocketTransport


@implementer(ITCPTransport, ISocketTransport, IHalfCloseableDescriptor)
class MemoryTransport:
    """One end of a `MemoryLink`. Behaves as Twisted's TCP transports do, one step at a time.

    What is written stays in ``buffer`` until the other end reads: while that one is paused, this
    one's producer is paused as soon as more than ``high_water`` bytes are waiting. As with TCP,

    - ``loseConnection`` waits until the buffer is empty, and if it finds a paused producer then,
      until that is unregistered; reading stops at once;
    - ``loseWriteConnection`` ends only this direction; a peer that does not provide
      ``IHalfCloseableProtocol`` takes it for the end of the connection;
    - ``abortConnection`` drops what is buffered, and the peer sees ``ConnectionLost``;
    - a transport that is paused notices no end of its input before it is resumed;
    - writing to a peer that has closed loses the connection.
    """

    high_water = 65536
    """Bytes in ``buffer`` above which a streaming producer is paused."""

    disconnecting = False
    disconnected = False

    def __init__(self, protocol: IProtocol, host: HostPort, peer: HostPort, name: str) -> None:
        self.protocol = protocol
        """Gets what arrives. May be replaced at any time."""
        self.name = name
        self.peer: MemoryTransport | None = None
        self.buffer = bytearray()
        """What has been written and not yet been delivered."""
        self.reading = True
        """Whether this end takes bytes: it is neither paused nor closing."""
        self.bytes_read = 0
        self.bytes_written = 0
        self.connected = False
        self.producer: IPushProducer | None = None
        self.no_delay = False
        self.keep_alive = False
        self._host = host
        self._peer_address = peer
        self._streaming = False
        self._producer_paused = False
        self._closing_write = False
        self._write_closed = False
        self._end_delivered = False
        self._abort_pending = False
        # Whether the "reactor" is to look at the buffer once more, as after Twisted's startWriting.
        self._writing = False
        # Set on what the other end did: nothing, closed its direction, or reset the connection.
        self._incoming_end = False
        self._incoming_reset = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    # ITransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("Data must be bytes")
        if not self.connected or self._write_closed or not data:
            return
        self.buffer += data
        self.bytes_written += len(data)
        self._writing = True
        if self.producer is not None and self._streaming and len(self.buffer) > self.high_water:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        if self._write_closed:
            # As in Twisted, where nothing is left to wait for: from within this call.
            self._lose(Failure(ConnectionDone()))
            return
        self.reading = False
        self.disconnecting = True
        self._writing = True

    def abortConnection(self) -> None:
        if self.connected and not self._abort_pending:
            self._abort_pending = True
            self.reading = False
            self.buffer.clear()

    def loseWriteConnection(self) -> None:
        self._closing_write = True
        self._writing = True

    def getPeer(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return as_address(self._peer_address)

    def getHost(self) -> IAddress:  # type: ignore[override]  # ITCPTransport knows no Unix sockets
        return as_address(self._host)

    # ITCPTransport

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = bool(enabled)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError(f"cannot register {producer}: {self.producer} is registered")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.disconnecting:
            self._writing = True

    # IPushProducer

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._abort_pending:
            self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    # IHalfCloseableDescriptor

    def writeConnectionLost(self, reason: Failure) -> None:
        self._lose(reason)

    def readConnectionLost(self, reason: Failure) -> None:
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lose(reason)

    # What the link does

    def connect(self) -> None:
        """The connection is there: tell the protocol."""
        self.connected = True
        self.protocol.makeConnection(self)

    def step(self, sizes: Iterator[int]) -> bool:
        """Do one thing that is due at this end; False if there is nothing.

        The next of `sizes` is taken for each delivery: how many bytes it may have.
        """
        if not self.connected:
            return False
        if self._abort_pending:
            self._reset_peer()
            self._lose(Failure(ConnectionAborted()))
            return True
        if self._incoming_reset and (self.reading or self.buffer):
            self._lose(Failure(ConnectionLost("the peer reset the connection")))
            return True
        return self._read_end() or self._deliver(sizes) or self._drained()

    def _deliver(self, sizes: Iterator[int]) -> bool:
        """Move bytes to the other end."""
        peer = self.peer
        if not self.buffer or peer is None:
            return False
        if not peer.connected:
            # The answer to data for a connection that no longer exists is a reset.
            self.buffer.clear()
            self._incoming_reset = True
            self._lose(Failure(ConnectionLost("written to a peer that had closed")))
            return True
        if peer.disconnecting and not peer.reading:
            # It will never read this. Its socket would take it all the same.
            self.buffer.clear()
            return True
        if not peer.reading or peer._incoming_reset:
            return False
        size = next(sizes)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        peer.bytes_read += len(data)
        peer.protocol.dataReceived(data)
        return True

    def _drained(self) -> bool:
        """Do what was put off until the buffer is empty."""
        if self.buffer or not self._writing:
            return False
        self._writing = False
        if self.producer is not None and (not self._streaming or self._producer_paused):
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self._end_peer()
            self._lose(Failure(ConnectionDone()))
        elif self._closing_write and not self._write_closed:
            self._write_closed = True
            self._end_peer()
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()
        return True

    def _read_end(self) -> bool:
        if not self._incoming_end or self._end_delivered or not self.reading:
            return False
        self._end_delivered = True
        self.reading = False
        self.readConnectionLost(Failure(ConnectionDone()))
        return True

    def _end_peer(self) -> None:
        if self.peer is not None:
            self.peer._incoming_end = True

    def _reset_peer(self) -> None:
        if self.peer is not None:
            self.peer._incoming_reset = True

    def _lose(self, reason: Failure) -> None:
        if self.disconnected:
            return
        if not self._write_closed:
            self._end_peer()
        self.connected = False
        self.disconnected = True
        self.reading = False
        self.buffer.clear()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(reason)
