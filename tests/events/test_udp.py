"""The events of UDP: ``udp_start``, ``udp_message``, ``udp_error``, ``udp_end``."""

from __future__ import annotations

from typing import Any

from interceptor import udp
from interceptor.net.memorydatagrams import DatagramClient, DatagramServer
from interceptor.testing import EventRecorder, MemoryProxy
from tests.events.cases import EventTestCase, Guard, Hooks, Waiting

EVENTS = (
    "udp_start",
    "udp_message",
    "udp_error",
    "udp_end",
    "serverconnect",
    "serverconnected",
    "serverconnect_failed",
    "serverdisconnect",
)
WHOLE = ["udp_start", "serverconnect", "serverconnected", "udp_message"]


class UDPTestCase(EventTestCase):
    """A proxy in front of one server, and a client."""

    def start(
        self, *addons: object, **options: Any
    ) -> tuple[MemoryProxy, DatagramClient, DatagramServer, EventRecorder]:
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder, *addons, mode="reverse:udp://server.test:514", **options)
        server = proxy.datagram_server("server.test", 514)
        return proxy, proxy.datagram_client(), server, recorder

    def with_hooks(self, **hooks: Any) -> Any:
        return self.start(Hooks(**hooks))

    def flow(self, recorder: EventRecorder) -> udp.UDPFlow:
        """The one flow that all events of UDP were about."""
        flows = {id(flow): flow for name, flow in recorder.events if name.startswith("udp")}
        [flow] = flows.values()
        return flow


class OrderTests(UDPTestCase):
    """Start, messages, end."""

    def test_a_whole_flow(self):
        proxy, client, server, recorder = self.start()
        client.send(b"ping")
        server.send(b"pong")
        client.send(b"again")
        self.assertEqual((server.received, client.received), ([b"ping", b"again"], [b"pong"]))
        proxy.advance(59)
        self.assertEqual(recorder.names, [*WHOLE, "udp_message", "udp_message"])
        proxy.advance(1)
        self.assertEqual(recorder.names[-2:], ["serverdisconnect", "udp_end"])
        flow = self.flow(recorder)
        self.assertEqual(
            [(each.from_client, each.content) for each in flow.messages],
            [(True, b"ping"), (False, b"pong"), (True, b"again")],
        )
        self.assertEqual((flow.type, flow.live), ("udp", False))
        self.assertEqual(flow.mode, "reverse:udp://server.test:514")
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (9, 4))
        self.assertEqual(flow.client_conn.address, client.address)
        self.assertEqual(flow.client_conn.sockname, ("proxy.test", 8080))
        self.assertFalse(flow.client_conn.connected() or flow.server_conn.connected())
        self.assertIsNone(flow.error)
        self.assertEqual(proxy.environment.sessions, set())

    def test_nobody_listens(self):
        proxy = self.proxy(mode="reverse:udp://server.test:514")
        server = proxy.datagram_server("server.test", 514)
        server.answer = bytes.upper
        client = proxy.datagram_client()
        for data in (b"one", b"", b"two"):
            client.send(data)
        self.assertEqual(client.received, [b"ONE", b"", b"TWO"])

    def test_each_address_is_a_flow(self):
        proxy, client, server, recorder = self.start()
        other = proxy.datagram_client()
        client.send(b"one")
        other.send(b"two")
        server.send(b"to one", 0)
        server.send(b"to two", 1)
        self.assertEqual((client.received, other.received), ([b"to one"], [b"to two"]))
        self.assertEqual(recorder.names.count("udp_start"), 2)

    def test_another_flow_after_the_end(self):
        proxy, client, server, recorder = self.start()
        client.send(b"one")
        proxy.advance(60)
        server.send(b"late")
        client.send(b"two")
        self.assertEqual(recorder.names.count("udp_start"), 2)
        self.assertEqual((server.received, client.received), ([b"one", b"two"], []))

    def test_nothing_passes_before_the_start_is_answered(self):
        waiting = Waiting()
        _, client, server, _ = self.with_hooks(udp_start=waiting)
        client.send(b"one")
        client.send(b"two")
        self.assertEqual(server.received, [])
        waiting.go_on()
        self.assertEqual(server.received, [b"one", b"two"])

    def test_the_start_may_choose_the_server(self):
        def choose(flow):
            flow.server_conn.address = ("other.test", 5)

        proxy, client, server, _ = self.with_hooks(udp_start=choose)
        other = proxy.datagram_server("other.test", 5)
        client.send(b"one")
        self.assertEqual((server.received, other.received), ([], [b"one"]))

    def test_messages_come_one_after_another(self):
        waiting = Waiting(coroutine=True)
        _, client, server, recorder = self.with_hooks(udp_message=waiting)
        client.send(b"one")
        client.send(b"two")
        server.send(b"three")
        self.assertEqual(recorder.names.count("udp_message"), 1)
        waiting.go_on()
        self.assertEqual((server.received, client.received), ([b"one"], []))
        waiting.go_on()
        waiting.go_on()
        self.assertEqual((server.received, client.received), ([b"one", b"two"], [b"three"]))
        flow = self.flow(recorder)
        self.assertEqual([each.content for each in flow.messages], [b"one", b"two", b"three"])


class ChangeTests(UDPTestCase):
    def test_edits_and_drops(self):
        def message(flow):
            latest = flow.messages[-1]
            if latest.content == b"drop":
                latest.drop()
            elif latest.content == b"empty":
                latest.content = b""
            else:
                latest.content = latest.content.upper()

        _, client, server, _ = self.with_hooks(udp_message=message)
        for data in (b"one", b"drop", b"empty", b"", b"two"):
            client.send(data)
        server.send(b"three")
        # A datagram that is empty from the beginning is one.
        self.assertEqual((server.received, client.received), ([b"ONE", b"", b"TWO"], [b"THREE"]))

    def test_injecting(self):
        def message(flow):
            if not flow.messages[-1].injected:
                flow.inject(b"more")
                flow.inject(b"welcome", to_client=True)

        proxy, client, server, recorder = self.with_hooks(udp_message=message)
        client.send(b"one")
        self.assertEqual((server.received, client.received), ([b"one", b"more"], [b"welcome"]))
        flow = self.flow(recorder)
        self.assertEqual([each.injected for each in flow.messages], [False, True, True])
        flow.inject(b"later")
        self.assertEqual(server.received[-1], b"later")
        self.assertEqual(recorder.names.count("udp_message"), 1)
        proxy.advance(60)
        flow.inject(b"too late")
        self.assertEqual(server.received[-1], b"later")

    def test_kills(self):
        proxy, client, server, recorder = self.with_hooks(udp_message=lambda flow: flow.kill())
        client.send(b"one")
        client.send(b"two")
        self.assertEqual(server.received, [])
        self.assertEqual(recorder.names, [*WHOLE, "serverdisconnect", "udp_error", "udp_end"])
        flow = self.flow(recorder)
        assert flow.error is not None
        self.assertEqual(flow.error.code, "killed")
        # It stays dead as long as its client goes on; only then the next one is another.
        proxy.advance(59)
        client.send(b"three")
        proxy.advance(59)
        client.send(b"four")
        self.assertEqual(recorder.names.count("udp_start"), 1)
        proxy.advance(60)
        client.send(b"five")
        self.assertEqual(recorder.names.count("udp_start"), 2)

    def test_a_kill_at_the_start_connects_nowhere(self):
        proxy, client, _, recorder = self.with_hooks(udp_start=lambda flow: flow.kill())
        client.send(b"one")
        self.assertEqual(proxy.datagrams.attempts, [])
        self.assertEqual(recorder.names, ["udp_start", "udp_error", "udp_end"])

    def test_intercepting(self):
        proxy, client, server, recorder = self.with_hooks(udp_message=lambda flow: flow.intercept())
        client.send(b"one")
        proxy.advance(100)
        flow = self.flow(recorder)
        self.assertEqual((server.received, flow.live), ([], True))
        flow.resume()
        self.assertEqual(server.received, [b"one"])

    def test_a_guard_that_fails(self):
        def fail(flow):
            raise RuntimeError("no")

        for event in ("udp_start", "udp_message"):
            _, client, server, recorder = self.start(Guard(**{event: fail}))
            client.send(b"one")
            self.assertEqual(server.received, [])
            self.assertEqual(recorder.names[-2:], ["udp_error", "udp_end"])
            error = self.flow(recorder).error
            assert error is not None
            self.assertEqual(error.code, "hook-failed")


class FailureTests(UDPTestCase):
    def code(self, recorder: EventRecorder) -> str:
        [flow] = recorder.arguments("udp_error")
        return str(flow.error.code)

    def test_no_way_to_the_server(self):
        proxy, client, _, recorder = self.start()
        proxy.datagrams.servers.clear()
        client.send(b"one")
        self.assertEqual(self.code(recorder), "connect-unreachable")
        self.assertEqual(
            recorder.names,
            ["udp_start", "serverconnect", "serverconnect_failed", "udp_error", "udp_end"],
        )

    def test_a_server_that_is_gone(self):
        _, client, server, recorder = self.start()
        client.send(b"one")
        server.refuse()
        self.assertEqual(self.code(recorder), "connect-refused")
        self.assertEqual(recorder.names[-3:], ["serverdisconnect", "udp_error", "udp_end"])
        # The next datagram tries again.
        client.send(b"two")
        self.assertEqual(server.received, [b"one", b"two"])

    def test_a_hook_that_refuses_the_server(self):
        proxy, client, _, recorder = self.with_hooks(serverconnect=lambda conn: conn.refuse("no"))
        client.send(b"one")
        self.assertEqual(self.code(recorder), "refused-by-hook")
        self.assertEqual(proxy.datagrams.attempts, [])
        self.assertNotIn("serverconnect_failed", recorder.names)

    def test_next_hops_are_not_passed_by(self):
        proxy, client, _, recorder = self.start(upstream_proxy="socks5://hop.test:1080")
        client.send(b"one")
        self.assertEqual(self.code(recorder), "upstream-proxy-udp")
        self.assertEqual(proxy.datagrams.attempts, [])

    def test_a_hook_may_go_straight(self):
        def straight(server_conn):
            server_conn.via = None

        _, client, server, _ = self.start(
            Hooks(serverconnect=straight), upstream_proxy="socks5://hop.test:1080"
        )
        client.send(b"one")
        self.assertEqual(server.received, [b"one"])


class BoundTests(UDPTestCase):
    def test_flows(self):
        proxy, client, server, recorder = self.start(udp_flow_limit=2)
        messages = self.messages()
        clients = [client, *(proxy.datagram_client() for _ in range(3))]
        for each in clients:
            each.send(b"one")
        self.assertEqual(recorder.names.count("udp_start"), 2)
        [line] = [text for text in messages.texts if "udp-flow-limit" in text]
        self.assertIn("was dropped", line)
        # Those that are there go on, and later there is room again.
        clients[0].send(b"two")
        self.assertEqual(len(server.received), 3)
        proxy.advance(60)
        clients[3].send(b"one")
        self.assertEqual(recorder.names.count("udp_start"), 3)
        self.assertEqual(len([text for text in messages.texts if "udp-flow-limit" in text]), 1)

    def test_flows_of_one_client(self):
        proxy, _, _, recorder = self.start(udp_client_flow_limit=2)
        messages = self.messages()
        for port in range(1, 5):
            proxy.datagram_client(("192.0.2.1", port)).send(b"one")
        proxy.datagram_client(("192.0.2.2", 1)).send(b"one")
        self.assertEqual(recorder.names.count("udp_start"), 3)
        self.assertTrue(any("udp-client-flow-limit" in text for text in messages.texts))

    def test_datagrams(self):
        _, client, server, _ = self.start(udp_datagram_limit=100)
        messages = self.messages()
        client.send(b"x" * 101)
        client.send(b"x" * 100)
        self.assertEqual(len(server.received), 1)
        self.assertTrue(any("udp-datagram-too-large" in text for text in messages.texts))

    def test_what_waits(self):
        waiting = Waiting()
        _, client, server, recorder = self.start(Hooks(udp_start=waiting), udp_queue_limit=1000)
        for _ in range(20):
            client.send(b"x" * 72)
        flow = self.flow(recorder)
        waiting.go_on()
        self.assertEqual((len(server.received), flow.lost), (5, 15))

    def test_what_is_remembered(self):
        _, client, _, recorder = self.start(body_memory_limit=1000)
        for _ in range(20):
            client.send(b"x" * 72)
        flow = self.flow(recorder)
        self.assertEqual((len(flow.messages), flow.forgotten), (5, 15))

    def test_the_log_is_not_flooded(self):
        proxy, client, _, _ = self.start(udp_datagram_limit=1)
        messages = self.messages()
        for _ in range(5):
            client.send(b"xx")
        proxy.advance(10)
        client.send(b"xx")
        lines = [text for text in messages.texts if "udp-datagram-too-large" in text]
        self.assertEqual(len(lines), 2)
        self.assertIn("(4 more before)", lines[1])


class StopTests(UDPTestCase):
    def test_flows_end_with_the_proxy(self):
        proxy, client, _, recorder = self.start()
        client.send(b"one")
        for session in tuple(proxy.environment.sessions):
            session.shut_down()
        self.assertEqual(recorder.names[-2:], ["serverdisconnect", "udp_end"])
        self.assertEqual(proxy.environment.sessions, set())

    def test_hooks_that_wait_are_cancelled(self):
        waiting = Waiting()
        proxy, client, _, _ = self.with_hooks(udp_message=waiting)
        client.send(b"one")
        for session in tuple(proxy.environment.sessions):
            session.abort()
        self.assertEqual(waiting.cancelled, 1)
