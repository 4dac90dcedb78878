"""What a transport that is carried by another one knows of TCP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from twisted.internet.interfaces import ITCPTransport


class OverTCP(ABC):
    """Asks the transport below for the options of its socket; what has none delays nothing."""

    @property
    @abstractmethod
    def below(self) -> Any:
        """The transport that carries this one."""

    def getTcpNoDelay(self) -> bool:
        below = self.below
        return not ITCPTransport.providedBy(below) or bool(below.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        below = self.below
        if ITCPTransport.providedBy(below):
            below.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        below = self.below
        return ITCPTransport.providedBy(below) and bool(below.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        below = self.below
        if ITCPTransport.providedBy(below):
            below.setTcpKeepAlive(enabled)
