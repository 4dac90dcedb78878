"""The printer: one line for every flow that ended, headers and bodies where asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from twisted.internet.defer import Deferred

from interceptor.addons.dnstext import dns_summary, record_lines
from interceptor.addons.flowtext import (
    COLOURED,
    PLAIN,
    Style,
    body_lines,
    is_refused,
    protocol_message_line,
    protocol_summary,
    request_head,
    response_head,
    summary,
    tcp_summary,
    tunnel_summary,
    udp_summary,
)
from interceptor.addons.output import IOutputReactor, LineOutput
from interceptor.addons.websockettext import message_lines, websocket_summary
from interceptor.errors import FilterError, OptionsError
from interceptor.filters.expression import Filter, parse

if TYPE_CHECKING:
    from interceptor.hooks.addons import AddonChain
    from interceptor.model.flow import Flow, HTTPFlow
    from interceptor.model.messageflow import MessageFlow
    from interceptor.model.options import Options
    from interceptor.model.tcpflow import TCPFlow
    from interceptor.model.udpflow import UDPFlow
    from interceptor.names.flow import DNSFlow


class Printer:
    """An addon that prints flows as they end, in the order in which they end.

    The options it heeds: ``flow_detail`` (0 prints nothing, 1 a line, 2 the headers as well, and
    the messages of other protocols, 3 the bodies as well), ``view_filter`` and ``color``.
    ``reveal``, or the option ``show_secrets``, shows the values of ``Authorization``, ``Cookie``
    and the like, and passwords in URLs. A CONNECT tunnel gets its line when it is there, in front
    of what comes through it. A connection that is passed on as it is gets one at its end, and so
    does a WebSocket.

    It only observes: bodies are not kept for its sake, so that as a rule it has none to print and
    none to search. `BodyPrinter` is for those, and `keep_printer` for choosing.
    """

    name = "printer"
    observes_only = True

    def __init__(
        self,
        output: LineOutput,
        environment: Mapping[str, str] | None = None,
        *,
        reveal: bool = False,
    ) -> None:
        self._output = output
        self._environment = os.environ if environment is None else environment
        self._reveal = self._reveals = reveal
        self._detail = 1
        self._filter: Filter | None = None
        self._style = PLAIN

    def configure(self, options: Options, updated: set[str]) -> None:
        self._reveal = self._reveals or options.show_secrets
        if "view_filter" in updated:
            self._filter = view_filter(options)
        if "color" in updated:
            self._style = self._choose_style(options.color)
        self._detail = options.flow_detail

    def _choose_style(self, choice: str) -> Style:
        if choice == "auto":
            plain = self._environment.get("NO_COLOR") or self._environment.get("TERM") == "dumb"
            return PLAIN if plain or not self._output.isatty() else COLOURED
        return COLOURED if choice == "always" else PLAIN

    def http_connect(self, flow: HTTPFlow) -> None:
        # Whether it can be had is not known yet: only what a hook answered has an end here.
        if is_refused(flow) and self._chosen(flow):
            self._print(flow, summary(flow, self._style, self._reveal))

    def http_connected(self, flow: HTTPFlow) -> None:
        if self._chosen(flow):
            self._print(flow, tunnel_summary(flow, self._style, self._reveal))

    def response(self, flow: HTTPFlow) -> None:
        if self._chosen(flow):
            self._print(flow, summary(flow, self._style, self._reveal))

    def error(self, flow: HTTPFlow) -> None:
        if self._chosen(flow):
            self._print(flow, summary(flow, self._style, self._reveal))

    def websocket_end(self, flow: HTTPFlow) -> None:
        if self._chosen(flow):
            self._output.write(websocket_summary(flow, self._style, self._reveal))

    def tcp_end(self, flow: TCPFlow) -> None:
        if self._chosen(flow):
            self._output.write(tcp_summary(flow, self._style))

    def udp_end(self, flow: UDPFlow) -> None:
        if self._chosen(flow):
            self._output.write(udp_summary(flow, self._style))

    def dns_response(self, flow: DNSFlow) -> None:
        if self._chosen(flow):
            lines = [dns_summary(flow, self._style)]
            if self._detail > 1:
                lines += [*record_lines(flow), ""]
            self._output.write("\n".join(lines))

    def dns_error(self, flow: DNSFlow) -> None:
        if self._chosen(flow):
            self._output.write(dns_summary(flow, self._style))

    def protocol_end(self, flow: MessageFlow) -> None:
        if self._chosen(flow):
            self._output.write(protocol_summary(flow, self._style))

    def done(self) -> Deferred[None]:
        return self._output.drain()

    def _chosen(self, flow: Flow) -> bool:
        return self._detail > 0 and (self._filter is None or self._filter(flow))

    def _print(self, flow: HTTPFlow, line: str) -> None:
        if self._detail == 1:
            self._output.write(line)
            return
        style, bodies = self._style, self._detail > 2
        lines = [line, *request_head(flow.request, style, self._reveal)]
        if bodies:
            lines.extend(body_lines(flow.request, style))
        if flow.response is not None:
            lines.extend(response_head(flow.response, style, self._reveal))
            if bodies:
                lines.extend(body_lines(flow.response, style))
        lines.append("")
        self._output.write("\n".join(lines))


class MessagePrinter(Printer):
    """A printer that shows each message of other protocols as well, a line for each."""

    def protocol_message(self, flow: MessageFlow) -> None:
        if self._chosen(flow):
            self._output.write(protocol_message_line(flow, self._style))


class BodyPrinter(MessagePrinter):
    """A printer for whose sake bodies are gathered, so that they can be printed and searched."""

    observes_only = False

    def request(self, flow: HTTPFlow) -> None:
        # Without a hook for it the request's body would stream by.
        return None

    def websocket_message(self, flow: HTTPFlow) -> None:
        if self._detail > 2 and self._chosen(flow):
            lines = message_lines(flow, flow.websocket.messages[-1], self._style)
            self._output.write("\n".join(lines))


def view_filter(options: Options) -> Filter | None:
    """The option ``view_filter``, compiled. Raises `OptionsError` with the column of a mistake."""
    text = options.view_filter
    try:
        return parse(text) if text else None
    except FilterError as error:
        raise OptionsError(f"option `view_filter`: {error}") from None


def needs_bodies(options: Options) -> bool:
    """Whether bodies have to be gathered for the printer: to print them, or to search them."""
    chosen = view_filter(options)
    return options.flow_detail > 2 or (chosen is not None and chosen.searches_body)


def keep_printer(
    addons: AddonChain,
    reactor: IOutputReactor,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> Callable[[], None]:
    """Keep the printer that the options ask for at the end of ``addons``, now and later.

    With ``flow_detail`` 0 there is none, so that a quiet proxy pays nothing; it is replaced when
    it comes to need bodies, or no longer does. To be called when everything else was added, so that
    it prints what all other addons made of a flow. ``stream`` is standard output as a rule. Raises
    `OptionsError` for a faulty ``view_filter``. Returns a function that ends the care.
    """
    output = LineOutput(reactor, stream)
    printer: Printer | None = None

    def fit(options: Options, updated: set[str]) -> None:
        nonlocal printer
        kind = MessagePrinter if options.flow_detail > 1 else Printer
        if needs_bodies(options):
            kind = BodyPrinter
        wanted = options.flow_detail > 0
        if printer is not None and not (wanted and type(printer) is kind):
            gone, printer = printer, None
            addons.remove(gone)
        if printer is None and wanted:
            printer = kind(output, environment)
            addons.add(printer)

    fit(addons.options, set())
    return addons.options.subscribe(fit)
