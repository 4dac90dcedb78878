"""A script that looks at all bytes of raw TCP, and changes none."""

from __future__ import annotations

from typing import Any


def tcp_message(flow: Any) -> None:
    """Do nothing."""
