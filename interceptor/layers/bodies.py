"""Bodies on their way through: whether they stream or are gathered, and how they are changed.

The rules, in the order in which they are asked, are the manual's page on buffering and streaming.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from interceptor.errors import InterceptorError
from interceptor.model.body import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptor.layers.environment import Settings
    from interceptor.model.http import Request, Response
    from interceptor.model.message import Message


def request_streams(
    request: Request, length: int | None, gathers: bool, fail_closed: bool, settings: Settings
) -> bool:
    """Whether a request's body goes on as it arrives.

    ``gathers`` tells whether a ``request`` hook wants the whole of it, ``fail_closed`` whether one
    of those belongs to an addon that must not be passed by: then nothing that the client chooses
    (type, length) makes it stream.
    """
    if request.stream:
        return True
    if not gathers:
        return True
    if fail_closed:
        return False
    if _too_large_to_gather(length, settings):
        return True
    return settings.stream_grpc and _is_grpc(request)


def response_streams(
    response: Response, length: int | None, gathers: bool, settings: Settings
) -> bool:
    """Whether a response's body goes on as it arrives; ``gathers`` as in `request_streams`."""
    if response.stream or not gathers:
        return True
    if _too_large_to_gather(length, settings):
        return True
    if length is not None and length > settings.body_size_limit:
        return True
    kind = _media_type(response)
    if kind == b"text/event-stream":
        return True
    return settings.stream_grpc and kind.startswith(b"application/grpc")


def _too_large_to_gather(length: int | None, settings: Settings) -> bool:
    limit = settings.stream_large_bodies
    return limit is not None and length is not None and length > limit


def _is_grpc(message: Message) -> bool:
    return _media_type(message).startswith(b"application/grpc")


def _media_type(message: Message) -> bytes:
    value = message.headers.get_bytes(b"content-type")
    if value is None:
        return b""
    return value.partition(b";")[0].strip().lower()


class Gathered:
    """Collects a body: one chunk as it is, more of them in memory, a large one in a file."""

    __slots__ = ("_body", "_first", "_memory_limit", "length")

    def __init__(self, memory_limit: int) -> None:
        self._memory_limit = memory_limit
        self._first = b""
        self._body: Body | None = None
        self.length = 0

    def append(self, data: bytes) -> None:
        """Add a chunk."""
        if self._body is not None:
            self._body.append(data)
        elif not self.length:
            self._first = data
        else:
            self._body = Body(self._memory_limit)
            self._body.append(self._first)
            self._body.append(data)
            self._first = b""
        self.length += len(data)

    def result(self) -> bytes | Body:
        """Return the whole: bytes where it fits into memory."""
        body = self._body
        if body is None:
            return self._first
        if self.length <= self._memory_limit:
            value = body.getvalue()
            body.close()
            return value
        return body


class Stored:
    """Keeps a copy of what streams by, up to a limit."""

    __slots__ = ("_body", "_limit", "overflowed")

    def __init__(self, limit: int, memory_limit: int) -> None:
        self._limit = limit
        self._body = Body(memory_limit)
        self.overflowed = False

    def append(self, data: bytes) -> None:
        """Add a chunk, or what of it is within the limit."""
        room = self._limit - self._body.length
        if len(data) > room:
            self.overflowed = True
            data = data[: max(0, room)]
        if data:
            self._body.append(data)

    def attach(self, message: Message, metadata: dict[str, Any], name: str) -> None:
        """Give the message its copy; an incomplete one is marked in the flow's metadata."""
        message.attach_body(self._body)
        if self.overflowed:
            metadata[f"{name}_truncated"] = True


async def transformed(transform: Callable[[bytes], Any], data: bytes) -> list[bytes]:
    """Return what a script's stream callable makes of a chunk: any number of chunks.

    It may return bytes, several chunks, or a Deferred (or coroutine) of either. Whatever it raises
    ends the flow, because nobody can know what it would have removed.
    """
    try:
        made = transform(data)
        if isinstance(made, Deferred) or hasattr(made, "__await__"):
            made = await made
        if isinstance(made, (bytes, bytearray, memoryview)):
            return [bytes(made)] if made else []
        if made is None:
            return []
        return [bytes(chunk) for chunk in made if chunk]
    except InterceptorError:
        raise
    except Exception as error:
        raise InterceptorError(
            f"a stream callable failed: {type(error).__name__}: {error}", "stream-failed"
        ) from error
