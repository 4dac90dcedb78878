"""What each operator matches, and that none raises for any flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.filters.expression import Filter, parse
from interceptor.filters.operators import OPERATORS, Flag, Number
from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.flow import Error, Flow, HTTPFlow
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.model.websocket import WebSocketData, WebSocketMessage
from tests.filters.flows import answered, failed, http_flow


def json_flow() -> HTTPFlow:
    """A POST of a form that was answered with JSON."""
    flow = http_flow(
        "POST",
        "http://api.example.com:8081/v1/items?id=7",
        b"name=Needle&x=1",
        {"Content-Type": "application/x-www-form-urlencoded", "X-Asked": "yes"},
        server=("2001:db8::1", 8081),
    )
    answered(
        flow,
        201,
        '{"haystack": "Straw"}',
        {"Content-Type": "application/json; charset=utf-8", "Server": "nginx"},
        seconds=1.5,
    )
    flow.comment = "second try\nof two"
    flow.marked = ":star:"
    flow.metadata["ticket"] = 4711
    return flow


class OperatorTests(SynchronousTestCase):
    """Each operator on flows that it has to choose and on others."""

    def check(self, flow: Flow, *table: tuple[str, bool]) -> None:
        for expression, expected in table:
            self.assertIs(expected, parse(expression)(flow), expression)

    def test_flow_with_everything(self):
        self.check(
            json_flow(),
            ("~u items", True),
            (r"~u '^http://api\.example\.com:8081/v1/items\?id=7$'", True),
            ("~u other", False),
            ("~d example.com", True),
            ("~d '^example'", False),
            ("~m post", True),
            ("~m GET", False),
            ("~h x-asked", True),
            ("~h nginx", True),
            ("~h '^x-asked: yes$'", True),
            ("~h missing", False),
            ("~hq x-asked", True),
            ("~hq nginx", False),
            ("~hs nginx", True),
            ("~hs x-asked", False),
            ("~b needle", True),
            ("~b straw", True),
            ("~b hay.*straw", True),
            ("~b neither", False),
            ("~bq needle", True),
            ("~bq straw", False),
            ("~bs straw", True),
            ("~bs needle", False),
            ("~t json", True),
            ("~t form", True),
            ("~t html", False),
            ("~tq form", True),
            ("~tq json", False),
            ("~ts json", True),
            ("~ts form", False),
            ("~src '^127.0.0.1:51234$'", True),
            ("~src 192", False),
            (r"~dst '^\[2001:db8::1\]:8081$'", True),
            ("~dst :80$", False),
            ("~comment 'second'", True),
            ("~comment ^of", True),
            ("~comment third", False),
            ("~marked", True),
            ("~marker star", True),
            ("~marker moon", False),
            ("~meta 'ticket: 47'", True),
            ("~meta foo", False),
            ("~c 201", True),
            ("~c 200", False),
            ("~c != 200", True),
            ("~c >= 201", True),
            ("~c > 201", False),
            ("~c < 300", True),
            ("~c <= 200", False),
            ("~port 8081", True),
            ("~port < 1024", False),
            ("~size 36", True),
            ("~size > 1k", False),
            ("~sizeq = 15", True),
            ("~sizes = 21", True),
            ("~duration > 1s", True),
            ("~duration >= 1500ms", True),
            ("~duration > 2s", False),
            ("~duration < 1m", True),
            ("~s", True),
            ("~q", False),
            ("~e", False),
            ("~http", True),
            ("~tcp", False),
            ("~websocket", False),
            ("~a", False),
            ("~all", True),
        )

    def test_flow_without_response(self):
        self.check(
            http_flow(),
            ("~q", True),
            ("~s", False),
            ("~e", False),
            ("~a", False),
            ("~c 200", False),
            ("~c != 200", False),
            ("~sizes < 1m", False),
            ("~sizeq 0", True),
            ("~duration < 1h", False),
            ("~ts .", False),
            ("~hs .", False),
            ("~bs .", False),
        )

    def test_flow_that_failed(self):
        self.check(
            failed(), ("~e", True), ("~q", True), ("~duration 2s", True), ("~duration > 2s", False)
        )

    def test_unmarked_flow(self):
        self.check(
            http_flow(),
            ("~marked", False),
            ("~marker .", False),
            ("~comment ''", False),
            ("~meta .", False),
        )

    def test_mark_of_older_scripts(self):
        flow = http_flow()
        flow.marked = True
        self.check(flow, ("~marked", True), ("~marker .", False))

    def test_no_server_yet(self):
        self.check(http_flow(server=None), ("~dst .", False), ("!~dst .", True))

    def test_host_field_and_destination_are_both_domains(self):
        flow = http_flow("GET", "http://192.0.2.7/", headers={"Host": "named.example"})
        self.check(flow, ("~d named", True), ("~d '^192'", True), ("~u named", True))
        self.check(flow, ("~u http://192", True), ("~host '^192'", True), ("~host named", False))

    def test_websocket(self):
        flow = answered(status=101)
        flow.websocket = WebSocketData()
        self.check(flow, ("~websocket", True))

    def test_messages_of_a_websocket(self):
        flow = answered(status=101)
        flow.websocket = WebSocketData(
            [WebSocketMessage(True, "text", b"from me"), WebSocketMessage(False, "text", b"to me")]
        )
        self.check(flow, ("~b from", True), ("~b 'to me'", True), ("~b other", False))
        self.check(flow, ("~bq from", True), ("~bq 'to me'", False))
        self.check(flow, ("~bs from", False), ("~bs 'to me'", True))

    def test_assets(self):
        for kind, expected in (
            ("text/css", True),
            ("text/javascript; charset=utf-8", True),
            ("application/javascript", True),
            ("application/x-javascript", True),
            ("Image/PNG", True),
            ("image/svg+xml", True),
            ("font/woff2", True),
            ("application/font-woff", True),
            ("application/vnd.ms-fontobject", True),
            ("text/html", False),
            ("application/json", False),
            ("text/plain; image/png", False),
        ):
            self.check(answered(headers={"Content-Type": kind}), ("~a", expected))

    def test_non_ascii_text(self):
        flow = http_flow("GET", "http://example.com/", "Grüße".encode(), {"X-Name": "Jürgen"})
        self.check(
            flow, ("~h jürgen", True), ("~h JÜRGEN", True), ("~b Grüße", True), ("~b 'x é'", False)
        )

    def test_bytes_that_are_no_text(self):
        flow = http_flow()
        flow.request.headers.fields = ((b"X-Odd", b"\xff\xfe"),)
        self.check(flow, ("~h x-odd", True), ("~h '\udcff'", True))

    def test_a_match_leaves_the_flow_alone(self):
        flow = json_flow()
        flow.backup()
        for expression in ("~b needle", "~h x", "~u x", "~c 4"):
            parse(expression)(flow)
        self.assertFalse(flow.modified())


def one_of_each() -> Iterator[Filter]:
    """A filter for every operator."""
    for name, operator in OPERATORS.items():
        argument = ""
        if not isinstance(operator, Flag):
            argument = " > 99999" if isinstance(operator, Number) else " '\\A(?!.)x'"
        yield parse(f"~{name}{argument}")


ONE_OF_EACH = tuple(one_of_each())


class TotalTests(SynchronousTestCase):
    """No flow makes a filter raise."""

    def check(self, flow: Flow) -> None:
        for each in ONE_OF_EACH:
            self.assertIsInstance(each(flow), bool)

    def test_flow_with_nothing(self):
        self.check(HTTPFlow(ClientConnection(None), ServerConnection(None)))

    def test_flow_that_is_not_http(self):
        class OtherFlow(Flow):
            __slots__ = ()
            type = "other"

        self.check(OtherFlow(ClientConnection(("/run/socket", 0)), ServerConnection(None)))

    def test_metadata_of_any_kind(self):
        flow = http_flow()
        metadata: Any = flow.metadata
        metadata[("a", 1)] = object()
        self.check(flow)

    raw = st.binary(max_size=20)
    numbers = st.integers(0, 70000)

    @settings(max_examples=100, deadline=None)
    @given(raw, raw, raw, raw, numbers, raw, raw, st.none() | st.text(max_size=5))
    def test_any_bytes(self, method, host, path, value, number, body, coding, message):
        flow = HTTPFlow(ClientConnection(("::1", 1)), ServerConnection((repr(host), number)))
        fields = ((b"Host", host), (b"Content-Type", value), (b"Content-Encoding", coding))
        for form in ("relative", "absolute", "authority"):
            flow.request = Request(
                method,
                b"http",
                host,
                number,
                path,
                b"HTTP/1.1",
                Headers.from_wire(fields, None),
                form,
                0.0,
            )
            flow.request.attach_body(body)
            flow.response = Response(
                b"HTTP/1.1", number, value, Headers.from_wire(fields, None), 0.0
            )
            flow.response.attach_body(body)
            flow.error = None if message is None else Error(message)
            self.check(flow)
