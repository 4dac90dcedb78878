"""Layers that are made of a codec of messages."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor import layers
from interceptor.errors import ModeError
from interceptor.testing import EventRecorder, MemoryClient, MemoryOrigin, MemoryProxy
from tests.layers.linecodec import LineCodec, LineLayer, Lines
from tests.layers.linecontract import LineContract


class LayerTestCase(SynchronousTestCase):
    """Starts a proxy for one server that speaks lines, and a client of it."""

    mode = "reverse:line://lines.test"
    client: MemoryClient
    origin: MemoryOrigin

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        options.setdefault("mode", self.mode)
        proxy = MemoryProxy(Lines(), *addons, **options)
        self.addCleanup(proxy.close)
        self.origin = proxy.origin("lines.test", 7)
        self.client = proxy.client()
        return proxy


class RelayingTests(LayerTestCase):
    def test_messages_are_passed_on(self) -> None:
        self.proxy()
        self.client.send(b"one\r\ntwo\nthr")
        self.assertEqual(self.origin.received, b"one\r\ntwo\n")
        self.client.send(b"ee\n")
        self.assertEqual(self.origin.received, b"one\r\ntwo\nthree\n")
        self.origin.send(b"answer\n")
        self.assertEqual(self.client.received, b"answer\n")

    def test_byte_by_byte(self) -> None:
        recorder = EventRecorder("line_message")
        self.proxy(recorder, chunk=1)
        self.client.send(b"one\ntwo\n")
        self.origin.send(b"three\n")
        self.assertEqual((self.origin.received, self.client.received), (b"one\ntwo\n", b"three\n"))
        self.assertEqual(len(recorder.events), 3)

    def test_the_server_is_connected_to_for_the_first_message(self) -> None:
        recorder = EventRecorder("line_start", "serverconnect", "line_message")
        self.proxy(recorder)
        self.client.send(b"o")
        self.assertEqual((recorder.names, self.origin.connections), (["line_start"], []))
        self.client.send(b"ne\n")
        self.assertEqual(recorder.names, ["line_start", "line_message", "serverconnect"])

    def test_a_client_that_is_silent_lets_the_server_begin(self) -> None:
        proxy = self.proxy()
        proxy.advance(1)
        self.origin.send(b"hello\n")
        self.assertEqual(self.client.received, b"hello\n")

    def test_ends_are_passed_on(self) -> None:
        recorder = EventRecorder("line_error", "line_end")
        self.proxy(recorder)
        self.client.send(b"one\n").end()
        self.assertTrue(self.origin.connections[0].ended)
        self.origin.send(b"last\n")
        self.origin.close()
        self.assertEqual((self.client.received, self.client.closed), (b"last\n", True))
        self.assertEqual(recorder.names, ["line_end"])

    def test_a_server_that_closes(self) -> None:
        recorder = EventRecorder("line_error", "line_end")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.origin.send(b"last\n")
        self.origin.close()
        self.client.close()
        self.assertEqual(recorder.names, ["line_end"])

    def test_a_client_that_says_nothing_and_leaves(self) -> None:
        recorder = EventRecorder("line_start", "line_error", "line_end")
        self.proxy(recorder)
        self.client.close()
        self.assertEqual(recorder.names, ["line_start", "line_end"])
        recorder.events.clear()
        self.client = self.proxy(recorder).client()
        self.client.send(b"o")
        self.client.abort()
        self.assertEqual(recorder.names, ["line_start", "line_error", "line_end"])
        self.assertEqual(self.origin.connections, [])

    def test_counts(self) -> None:
        recorder = EventRecorder("line_end")
        self.proxy(recorder)
        self.client.send(b"one\ntwo\n")
        self.origin.send(b"three\n")
        self.client.close()
        self.origin.close()
        (flow,) = recorder.arguments("line_end")
        self.assertEqual((flow.bytes_from_client, flow.bytes_from_server), (8, 6))
        self.assertEqual((flow.messages_from_client, flow.messages_from_server), (2, 1))
        self.assertEqual((flow.type, flow.live, flow.messages), ("line", False, []))
        self.assertIsNotNone(flow.timestamp_end)


class HookTests(LayerTestCase):
    def test_editing(self) -> None:
        def edit(flow: Any) -> None:
            flow.message.content = flow.message.content.upper()

        self.proxy(EventRecorder(line_message=edit))
        self.client.send(b"one\r\n")
        self.origin.send(b"TWO\r\n")
        # What did not change keeps the end that it came with.
        self.assertEqual((self.origin.received, self.client.received), (b"ONE\n", b"TWO\r\n"))

    def test_dropping(self) -> None:
        def drop(flow: Any) -> None:
            if flow.message.content == b"one":
                flow.message.drop()

        self.proxy(EventRecorder(line_message=drop))
        self.client.send(b"one\ntwo\n")
        self.assertEqual(self.origin.received, b"two\n")

    def test_nothing_reaches_a_server_that_is_never_asked(self) -> None:
        def answer(flow: Any) -> None:
            flow.message.drop()
            flow.inject(True, layers.BytesMessage(False, b"mine"))

        self.proxy(EventRecorder(line_message=answer))
        self.client.send(b"one\n")
        self.assertEqual((self.client.received, self.origin.connections), (b"mine\n", []))

    def test_injecting_comes_before_the_message_at_hand(self) -> None:
        def inject(flow: Any) -> None:
            if flow.message.from_client:
                flow.inject(False, layers.BytesMessage(True, b"before"))
                self.assertEqual(flow.message.content, b"one")

        recorder = EventRecorder(line_message=inject)
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(self.origin.received, b"before\none\n")
        (flow,) = recorder.arguments("line_message")
        self.assertEqual([each.injected for each in flow.messages], [True, False])

    def test_injecting_from_outside(self) -> None:
        recorder = EventRecorder("line_message")
        proxy = self.proxy(recorder)
        self.client.send(b"one\n")
        (flow,) = recorder.arguments("line_message")
        flow.inject(True, layers.BytesMessage(True, b"later"))
        proxy.flush()
        self.assertEqual(self.client.received, b"later\n")
        self.assertFalse(flow.messages[-1].from_client)

    def test_one_after_another(self) -> None:
        waiting: list[Deferred[None]] = []

        def wait(flow: Any) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        recorder = EventRecorder(line_message=wait)
        proxy = self.proxy(recorder)
        self.client.send(b"one\n")
        waiting.pop().callback(None)
        proxy.flush()
        self.client.send(b"two\n")
        self.origin.send(b"three\n")
        self.assertEqual(len(waiting), 1)
        (flow, *_) = recorder.arguments("line_message")
        self.assertEqual(flow.message.content, b"two")
        waiting.pop().callback(None)
        proxy.flush()
        self.assertEqual((self.origin.received, self.client.received), (b"one\ntwo\n", b""))
        self.assertEqual(flow.message.content, b"three")
        waiting.pop().callback(None)
        proxy.flush()
        self.assertEqual(self.client.received, b"three\n")

    def test_a_held_start(self) -> None:
        recorder = EventRecorder("line_message", line_start=lambda flow: flow.intercept())
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(recorder.names, ["line_start"])
        recorder.arguments("line_start")[0].resume()
        self.assertEqual(recorder.names, ["line_start", "line_message"])

    def test_holding(self) -> None:
        pauses = EventRecorder("intercept", "resume")
        recorder = EventRecorder(line_message=lambda flow: flow.intercept())
        proxy = self.proxy(recorder, pauses)
        self.client.send(b"one\n")
        self.assertEqual((self.origin.received, pauses.names), (b"", ["intercept"]))
        recorder.arguments("line_message")[0].resume()
        proxy.flush()
        self.assertEqual((self.origin.received, pauses.names), (b"one\n", ["intercept", "resume"]))

    def test_killing(self) -> None:
        recorder = EventRecorder("line_error", "line_end", line_message=lambda flow: flow.kill())
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(recorder.names, ["line_message", "line_error", "line_end"])
        self.assertEqual(recorder.arguments("line_error")[0].error.code, "killed")
        self.assertEqual((self.client.received, self.client.closed), (b"", True))
        self.assertEqual(self.origin.connections, [])

    def test_killing_from_outside(self) -> None:
        recorder = EventRecorder("line_message", "line_end")
        proxy = self.proxy(recorder)
        self.client.send(b"one\n")
        recorder.arguments("line_message")[0].kill()
        proxy.flush()
        self.assertEqual(recorder.names, ["line_message", "line_end"])
        self.assertTrue(self.client.closed)
        self.assertIsNotNone(self.origin.connections[0].lost)

    def test_a_failing_guard(self) -> None:
        class Guard:
            error_policy = "kill"

            def line_message(self, flow: Any) -> None:
                raise ValueError("no")

        recorder = EventRecorder("line_error")
        self.proxy(Guard(), recorder)
        self.client.send(b"one\n")
        self.flushLoggedErrors(ValueError)
        self.assertEqual(recorder.arguments("line_error")[0].error.code, "hook-failed")
        self.assertEqual(self.origin.connections, [])

    def test_what_is_kept_is_bounded(self) -> None:
        recorder = EventRecorder("line_message")
        self.proxy(recorder, body_memory_limit=2000)
        self.client.send(b"x" * 300 + b"\n")
        self.client.send(b"y\n" * 20)
        flow = recorder.arguments("line_message")[0]
        self.assertLess(len(flow.messages), 12)
        self.assertEqual(len(flow.messages) + flow.forgotten, 21)

    def test_a_server_elsewhere(self) -> None:
        def move(server_conn: Any) -> None:
            server_conn.address = ("other.test", 8)

        proxy = self.proxy(EventRecorder(serverconnect=move))
        other = proxy.origin("other.test", 8)
        self.client.send(b"one\n")
        self.assertEqual((other.received, self.origin.connections), (b"one\n", []))

    def test_a_refused_server(self) -> None:
        recorder = EventRecorder("line_error", serverconnect=lambda conn: conn.refuse("no"))
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(self.client.received, b"error refused-by-hook\n")
        self.assertEqual(recorder.arguments("line_error")[0].error.code, "refused-by-hook")

    def test_general_hooks(self) -> None:
        names = ["protocol_start", "protocol_message", "protocol_error", "protocol_end"]
        recorder = EventRecorder(*names)
        self.proxy(recorder)
        self.client.send(b"one\n!\n")
        self.assertEqual(recorder.names, names)


class FaultTests(LineContract, LayerTestCase):
    word = "line"

    def error(self, recorder: EventRecorder) -> str:
        (flow,) = recorder.arguments("line_error")
        code: str = flow.error.code
        return code

    def test_what_makes_no_sense(self) -> None:
        recorder = EventRecorder("line_error", "line_end")
        self.proxy(recorder)
        self.client.send(b"one\n!two\n")
        self.assertEqual(self.error(recorder), "line-shouted")
        self.assertEqual(recorder.names, ["line_error", "line_end"])
        self.assertEqual(self.client.received, b"error line-shouted\n")
        self.assertEqual(self.origin.received, b"one\n")
        self.assertTrue(self.client.closed)

    def test_a_server_that_makes_no_sense(self) -> None:
        recorder = EventRecorder("line_error")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.origin.send(b"!two\n")
        self.assertEqual(self.error(recorder), "line-shouted")
        self.assertEqual(self.client.received, b"error line-shouted\n")

    def test_messages_are_bounded(self) -> None:
        recorder = EventRecorder("line_error")
        self.proxy(recorder, message_size_limit=2000)
        self.client.send(b"x" * 3000)
        self.assertEqual(self.error(recorder), "message-too-large")

    def test_an_incomplete_message(self) -> None:
        recorder = EventRecorder("line_error")
        self.proxy(recorder)
        self.client.send(b"one\ntw").end()
        self.assertEqual(self.error(recorder), "message-truncated")

    def test_a_message_that_does_not_go_on(self) -> None:
        recorder = EventRecorder("line_error")
        proxy = self.proxy(recorder, body_timeout=5)
        self.client.send(b"one\ntw")
        proxy.advance(4)
        self.origin.send(b"three\n")
        self.assertEqual(recorder.names, [])
        proxy.advance(2)
        self.assertEqual(self.error(recorder), "message-timeout")

    def test_no_server(self) -> None:
        recorder = EventRecorder("line_error")
        proxy = self.proxy(recorder)
        proxy.network.refuse(("lines.test", 7))
        self.client.send(b"one\n")
        self.assertEqual(self.error(recorder), "connect-refused")
        self.assertEqual(self.client.received, b"error connect-refused\n")

    def test_a_reset_client(self) -> None:
        recorder = EventRecorder("line_error")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.client.abort()
        self.assertEqual(self.error(recorder), "client-disconnected")

    def test_a_client_that_leaves_while_a_hook_is_busy(self) -> None:
        cancelled: list[object] = []
        recorder = EventRecorder("line_error", line_message=lambda flow: Deferred(cancelled.append))
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.client.abort()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.error(recorder), "client-disconnected")

    def test_a_codec_that_is_broken(self) -> None:
        class Codec(LineCodec):
            def encode(self, message: Any) -> bytes:
                raise ValueError("oh")

        self.patch(LineLayer, "codec", Codec)
        recorder = EventRecorder("line_error", "line_message")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.assertEqual(self.error(recorder), "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(self.client.closed)


class PressureTests(LayerTestCase):
    def test_a_slow_server_slows_the_client(self) -> None:
        proxy = self.proxy()
        self.client.send(b"one\n")
        self.origin.connections[0].transport.pauseProducing()
        self.client.send((b"x" * 1023 + b"\n") * 1024)
        self.assertLess(self.client.link.server.bytes_read, 400_000)
        self.origin.send(b"meanwhile\n")
        self.assertEqual(self.client.received, b"meanwhile\n")
        self.origin.connections[0].transport.resumeProducing()
        proxy.flush()
        self.assertEqual(len(self.origin.received), 4 + 1024 * 1024)

    def test_nothing_is_read_without_end_while_a_hook_is_busy(self) -> None:
        waiting: list[Deferred[None]] = []

        def wait(flow: Any) -> Deferred[None] | None:
            if flow.message.content != b"one":
                return None
            waiting.append(Deferred())
            return waiting[-1]

        proxy = self.proxy(EventRecorder(line_message=wait))
        self.client.send(b"one\n")
        self.client.send((b"x" * 1023 + b"\n") * 1024)
        self.assertLess(self.client.link.server.bytes_read, 300_000)
        waiting.pop().callback(None)
        proxy.flush()
        self.assertEqual(len(self.origin.received), 4 + 1024 * 1024)

    def test_a_server_that_never_reads(self) -> None:
        recorder = EventRecorder("line_error")
        proxy = self.proxy(recorder, write_timeout=10)
        self.client.send(b"one\n")
        self.origin.connections[0].transport.pauseProducing()
        self.client.send((b"x" * 1023 + b"\n") * 1024)
        proxy.advance(11)
        self.assertEqual(recorder.arguments("line_error")[0].error.code, "write-timeout")

    def test_a_message_larger_than_the_buffers(self) -> None:
        self.proxy(EventRecorder("line_message"))
        line = b"x" * 60_000 + b"\n"
        self.client.send(line * 5)
        self.assertEqual(self.origin.received, line * 5)


class NextLayerTests(LayerTestCase):
    def test_another_protocol_that_is_relayed(self) -> None:
        recorder = EventRecorder("line_message", "line_end", "tcp_message")
        self.proxy(recorder)
        self.client.send(b"relay\n!rest")
        self.origin.send(b"!answer")
        self.assertEqual(recorder.names, ["line_message", "line_end", "tcp_message", "tcp_message"])
        self.assertEqual(
            (self.origin.received, self.client.received), (b"relay\n!rest", b"!answer")
        )

    def test_another_protocol_that_is_found_out(self) -> None:
        recorder = EventRecorder("line_message", "line_end", "tls_clienthello")
        proxy = self.proxy(recorder)
        self.client.send(b"detect\n")
        proxy.flush()
        self.client.start_tls("lines.test", alpn=())
        self.assertEqual(recorder.names[:2], ["line_message", "line_end"])
        self.assertTrue(self.client.tls.established)


class ChoiceTests(LayerTestCase):
    def test_by_a_mode(self) -> None:
        recorder = EventRecorder("line_start")
        self.proxy(recorder)
        self.client.send(b"one\n")
        (flow,) = recorder.arguments("line_start")
        self.assertEqual(flow.mode, "reverse:line://lines.test")
        self.assertEqual(flow.server_conn.address, ("lines.test", 7))

    def test_by_a_mode_with_tls_to_the_server(self) -> None:
        recorder = EventRecorder("line_message")
        proxy = self.proxy(recorder, mode="reverse:lines://secure.test:70")
        origin = proxy.tls_origin("secure.test", 70, alpn=())
        self.client.send(b"one\n")
        self.assertEqual((origin.received, recorder.names), (b"one\n", ["line_message"]))

    def test_by_a_mode_with_tls_from_the_client(self) -> None:
        recorder = EventRecorder("line_message")
        self.proxy(recorder)
        self.client.start_tls("lines.test", alpn=()).send(b"one\n")
        self.assertEqual((self.origin.received, recorder.names), (b"one\n", ["line_message"]))

    def test_by_an_option_in_other_modes(self) -> None:
        for mode, options in (("regular", {}), ("regular", {"connection_strategy": "lazy"})):
            recorder = EventRecorder("line_message")
            self.proxy(recorder, mode=mode, line_hosts=[r"lines\.test:7$"], **options)
            self.client.connect("lines.test", 7).send(b"GET / HTTP/1.1\r\n")
            self.origin.send(b"two\n")
            self.assertEqual(self.client.received, b"two\n")
            self.assertEqual(len(recorder.events), 2)

    def test_by_an_option_in_tls(self) -> None:
        recorder = EventRecorder("line_message")
        proxy = self.proxy(recorder, mode="regular", line_hosts=[r"secure\.test"])
        origin = proxy.tls_origin("secure.test", 70, alpn=())
        client = proxy.client().connect("secure.test", 70).start_tls("secure.test", alpn=())
        client.send(b"one\n")
        self.assertEqual((origin.received, recorder.names), (b"one\n", ["line_message"]))

    def test_by_an_option_that_does_not_match(self) -> None:
        recorder = EventRecorder("line_message", "tcp_start")
        self.proxy(recorder, mode="regular", line_hosts=[r"other\.test"])
        self.client.connect("lines.test", 7).send(b"one\n")
        self.assertEqual(recorder.names, ["tcp_start"])

    def test_left_alone(self) -> None:
        recorder = EventRecorder("line_message", "tcp_start")
        self.proxy(recorder, mode="regular", line_hosts=["."], ignore_hosts=["."])
        self.client.connect("lines.test", 7).send(b"one\n")
        self.assertEqual(recorder.names, ["tcp_start"])

    def test_by_a_hook(self) -> None:
        def choose(layer: layers.Layer) -> layers.Layer | None:
            return LineLayer.instead_of(layer) if layer.address == ("lines.test", 7) else None

        recorder = EventRecorder("line_message", next_layer=choose)
        self.proxy(recorder, mode="regular")
        self.client.connect("lines.test", 7).send(b"one\n")
        self.assertEqual(recorder.names, ["next_layer", "next_layer", "line_message"])
        self.assertEqual(self.origin.received, b"one\n")

    def test_servers_that_speak_first(self) -> None:
        recorder = EventRecorder("greeting_message")
        proxy = self.proxy(recorder, mode="reverse:greeting://lines.test")
        proxy.advance(1)
        self.origin.send(b"welcome\n")
        self.assertEqual(self.client.received, b"welcome\n")
        self.assertEqual(len(recorder.events), 1)

    def test_through_another_proxy(self) -> None:
        proxy = self.proxy(upstream_proxy="http://hop.test:3128")
        hop = proxy.origin("hop.test", 3128).respond(b"HTTP/1.1 200 OK\r\n\r\n")
        self.client.send(b"one\n")
        self.assertIn(b"CONNECT lines.test:7 ", hop.received)
        self.assertTrue(hop.received.endswith(b"\r\n\r\none\n"))

    def test_a_layer_that_is_not_there(self) -> None:
        error = self.assertRaises(ModeError, MemoryProxy, Lines(), mode="reverse:lin://x.test:1")
        self.assertIn("did you mean `line`", str(error))

    def test_a_layer_without_a_port(self) -> None:
        self.patch(LineLayer, "port", None)
        error = self.assertRaises(ModeError, MemoryProxy, Lines(), mode="reverse:line://x.test")
        self.assertIn("needs a port", str(error))
