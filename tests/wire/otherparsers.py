"""Parsers of HTTP/1 by other people, where they are installed."""

from __future__ import annotations

import importlib
from typing import Any

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
