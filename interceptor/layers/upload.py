"""A request's body on its way to the server, while the response may come already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interceptor.errors import UpstreamError
from interceptor.layers.bodies import send_body
from interceptor.layers.failures import AbandonedError
from interceptor.layers.task import Task
from interceptor.model.secrets import mask_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from interceptor.layers.bodies import Relay
    from interceptor.layers.destinations import Destination
    from interceptor.model.body import Body
    from interceptor.model.flow import HTTPFlow
    from interceptor.model.http import Request


class Upload:
    """Sends what follows the head of a flow's request, in a task of its own.

    ``check`` is awaited when the hooks of a streamed request are through: it raises where they have
    ended the exchange. ``over`` is called once, with the error that ends the exchange if there is
    one: what the server's side has to say is met by the half that waits for the response.
    """

    log = Logger()

    __slots__ = ("_check", "_flow", "_hooks", "_over", "_proxy", "_task", "sent")

    def __init__(
        self,
        flow: HTTPFlow,
        hooks: Any,
        proxy: object,
        check: Callable[[], Coroutine[Any, Any, None]],
        over: Callable[[Exception | None], object],
    ) -> None:
        self._flow = flow
        self._hooks = hooks
        self._proxy = proxy
        self._check = check
        self._over = over
        self._task: Task | None = None
        self.sent: Deferred[None] = Deferred()
        """Fires when nothing more will be sent, and no hook of the request is running."""

    def send(self, server: Any, body: Body) -> None:
        """Send a gathered body."""
        self._start(self._send(server, body))

    def transform(self, relay: Relay, body: bytes | Body | None) -> None:
        """Send a gathered body through a hook's callable."""
        self._start(self._transform(relay, body))

    def stream(self, relay: Relay, gathered: bytes | Body | None) -> None:
        """Send a body as it comes, behind what was ``gathered`` of it; then fire ``request``."""
        self._start(self._stream(relay, gathered))

    def abandon(self) -> None:
        """Stop where it is: nobody wants the rest."""
        if self._task is not None:
            self._task.abort(AbandonedError("the response is complete"))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._task = Task(coroutine, self._finished)
        self._task.start()

    def _finished(self, error: BaseException | None) -> None:
        self._task = None
        if error is None or isinstance(error, (AbandonedError, UpstreamError)):
            self._over(None)
        else:
            self._over(error if isinstance(error, Exception) else AbandonedError(repr(error)))
        self.sent.callback(None)

    async def _send(self, server: Any, body: Body) -> None:
        await send_body(server, body)
        server.send_end(self._flow.request.trailers)

    async def _transform(self, relay: Relay, body: bytes | Body | None) -> None:
        await relay.replay(body)
        await relay.end()

    async def _stream(self, relay: Relay, gathered: bytes | Body | None) -> None:
        flow = self._flow
        before = destination_of(flow.request)
        if gathered is not None:
            flow.request.attach_body(None)
            await relay.replay(gathered)
        await relay.run()
        relay.attach_copy(flow.metadata, "request")
        # An exchange that is failing already has no further events but `error`.
        fire = self._hooks.request
        if fire is None or flow.error is not None:
            return
        # The body has left: what a hook decides now comes too late for the server.
        waiting = fire(flow)
        if waiting is not None:
            await waiting
        if destination_of(flow.request) != before:
            self.log.error(
                "{url}: the destination of a streamed request was changed after it was sent",
                url=mask_url(flow.request.url),
                proxy=self._proxy,
            )
        await self._check()


def destination_of(request: Request) -> Destination:
    """Return where a request is to be sent."""
    return (request.scheme_bytes, request.host_bytes, request.port)
