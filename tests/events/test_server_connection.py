"""``serverconnect`` and the events that end what it begins."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder
from tests.events.cases import CONNECT, GET, OK, POST, EventTestCase, Guard, Hooks, Waiting

ENDINGS = ("serverconnect_failed", "serverdisconnect")


class ServerConnectTests(EventTestCase):
    """``serverconnect(server_conn)``."""

    def test_before_the_connection_is_made(self) -> None:
        seen: list[Any] = []

        def serverconnect(server_conn: Any) -> None:
            seen.append(
                (server_conn.address, server_conn.connected(), list(proxy.network.attempts))
            )

        proxy, client, _ = self.hooked(serverconnect=serverconnect)
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(seen, [(("example.test", 80), False, [])])
        self.assertEqual(client.received, OK)

    def test_waited_for(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(serverconnect=waiting)
            proxy.origin().respond(OK)
            client.send(GET)
            self.assertEqual(proxy.network.attempts, [])
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_redirected_after_waiting(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(serverconnect=waiting)
        other = proxy.origin("192.0.2.7", 8000).respond(OK)
        client.send(GET)
        waiting.arguments[0].address = ("192.0.2.7", 8000)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, OK)
        self.assertEqual(len(other.requests), 1)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.server_conn.address, ("192.0.2.7", 8000))
        # The request still names the host that it is for.
        self.assertEqual(flow.request.host, "example.test")

    def test_refused(self) -> None:
        proxy, client, recorder = self.hooked(serverconnect=lambda conn: conn.refuse("not there"))
        client.send(GET)
        response = self.response(client)
        self.assertEqual(response.status_code, 502)
        self.assertIn("refused-by-hook", response.text or "")
        self.assertIn("not there", response.text or "")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(self.code(recorder), "refused-by-hook")
        self.assertEqual(recorder.names[-3:], ["serverconnect", "error", "clientdisconnect"])

    def test_refused_tunnel(self) -> None:
        proxy, client, _ = self.hooked(serverconnect=lambda conn: conn.refuse())
        client.send(CONNECT)
        self.assertEqual(self.response(client, b"CONNECT").status_code, 502)
        self.assertEqual(proxy.network.attempts, [])

    def test_one_connection_may_carry_many_requests(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET + GET + POST)
        self.assertEqual(recorder.names.count("request"), 3)
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_another_destination_is_another_connection(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        proxy.origin("other.test").respond(OK)
        client.send(GET + GET.replace(b"example.test", b"other.test") + GET)
        self.assertEqual(
            [conn.address for conn in recorder.arguments("serverconnect")],
            [("example.test", 80), ("other.test", 80)],
        )

    def test_retry_is_another_connection(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(OK, lambda request: origin.connections[0].close(), OK)
        client.send(GET)
        client.take()
        client.send(GET)
        self.assertEqual(client.received, OK)
        first, second = recorder.arguments("serverconnect")
        self.assertIsNot(first, second)
        self.assertEqual(recorder.arguments("serverdisconnect"), [first])
        self.assertIs(recorder.arguments("response")[1].server_conn, second)


class FlowsServerConnectionTests(EventTestCase):
    """``flow.server_conn`` beside it."""

    def test_unconnected_before(self) -> None:
        seen: list[Any] = []
        proxy, client, _ = self.hooked(
            requestheaders=lambda flow: seen.append(flow.server_conn.address)
        )
        proxy.origin().respond(OK)
        proxy.origin("other.test").respond(OK)
        client.send(GET + GET.replace(b"example.test", b"other.test"))
        # Not that of the request before.
        self.assertEqual(seen, [None, None])

    def test_connected_after(self) -> None:
        seen: list[Any] = []
        proxy, client, recorder = self.hooked(
            responseheaders=lambda flow: seen.append(flow.server_conn.connected())
        )
        proxy.origin().respond(OK)
        client.send(GET)
        [flow] = recorder.arguments("response")
        self.assertEqual(seen, [True])
        self.assertEqual(recorder.arguments("serverconnect"), [flow.server_conn])

    def test_that_of_a_failed_connect(self) -> None:
        _, client, recorder = self.started()
        client.send(GET)
        [flow] = recorder.arguments("error")
        self.assertEqual(recorder.arguments("serverconnect_failed"), [flow.server_conn])

    def test_that_of_the_tunnel(self) -> None:
        seen: list[Any] = []
        proxy, client, recorder = self.hooked(
            requestheaders=lambda flow: seen.append(flow.server_conn)
        )
        proxy.origin().respond(OK)
        client.send(CONNECT)
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(seen, recorder.arguments("serverconnected"))


class EndingTests(EventTestCase):
    """Every ``serverconnect`` ends, and in one way."""

    def check(self, recorder: EventRecorder, *expected: str) -> Any:
        """Check which server events there were, all of them with the same connection."""
        events = [event for event in recorder.events if event[0].startswith("server")]
        self.assertEqual([name for name, _ in events], ["serverconnect", *expected])
        self.assertEqual(len({id(conn) for _, conn in events}), 1)
        conn = events[0][1]
        self.assertFalse(conn.connected())
        return conn

    def test_connected_and_lost(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(OK)
        client.send(GET)
        [conn] = recorder.arguments("serverconnected")
        self.assertTrue(conn.connected())
        self.assertEqual(conn.ip_address, ("example.test", 80))
        self.assertIsNotNone(conn.source_address)
        self.assertIsNone(conn.error)
        origin.close()
        self.check(recorder, "serverconnected", "serverdisconnect")
        self.assertGreaterEqual(conn.timestamp_end, conn.timestamp_start)

    def test_client_leaves_later(self) -> None:
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET)
        client.close()
        self.check(recorder, "serverconnected", "serverdisconnect")

    def test_refused_by_the_server(self) -> None:
        _, client, recorder = self.started()
        client.send(GET)
        conn = self.check(recorder, "serverconnect_failed")
        self.assertIn("refused", conn.error)

    def test_too_slow(self) -> None:
        proxy, client, recorder = self.started()
        proxy.network.stall(("example.test", 80))
        client.send(GET)
        proxy.advance(proxy.options.connect_timeout)
        conn = self.check(recorder, "serverconnect_failed")
        self.assertIn("no answer in time", conn.error)

    def test_refused_by_a_hook(self) -> None:
        _, client, recorder = self.hooked(serverconnect=lambda conn: conn.refuse("no"))
        client.send(GET)
        self.assertEqual(self.check(recorder).error, "no")

    def test_address_taken_away(self) -> None:
        _, client, recorder = self.hooked(serverconnect=lambda conn: setattr(conn, "address", None))
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)
        self.check(recorder, "serverconnect_failed")
        self.assertEqual(self.code(recorder), "no-destination")

    def test_client_gone_while_a_hook_waits(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(serverconnect=waiting)
        client.send(GET)
        client.abort()
        self.assertEqual(waiting.cancelled, 1)
        self.check(recorder, "serverconnect_failed")
        self.assertEqual(proxy.network.attempts, [])

    def test_client_gone_while_connecting(self) -> None:
        proxy, client, recorder = self.started()
        proxy.network.delay(("example.test", 80), 5)
        proxy.origin()
        client.send(GET)
        client.abort()
        proxy.advance(5)
        self.check(recorder, "serverconnect_failed")
        self.assertEqual(self.code(recorder), "client-disconnected")

    def test_client_gone_while_its_tunnel_connects(self) -> None:
        proxy, client, recorder = self.started()
        proxy.network.delay(("example.test", 80), 5)
        proxy.origin()
        client.send(CONNECT)
        client.abort()
        proxy.advance(5)
        self.check(recorder, "serverconnect_failed")

    def test_killed_while_connecting(self) -> None:
        proxy, client, recorder = self.started()
        proxy.network.delay(("example.test", 80), 5)
        proxy.origin()
        client.send(GET)
        recorder.arguments("request")[0].kill()
        proxy.advance(5)
        self.check(recorder, "serverconnect_failed")
        self.assertEqual(self.code(recorder), "killed")

    def test_client_gone_while_serverconnected_waits(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(serverconnected=waiting)
        origin = proxy.origin()
        client.send(GET)
        client.abort()
        self.assertEqual(waiting.cancelled, 1)
        self.check(recorder, "serverconnected", "serverdisconnect")
        self.assertEqual(origin.received, b"")

    def test_serverconnect_fails_closed(self) -> None:
        for hook in (lambda conn: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(serverconnect=hook), hook_timeout=3)
            client.send(GET)
            proxy.advance(3)
            self.assertEqual(self.response(client).status_code, 502)
            self.assertEqual(self.code(recorder), "hook-failed")
            self.assertEqual(proxy.network.attempts, [])
            # As if the hook had refused.
            self.assertIn("serverconnect", self.check(recorder).error)

    def test_serverconnected_fails_closed(self) -> None:
        for hook in (lambda conn: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(serverconnected=hook), hook_timeout=3)
            origin = proxy.origin()
            client.send(GET)
            proxy.advance(3)
            self.assertEqual(self.response(client).status_code, 502)
            self.assertEqual(self.code(recorder), "hook-failed")
            self.assertEqual(origin.received, b"")
            self.check(recorder, "serverconnected", "serverdisconnect")

    def test_nobody_waits_for_the_endings(self) -> None:
        waiting = Waiting()
        _, client, _ = self.hooked(serverconnect_failed=waiting)
        client.send(GET)
        self.assertTrue(waiting.called)
        self.assertEqual(self.response(client).status_code, 502)

    def test_failing_endings_harm_nobody(self) -> None:
        for name in ENDINGS:
            proxy, client, _ = self.started(Guard(**{name: lambda conn: 1 / 0}))
            origin = proxy.origin().respond(OK)
            client.send(GET + GET.replace(b"example.test", b"nobody.test"))
            origin.close()
            client.send(GET)
            self.assertEqual(
                [self.response(client).status_code for _ in range(2)], [200, 502], name
            )


class ServerConnectedTests(EventTestCase):
    """``serverconnected(server_conn)``."""

    def test_before_anything_is_sent(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(serverconnected=waiting)
            origin = proxy.origin().respond(OK)
            client.send(GET)
            self.assertEqual((len(origin.connections), origin.received), (1, b""))
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, OK)

    def test_bytes_that_come_meanwhile_are_kept(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.hooked(serverconnected=waiting)
        origin = self.raw_origin(proxy)
        client.send(CONNECT)
        origin.protocols[0].write(b"220 hello\r\n")
        proxy.flush()
        waiting.go_on()
        proxy.flush()
        self.assertTrue(client.received.endswith(b"\r\n\r\n220 hello\r\n"), client.received)

    def test_server_that_closes_meanwhile(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(serverconnected=waiting)
        origin = proxy.origin()
        client.send(GET)
        origin.abort()
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(recorder.names.count("serverdisconnect"), 1)


class SeveralClientsTests(EventTestCase):
    """Nothing of one client's is used for another."""

    def test_connections_are_not_shared(self) -> None:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, Hooks())
        proxy.origin().respond(OK)
        proxy.client().send(GET)
        proxy.client().send(GET)
        self.assertEqual(recorder.names.count("serverconnect"), 2)
