"""Bodies on their way through: gathered whole, or relayed chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from interceptor.errors import InterceptorError
from interceptor.layers.bodylimits import SMALL_BODY, MemoryFullError
from interceptor.layers.failures import StreamCallableError, reset_error
from interceptor.model.body import Body, SpoolError
from interceptor.wire.httpevents import NEED_DATA, Data, EndOfMessage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from interceptor.layers.bodylimits import BodyBounds, Pace
    from interceptor.layers.environment import Settings
    from interceptor.model.message import Message


class Gathered:
    """Collects a body: one chunk as it is, more of them in memory, a large one in a file.

    ``bounds`` say whether there is memory for it.
    """

    __slots__ = ("_body", "_bounds", "_counted", "_first", "_memory_limit", "length")

    def __init__(self, bounds: BodyBounds) -> None:
        self._memory_limit = bounds.memory_limit
        self._bounds = bounds
        self._counted = 0
        self._first = b""
        self._body: Body | None = None
        self.length = 0

    def append(self, data: bytes) -> None:
        """Add a chunk."""
        length = self.length + len(data)
        if length > SMALL_BODY and self._memory_limit:
            self._count(length)
        if self._body is not None:
            self._body.append(data)
        elif not self.length and len(data) <= self._memory_limit:
            self._first = data
        else:
            self._body = Body(self._memory_limit)
            self._body.append(self._first)
            self._body.append(data)
            self._first = b""
        self.length += len(data)

    def _count(self, length: int) -> None:
        """Count a body that has ``length`` bytes now, or see that it goes to a file."""
        if length <= self._memory_limit and self._bounds.take(length - self._counted):
            self._counted = length
            return
        self._bounds.give_back(self._counted)
        self._counted = self._memory_limit = 0
        if self._body is not None:
            self._body.spool()

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


_BYTES = (bytes, bytearray, memoryview)


async def gather(
    source: Any,
    message: Message,
    limit: int,
    bounds: BodyBounds,
    pace: Pace | None,
    event: Any = NEED_DATA,
) -> bool:
    """Read a message's body from the stream ``source`` and attach it to the message.

    Stops, and returns False, where the body goes over ``limit`` bytes and has not ended: what there
    is of it is attached. ``event`` was pulled from the source already.
    """
    body = Gathered(bounds)
    complete = True
    if event is NEED_DATA:
        event = source.next_event()
    while True:
        if event is NEED_DATA:
            if pace is None:
                await source.when_readable()
            else:
                await pace.wait(source, body.length)
        elif type(event) is Data:
            body.append(event.data)
            if event.end_of_message:
                break
            if body.length > limit:
                complete = False
                break
        elif type(event) is EndOfMessage:
            message.trailers = event.trailers
            break
        else:
            raise reset_error(event)
        event = source.next_event()
    message.attach_body(body.result())
    message.body_size = body.length
    if complete:
        message.timestamp_end = time.time()
    if bounds.crowded:
        await bounds.turn(message)
    return complete


async def send_body(sink: Any, body: Body) -> None:
    """Send a gathered body to the stream ``sink``, no faster than it is taken."""
    for chunk in body.chunks():
        sink.send_data(chunk)
        if sink.write_paused:
            await sink.when_writable()


class Relay:
    """Moves one message's body from the stream it arrives on to the stream it leaves by.

    Each chunk goes through the message's ``stream`` callable, where a hook set one, and a copy of
    what leaves is kept where ``store_streamed_bodies`` asks for it. ``attend`` is awaited between
    chunks and before the end: it raises where nothing more may be sent.
    """

    __slots__ = (
        "_attend",
        "_clock",
        "_message",
        "_sink",
        "_source",
        "_stored",
        "_timeout",
        "_transform",
        "pace",
    )

    def __init__(
        self,
        source: Any,
        sink: Any,
        message: Message,
        settings: Settings,
        attend: Callable[[], Awaitable[None]],
        clock: IReactorTime,
        bounds: Callable[[], BodyBounds] | None = None,
    ) -> None:
        # How slowly the body may come; None lets its sender take its time.
        self.pace: Pace | None = None
        self._source = source
        self._sink = sink
        self._message = message
        self._transform = message.stream if callable(message.stream) else None
        self._attend = attend
        self._clock = clock
        self._timeout = settings.hook_timeout
        self._stored: Stored | None = None
        if settings.store_streamed_bodies:
            self._stored = Stored(settings.store_streamed_limit, settings.body_memory_limit)
            if bounds is not None:
                self._stored.count_in(bounds())

    @property
    def changes(self) -> bool:
        """Whether a callable may change the body, so that its length cannot be announced."""
        return self._transform is not None

    async def replay(self, body: bytes | Body | None) -> None:
        """Relay what was gathered of the message, which is counted anew."""
        self._message.body_size = 0
        for chunk in body.chunks() if isinstance(body, Body) else (body,):
            if chunk:
                await self.pass_on(chunk)

    async def run(self, event: Any = NEED_DATA) -> None:
        """Relay everything up to the end of the message, the end included.

        ``event`` was pulled from the source already.
        """
        source, message = self._source, self._message
        if event is NEED_DATA:
            event = source.next_event()
        while True:
            if event is NEED_DATA:
                if self.pace is None:
                    await source.when_readable()
                else:
                    await self.pace.wait(source, message.body_size)
            elif type(event) is Data:
                if event.data:
                    await self.pass_on(event.data)
                if event.end_of_message:
                    break
            elif type(event) is EndOfMessage:
                message.trailers = event.trailers
                break
            else:
                raise reset_error(event)
            event = source.next_event()
        await self.end()
        message.timestamp_end = time.time()

    async def pass_on(self, data: bytes) -> None:
        """Send a chunk, and wait until the other side takes more."""
        self._message.body_size += len(data)
        if self._transform is None:
            self._send(data)
            await self._attend()
        else:
            await self._transform_and_send(data)
        if self._sink.write_paused:
            await self._sink.when_writable()

    async def end(self) -> None:
        """End the message, with its trailers."""
        if self._transform is not None:
            await self._transform_and_send(b"")
        self._sink.send_end(self._message.trailers)

    def keep(self, data: bytes) -> None:
        """Note a chunk that is sent by other means."""
        self._message.body_size += len(data)
        if self._stored is not None:
            self._stored.append(data)

    def attach_copy(self, metadata: dict[str, Any], name: str) -> None:
        """Give the message the copy that was kept, if any; an incomplete one is marked."""
        if self._stored is not None:
            self._stored.attach(self._message, metadata, name)

    def _send(self, chunk: bytes) -> None:
        if self._stored is not None:
            self._stored.append(chunk)
        self._sink.send_data(chunk)

    async def _transform_and_send(self, data: bytes) -> None:
        chunks = await self._transformed(data)
        # The callable may have killed the flow.
        await self._attend()
        for chunk in chunks:
            self._send(chunk)

    async def _transformed(self, data: bytes) -> list[bytes]:
        # The callable may return bytes, several chunks, or a Deferred or coroutine of either.
        assert self._transform is not None
        try:
            made = self._transform(data)
            if hasattr(made, "__await__"):
                made = await self._in_time(made)
            if made is None:
                return []
            chunks = [made] if isinstance(made, _BYTES) else list(made)
            for chunk in chunks:
                if not isinstance(chunk, _BYTES):
                    raise TypeError(f"chunks are bytes, not {type(chunk).__name__}")
            return [bytes(chunk) for chunk in chunks if chunk]
        except InterceptorError:
            raise
        except Exception as error:
            raise StreamCallableError(error) from error

    async def _in_time(self, made: Any) -> Any:
        """Wait for what a callable makes, as long as hooks may take."""
        waiting = made if isinstance(made, Deferred) else Deferred.fromCoroutine(made)
        if self._timeout:
            waiting.addTimeout(self._timeout, self._clock)
        return await waiting


class Stored:
    """Keeps a copy of what streams by, up to a limit."""

    __slots__ = ("_body", "_bounds", "_counted", "_limit", "_memory_limit", "overflowed")

    def __init__(self, limit: int, memory_limit: int) -> None:
        self._limit = limit
        self._memory_limit = memory_limit
        self._body = Body(memory_limit)
        self._bounds: BodyBounds | None = None
        self._counted = 0
        self.overflowed = False

    def count_in(self, bounds: BodyBounds) -> None:
        """Count what is kept in memory as that of gathered bodies."""
        self._bounds = bounds

    def append(self, data: bytes) -> None:
        """Add a chunk, or what of it is within the limit."""
        room = self._limit - self._body.length
        if len(data) > room:
            self.overflowed = True
            data = data[: max(0, room)]
        if not data:
            return
        try:
            if self._bounds is not None and not self._body.spooled:
                self._count(self._bounds, self._body.length + len(data))
            self._body.append(data)
        except (SpoolError, MemoryFullError):
            # For want of a copy nothing is held up.
            self.overflowed = True
            self._limit = 0

    def _count(self, bounds: BodyBounds, length: int) -> None:
        """Count that there are ``length`` bytes now, or see that they go to a file."""
        if length <= SMALL_BODY:
            return
        if length <= self._memory_limit and bounds.take(length - self._counted):
            self._counted = length
            return
        bounds.give_back(self._counted)
        self._counted = 0
        self._body.spool()

    def attach(self, message: Message, metadata: dict[str, Any], name: str) -> None:
        """Give the message its copy; an incomplete one is marked in the flow's metadata."""
        message.attach_body(self._body)
        if self.overflowed:
            metadata[f"{name}_truncated"] = True
