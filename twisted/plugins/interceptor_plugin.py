"""Makes ``interceptor`` a command of ``twistd`` and ``twist``."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

interceptor = ServiceMaker(
    "interceptor", "interceptor.tap", "A scriptable intercepting proxy.", "interceptor"
)
