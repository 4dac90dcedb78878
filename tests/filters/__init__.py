"""The filter language."""

from __future__ import annotations
