"""A scriptable intercepting proxy on Twisted."""

from __future__ import annotations
