"""TCP flows and their messages, for scripts: ``from interceptor import tcp``."""

from __future__ import annotations

from interceptor.model.flow import Error
from interceptor.model.tcpflow import TCPFlow, TCPMessage

__all__ = ["Error", "TCPFlow", "TCPMessage"]
