"""DNS messages on a stream: two bytes with the length before each (RFC 1035 section 4.2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from interceptor.names.wire import HEADER, RESPONSE


def frame(message: bytes) -> bytes:
    """Return a message with its length in front."""
    return len(message).to_bytes(2, "big") + message


class MessageReader:
    """Takes messages off a stream, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def in_the_middle(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, and yield each message that is whole by now.

        What is not asked for stays, and comes first the next time.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2:
            end = 2 + (buffer[0] << 8 | buffer[1])
            if len(buffer) < end:
                return
            message = bytes(buffer[2:end])
            del buffer[:end]
            yield message


def looks_like_request(data: bytes) -> bool | None:
    """Tell whether a stream begins with a question; None where more bytes are needed.

    The length and the header have to fit each other, and there is one question and no answer.
    """
    beginning = data[: 2 + HEADER.size]
    if len(beginning) < 2 + HEADER.size:
        # The operation, the counts: what would be no question is told early.
        return None if _may_begin(beginning) else False
    _, flags, questions, answers, authorities, additions = HEADER.unpack_from(beginning, 2)
    length = beginning[0] << 8 | beginning[1]
    return (
        length >= HEADER.size + 5
        and not flags & RESPONSE
        and flags & 0x7800 in (0, 0x2000, 0x2800)
        and (questions, answers) == (1, 0)
        and authorities + additions <= 16
    )


def _may_begin(data: bytes) -> bool:
    if len(data) >= 2 and (data[0] << 8 | data[1]) < HEADER.size + 5:
        return False
    if len(data) >= 5 and data[4] & 0x80:
        return False
    return len(data) < 8 or data[6:8] == b"\0\1"
