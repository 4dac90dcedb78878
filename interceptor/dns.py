"""DNS messages and flows, for scripts: ``from interceptor import dns``."""

from __future__ import annotations

from interceptor.model.flow import Error
from interceptor.names.flow import DNSFlow
from interceptor.names.message import Request, Response
from interceptor.names.records import Record

__all__ = ["DNSFlow", "Error", "Record", "Request", "Response"]
