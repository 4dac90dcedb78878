"""What tests share that run whole proxies in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy


class ProxyTestCase(SynchronousTestCase):
    """Makes proxies that are closed at the end."""

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy

    def started(
        self, *addons: object, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        """Return a proxy with a recorder in front of ``addons``, and a client of it."""
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, **options)
        client = proxy.client()
        recorder.events.clear()
        return proxy, client, recorder
