"""WebSocket messages, and what a flow knows of its WebSocket."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import InterceptorError
from interceptor.model.websocket import WebSocketData, WebSocketMessage
from tests.websockets import frame


class MessageTests(SynchronousTestCase):
    def test_content_of_frames(self):
        message = WebSocketMessage(True, "binary", None, 1.0, frame(2, b"hello"))
        self.assertEqual((message.content, message.text), (b"hello", "hello"))
        self.assertFalse(message.edited)

    def test_changes(self):
        message = WebSocketMessage(False, "text", b"hello")
        message.text = "schön"
        self.assertEqual((message.content, message.edited), ("schön".encode(), True))

    def test_the_same_is_no_change(self):
        message = WebSocketMessage(False, "text", b"hello")
        message.content = bytes(bytearray(b"hello"))
        self.assertFalse(message.edited)

    def test_what_a_content_cannot_be(self):
        for kind, content in (
            ("text", b"\xff"),
            ("ping", b"x" * 126),
            ("close", b"x" * 124),
            ("close", b"\xff"),
        ):
            message = WebSocketMessage(True, kind, b"")
            with self.assertRaises(ValueError):
                message.content = content
        text: Any = "text"
        with self.assertRaises(TypeError):
            WebSocketMessage(True, "text", b"").content = text

    def test_drop(self):
        message = WebSocketMessage(True, "ping", b"")
        message.drop()
        self.assertTrue(message.dropped)
        self.assertRaises(ValueError, WebSocketMessage(True, "close", b"").drop)

    def test_close_codes(self):
        message = WebSocketMessage(True, "close", b"")
        self.assertEqual(message.close_code, 1005)
        message.close_code = 4000
        self.assertTrue(message.edited)
        for code in (1006, 999, 5000):
            with self.assertRaises(ValueError):
                message.close_code = code
        with self.assertRaises(ValueError):
            WebSocketMessage(True, "text", b"").close_code = 1000

    def test_copies_are_equal_and_independent(self):
        message = WebSocketMessage(True, "text", b"hello", 1.0)
        copy = message.copy()
        self.assertEqual(copy, message)
        copy.content = b"bye"
        self.assertNotEqual(copy, message)
        self.assertEqual(message.content, b"hello")


class Control:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def inject(self, message: WebSocketMessage) -> None:
        self.calls.append((message.from_client, message.type, message.content, message.injected))

    def close(self, code: int, reason: str) -> None:
        self.calls.append((code, reason))


class DataTests(SynchronousTestCase):
    def setUp(self):
        self.control = Control()
        self.data = WebSocketData()
        self.data.attach(self.control)

    def test_inject(self):
        self.data.inject(True, "hello")
        self.data.inject(False, b"\0")
        self.data.inject(False, b"hi", "text")
        self.data.inject(True, b"", "ping")
        self.assertEqual(
            self.control.calls,
            [
                (False, "text", b"hello", True),
                (True, "binary", b"\0", True),
                (True, "text", b"hi", True),
                (False, "ping", b"", True),
            ],
        )

    def test_what_cannot_be_injected(self):
        for content, kind in ((b"\xff", "text"), (b"", "close"), (b"x" * 126, "ping")):
            self.assertRaises(ValueError, self.data.inject, True, content, kind)

    def test_close(self):
        self.data.close(4000, "enough")
        self.assertEqual(self.control.calls, [(4000, "enough")])
        self.assertRaises(ValueError, self.data.close, 1006)
        self.assertRaises(ValueError, self.data.close, 1000, "x" * 124)

    def test_a_record_is_not_open(self):
        self.data.attach(None)
        self.assertFalse(self.data.live)
        error = self.assertRaises(InterceptorError, self.data.inject, True, "late")
        self.assertEqual(error.code, "websocket-not-open")
        self.data.close()

    def test_copy(self):
        self.data.messages.append(WebSocketMessage(True, "text", b"hello"))
        self.data.close_code = 1000
        copy = self.data.copy()
        self.assertEqual((copy.messages, copy.close_code), (self.data.messages, 1000))
        self.assertIsNot(copy.messages[0], self.data.messages[0])
        self.assertFalse(copy.live)
