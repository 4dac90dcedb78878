"""Flows to match: built from the model, as an exchange would leave them."""

from __future__ import annotations

from collections.abc import Mapping

from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.http import Request, Response


def http_flow(
    method: str = "GET",
    url: str = "http://example.com/path?q=1",
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    server: tuple[str, int] | None = ("192.0.2.1", 80),
) -> HTTPFlow:
    """A flow that has a request only."""
    flow = HTTPFlow(ClientConnection(("127.0.0.1", 51234)), ServerConnection(server))
    flow.request = Request.make(method, url, content, headers or {})
    flow.request.timestamp_start = 1000.0
    return flow


def answered(
    flow: HTTPFlow | None = None,
    status: int = 200,
    content: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    seconds: float = 0.5,
) -> HTTPFlow:
    """``flow`` with a response that ended ``seconds`` after the request began."""
    flow = flow or http_flow()
    flow.response = Response.make(status, content, headers or {})
    flow.response.timestamp_end = flow.request.timestamp_start + seconds
    return flow


def failed(flow: HTTPFlow | None = None, seconds: float = 2.0) -> HTTPFlow:
    """``flow`` with an error in place of a response."""
    flow = flow or http_flow()
    flow.error = Error(
        "connection refused", flow.request.timestamp_start + seconds, "connect-refused"
    )
    return flow
