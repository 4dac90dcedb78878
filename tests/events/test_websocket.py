"""The events of WebSockets, and what hooks can do in them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed

from interceptor import http
from interceptor.errors import InterceptorError
from interceptor.layers.tcp import TCPLayer
from interceptor.model.flow import HTTPFlow
from interceptor.testing import EventRecorder, MemoryProxy
from interceptor.wire.websocketdeflate import Deflate, Deflater, Direction
from tests.events.cases import EventTestCase, Guard, Hooks, Waiting, answering
from tests.websockets import (
    ACCEPT,
    BINARY,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    WebSocketPair,
    close_frame,
    frame,
    handshake,
    messages,
    switching,
)

EVENTS = (
    "websockets_handshake",
    "websocket_start",
    "websocket_message",
    "websocket_control",
    "websocket_end",
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


def down(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    """Return a frame of the server."""
    return frame(opcode, payload, masked=False, **options)


class WebSocketTestCase(EventTestCase):
    """A client and a server that speak WebSocket through a proxy."""

    def pair(
        self, *addons: object, offer: Any = (), answer: Any = (), **options: Any
    ) -> WebSocketPair:
        self.recorder = EventRecorder(*EVENTS)
        proxy: MemoryProxy = self.proxy(*addons, self.recorder, **options)
        return WebSocketPair(proxy, offer=offer, answer=answer)

    def with_hooks(self, **hooks: Any) -> WebSocketPair:
        return self.pair(Hooks(**hooks))

    @property
    def flow(self) -> HTTPFlow:
        """The one flow that all events were about."""
        [flow] = {id(flow): flow for _, flow in self.recorder.events}.values()
        return flow

    @property
    def error_code(self) -> str:
        """The code of what went wrong."""
        error = self.flow.error
        assert error is not None
        return error.code

    def contents(self) -> list[tuple[bool, str, bytes]]:
        """Whatever is kept of the messages."""
        return [
            (each.from_client, each.type, each.content) for each in self.flow.websocket.messages
        ]


class HandshakeTests(WebSocketTestCase):
    def test_order(self):
        recorder = EventRecorder()
        proxy = self.proxy(recorder)
        pair = WebSocketPair(proxy)
        pair.from_client(frame(TEXT, b"hello"))
        pair.from_origin(close_frame(masked=False))
        pair.from_client(close_frame())
        names = [name for name in recorder.names if name not in ("running", "next_layer")]
        self.assertEqual(
            names[names.index("requestheaders") :],
            [
                "requestheaders",
                "request",
                "websockets_handshake",
                "serverconnect",
                "serverconnected",
                "responseheaders",
                "response",
                "websocket_start",
                "websocket_message",
                "websocket_control",
                "websocket_control",
                "websocket_end",
            ],
        )

    def test_the_other_name_of_the_hook(self):
        seen: list[HTTPFlow] = []
        logged = self.messages()

        class Addon:
            def websocket_handshake(self, flow: HTTPFlow) -> None:
                seen.append(flow)

        self.pair(Addon())
        self.assertEqual(len(seen), 1)
        self.assertEqual([text for text in logged.texts if "websocket_handshake" in text], [])

    def test_headers_can_be_changed(self):
        def change(flow: HTTPFlow) -> None:
            flow.request.headers["X-Seen"] = "yes"

        pair = self.with_hooks(websockets_handshake=change)
        self.assertEqual(pair.origin.requests[0].headers["X-Seen"], "yes")

    def test_a_hook_can_answer(self):
        pair = self.with_hooks(websockets_handshake=answering(403, b"no"))
        self.assertTrue(pair.head.startswith(b"HTTP/1.1 403 "))
        self.assertEqual(pair.origin.connections, [])
        self.assertEqual(self.recorder.names, ["websockets_handshake"])
        self.assertIsNone(self.flow.websocket)

    def test_a_refusal_of_the_server_is_a_response(self):
        recorder = EventRecorder(*EVENTS, "response")
        proxy = self.proxy(recorder)
        proxy.origin("example.test").respond(http.Response.make(401, b"who are you"))
        client = proxy.client().send(handshake())
        response = client.response()
        assert response is not None
        self.assertEqual((response.status_code, response.text), (401, "who are you"))
        self.assertEqual(recorder.names, ["websockets_handshake", "response"])

    def test_a_response_hook_can_refuse(self):
        pair = self.with_hooks(response=answering(403, b"no"))
        self.assertTrue(pair.head.startswith(b"HTTP/1.1 403 "))
        self.assertIsNone(self.flow.websocket)

    def test_another_key_for_the_server(self):
        def change(flow: HTTPFlow) -> None:
            flow.request.headers["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="

        self.recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(Hooks(websockets_handshake=change), self.recorder)
        origin = proxy.origin("example.test")
        origin.respond(switching(accept=b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="))
        client = proxy.client().send(handshake(key=KEY))
        self.assertIn(b"Sec-WebSocket-Accept: " + ACCEPT, client.received)

    def test_what_is_no_handshake(self):
        good = handshake()
        for bad, status, code in (
            (good.replace(b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""), b"400", b"invalid"),
            (good.replace(KEY, b"AAAA"), b"400", b"invalid"),
            (good.replace(b"Version: 13", b"Version: 8"), b"426", b"version-unsupported"),
        ):
            proxy = self.proxy()
            origin = proxy.origin("example.test")
            client = proxy.client().send(bad)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 " + status), client.received)
            self.assertIn(code, client.received)
            self.assertEqual(origin.connections, [])
            if status == b"426":
                self.assertIn(b"Sec-WebSocket-Version: 13", client.received)

    def test_what_is_no_handshake_passes_if_it_shall(self):
        proxy = self.proxy(http_framing="pass")
        origin = proxy.origin("example.test").respond(switching())
        client = proxy.client().send(handshake().replace(b"Version: 13", b"Version: 8"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))
        origin.send(b"no frames")
        self.assertEqual(client.received, b"no frames")

    def test_a_wrong_answer(self):
        for answer in (
            switching(accept=b"AAAA"),
            switching(DEFLATE),
            switching(b"Sec-WebSocket-Extensions: x-foo"),
            switching().replace(b"Upgrade: websocket", b"Upgrade: other"),
        ):
            proxy = self.proxy()
            proxy.origin("example.test").respond(answer)
            client = proxy.client().send(handshake())
            self.assertTrue(client.received.startswith(b"HTTP/1.1 502 "), client.received)
            self.assertIn(b"websocket-answer-invalid", client.received)

    def test_unknown_extensions_are_not_offered(self):
        offer = b"Sec-WebSocket-Extensions: x-foo, permessage-deflate; client_max_window_bits"
        pair = self.pair(offer=(offer,))
        self.assertEqual(
            pair.origin.requests[0].headers["Sec-WebSocket-Extensions"],
            "permessage-deflate; client_max_window_bits",
        )

    def test_another_protocol_is_a_tunnel(self):
        recorder = EventRecorder(*EVENTS, "tcp_start")
        proxy = self.proxy(recorder)
        origin = proxy.origin("example.test")
        origin.respond(b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
        client = proxy.client().send(handshake().replace(b"websocket\r\n", b"chat\r\n"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))
        origin.connections[-1].take()
        client.send(b"anything")
        self.assertEqual(origin.connections[-1].data, b"anything")
        self.assertEqual(recorder.names, ["tcp_start"])

    def test_another_protocol_of_several(self):
        proxy = self.proxy()
        origin = proxy.origin("example.test")
        origin.respond(b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
        client = proxy.client()
        client.send(handshake().replace(b"Upgrade: websocket", b"Upgrade: websocket, chat"))
        client.take()
        origin.send(b"welcome")
        self.assertEqual(client.received, b"welcome")

    def test_next_layer_can_make_it_a_tunnel(self):
        def replace(layer: Any) -> Any:
            if layer.name == "websocket":
                return TCPLayer(layer.context, layer.server)
            return None

        pair = self.with_hooks(next_layer=replace)
        self.assertEqual(pair.from_client(b"no frames at all"), b"no frames at all")
        self.assertEqual(self.recorder.names, ["websockets_handshake"])

    def test_frames_that_come_with_the_answer(self):
        self.recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(self.recorder)
        proxy.origin("example.test").respond(switching() + down(TEXT, b"welcome"))
        client = proxy.client().send(handshake() + frame(TEXT, b"impatient"))
        self.assertTrue(client.received.endswith(down(TEXT, b"welcome")))
        self.assertEqual(
            sorted(self.contents()), [(False, "text", b"welcome"), (True, "text", b"impatient")]
        )


class MessageTests(WebSocketTestCase):
    def test_untouched_messages_pass_as_they_are(self):
        pair = self.pair()
        up = frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONTINUATION, b"b", key=b"abcd")
        got = pair.from_client(up)
        self.assertEqual(sorted(got), sorted(up))
        self.assertIn(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", key=b"abcd"), got)
        both = down(BINARY, b"x" * 70_000) + down(TEXT, "ö".encode())
        self.assertEqual(pair.from_origin(both), both)
        self.assertEqual(
            self.contents(),
            [
                (True, "ping", b""),
                (True, "text", b"ab"),
                (False, "binary", b"x" * 70_000),
                (False, "text", "ö".encode()),
            ],
        )

    def test_what_each_hook_is_shown(self):
        shown: list[Any] = []

        def note(flow: HTTPFlow) -> None:
            shown.append(flow.websocket.messages[-1].type)

        pair = self.with_hooks(websocket_message=note)
        pair.from_client(frame(TEXT, b"a") + frame(PING) + frame(BINARY, b"b") + frame(PONG))
        self.assertEqual(shown, ["text", "binary"])
        self.assertEqual(self.recorder.names.count("websocket_control"), 2)

    def test_an_edit(self):
        def edit(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            message.text = message.text.upper()

        pair = self.with_hooks(websocket_message=edit)
        [up] = messages(pair.from_client(frame(TEXT, b"hello")), True)
        [below] = messages(pair.from_origin(down(TEXT, b"hello")), False)
        self.assertEqual((up.text, below.text), ("HELLO", "HELLO"))

    def test_drop(self):
        def drop(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            if message.text == "secret":
                message.drop()

        pair = self.with_hooks(websocket_message=drop, websocket_control=drop)
        sent = frame(TEXT, b"a") + frame(TEXT, b"secret") + frame(PING, b"secret") + frame(PING)
        self.assertEqual(pair.from_client(sent), frame(TEXT, b"a") + frame(PING))
        self.assertEqual(
            [each.dropped for each in self.flow.websocket.messages], [False, True, True, False]
        )

    def test_a_hook_that_makes_no_text_of_a_text(self):
        def spoil(flow: HTTPFlow) -> None:
            flow.websocket.messages[-1].content = b"\xff"

        logged = self.messages()
        pair = self.with_hooks(websocket_message=spoil)
        self.assertEqual(pair.from_client(frame(TEXT, b"a")), frame(TEXT, b"a"))
        self.assertIn("UnicodeDecodeError", "".join(logged.texts))

    def test_hooks_are_waited_for_in_order(self):
        waiting = Waiting()
        pair = self.with_hooks(websocket_message=waiting)
        self.assertEqual(pair.from_client(frame(TEXT, b"1") + frame(TEXT, b"2")), b"")
        self.assertEqual(pair.from_origin(down(TEXT, b"3")), b"")
        self.assertEqual(len(waiting.arguments), 1)
        waiting.go_on()
        pair.proxy.flush()
        self.assertEqual(pair.at_origin(), frame(TEXT, b"1"))
        waiting.go_on()
        pair.proxy.flush()
        waiting.go_on()
        pair.proxy.flush()
        self.assertEqual(
            (pair.at_origin(), pair.at_client()), (frame(TEXT, b"2"), down(TEXT, b"3"))
        )

    def test_a_deferred_that_has_fired(self):
        pair = self.with_hooks(websocket_message=lambda flow: succeed(None))
        many = frame(TEXT, b"x") * 3000
        self.assertEqual(pair.from_client(many), many)

    def test_coroutines(self):
        async def edit(flow: HTTPFlow) -> None:
            flow.websocket.messages[-1].text = "changed"

        pair = self.with_hooks(websocket_message=edit)
        [message] = messages(pair.from_client(frame(TEXT, b"x")), True)
        self.assertEqual(message.text, "changed")

    def test_while_a_hook_waits_a_peer_is_not_read_from_for_ever(self):
        waiting = Waiting()
        pair = self.with_hooks(websocket_message=waiting)
        pair.from_client(frame(TEXT, b"1"))
        pair.from_client(frame(BINARY, bytes(3_000_000)))
        [session] = pair.proxy.environment.sessions
        self.assertTrue(session.side.reading.paused)
        protocol: Any = session.side.protocol
        self.assertLess(protocol.reader.buffered, 500_000)
        waiting.go_on()
        pair.proxy.flush()
        waiting.go_on()
        pair.proxy.flush()
        self.assertEqual(len(pair.at_origin()), len(frame(TEXT, b"1")) + 3_000_014)

    def test_counts(self):
        pair = self.pair()
        sent = frame(TEXT, b"a") + frame(PING) + frame(TEXT, b"b")
        pair.from_client(sent)
        pair.from_origin(down(TEXT, b"c"))
        data = self.flow.websocket
        self.assertEqual((data.messages_from_client, data.messages_from_server), (2, 1))
        self.assertEqual((data.bytes_from_client, data.bytes_from_server), (len(sent), 3))

    def test_little_is_kept(self):
        pair = self.pair(websocket_kept_size=100_000)
        for number in range(50):
            pair.from_client(frame(BINARY, b"%03d" % number * 3000))
            self.assertEqual(self.flow.websocket.messages[-1].content[:3], b"%03d" % number)
        data = self.flow.websocket
        self.assertEqual(len(data.messages) + data.forgotten, 50)
        self.assertLess(sum(each.kept_size for each in data.messages), 100_000)
        pair.from_client(frame(BINARY, bytes(300_000)))
        pair.from_client(frame(BINARY, bytes(300_001)))
        self.assertEqual([len(each.content) for each in data.messages], [300_001])


class CompressionTests(WebSocketTestCase):
    def compressed(self, *addons: object, answer: bytes = DEFLATE) -> WebSocketPair:
        offer = DEFLATE + b"; client_max_window_bits"
        return self.pair(*addons, offer=(offer,), answer=(answer,))

    def test_untouched_messages_are_not_compressed_again(self):
        pair = self.compressed()
        deflater = Deflater(Direction())
        for text in (b"hello " * 50, b"hello " * 60):
            sent = frame(TEXT, deflater.deflate(text), reserved=4)
            self.assertEqual(pair.from_client(sent), sent)
            self.assertEqual(self.flow.websocket.messages[-1].content, text)

    def test_edits_are_compressed(self):
        def edit(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            message.text = message.text.replace("secret", "******")

        pair = self.compressed(Hooks(websocket_message=edit))
        deflater = Deflater(Direction())
        out = b""
        for text in (b"a secret " * 50, b"nothing " * 50, b"a secret " * 50):
            out += pair.from_client(frame(TEXT, deflater.deflate(text), reserved=4))
        self.assertLess(len(out), 200)
        self.assertEqual(
            [each.content for each in messages(out, True, Deflate())],
            [b"a ****** " * 50, b"nothing " * 50, b"a ****** " * 50],
        )

    def test_a_hook_can_keep_compression_from_the_client(self):
        def strip(flow: HTTPFlow) -> None:
            assert flow.response is not None
            del flow.response.headers["Sec-WebSocket-Extensions"]

        pair = self.compressed(Hooks(response=strip))
        self.assertNotIn(b"Extensions", pair.head)
        sent = down(TEXT, Deflater(Direction()).deflate(b"hello " * 50), reserved=4)
        [message] = messages(pair.from_origin(sent), False)
        self.assertEqual((message.content, message.compressed), (b"hello " * 50, False))
        [message] = messages(pair.from_client(frame(TEXT, b"hi")), True, Deflate())
        self.assertEqual(message.content, b"hi")

    def test_a_hook_can_offer_what_the_client_did_not(self):
        def offer(flow: HTTPFlow) -> None:
            flow.request.headers["Sec-WebSocket-Extensions"] = "permessage-deflate"

        pair = self.pair(Hooks(websockets_handshake=offer), answer=(DEFLATE,))
        self.assertNotIn(b"Extensions", pair.head)
        sent = down(TEXT, Deflater(Direction()).deflate(b"hello " * 50), reserved=4)
        [message] = messages(pair.from_origin(sent), False)
        self.assertEqual(message.content, b"hello " * 50)

    def test_a_bomb(self):
        pair = self.pair(offer=(DEFLATE,), answer=(DEFLATE,), websocket_message_limit=100_000)
        bomb = Deflater(Direction()).deflate(bytes(50_000_000))
        self.assertEqual(
            messages(pair.from_origin(down(BINARY, bomb, reserved=4)), False)[0].close_code, 1011
        )
        [message] = messages(pair.at_origin(), True)
        self.assertEqual(message.close_code, 1009)
        self.assertEqual(self.error_code, "websocket-too-big")


class InjectionTests(WebSocketTestCase):
    def test_from_outside(self):
        pair = self.pair()
        self.flow.websocket.inject(True, "news")
        self.flow.websocket.inject(False, b"\0\1")
        self.flow.websocket.inject(False, b"?", "ping")
        pair.proxy.flush()
        self.assertEqual(pair.at_client(), down(TEXT, b"news"))
        self.assertEqual(
            [(each.type, each.content) for each in messages(pair.at_origin(), True)],
            [("binary", b"\0\1"), ("ping", b"?")],
        )
        self.assertTrue(all(each.injected for each in self.flow.websocket.messages))

    def test_from_a_hook(self):
        def answer(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            if not message.injected:
                flow.websocket.inject(True, "got " + message.text)

        pair = self.with_hooks(websocket_message=answer)
        pair.from_client(frame(TEXT, b"1") + frame(TEXT, b"2"))
        self.assertEqual(pair.at_client(), down(TEXT, b"got 1") + down(TEXT, b"got 2"))
        self.assertEqual(
            [each.text for each in self.flow.websocket.messages], ["1", "got 1", "2", "got 2"]
        )

    def test_it_comes_after_the_message_that_is_being_dealt_with(self):
        waiting = Waiting()
        pair = self.with_hooks(websocket_message=waiting)
        pair.from_client(frame(TEXT, b"1"))
        self.flow.websocket.inject(False, "2")
        waiting.go_on()
        pair.proxy.flush()
        waiting.go_on()
        pair.proxy.flush()
        got = messages(pair.at_origin(), True)
        self.assertEqual([each.text for each in got], ["1", "2"])

    def test_ten_thousand(self):
        pair = self.pair()
        for number in range(10_000):
            self.flow.websocket.inject(True, str(number))
        pair.proxy.flush()
        got = messages(pair.at_client(), False)
        self.assertEqual([each.text for each in got], [str(number) for number in range(10_000)])

    def test_an_endless_loop_lets_others_live(self):
        def again(flow: HTTPFlow) -> None:
            flow.websocket.inject(True, "again")

        pair = self.with_hooks(websocket_message=again)
        pair.client.peer.write(frame(TEXT, b"x"))
        for _ in range(50):
            pair.proxy.network.pump()
        self.flow.kill()
        pair.proxy.flush()
        self.assertGreater(self.flow.websocket.messages_from_server, 100)

    def test_a_peer_that_does_not_read(self):
        pair = self.pair(websocket_message_limit=100_000)
        pair.client.peer.transport.pauseProducing()

        def flood() -> None:
            for _ in range(1000):
                self.flow.websocket.inject(True, b"x" * 10_000)
                pair.proxy.flush()

        error = self.assertRaises(InterceptorError, flood)
        self.assertEqual(error.code, "websocket-inject-full")
        pair.client.peer.transport.resumeProducing()
        pair.proxy.flush()
        count = self.flow.websocket.messages_from_server
        self.assertEqual(len(messages(pair.at_client(), False)), count)

    def test_too_late(self):
        pair = self.pair()
        pair.from_client(close_frame())
        error = self.assertRaises(InterceptorError, self.flow.websocket.inject, False, "late")
        self.assertEqual(error.code, "websocket-not-open")
        self.flow.websocket.inject(True, "in time")
        pair.from_origin(close_frame(masked=False))
        error = self.assertRaises(InterceptorError, self.flow.websocket.inject, True, "late")
        self.assertEqual(error.code, "websocket-not-open")


class CloseTests(WebSocketTestCase):
    def ended(
        self, code: int, reason: str, by_client: bool | None, error: str | None = None
    ) -> None:
        data, flow = self.flow.websocket, self.flow
        self.assertEqual(
            (data.close_code, data.close_reason, data.closed_by_client), (code, reason, by_client)
        )
        self.assertEqual(None if flow.error is None else flow.error.code, error)
        self.assertEqual(self.recorder.names[-1], "websocket_end")
        self.assertEqual(self.recorder.names.count("websocket_end"), 1)
        self.assertIsNotNone(data.timestamp_end)
        self.assertFalse(flow.live)

    def test_by_the_client(self):
        pair = self.pair()
        up, below = close_frame(4001, b"enough"), close_frame(4001, masked=False)
        self.assertEqual(pair.from_client(up), up)
        self.assertFalse(pair.client.closed)
        self.assertEqual(pair.from_origin(below), below)
        self.ended(4001, "enough", True)
        self.assertTrue(pair.client.closed)
        # The server is the one to close its connection.
        self.assertFalse(pair.peer.ended)
        pair.origin.close()
        pair.proxy.flush()
        self.assertIsNotNone(pair.peer.lost)

    def test_by_the_server(self):
        pair = self.pair()
        below = close_frame(1001, b"restart", masked=False)
        self.assertEqual(pair.from_origin(below), below)
        pair.from_client(close_frame(1001))
        self.ended(1001, "restart", False)

    def test_without_a_code(self):
        pair = self.pair()
        self.assertEqual(pair.from_client(close_frame(None)), close_frame(None))
        pair.from_origin(close_frame(None, masked=False))
        self.ended(1005, "", True)

    def test_both_at_once(self):
        pair = self.pair()
        pair.client.peer.write(close_frame(1000))
        pair.peer.write(close_frame(1001, masked=False))
        pair.proxy.flush()
        self.assertEqual(len(messages(pair.at_client(), False)), 1)
        self.assertEqual(len(messages(pair.at_origin(), True)), 1)
        self.assertEqual(self.recorder.names[-1], "websocket_end")

    def test_messages_after_a_close_still_come_from_the_other(self):
        pair = self.pair()
        pair.from_client(close_frame() + frame(TEXT, b"too late"))
        self.assertEqual(pair.from_origin(down(TEXT, b"rest")), down(TEXT, b"rest"))
        pair.from_origin(close_frame(masked=False))
        self.ended(1000, "", True)

    def test_a_hook_can_change_a_close(self):
        def change(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            message.close_code, message.text = 4000, "changed"

        pair = self.with_hooks(websocket_control=change)
        [message] = messages(pair.from_client(close_frame(1000)), True)
        self.assertEqual((message.close_code, message.text), (4000, "changed"))

    def test_the_server_ends_after_its_answer(self):
        pair = self.pair()
        pair.from_client(close_frame())
        pair.peer.write(close_frame(masked=False))
        pair.peer.close()
        pair.proxy.flush()
        self.assertEqual(pair.at_client(), close_frame(masked=False))
        self.ended(1000, "", True)

    def test_no_answer(self):
        pair = self.pair()
        pair.from_client(close_frame(1000, b"bye"))
        pair.proxy.advance(5.1)
        [message] = messages(pair.at_client(), False)
        self.assertEqual(message.close_code, 1000)
        self.assertTrue(pair.client.closed)
        self.assertTrue(pair.peer.ended)
        self.ended(1000, "bye", True)

    def test_the_client_goes_without_a_close(self):
        pair = self.pair()
        pair.from_client(frame(TEXT, b"last"))
        pair.client.close()
        self.assertEqual(pair.at_origin(), b"")
        self.assertTrue(pair.peer.ended)
        self.ended(1006, "", True)

    def test_the_last_messages_are_delivered(self):
        waiting = Waiting()
        pair = self.with_hooks(websocket_message=waiting)
        pair.client.send(frame(TEXT, b"1") + frame(TEXT, b"2"))
        pair.client.close()
        waiting.go_on()
        pair.proxy.flush()
        waiting.go_on()
        pair.proxy.flush()
        self.assertEqual(pair.at_origin(), frame(TEXT, b"1") + frame(TEXT, b"2"))
        self.ended(1006, "", True)

    def test_the_server_goes_without_a_close(self):
        pair = self.pair()
        pair.origin.close()
        self.assertTrue(pair.client.closed)
        self.ended(1006, "", False)

    def test_resets(self):
        pair = self.pair()
        pair.client.abort()
        self.ended(1006, "", True, "client-disconnected")
        self.assertIsNotNone(pair.peer.lost)
        pair = self.pair()
        pair.origin.abort()
        self.ended(1006, "", False, "server-reset")
        self.assertIsNotNone(pair.client.peer.lost)

    def test_a_reset_ends_the_waiting_for_hooks(self):
        waiting = Waiting()
        pair = self.with_hooks(websocket_message=waiting)
        pair.from_client(frame(TEXT, b"1"))
        pair.client.abort()
        self.ended(1006, "", True, "client-disconnected")

    def test_kill(self):
        pair = self.with_hooks(websocket_message=lambda flow: flow.kill())
        self.assertEqual(pair.from_client(frame(TEXT, b"a")), b"")
        self.assertIsNotNone(pair.peer.lost)
        self.assertIsNotNone(pair.client.peer.lost)
        self.ended(1006, "", None, "killed")

    def test_kill_in_start(self):
        pair = self.with_hooks(websocket_start=lambda flow: flow.kill())
        self.assertIsNotNone(pair.peer.lost)
        self.ended(1006, "", None, "killed")

    def test_close_from_outside(self):
        pair = self.pair()
        self.flow.websocket.close(4002, "go")
        pair.proxy.flush()
        [up], [below] = messages(pair.at_origin(), True), messages(pair.at_client(), False)
        self.assertEqual((up.close_code, below.close_code), (4002, 4002))
        pair.from_client(close_frame(4002))
        self.assertNotIn("websocket_end", self.recorder.names)
        pair.from_origin(close_frame(4002, masked=False))
        self.ended(4002, "go", None)

    def test_close_in_a_hook(self):
        pair = self.with_hooks(websocket_message=lambda flow: flow.websocket.close(1008, "no"))
        [message] = messages(pair.from_client(frame(TEXT, b"a")), True)
        self.assertEqual(message.close_code, 1008)

    def test_shutdown(self):
        pair = self.pair()
        [session] = pair.proxy.environment.sessions
        session.shut_down()
        pair.proxy.flush()
        [up], [below] = messages(pair.at_origin(), True), messages(pair.at_client(), False)
        self.assertEqual((up.close_code, below.close_code), (1001, 1001))
        pair.proxy.advance(6)
        self.ended(1001, "the proxy is shutting down", None)
        self.assertTrue(pair.client.closed)

    def test_intercept(self):
        pair = self.with_hooks(websocket_message=lambda flow: flow.intercept())
        self.assertEqual(pair.from_client(frame(TEXT, b"a")), b"")
        self.flow.resume()
        pair.proxy.flush()
        self.assertEqual(pair.at_origin(), frame(TEXT, b"a"))

    def test_a_guard_that_fails(self):
        class Failing(Guard):
            def websocket_message(self, flow: HTTPFlow) -> None:
                raise RuntimeError("no")

        pair = self.pair(Failing())
        self.assertEqual(pair.from_client(frame(TEXT, b"a")), b"")
        self.ended(1006, "", None, "hook-failed")
        self.assertIsNotNone(pair.client.peer.lost)


class RuleTests(WebSocketTestCase):
    """Who breaks the rules is told with which code; the other one is let go."""

    def broken(self, pair: WebSocketPair, by_client: bool, code: int, name: str) -> None:
        up, below = messages(pair.at_origin(), True), messages(pair.at_client(), False)
        codes = (below[-1].close_code, up[-1].close_code)
        self.assertEqual(codes, (code, 1001) if by_client else (1011, code))
        self.assertEqual(self.error_code, name)
        self.assertEqual(self.flow.websocket.close_code, code)
        self.assertEqual(self.recorder.names[-1], "websocket_end")
        self.assertTrue(pair.client.closed)
        self.assertTrue(pair.peer.ended)
        self.assertEqual(len([text for text in self.log.texts if name in text]), 1)

    def test_of_the_client(self):
        for sent, code, name in (
            (frame(TEXT, b"\xff"), 1007, "websocket-text-invalid"),
            (frame(TEXT, b"", reserved=2), 1002, "websocket-reserved-bits"),
            (frame(4), 1002, "websocket-opcode-reserved"),
            (frame(PING, b"x" * 126), 1002, "websocket-control-too-long"),
            (frame(TEXT, b"x", masked=False), 1002, "websocket-mask-missing"),
            (frame(BINARY, b"x" * 5000), 1009, "websocket-too-big"),
        ):
            self.log = self.messages()
            pair = self.pair(websocket_message_limit=4000)
            pair.client.send(sent)
            self.broken(pair, True, code, name)

    def test_of_the_server(self):
        for sent, code, name in (
            (down(TEXT, b"\xff"), 1007, "websocket-text-invalid"),
            (frame(TEXT, b"x"), 1002, "websocket-mask-unexpected"),
            (down(CONTINUATION, b"x"), 1002, "websocket-fragment-unexpected"),
            (down(BINARY, b"x" * 5000), 1009, "websocket-too-big"),
        ):
            self.log = self.messages()
            pair = self.pair(websocket_frame_limit=4000)
            pair.origin.send(sent)
            self.broken(pair, False, code, name)

    def test_what_came_before_is_delivered(self):
        pair = self.pair()
        got = messages(pair.from_client(frame(TEXT, b"fine") + frame(7)), True)
        self.assertEqual([each.type for each in got], ["text", "close"])


class DeadlineTests(WebSocketTestCase):
    def test_nothing_moves(self):
        pair = self.pair(tunnel_idle_timeout=100)
        pair.proxy.advance(60)
        pair.from_client(frame(PING))
        pair.proxy.advance(90)
        self.assertNotIn("websocket_end", self.recorder.names)
        pair.proxy.advance(20)
        [message] = messages(pair.at_client(), False)
        self.assertEqual(message.close_code, 1001)
        pair.proxy.advance(10)
        self.assertIn("websocket_end", self.recorder.names)
        self.assertTrue(pair.client.closed)

    def test_pings_find_a_dead_client(self):
        pair = self.pair(websocket_ping_interval=10)
        pair.proxy.advance(11)
        [ping] = messages(pair.at_client(), False)
        [other] = messages(pair.at_origin(), True)
        self.assertEqual((ping.type, other.type), ("ping", "ping"))
        self.assertEqual(pair.from_origin(down(PONG, other.content)), b"")
        pair.proxy.advance(10)
        self.assertEqual(self.error_code, "websocket-ping-timeout")
        self.assertIsNotNone(pair.client.peer.lost)
        last = messages(pair.at_origin(), True)[-1]
        self.assertEqual((last.type, last.close_code), ("close", 1001))
        self.assertEqual(self.recorder.names[-1], "websocket_end")

    def test_whoever_answers_pings_stays(self):
        pair = self.pair(websocket_ping_interval=10)
        for _ in range(5):
            pair.proxy.advance(10.5)
            [ping] = messages(pair.at_client(), False)
            [other] = messages(pair.at_origin(), True)
            self.assertEqual(pair.from_client(frame(PONG, ping.content)), b"")
            self.assertEqual(pair.from_origin(down(PONG, other.content)), b"")
        self.assertEqual(self.recorder.names, ["websockets_handshake", "websocket_start"])

    def test_a_client_that_does_not_read(self):
        pair = self.pair(write_timeout=30)
        pair.client.peer.transport.pauseProducing()
        pair.from_origin(down(BINARY, bytes(2_000_000)))
        [session] = pair.proxy.environment.sessions
        self.assertTrue(session.side.writing.paused)
        pair.proxy.advance(31)
        self.assertEqual(self.error_code, "client-not-reading")
        [message] = messages(pair.at_origin(), True)
        self.assertEqual(message.close_code, 1001)

    def test_a_full_client_stops_the_server(self):
        pair = self.pair()
        pair.client.peer.transport.pauseProducing()
        for _ in range(100):
            pair.origin.send(down(BINARY, bytes(50_000)))
        taken = self.flow.websocket.bytes_from_server
        self.assertLess(taken, 1_000_000)
        pair.client.peer.transport.resumeProducing()
        pair.proxy.flush()
        self.assertEqual(len(messages(pair.at_client(), False)), 100)
