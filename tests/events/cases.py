"""What the tests of the event contract share: proxies in memory, requests to send, hooks that wait.

Every test runs whole proxies: bytes go in at a client and come out at an origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from interceptor.http import HTTPFlow, Response
from interceptor.net.memory import HalfCloseRecorder, RecorderFactory
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.hooks.doubles import Messages
from tests.proxies import ProxyTestCase

GET = b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n"
POST = b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CONNECT = b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

ENDS = ("response", "error")
"""The two events of which every flow ends in exactly one."""


def post(length: int, *fields: bytes) -> bytes:
    """The head of a POST whose body has ``length`` bytes."""
    lines = (b"POST http://example.test/ HTTP/1.1", b"Host: example.test", *fields)
    return b"\r\n".join((*lines, b"Content-Length: %d" % length, b"", b""))


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def set_stream(side: str, stream: Any = True) -> Callable[[HTTPFlow], None]:
    """A hook that sets ``stream`` on the flow's request or response."""

    def hook(flow: HTTPFlow) -> None:
        getattr(flow, side).stream = stream

    return hook


def answering(status: int = 200, body: bytes = b"mine") -> Callable[[HTTPFlow], None]:
    """A hook that answers in the server's place."""

    def hook(flow: HTTPFlow) -> None:
        flow.response = Response.make(status, body)

    return hook


class Waiting:
    """A hook that makes its event wait until `go_on` is called; notes what it was called with.

    As a coroutine where ``coroutine`` is set, else with a Deferred.
    """

    def __init__(self, coroutine: bool = False) -> None:
        self.arguments: list[Any] = []
        self.cancelled = 0
        self._coroutine = coroutine
        self._deferreds: list[Deferred[None]] = []

    def __call__(self, argument: Any) -> Any:
        self.arguments.append(argument)
        waiting: Deferred[None] = Deferred(self._cancel)
        self._deferreds.append(waiting)
        return self._wait(waiting) if self._coroutine else waiting

    async def _wait(self, waiting: Deferred[None]) -> None:
        await waiting

    def _cancel(self, waiting: Deferred[None]) -> None:
        self.cancelled += 1

    @property
    def called(self) -> bool:
        """Whether the hook was called."""
        return bool(self.arguments)

    def go_on(self) -> None:
        """Let the oldest event that waits go on."""
        self._deferreds.pop(0).callback(None)


class EventTestCase(ProxyTestCase):
    """Runs hooks, and sends what brings them about."""

    def hooked(
        self, options: Any = None, /, **hooks: Callable[..., Any]
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        """Like `started`, with one addon that has these ``hooks`` and no others."""
        return self.started(Hooks(**hooks), **(options or {}))

    def raw_origin(
        self, proxy: MemoryProxy, host: str = "example.test", port: int = 80
    ) -> RecorderFactory:
        """Return an origin that speaks no HTTP; its ``protocols`` are what connected."""
        factory = RecorderFactory(HalfCloseRecorder)
        proxy.network.listen((host, port), factory)
        return factory

    def messages(self) -> Messages:
        """Return what keeps the messages that are logged from now on."""
        messages = Messages()
        globalLogPublisher.addObserver(messages)
        self.addCleanup(globalLogPublisher.removeObserver, messages)
        return messages

    def response(self, client: MemoryClient, method: bytes = b"GET") -> Response:
        """Take a complete response; fails where there is none."""
        response = client.response(method)
        assert response is not None, client.received
        return response

    def ends(self, recorder: EventRecorder) -> list[str]:
        """The events in which flows ended."""
        return [name for name in recorder.names if name in ENDS]

    def code(self, recorder: EventRecorder) -> str:
        """The code of the one flow that ended in ``error``."""
        [flow] = recorder.arguments("error")
        return str(flow.error.code)


class Hooks:
    """An addon with the hooks that it was given, and no others."""

    error_policy: str

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, hook in hooks.items():
            # A builtin, such as a list's `append`, would not count as a hook.
            setattr(self, name, lambda *arguments, hook=hook: hook(*arguments))


class Guard(Hooks):
    """The same, failing closed."""

    error_policy = "kill"
