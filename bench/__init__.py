"""The benchmarks: the proxy against a bare relay and installed peers, in the same run."""

from __future__ import annotations
