"""For tests of hooks, scripts and addons: flows to order, a chain of addons, a proxy in memory.

Nothing here opens a socket, starts a thread by itself or waits for real time. The three pieces,
from the smallest:

`make_flow` gives a flow to call a hook with. `HookTester` runs addons or scripts as the proxy would
(``start``, options, ``ctx``) and fires events at them. `MemoryProxy` is a whole proxy between a
client and origins in memory::

    class GreetingTests(SynchronousTestCase):
        def test_header(self):
            proxy = MemoryProxy(Greeting())
            self.addCleanup(proxy.close)
            proxy.origin("example.test").respond(http.Response.make(200, b"hello"))
            response = proxy.get("http://example.test/")
            self.assertEqual(response.headers["X-Greeting"], "hello")

With TLS it is ``proxy.tls_origin("example.test")`` and ``proxy.get("https://example.test/")``.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from interceptor.addons.protocols import declare_protocols
from interceptor.errors import ModeError
from interceptor.hooks.addons import AddonChain
from interceptor.hooks.events import EVENTS, PER_ADDON
from interceptor.hooks.scripts import Script
from interceptor.layers import rules
from interceptor.layers.destinations import check_modes
from interceptor.layers.environment import Environment
from interceptor.layers.listeners import datagram_listener
from interceptor.layers.session import ProxyFactory
from interceptor.memoryorigin import MemoryOrigin, OriginPeer
from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.coreoptions import core_options
from interceptor.model.flow import Error, HTTPFlow
from interceptor.model.http import Request, Response
from interceptor.model.modes import parse_mode
from interceptor.model.options import Options
from interceptor.model.sse import EventStream, ServerSentEvent
from interceptor.net.memory import HalfCloseRecorder, MemoryLink, MemoryNetwork
from interceptor.net.memorydatagrams import DatagramClient, DatagramServer, MemoryDatagrams
from interceptor.net.memorytls import (
    MemoryTLS,
    client_context,
    origin_authority,
    private_folder,
)
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    ResponseHead,
)
from interceptor.wire.messagereading import read_messages

__all__ = [
    "EventRecorder",
    "HookTester",
    "MemoryClient",
    "MemoryOrigin",
    "MemoryProxy",
    "MemoryTLS",
    "OriginPeer",
    "TestClock",
    "make_flow",
    "make_options",
    "read_messages",
]

PROXY_ADDRESS = ("proxy.test", 8080)
"""Where a `MemoryProxy` listens, in its network."""


class TestClock(Clock):
    """A clock that passes for a reactor wherever one only asks for time, or to be called."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function`` at once: there are no threads here."""
        function(*args, **kwargs)


def make_options(**values: Any) -> Options:
    """Return the core options, with some ``values`` set."""
    options = core_options()
    options.update(**values)
    return options


def make_flow(
    url: str = "http://example.test/",
    *,
    method: str = "GET",
    content: str | bytes = b"",
    headers: Any = (),
    response: Response | int | None = None,
    error: str | None = None,
    events: Iterable[ServerSentEvent] | None = None,
    client_address: tuple[str, int] = ("192.0.2.1", 50000),
) -> HTTPFlow:
    """Return a flow as a hook would get it.

    ``response`` is the server's response, or a status for an empty one; None leaves the flow where
    the ``request`` event finds it. ``error`` is the message of a failure. ``events`` are those of
    an event stream, the one that ``sse_event`` is about last.
    """
    server_conn = ServerConnection()
    flow = HTTPFlow(ClientConnection(client_address, PROXY_ADDRESS, time.time()), server_conn)
    flow.request = Request.make(method, url, content, headers)
    flow.request.first_line_format = "absolute"
    if isinstance(response, int):
        response = Response.make(response)
    flow.response = response
    if response is not None:
        server_conn.address = (flow.request.host, flow.request.port)
    if error is not None:
        flow.error = Error(error)
    if events is not None:
        flow.sse = EventStream()
        for event in events:
            flow.sse.add(event)
    return flow


class EventRecorder:
    """An addon that listens to every event, or to those named, and notes them in ``events``.

    ``events`` holds (name, argument) pairs; ``names`` only the names. ``actions`` maps an event's
    name to a function that is called with the argument, and may answer like a hook.
    """

    def __init__(self, *names: str, **actions: Callable[..., Any]) -> None:
        self.events: list[tuple[str, Any]] = []
        every = [name for name in EVENTS if name not in PER_ADDON and name not in ("tick", "log")]
        for name in {*(names or every), *actions}:
            setattr(self, name, self._hook(name, actions.get(name)))

    def _hook(self, name: str, action: Callable[..., Any] | None) -> Callable[..., Any]:
        if name in EVENTS and not EVENTS[name].arguments:

            def silent() -> Any:
                self.events.append((name, None))
                return None if action is None else action()

            return silent

        def hook(argument: Any) -> Any:
            self.events.append((name, argument))
            return None if action is None else action(argument)

        return hook

    @property
    def names(self) -> list[str]:
        """The names of the events so far, in order."""
        return [name for name, _ in self.events]

    def arguments(self, name: str) -> list[Any]:
        """Return the arguments with which an event came."""
        return [argument for each, argument in self.events if each == name]


class HookTester:
    """Addons and scripts on a chain of their own, with options, ``ctx`` and a clock.

    ``addons`` are objects, or texts that name scripts with their arguments.
    """

    def __init__(
        self, *addons: object, clock: TestClock | None = None, master: Any = None, **options: Any
    ) -> None:
        self.clock = TestClock() if clock is None else clock
        self.options = core_options()
        self.options.assign(options, defer=True)
        self.chain = AddonChain(self.options, reactor=self.clock, master=master)
        self.chain.start()
        try:
            declare_protocols(self.options, self.chain.bus.declared)
            for addon in addons:
                self.chain.add(Script(addon) if isinstance(addon, str) else addon)
            self.options.check_deferred()
            running = self.chain.running()
        except BaseException:
            self.close()
            raise
        failures: list[Failure] = []
        running.addErrback(failures.append)
        for failure in failures:
            self.close()
            failure.raiseException()

    def fire(self, event: str, argument: Any = None) -> Any:
        """Fire an event; return None, or a Deferred where a hook did not answer at once.

        Raises `interceptor.errors.HookFailed` as the proxy would meet it.
        """
        fire = self.chain.bus.get(event)
        return None if fire is None else fire(argument)

    def close(self) -> Deferred[None]:
        """Call ``done`` on everything and let go of it."""
        return self.chain.shutdown(deadline=0)


class MemoryProxy:
    """A proxy whose clients and origins are in memory, and whose time is a clock's.

    ``addons`` as for `HookTester`; ``mode`` as for the option. ``chunk`` says how many bytes arrive
    at once, as in `interceptor.net.memory.MemoryLink`. Options are given by name; unless they say
    otherwise, the proxy has an authority of its own in a temporary folder, the same for all proxies
    of the process, and trusts the origins that `tls_origin` makes.
    """

    def __init__(
        self,
        *addons: object,
        mode: str = "regular",
        chunk: int | None = None,
        **options: Any,
    ) -> None:
        self.clock = TestClock()
        self.network = MemoryNetwork(self.clock, chunk=chunk)
        self.datagrams = MemoryDatagrams(self.clock)
        options.setdefault("confdir", os.path.join(private_folder(), "proxy"))
        options.setdefault("ssl_verify_upstream_trusted_ca", origin_authority().path)
        self.tester = HookTester(*addons, clock=self.clock, **options)
        self.options = self.tester.options
        self.bus = self.tester.chain.bus
        self.environment = Environment(self.clock, self.options, self.bus, self.network, rules)
        self.options.subscribe(lambda options, updated: self.environment.options_changed(updated))
        self.environment.proxy = self.tester.chain.proxy
        self.environment.datagrams = self.datagrams
        self.environment.options_changed()
        spec = parse_mode(mode)
        try:
            check_modes([spec], self.bus.declared.layers)
        except ModeError:
            self.tester.close()
            raise
        self.factory = ProxyFactory(self.environment, spec)
        self.factory.open()
        self.network.listen(PROXY_ADDRESS, self.factory)
        if "udp" in self.factory.mode.transports:
            listener = datagram_listener(self.environment, self.factory.mode)
            self._datagram_port = self.datagrams.listen(PROXY_ADDRESS, listener)
            listener.open()

    def origin(self, host: str = "example.test", port: int = 80) -> MemoryOrigin:
        """Return a new origin that listens at ``host`` and ``port``."""
        return MemoryOrigin(self.network, (host, port))

    def tls_origin(
        self,
        host: str = "example.test",
        port: int = 443,
        *,
        alpn: Sequence[str] = ("http/1.1",),
        context: ssl.SSLContext | None = None,
    ) -> MemoryOrigin:
        """Return a new origin that speaks TLS at ``host`` and ``port``.

        Its certificate is for ``host``, and of the protocols in ``alpn`` it chooses what the client
        likes best; or all that is as ``context`` has it.
        """
        if context is None:
            context = origin_authority().context(host, alpn=alpn)
        return MemoryOrigin(self.network, (host, port), context)

    @property
    def ca_file(self) -> str:
        """The file with the certificate that clients of the proxy have to trust."""
        return str(self.environment.handshakes.authority.certificate_files[0])

    def client(
        self, chunk: int | None = None, address: tuple[str, int] | None = None
    ) -> MemoryClient:
        """Return a new client, connected to the proxy, from ``address`` if that is given."""
        return MemoryClient(self, chunk, address)

    def datagram_client(self, address: tuple[str, int] | None = None) -> DatagramClient:
        """Return a new client that sends datagrams to the proxy, in a mode that takes them."""
        return self.datagrams.client(self._datagram_port, address)

    def datagram_server(self, host: str, port: int) -> DatagramServer:
        """Return a new server that is spoken to over UDP."""
        return self.datagrams.server(host, port)

    def tls_client(
        self, host: str = "example.test", port: int = 443, chunk: int | None = None, **tls: Any
    ) -> MemoryClient:
        """Return a new client that speaks TLS with ``host``, through CONNECT in regular mode.

        ``tls`` are arguments of `MemoryClient.start_tls`.
        """
        client = self.client(chunk)
        if self.factory.mode.kind in ("auto", "regular", "upstream"):
            client.connect(host, port)
        return client.start_tls(host, **tls)

    def get(self, url: str, headers: Any = ()) -> Response:
        """Send one GET through the proxy on a connection of its own, and return the response."""
        return self.send(Request.make("GET", url, b"", headers))

    def send(self, request: Request) -> Response:
        """Send one request through the proxy, and return the response.

        To an ``https`` URL it goes through CONNECT and TLS. Raises `AssertionError` where no
        response has come when nothing moves any more: a hook is waiting, or an origin does not
        answer. Use `client` or `tls_client` to test that.
        """
        if request.scheme == "https":
            client = self.tls_client(request.host, request.port)
        else:
            client = self.client()
        client.send_request(request)
        response = client.response(request.method_bytes)
        assert response is not None, "there is no response yet; the client has " + repr(
            client.received
        )
        client.close()
        self.network.flush()
        return response

    def advance(self, seconds: float) -> None:
        """Let time pass, and then everything move that can."""
        self.network.advance(seconds)

    def flush(self) -> None:
        """Let everything move that can."""
        self.network.flush()

    def close(self) -> None:
        """End all connections and all addons."""
        for session in tuple(self.environment.sessions):
            session.abort()
        self.network.flush()
        self.tester.close()


class MemoryClient:
    """A client of a `MemoryProxy`. What it has received and not taken is in ``received``.

    ``tls`` is what it speaks TLS with, after `start_tls`: the outermost where there are several.
    """

    tls: MemoryTLS

    def __init__(
        self,
        proxy: MemoryProxy,
        chunk: int | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        self._proxy = proxy
        self._target = "absolute"
        self.peer = HalfCloseRecorder()
        self.link: MemoryLink = proxy.network.dial(
            PROXY_ADDRESS, self.peer, chunk=chunk, client_address=address
        )
        proxy.network.flush()

    @property
    def received(self) -> bytes:
        """What came from the proxy and was not taken yet."""
        return self.peer.data

    @property
    def closed(self) -> bool:
        """Whether the proxy closed the connection, or its direction of it."""
        return self.peer.ended or self.peer.lost is not None

    def take(self) -> bytes:
        """Return `received` and forget it."""
        return self.peer.take()

    def send(self, data: bytes) -> MemoryClient:
        """Send bytes, and let everything move that can."""
        self.peer.write(data)
        self._proxy.network.flush()
        return self

    def connect(self, host: str, port: int) -> MemoryClient:
        """Ask for a tunnel to ``host`` and ``port``. Raises `AssertionError` if there is none."""
        name = f"[{host}]" if ":" in host else host
        self.send(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
        head, _, self.peer.data = self.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        self._target = "origin"
        return self

    def start_tls(
        self,
        host: str | None,
        *,
        alpn: Sequence[str] = ("http/1.1",),
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> MemoryClient:
        """Speak TLS from now on; how far that got is in ``tls``.

        ``host`` is the name asked for, or the address checked; None is neither. The client trusts
        the proxy's authority, unless there is a ``context``. `send` and `received` are of what is
        encrypted then.
        """
        if context is None:
            context = client_context(self._proxy.ca_file, alpn, check_names=host is not None)
        below = self.peer.transport
        self.peer = HalfCloseRecorder()
        self.tls = MemoryTLS(context, self.peer, server_name=host, session=session)
        self._target = "origin"
        self.tls.take_over(below)
        self._proxy.network.flush()
        return self

    def send_request(self, request: Request) -> MemoryClient:
        """Send a request, with its whole URL as the target where it goes to the proxy as such."""
        codec = HTTP1ClientCodec(HTTP1Limits(), "pass", self._target)
        return self.send(codec.send_message(request, request.raw_content or b""))

    def end(self) -> MemoryClient:
        """Close our direction only."""
        self.peer.close_write()
        self._proxy.network.flush()
        return self

    def close(self) -> None:
        """Close the connection."""
        (self.peer.transport or self.link.client).loseConnection()
        self._proxy.network.flush()

    def abort(self) -> None:
        """Reset the connection."""
        self.link.client.abortConnection()
        self._proxy.network.flush()

    def response(self, method: bytes = b"GET") -> Response | None:
        """Take one complete response from `received`, its body included; None while there is none.

        Raises `interceptor.errors.RemoteProtocolError` for one that ends in the middle.
        """
        codec = HTTP1ClientCodec(HTTP1Limits(), "repair")
        codec.send_head(Request.make(method, "http://example.test/"), 0)
        codec.receive_data(self.received)
        if self.closed:
            codec.receive_eof()
        response: Response | None = None
        body = b""
        while True:
            event = codec.next_event(time.time())
            if event is NEED_DATA or event is CONNECTION_CLOSED:
                return None
            if isinstance(event, ResponseHead):
                if event.response.status_code < 200:
                    continue
                response = event.response
                ended = event.end_of_message
            elif isinstance(event, Data):
                body += event.data
                ended = event.end_of_message
            else:
                ended = True
            if ended:
                assert response is not None
                if isinstance(event, EndOfMessage):
                    response.trailers = event.trailers
                response.attach_body(body)
                self.peer.data = codec.take_rest()
                return response
