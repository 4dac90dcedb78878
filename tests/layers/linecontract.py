"""What layers for a protocol of lines have to do, whatever they are made of."""

from __future__ import annotations

from typing import Any

from interceptor.testing import EventRecorder


class LineContract:
    """``word`` begins the names of the layer's events; a test case brings the rest."""

    word: str

    def test_silence_on_both_sides(self: Any) -> None:
        recorder = EventRecorder(f"{self.word}_error", f"{self.word}_end")
        proxy = self.proxy(recorder, tunnel_idle_timeout=10)
        self.client.send(b"one\n")
        proxy.advance(9)
        self.origin.send(b"two\n")
        proxy.advance(9)
        self.assertEqual(recorder.names, [])
        proxy.advance(10)
        self.assertEqual((recorder.names, self.client.closed), ([f"{self.word}_end"], True))

    def test_a_server_that_resets(self: Any) -> None:
        recorder = EventRecorder(f"{self.word}_error")
        self.proxy(recorder)
        self.client.send(b"one\n")
        self.origin.abort()
        (flow,) = recorder.arguments(f"{self.word}_error")
        self.assertEqual((flow.error.code, self.client.closed), ("server-reset", True))
