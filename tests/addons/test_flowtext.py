"""Flows as text: lines, headers and bodies, and nothing in them that steers a terminal."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.addons.flowtext import (
    BODY_BYTES,
    BODY_LINES,
    COLOURED,
    body_lines,
    cut,
    escape,
    is_refused,
    masked,
    milliseconds_text,
    request_head,
    response_head,
    size_text,
    summary,
    tcp_summary,
    tunnel_summary,
)
from interceptor.model.connections import ServerConnection
from interceptor.model.flow import Error
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.model.tcpflow import TCPFlow
from tests.filters.flows import answered, failed, http_flow


class SummaryTests(SynchronousTestCase):
    """The one line."""

    def test_fields_in_their_order(self):
        flow = answered(content=b"x" * 2000, headers={"Content-Type": "text/html; charset=utf-8"})
        self.assertEqual(
            "127.0.0.1:51234 GET http://example.com/path?q=1 200 text/html 2.0k 500ms",
            summary(flow),
        )

    def test_server_that_was_not_verified(self):
        flow = answered()
        flow.server_conn.ssl_verification_error = "the certificate has expired"
        self.assertTrue(summary(flow).endswith(" 500ms unverified"))

    def test_grpc_call_that_failed(self):
        flow = answered(headers={"Content-Type": "application/grpc"})
        assert flow.response is not None
        flow.response.trailers = Headers([(b"grpc-status", b"0")])
        self.assertTrue(summary(flow).endswith(" 500ms"))
        flow.response.trailers = Headers([(b"grpc-status", b"5")])
        self.assertTrue(summary(flow).endswith(" 500ms grpc-status: 5"))

    def test_no_content_type(self):
        self.assertIn(" 204 - 0b 500ms", summary(answered(status=204)))

    def test_streamed_body(self):
        flow = answered()
        assert flow.response is not None
        flow.response.attach_body(None)
        flow.response.body_size = 3 << 20
        self.assertIn(" 200 - 3.0m ", summary(flow))

    def test_error_without_response(self):
        self.assertEqual(
            "127.0.0.1:51234 GET http://example.com/path?q=1 - - - 2000ms "
            "error: connect-refused: connection refused",
            summary(failed()),
        )

    def test_error_after_a_response(self):
        line = summary(failed(answered(content=b"abc")))
        self.assertIn(" 200 - 3b 500ms error: connect-refused: ", line)

    def test_ipv6_client(self):
        flow = answered()
        flow.client_conn.address = ("::1", 4711)
        self.assertTrue(summary(flow).startswith("[::1]:4711 GET "))

    def test_colours(self):
        line = summary(answered(status=404), COLOURED)
        self.assertIn("\x1b[33m404\x1b[0m", line)
        self.assertIn("\x1b[31merror: ", summary(failed(), COLOURED))

    def test_response_that_has_not_ended(self):
        flow = answered()
        assert flow.response is not None
        flow.response.timestamp_end = None
        self.assertTrue(summary(flow).endswith(" 200 - 0b -"))

    def test_what_a_peer_sent_is_escaped(self):
        flow = answered(headers={"Content-Type": "text/\x1b[2Jhtml"})
        flow.request.method_bytes = b"G\x1bT"
        flow.request.path_bytes = "/\u202e\x9b\r".encode() + b"\xff"
        line = summary(failed(flow))
        self.assertTrue(line.isprintable())
        self.assertIn(r" G\x1bT http://example.com/\u202e\x9b\r".replace(r"\r", r"\x0d"), line)
        self.assertIn(r"\xff", line)
        self.assertIn(r" text/\x1b[2Jhtml ", line)

    def test_long_url_is_cut(self):
        line = summary(answered(http_flow("GET", "http://example.com/" + "x" * 60_000)))
        self.assertLess(len(line), 2200)
        self.assertIn("…", line)

    def test_tunnel(self):
        flow = http_flow()
        flow.request = Request(
            b"CONNECT", b"", b"example.com", 443, b"", b"HTTP/1.1", Headers(), "authority", 0.0
        )
        self.assertEqual("127.0.0.1:51234 CONNECT example.com:443 tunnel", tunnel_summary(flow))

    def test_a_request_that_could_not_be_understood(self):
        flow = failed()
        flow.request = Request(
            b"?",
            b"http",
            b"",
            0,
            b"",
            b"HTTP/1.1",
            Headers(),
            "relative",
            flow.request.timestamp_start,
        )
        self.assertTrue(summary(flow).startswith("127.0.0.1:51234 ? - - - - "), summary(flow))
        self.assertEqual(list(request_head(flow.request)), [])

    def test_refused_tunnel(self):
        flow = http_flow("CONNECT")
        self.assertFalse(is_refused(flow))
        flow.response = Response.make(200)
        self.assertFalse(is_refused(flow))
        flow.response = Response.make(403)
        self.assertTrue(is_refused(flow))

    raw = st.binary(max_size=12)

    @settings(max_examples=100, deadline=None)
    @given(raw, raw, raw, raw, raw)
    def test_any_bytes(self, method, host, path, value, body):
        fields = ((b"Host", host), (b"Content-Type", value), (b"X-" + path, value))
        flow = http_flow()
        flow.request = Request(
            method,
            b"http",
            host,
            80,
            path,
            b"HTTP/1.1",
            Headers.from_wire(fields, None),
            "relative",
            0.0,
        )
        flow.response = Response(b"HTTP/1.1", 200, value, Headers.from_wire(fields, None), 0.0)
        flow.response.attach_body(body)
        lines = [summary(flow), tunnel_summary(flow)]
        lines += [*request_head(flow.request), *response_head(flow.response)]
        lines += body_lines(flow.response)
        for line in lines:
            self.assertTrue(line.isprintable(), ascii(line))


class FormatTests(SynchronousTestCase):
    """Sizes, times, escapes."""

    def test_sizes(self):
        for size, text in (
            (0, "0b"),
            (1023, "1023b"),
            (1024, "1.0k"),
            (10 * 1024, "10k"),
            (999 * 1024, "999k"),
            (1000 * 1024, "1.0m"),
            (34 << 20, "34m"),
            (5 << 30, "5.0g"),
            (7 << 40, "7.0t"),
        ):
            self.assertEqual(text, size_text(size))

    def test_times(self):
        for seconds, text in (
            (0.0, "0.0ms"),
            (0.00123, "1.2ms"),
            (0.0123, "12ms"),
            (75, "75000ms"),
        ):
            self.assertEqual(text, milliseconds_text(seconds))

    def test_escapes(self):
        for text, escaped in (
            ("plain é ✓", "plain é ✓"),
            ("\x1b[31m", r"\x1b[31m"),
            ("a\nb\tc", r"a\x0ab\x09c"),
            ("\x7f\x85", r"\x7f\x85"),
            ("\u200b\u202e\ufeff", r"\u200b\u202e\ufeff"),
            ("\udcff", r"\xff"),
            ("\U000e0001", r"\U000e0001"),
        ):
            self.assertEqual(escaped, escape(text))

    def test_cut(self):
        self.assertEqual("abc", cut("abc", 3))
        self.assertEqual("ab…", cut("abcd", 3))


class HeadTests(SynchronousTestCase):
    """Headers, without credentials."""

    def test_request(self):
        request = http_flow(headers={"X-A": "1"}).request
        self.assertEqual(
            ["    > GET /path?q=1 HTTP/1.1", "    > Host: example.com", "    > X-A: 1"],
            list(request_head(request)),
        )

    def test_response_with_trailers_and_faults(self):
        response = Response.make(404)
        response.trailers = Headers([("X-Sum", "1")])
        response.anomalies = ("length-and-chunked",)
        self.assertEqual(
            [
                "    < HTTP/1.1 404 Not Found",
                "    < Content-Length: 0",
                "    < (after the body)",
                "    < X-Sum: 1",
                "    < (faults: length-and-chunked)",
            ],
            list(response_head(response)),
        )

    def test_colours(self):
        lines = list(request_head(http_flow().request, COLOURED))
        self.assertEqual("    > \x1b[36mHost\x1b[0m: example.com", lines[1])

    def test_credentials_are_masked(self):
        for name, value, shown in (
            ("Authorization", "Bearer abc.def", "Bearer …"),
            ("authorization", "abcdef", "…"),
            ("Proxy-Authorization", "Basic YTpi", "Basic …"),
            ("X-API-Key", "s3cret", "…"),
            ("Cookie", "a=1; sid=xyz", "a=…; sid=…"),
            ("Cookie", "nonsense", " …"),
            ("Cookie", "", " …"),
            (
                "Set-Cookie",
                "sid=xyz; Path=/; Secure; max-age=5",
                "sid=…; Path=/; Secure; max-age=5",
            ),
            ("Cookie", "path=xyz; domain=abc", "path=…; domain=…"),
            ("Accept", "Bearer abc", "Bearer abc"),
        ):
            self.assertEqual(shown, masked(name.encode(), value))

    def test_cookie_that_is_named_like_an_attribute(self):
        self.assertEqual("path=…; Path=/", masked(b"Set-Cookie", "path=secret; Path=/"))

    def test_by_what_names_have_in_common(self):
        for name in (
            *("Api-Key", "X-Goog-Api-Key", "PRIVATE-TOKEN", "X-Auth", "X-CSRF-Token"),
            *("X-Client-Secret", "X-Hub-Signature-256", "Cf-Access-Jwt-Assertion"),
        ):
            self.assertEqual(masked(name.encode(), "hush"), "…", name)
        for name in ("Author", "WWW-Authenticate", "Content-Type", "Sec-WebSocket-Key", "Keyword"):
            self.assertEqual(masked(name.encode(), "shown"), "shown", name)
        self.assertEqual(masked(b"Origin", "https://a:hush@b.test"), "https://a:…@b.test")
        self.assertEqual(masked(b"Cookie2", "$Version=hush"), "$Version=…")
        bearer = f"v4.channel.k8s.io, base64url.bearer.{'hush' * 10}"
        self.assertEqual(masked(b"Sec-WebSocket-Protocol", bearer), "v4.channel.k8s.io, …")

    def test_masked_in_the_head_unless_revealed(self):
        request = http_flow(headers={"Authorization": "Bearer abc"}).request
        self.assertNotIn("abc", "\n".join(request_head(request)))
        self.assertIn("Bearer abc", "\n".join(request_head(request, reveal=True)))


class BodyTests(SynchronousTestCase):
    """Bodies, cut to a screen."""

    def lines(
        self, body: bytes | None, headers: Mapping[str, str] | None = None, size: int = 0
    ) -> list[str]:
        response = Response.make(200, b"", headers or {})
        response.attach_body(body)
        response.body_size = size
        return list(body_lines(response))

    def test_no_body(self):
        self.assertEqual([], self.lines(None))
        self.assertEqual([], self.lines(b""))

    def test_streamed_body(self):
        self.assertEqual(["    (4711 bytes, streamed)"], self.lines(None, size=4711))

    def test_text(self):
        self.assertEqual(["    one", "    zwei é"], self.lines("one\nzwei é\n".encode()))

    def test_controls_are_escaped(self):
        self.assertEqual([r"    a\x1b[2J    b"], self.lines(b"a\x1b[2J\tb"))

    def test_coding_is_removed(self):
        body = gzip.compress(b"hello")
        self.assertEqual(["    hello"], self.lines(body, {"Content-Encoding": "gzip"}))

    def test_declared_charset(self):
        headers = {"Content-Type": "text/plain; charset=iso-8859-1"}
        self.assertEqual(["    Grüße"], self.lines("Grüße".encode("latin-1"), headers))

    def test_utf_16(self):
        headers = {"Content-Type": "text/plain; charset=utf-16le"}
        self.assertEqual(["    Grüße"], self.lines("Grüße".encode("utf-16le"), headers))

    def test_text_that_is_not_what_it_declares(self):
        headers = {"Content-Type": "text/plain"}
        self.assertEqual(["    Gr\xfcn"], self.lines(b"Gr\xfcn", headers))

    def test_binary(self):
        lines = self.lines(bytes(range(20)), {"Content-Type": "image/png"})
        self.assertEqual(
            [
                "    0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ................",
                f"    0010  {'10 11 12 13':<47}  ....",
            ],
            lines,
        )

    def test_many_lines_are_cut(self):
        lines = self.lines(b"x\n" * 1000)
        self.assertEqual(BODY_LINES + 1, len(lines))
        self.assertEqual("    (cut: 2000 bytes in all as sent)", lines[-1])

    def test_long_line_is_cut(self):
        lines = self.lines(b"x" * 300)
        self.assertEqual(2, len(lines))
        self.assertLess(len(lines[0]), 250)

    def test_long_binary_is_cut(self):
        lines = self.lines(bytes(5000))
        self.assertEqual(17, len(lines))
        self.assertIn("cut: 5000 bytes", lines[-1])

    def test_cut_through_a_character(self):
        body = b"x" + "é".encode() * BODY_BYTES
        self.assertIn("é", self.lines(body)[0])

    def test_bomb(self):
        bomb = gzip.compress(b"x" * (1 << 26))
        lines = self.lines(bomb, {"Content-Encoding": "gzip"})
        self.assertEqual(2, len(lines))
        self.assertTrue(lines[0].startswith("    xxx"))


class TCPTests(SynchronousTestCase):
    """The line of a connection that was passed on as it is."""

    def flow(self) -> TCPFlow:
        http = answered()
        flow = TCPFlow(http.client_conn, ServerConnection(("example.com", 443)))
        flow.bytes_from_client, flow.bytes_from_server = 517, 3300
        return flow

    def test_fields_in_their_order(self):
        flow = self.flow()
        flow.metadata["passthrough"] = "ignore_hosts"
        flow.timestamp_end = flow.timestamp_created + 0.25
        self.assertEqual(
            "127.0.0.1:51234 TCP example.com:443 ignore_hosts 517b 3.2k 250ms", tcp_summary(flow)
        )

    def test_error(self):
        flow = self.flow()
        flow.error = Error("refused\n", code="connect-refused")
        self.assertEqual(
            "127.0.0.1:51234 TCP example.com:443 - 517b 3.2k - "
            "error: connect-refused: refused\\x0a",
            tcp_summary(flow),
        )
