"""One request and its response: the order of the hooks, and what they may do. Knows no version."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from interceptor.errors import UpstreamError
from interceptor.layers.alternatives import hide_alternatives
from interceptor.layers.bodies import Relay, gather, send_body
from interceptor.layers.bodylimits import BodyBounds, MemoryFullError, is_small
from interceptor.layers.buffering import (
    EVENT_STREAM,
    is_passed_by,
    media_type,
    request_streams,
    response_streams,
)
from interceptor.layers.errorpage import error_response
from interceptor.layers.failures import (
    IDEMPOTENT,
    KilledError,
    check_final,
    describe,
    put_back,
    response_removed,
    tell_failed,
    tell_streams_on,
    went_stale,
)
from interceptor.layers.flowcontrol import FlowSteering
from interceptor.layers.resend import ResendableSink
from interceptor.layers.upload import Upload, destination_of
from interceptor.model.body import Body
from interceptor.model.flow import Error, HTTPFlow
from interceptor.net.deadline import Deadline
from interceptor.wire.httpevents import NEED_DATA, Data

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from interceptor.interfaces import IServerStream
    from interceptor.layers.http import HTTPLayer
    from interceptor.layers.task import Task
    from interceptor.model.http import Request, Response
    from interceptor.wire.httpevents import NeedData, RequestHead, ResponseHead

_MOST_TRIES = 4


class HTTPExchange(FlowSteering):
    """Takes one request from a client's stream to a server's stream, and the response back.

    It is the `FlowControl` of its flow. `run` never raises: every failure ends in the ``error``
    event or, where ``response`` has begun, in ``flow.error``.
    """

    log = Logger()

    __slots__ = (
        "_attention",
        "_bounds",
        "_firing",
        "_head",
        "_hooks",
        "_in_hook",
        "_layer",
        "_resend",
        "_responding",
        "_sending",
        "_server",
        "_settings",
        "_stream",
        "_task",
        "_total",
        "_upload",
        "flow",
    )

    def __init__(
        self, layer: HTTPLayer, stream: IServerStream, task: Task, head: RequestHead
    ) -> None:
        context = layer.context
        environment = context.environment
        self._layer = layer
        self._stream: Any = stream
        self._task = task
        self._head = head
        self._hooks: Any = environment.hooks
        self._settings = environment.settings
        self._server: Any = None
        self._upload: Upload | None = None
        self._resend: ResendableSink | None = None
        self._resumed = None
        self._total: Deadline | None = None
        # What a hook asked for that the exchange has to look at: a kill, or a pause.
        self._attention = False
        self._bounds: BodyBounds | None = None
        # In a hook's synchronous part; waiting for a hook's Deferred.
        self._firing = False
        self._in_hook = False
        # The `response` event has begun; the response's head has left.
        self._responding = False
        self._sending = False
        flow = HTTPFlow(context.client_conn, layer.first_server_conn, layer.mode_name, self)
        flow.request = head.request
        self.flow = flow

    @property
    def stream(self) -> Any:
        """The client's stream."""
        return self._stream

    @property
    def upgrade_offered(self) -> bool:
        """Whether the client offered to speak something else (RFC 9110 section 7.8)."""
        return self._head.framing.upgrade is not None

    async def answer_upgrade(self, server: Any) -> bool:
        """Fire ``response`` for the server's 101, and send it: HTTP ends with it.

        Returns False, and lets go of the server, where a hook answered something else.
        """
        flow = self.flow
        assert flow.response is not None
        flow.response.attach_body(b"")
        await self._respond(switching=True)
        if flow.response.status_code != 101:
            self._end_upload()
            self._server = None
            server.abort("a hook refused the upgrade")
            return False
        if self._upload is not None:
            # RFC 9110 section 7.8: no protocol is left in the middle of a message.
            await self._upload.sent
        self._server = None
        return True

    async def run(self) -> None:
        """Serve the request. Returns when both halves are over."""
        if self._settings.total_timeout is not None:
            self._total = Deadline(self._layer.context.environment.clock, self._out_of_time)
            self._total.set(self._settings.total_timeout)
        admission = self._layer.context.environment.admission
        admission.flows += 1
        try:
            await self._serve()
        except Exception as error:
            await self._failed(error)
        finally:
            admission.flows -= 1
            if self._bounds is not None:
                self._bounds.close()
            self.flow._control = None
            # An order that came too late for this exchange must not end the next one.
            self._task.calm()
            if self._total is not None:
                self._total.stop()

    def _out_of_time(self) -> None:
        self._task.abort(
            UpstreamError(
                f"the exchange took longer than {self._settings.total_timeout:g} s",
                "total-timeout",
                504,
            )
        )

    # The flow's control

    def killed(self, flow: HTTPFlow) -> None:
        self._attention = True
        if self._in_hook:
            # It may be that very hook that calls: let it come to rest before it is cancelled.
            self._layer.context.environment.clock.callLater(0, self._cancel_hook)
        elif not self._firing:
            super().killed(flow)

    def _cancel_hook(self) -> None:
        if self._in_hook:
            super().killed(self.flow)

    def _kill(self, error: KilledError) -> None:
        self._task.abort(error)

    def intercepted(self, flow: HTTPFlow) -> None:
        self._attention = True

    async def _call_hooks(self, fire: Callable[[Any], Any] | None) -> None:
        if fire is not None:
            await self._fire(fire)

    def _call(
        self, fire: Callable[[Any], Any], before_waiting: Callable[[], None] | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Run an event's hooks. Returns what is left to be awaited: mostly there is nothing."""
        self._firing = True
        try:
            waiting = fire(self.flow)
        finally:
            self._firing = False
        if waiting is None and not self._attention:
            return None
        return self._settle(waiting, before_waiting)

    async def _fire(
        self, fire: Callable[[Any], Any], before_waiting: Callable[[], None] | None = None
    ) -> None:
        """Run an event's hooks, and then whatever they asked for."""
        waiting = self._call(fire, before_waiting)
        if waiting is not None:
            await waiting

    async def _settle(self, waiting: Any, before_waiting: Callable[[], None] | None = None) -> None:
        if waiting is not None:
            if before_waiting is not None:
                before_waiting()
            self._in_hook = True
            try:
                await waiting
            finally:
                self._in_hook = False
        if self._attention:
            if before_waiting is not None:
                before_waiting()
            await self._attend()

    async def _attend(self) -> None:
        flow = self.flow
        self._attention = False
        if flow.killed:
            raise self._kill_error()
        if flow.intercepted:
            await self._pause()

    # The request

    async def _serve(self) -> None:
        flow, hooks, head = self.flow, self._hooks, self._head
        fire = hooks.requestheaders
        if fire is not None and (waiting := self._call(fire)) is not None:
            await waiting
        request = flow.request
        gathered = True
        if head.end_of_message:
            request.timestamp_end = request.timestamp_start
            if request.body_object is None:
                request.attach_body(b"")
            fire = hooks.request
            if fire is not None and (waiting := self._call(fire)) is not None:
                await waiting
        elif flow.response is None:
            request.attach_body(None)
            gathered = not request_streams(
                flow, head.framing.length, hooks.request, self._settings
            ) and await self._gather_request(request)
            # Looked up anew: addons may have come and gone while the body was gathered.
            if gathered and hooks.request is not None:
                await self._fire(hooks.request)
        if flow.response is not None:
            await self._respond()
        else:
            await self._forward(gathered)

    async def _gather_request(self, request: Request) -> bool:
        """Gather the body; return False where it turns out to be one that shall stream."""
        framing, bounds = self._head.framing, self._body_bounds()
        limit = bounds.request_limit(framing.length, self._hooks.request)
        if framing.expect_continue:
            # RFC 9110 section 10.1.1: whoever wants the body before forwarding has to ask for it.
            self._stream.send_continue()
        try:
            complete = await gather(self._stream, request, limit, bounds, bounds.request_pace())
        except MemoryFullError as error:
            error.status = 413
            raise
        # Looked up anew, too: there may be a hook by now that must not be passed by.
        bounds.check_request(request.body_size, self._hooks.request)
        if not complete:
            self._tell_streams_on("request", request.body_size)
        return complete

    def _tell_streams_on(self, name: str, size: int) -> None:
        if size > self._settings.body_size_limit:
            tell_streams_on(self.log, self.flow, name, self._layer.context.environment.proxy)

    def _body_bounds(self) -> BodyBounds:
        if self._bounds is None:
            self._bounds = BodyBounds(self._layer.context.environment, self._settings)
        return self._bounds

    # To the server

    async def _forward(self, gathered: bool) -> None:
        flow = self.flow
        tries = 1
        destination = destination_of(flow.request)
        while True:
            request = flow.request
            # What goes through a hook's callable cannot be had from it twice.
            whole = gathered and not callable(request.stream)
            safe = whole and request.method_bytes in IDEMPOTENT
            servers = self._layer.servers
            server: Any = None
            if tries == 1:
                server = servers.take(destination, request, not safe)
            if server is None:
                server = await servers.acquire(destination, flow, fresh=tries > 1, careful=not safe)
            self._server = server
            flow.server_conn = server.server_conn
            begun = False
            try:
                if self._resend is None:
                    self._send_request(server, request, gathered)
                else:
                    self._resend.go_on_with(server, request, self._head.framing.length)
                begun = True
                head = await self._response_head(server)
            except UpstreamError as error:
                stale = went_stale(server, error)
                goes_on = self._resend is not None and self._resend.resendable
                # What a server has not looked at may be sent again more than once.
                again = server.unprocessed and tries < _MOST_TRIES
                again = again and (whole or goes_on or not begun)
                stale = stale and safe and tries == 1 and self._settings.retry_stale
                if not (again or stale):
                    raise
                if not goes_on:
                    self._end_upload()
                server.abort("stale")
                self.log.debug(
                    "sent again on a new connection: {error}",
                    error=error,
                    proxy=self._layer.context.environment.proxy,
                )
                tries += 1
                continue
            break
        if self._resend is not None:
            self._resend.forget()
            self._resend = None
        await self._receive(server, head)

    def _send_request(self, server: Any, request: Request, gathered: bool) -> None:
        head = self._head
        framing = head.framing
        body = request.body_object
        if framing.expect_continue:
            if gathered or body is not None:
                # The body is there, or on its way: nothing is left to wait for.
                request.headers.pop("expect", None)
            elif request.headers.get_bytes(b"expect") is None:
                # A hook took the expectation away: no server will meet it.
                self._stream.send_continue()
        if not gathered:
            resend = (
                ResendableSink(server) if server.shared and not callable(request.stream) else None
            )
            relay = self._relay(self._stream, resend or server, request, self._attend_to_kill)
            if framing.length is not None:
                relay.pace = self._body_bounds().request_pace()
            server.send_head(request, None if relay.changes else framing.length)
            self._resend = resend
            self._new_upload().stream(relay, body)
        elif callable(request.stream) and not head.end_of_message:
            # It was gathered for an addon that must not be passed by.
            relay = self._relay(None, server, request, self._attend_to_kill)
            server.send_head(request, None)
            self._new_upload().transform(relay, body)
        elif isinstance(body, Body):
            server.send_head(request, body.length)
            self._new_upload().send(server, body)
        else:
            server.send_message(request, body or b"")

    def _relay(self, source: Any, sink: Any, message: Request | Response, attend: Any) -> Relay:
        clock = self._layer.context.environment.clock
        return Relay(source, sink, message, self._settings, attend, clock, self._body_bounds)

    def _new_upload(self) -> Upload:
        proxy = self._layer.context.environment.proxy
        upload = self._upload = Upload(
            self.flow, self._hooks, proxy, self._attend_to_kill, self._uploaded
        )
        return upload

    def _uploaded(self, error: Exception | None) -> None:
        self._upload = None
        if error is not None:
            self._task.abort(error)

    def _end_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.abandon()

    async def _attend_to_kill(self) -> None:
        if self.flow.killed:
            raise self._kill_error()

    # From the server

    async def _response_head(self, server: Any) -> ResponseHead:
        stream = self._stream
        while True:
            event: ResponseHead | NeedData = server.next_event()
            if event is NEED_DATA:
                await server.when_readable()
                continue
            if event.framing.alternatives and not self._settings.keep_h3_offers:
                hide_alternatives(self.flow, event.response)
            status = event.response.status_code
            if status >= 200 or status == 101:
                return event
            stream.send_informational(event.response)
            if stream.write_paused:
                await stream.when_writable()

    async def _receive(self, server: Any, head: ResponseHead) -> None:
        flow, hooks, settings = self.flow, self._hooks, self._settings
        response = flow.response = head.response
        response.decode_limits = settings.decode_limits
        fire = hooks.responseheaders
        if fire is not None:
            if (waiting := self._call(fire)) is not None:
                await waiting
            if flow.response is not response:
                # A hook answers in the server's place: what the server still sends is not wanted.
                self._end_upload()
                server.abort("answered by a hook")
                if flow.response is None:
                    raise response_removed()
                await self._respond()
                return
        if head.framing.kind == "tunnel" and response.status_code == 101:
            await self._layer.upgrade(self, server)
            return
        if head.end_of_message:
            response.timestamp_end = time.time()
            response.attach_body(b"")
        else:
            if response_streams(response, head.framing.length, hooks.response, settings):
                await self._stream_response(server, head, None)
                return
            event = server.next_event()
            whole = type(event) is Data and event.end_of_message
            if whole and is_small(event.data, self._layer.context.environment, settings):
                # All of it came with the head.
                response.attach_body(event.data)
                response.body_size = len(event.data)
                response.timestamp_end = time.time()
            elif not await self._gather_response(server, head, event):
                await self._stream_response(server, head, response.body_object)
                return
        if self._upload is not None:
            await self._end_request(self._upload, server)
        self._server = None
        server.release()
        await self._respond()

    async def _gather_response(self, server: Any, head: ResponseHead, event: Any) -> bool:
        """Gather the body; return False where it is too large and must stream after all.

        ``event`` was pulled from the server already.
        """
        response, bounds = head.response, self._body_bounds()
        limit = bounds.response_limit(head.framing.length)
        complete = await gather(server, response, limit, bounds, bounds.response_pace(), event)
        bounds.check_response(response.body_size)
        if not complete:
            self._tell_streams_on("response", response.body_size)
        return complete

    async def _stream_response(
        self, server: Any, head: ResponseHead, gathered: bytes | Body | None
    ) -> None:
        flow, stream = self.flow, self._stream
        request, response = flow.request, head.response
        check_final(response)
        response.attach_body(None)
        event: Any = server.next_event() if gathered is None else NEED_DATA
        whole = type(event) is Data and event.end_of_message
        passed_by = whole and is_passed_by(response, self._hooks, self._settings)
        relay = None if passed_by else self._response_relay(server, head)
        if whole and (relay is None or not relay.changes):
            # All of it came with the head: both leave together.
            if relay is None:
                response.body_size = len(event.data)
            else:
                relay.keep(event.data)
            stream.send_message(request, response, event.data)
            self._sending = True
            response.timestamp_end = time.time()
        else:
            assert relay is not None
            if media_type(response) == EVENT_STREAM:
                # Its server sends something when there is something to tell.
                server.be_patient(self._settings.tunnel_idle_timeout)
            stream.send_head(request, response, None if relay.changes else head.framing.length)
            self._sending = True
            if gathered is not None:
                await relay.replay(gathered)
            await relay.run(event)
        if relay is not None:
            relay.attach_copy(flow.metadata, "response")
        if self._upload is not None:
            await self._end_request(self._upload, server)
        self._server = None
        server.release()
        self._responding = True
        if self._hooks.response is not None:
            await self._fire(self._hooks.response)

    def _response_relay(self, server: Any, head: ResponseHead) -> Relay:
        relay: Relay | None = None
        if self._hooks.sse_event is not None:
            from interceptor.layers.eventstream import event_relay

            way = (server, self._stream, self.flow, self._layer.context.environment, self._settings)
            relay = event_relay(*way, self._attend_if_asked, self._fire, self._body_bounds)
        if relay is None:
            relay = self._relay(server, self._stream, head.response, self._attend_if_asked)
        if head.framing.length is not None and self._settings.response_body_rate:
            relay.pace = self._body_bounds().response_pace()
        return relay

    async def _attend_if_asked(self) -> None:
        if self._attention:
            await self._attend()

    async def _end_request(self, upload: Upload, server: Any) -> None:
        """The response is complete: end the request too."""
        if server.request_complete:
            # Only the `request` hook of a streamed request is still running.
            await upload.sent
        else:
            self._end_upload()

    # To the client

    async def _respond(self, *, switching: bool = False) -> None:
        """Fire ``response``, and send the response that is there by then."""
        flow, stream = self.flow, self._stream
        self._responding = True
        fire = self._hooks.response
        if fire is not None and (waiting := self._call(fire)) is not None:
            await waiting
        response = flow.response
        if response is None:
            raise response_removed()
        if response.status_code < 200 and not (switching and response.status_code == 101):
            check_final(response)
        body = response.body_object
        if isinstance(body, Body):
            stream.send_head(flow.request, response, body.length)
            self._sending = True
            await send_body(stream, body)
            stream.send_end(response.trailers)
        else:
            stream.send_message(flow.request, response, body or b"")
            self._sending = True
        if response.timestamp_end is None:
            response.timestamp_end = time.time()

    # Failure

    async def _failed(self, error: Exception) -> None:
        error = put_back(self.flow, self._head.request, self._layer.context.client_conn, error)
        self._task.calm()
        self._end_upload()
        server, self._server = self._server, None
        if server is not None:
            server.abort("the exchange failed", getattr(error, "reset_code", None))
        flow = self.flow
        code, status, message = describe(error)
        proxy = self._layer.context.environment.proxy
        if flow.error is None:
            flow.error = Error(message, time.time(), code)
        tell_failed(self.log, flow, error, proxy)
        fire = self._hooks.error
        if not self._responding and fire is not None:
            try:
                waiting = fire(flow)
                if waiting is not None:
                    await waiting
            except Exception as second:
                self.log.debug("error hook: {error}", error=second, proxy=proxy)
        self._task.calm()
        reset = getattr(error, "reset_code", None)
        if self._sending or not status or (reset is not None and self._stream.carries_resets):
            self._stream.abort(code, reset)
        else:
            self._stream.refuse(flow.request, error_response(status, code, message))
