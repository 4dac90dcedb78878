"""The echo that WebSocket workloads are made of, without a proxy."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.wsecho import Echo, frames
from tests.websockets import messages


class FrameTests(SynchronousTestCase):
    def test_both_have_the_payload(self):
        for size in (0, 64, 125, 126, 65535, 65536):
            payload = b"x" * size
            up, down = frames(payload, True)
            [sent], [answered] = messages(up, True), messages(down, False)
            self.assertEqual((sent.type, sent.content), ("text", payload))
            self.assertEqual((answered.type, answered.content), ("text", payload))

    def test_bytes(self):
        [message] = messages(frames(b"\xff", False)[0], True)
        self.assertEqual((message.type, message.content), ("binary", b"\xff"))


class EchoTests(SynchronousTestCase):
    def test_messages_come_back(self):
        for size in (64, 65536):
            with Echo(size, True) as echo:
                result = echo.run(echo.port, 3, 60.0, 100)
                again = echo.run(echo.port, 1, 60.0, 10)
            self.assertGreaterEqual(result.requests, 100)
            self.assertGreater(result.received, 200 * size)
            self.assertEqual((dict(result.errors), again.requests), ({}, 10))
