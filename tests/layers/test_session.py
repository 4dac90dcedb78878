"""What is left of a session when it is over."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred

from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.layers.test_exchange import GET, OK, ExchangeTestCase


class FreedTests(ExchangeTestCase):
    """Nothing is left to the garbage collector, which would keep sockets' and TLS's memory."""

    def setUp(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def left(self, proxy: MemoryProxy, client: MemoryClient) -> list[Any]:
        """Close the client's connection, and return which layers of its session are still there.

        Not the session: the memory network holds on to the sides that face servers, and so to it.
        """
        (session,) = proxy.environment.sessions
        layers = [ref(layer) for layer in session.context.layers]
        del session
        client.close()
        proxy.flush()
        return [layer() for layer in layers if layer() is not None]

    def test_idle_connection(self):
        proxy = self.proxy()
        self.assertEqual(self.left(proxy, proxy.client()), [])

    def test_after_an_exchange(self):
        proxy = self.proxy()
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(GET)
        self.assertEqual(client.received, OK)
        self.assertEqual(self.left(proxy, client), [])

    def test_after_tls(self):
        proxy = self.proxy()
        proxy.tls_origin().respond(OK)
        client = proxy.tls_client("example.test")
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(client.received, OK)
        self.assertEqual(self.left(proxy, client), [])

    def test_a_hook_that_is_still_told_of_the_end_finds_the_layers(self):
        waiting: Deferred[None] = Deferred()
        roots: list[Any] = []

        class Recorder:
            def clientdisconnect(self, root_layer: Any) -> Deferred[None]:
                roots.append(root_layer)
                return waiting

        proxy = self.proxy(Recorder())
        self.assertEqual(self.left(proxy, proxy.client()), roots)
        self.assertEqual([layer.name for layer in roots[0].layers], ["root"])
        root = ref(roots.pop())
        waiting.callback(None)
        self.assertIsNone(root())


class NoExchangeTests(ExchangeTestCase):
    """Requests that are understood, and refused before any hook but ``error`` hears of them."""

    def test_the_flow_has_the_request(self) -> None:
        recorder = EventRecorder("error")
        client = self.proxy(recorder).client()
        client.send(b"GET /page HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", client.received)
        [flow] = recorder.arguments("error")
        self.assertEqual((flow.error.code, flow.request.path), ("target-not-absolute", "/page"))
        self.assertEqual(flow.request.pretty_url, "http://example.test/page")

    def test_the_answer_to_head_has_no_body(self) -> None:
        client = self.proxy().client()
        client.send(b"HEAD / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", client.received)
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assertTrue(client.closed)
