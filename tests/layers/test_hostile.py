"""What misbehaving peers must not do to a proxy in memory. Each case was met with real programs."""

from __future__ import annotations

import gc
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import Response
from interceptor.model.body import Body
from interceptor.testing import EventRecorder, MemoryProxy


class HostileTestCase(SynchronousTestCase):
    """Makes proxies that are closed at the end."""

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy


def post(length: int, *fields: bytes) -> bytes:
    """Return a POST with a body of ``length`` bytes."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return (
        b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n%bContent-Length: %d\r\n\r\n"
        % (lines, length)
    ) + b"x" * length


class ReleaseTests(HostileTestCase):
    """Bodies, and with them memory and temporary files, go when their exchange is over."""

    def living_bodies(self) -> int:
        return sum(isinstance(thing, Body) for thing in gc.get_objects())

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def test_idle_connection_keeps_no_body(self):
        before = self.living_bodies()
        recorder = EventRecorder("request", "response")
        proxy = self.proxy(recorder, body_memory_limit=10)
        proxy.origin().respond(lambda request: Response.make(200, b"x" * 100))
        client = proxy.client()
        client.send(post(100))
        self.assertIsNotNone(client.response())
        self.assertEqual(self.living_bodies(), before + 2)
        recorder.events.clear()
        self.assertEqual(self.living_bodies(), before)
