"""UDP flows and their datagrams, for scripts: ``from interceptor import udp``."""

from __future__ import annotations

from interceptor.model.flow import Error
from interceptor.model.udpflow import UDPFlow, UDPMessage

__all__ = ["Error", "UDPFlow", "UDPMessage"]
