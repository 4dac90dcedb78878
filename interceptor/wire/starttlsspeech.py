"""What follows a plain conversation in one protocol, up to the moment when TLS is agreed on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum


class Heard(Enum):
    """What some bytes mean for TLS."""

    NOTHING = "nothing"
    ASKS = "asks"
    """The client asks for TLS, and has to wait for the answer."""
    AGREES = "agrees"
    """TLS begins behind these bytes."""
    REFUSES = "refuses"
    """The server will not speak TLS, or not now."""
    OVER = "over"
    """TLS will not be asked for any more, or nobody could tell."""


class Speech(ABC):
    """Follows one conversation. `OVER` is the last answer; nothing is asked after it.

    Both methods look at ``data`` from ``start`` on, and return what they heard and where in
    ``data`` that ends; what is behind it they have not looked at. A client is heard no more between
    its request and the answer.
    """

    __slots__ = ()

    @abstractmethod
    def client_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        """Follow what the client says."""

    @abstractmethod
    def server_sent(self, data: bytes, start: int) -> tuple[Heard, int]:
        """Follow what the server says."""
