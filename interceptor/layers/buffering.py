"""Whether a body streams or is gathered: the rules, in the order in which they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from interceptor.hooks.bus import Fire, HookBus
    from interceptor.layers.environment import Settings
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.http import Response
    from interceptor.model.message import Message

EVENT_STREAM: Final = b"text/event-stream"
"""The media type of server-sent events."""


def request_streams(
    flow: HTTPFlow, length: int | None, fire: Fire | None, settings: Settings
) -> bool:
    """Whether a request's body goes on as it arrives.

    ``fire`` calls the ``request`` hooks. Where one of those belongs to an addon that must not be
    passed by, nothing that the client chooses (type, length) makes the body stream, nor do other
    addons.
    """
    if fire is None or fire.observes_only:
        return True
    request = flow.request
    if fire.fail_closed:
        return bool(request.stream) and fire.agreed(flow)
    if request.stream:
        return True
    if _over_stream_limit(length, settings):
        return True
    if settings.body_size_overflow == "stream" and _over_size_limit(length, settings):
        return True
    return settings.stream_grpc and media_type(request).startswith(b"application/grpc")


def response_streams(
    response: Response, length: int | None, fire: Fire | None, settings: Settings
) -> bool:
    """Whether a response's body goes on as it arrives; ``fire`` calls the ``response`` hooks."""
    if response.stream or fire is None or fire.observes_only:
        return True
    if _over_stream_limit(length, settings):
        return True
    if settings.body_size_overflow != "refuse" and _over_size_limit(length, settings):
        return True
    kind = media_type(response)
    if kind == EVENT_STREAM:
        return True
    return settings.stream_grpc and kind.startswith(b"application/grpc")


def is_passed_by(response: Response, hooks: HookBus, settings: Settings) -> bool:
    """Whether nothing is done with the body of a response that streams."""
    if callable(response.stream) or settings.store_streamed_bodies:
        return False
    return hooks.sse_event is None


def _over_stream_limit(length: int | None, settings: Settings) -> bool:
    limit = settings.stream_large_bodies
    return limit is not None and length is not None and length > limit


def _over_size_limit(length: int | None, settings: Settings) -> bool:
    return length is not None and length > settings.body_size_limit


def media_type(message: Message) -> bytes:
    """Return the type of a message's content in lower case, without parameters; often empty."""
    value = message.headers.get_bytes(b"content-type")
    return b"" if value is None else value.partition(b";")[0].strip().lower()
