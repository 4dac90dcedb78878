"""Several servers behind one reverse listener, chosen by SNI or by Host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.errors import RemoteProtocolError
from interceptor.layers.destinations import RAW
from interceptor.layers.http import HTTPLayer
from interceptor.layers.tls import TLSLayer
from interceptor.model.wording import shown

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.serverside import ServerSide
    from interceptor.model.http import Request
    from interceptor.wire.httpevents import RequestHead
    from interceptor.wire.tlshello import ClientHello


class BackendTLSLayer(TLSLayer):
    """Opens TLS for the backend that the client's SNI names.

    ``destination`` is where a ``server`` is that was connected to before the client had spoken.
    """

    async def open(self, hello: ClientHello) -> None:
        backend = self.context.environment.backends.find(hello.sni)
        if backend is None:
            self.context.client_conn.sni = hello.sni
            named = "the client sent no SNI" if hello.sni is None else shown(hello.sni)
            self.hello_failed(
                RemoteProtocolError(f"no backend has this name: {named}", "backend-unknown")
            )
            return
        if self.destination != backend.destination:
            self._let_go()
            self.destination = backend.destination
        await super().open(hello)


class BackendHTTPLayer(HTTPLayer):
    """Speaks HTTP with the client, and sends each request to the backend that its Host names.

    ``destination`` is the one that was chosen already, by the client's SNI or because the client
    had not spoken yet.
    """

    def __init__(
        self,
        context: Context,
        destination: Destination | None = None,
        *,
        server: ServerSide | None = None,
    ) -> None:
        unfit = destination is not None and destination[0] in RAW
        super().__init__(
            context,
            None if unfit else destination,
            rewrite_host=True,
            server=None if unfit else server,
        )
        self.is_proxy = False
        self._unfit = server if unfit else None

    def start(self, data: bytes) -> None:
        if self._unfit is not None:
            self._unfit.close()
        super().start(data)

    def exchange(self, stream: Any, head: RequestHead) -> Coroutine[Any, Any, None]:
        try:
            return super().exchange(stream, head)
        except RemoteProtocolError as error:
            # It was understood: whoever looks for a backend that is missing has to see what for.
            return self._refuse(stream, error, head.request)

    async def _refuse(self, stream: Any, error: RemoteProtocolError, request: Request) -> None:
        self.refuse(stream, error, request)

    def _route(self, request: Request) -> None:
        host = request.host_bytes
        environment = self.context.environment
        if environment.internal(host) is not None:
            self._send_to(request, (b"http", host, 80))
            return
        name = host.decode("utf-8", "surrogateescape")
        backend = environment.backends.find(name)
        if backend is None:
            problem = "no backend has this name"
        elif backend.destination[0] in RAW:
            problem = "the backend of this name does not speak HTTP"
        else:
            self._send_to(request, backend.destination)
            return
        # RFC 9110 section 15.5.20.
        raise RemoteProtocolError(f"{problem}: {shown(name)}", "backend-unknown", 421)
