"""TLS that begins in the middle of a connection, once client and server have agreed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interceptor.errors import UpstreamError
from interceptor.layers.tls import TLSLayer
from interceptor.net.gate import SETUP
from interceptor.wire.starttls import injection

if TYPE_CHECKING:
    from interceptor.errors import InterceptorError
    from interceptor.layers.context import Context
    from interceptor.layers.destinations import Destination
    from interceptor.layers.joint import Joint
    from interceptor.layers.serverside import ServerSide
    from interceptor.wire.tlshello import ClientHello


_NOT_TLS: Final = "tls-not-tls"


class StartTLSLayer(TLSLayer):
    """Opens TLS between a client and a server that are joined already.

    The server has agreed, so it is shaken hands with as the client would have done; then the
    client, and the joint goes on inside. ``protocol`` is the name of what is spoken.
    """

    name = "starttls"

    def __init__(
        self,
        context: Context,
        destination: Destination,
        server: ServerSide,
        joint: Joint,
        protocol: str,
    ) -> None:
        super().__init__(context, (b"tls", *destination[1:]), server)
        self.protocol = protocol
        self._joint = joint
        self._below_server = server

    def hello_failed(self, error: InterceptorError) -> None:
        if error.code == _NOT_TLS:
            error = injection("client")
        super().hello_failed(error)

    async def _ask_server(self, hello: ClientHello) -> None:
        try:
            await super()._ask_server(hello)
        except UpstreamError as error:
            if error.code != _NOT_TLS:
                raise
            found = injection("server")
            raise UpstreamError(str(found), found.code) from error

    def _go_on(self, failure: UpstreamError | None) -> None:
        assert self.server is not None
        self._joint.secured(self.server, self.protocol)

    def _pass_through(self, hello: ClientHello, reason: str) -> None:
        self._log_passthrough(hello, reason)
        self._below.reading.resume(SETUP)
        self._joint.left_alone(self._below_server, reason, hello.raw)

    def _give_up(self, error: Exception) -> None:
        super()._give_up(error)
        self._joint.tls_failed(error)

    def stopped(self, error: Exception) -> None:
        self._give_up(error)

    def _log(self, hello: ClientHello | None, error: InterceptorError) -> None:
        if self._joint.flow is None:
            super()._log(hello, error)
