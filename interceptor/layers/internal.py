"""Hosts that the proxy answers for by itself: what stands in the place of their server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from interceptor.interfaces import IClientStream
from interceptor.model.connections import ServerConnection
from interceptor.wire.framing import Framing
from interceptor.wire.httpevents import NEED_DATA, Data, ResponseHead

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request, Response

Answer = Callable[["Request", "ClientConnection"], "Response"]
"""Answers a request to an internal host, whose body it does not get; at once, and never raises."""


@implementer(IClientStream)
class InternalStream:
    """Stands in for a connection to a server. To the exchange, and to hooks, it looks like one.

    The response is there as soon as the request's head is; a body is taken and forgotten.
    """

    reused = False
    unprocessed = False
    shared: Literal[False] = False
    response_begun = True
    write_paused = False

    def __init__(self, answer: Answer, client_conn: ClientConnection) -> None:
        self.server_conn = ServerConnection(None)
        self.request_complete = False
        self._answer = answer
        self._client_conn = client_conn
        self._events: deque[ResponseHead | Data] = deque()

    def next_event(self) -> Any:
        return self._events.popleft() if self._events else NEED_DATA

    def when_readable(self) -> Deferred[None]:
        return succeed(None)

    def when_writable(self) -> Deferred[None]:
        return succeed(None)

    def send_head(self, request: Request, length: int | None) -> None:
        response = self._answer(request, self._client_conn)
        body = response.raw_content or b""
        framing = Framing("length", len(body), True)
        # RFC 9110 section 9.3.2: the response to HEAD has the fields that a body would have had.
        bare = request.method_bytes == b"HEAD" or not body
        self._events.append(ResponseHead(response, framing, bare))
        if not bare:
            self._events.append(Data(body, True))

    def send_message(self, request: Request, body: bytes) -> None:
        self.request_complete = True
        self.send_head(request, len(body))

    def send_data(self, data: bytes) -> None:
        pass

    def send_end(self, trailers: Headers | None) -> None:
        self.request_complete = True

    def be_patient(self, seconds: float) -> None:
        pass

    def release(self) -> None:
        pass

    def abort(self, reason: str, code: int | None = None) -> None:
        self._events.clear()
