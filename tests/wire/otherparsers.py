"""Parsers of HTTP/1 by other people, where they are installed."""

from __future__ import annotations

import importlib
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as TwistedRequest

h11: Any
httptools: Any
MISSING: str | None = None
"""Why tests that need them are left out, if so."""
try:
    h11 = importlib.import_module("h11")
    httptools = importlib.import_module("httptools")
except ImportError:
    MISSING = "h11 and httptools are needed: they are in the dev extra"

Read = tuple[bytes, bytes, bytes]
"""Of a request: method, target and body. Of a response: status, reason and body."""


class HTTPToolsRecorder:
    """Listens to a parser of httptools, which is Node's."""

    def __init__(self, kind: str = "HttpRequestParser") -> None:
        self.found: list[Any] = []
        self.first = self.body = b""
        self.parser = getattr(httptools, kind)(self)

    def on_message_begin(self) -> None:
        self.first = self.body = b""

    def on_url(self, data: bytes) -> None:
        self.first += data

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self.first, self.body))


def twisted_reads(data: bytes, found: list[Any]) -> bool:
    """Add the requests that Twisted's server reads; return whether it refused to read on."""

    class Recorded(TwistedRequest):
        def process(self) -> None:
            content: Any = self.content
            found.append((self.method, self.uri, content.read()))
            self.setHeader(b"Content-Length", b"0")
            self.finish()

    channel: Any = HTTPChannel()
    channel.requestFactory = Recorded
    channel.callLater = Clock().callLater
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(data)
    refused = b"HTTP/1.1 400" in transport.value() or transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    return refused
