"""The printer: which flows it prints, how much of them, and when it is there at all."""

from __future__ import annotations

import io
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from interceptor.addons.output import LineOutput
from interceptor.addons.printer import Printer, keep_printer
from interceptor.errors import OptionsError
from interceptor.hooks.addons import AddonChain
from interceptor.http import Response
from interceptor.model.coreoptions import core_options
from interceptor.model.tcpflow import TCPFlow
from tests.addons.reactors import ThreadClock
from tests.filters.flows import answered, failed, http_flow


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class PrinterTests(SynchronousTestCase):
    """A printer by itself."""

    def setUp(self):
        self.clock = ThreadClock()

    def printer(
        self,
        stream: io.StringIO | None = None,
        environment: Mapping[str, str] | None = None,
        reveal: bool = False,
        **options: object,
    ) -> Printer:
        self.stream = io.StringIO() if stream is None else stream
        self.options = core_options()
        self.options.update(**options)
        output = LineOutput(self.clock, self.stream)
        printer = Printer(output, environment or {}, reveal=reveal)
        printer.configure(self.options, self.options.keys())
        return printer

    def printed(self) -> str:
        self.clock.turn()
        return self.stream.getvalue()

    def test_secrets_are_shown_if_asked_for(self):
        flow = answered()
        flow.request.path = "/?access_token=hush"
        flow.request.headers["Cookie"] = "sid=hush"
        for show, count in ((False, 0), (True, 3)):
            printer = self.printer(flow_detail=2, show_secrets=show)
            printer.response(flow)
            self.assertEqual(self.printed().count("hush"), count)

    def test_a_line_for_each_flow(self):
        printer = self.printer()
        printer.response(answered())
        printer.error(failed())
        printer.http_connect(http_flow())
        printer.http_connected(http_flow())
        lines = self.printed().splitlines()
        self.assertIn(" 200 - 0b 500ms", lines[0])
        self.assertIn(" error: connect-refused", lines[1])
        self.assertTrue(lines[2].endswith(" tunnel"))

    def test_one_line_for_a_tunnel_whatever_becomes_of_it(self):
        printer = self.printer()
        refused = answered(http_flow("CONNECT"), status=403)
        printer.http_connect(refused)
        cannot = failed(http_flow("CONNECT"))
        printer.http_connect(cannot)
        printer.error(cannot)
        made = answered(http_flow("CONNECT"))
        made.response = None
        printer.http_connect(made)
        made.response = Response.make(200)
        printer.http_connected(made)
        lines = self.printed().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn(" 403 ", lines[0])
        self.assertIn(" error: connect-refused", lines[1])
        self.assertTrue(lines[2].endswith(" tunnel"))

    def test_a_line_for_a_relay_that_ended(self):
        printer = self.printer(view_filter="~tcp")
        http = answered()
        printer.response(http)
        printer.tcp_end(TCPFlow(http.client_conn, http.server_conn))
        [line] = self.printed().splitlines()
        self.assertIn(" TCP ", line)

    def test_nothing(self):
        printer = self.printer(flow_detail=0)
        printer.response(answered())
        printer.error(failed())
        self.assertEqual("", self.printed())

    def test_headers(self):
        printer = self.printer(flow_detail=2)
        printer.response(answered(http_flow(headers={"Cookie": "a=b"}), content=b"body"))
        lines = self.printed().splitlines()
        self.assertIn("    > Cookie: a=…", lines)
        self.assertIn("    < HTTP/1.1 200 OK", lines)
        self.assertNotIn("    body", lines)
        self.assertEqual("", lines[-1])

    def test_headers_with_credentials(self):
        printer = self.printer(flow_detail=2, reveal=True)
        printer.response(answered(http_flow(headers={"Cookie": "a=b"})))
        self.assertIn("    > Cookie: a=b", self.printed())

    def test_headers_of_a_flow_without_response(self):
        printer = self.printer(flow_detail=3)
        printer.error(failed())
        self.assertIn("    > Host: example.com\n", self.printed())

    def test_bodies(self):
        printer = self.printer(flow_detail=3)
        printer.response(answered(http_flow("POST", content=b"asked"), content=b"told"))
        lines = self.printed().splitlines()
        self.assertLess(lines.index("    asked"), lines.index("    < HTTP/1.1 200 OK"))
        self.assertLess(lines.index("    < HTTP/1.1 200 OK"), lines.index("    told"))

    def test_view_filter(self):
        printer = self.printer(view_filter="~c 404 | ~e")
        for flow in (answered(status=404), answered(status=200)):
            printer.response(flow)
        printer.error(failed())
        self.assertEqual(2, len(self.printed().splitlines()))

    def test_view_filter_changes(self):
        printer = self.printer(view_filter="~c 404")
        self.options.view_filter = None
        printer.configure(self.options, {"view_filter"})
        printer.response(answered(status=200))
        self.assertIn(" 200 ", self.printed())

    def test_faulty_view_filter(self):
        error = self.assertRaises(OptionsError, self.printer, view_filter="~c >")
        self.assertEqual("option `view_filter`: column 5: ~c needs a status code", str(error))

    def test_colour(self):
        for choice, terminal, environment, coloured in (
            ("auto", True, {}, True),
            ("auto", False, {}, False),
            ("auto", True, {"NO_COLOR": "1"}, False),
            ("auto", True, {"NO_COLOR": ""}, True),
            ("auto", True, {"TERM": "dumb"}, False),
            ("always", False, {"NO_COLOR": "1"}, True),
            ("never", True, {}, False),
        ):
            stream = Terminal() if terminal else io.StringIO()
            printer = self.printer(stream, environment, color=choice)
            printer.response(answered())
            self.assertIs(coloured, "\x1b[" in self.printed(), (choice, terminal, environment))

    def test_done_writes_what_is_left(self):
        printer = self.printer()
        printer.response(answered())
        self.successResultOf(printer.done())
        self.assertIn(" 200 ", self.stream.getvalue())


class KeepPrinterTests(SynchronousTestCase):
    """A printer in a chain, there or not as the options ask."""

    def setUp(self):
        self.clock = ThreadClock()
        self.stream = io.StringIO()
        self.options = core_options()

    def chain(self) -> AddonChain:
        chain = AddonChain(self.options, reactor=self.clock)
        chain.start()
        self.addCleanup(chain.shutdown, 0.0)
        self.stop = keep_printer(chain, self.clock, self.stream, {})
        self.addCleanup(self.stop)
        return chain

    def test_prints(self):
        fire = self.chain().bus.response
        assert fire is not None
        fire(answered())
        self.clock.turn()
        self.assertIn(" 200 ", self.stream.getvalue())

    def test_observes_only(self):
        chain = self.chain()
        for fire in (chain.bus.response, chain.bus.error, chain.bus.http_connected):
            assert fire is not None
            self.assertTrue(fire.observes_only)
        self.assertIsNone(chain.bus.request)
        self.assertIsNone(chain.bus.requestheaders)
        self.assertIsNone(chain.bus.responseheaders)

    def test_a_quiet_proxy_has_none(self):
        self.options.flow_detail = 0
        self.assertIsNone(self.chain().bus.response)

    def test_bodies_are_asked_for_when_needed(self):
        chain = self.chain()
        for values, needed in (
            ({"flow_detail": 3}, True),
            ({"flow_detail": 2}, False),
            ({"view_filter": "~b foo"}, True),
            ({"view_filter": "~u foo"}, False),
        ):
            self.options.update(**values)
            assert chain.bus.response is not None
            self.assertIs(needed, not chain.bus.response.observes_only, values)
            self.assertIs(needed, chain.bus.request is not None, values)
            self.assertEqual(["printer"], chain.names())

    def test_comes_and_goes(self):
        chain = self.chain()
        self.options.flow_detail = 0
        self.assertIsNone(chain.bus.response)
        self.options.flow_detail = 2
        self.assertIsNotNone(chain.bus.response)
        self.stop()
        self.options.flow_detail = 0
        self.assertIsNotNone(chain.bus.response)

    def test_faulty_filter_at_start(self):
        self.options.view_filter = "("
        chain = AddonChain(self.options, reactor=self.clock)
        self.assertRaises(OptionsError, keep_printer, chain, self.clock, self.stream)

    def test_faulty_filter_later_is_refused_also_when_quiet(self):
        for detail in (0, 1):
            self.options.flow_detail = detail
            self.chain()
            self.assertRaises(OptionsError, self.options.update, view_filter="(")
            self.assertIsNone(self.options.view_filter)
