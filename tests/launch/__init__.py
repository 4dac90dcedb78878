"""Tests of `interceptor.launch`."""

from __future__ import annotations
