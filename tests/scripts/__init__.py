"""The ready-made scripts, each in a running proxy."""

from __future__ import annotations
