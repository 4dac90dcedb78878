"""A script that streams every body, whatever its size."""

from __future__ import annotations

from typing import Any


def requestheaders(flow: Any) -> None:
    """Pass the request's body on as it comes."""
    flow.request.stream = True


def responseheaders(flow: Any) -> None:
    """Pass the response's body on as it comes."""
    flow.response.stream = True
