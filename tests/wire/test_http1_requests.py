"""Requests that are read: targets, framing, limits, and every one that must be refused."""

from __future__ import annotations

import contextlib
import gc

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError, RemoteProtocolError
from interceptor.model.http import Response
from interceptor.wire.framing import Mode
from interceptor.wire.http1 import HTTP1Limits, HTTP1ServerCodec
from interceptor.wire.httpevents import (
    CONNECTION_CLOSED,
    NEED_DATA,
    Data,
    EndOfMessage,
    RequestHead,
)
from tests.wire.feeding import NOW, head, read_request

MODES: tuple[Mode, ...] = ("reject", "repair", "pass")
H = b"Host: a.example"

# name: (data, code, status). Refused in every setting.
REFUSED: dict[str, tuple[bytes, str, int]] = {
    "no version": (b"GET /\r\n\r\n", "head-malformed", 400),
    "two spaces": (head(b"GET  / HTTP/1.1", H), "head-malformed", 400),
    "tab between": (head(b"GET\t/ HTTP/1.1", H), "head-malformed", 400),
    "space in the target": (head(b"GET /a b HTTP/1.1", H), "head-malformed", 400),
    "control in the target": (head(b"GET /\x01 HTTP/1.1", H), "head-malformed", 400),
    "del in the target": (head(b"GET /\x7f HTTP/1.1", H), "head-malformed", 400),
    "nul in the target": (head(b"GET /\x00 HTTP/1.1", H), "head-malformed", 400),
    "bad method": (head(b"G(T / HTTP/1.1", H), "head-malformed", 400),
    "space after the version": (head(b"GET / HTTP/1.1 ", H), "head-malformed", 400),
    "lower-case version": (head(b"GET / http/1.1", H), "head-malformed", 400),
    "long version": (head(b"GET / HTTP/1.11", H), "head-malformed", 400),
    "leading space": (head(b" GET / HTTP/1.1", H), "head-malformed", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version-unsupported", 505),
    "http/2": (head(b"GET / HTTP/2.0", H), "version-unsupported", 505),
    "http/3": (head(b"GET / HTTP/3", H), "version-unsupported", 505),
    "http/0.9 by number": (head(b"GET / HTTP/0.9", H), "version-unsupported", 505),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "head-malformed", 400),
    "bare lf after the request line": (
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        "head-malformed",
        400,
    ),
    "bare lf after a field": (
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "head-malformed",
        400,
    ),
    "bare lf at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n\r\n", "head-malformed", 400),
    "only bare lf": (b"GET / HTTP/1.1\nHost: a\n\n", "head-malformed", 400),
    "bare cr in a value": (head(b"GET / HTTP/1.1", H, b"X: a\rY: b"), "head-malformed", 400),
    "bare cr before crlf": (head(b"GET / HTTP/1.1", H, b"X: a\r"), "head-malformed", 400),
    "nul in a value": (head(b"GET / HTTP/1.1", H, b"X: a\0b"), "head-malformed", 400),
    "nul in a name": (head(b"GET / HTTP/1.1", H, b"X\0: b"), "head-malformed", 400),
    "space before the colon": (
        head(b"POST / HTTP/1.1", H, b"Content-Length : 5"),
        "head-malformed",
        400,
    ),
    "tab before the colon": (
        head(b"POST / HTTP/1.1", H, b"Transfer-Encoding\t: chunked"),
        "head-malformed",
        400,
    ),
    "no colon": (head(b"GET / HTTP/1.1", H, b"garbage"), "head-malformed", 400),
    "no name": (head(b"GET / HTTP/1.1", H, b": x"), "head-malformed", 400),
    "8-bit name": (head(b"GET / HTTP/1.1", H, b"X\xa0: b"), "head-malformed", 400),
    "8-bit before a coding's name": (
        head(b"GET / HTTP/1.1", H, b"\xa0Transfer-Encoding: chunked"),
        "head-malformed",
        400,
    ),
    "space before the first field": (
        b"GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n",
        "head-malformed",
        400,
    ),
    "folded coding": (
        head(b"POST / HTTP/1.1", H, b"Transfer-Encoding:", b" chunked"),
        "head-malformed",
        400,
    ),
    "folded length": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: 5", b" 0"),
        "head-malformed",
        400,
    ),
    "folded host": (head(b"GET / HTTP/1.1", b"Host: a", b" .b"), "head-malformed", 400),
    "many empty lines": (b"\r\n" * 9 + head(b"GET / HTTP/1.1", H), "head-malformed", 400),
    # Framing
    "length and chunked": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        "framing-conflict",
        400,
    ),
    "chunked and length": (
        head(b"POST / HTTP/1.1", H, b"transfer-encoding: chunked", b"content-length: 0"),
        "framing-conflict",
        400,
    ),
    "chunked in http/1.0": (
        head(b"POST / HTTP/1.0", H, b"Transfer-Encoding: chunked"),
        "framing-conflict",
        400,
    ),
    "lengths differ": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: 5", b"Content-Length: 6"),
        "length-conflict",
        400,
    ),
    "lengths differ in a list": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: 5, 6"),
        "length-conflict",
        400,
    ),
    "lengths differ in writing": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: 5, 05"),
        "length-conflict",
        400,
    ),
    "empty length": (head(b"POST / HTTP/1.1", H, b"Content-Length:"), "length-invalid", 400),
    "signed length": (head(b"POST / HTTP/1.1", H, b"Content-Length: +5"), "length-invalid", 400),
    "negative length": (head(b"POST / HTTP/1.1", H, b"Content-Length: -5"), "length-invalid", 400),
    "hex length": (head(b"POST / HTTP/1.1", H, b"Content-Length: 0x5"), "length-invalid", 400),
    "underscore": (head(b"POST / HTTP/1.1", H, b"Content-Length: 1_0"), "length-invalid", 400),
    "inner space": (head(b"POST / HTTP/1.1", H, b"Content-Length: 1 0"), "length-invalid", 400),
    "float length": (head(b"POST / HTTP/1.1", H, b"Content-Length: 5.0"), "length-invalid", 400),
    "trailing comma": (head(b"POST / HTTP/1.1", H, b"Content-Length: 5,"), "length-invalid", 400),
    "huge length": (
        head(b"POST / HTTP/1.1", H, b"Content-Length: " + b"9" * 30),
        "length-invalid",
        400,
    ),
    "connect with content": (
        head(b"CONNECT a:1 HTTP/1.1", b"Host: a:1", b"Content-Length: 5"),
        "framing-conflict",
        400,
    ),
    "connect chunked": (
        head(b"CONNECT a:1 HTTP/1.1", b"Host: a:1", b"Transfer-Encoding: chunked"),
        "framing-conflict",
        400,
    ),
    # Targets and hosts
    "nothing but a fragment": (head(b"GET #a HTTP/1.1", H), "target-invalid", 400),
    "tunnel with a fragment": (head(b"CONNECT a:443#b HTTP/1.1", H), "target-invalid", 400),
    "no host": (head(b"GET / HTTP/1.1", b"X: y"), "host-missing", 400),
    "no host, absolute": (head(b"GET http://a/ HTTP/1.1", b"X: y"), "host-missing", 400),
    "two hosts": (head(b"GET / HTTP/1.1", H, b"Host: b"), "host-invalid", 400),
    "two equal hosts": (head(b"GET / HTTP/1.1", H, H), "host-invalid", 400),
    "empty host": (head(b"GET / HTTP/1.1", b"Host:"), "host-invalid", 400),
    "host with user": (head(b"GET / HTTP/1.1", b"Host: u@a"), "host-invalid", 400),
    "host with path": (head(b"GET / HTTP/1.1", b"Host: a/b"), "host-invalid", 400),
    "host list": (head(b"GET / HTTP/1.1", b"Host: a, b"), "host-invalid", 400),
    "host with space": (head(b"GET / HTTP/1.1", b"Host: a b"), "host-invalid", 400),
    "host port 0": (head(b"GET / HTTP/1.1", b"Host: a:0"), "host-invalid", 400),
    "host port high": (head(b"GET / HTTP/1.1", b"Host: a:65536"), "host-invalid", 400),
    "host port text": (head(b"GET / HTTP/1.1", b"Host: a:x"), "host-invalid", 400),
    "host bad v6": (head(b"GET / HTTP/1.1", b"Host: [1:2]"), "host-invalid", 400),
    "host bare v6": (head(b"GET / HTTP/1.1", b"Host: ::1"), "host-invalid", 400),
    "user in the target": (head(b"GET http://u:p@a/ HTTP/1.1", H), "target-invalid", 400),
    "backslash in the target": (head(b"GET http://a\\b/ HTTP/1.1", H), "target-invalid", 400),
    "target without host": (head(b"GET http:/// HTTP/1.1", H), "target-invalid", 400),
    "relative target": (head(b"GET a/b HTTP/1.1", H), "target-invalid", 400),
    "asterisk with get": (head(b"GET * HTTP/1.1", H), "target-invalid", 400),
    "authority with get": (head(b"GET a:80 HTTP/1.1", H), "target-invalid", 400),
    "ftp": (head(b"GET ftp://a/ HTTP/1.1", H), "scheme-unsupported", 400),
    "connect a path": (head(b"CONNECT / HTTP/1.1", H), "target-invalid", 400),
    "connect without port": (head(b"CONNECT a HTTP/1.1", b"Host: a"), "target-invalid", 400),
    "connect a url": (head(b"CONNECT http://a:1/ HTTP/1.1", H), "target-invalid", 400),
}
for _coding in (
    b"gzip",
    b"gzip, chunked",
    b"chunked, chunked",
    b"identity, chunked",
    b"identity",
    b"chunked, identity",
    b"chunked;q=1",
    b"xchunked",
    b"chunked,",
    b"'chunked'",
    b"",
):
    REFUSED[f"coding {_coding!r}"] = (
        head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: " + _coding),
        "transfer-encoding-unknown",
        400,
    )
REFUSED["two coding lines"] = (
    head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "transfer-encoding-unknown",
    400,
)

# Chunked bodies that are refused in every setting.
BAD_CHUNKS = {
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nhello\r\n0\r\n\r\n",
    "no digits": b"\r\nhello\r\n0\r\n\r\n",
    "only an extension": b";a\r\nhello\r\n0\r\n\r\n",
    "not hex": b"g\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "bare lf after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare lf in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "bare cr in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "nul in an extension": b"5;\0\r\nhello\r\n0\r\n\r\n",
    "bare lf after the data": b"5\r\nhello\n0\r\n\r\n",
    "no crlf after the data": b"5\r\nhelloo\r\n0\r\n\r\n",
    "data too short": b"5\r\nhell\r\n0\r\n\r\n",
    "two bytes in place of crlf": b"5\r\nhelloXX0\r\n\r\n",
    "cr and another byte": b"5\r\nhello\rX0\r\n\r\n",
}
BAD_TRAILERS = {
    "bare lf": b"0\r\nX: a\nY: b\r\n\r\n",
    "no colon": b"0\r\nGET / HTTP/1.1\r\n\r\n",
    "space before the colon": b"0\r\nX : a\r\n\r\n",
    "nul": b"0\r\nX: \0\r\n\r\n",
}


class RefusedRequestsTests(SynchronousTestCase):
    """What could be read in two ways, or is no request, is refused in every setting."""

    def test_refused_in_every_setting(self) -> None:
        wrong = []
        for name, (data, code, status) in REFUSED.items():
            for mode in MODES:
                found = read_request(data, mode).error
                if found != (code, status):
                    wrong.append((name, mode, found))
        self.assertEqual(wrong, [])

    def test_control_byte_before_a_coding(self) -> None:
        data = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: \x0bchunked")
        self.assertEqual(read_request(data).error, ("head-malformed", 400))
        self.assertEqual(read_request(data, "pass").error, ("transfer-encoding-unknown", 400))

    def test_bad_chunks(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        wrong = []
        for name, chunks in BAD_CHUNKS.items():
            for mode in MODES:
                found = read_request(start + chunks, mode)
                if found.error != ("chunk-malformed", 400) or found.complete:
                    wrong.append((name, mode, found.error))
        self.assertEqual(wrong, [])

    def test_bad_trailers(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        wrong = []
        for name, trailers in BAD_TRAILERS.items():
            for mode in MODES:
                found = read_request(start + trailers, mode)
                if found.error != ("head-malformed", 400):
                    wrong.append((name, mode, found.error))
        self.assertEqual(wrong, [])

    def test_a_broken_codec_stays_broken(self) -> None:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        codec.receive_data(b"GET /\r\n\r\n" + head(b"GET / HTTP/1.1", H))
        for _ in range(2):
            error = self.assertRaises(RemoteProtocolError, codec.next_event, NOW)
            self.assertEqual((error.code, error.status), ("head-malformed", 400))
        self.assertFalse(codec.keep_alive)


class RequestTargetTests(SynchronousTestCase):
    """The four forms of a target (RFC 9112 section 3.2)."""

    def parts(self, *lines: bytes) -> tuple[object, ...]:
        message = read_request(head(*lines)).message
        return (
            message.scheme,
            message.host,
            message.port,
            message.path,
            message.first_line_format,
        )

    def test_origin_form(self) -> None:
        found = self.parts(b"GET /a?b HTTP/1.1", b"Host: a.example:81")
        self.assertEqual(found, ("http", "a.example", 81, "/a?b", "relative"))

    def test_origin_form_inside_tls(self) -> None:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair", default_scheme=b"https")
        codec.receive_data(head(b"GET / HTTP/1.1", H))
        event = codec.next_event(NOW)
        assert isinstance(event, RequestHead)
        self.assertEqual((event.request.scheme, event.request.port), ("https", 443))

    def test_absolute_form(self) -> None:
        found = self.parts(b"GET http://a.example:81/x?y HTTP/1.1", b"Host: a.example:81")
        self.assertEqual(found, ("http", "a.example", 81, "/x?y", "absolute"))

    def test_absolute_form_without_path(self) -> None:
        found = self.parts(b"GET http://a.example?y HTTP/1.1", H)
        self.assertEqual(found, ("http", "a.example", 80, "/?y", "absolute"))

    def test_upper_case_scheme(self) -> None:
        found = self.parts(b"GET HTTPS://a.example/ HTTP/1.1", H)
        self.assertEqual(found, ("https", "a.example", 443, "/", "absolute"))

    def test_authority_form(self) -> None:
        found = self.parts(b"CONNECT a.example:443 HTTP/1.1", b"Host: a.example:443")
        self.assertEqual(found, ("", "a.example", 443, "", "authority"))

    def test_asterisk_form(self) -> None:
        found = self.parts(b"OPTIONS * HTTP/1.1", H)
        self.assertEqual(found, ("http", "a.example", 80, "*", "relative"))

    def test_asterisk_in_absolute_form(self) -> None:
        self.assertEqual(self.parts(b"OPTIONS http://a.example HTTP/1.1", H)[3], "*")

    def test_fragment_is_cut_off(self) -> None:
        for target, path, form in (
            (b"/a?b#c", "/a?b", "relative"),
            (b"/#", "/", "relative"),
            (b"/a##/b#c", "/a", "relative"),
            (b"http://a.example/a#b", "/a", "absolute"),
            (b"http://a.example#b", "/", "absolute"),
            (b"http://a.example#@b.example/", "/", "absolute"),
        ):
            data = head(b"GET %b HTTP/1.1" % target, H)
            message = read_request(data).message
            self.assertEqual(
                (message.host, message.path, message.first_line_format), ("a.example", path, form)
            )
            self.assertEqual(message.anomalies, ("target-fragment",))
            self.assertEqual(read_request(data, "reject").error, ("target-invalid", 400))

    def test_fragment_travels_where_all_passes(self) -> None:
        for target, path in ((b"/a#b", "/a#b"), (b"http://a.example#b?c", "/#b?c")):
            message = read_request(head(b"GET %b HTTP/1.1" % target, H), "pass").message
            self.assertEqual((message.host, message.path), ("a.example", path))
            self.assertEqual(message.anomalies, ("target-fragment",))

    def test_next_request_has_no_anomaly_of_the_one_before(self) -> None:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        found = []
        for target in (b"/a#b", b"/a"):
            codec.receive_data(head(b"GET %b HTTP/1.1" % target, H))
            event = codec.next_event(NOW)
            assert isinstance(event, RequestHead)
            found.append((event.request.path, event.request.anomalies))
            codec.send_message(event.request, Response.make(200), b"")
            codec.next_cycle()
        self.assertEqual(found, [("/a", ("target-fragment",)), ("/a", ())])

    def test_ipv6_literal(self) -> None:
        found = self.parts(b"GET http://[2001:db8::1]:8080/ HTTP/1.1", b"Host: [2001:db8::1]:8080")
        self.assertEqual(found[1:3], ("2001:db8::1", 8080))

    def test_empty_port(self) -> None:
        self.assertEqual(self.parts(b"GET / HTTP/1.1", b"Host: a:")[1:3], ("a", 80))

    def test_odd_bytes_of_real_paths(self) -> None:
        path = b"/\"<>\\^`{|}'\x80\xff[]"
        message = read_request(head(b"GET " + path + b" HTTP/1.1", H)).message
        self.assertEqual(message.path_bytes, path)

    def test_old_request_without_host(self) -> None:
        found = self.parts(b"GET / HTTP/1.0")
        self.assertEqual(found, ("http", "", 80, "/", "relative"))

    def test_connect_without_host(self) -> None:
        data = head(b"CONNECT a:443 HTTP/1.1")
        self.assertEqual(read_request(data).message.anomalies, ("host-missing",))
        self.assertEqual(read_request(data, "reject").error, ("host-missing", 400))

    def test_target_wins_over_host(self) -> None:
        data = head(b"GET http://a.example/ HTTP/1.1", b"X: 1", b"Host: evil.example", b"Y: 2")
        message = read_request(data).message
        self.assertEqual(message.host, "a.example")
        self.assertEqual(
            message.headers.fields, ((b"X", b"1"), (b"Host", b"a.example"), (b"Y", b"2"))
        )
        self.assertEqual(message.anomalies, ("host-mismatch",))
        self.assertEqual(read_request(data, "reject").error, ("host-mismatch", 400))

    def test_host_may_be_written_differently(self) -> None:
        data = head(b"GET http://a.example/ HTTP/1.1", b"Host: A.Example:80")
        self.assertEqual(read_request(data, "reject").message.anomalies, ())

    def test_a_higher_minor_version_is_read_as_1_1(self) -> None:
        message = read_request(head(b"GET / HTTP/1.9", H)).message
        self.assertEqual(message.http_version, "HTTP/1.1")


class RequestFieldsTests(SynchronousTestCase):
    """Fields keep their bytes; what has one meaning is understood."""

    def test_bytes_are_kept(self) -> None:
        block = b"hOsT:  a.example \r\nX-A:\r\nx-a:\t1 \t 2\t\r\nEmpty: \r\n"
        message = read_request(b"GET / HTTP/1.1\r\n" + block + b"\r\n").message
        self.assertEqual(message.headers.raw, block)
        self.assertEqual(
            message.headers.fields,
            ((b"hOsT", b"a.example"), (b"X-A", b""), (b"x-a", b"1 \t 2"), (b"Empty", b"")),
        )
        self.assertEqual(message.timestamp_start, NOW)

    def test_obs_fold_is_joined(self) -> None:
        data = head(b"GET / HTTP/1.1", H, b"X: a", b" b", b"\tc", b"Y: d")
        message = read_request(data).message
        self.assertEqual(message.headers.fields[1:], ((b"X", b"a b c"), (b"Y", b"d")))
        self.assertEqual(message.anomalies, ("obs-fold",))
        self.assertIsNone(message.headers.raw)
        self.assertEqual(read_request(data, "reject").error, ("head-malformed", 400))

    def test_leading_empty_line(self) -> None:
        message = read_request(b"\r\n" + head(b"GET / HTTP/1.1", H)).message
        self.assertEqual(message.anomalies, ("leading-empty-line",))

    def test_8bit_value(self) -> None:
        data = head(b"GET / HTTP/1.1", H, b"X: \xe4")
        message = read_request(data).message
        self.assertEqual(message.anomalies, ("value-8bit",))
        self.assertIsNotNone(message.headers.raw)
        self.assertEqual(read_request(data, "reject").error, ("head-malformed", 400))

    def test_cosmetic_faults_only_in_pass(self) -> None:
        for line, anomaly in ((b"X Y[1]: a", "name-invalid"), (b"X: a\x01", "value-control")):
            data = head(b"GET / HTTP/1.1", H, line)
            for mode in ("reject", "repair"):
                self.assertEqual(read_request(data, mode).error, ("head-malformed", 400))
            self.assertEqual(read_request(data, "pass").message.anomalies, (anomaly,))

    def test_limits(self) -> None:
        data = head(b"GET / HTTP/1.1", H, b"X: " + b"a" * 200)
        self.assertEqual(read_request(data, head_size=100).error, ("head-too-large", 431))
        self.assertEqual(read_request(data[:150], head_size=100).error, ("head-too-large", 431))
        self.assertIsNone(read_request(data, head_size=len(data)).error)
        data = head(b"GET / HTTP/1.1", H, b"X: 1", b"Y: 2")
        self.assertEqual(read_request(data, field_count=2).error, ("too-many-fields", 431))
        self.assertIsNone(read_request(data, field_count=3).error)


class RequestBodyTests(SynchronousTestCase):
    """Where a request ends."""

    def test_no_body(self) -> None:
        found = read_request(head(b"GET / HTTP/1.1", H))
        self.assertEqual((found.framing.kind, found.framing.length), ("none", 0))
        self.assertTrue(found.complete)

    def test_counted(self) -> None:
        found = read_request(head(b"POST / HTTP/1.1", H, b"Content-Length: 5") + b"hello")
        self.assertEqual((found.framing.kind, found.framing.length), ("length", 5))
        self.assertEqual(found.body, b"hello")

    def test_lengths_with_one_meaning(self) -> None:
        for lines, anomaly in (
            ((b"Content-Length: 005",), "length-not-canonical"),
            ((b"Content-Length: 5, 5",), "length-repeated"),
            ((b"Content-Length: 5", b"Content-Length: 5"), "length-repeated"),
        ):
            data = head(b"POST / HTTP/1.1", H, *lines) + b"hello"
            found = read_request(data)
            self.assertEqual((found.body, found.message.anomalies), (b"hello", (anomaly,)))
            self.assertEqual(read_request(data, "reject").error, ("length-invalid", 400))

    def test_chunked(self) -> None:
        data = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: Chunked")
        data += b'5\r\nhello\r\n00A;a=b;c="d;e"\r\n, world!! \r\n1 ;x\r\n.\r\n0;last\r\n'
        data += b"X-Sum: 1\r\nY: 2\r\n\r\n"
        found = read_request(data, "reject")
        self.assertEqual(found.body, b"hello, world!! .")
        self.assertEqual(found.trailers, ((b"X-Sum", b"1"), (b"Y", b"2")))

    def test_chunks_that_look_like_an_end(self) -> None:
        data = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        data += b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"
        self.assertEqual(read_request(data).body, b"\r\n0\r\n\r\n")

    def test_forbidden_trailers_are_dropped(self) -> None:
        data = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        data += b"0\r\nContent-Length: 3\r\nX: y\r\nHost: b\r\nAuthorization: z\r\n\r\n"
        found = read_request(data)
        self.assertEqual(found.trailers, ((b"X", b"y"),))
        self.assertEqual(found.message.anomalies, ("trailer-dropped",))
        self.assertEqual(read_request(data, "reject").error, ("trailer-forbidden", 400))

    def test_chunk_limits(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        line = b"1;" + b"a" * 50 + b"\r\nx\r\n"
        self.assertEqual(read_request(start + line, chunk_line=40).error, ("chunk-malformed", 400))
        self.assertEqual(
            read_request(start + line * 3, chunk_extensions=120).error,
            ("chunk-extensions-too-large", 400),
        )
        # As many of them as there are, if each is little beside its data.
        line = b"320;" + b"a" * 49 + b"\r\n" + b"x" * 800 + b"\r\n"
        found = read_request(start + line * 100 + b"0\r\n\r\n", chunk_extensions=120)
        self.assertIsNone(found.error)
        trailers = b"0\r\nX: " + b"a" * 100 + b"\r\n\r\n"
        self.assertEqual(
            read_request(start + trailers, trailer_size=50).error, ("trailers-too-large", 431)
        )
        self.assertEqual(
            read_request(start + b"0\r\nX: 1\r\nY: 2\r\nZ: 3\r\n\r\n", field_count=2).error,
            ("too-many-fields", 431),
        )

    def test_cut_off(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Content-Length: 5")
        self.assertEqual(read_request(start[:-3], eof=True).error, ("head-truncated", 400))
        self.assertEqual(read_request(start + b"hell", eof=True).error, ("body-truncated", 400))
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        for rest in (b"", b"5\r\nhe", b"5\r\nhello", b"5\r\nhello\r\n", b"0\r\n", b"0\r\nX: y\r\n"):
            self.assertEqual(
                read_request(start + rest, eof=True).error, ("body-truncated", 400), rest
            )

    def test_closed_between_messages(self) -> None:
        for data in (b"", b"\r\n", b"\r"):
            self.assertTrue(read_request(data, eof=True).closed)

    def test_expect(self) -> None:
        def expects(version: bytes, length: bytes) -> bool:
            found = read_request(
                head(b"POST / " + version, H, b"Expect: 100-Continue", b"Content-Length: " + length)
            )
            return bool(found.framing.expect_continue)

        self.assertTrue(expects(b"HTTP/1.1", b"5"))
        self.assertFalse(expects(b"HTTP/1.1", b"0"))
        self.assertFalse(expects(b"HTTP/1.0", b"5"))

    def test_upgrade(self) -> None:
        def upgrade(*lines: bytes, version: bytes = b"HTTP/1.1") -> bytes | None:
            found = read_request(head(b"GET / " + version, H, *lines))
            value: bytes | None = found.framing.upgrade
            return value

        both = (b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")
        self.assertEqual(upgrade(*both), b"websocket")
        self.assertIsNone(upgrade(*both, version=b"HTTP/1.0"))
        self.assertIsNone(upgrade(b"Upgrade: websocket"))
        self.assertIsNone(upgrade(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"))
        self.assertEqual(upgrade(b"Connection: upgrade", b"Upgrade: h2c, websocket"), b"websocket")

    def test_keep_alive(self) -> None:
        def keeps(*lines: bytes, version: bytes = b"HTTP/1.1") -> bool:
            return bool(read_request(head(b"GET / " + version, H, *lines)).framing.keep_alive)

        self.assertTrue(keeps())
        self.assertFalse(keeps(b"Connection: X, Close"))
        self.assertFalse(keeps(version=b"HTTP/1.0"))
        self.assertTrue(keeps(b"Connection: Keep-Alive", version=b"HTTP/1.0"))
        self.assertFalse(keeps(b"Connection: keep-alive, close"))


class RequestCyclesTests(SynchronousTestCase):
    """One request at a time, whatever is there already."""

    def setUp(self) -> None:
        self.codec = HTTP1ServerCodec(HTTP1Limits(), "repair")

    def next_path(self) -> str:
        event = self.codec.next_event(NOW)
        assert isinstance(event, RequestHead)
        return event.request.path

    def test_pipelined_requests_wait_for_their_turn(self) -> None:
        self.codec.receive_data(head(b"GET /1 HTTP/1.1", H) + head(b"GET /2 HTTP/1.1", H))
        self.codec.receive_eof()
        self.assertEqual(self.next_path(), "/1")
        self.assertIs(self.codec.next_event(NOW), NEED_DATA)
        self.assertTrue(self.codec.request_complete)
        self.codec.next_cycle()
        self.assertEqual(self.next_path(), "/2")
        self.assertEqual(self.codec.buffered, 0)
        self.codec.next_cycle()
        self.assertIs(self.codec.next_event(NOW), CONNECTION_CLOSED)
        self.assertTrue(self.codec.eof_received)

    def test_next_cycle_needs_a_whole_request(self) -> None:
        self.codec.receive_data(head(b"POST / HTTP/1.1", H, b"Content-Length: 5"))
        self.next_path()
        self.assertFalse(self.codec.request_complete)
        self.assertRaises(LocalProtocolError, self.codec.next_cycle)

    def test_the_rest_is_handed_over(self) -> None:
        self.codec.receive_data(head(b"CONNECT a:1 HTTP/1.1", b"Host: a:1") + b"\x16\x03")
        event = self.codec.next_event(NOW)
        assert isinstance(event, RequestHead)
        self.assertTrue(event.end_of_message)
        self.assertEqual(self.codec.buffered, 2)
        self.assertEqual(self.codec.take_rest(), b"\x16\x03")
        self.assertEqual(self.codec.buffered, 0)
        self.assertIs(self.codec.next_event(NOW), NEED_DATA)

    def test_body_chunks_are_not_copied(self) -> None:
        self.codec.receive_data(head(b"POST / HTTP/1.1", H, b"Content-Length: 200000"))
        self.next_path()
        for end in (False, True):
            piece = bytes(100000)
            self.codec.receive_data(piece)
            event = self.codec.next_event(NOW)
            assert isinstance(event, Data)
            self.assertIs(event.data, piece)
            self.assertEqual(event.end_of_message, end)

    def test_a_whole_body_is_one_event(self) -> None:
        chunked = (
            head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked") + b"2\r\nab\r\n0\r\n\r\n"
        )
        counted = head(b"POST / HTTP/1.1", H, b"Content-Length: 2") + b"ab"
        for data in (chunked, counted):
            self.codec.receive_data(data)
            self.next_path()
            event = self.codec.next_event(NOW)
            assert isinstance(event, Data)
            self.assertEqual((event.data, event.end_of_message), (b"ab", True))
            self.codec.next_cycle()

    def test_small_chunks_are_gathered(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        self.codec.receive_data(start + b"1\r\na\r\n" * 1000 + b"0\r\nX: y\r\n\r\n")
        self.next_path()
        event = self.codec.next_event(NOW)
        assert isinstance(event, Data)
        self.assertEqual((event.data, event.end_of_message), (b"a" * 1000, False))
        self.assertIsInstance(self.codec.next_event(NOW), EndOfMessage)

    def test_small_chunks_with_extensions_are_gathered(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        self.codec.receive_data(start + b"1;a=b\r\na\r\n" * 1000 + b"1;c\r\n")
        self.next_path()
        event = self.codec.next_event(NOW)
        assert isinstance(event, Data)
        self.assertEqual(event.data, b"a" * 1000)
        self.codec.receive_data(b"b\r\n0;d\r\n\r\n")
        event = self.codec.next_event(NOW)
        assert isinstance(event, Data)
        self.assertEqual((event.data, event.end_of_message), (b"b", False))
        self.assertIsInstance(self.codec.next_event(NOW), EndOfMessage)

    def test_what_came_before_a_fault_is_delivered(self) -> None:
        start = head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked")
        many = b"1;%b\r\na\r\n" % (b"x" * 4000)
        for fault, size, code in (
            (b"1\na\r\n", 1, "chunk-malformed"),
            (b"1 \r\na\r\n", 1, "chunk-malformed"),
            (b"1;" + b"x" * 4096 + b"\r\na\r\n", 1, "chunk-malformed"),
            (many * 20, 17, "chunk-extensions-too-large"),
        ):
            codec = HTTP1ServerCodec(HTTP1Limits(), "pass")
            codec.receive_data(start + b"1\r\na\r\n" + fault + b"0\r\n\r\n")
            codec.next_event(NOW)
            event = codec.next_event(NOW)
            assert isinstance(event, Data)
            self.assertEqual(event.data, b"a" * size)
            with self.assertRaises(RemoteProtocolError) as caught:
                codec.next_event(NOW)
            self.assertEqual(caught.exception.code, code)

    def test_hostile_heads_take_linear_time(self) -> None:
        # Each of these takes minutes where a pattern backtracks over more than one line.
        size = 1_000_000
        limits = HTTP1Limits(head_size=2 * size, field_count=size)
        for block in (
            b"X:a\n" * (size // 4) + b"\rZ",
            b"X:" + b" \t" * (size // 2) + b"\0",
            b"X: a" + b" " * size + b"\r\rZ",
            b"X: a\r\n" + b" b\r\n" * (size // 4),
            b" HTTP/1" * (size // 7),
            b"X: " + b"\r" * size,
        ):
            codec = HTTP1ServerCodec(limits, "pass")
            codec.receive_data(b"GET / HTTP/1.1\r\n" + H + b"\r\n" + block + b"\r\n\r\n")
            with contextlib.suppress(RemoteProtocolError):
                codec.next_event(NOW)

    def test_reading_ahead_stays_bounded_in_work(self) -> None:
        # Many requests that come in small pieces while nobody reads: each byte moves once or twice.
        request = head(b"GET / HTTP/1.1", H, b"X: " + b"a" * 1000)
        for _ in range(200):
            for start in range(0, len(request), 100):
                self.codec.receive_data(request[start : start + 100])
        for _ in range(200):
            self.assertEqual(self.next_path(), "/")
            self.codec.next_cycle()
            self.codec.receive_data(b"")
        self.assertEqual(self.codec.buffered, 0)


class HeldMemoryTests(SynchronousTestCase):
    """An idle codec keeps nothing of the messages that went through it."""

    def test_messages_and_bytes_are_let_go(self) -> None:
        codec = HTTP1ServerCodec(HTTP1Limits(), "repair")
        trailers = b"0\r\nX: y\r\n\r\n"
        for data in (
            head(b"GET / HTTP/1.1", H),
            head(b"POST / HTTP/1.1", H, b"Content-Length: 2") + b"ab",
            head(b"POST / HTTP/1.1", H, b"Transfer-Encoding: chunked") + trailers,
        ):
            # As it would come from a socket: nobody else holds the object.
            received = bytes(bytearray(data))
            codec.receive_data(received)
            event = codec.next_event(NOW)
            assert isinstance(event, RequestHead)
            while not codec.request_complete:
                codec.next_event(NOW)
            codec.next_cycle()
            self.assertNotIn(event.request, gc.get_referents(codec))
            self.assertNotIn(received, gc.get_referents(codec))
