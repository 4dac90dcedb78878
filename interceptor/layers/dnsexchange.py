"""One question of DNS: its hooks in their order, the resolver that is asked, and the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from interceptor.errors import HookFailed, LocalProtocolError, UpstreamError
from interceptor.layers.datagrams import NoDatagramsError
from interceptor.layers.failures import (
    ClientGoneError,
    KilledError,
    client_gone,
    response_removed,
)
from interceptor.layers.flowcontrol import FlowSteering, note_failure
from interceptor.layers.task import Task
from interceptor.model.connections import ServerConnection
from interceptor.names.flow import DNSFlow
from interceptor.names.message import UDP_SIZE, Request, Response

if TYPE_CHECKING:
    from interceptor.layers.environment import Environment
    from interceptor.model.connections import ClientConnection

Ask = Callable[[DNSFlow, bytes, float], Awaitable[Response]]
"""Asks the resolver ``flow.server_conn`` for the answer to a request within so many seconds."""

_TRANSFERS: Final = frozenset(("AXFR", "IXFR"))
"""Questions whose answers are streams of messages (RFC 5936): no hook could judge them as one."""

_RCODES: Final = {"dns-transfer": "NOTIMP", "refused-by-hook": "REFUSED"}
"""What a client is told of a failure; of any other, SERVFAIL."""


class DNSExchange(FlowSteering):
    """Answers one question, and is the `FlowControl` of its flow.

    ``dns_request`` comes first, ``dns_response`` before the answer leaves; a flow ends in exactly
    one of ``dns_response`` and ``dns_error``. ``done`` is called once with the answer, or with None
    where the client gets none. ``transport`` is how the client asked: ``udp`` or ``tcp``.
    """

    log = Logger()

    def __init__(
        self,
        environment: Environment,
        client_conn: ClientConnection,
        mode: str,
        request: Request,
        transport: str,
        servers: Callable[[], tuple[tuple[str, int], ...]],
        ask: Ask,
        done: Callable[[bytes | None], object],
    ) -> None:
        self.environment = environment
        self.flow = DNSFlow(client_conn, ServerConnection(None), mode, self, transport)
        self.flow.request = request
        self._hooks: Any = environment.hooks
        self._asked = request.copy()
        self._servers = servers
        self._ask = ask
        self._done = done
        self._told = False
        self._resumed = None
        self._task = Task(self._run(), self._ended)
        self._wire: bytes | None = None

    def start(self) -> None:
        """Begin."""
        self._task.start()

    def abort(self) -> None:
        """The client does not want the answer any more."""
        self._task.abort(client_gone(self.environment))

    async def _run(self) -> None:
        try:
            await self._answer()
        except Exception as error:
            await self._fail(error)

    async def _answer(self) -> None:
        flow, hooks = self.flow, self._hooks
        known: tuple[tuple[str, int], ...] = ()
        unknown: UpstreamError | None = None
        try:
            known = self._servers()
            flow.server_conn.address = known[0]
        except UpstreamError as error:
            # A hook may know better.
            unknown = error
        if hooks.dns_request is not None:
            await self._fire(hooks.dns_request)
        self._check()
        if flow.response is None:
            if unknown is not None and flow.server_conn.address is None:
                raise unknown
            flow.response = await self._resolve(known)
        response = self._mine(flow.response)
        if hooks.dns_response is not None:
            self._told = True
            await self._fire(hooks.dns_response)
            self._check()
            if flow.response is None:
                raise response_removed()
            response = self._mine(flow.response)
        self._wire = self._encode(response)

    async def _fire(self, fire: Any) -> None:
        await self._call_hooks(fire)
        await self._heed()

    def _check(self) -> None:
        """Look at what hooks left in the place of messages."""
        flow: Any = self.flow
        if not isinstance(flow.request, Request):
            flow.request = self._asked.copy()
            raise LocalProtocolError("a hook removed the request", "request-removed")
        if flow.response is not None and not isinstance(flow.response, Response):
            flow.response = None
            raise response_removed()

    async def _resolve(self, known: tuple[tuple[str, int], ...]) -> Response:
        """Ask one resolver after the other; the one that a hook chose is the only one."""
        flow = self.flow
        if flow.request.type in _TRANSFERS:
            raise UpstreamError("zone transfers are not passed on", "dns-transfer")
        try:
            query = flow.request.to_wire()
        except ValueError as error:
            raise LocalProtocolError(str(error), "dns-message-invalid") from error
        address = flow.server_conn.address
        if address is None:
            raise UpstreamError("a hook took the resolver's address away", "no-destination")
        servers = known if known and address == known[0] else (address,)
        timeout = self.environment.settings.dns_query_timeout / len(servers)
        for number, server in enumerate(servers, 1):
            if number > 1:
                flow.server_conn = ServerConnection(server)
            try:
                return await self._ask(flow, query, timeout)
            except NoDatagramsError:
                # The client asks again over TCP, which next hops have a way for.
                response = Response.make(flow.request)
                response.truncated = True
                return response
            except UpstreamError as error:
                if number == len(servers) or error.code == "refused-by-hook":
                    raise
                self.log.debug(
                    "{request}: {code}: {error}; the next resolver is asked",
                    request=flow.request,
                    code=error.code,
                    error=error,
                    proxy=self.environment.proxy,
                )
        raise AssertionError("there is at least one resolver")

    def _mine(self, response: Response) -> Response:
        """Make a response one to what the client asked, whatever hooks made of the question."""
        asked, question = self._asked.question, response.question
        response.id = self._asked.id
        if asked is not None and question is not None and not question.same_as(asked):
            try:
                response.put_under(self._asked)
            except ValueError as error:
                raise LocalProtocolError(str(error), "dns-message-invalid") from error
        return response

    def _encode(self, response: Response) -> bytes:
        try:
            wire = response.to_wire()
        except ValueError as error:
            raise LocalProtocolError(str(error), "dns-message-invalid") from error
        if self.flow.transport == "udp":
            size = self._asked.udp_size
            if len(wire) > (min(size, UDP_SIZE) if response.edited else size):
                return response.as_truncated(self._asked)
        return wire

    async def _fail(self, error: Exception) -> None:
        """Tell the log and the hooks; the client is told by a code of DNS, unless it was killed."""
        code, _ = note_failure(
            self.log,
            self.flow,
            error,
            self.environment.proxy,
            type=self._asked.type,
            name=self._asked.name,
        )
        if not isinstance(error, KilledError | ClientGoneError):
            answer = Response.make(self._asked, rcode=_RCODES.get(code, "SERVFAIL"))
            self._wire = answer.to_wire()
        if self._told:
            return
        try:
            await self._call_hooks(self._hooks.dns_error)
        except HookFailed as failed:
            # The bus has logged it; what was to be stopped has ended already.
            self.log.debug("dns_error hook: {error}", error=failed, proxy=self.environment.proxy)

    def _ended(self, error: BaseException | None) -> None:
        self.flow.detach()
        if error is not None and not isinstance(error, ClientGoneError | KilledError):
            self.log.failure(
                "{flow} could not be ended: {error}",
                flow=self.flow,
                error=error,
                proxy=self.environment.proxy,
            )
        self._done(self._wire)

    # The flow's control

    def _kill(self, error: KilledError) -> None:
        self._task.abort(error)
