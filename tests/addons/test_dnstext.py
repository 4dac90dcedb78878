"""DNS and UDP flows as text."""

from __future__ import annotations

import io
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor import dns
from interceptor.addons.dnstext import dns_summary, record_lines
from interceptor.addons.flowtext import udp_summary
from interceptor.addons.output import LineOutput
from interceptor.addons.printer import Printer
from interceptor.model.connections import ClientConnection, ServerConnection
from interceptor.model.coreoptions import core_options
from interceptor.model.flow import Error
from interceptor.udp import UDPFlow
from tests.addons.reactors import ThreadClock

CLIENT = ClientConnection(("127.0.0.1", 5000))


def flow(name: str = "www.example", **settings: Any) -> dns.DNSFlow:
    """A question, and its answer where there are settings for one."""
    made = dns.DNSFlow(CLIENT, ServerConnection(("9.9.9.9", 53)))
    made.request = dns.Request.make(name)
    made.request.timestamp_start = 1000.0
    if settings:
        made.response = dns.Response.make(made.request, **settings)
        made.response.timestamp_end = 1000.005
    return made


class TextTests(SynchronousTestCase):
    def test_the_line(self):
        self.assertEqual(
            dns_summary(flow(answers=["192.0.2.1", "192.0.2.2"])),
            "127.0.0.1:5000 DNS A www.example NOERROR 192.0.2.1,192.0.2.2 5.0ms",
        )
        self.assertEqual(
            dns_summary(flow(rcode="NXDOMAIN")), "127.0.0.1:5000 DNS A www.example NXDOMAIN - 5.0ms"
        )
        many = flow(answers=[f"192.0.2.{number}" for number in range(9)])
        self.assertIn(" 192.0.2.0,192.0.2.1,192.0.2.2,… ", dns_summary(many))
        assert many.response is not None
        many.response.truncated = True
        self.assertIn(" NOERROR truncated ", dns_summary(many))

    def test_failures(self):
        failed = flow()
        failed.error = Error("no answer", 1002.0, "dns-query-timeout")
        self.assertEqual(
            dns_summary(failed),
            "127.0.0.1:5000 DNS A www.example - - 2000ms error: dns-query-timeout: no answer",
        )

    def test_names_and_data_are_escaped(self):
        nasty = flow(r"a\027\010b.example", answers=())
        self.assertIn(r" a\027\010b.example ", dns_summary(nasty))
        nasty = flow(answers=())
        assert nasty.response is not None
        nasty.response.answers = [dns.Record("www.example", "TXT", b"\4\x1b[2J")]
        for text in (dns_summary(nasty), *record_lines(nasty)):
            self.assertNotIn("\x1b", text)

    def test_records(self):
        made = flow(answers="192.0.2.1")
        assert made.response is not None
        made.response.authority = [dns.Record("example", "NS", "ns.example", 5)]
        self.assertEqual(
            list(record_lines(made)),
            ["    < www.example 60 IN A 192.0.2.1", "    < example 5 IN NS ns.example"],
        )
        made.response.answers *= 150
        self.assertEqual(list(record_lines(made))[-1], "      … 51 more records")
        self.assertEqual(list(record_lines(flow())), [])

    def test_udp(self):
        made = UDPFlow(CLIENT, ServerConnection(("192.0.2.1", 514)))
        self.assertEqual(udp_summary(made), "127.0.0.1:5000 UDP 192.0.2.1:514 - 0b 0b -")


class PrinterTests(SynchronousTestCase):
    def printed(self, made: dns.DNSFlow | UDPFlow, event: str, **options: object) -> str:
        clock, stream, values = ThreadClock(), io.StringIO(), core_options()
        values.update(**options)
        printer = Printer(LineOutput(clock, stream), {})
        printer.configure(values, values.keys())
        getattr(printer, event)(made)
        clock.turn()
        return stream.getvalue()

    def test_lines(self):
        self.assertIn(" DNS A ", self.printed(flow(answers="192.0.2.1"), "dns_response"))
        self.assertIn(" DNS A ", self.printed(flow(), "dns_error"))
        made = UDPFlow(CLIENT, ServerConnection(None))
        self.assertIn(" UDP ", self.printed(made, "udp_end"))

    def test_records(self):
        text = self.printed(flow(answers="192.0.2.1"), "dns_response", flow_detail=2)
        self.assertIn("\n    < www.example 60 IN A 192.0.2.1\n\n", text)

    def test_filters(self):
        for view, shown in (
            ("~dns", True),
            ("~d example", True),
            ("www", True),
            ("~dns & ~s", True),
            ("~q", False),
            ("~udp", False),
            ("~tcp", False),
            ("~http", False),
            ("~m GET | ~h x | ~c 200 | ~b x | ~port 53 | ~t x", False),
            ("~dst 9.9.9.9:53", True),
            ("~duration < 1s", True),
            ("~d other", False),
        ):
            text = self.printed(flow(answers="192.0.2.1"), "dns_response", view_filter=view)
            self.assertEqual(bool(text), shown, view)
        made = UDPFlow(CLIENT, ServerConnection(None))
        self.assertTrue(self.printed(made, "udp_end", view_filter="~udp"))
        self.assertFalse(
            self.printed(made, "udp_end", view_filter="~d a | ~q | ~s | ~duration > 0s")
        )
