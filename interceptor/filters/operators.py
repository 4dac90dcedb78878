"""The operators of the filter language: one registry for the parser and for the reference.

Every predicate is total: it answers for any flow, with or without a response, an error or a server
connection, and has no effect on it. What a flow does not have does not match.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from interceptor.filters.content import body_length, searchable_content
from interceptor.model.connections import format_address
from interceptor.model.units import parse_duration, parse_size

if TYPE_CHECKING:
    from interceptor.model.connections import Connection
    from interceptor.model.flow import Flow
    from interceptor.model.message import Message

Predicate: TypeAlias = "Callable[[Flow], bool]"
"""What an expression is compiled to."""

Measure: TypeAlias = "Callable[[Flow], float | None]"
"""A number read from a flow, None where the flow has none."""

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""The comparison signs; without one, numbers are compared for equality."""

CHEAP, HEADERS, BODY = 1, 10, 1000
"""Rough costs of a predicate: the operands of ``&`` and ``|`` are tried from cheap to dear."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An operator that stands alone: ``~e``."""

    name: str
    summary: str
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Pattern:
    """An operator with a regular expression: ``~u login``.

    ``build`` compiles the expression, and lets what `re` raises pass.
    """

    name: str
    summary: str
    build: Callable[[str], Predicate]
    cost: int = CHEAP


@dataclass(frozen=True, slots=True)
class Number:
    """An operator with a number and perhaps a comparison sign: ``~c >= 500``.

    ``read`` turns the number as written into what ``measure`` is compared with, or raises
    `ValueError`; ``expected`` says in a few words what it takes.
    """

    name: str
    summary: str
    expected: str
    measure: Measure
    read: Callable[[str], float]


Operator = Flag | Pattern | Number


def compare(measure: Measure, sign: str, bound: float) -> Predicate:
    """Build the predicate of a comparison.

    What cannot be measured compares as false, with ``!=`` too.
    """
    holds = COMPARISONS[sign]

    def predicate(flow: Flow) -> bool:
        value = measure(flow)
        return value is not None and holds(value, bound)

    return predicate


# Messages. Flows of other kinds have none, or such as no operator about HTTP is meant for.


def _request(flow: Flow) -> Any:
    return getattr(flow, "request", None) if flow.type == "http" else None


def _response(flow: Flow) -> Any:
    return getattr(flow, "response", None) if flow.type == "http" else None


def _dns_name(flow: Flow) -> str | None:
    request = getattr(flow, "request", None) if flow.type == "dns" else None
    return None if request is None else str(request.name)


def _either(one: Predicate, other: Predicate) -> Predicate:
    return lambda flow: one(flow) or other(flow)


def _on_text(read: Callable[[Flow], str | None], flags: int = 0) -> Callable[[str], Predicate]:
    """A builder that searches the text which ``read`` takes from a flow."""

    def build(pattern: str) -> Predicate:
        search = re.compile(pattern, re.IGNORECASE | flags).search

        def predicate(flow: Flow) -> bool:
            text = read(flow)
            return text is not None and search(text) is not None

        return predicate

    return build


def _on_either(
    builder: Callable[[Callable[[Flow], Any]], Callable[[str], Predicate]],
) -> Callable[[str], Predicate]:
    """A builder that tries the request first and then the response."""
    of_request, of_response = builder(_request), builder(_response)

    def build(pattern: str) -> Predicate:
        return _either(of_request(pattern), of_response(pattern))

    return build


def _on_headers(message_of: Callable[[Flow], Message | None]) -> Callable[[str], Predicate]:
    def read(flow: Flow) -> str | None:
        message = message_of(flow)
        if message is None:
            return None
        lines = [name + b": " + value for name, value in message.headers.fields]
        return b"\n".join(lines).decode("utf-8", "surrogateescape")

    return _on_text(read, re.MULTILINE)


def _on_content_type(message_of: Callable[[Flow], Message | None]) -> Callable[[str], Predicate]:
    def read(flow: Flow) -> str | None:
        message = message_of(flow)
        value = None if message is None else message.headers.get_bytes(b"content-type")
        return None if value is None else value.decode("utf-8", "surrogateescape")

    return _on_text(read)


def _on_body(
    message_of: Callable[[Flow], Message | None], from_client: bool
) -> Callable[[str], Predicate]:
    def build(pattern: str) -> Predicate:
        # What the command line could not decode arrives as surrogates and leaves as it came.
        expression = pattern.encode("utf-8", "surrogateescape")
        search = re.compile(expression, re.IGNORECASE | re.DOTALL).search

        def predicate(flow: Flow) -> bool:
            message = message_of(flow)
            if message is None:
                return False
            content = searchable_content(message)
            if content is not None and search(content) is not None:
                return True
            websocket = getattr(flow, "websocket", None)
            return websocket is not None and any(
                each.from_client is from_client and search(each.content) is not None
                for each in websocket.messages
            )

        return predicate

    return build


_body_q, _body_s = _on_body(_request, True), _on_body(_response, False)


def _any_body(pattern: str) -> Predicate:
    return _either(_body_q(pattern), _body_s(pattern))


# Single readers.


def _method(flow: Flow) -> str | None:
    request = _request(flow)
    return None if request is None else request.method


def _host(flow: Flow) -> str | None:
    request = _request(flow)
    return None if request is None else request.host


# The Host field is whatever the client likes. What names a destination therefore matches where the
# request really goes as well, so that no rule is evaded by lying there.


def _searches(real: str, shown: str) -> Callable[[str], Predicate]:
    """Search the attribute of a request that is true, the one that is shown, or a DNS name."""

    def build(pattern: str) -> Predicate:
        search = re.compile(pattern, re.IGNORECASE).search

        def predicate(flow: Flow) -> bool:
            request = _request(flow)
            if request is None:
                name = _dns_name(flow)
                return name is not None and search(name) is not None
            if search(getattr(request, real)) is not None:
                return True
            return search(getattr(request, shown)) is not None

        return predicate

    return build


_url, _domain = _searches("url", "pretty_url"), _searches("host", "pretty_host")


def _address(connection: Connection | None) -> str | None:
    if connection is None or connection.address is None:
        return None
    return format_address(connection.address)


def _source(flow: Flow) -> str | None:
    return _address(flow.client_conn)


def _destination(flow: Flow) -> str | None:
    return _address(flow.server_conn)


def _marker(flow: Flow) -> str | None:
    # Older scripts mark with True, which is no text to search.
    return flow.marked if isinstance(flow.marked, str) and flow.marked else None


def _comment(flow: Flow) -> str | None:
    return flow.comment or None


def _metadata(flow: Flow) -> str | None:
    return "\n".join([f"{key}: {value}" for key, value in flow.metadata.items()]) or None


_is_asset = re.compile(
    rb"(?:text|application)/(?:x-)?(?:javascript|ecmascript)|text/css|image/"
    rb"|font/|application/(?:x-)?font|application/vnd\.ms-fontobject",
    re.IGNORECASE,
).match


def _asset(flow: Flow) -> bool:
    response = _response(flow)
    value = None if response is None else response.headers.get_bytes(b"content-type")
    return value is not None and _is_asset(value) is not None


# Numbers.


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"not a whole number: {text!r}")
    return int(text)


def _status(flow: Flow) -> float | None:
    response = _response(flow)
    return None if response is None else response.status_code


def _port(flow: Flow) -> float | None:
    request = _request(flow)
    return None if request is None else request.port


def _request_size(flow: Flow) -> float | None:
    request = _request(flow)
    return None if request is None else body_length(request)


def _response_size(flow: Flow) -> float | None:
    response = _response(flow)
    return None if response is None else body_length(response)


def _size(flow: Flow) -> float | None:
    sizes = [size for size in (_request_size(flow), _response_size(flow)) if size is not None]
    return sum(sizes) if sizes else None


def flow_duration(flow: Flow) -> float | None:
    """Seconds from the request's first byte to the response's last or the error; None before."""
    request: Any = getattr(flow, "request", None)
    response: Any = getattr(flow, "response", None)
    if request is None or request.timestamp_start is None:
        return None
    end = None if response is None else response.timestamp_end
    if end is None and flow.error is not None:
        end = flow.error.timestamp
    return None if end is None else max(0.0, end - request.timestamp_start)


BARE: Final = Pattern(
    "u", "URL that the request goes to, or the one of its Host field; name asked of DNS", _url
)
"""What a pattern without an operator stands for."""

_ALL: Final[tuple[Operator, ...]] = (
    Flag("a", "the response is an asset: CSS, JavaScript, an image or a font", _asset),
    Flag("all", "every flow", lambda flow: True),
    Pattern("b", "body of the request or the response, or a WebSocket message", _any_body, BODY),
    Pattern("bq", "body of the request, or a WebSocket message of the client's", _body_q, BODY),
    Pattern("bs", "body of the response, or a WebSocket message of the server's", _body_s, BODY),
    Number("c", "status code of the response", "a status code", _status, _whole),
    Pattern("comment", "comment of the flow", _on_text(_comment, re.MULTILINE)),
    Pattern("d", "host that the request goes to, or its Host field; name asked of DNS", _domain),
    Flag("dns", "the flow is a DNS question", lambda flow: flow.type == "dns"),
    Pattern("dst", "address of the server, as host:port", _on_text(_destination)),
    Number(
        "duration",
        "time from the request's first byte to the response's last, or to the error",
        "a time such as 250ms, 5s or 1m",
        flow_duration,
        parse_duration,
    ),
    Flag("e", "the flow has an error", lambda flow: flow.error is not None),
    Pattern("h", "header line of the request or the response", _on_either(_on_headers), HEADERS),
    Pattern("host", "host that the request goes to, whatever its Host field says", _on_text(_host)),
    Pattern("hq", "header line of the request", _on_headers(_request), HEADERS),
    Pattern("hs", "header line of the response", _on_headers(_response), HEADERS),
    Flag("http", "the flow is HTTP", lambda flow: flow.type == "http"),
    Pattern("m", "request method", _on_text(_method)),
    Flag("marked", "the flow is marked", lambda flow: bool(flow.marked)),
    Pattern("marker", "text that the flow is marked with", _on_text(_marker)),
    Pattern("meta", "metadata line of the flow, as key: value", _on_text(_metadata, re.MULTILINE)),
    Number("port", "port that the request goes to", "a port", _port, _whole),
    Flag(
        "q",
        "a request without a response (yet)",
        lambda flow: (
            getattr(flow, "request", None) is not None and getattr(flow, "response", None) is None
        ),
    ),
    Flag("s", "the flow has a response", lambda flow: getattr(flow, "response", None) is not None),
    Number(
        "size",
        "bytes of both bodies as on the wire",
        "a size such as 512, 64k or 1m",
        _size,
        parse_size,
    ),
    Number(
        "sizeq",
        "bytes of the request's body as on the wire",
        "a size such as 512, 64k or 1m",
        _request_size,
        parse_size,
    ),
    Number(
        "sizes",
        "bytes of the response's body as on the wire",
        "a size such as 512, 64k or 1m",
        _response_size,
        parse_size,
    ),
    Pattern("src", "address of the client, as host:port", _on_text(_source)),
    Pattern("t", "Content-Type of the request or the response", _on_either(_on_content_type)),
    Flag("tcp", "the flow is TCP", lambda flow: flow.type == "tcp"),
    Pattern("tq", "Content-Type of the request", _on_content_type(_request)),
    Pattern("ts", "Content-Type of the response", _on_content_type(_response)),
    BARE,
    Flag("udp", "the flow is UDP", lambda flow: flow.type == "udp"),
    Flag(
        "websocket",
        "the flow is a WebSocket",
        lambda flow: getattr(flow, "websocket", None) is not None,
    ),
)

OPERATORS: Final[Mapping[str, Operator]] = {each.name: each for each in _ALL}
"""Every operator by its name, without the tilde, in the order of the reference."""
