"""DNS flows as text for people: a line, and the records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from interceptor.addons.flowtext import (
    INDENT,
    PLAIN,
    URL_LIMIT,
    VALUE_LIMIT,
    Style,
    cut,
    error_text,
    escape,
    milliseconds_text,
)
from interceptor.filters.operators import flow_duration
from interceptor.model.connections import format_address

if TYPE_CHECKING:
    from interceptor.names.flow import DNSFlow

_DATA_SHOWN: Final = 3
"""Records whose data is on the line of a flow."""

_RECORDS_SHOWN: Final = 100
"""Records that are listed."""


def dns_summary(flow: DNSFlow, style: Style = PLAIN) -> str:
    """Client, ``DNS``, type, name, response code, data of the answers, milliseconds.

    The fields are always in this order, one space apart, ``-`` for what there is not.
    """
    client = format_address(flow.client_conn.address)
    request, response = flow.request, flow.response
    name = cut(escape(request.name), URL_LIMIT)
    fields = f"{style.dim}{client}{style.end} {style.strong}DNS{style.end} {request.type} {name} "
    if response is None:
        fields += "- -"
    else:
        good = response.rcode == "NOERROR"
        colour = style.of_status(200 if good else 400)
        more = " truncated" if response.truncated else ""
        fields += f"{colour}{response.rcode}{style.end}{more} {_data(flow)}"
    duration = flow_duration(flow)
    fields += " -" if duration is None else f" {milliseconds_text(duration)}"
    return fields + error_text(flow, style)


def _data(flow: DNSFlow) -> str:
    answers = [] if flow.response is None else flow.response.answers
    shown = [escape(cut(record.data, 100)).replace(" ", "_") for record in answers[:_DATA_SHOWN]]
    if len(answers) > _DATA_SHOWN:
        shown.append("…")
    return ",".join(shown) or "-"


def record_lines(flow: DNSFlow) -> Iterator[str]:
    """The records of an answer, one a line, as zone files have them."""
    response = flow.response
    if response is None:
        return
    records = [*response.answers, *response.authority, *response.additional]
    for record in records[:_RECORDS_SHOWN]:
        yield f"{INDENT}< {escape(cut(str(record), VALUE_LIMIT))}"
    if len(records) > _RECORDS_SHOWN:
        yield f"{INDENT}  … {len(records) - _RECORDS_SHOWN} more records"
