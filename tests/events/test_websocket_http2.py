"""WebSocket over HTTP/2 (RFC 8441), with either side, and with one side only."""

from __future__ import annotations

from typing import Any

from interceptor import http
from interceptor.model.flow import HTTPFlow
from interceptor.testing import EventRecorder
from interceptor.wire.websocketdeflate import Deflate, Deflater, Direction
from tests.events.cases import EventTestCase, Hooks
from tests.layers.h2peers import H2Client, H2Origin, H2Peer, ok
from tests.websockets import (
    KEY,
    PING,
    TEXT,
    accept_of,
    close_frame,
    frame,
    handshake,
    messages,
    switching,
)

EVENTS = (
    "http_connect",
    "request",
    "websockets_handshake",
    "response",
    "error",
    "websocket_start",
    "websocket_message",
    "websocket_control",
    "websocket_end",
    "tcp_start",
)


def plain_ok(peer: H2Peer, stream: int) -> None:
    """Answer requests that are for no WebSocket."""
    if peer.field(stream, b":method") != b"CONNECT":
        ok(peer, stream)


def down(opcode: int, payload: bytes = b"") -> bytes:
    """Return a frame of the server."""
    return frame(opcode, payload, masked=False)


class HTTP2TestCase(EventTestCase):
    """A client that speaks HTTP/2, and a server that offers WebSocket over it."""

    def start(self, *addons: object, **options: Any) -> None:
        self.recorder = EventRecorder(*EVENTS)
        self.proxy_ = self.proxy(
            *addons, self.recorder, h2_cleartext=True, mode="reverse:http://example.test", **options
        )

    def connect(self, *addons: object, offer: bool = True, **options: Any) -> None:
        """Let both come to know that there may be WebSockets."""
        self.start(*addons, **options)
        self.origin = H2Origin(self.proxy_, plain_ok, enable_connect_protocol=int(offer))
        self.client = H2Client(self.proxy_)
        self.client.request("/first")
        self.recorder.events.clear()

    @property
    def peer(self) -> H2Peer:
        """The server's end."""
        return self.origin.peers[-1]

    def open(self, *fields: tuple[str, str], answer: Any = (), status: str = "200") -> int:
        """Ask for a WebSocket; the server answers."""
        stream = self.ask(*fields)
        if self.peer.heads[stream]:
            self.peer.h2.send_headers(stream, [(":status", status), *answer])
            self.origin.go()
        return stream

    def ask(self, *fields: tuple[str, str], protocol: str = "websocket") -> int:
        """Send an extended CONNECT."""
        return self.client.request(
            "/chat",
            (":protocol", protocol),
            ("sec-websocket-version", "13"),
            *fields,
            method="CONNECT",
            end=False,
        )

    def up(self, stream: int, *frames: bytes) -> bytes:
        """Send frames, and return what the server got."""
        self.client.h2.send_data(stream, b"".join(frames))
        self.client.go()
        data, self.peer.bodies[stream] = self.peer.bodies[stream], b""
        return data

    def below(self, stream: int, *frames: bytes) -> bytes:
        """Send frames of the server, and return what the client got."""
        self.peer.h2.send_data(stream, b"".join(frames))
        self.origin.go()
        return self.taken(stream)

    def taken(self, stream: int) -> bytes:
        """What the client got."""
        data, self.client.bodies[stream] = self.client.bodies[stream], b""
        return data

    @property
    def flow(self) -> HTTPFlow:
        """The flow of the last event."""
        flow: HTTPFlow = self.recorder.events[-1][1]
        return flow


class BothTests(HTTP2TestCase):
    """HTTP/2 on both sides."""

    def test_it_is_offered_where_the_server_offers_it(self):
        for offer in (True, False):
            self.connect(offer=offer)
            known = self.client.h2.remote_settings.enable_connect_protocol
            self.assertEqual(bool(known), offer)

    def test_a_whole_one(self):
        self.connect()
        stream = self.open()
        self.assertEqual(self.client.status(stream), b"200")
        self.assertEqual(self.peer.field(stream, b":protocol"), b"websocket")
        self.assertEqual(self.peer.field(stream, b":path"), b"/chat")
        sent = frame(TEXT, b"hello") + frame(PING, b"?")
        self.assertEqual(self.up(stream, sent), sent)
        self.assertEqual(self.below(stream, down(TEXT, b"hi")), down(TEXT, b"hi"))
        self.assertEqual(self.up(stream, close_frame()), close_frame())
        self.assertEqual(self.below(stream, close_frame(masked=False)), close_frame(masked=False))
        self.assertIn(stream, self.client.finished)
        self.assertEqual(
            self.recorder.names,
            [
                "request",
                "websockets_handshake",
                "response",
                "websocket_start",
                "websocket_message",
                "websocket_control",
                "websocket_message",
                "websocket_control",
                "websocket_control",
                "websocket_end",
            ],
        )
        self.assertEqual(self.flow.websocket.close_code, 1000)
        self.assertIsNone(self.flow.error)

    def test_streams_beside_it_go_on(self):
        self.connect()
        one, two = self.open(), self.open()
        plain = self.client.request("/plain")
        self.assertEqual(self.client.bodies[plain], b"/plain")
        for stream in (one, two, one):
            text = frame(TEXT, b"%d" % stream)
            self.assertEqual(self.up(stream, text), text)
        self.assertEqual(len(self.origin.peers), 1)

    def test_edits_and_injection(self):
        def edit(flow: HTTPFlow) -> None:
            message = flow.websocket.messages[-1]
            if not message.injected:
                message.text = message.text.upper()
                flow.websocket.inject(True, "seen")

        self.connect(Hooks(websocket_message=edit))
        stream = self.open()
        [message] = messages(self.up(stream, frame(TEXT, b"hello")), True)
        self.assertEqual(message.text, "HELLO")
        self.assertEqual(self.taken(stream), down(TEXT, b"seen"))

    def test_compression(self):
        self.connect()
        field = ("sec-websocket-extensions", "permessage-deflate")
        stream = self.open(field, answer=[field])
        packed = Deflater(Direction()).deflate(b"hello " * 50)
        sent = frame(TEXT, packed, reserved=4)
        self.assertEqual(self.up(stream, sent), sent)
        self.assertEqual(self.flow.websocket.messages[-1].content, b"hello " * 50)
        self.assertEqual(messages(sent, True, Deflate())[0].content, b"hello " * 50)

    def test_a_refusal(self):
        self.connect()
        stream = self.open(status="403")
        self.peer.h2.send_data(stream, b"no", end_stream=True)
        self.origin.go()
        self.assertEqual(self.client.status(stream), b"403")
        self.assertEqual(self.client.bodies[stream], b"no")
        self.assertEqual(self.recorder.names, ["request", "websockets_handshake", "response"])
        self.assertIsNone(self.flow.websocket)

    def test_a_hook_answers(self):
        def answer(flow: HTTPFlow) -> None:
            flow.response = http.Response.make(403, b"no")

        for event in ("request", "websockets_handshake", "responseheaders", "response"):
            hook = {event: lambda flow: answer(flow) if flow.request.path == "/chat" else None}
            self.connect(Hooks(**hook))
            stream = self.open()
            self.assertEqual(self.client.status(stream), b"403", event)
            self.assertEqual(self.client.bodies[stream], b"no")

    def test_no_version(self):
        self.connect()
        stream = self.client.request(
            "/chat", (":protocol", "websocket"), method="CONNECT", end=False
        )
        self.assertEqual(self.client.status(stream), b"400")
        self.assertIn(b"websocket-handshake-invalid", self.client.bodies[stream])

    def test_another_protocol(self):
        self.connect()
        stream = self.ask(protocol="connect-udp")
        self.assertEqual(self.client.status(stream), b"501")
        self.assertIn(b"connect-protocol-unsupported", self.client.bodies[stream])

    def test_the_client_resets_its_stream(self):
        self.connect()
        stream = self.open()
        self.client.h2.reset_stream(stream, 8)
        self.client.go()
        self.assertEqual(self.flow.error.code if self.flow.error else "", "client-disconnected")
        self.assertIn(stream, self.peer.resets)
        plain = self.client.request("/plain")
        self.assertEqual(self.client.bodies[plain], b"/plain")

    def test_the_server_resets_its_stream(self):
        self.connect()
        stream = self.open()
        self.peer.h2.reset_stream(stream, 8)
        self.origin.go()
        self.assertEqual(self.recorder.names[-1], "websocket_end")
        self.assertIn(stream, self.client.resets)

    def test_rules(self):
        self.connect()
        stream = self.open()
        [message] = messages(self.up(stream, frame(5)), True)
        self.assertEqual(message.close_code, 1001)
        [message] = messages(self.taken(stream), False)
        self.assertEqual(message.close_code, 1002)
        self.assertIn(stream, self.client.finished)

    def test_back_pressure(self):
        self.connect()
        stream = self.open()
        self.client.credit = False
        for _ in range(100):
            room = self.peer.h2.local_flow_control_window(stream)
            size = min(room, 16_000)
            if size < 1000:
                break
            self.below(stream, down(2, bytes(size - 10)))
        else:
            self.fail("the server was never stopped")
        self.assertLess(self.flow.websocket.bytes_from_server, 1_000_000)

    def test_shutdown(self):
        self.connect()
        stream = self.open()
        [session] = self.proxy_.environment.sessions
        session.shut_down()
        self.proxy_.flush()
        [message] = messages(self.taken(stream), False)
        self.assertEqual(message.close_code, 1001)
        self.proxy_.advance(10)
        self.assertEqual(self.recorder.names[-1], "websocket_end")

    def test_the_connection_ends(self):
        self.connect()
        self.open()
        self.client.transport.abortConnection()
        self.proxy_.flush()
        self.assertEqual(self.recorder.names[-1], "websocket_end")


class TranslationTests(HTTP2TestCase):
    """HTTP/2 with one side, HTTP/1 with the other."""

    def test_to_a_server_of_old(self):
        def elsewhere(flow: HTTPFlow) -> None:
            if flow.request.path == "/chat":
                flow.request.host = "old.test"

        self.connect(Hooks(request=elsewhere), h2_upstream="never")
        self.offer()
        origin = self.proxy_.origin("old.test")
        origin.respond(lambda request: switching(accept=accept_of(request)))
        stream = self.ask()
        self.assertEqual(self.client.status(stream), b"200")
        self.assertIsNone(self.client.field(stream, b"sec-websocket-accept"))
        [request] = origin.requests
        self.assertEqual((request.method, request.path), ("GET", "/chat"))
        self.assertEqual(request.headers["Upgrade"], "websocket")
        self.client.h2.send_data(stream, frame(TEXT, b"hello"))
        self.client.go()
        self.assertTrue(origin.received.endswith(frame(TEXT, b"hello")))

    def offer(self) -> None:
        """Let the proxy offer it, whatever its server does."""
        [session] = self.proxy_.environment.sessions
        protocol: Any = session.side.protocol
        protocol.offer_connect_protocol()
        self.proxy_.flush()

    def test_from_a_client_of_old(self):
        self.start(h2_upstream="always")
        origin = H2Origin(self.proxy_, plain_ok, enable_connect_protocol=1)
        first = self.proxy_.client()
        first.send(b"GET /first HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertIn(b"/first", first.take())
        first.send(handshake(target=""))
        [peer] = origin.peers
        stream = max(peer.heads)
        self.assertEqual(peer.field(stream, b":method"), b"CONNECT")
        self.assertIsNone(peer.field(stream, b"sec-websocket-key"))
        peer.h2.send_headers(stream, [(":status", "200")])
        origin.go()
        head = first.take()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head)
        self.assertIn(KEY, handshake())
        first.send(frame(TEXT, b"hello"))
        self.assertEqual(peer.bodies[stream], frame(TEXT, b"hello"))

    def test_a_server_that_does_not_offer_it(self):
        self.start(h2_upstream="always")
        H2Origin(self.proxy_, plain_ok)
        client = self.proxy_.client()
        client.send(b"GET /first HTTP/1.1\r\nHost: example.test\r\n\r\n")
        client.take()
        client.send(handshake(target=""))
        self.assertIn(b"websocket-not-offered", client.received)
