"""The event contract, on live exchanges."""

from __future__ import annotations
