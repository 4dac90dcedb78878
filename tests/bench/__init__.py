"""Tests of the benchmarks' own parts; none of them measures anything."""

from __future__ import annotations
