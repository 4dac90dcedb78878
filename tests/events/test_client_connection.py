"""``clientconnect`` and ``clientdisconnect``."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder
from tests.events.cases import GET, OK, EventTestCase, Guard, Hooks, Waiting


class ClientConnectTests(EventTestCase):
    """``clientconnect(root_layer)``."""

    def test_before_any_byte_is_read(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, recorder = self.hooked(clientconnect=waiting)
            proxy.origin().respond(OK)
            client.send(GET)
            self.assertEqual(recorder.names, [])
            self.assertEqual(proxy.network.links[0].server.bytes_read, 0)
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_argument(self) -> None:
        roots: list[Any] = []
        proxy, client, _ = self.hooked(clientconnect=roots.append)
        [root] = roots
        peer: Any = client.link.client.getHost()
        self.assertEqual(root.client_conn.address, (peer.host, peer.port))
        self.assertEqual(root.client_conn.sockname, ("proxy.test", 8080))
        self.assertEqual(root.client_conn.proxy_mode, "regular")
        self.assertTrue(root.client_conn.connected())
        self.assertIsNone(root.server_conn.address)
        self.assertIs(root.options, proxy.options)
        self.assertEqual(root.layers, [root])
        self.assertEqual(root.mode, "regular")
        self.assertEqual(root.seen, b"")

    def test_one_connection_may_carry_many_requests(self) -> None:
        recorder = EventRecorder()
        proxy = self.proxy(recorder)
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(GET + GET + GET)
        self.assertEqual(recorder.names.count("request"), 3)
        self.assertEqual(recorder.names.count("clientconnect"), 1)
        roots = recorder.arguments("clientconnect")
        self.assertEqual(
            {id(flow.client_conn) for flow in recorder.arguments("request")},
            {id(roots[0].client_conn)},
        )

    def test_every_client_has_its_own(self) -> None:
        recorder = EventRecorder()
        proxy = self.proxy(recorder)
        proxy.client()
        proxy.client()
        first, second = recorder.arguments("clientconnect")
        self.assertNotEqual(first.client_conn.address, second.client_conn.address)
        self.assertNotEqual(first.client_conn.id, second.client_conn.id)

    def test_refused_by_the_layer(self) -> None:
        self.check_refused(lambda root: root.refuse("not you"))

    def test_refused_by_the_connection(self) -> None:
        self.check_refused(lambda root: root.client_conn.refuse("not you"))

    def check_refused(self, refuse: Any) -> None:
        messages = self.messages()
        recorder = EventRecorder(clientconnect=refuse)
        proxy = self.proxy(recorder)
        client = proxy.client()
        client.send(GET)
        self.assertTrue(client.closed)
        self.assertEqual(client.received, b"")
        self.assertEqual(recorder.names, ["running", "clientconnect", "clientdisconnect"])
        self.assertTrue(any("not you" in text for text in messages.texts))

    def test_refused_after_waiting(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(clientconnect=waiting)
        client.send(GET)
        waiting.arguments[0].refuse()
        waiting.go_on()
        proxy.flush()
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names, ["clientdisconnect"])

    def test_hook_that_fails_closed(self) -> None:
        for hook in (lambda root: 1 / 0, Waiting()):
            recorder = EventRecorder()
            proxy = self.proxy(recorder, Guard(clientconnect=hook), hook_timeout=3)
            client = proxy.client()
            client.send(GET)
            proxy.advance(3)
            self.assertTrue(client.closed)
            self.assertEqual(recorder.names, ["running", "clientconnect", "clientdisconnect"])

    def test_hook_that_fails_open(self) -> None:
        proxy, client, _ = self.hooked(clientconnect=lambda root: 1 / 0)
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(client.received, OK)

    def test_client_that_leaves_meanwhile(self) -> None:
        waiting = Waiting()
        proxy, _, recorder = self.hooked(clientconnect=waiting)
        [session] = proxy.environment.sessions
        # Nobody reads, but the reset of a connection may be noticed all the same.
        session.side.abort()
        proxy.flush()
        self.assertEqual(recorder.names, ["clientdisconnect"])
        self.assertEqual(waiting.cancelled, 1)


class ClientDisconnectTests(EventTestCase):
    """``clientdisconnect(root_layer)``."""

    def test_once_with_the_same_layer(self) -> None:
        recorder = EventRecorder()
        proxy = self.proxy(recorder)
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(GET)
        client.close()
        client.abort()
        self.assertEqual(
            recorder.arguments("clientdisconnect"), recorder.arguments("clientconnect")
        )
        [root] = recorder.arguments("clientdisconnect")
        self.assertFalse(root.client_conn.connected())
        self.assertGreaterEqual(root.client_conn.timestamp_end, root.client_conn.timestamp_start)

    def test_whoever_closes(self) -> None:
        def by_client(proxy: Any, client: Any) -> None:
            client.close()

        def by_reset(proxy: Any, client: Any) -> None:
            client.abort()

        def by_half(proxy: Any, client: Any) -> None:
            client.end()

        def by_proxy(proxy: Any, client: Any) -> None:
            proxy.advance(proxy.options.idle_timeout)

        def by_bad_input(proxy: Any, client: Any) -> None:
            client.send(b"\x16\x03\x01")

        def by_shutdown(proxy: Any, client: Any) -> None:
            for session in tuple(proxy.environment.sessions):
                session.shut_down()

        for close in (by_client, by_reset, by_half, by_proxy, by_bad_input, by_shutdown):
            proxy, client, recorder = self.started()
            close(proxy, client)
            proxy.flush()
            client.close()
            proxy.advance(10)
            self.assertEqual(recorder.names.count("clientdisconnect"), 1, close.__name__)
            self.assertEqual(recorder.names[-1], "clientdisconnect", close.__name__)
            self.assertEqual(proxy.clock.getDelayedCalls(), [], close.__name__)

    def test_after_the_end_of_its_flow(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin()
        client.send(GET)
        client.abort()
        self.assertLess(recorder.names.index("error"), recorder.names.index("clientdisconnect"))

    def test_nobody_waits_for_it(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.hooked(clientdisconnect=waiting)
        client.close()
        self.assertTrue(waiting.called)
        self.assertEqual(proxy.environment.sessions, set())

    def test_failing_hook_harms_nobody(self) -> None:
        for kind in (Hooks, Guard):
            messages = self.messages()
            proxy, client, _ = self.started(kind(clientdisconnect=lambda root: 1 / 0))
            client.close()
            self.assertEqual(proxy.environment.sessions, set())
            self.assertTrue(any("`clientdisconnect` failed" in text for text in messages.texts))
