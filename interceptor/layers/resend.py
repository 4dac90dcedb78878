"""The beginning of a streamed body, kept until the server has looked at the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from interceptor.errors import UpstreamError

if TYPE_CHECKING:
    from interceptor.model.headers import Headers
    from interceptor.model.http import Request

RESEND_LIMIT = 65536
"""How many bytes of a streamed body are kept, so that they can be sent to a server again."""


class ResendableSink:
    """The server's stream, to whoever sends a body: one that can be exchanged for another.

    A server may refuse a request that it has not looked at (RFC 9113 section 8.7) when part of the
    body has left already. As long as that is no more than `RESEND_LIMIT` bytes, it goes to the next
    stream first (`go_on_with`), and whoever sends only notices that the sink is paused until then.
    """

    __slots__ = ("_ended", "_kept", "_server", "_size", "_trailers", "_waiting")

    def __init__(self, server: Any) -> None:
        self._server = server
        self._kept: list[bytes] | None = []
        self._size = 0
        self._ended = False
        self._trailers: Headers | None = None
        self._waiting: Deferred[None] | None = None

    @property
    def resendable(self) -> bool:
        """Whether all that was sent is still here."""
        return self._kept is not None

    def forget(self) -> None:
        """Keep nothing more: the server has begun to answer."""
        self._kept = None

    def go_on_with(self, server: Any, request: Request, length: int | None) -> None:
        """Send the request's head and what there was of its body to another stream.

        The rest follows it there.
        """
        assert self._kept is not None, "some of the body is gone"
        self._server = server
        server.send_head(request, length)
        for chunk in self._kept:
            server.send_data(chunk)
        if self._ended:
            server.send_end(self._trailers)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    # The sink

    @property
    def _between(self) -> bool:
        """Whether the stream is of no use any more, and there may be another one."""
        return self._server.unprocessed and self._kept is not None

    @property
    def write_paused(self) -> bool:
        """Whether to wait (`when_writable`) before more is sent."""
        return self._between or self._server.write_paused

    async def when_writable(self) -> None:
        """Wait until more may be sent, to whichever stream it is then."""
        while True:
            if self._between:
                waiting = self._waiting = Deferred()
                await waiting
            try:
                await self._server.when_writable()
            except UpstreamError:
                # Whoever waits for the response hears of it too, and gives us another stream.
                if not self._between:
                    raise
            else:
                return

    def send_data(self, data: bytes) -> None:
        """Send a chunk."""
        if self._kept is not None:
            self._size += len(data)
            # Between two streams there is one chunk at most: then the sink is paused.
            if self._size <= RESEND_LIMIT or self._between:
                self._kept.append(data)
            else:
                self._kept = None
        self._server.send_data(data)

    def send_end(self, trailers: Headers | None) -> None:
        """End the message."""
        self._ended = True
        self._trailers = trailers
        self._server.send_end(trailers)
