"""DNS flows: a question, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptor.model.flow import Flow

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.flow import FlowControl
    from interceptor.names.message import Request, Response


class DNSFlow(Flow):
    """One question of a client, and its answer.

    ``response`` is None until there is one, from a resolver or from a hook. ``transport`` says how
    the client asked: ``udp`` or ``tcp``. ``server_conn.address`` is the resolver that is asked.
    """

    __slots__ = ("request", "response", "transport")

    type: str = "dns"

    request: Request
    response: Response | None

    def __init__(
        self,
        client_conn: ClientConnection,
        server_conn: ServerConnection,
        mode: str = "dns",
        control: FlowControl | None = None,
        transport: str = "udp",
    ) -> None:
        super().__init__(client_conn, server_conn, mode, control)
        self.request = None  # type: ignore[assignment]  # set before anybody sees the flow
        self.response = None
        self.transport = transport

    def copy(self) -> DNSFlow:
        made = super().copy()
        made.transport = self.transport
        return made

    def _get_state(self) -> tuple[Any, ...]:
        request: Request | None = self.request
        return (
            *super()._get_state(),
            None if request is None else request.copy(),
            None if self.response is None else self.response.copy(),
        )

    def _set_state(self, state: tuple[Any, ...]) -> None:
        super()._set_state(state)
        self.request, self.response = state[4:6]

    def _matches(self, state: tuple[Any, ...]) -> bool:
        if not super()._matches(state):
            return False
        return all(
            mine is kept if mine is None or kept is None else mine.same_as(kept)
            for mine, kept in ((self.request, state[4]), (self.response, state[5]))
        )

    def __repr__(self) -> str:
        request: Request | None = self.request
        what = "no request" if request is None else f"{request.type} {request.name}"
        if self.response is not None:
            what += f" -> {self.response.rcode}"
        if self.error is not None:
            what += f" ({self.error.code or self.error.msg})"
        return f"<DNSFlow {what}>"
