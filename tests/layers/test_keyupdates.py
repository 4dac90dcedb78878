"""TLS peers that ask for new keys without an end."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from interceptor.testing import MemoryClient, MemoryProxy
from tests.keyupdates import KeyUpdates


class _Wire:
    """A client in memory as a socket."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    def sendall(self, data: bytes) -> None:
        self._client.send(data)

    def recv(self, size: int) -> bytes:
        return self._client.take()


class KeyUpdateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proxy = MemoryProxy()
        self.addCleanup(self.proxy.close)
        self.proxy.tls_origin()
        self.client = self.proxy.client().connect("example.test", 443)
        self.client.take()
        log = Path(self.mktemp())
        self.updates = KeyUpdates(_Wire(self.client), "example.test", log)

    def test_each_is_answered(self) -> None:
        self.client.take()
        for _ in range(10):
            self.client.send(self.updates.next())
        # As many records as there were, of the same size.
        # OpenSSL may answer with the next it is given to read.
        self.assertGreaterEqual(len(self.client.received), 9 * len(self.updates.next()))

    def test_a_peer_that_does_not_read_has_to_wait(self) -> None:
        self.client.link.client.pauseProducing()
        proxy_end = self.client.link.server
        for _ in range(10_000):
            if not proxy_end.reading:
                break
            self.client.send(self.updates.next())
        self.assertFalse(proxy_end.reading)
        self.assertLess(len(proxy_end.buffer), 200_000)
        self.client.link.client.resumeProducing()
        self.proxy.flush()
        self.assertTrue(proxy_end.reading)
