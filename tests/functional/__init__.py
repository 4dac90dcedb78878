"""Tests with real sockets, processes and client programs."""

from __future__ import annotations
