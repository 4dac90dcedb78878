"""The lines about WebSockets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.addons.websockettext import message_lines, websocket_summary
from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.websocket import WebSocketData, WebSocketMessage
from interceptor.testing import make_flow


def flow(**values: object) -> HTTPFlow:
    """Return a flow whose WebSocket has ended."""
    made = make_flow("http://example.test/chat", response=101)
    data = made.websocket = WebSocketData()
    data.messages_from_client, data.messages_from_server = 3, 5
    data.bytes_from_client, data.bytes_from_server = 100, 20_000
    data.close_code, data.closed_by_client = 1000, True
    data.timestamp_end = made.request.timestamp_start + 1.5
    for name, value in values.items():
        setattr(data, name, value)
    return made


class SummaryTests(SynchronousTestCase):
    def test_one_that_ended_well(self):
        self.assertEqual(
            websocket_summary(flow()),
            "192.0.2.1:50000 WS http://example.test/chat 3/5 100b 20k 1000 1500ms client",
        )

    def test_who_closed(self):
        for closer, word in ((False, "server"), (None, "proxy")):
            line = websocket_summary(flow(closed_by_client=closer))
            self.assertTrue(line.endswith(f" {word}"), line)

    def test_one_that_failed(self):
        made = flow(close_code=1002, closed_by_client=None)
        made.error = Error("it broke", code="websocket-opcode-reserved")
        self.assertTrue(
            websocket_summary(made).endswith(
                " 1002 1500ms proxy error: websocket-opcode-reserved: it broke"
            )
        )


class MessageTests(SynchronousTestCase):
    def test_text(self):
        message = WebSocketMessage(True, "text", b"hello \x1b[31m")
        self.assertEqual(
            list(message_lines(flow(), message)),
            ["192.0.2.1:50000 WS > text 11b", "    hello \\x1b[31m"],
        )

    def test_a_long_text_is_cut(self):
        message = WebSocketMessage(False, "text", "ä".encode() * 10_000)
        [_, line] = message_lines(flow(), message)
        self.assertEqual(line, "    " + "ä" * 199 + "…")

    def test_bytes(self):
        message = WebSocketMessage(False, "binary", bytes(range(20)))
        message.injected = True
        message.drop()
        self.assertEqual(
            list(message_lines(flow(), message)),
            [
                "192.0.2.1:50000 WS < binary 20b injected dropped",
                "    0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f",
                "    0010  10 11 12 13",
            ],
        )
