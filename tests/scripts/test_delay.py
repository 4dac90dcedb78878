from __future__ import annotations

import twisted.internet

from interceptor.exceptions import OptionsError
from interceptor.hooks.scripts import Script
from interceptor.testing import MemoryOrigin, MemoryProxy
from tests.events.cases import GET, OK
from tests.scripts.cases import ScriptTestCase, spec


class DelayTests(ScriptTestCase):
    script = "delay.py"

    def delayed(self) -> tuple[MemoryProxy, MemoryOrigin]:
        """A proxy in whose time the script lives."""
        proxy = self.proxy()
        self.patch(twisted.internet, "reactor", proxy.clock)
        proxy.tester.chain.add(Script(spec(self.script)))
        return proxy, proxy.origin().respond(OK)

    def test_one_second_unless_set(self) -> None:
        proxy, _ = self.delayed()
        client = proxy.client()
        client.send(GET)
        proxy.advance(0.9)
        self.assertEqual((client.received, proxy.network.attempts), (b"", []))
        proxy.advance(0.1)
        self.assertEqual(client.received, OK)

    def test_time(self) -> None:
        proxy, _ = self.delayed()
        proxy.options.set("delay_time=250ms")
        client = proxy.client()
        client.send(GET)
        proxy.advance(0.2)
        self.assertEqual(client.received, b"")
        proxy.advance(0.05)
        self.assertEqual(client.received, OK)

    def test_jitter(self) -> None:
        proxy, _ = self.delayed()
        proxy.options.update(delay_time=1.0, delay_jitter=2.0)
        for _ in range(10):
            client = proxy.client()
            client.send(GET)
            proxy.advance(0.99)
            self.assertEqual(client.received, b"")
            proxy.advance(2.02)
            self.assertEqual(client.received, OK)

    def test_filter(self) -> None:
        proxy, _ = self.delayed()
        proxy.options.update(delay_filter="~u /api/")
        client = proxy.client()
        client.send(GET)
        self.assertEqual(client.take(), OK)
        client.send(GET.replace(b"test/ ", b"test/api/ "))
        self.assertEqual(client.received, b"")
        proxy.advance(1)
        self.assertEqual(client.received, OK)

    def test_others_go_on(self) -> None:
        proxy, origin = self.delayed()
        proxy.options.update(delay_filter="/slow")
        slow = proxy.client()
        slow.send(GET.replace(b"test/ ", b"test/slow "))
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)
        self.assertEqual((slow.received, len(origin.requests)), (b"", 1))

    def test_client_that_leaves(self) -> None:
        proxy, _ = self.delayed()
        client = proxy.client()
        client.send(GET)
        client.abort()
        self.assertEqual(proxy.environment.sessions, set())
        self.assertEqual(proxy.network.attempts, [])

    def test_options_are_checked(self) -> None:
        proxy, _ = self.delayed()
        error = self.assertRaises(OptionsError, proxy.options.update, delay_filter="~c (")
        self.assertIn("delay_filter", str(error))
        self.assertIsNone(proxy.options.delay_filter)
        self.assertRaises(OptionsError, proxy.options.set, "delay_time=soon")

    def test_refused_at_start_up(self) -> None:
        self.assertRaises(OptionsError, MemoryProxy, spec(self.script), delay_filter="~c (")
