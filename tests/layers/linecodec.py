"""A protocol of lines, for tests of layers of messages."""

from __future__ import annotations

from typing import Any

from interceptor import layers
from interceptor.errors import InterceptorError, RemoteProtocolError


class LineCodec(layers.MessageCodec):
    """Messages are lines. One that begins with an exclamation mark is refused."""

    message_type = layers.BytesMessage

    def read(self, buffer: layers.Buffer, from_client: bool) -> layers.Message | None:
        line = buffer.take_line()
        if line is None:
            return None
        if line.startswith(b"!"):
            raise RemoteProtocolError("it shouts", "line-shouted")
        return layers.BytesMessage(from_client, line.rstrip(b"\r\n"))

    def encode(self, message: Any) -> bytes:
        content: bytes = message.content
        return content + b"\n"

    def sent(self, message: Any) -> None:
        if message.from_client and message.content in (b"detect", b"relay"):
            self.next_layer = message.content.decode()

    def refusal(self, error: InterceptorError) -> bytes:
        return b"error %b\n" % error.code.encode()


class LineLayer(layers.MessageLayer):
    """Speaks lines."""

    name = "line"
    title = "lines"
    codec = LineCodec
    port = 7


class GreetingLayer(LineLayer):
    """Lines, of which the server says the first."""

    name = "greeting"
    server_first = True


class Lines:
    """The addon that declares both."""

    def load(self, loader: Any) -> None:
        loader.add_layer(LineLayer)
        loader.add_layer(GreetingLayer)
