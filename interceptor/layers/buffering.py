"""Whether a body streams or is gathered: the rules, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    if request.stream or not gathers:
        return True
    if fail_closed:
        return False
    if _over_stream_limit(length, settings):
        return True
    return settings.stream_grpc and _media_type(request).startswith(b"application/grpc")


def response_streams(
    response: Response, length: int | None, gathers: bool, settings: Settings
) -> bool:
    """Whether a response's body goes on as it arrives; ``gathers`` as in `request_streams`."""
    if response.stream or not gathers:
        return True
    if _over_stream_limit(length, settings):
        return True
    if length is not None and length > settings.body_size_limit:
        return True
    kind = _media_type(response)
    if kind == b"text/event-stream":
        return True
    return settings.stream_grpc and kind.startswith(b"application/grpc")


def _over_stream_limit(length: int | None, settings: Settings) -> bool:
    limit = settings.stream_large_bodies
    return limit is not None and length is not None and length > limit


def _media_type(message: Message) -> bytes:
    value = message.headers.get_bytes(b"content-type")
    return b"" if value is None else value.partition(b";")[0].strip().lower()
