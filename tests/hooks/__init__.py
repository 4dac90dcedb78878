"""Tests of `interceptor.hooks`."""

from __future__ import annotations
