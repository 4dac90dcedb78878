"""A script that defines all four HTTP events and does nothing in them."""

from __future__ import annotations

from typing import Any


def requestheaders(flow: Any) -> None:
    """Look at a request's headers."""


def request(flow: Any) -> None:
    """Look at a whole request."""


def responseheaders(flow: Any) -> None:
    """Look at a response's headers."""


def response(flow: Any) -> None:
    """Look at a whole response."""
