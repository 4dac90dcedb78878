"""Event streams on their way to a client, event by event, for whoever listens to ``sse_event``."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.task import deferLater
from twisted.logger import Logger

from interceptor.errors import DecodeError, EventStreamError
from interceptor.layers.bodies import Relay
from interceptor.layers.buffering import EVENT_STREAM, media_type
from interceptor.layers.buffermemory import FREE, Account
from interceptor.model.codings import Decoder
from interceptor.model.secrets import mask_url
from interceptor.model.sse import EventStream, ServerSentEvent
from interceptor.wire.httpevents import NEED_DATA
from interceptor.wire.sse import EventStreamParser, encode_event

if TYPE_CHECKING:
    from interceptor.layers.bodylimits import BodyBounds
    from interceptor.layers.environment import Environment, Settings
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.http import Response

# Bytes of a compressed stream that are decoded at once, and what may come of them.
_CODED_SLICE: Final = 4096
_DECODED_LIMIT: Final = 8 * 1024 * 1024
# Bytes that are looked for events at once, and events after which others have their turn.
_SLICE: Final = 16384
_MOST_IN_A_ROW: Final = 256

log = Logger()


class EventRelay(Relay):
    """Relays an event stream and fires ``sse_event`` for each event before it goes on.

    Whatever is no event goes on at once. A content coding is taken off, for good: to put it on
    again would need a compressor for each stream, and gain little for events that leave one by one.
    """

    __slots__ = (
        "_account",
        "_busy",
        "_decoder",
        "_events",
        "_fire",
        "_flow",
        "_hooks",
        "_in_a_row",
        "_injected",
        "_out",
        "_parser",
        "_proxy",
        "_room",
        "_warned",
        "_while_paused",
    )

    def __init__(
        self,
        source: Any,
        sink: Any,
        flow: HTTPFlow,
        environment: Environment,
        settings: Settings,
        attend: Callable[[], Awaitable[None]],
        fire: Callable[..., Awaitable[None]],
        bounds: Callable[[], BodyBounds],
        decoder: Decoder | None,
    ) -> None:
        """``fire`` runs an event's hooks; its second argument is called before anything waits."""
        response = flow.response
        assert response is not None
        super().__init__(source, sink, response, settings, attend, environment.clock, bounds)
        self._flow = flow
        self._hooks: Any = environment.hooks
        self._fire = fire
        self._decoder = decoder
        self._proxy = environment.proxy
        self._parser = EventStreamParser(settings.sse_event_limit)
        self._account = Account(environment.buffer_memory)
        self._room = settings.body_memory_limit
        self._out: list[bytes] = []
        # Events that wait for their turn, and how many bytes went to a client that does not read.
        self._injected: deque[bytes] = deque()
        self._while_paused = 0
        self._in_a_row = 0
        self._busy = False
        self._warned = False
        self._events = flow.sse = EventStream(settings.body_memory_limit, self)

    @property
    def changes(self) -> bool:
        return True

    async def run(self, event: Any = NEED_DATA) -> None:
        try:
            await super().run(event)
        finally:
            self._account.close()
            self._events.detach()

    async def pass_on(self, data: bytes) -> None:
        self._message.body_size += len(data)
        if self._transform is None:
            await self._take(data)
            await self._attend()
        else:
            chunks = await self._transformed(data)
            await self._attend()
            for chunk in chunks:
                await self._take(chunk)
        if self._sink.write_paused:
            await self._sink.when_writable()

    async def end(self) -> None:
        if self._transform is not None:
            chunks = await self._transformed(b"")
            await self._attend()
            for chunk in chunks:
                await self._take(chunk)
        await self._handle(self._parser.finish())
        self._events.detach()
        self._sink.send_end(self._message.trailers)

    # From the server

    async def _take(self, chunk: bytes) -> None:
        for piece in self._decoded(chunk):
            for start in range(0, len(piece), _SLICE):
                items = self._parser.feed(piece[start : start + _SLICE])
                held = self._parser.held + self._events.kept
                if held > FREE or self._account.counted:
                    self._count(held)
                await self._handle(items)
                self._in_a_row += len(items)
                if self._in_a_row > _MOST_IN_A_ROW:
                    self._in_a_row = 0
                    await deferLater(self._clock, 0)

    def _count(self, held: int) -> None:
        """Count what is held and kept; where there is no room for it, hold and keep less."""
        if not self._account.update(held):
            self._parser.limit = self._events.limit = FREE

    def _decoded(self, chunk: bytes) -> Iterator[bytes]:
        decoder = self._decoder
        if decoder is None:
            yield chunk
            return
        for start in range(0, len(chunk), _CODED_SLICE):
            piece = decoder.feed(chunk[start : start + _CODED_SLICE])
            if piece:
                yield piece

    async def _handle(self, items: list[bytes | ServerSentEvent]) -> None:
        """Send what was taken off the stream; of several events that came at once, all at once."""
        if self._parser.too_long and not self._warned:
            self._give_up()
        out = self._out
        self._busy = True
        try:
            for item in items:
                if isinstance(item, bytes):
                    out.append(item)
                else:
                    await self._tell(item)
                    self._take_injected()
            if self._parser.between:
                self._take_injected()
        finally:
            self._busy = False
            # An event that hooks have let go on must not be lost because the next one fails.
            self._flush()

    async def _tell(self, event: ServerSentEvent) -> None:
        self._events.add(event)
        fire = self._hooks.sse_event
        if fire is not None:
            await self._fire(fire, self._flush)
        if not event.dropped:
            self._out.append(encode_event(event))

    def _flush(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._send(data)

    def _give_up(self) -> None:
        """An event is too long to be shown. It may pass only where nobody has to see it."""
        self._warned = True
        limit = self._parser.limit
        fire = self._hooks.sse_event
        if fire is not None and fire.fail_closed:
            raise EventStreamError(
                f"an event is over sse_event_limit ({limit} bytes)", "sse-event-too-large"
            )
        log.warn(
            "{url}: {code}: an event is over sse_event_limit ({limit} bytes) and passes unseen",
            url=mask_url(self._flow.request.pretty_url),
            code="sse-event-too-large",
            limit=limit,
            proxy=self._proxy,
        )

    # From hooks

    def injected(self, event: ServerSentEvent) -> None:
        """Implement `EventStreamControl.injected`."""
        data = encode_event(event)
        if not self._sink.write_paused:
            self._while_paused = 0
        waiting = self._while_paused + sum(map(len, self._injected)) + len(data)
        if waiting > self._room and (self._sink.write_paused or self._injected):
            raise EventStreamError(
                f"{waiting} bytes of events wait for a client that does not read", "sse-backlog"
            )
        self._parser.drop_mark()
        self._events.add(event)
        self._injected.append(data)
        if not self._busy and self._parser.between:
            self._take_injected()
            self._flush()

    def _take_injected(self) -> None:
        injected = self._injected
        while injected:
            data = injected.popleft()
            if self._sink.write_paused:
                self._while_paused += len(data)
            self._out.append(data)


def decoder_of(response: Response) -> Decoder | None:
    """Return what takes the content coding off an event stream; None where there is none.

    Raises `DecodeError` where it is not known.
    """
    if response.headers.get_bytes(b"content-encoding") is None:
        return None
    return Decoder(response.headers["content-encoding"], _DECODED_LIMIT, per_feed=True)


def event_relay(
    source: Any,
    sink: Any,
    flow: HTTPFlow,
    environment: Environment,
    settings: Settings,
    attend: Callable[[], Awaitable[None]],
    fire: Callable[..., Awaitable[None]],
    bounds: Callable[[], BodyBounds],
) -> Relay | None:
    """Return what relays the response of ``flow`` event by event, before its head is sent.

    None where nobody can be shown events: it is no event stream, or in a coding that is not known.
    Then an addon that must not be passed by makes that a `DecodeError`.
    """
    response = flow.response
    assert response is not None
    if media_type(response) != EVENT_STREAM:
        return None
    try:
        decoder = decoder_of(response)
    except DecodeError as error:
        listening = environment.hooks.sse_event
        if listening is not None and listening.fail_closed:
            raise
        log.warn(
            "{url}: {code}: {error}; its events pass unseen",
            url=mask_url(flow.request.pretty_url),
            code=error.code,
            error=error,
            proxy=environment.proxy,
        )
        return None
    if decoder is not None:
        flow.metadata["sse_decoded"] = response.headers.pop("content-encoding")
    return EventRelay(source, sink, flow, environment, settings, attend, fire, bounds, decoder)
