"""DNS flows: a question, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.model.flow import AnswerFlow

if TYPE_CHECKING:
    from interceptor.model.connections import ClientConnection, ServerConnection
    from interceptor.model.flow import FlowControl
    from interceptor.names.message import Request, Response


class DNSFlow(AnswerFlow):
    """One question of a client, and its answer.

    ``response`` is None until there is one, from a resolver or from a hook. ``transport`` says how
    the client asked: ``udp`` or ``tcp``. ``server_conn.address`` is the resolver that is asked.
    """

    __slots__ = ("transport",)

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

    def _asked(self) -> str:
        return f"{self.request.type} {self.request.name}"

    def _answered(self) -> str:
        return "" if self.response is None else str(self.response.rcode)
