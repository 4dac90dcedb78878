"""Tests of ``interceptor.model``."""
