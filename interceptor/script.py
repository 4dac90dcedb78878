"""What scripts use to run blocking code: ``from interceptor.script import concurrent``."""

from __future__ import annotations

from interceptor.hooks.threads import concurrent

__all__ = ["concurrent"]
