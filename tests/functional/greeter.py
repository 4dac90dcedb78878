"""A server that speaks first, as many do whose protocol is not HTTP."""

from __future__ import annotations

from twisted.internet.protocol import Protocol


class Greeter(Protocol):
    """Greets, answers one line, and ends."""

    greeting = b"220 ready\r\n"

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"you said " + data)
        self.transport.loseConnection()
