"""The events of TCP: ``tcp_start``, ``tcp_message``, ``tcp_error``, ``tcp_end``."""

from __future__ import annotations

from typing import Any

from interceptor import tcp
from interceptor.errors import InterceptorError
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import EventTestCase, Guard, Hooks, Waiting

EVENTS = ("tcp_start", "tcp_message", "tcp_error", "tcp_end")
CONNECT = b"CONNECT example.test:25 HTTP/1.1\r\nHost: example.test:25\r\n\r\n"


class TCPTestCase(EventTestCase):
    """A tunnel to a server that speaks no HTTP."""

    def tunnel(
        self, *addons: object, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, Any, EventRecorder]:
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder, *addons, **options)
        origin = self.raw_origin(proxy, port=25)
        client = proxy.client().connect("example.test", 25)
        # The server begins, so that the tunnel is a relay from the start.
        origin.protocols[0].write(b"220 hello\r\n")
        proxy.flush()
        return proxy, client, origin.protocols[0], recorder

    def hooked_tunnel(self, **hooks: Any) -> tuple[MemoryProxy, MemoryClient, Any, EventRecorder]:
        return self.tunnel(Hooks(**hooks))

    def flow(self, recorder: EventRecorder) -> tcp.TCPFlow:
        """The one flow that all events were about."""
        [flow] = {id(flow): flow for _, flow in recorder.events}.values()
        return flow


class OrderTests(TCPTestCase):
    """Start, messages, end."""

    def test_a_whole_connection(self):
        proxy, client, origin, recorder = self.tunnel()
        client.send(b"QUIT\r\n")
        client.end()
        origin.close()
        proxy.flush()
        self.assertEqual(recorder.names, ["tcp_start", "tcp_message", "tcp_message", "tcp_end"])
        self.assertEqual((client.received, origin.data), (b"220 hello\r\n", b"QUIT\r\n"))
        flow = self.flow(recorder)
        self.assertEqual(
            [(message.from_client, message.content) for message in flow.messages],
            [(False, b"220 hello\r\n"), (True, b"QUIT\r\n")],
        )
        self.assertEqual((flow.type, flow.mode, flow.live), ("tcp", "regular", False))
        self.assertEqual(flow.server_conn.address, ("example.test", 25))
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (6, 11))
        self.assertIsNone(flow.error)
        self.assertNotIn("passthrough", flow.metadata)

    def test_nothing_passes_before_the_start_is_answered(self):
        waiting = Waiting()
        proxy, client, origin, _recorder = self.hooked_tunnel(tcp_start=waiting)
        client.send(b"early")
        self.assertEqual((client.received, origin.data), (b"", b""))
        waiting.go_on()
        proxy.flush()
        self.assertEqual((client.received, origin.data), (b"220 hello\r\n", b"early"))

    def test_upgrades_are_flows(self):
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder)
        origin = self.raw_origin(proxy)
        client = proxy.client().send(
            b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
            b"Connection: upgrade\r\nUpgrade: other\r\n\r\n"
        )
        origin.protocols[0].write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nhi"
        )
        proxy.flush()
        self.assertTrue(client.received.endswith(b"\r\n\r\nhi"))
        self.assertEqual(recorder.names, ["tcp_start", "tcp_message"])

    def test_without_listeners_there_is_no_flow(self):
        proxy = self.proxy(EventRecorder("response"))
        self.assertIsNone(proxy.bus.tcp_start)
        origin = self.raw_origin(proxy, port=25)
        client = proxy.client().connect("example.test", 25)
        origin.protocols[0].write(b"hello")
        proxy.flush()
        self.assertEqual(client.received, b"hello")

    def test_without_message_hooks_no_message_is_kept(self):
        recorder = EventRecorder("tcp_end")
        proxy = self.proxy(recorder)
        origin = self.raw_origin(proxy, port=25)
        client = proxy.client().connect("example.test", 25)
        origin.protocols[0].write(b"hello")
        proxy.flush()
        client.send(b"\0word").close()
        origin.protocols[0].close()
        proxy.flush()
        flow = self.flow(recorder)
        self.assertEqual(flow.messages, [])
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (5, 5))
        self.assertIsNotNone(flow.timestamp_end)


class MessageTests(TCPTestCase):
    """``tcp_message`` sees everything first, one message at a time."""

    def test_edit(self):
        def shout(flow: tcp.TCPFlow) -> None:
            message = flow.messages[-1]
            if message.from_client:
                message.content = message.content.upper()

        _, client, origin, _ = self.hooked_tunnel(tcp_message=shout)
        client.send(b"\0quiet")
        self.assertEqual(origin.data, b"\0QUIET")
        self.assertEqual(client.received, b"220 hello\r\n")

    def test_drop(self):
        def drop(flow: tcp.TCPFlow) -> None:
            flow.messages[-1].content = b""

        _, client, origin, _ = self.hooked_tunnel(tcp_message=drop)
        client.send(b"\0nothing")
        self.assertEqual((client.received, origin.data), (b"", b""))

    def test_one_after_the_other_in_both_directions(self):
        waiting = Waiting(coroutine=True)
        seen = []

        def note(flow: tcp.TCPFlow) -> Any:
            seen.append(flow.messages[-1].content)
            return waiting(flow)

        proxy, client, origin, _ = self.hooked_tunnel(tcp_message=note)
        client.send(b"\0one")
        origin.write(b"two")
        proxy.flush()
        self.assertEqual(seen, [b"220 hello\r\n"])
        self.assertEqual((client.received, origin.data), (b"", b""))
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(seen), 2)
        self.assertEqual(client.received, b"220 hello\r\n")
        waiting.go_on()
        proxy.flush()
        waiting.go_on()
        proxy.flush()
        self.assertEqual(sorted(seen[1:]), [b"\0one", b"two"])
        self.assertEqual((client.received, origin.data), (b"220 hello\r\ntwo", b"\0one"))

    def test_nothing_is_read_while_a_hook_is_busy(self):
        waiting = Waiting()
        proxy, client, _, _ = self.hooked_tunnel(tcp_message=waiting)
        before = client.link.server.bytes_read
        client.peer.write(b"\0" * 300_000)
        proxy.flush()
        self.assertLess(client.link.server.bytes_read - before, 200_000)
        while waiting._deferreds:
            waiting.go_on()
            proxy.flush()
        self.assertEqual(client.link.server.bytes_read - before, 300_000)

    def test_an_end_waits_for_the_messages_before_it(self):
        waiting = Waiting()
        proxy, client, origin, _ = self.hooked_tunnel(tcp_message=waiting)
        waiting.go_on()
        proxy.flush()
        client.send(b"\0last words")
        client.end()
        self.assertFalse(origin.ended)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(origin.data, b"\0last words")
        self.assertTrue(origin.ended)
        # The other direction goes on.
        origin.write(b"answer")
        proxy.flush()
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, b"220 hello\r\nanswer")

    def test_old_messages_are_forgotten(self):
        _proxy, client, origin, recorder = self.tunnel(body_memory_limit=1000)
        for _ in range(10):
            client.send(b"\0" * 300)
        flow = self.flow(recorder)
        self.assertEqual(len(flow.messages) + flow.forgotten, 11)
        self.assertLessEqual(sum(len(message.content) for message in flow.messages), 1000)
        self.assertEqual(len(origin.data), 3000)

    def test_a_slow_reader_holds_the_sender_back(self):
        proxy, client, origin, _ = self.tunnel()
        client.link.client.pauseProducing()
        origin.write(bytes(2_000_000))
        proxy.flush()
        self.assertLess(client.link.server.bytes_written, 500_000)
        client.link.client.resumeProducing()
        proxy.flush()
        self.assertEqual(len(client.received), 2_000_000 + 11)


class EndTests(TCPTestCase):
    """``tcp_error`` where it went wrong, and ``tcp_end`` in any case."""

    def ends(self, recorder: EventRecorder) -> list[str]:
        return [name for name in recorder.names if name in ("tcp_error", "tcp_end")]

    def assert_failed(self, recorder: EventRecorder, code: str) -> None:
        self.assertEqual(self.ends(recorder), ["tcp_error", "tcp_end"])
        error = self.flow(recorder).error
        assert error is not None
        self.assertEqual(error.code, code)

    def test_server_resets(self):
        proxy, client, origin, recorder = self.tunnel()
        origin.transport.abortConnection()
        proxy.flush()
        self.assert_failed(recorder, "server-reset")
        self.assertTrue(client.closed)

    def test_client_resets(self):
        _proxy, client, origin, recorder = self.tunnel()
        client.abort()
        self.assert_failed(recorder, "client-disconnected")
        self.assertIsNotNone(origin.lost)

    def test_client_that_has_said_all_and_is_gone(self):
        _, client, origin, recorder = self.tunnel()
        client.end()
        origin.write(b"goodbye")
        client.abort()
        self.assertEqual(self.ends(recorder), ["tcp_end"])
        self.assertIsNone(self.flow(recorder).error)

    def test_client_resets_while_a_hook_waits(self):
        waiting = Waiting()
        proxy, client, origin, recorder = self.hooked_tunnel(tcp_message=waiting)
        waiting.go_on()
        proxy.flush()
        client.send(b"\0word")
        origin.transport.abortConnection()
        proxy.flush()
        proxy.advance(1)
        # While a hook is busy nothing is read, and so no loss is noticed, but the client's end is.
        client.abort()
        waiting.go_on() if not waiting.cancelled else None
        proxy.advance(1)
        self.assertEqual(self.ends(recorder), ["tcp_error", "tcp_end"])

    def test_no_server(self):
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder, connection_strategy="lazy")
        client = proxy.client().connect("example.test", 25)
        client.send(b"\0\0\0\0")
        self.assertEqual(recorder.names, ["tcp_start", "tcp_error", "tcp_end"])
        self.assert_failed(recorder, "connect-refused")
        self.assertEqual(self.flow(recorder).server_conn.address, ("example.test", 25))
        self.assertTrue(client.closed)

    def test_kill_at_the_start(self):
        _, client, origin, recorder = self.hooked_tunnel(tcp_start=lambda flow: flow.kill())
        self.assert_failed(recorder, "killed")
        self.assertTrue(client.closed)
        self.assertIsNotNone(origin.lost)
        self.assertEqual(client.received, b"")

    def test_kill_in_a_message(self):
        def kill(flow: tcp.TCPFlow) -> None:
            if flow.messages[-1].from_client:
                flow.kill()

        _, client, origin, recorder = self.hooked_tunnel(tcp_message=kill)
        client.send(b"\0bad")
        self.assert_failed(recorder, "killed")
        self.assertEqual(origin.data, b"")
        self.assertIsNotNone(origin.lost)
        self.assertTrue(client.closed)

    def test_kill_from_outside(self):
        proxy, _client, origin, recorder = self.tunnel()
        self.flow(recorder).kill()
        proxy.flush()
        self.assert_failed(recorder, "killed")
        self.assertIsNotNone(origin.lost)

    def test_hook_that_fails_closed(self):
        def fail(flow: tcp.TCPFlow) -> None:
            raise RuntimeError("no")

        for name in ("tcp_start", "tcp_message"):
            with self.subTest(name):
                _, client, origin, recorder = self.tunnel(Guard(**{name: fail}))
                self.assert_failed(recorder, "hook-failed")
                self.assertEqual((client.received, origin.data), (b"", b""))
                self.assertTrue(client.closed)
                self.flushLoggedErrors()

    def test_hook_that_fails_open(self):
        def fail(flow: tcp.TCPFlow) -> None:
            raise RuntimeError("no")

        _, client, _, _ = self.hooked_tunnel(tcp_message=fail)
        self.assertEqual(client.received, b"220 hello\r\n")
        self.flushLoggedErrors()

    def test_intercept_and_resume(self):
        def hold(flow: tcp.TCPFlow) -> None:
            if flow.messages[-1].from_client:
                flow.intercept()

        recorder = EventRecorder("intercept", "resume")
        proxy, client, origin, _ = self.tunnel(Hooks(tcp_message=hold), recorder)
        client.send(b"\0word")
        self.assertEqual(origin.data, b"")
        self.assertEqual(recorder.names, ["intercept"])
        recorder.events[0][1].resume()
        proxy.flush()
        self.assertEqual(origin.data, b"\0word")
        self.assertEqual(recorder.names, ["intercept", "resume"])

    def test_shutdown(self):
        for ends_in_time in (True, False):
            proxy, client, origin, recorder = self.tunnel()
            [session] = proxy.environment.sessions
            session.shut_down()
            client.send(b"more")
            self.assertTrue(origin.data.endswith(b"more"))
            self.assertEqual(self.ends(recorder), [])
            if ends_in_time:
                client.end()
                origin.transport.loseConnection()
                proxy.flush()
                self.assertEqual(self.ends(recorder), ["tcp_end"])
            else:
                proxy.environment.overdue = True
                session.abort()
                proxy.flush()
                self.assert_failed(recorder, "shutting-down")


class FlowTests(TCPTestCase):
    """The record."""

    def test_copy_and_revert(self):
        _, _, _, recorder = self.tunnel()
        flow = self.flow(recorder)
        flow.backup()
        self.assertFalse(flow.modified())
        copy = flow.copy()
        self.assertEqual(copy.messages, flow.messages)
        self.assertNotEqual(copy.id, flow.id)
        self.assertFalse(copy.live)
        flow.messages[-1].content = b"other"
        self.assertTrue(flow.modified())
        self.assertNotEqual(copy.messages, flow.messages)
        flow.revert()
        self.assertEqual(flow.messages[-1].content, b"220 hello\r\n")

    def test_repr(self):
        _, _, _, recorder = self.tunnel()
        flow = self.flow(recorder)
        self.assertIn("example.test:25, 1 messages", repr(flow))
        self.assertEqual(repr(flow.messages[0]), "<TCPMessage <- 11 bytes>")


class InjectTests(TCPTestCase):
    """``flow.inject``: bytes that no peer sent."""

    def test_from_a_hook_before_the_message_in_question(self):
        def talk(flow: tcp.TCPFlow) -> None:
            if flow.messages[-1].from_client:
                flow.inject(b"to the server\n")
                flow.inject(b"to the client\n", to_client=True)

        seen: list[bytes] = []
        other = EventRecorder(tcp_message=lambda flow: seen.append(flow.messages[-1].content))
        _, client, origin, recorder = self.tunnel(Hooks(tcp_message=talk), other)
        client.take()
        client.send(b"\0word\n")
        self.assertEqual(origin.data, b"to the server\n\0word\n")
        self.assertEqual(client.received, b"to the client\n")
        # Nobody is asked about them, and the latest message stays the one in question.
        self.assertEqual(seen, [b"220 hello\r\n", b"\0word\n"])
        flow = self.flow(recorder)
        self.assertEqual(
            [(each.from_client, each.injected, each.content) for each in flow.messages],
            [
                (False, False, b"220 hello\r\n"),
                (True, True, b"to the server\n"),
                (False, True, b"to the client\n"),
                (True, False, b"\0word\n"),
            ],
        )
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (6, 11))

    def test_from_outside_of_any_hook(self):
        for listened in (("tcp_start", "tcp_message"), ("tcp_start",)):
            recorder = EventRecorder(*listened)
            proxy = self.proxy(recorder)
            origin = self.raw_origin(proxy, port=25)
            client = proxy.client().connect("example.test", 25).send(b"\0word")
            flow = recorder.arguments("tcp_start")[0]
            flow.inject(b" and more")
            flow.inject(b"hello", to_client=True)
            proxy.flush()
            self.assertEqual(origin.protocols[0].data, b"\0word and more")
            self.assertEqual(client.received, b"hello")
            self.assertEqual(len(flow.messages), 3 if "tcp_message" in listened else 0)

    def test_in_every_mode(self):
        for mode in ("regular", "socks5", "reverse:tcp://example.test:25", "upstream:http://a:1"):
            recorder = EventRecorder(*EVENTS)
            direct = Hooks(serverconnect=lambda server_conn: setattr(server_conn, "via", None))
            proxy = self.proxy(recorder, direct, mode=mode)
            origin = self.raw_origin(proxy, port=25)
            client = proxy.client()
            if mode == "socks5":
                client.send(b"\5\1\0\5\1\0\3\x0cexample.test\0\x19")
            elif not mode.startswith("reverse"):
                client.connect("example.test", 25)
            client.take()
            client.send(b"\0word")
            self.flow(recorder).inject(b"mine", to_client=True)
            self.flow(recorder).inject(b" and mine")
            proxy.flush()
            self.assertEqual(
                (client.received, origin.protocols[0].data), (b"mine", b"\0word and mine"), mode
            )
            client.end()
            proxy.flush()
            # Half of it is closed: the other half goes on.
            self.assertTrue(origin.protocols[0].ended)
            self.flow(recorder).inject(b" twice", to_client=True)
            late = self.assertRaises(InterceptorError, self.flow(recorder).inject, b"too late")
            self.assertEqual(late.code, "tcp-not-open")
            origin.protocols[0].write(b" bye")
            proxy.flush()
            self.assertEqual(client.received, b"mine twice bye")
            self.flow(recorder).kill()
            proxy.flush()
            self.assertEqual(recorder.names[-2:], ["tcp_error", "tcp_end"])
            error = self.flow(recorder).error
            self.assertEqual(error and error.code, "killed")

    def test_in_tls_that_was_opened(self):
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder, mode="reverse:tls://example.test:25")
        origin = proxy.tls_origin(port=25)
        client = proxy.client().start_tls("front.test").send(b"word")
        self.flow(recorder).inject(b"mine", to_client=True)
        self.flow(recorder).inject(b" and mine")
        proxy.flush()
        self.assertEqual((client.received, origin.received), (b"mine", b"word and mine"))

    def test_before_there_is_a_server(self):
        def start(flow: tcp.TCPFlow) -> None:
            flow.inject(b"first ")
            flow.inject(b"welcome", to_client=True)

        for strategy in ("auto", "lazy"):
            recorder = EventRecorder(*EVENTS, tcp_start=start)
            proxy = self.proxy(recorder, connection_strategy=strategy)
            origin = self.raw_origin(proxy, port=25)
            client = proxy.client().connect("example.test", 25).send(b"\0word")
            self.assertEqual(origin.protocols[0].data, b"first \0word")
            self.assertEqual(client.received, b"welcome")

    def test_a_server_that_cannot_be_had_gets_nothing(self):
        recorder = EventRecorder(*EVENTS, tcp_start=lambda flow: flow.inject(b"first"))
        proxy = self.proxy(recorder, mode="reverse:tcp://example.test:25")
        client = proxy.client().send(b"word")
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names, ["tcp_start", "tcp_error", "tcp_end"])

    def test_while_a_hook_waits(self):
        waiting = Waiting()
        _, client, origin, recorder = self.hooked_tunnel(tcp_message=waiting)
        flow = self.flow(recorder)
        flow.inject(b"meanwhile ", to_client=True)
        flow.inject(b"meanwhile")
        waiting.go_on()
        client.send(b"")
        self.assertEqual((client.received, origin.data), (b"meanwhile 220 hello\r\n", b"meanwhile"))
        self.assertEqual(flow.messages[-1].content, b"220 hello\r\n")

    def test_nothing_is_nothing(self):
        _, _, _, recorder = self.tunnel()
        self.flow(recorder).inject(b"", to_client=True)
        self.assertEqual(len(self.flow(recorder).messages), 1)

    def test_after_the_end(self):
        ended: list[str] = []

        def end(flow: tcp.TCPFlow) -> None:
            ended.append(self.assertRaises(InterceptorError, flow.inject, b"late").code)

        proxy, client, _, recorder = self.hooked_tunnel(tcp_end=end)
        client.abort()
        proxy.flush()
        self.assertEqual(ended, ["tcp-not-open"])
        self.assertRaises(InterceptorError, self.flow(recorder).inject, b"late")

    def test_a_receiver_that_takes_nothing(self):
        proxy, client, _, recorder = self.tunnel(body_memory_limit=100_000)
        client.peer.transport.pauseProducing()
        flow = self.flow(recorder)
        with self.assertRaises(InterceptorError) as raised:
            for _ in range(100):
                flow.inject(bytes(10_000), to_client=True)
                proxy.flush()
        self.assertEqual(raised.exception.code, "tcp-inject-full")
        client.peer.transport.resumeProducing()
        proxy.flush()
        flow.inject(b"again", to_client=True)
        proxy.flush()
        self.assertTrue(client.received.endswith(b"again"))

    def test_it_keeps_a_connection_from_being_idle(self):
        proxy, client, _, recorder = self.tunnel(tunnel_idle_timeout=60.0)
        for _ in range(3):
            proxy.advance(50)
            self.flow(recorder).inject(b"NOOP\r\n")
        self.assertFalse(client.closed)
        proxy.advance(61)
        self.assertTrue(client.closed)
