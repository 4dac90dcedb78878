"""HTTP messages and flows, for scripts: ``from interceptor import http``."""

from __future__ import annotations

from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.headers import Headers
from interceptor.model.http import HTTPRequest, HTTPResponse, Request, Response
from interceptor.model.sse import EventStream, ServerSentEvent

__all__ = [
    "Error",
    "EventStream",
    "HTTPFlow",
    "HTTPRequest",
    "HTTPResponse",
    "Headers",
    "Request",
    "Response",
    "ServerSentEvent",
]
