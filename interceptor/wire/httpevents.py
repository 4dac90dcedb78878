"""HTTP events that name no version: what codecs say to exchanges.

The classes are plain slotted objects, not frozen dataclasses, because several are made for every
message on the hot path. Treat them as immutable.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from interceptor.errors import RemoteProtocolError
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response
    from interceptor.wire.framing import Framing


class RequestHead:
    """The head of a request. With ``end_of_message`` neither data nor an end event follows."""

    __slots__ = ("end_of_message", "framing", "request")

    def __init__(self, request: Request, framing: Framing, end_of_message: bool) -> None:
        self.request = request
        self.framing = framing
        self.end_of_message = end_of_message


class ResponseHead:
    """The head of a response, informational (status below 200, except 101) or final.

    After an informational one, whose ``end_of_message`` is False, the next head follows.
    """

    __slots__ = ("end_of_message", "framing", "response")

    def __init__(self, response: Response, framing: Framing, end_of_message: bool) -> None:
        self.response = response
        self.framing = framing
        self.end_of_message = end_of_message


class Data:
    """Body bytes, transfer coding removed, content coding untouched; never empty unless last."""

    __slots__ = ("data", "end_of_message")

    def __init__(self, data: bytes, end_of_message: bool) -> None:
        self.data = data
        self.end_of_message = end_of_message


class EndOfMessage:
    """The message is complete. ``trailers`` is None where there were none."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: Headers | None = None) -> None:
        self.trailers = trailers


class StreamReset:
    """A stream is over: the peer gave it up, or broke the protocol on it.

    ``code`` is an RFC 9113 section 7 error code. ``error`` is what the peer did wrong, where that
    is why; RST_STREAM is on its way then. ``retryable`` tells that the peer has not acted on the
    request, so that even one that is not idempotent may be sent again.
    """

    __slots__ = ("code", "error", "message", "retryable")

    def __init__(
        self,
        code: int,
        message: str,
        error: RemoteProtocolError | None = None,
        retryable: bool = False,
    ) -> None:
        self.code = code
        self.message = message
        self.error = error
        self.retryable = retryable


class _Sentinel(enum.Enum):
    NEED_DATA = enum.auto()
    CONNECTION_CLOSED = enum.auto()


NEED_DATA: Final = _Sentinel.NEED_DATA
"""More bytes are needed before the next event."""

CONNECTION_CLOSED: Final = _Sentinel.CONNECTION_CLOSED
"""The peer ended the connection where no message was under way."""

HTTPEvent = RequestHead | ResponseHead | Data | EndOfMessage | StreamReset
"""What a codec's ``next_event`` may return besides `NEED_DATA` and `CONNECTION_CLOSED`."""

NoEvent = Literal[_Sentinel.NEED_DATA, _Sentinel.CONNECTION_CLOSED]
"""The type of those two."""

NeedData = Literal[_Sentinel.NEED_DATA]
"""The type of the first, where the end of a connection is told by other means."""
