"""Hooks: interfaces that declare them, the bus that calls them, addons and scripts with them."""

from __future__ import annotations
