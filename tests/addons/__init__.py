"""The built-in addons."""

from __future__ import annotations
