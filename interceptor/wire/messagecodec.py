"""Codecs of protocols that consist of messages: bytes become messages, messages become bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Final, TypeVar

from interceptor.errors import InterceptorError, RemoteProtocolError
from interceptor.model.messageflow import Message

LINE_LIMIT: Final = 65536
"""Bytes that a line may have, its end included, unless the caller says otherwise."""

_MOST_UNANSWERED: Final = 10_000
_UNANSWERED_SIZE: Final = 16 << 20
"""Bytes of commands that wait for their answers, from which on no others are taken."""


class Buffer:
    """What came from one peer and was not taken yet. ``len()`` says how much that is.

    What is taken between two messages is what the message between them consists of.
    """

    __slots__ = ("_data", "_position", "_searched", "ended")

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0
        self._searched = 0
        self.ended = False
        """Whether nothing more will come."""

    def __len__(self) -> int:
        return len(self._data) - self._position

    @property
    def pending(self) -> int:
        """Bytes since the end of the last message, taken or not."""
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Take in what has arrived."""
        self._data += data

    def peek(self, size: int) -> bytes | None:
        """Return the next ``size`` bytes, which stay; None while there are fewer.

        Raises `ValueError` for a negative size.
        """
        if size < 0:
            raise ValueError(f"{size} bytes cannot be taken")
        end = self._position + size
        return bytes(self._data[self._position : end]) if end <= len(self._data) else None

    def take(self, size: int) -> bytes | None:
        """Take the next ``size`` bytes; None, and nothing is taken, while there are fewer."""
        found = self.peek(size)
        if found is not None:
            self._position += size
        return found

    def take_until(self, end: bytes, limit: int = LINE_LIMIT) -> bytes | None:
        """Take all up to ``end``, which is included; None while that has not come.

        Raises `RemoteProtocolError` when it is more than ``limit`` bytes.
        """
        start = max(self._position, self._searched)
        index = self._data.find(end, start)
        length = (len(self._data) if index < 0 else index + len(end)) - self._position
        if length > limit:
            raise RemoteProtocolError(
                f"a line is longer than {limit} bytes, or has no end", "line-too-long"
            )
        if index < 0:
            # The end itself may have come in part.
            self._searched = max(self._position, len(self._data) - len(end) + 1)
            return None
        return self.take(length)

    def take_line(self, limit: int = LINE_LIMIT) -> bytes | None:
        """Take a line with its end, a line feed; as `take_until`."""
        return self.take_until(b"\n", limit)

    def take_rest(self) -> bytes:
        """Take all there is."""
        found = bytes(self._data[self._position :])
        self._position = len(self._data)
        return found

    def end_message(self) -> bytes:
        """Return what was taken since the message before, and begin another one."""
        found = bytes(self._data[: self._position])
        del self._data[: self._position]
        self._position = self._searched = 0
        return found


M = TypeVar("M", bound=Message)


class Unanswered(deque[M]):
    """Commands that a server was sent and has not answered.

    A client that never stops must wait at some point: when ``full`` says so, a codec should take no
    further messages from it, and say so in `MessageCodec.holds`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sizes: deque[int] = deque()
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether there are so many that the next ones have to wait."""
        return len(self) >= _MOST_UNANSWERED or self._size >= _UNANSWERED_SIZE

    def append(self, message: M) -> None:
        super().append(message)
        size = len(message.raw)
        self._sizes.append(size)
        self._size += size

    def popleft(self) -> M:
        message = super().popleft()
        self._size -= self._sizes.popleft()
        return message

    def clear(self) -> None:
        super().clear()
        self._sizes.clear()
        self._size = 0


class MessageCodec(ABC):
    """Reads and writes the messages of one connection, both directions of it.

    A subclass has to say how a message is read and how it is written (`read`, `encode`); that is
    all for a protocol in which a message is understood by itself. It is plain code without I/O: it
    can be tested with bytes.

    ``message_type`` is what `read` makes, for whoever wants to make messages as well.
    """

    message_type: ClassVar[type[Any]] = Message

    limit = 64 << 20
    """Bytes that a message may have."""

    next_layer: str | None = None
    """What follows the messages that were sent, if it is something else.

    ``"tls"``: TLS with both peers, who have agreed on it, and the same protocol inside.
    ``"detect"``: whatever the client begins with. ``"relay"``: bytes that are passed on unseen. A
    codec sets it in `sent`.
    """

    def __init__(self) -> None:
        self._from_client = Buffer()
        self._from_server = Buffer()

    # What a subclass says

    @abstractmethod
    def read(self, buffer: Buffer, from_client: bool) -> Message | None:
        """Take the next message out of ``buffer``; None while it has not come completely.

        Of a message that is not complete either nothing is taken, or what was taken is remembered
        in the codec. Raises `RemoteProtocolError`, with a code of its own, for what makes no sense.
        """

    @abstractmethod
    def encode(self, message: Any) -> bytes:
        """Return the bytes of a message. Raises `LocalProtocolError` where a hook has spoilt it."""

    def sent(self, message: Any) -> None:
        """A message was passed on, or injected: this is what the peer knows of."""
        return

    def dropped(self, message: Any) -> None:
        """A message was not passed on, because a hook dropped it."""
        return

    def refusal(self, error: InterceptorError) -> bytes:
        """Return what tells the client, in the protocol's own words, why the connection ends.

        It is asked for between two messages to the client only. ``error.code`` may be told.
        """
        return b""

    def holds(self, from_client: bool) -> bool:
        """Whether messages of one peer wait for what the other has to say first.

        A codec whose `next_message` returns None for that reason says so here: then only some more
        is read.
        """
        return False

    # What the layer asks for

    def buffer(self, from_client: bool) -> Buffer:
        """Return the buffer of one direction."""
        return self._from_client if from_client else self._from_server

    def receive(self, data: bytes, from_client: bool) -> None:
        """Take in bytes of one peer."""
        self.buffer(from_client).append(data)

    def close(self) -> None:
        """Let go of all that is held: nothing more is read or written.

        A codec that keeps messages drops those as well.
        """
        self._from_client = Buffer()
        self._from_server = Buffer()

    def receive_end(self, from_client: bool) -> None:
        """One peer will send no more."""
        self.buffer(from_client).ended = True

    def next_message(self, from_client: bool) -> Message | None:
        """Return the next message from one peer; None while there is none.

        That may depend on what the other peer has sent: a codec may return None until it has seen
        the other's answer (see `holds`). Raises `RemoteProtocolError`.
        """
        buffer = self.buffer(from_client)
        if not len(buffer) and not buffer.ended:
            return None
        message = self.read(buffer, from_client)
        if message is not None:
            message.raw = buffer.end_message()
            return message
        if buffer.pending > self.limit:
            raise RemoteProtocolError(
                f"a message is longer than {self.limit} bytes", "message-too-large"
            )
        if buffer.ended and buffer.pending:
            raise RemoteProtocolError("the last message is incomplete", "message-truncated")
        return None
