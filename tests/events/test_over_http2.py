"""Every test of the HTTP events, with HTTP/2 on either leg and on both."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any, NamedTuple

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from interceptor.net.memory import RecorderFactory
from interceptor.testing import MemoryProxy
from tests.events import (
    test_buffering,
    test_client_connection,
    test_connect,
    test_ends,
    test_expect,
    test_fail_closed,
    test_in_http2,
    test_intercept,
    test_request,
    test_response,
    test_server_connection,
    test_sse,
    test_streaming,
)
from tests.events.cases import EventTestCase
from tests.events.translated import BackPeer, TranslatedProxy

_MODULES = (
    test_buffering,
    test_client_connection,
    test_connect,
    test_ends,
    test_expect,
    test_fail_closed,
    test_intercept,
    test_request,
    test_response,
    test_server_connection,
    test_sse,
    test_streaming,
)


_ELSEWHERE = {
    # Not about HTTP, or about what is there before it is known what the client speaks.
    "test_dns",
    "test_lifecycle",
    "test_next_layer",
    "test_tcp",
    "test_udp",
    # About both versions, or about what each of them has its own way for.
    "test_alternatives",
    "test_versions",
    "test_websocket",
}
"""The modules beside this one whose tests are not repeated here, besides those of HTTP/2."""


class _Way(NamedTuple):
    """Where HTTP/2 is spoken."""

    front: bool
    back: bool
    upstream: str
    """The value of the option ``h2_upstream``."""


_WAYS = {
    "OverHTTP2": _Way(True, True, "mirror"),
    "FromHTTP2ToHTTP1": _Way(True, False, "never"),
    "FromHTTP1ToHTTP2": _Way(False, True, "always"),
}

# Small windows, so that what is held back is held back by them.
_OPTIONS = {"h2_cleartext": True, "h2_window": 65535, "h2_connection_window": 65535}

_NO_UPGRADE = (
    "RFC 9113 section 8.6: HTTP/2 has neither Upgrade nor 101. An offer goes no further than the "
    "leg of HTTP/1; WebSocket is opened in another way, see test_websocket_http2."
)
_STREAM_ENDS = (
    "A refusal ends the stream and leaves the connection to the others, so that `clientdisconnect` "
    "does not follow."
)
_NO_SPELLING = (
    "RFC 9113 section 8.2: names are in lower case, and there is no white space to keep. That the "
    "order is kept says MessageTests.test_order_of_fields."
)
_SENT_BEFORE = (
    "With the connection, HTTP/1 drops what waits to be sent on it. RST_STREAM leaves behind what "
    "was sent before it on a connection that goes on; what counts is that the end never comes: "
    "EndTests.test_failing_callable, test_killing_callable."
)

_LEFT_OUT: dict[str, tuple[str, str]] = {
    "test_connect.HTTPConnectTests.test_refused_with_a_page": (
        "front",
        _STREAM_ENDS + " RefusalTests.test_tunnel.",
    ),
    "test_connect.UpgradeTests.test_becomes_a_tunnel": ("any", _NO_UPGRADE),
    "test_connect.UpgradeTests.test_bytes_behind_the_101": ("any", _NO_UPGRADE),
    "test_connect.UpgradeTests.test_bytes_while_a_hook_waits": ("any", _NO_UPGRADE),
    "test_connect.UpgradeTests.test_headers_may_be_changed": ("any", _NO_UPGRADE),
    "test_connect.UpgradeTests.test_killed_in_response": ("any", _NO_UPGRADE),
    "test_connect.UpgradeTests.test_refused_by_a_hook": ("any", _NO_UPGRADE),
    "test_ends.EndTests: head that never ends": (
        "front",
        "What the test stops in is a line of text. The deadline for a head is the same: "
        "RefusalTests.test_head_that_never_ends.",
    ),
    "test_ends.EndTests: head that is cut off": (
        "front",
        "Nothing has been asked before a block of fields is whole: its stream never was, and has "
        "no end. RefusalTests.test_head_that_is_cut_off.",
    ),
    "test_ends.ErrorTests.test_of_a_head_that_nobody_understood": (
        "front",
        "A malformed request is answered by RST_STREAM (RFC 9113 section 8.1.1) rather than with a "
        "page. RefusalTests.test_malformed_head.",
    ),
    "test_fail_closed.TunnelTests: PRI * HTTP/2.0": (
        "any",
        "With `h2_cleartext`, that is how HTTP/2 begins in a tunnel, and its requests are met by "
        "the hooks: GuardTests.test_http2_in_a_tunnel.",
    ),
    "test_request.RequestHeadersTests.test_argument": (
        "front",
        "It says HTTP/1.1. MessageTests.test_argument_of_requestheaders.",
    ),
    "test_request.RequestHeadersTests.test_order_and_case_of_what_is_not_changed": (
        "any",
        _NO_SPELLING,
    ),
    "test_response.ResponseHeadersTests.test_argument": (
        "back",
        "It says HTTP/1.1, and has a reason phrase. MessageTests.test_argument_of_responseheaders.",
    ),
    "test_response.ResponseHeadersTests.test_changes_reach_the_client": (
        "front",
        "RFC 9113 section 8.3.2: there is no reason phrase. "
        "MessageTests.test_changes_in_responseheaders.",
    ),
    "test_response.ResponseTests.test_body_until_the_end_of_the_connection": (
        "front",
        "No length is added: frames say where a body ends. "
        "MessageTests.test_body_until_the_end_of_the_connection.",
    ),
    "test_response.ResponseTests.test_next_request_waits_for_the_hook_of_a_streamed_response": (
        "front",
        "Streams do not wait for one another. "
        "PauseTests.test_others_do_not_wait_for_the_hook_of_a_streamed_response.",
    ),
    "test_response.ResponseTests.test_untouched_message_leaves_as_it_came": ("any", _NO_SPELLING),
    "test_server_connection.ServerConnectTests.test_refused": (
        "front",
        _STREAM_ENDS + " RefusalTests.test_server.",
    ),
    "test_streaming.FailingCallableTests.test_at_the_end": ("any", _SENT_BEFORE),
    "test_streaming.KillingCallableTests.test_request": ("back", _SENT_BEFORE),
    "test_streaming.KillingCallableTests.test_response": ("front", _SENT_BEFORE),
}
"""What is said about HTTP/1 only: a test, or a case of a table; where HTTP/2 keeps it from being
said (on the client's leg, the server's, or either), and why. The tests that are named with it are
in test_in_http2."""


def _left_out(name: str, way: _Way) -> bool:
    where, _ = _LEFT_OUT.get(name, ("", ""))
    return where == "any" or (where == "front" and way.front) or (where == "back" and way.back)


def _case_name(case: Any) -> str:
    """Return what a case of a table is called: by its first column, or by its first line."""
    return str(case[0]) if isinstance(case, tuple) else case.partition(b"\r\n")[0].decode()


def _variant(case: type[EventTestCase], name: str, way: _Way) -> Any:
    """Return a class with the tests of ``case`` that make sense with HTTP/2."""

    def proxy(self: EventTestCase, *addons: object, **options: Any) -> MemoryProxy:
        options = {**_OPTIONS, "h2_upstream": way.upstream, **options}
        made = TranslatedProxy(*addons, **options)
        made.front = way.front
        self.addCleanup(made.close)
        return made

    def raw_origin(
        self: EventTestCase, proxy: TranslatedProxy, host: str = "example.test", port: int = 80
    ) -> RecorderFactory:
        factory = RecorderFactory(lambda: BackPeer(proxy.names, None))
        proxy.network.listen((host, port), factory)
        return factory

    title = f"{case.__module__.rpartition('.')[2]}.{case.__name__}"
    members: dict[str, Any] = {}
    # Not inherited: trial would find what is left out in the base class.
    for base in reversed(case.__mro__[: case.__mro__.index(EventTestCase)]):
        members.update(vars(base))
    for test in tuple(members):
        if _left_out(f"{title}.{test}", way):
            del members[test]
    if "cases" in members:
        members["cases"] = tuple(
            each for each in members["cases"] if not _left_out(f"{title}: {_case_name(each)}", way)
        )
    members.update(proxy=proxy, raw_origin=raw_origin, __module__=__name__, __qualname__=name)
    return type(name, (EventTestCase,), members)


def _variants(module: ModuleType) -> None:
    for name, case in vars(module).items():
        if isinstance(case, type) and issubclass(case, EventTestCase) and case is not EventTestCase:
            for way, arguments in _WAYS.items():
                words = module.__name__.rpartition(".")[2].split("_")[1:]
                title = "".join(word.title() for word in words)
                variant = f"{title}{name.removesuffix('Tests')}{way}Tests"
                globals()[variant] = _variant(case, variant, arguments)


for _module in _MODULES:
    _variants(_module)


class LeftOutTests(SynchronousTestCase):
    """The list of what is left out."""

    def test_every_entry_names_something(self) -> None:
        names: set[str] = set()
        for module in _MODULES:
            title = module.__name__.rpartition(".")[2]
            for name, case in vars(module).items():
                if isinstance(case, type) and issubclass(case, EventTestCase):
                    names.update(f"{title}.{name}.{test}" for test in dir(case))
                    cases = getattr(case, "cases", ())
                    names.update(f"{title}.{name}: {_case_name(each)}" for each in cases)
        self.assertEqual(set(_LEFT_OUT) - names, set())

    def test_every_counterpart_is_there(self) -> None:
        for name, (_, reason) in _LEFT_OUT.items():
            for case, test in re.findall(r"(\w+Tests)\.(test_\w+)", reason):
                self.assertTrue(hasattr(getattr(test_in_http2, case), test), name)

    def test_every_module_is_here(self) -> None:
        """A new test of an HTTP event is not forgotten: it is here, or its own is elsewhere."""
        here = {module.__name__.rpartition(".")[2] for module in _MODULES}
        folder = FilePath(__file__).parent()
        there = {path.basename()[:-3] for path in folder.globChildren("test_*.py")}
        about_http2 = {name for name in there if name.endswith("_http2")}
        self.assertEqual(there - here - about_http2, _ELSEWHERE)
