"""For tests of codecs of messages: reading what two peers say, whole and byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from interceptor.wire.messagecodec import MessageCodec


def read_messages(make: Callable[[], MessageCodec], *pieces: tuple[bool, bytes]) -> list[Any]:
    """Feed a new codec what client and server send in turn, and return the messages it reads.

    Each piece says whether it is from the client, and what it is; messages count as passed on. It
    is done a second time byte by byte. Raises `AssertionError` where that makes a difference, in
    the messages or in what the codec would write of them.
    """
    whole = _read_pieces(make(), pieces, whole=True)
    single = _read_pieces(make(), pieces, whole=False)
    assert whole == single, f"byte by byte the messages are {single}, not {whole}"
    return [message for message, _ in whole]


def _read_pieces(
    codec: MessageCodec, pieces: Sequence[tuple[bool, bytes]], *, whole: bool
) -> list[tuple[Any, bytes]]:
    found = []
    for from_client, data in pieces:
        for part in [data] if whole else [data[i : i + 1] for i in range(len(data))]:
            codec.receive(part, from_client)
            while (message := codec.next_message(from_client)) is not None:
                # Nothing of it but what it says: the time differs.
                message.timestamp = 0.0
                found.append((message, codec.encode(message)))
                codec.sent(message)
    return found
