"""Alternative services: clients are not told of those that lead past the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.wire.altsvc import hide_http3, without_http3

if TYPE_CHECKING:
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.http import Response


def hide_alternatives(flow: HTTPFlow, response: Response) -> None:
    """Take the offers of HTTP/3 out of a response, and note them in the flow's metadata."""
    response.headers, removed = hide_http3(response.headers)
    _note(flow, removed)


def hide_frame(flow: HTTPFlow, value: bytes) -> bytes:
    """Return what is left of an ALTSVC frame's value; the rest is noted in the flow's metadata."""
    left, removed = without_http3(value)
    _note(flow, removed)
    return left


def _note(flow: HTTPFlow, removed: list[bytes]) -> None:
    if removed:
        offers = [offer.decode("utf-8", "surrogateescape") for offer in removed]
        flow.metadata["alt_svc_removed"] = flow.metadata.get("alt_svc_removed", []) + offers
