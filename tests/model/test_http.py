"""Tests of `interceptor.model.http`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.headers import Headers
from interceptor.model.http import HTTPRequest, HTTPResponse, Request, Response
from interceptor.model.multidict import MultiDict

START = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT"""


def request(
    path: bytes = b"/a?b=c", form: str = "relative", host: bytes | None = b"www.example.com:8080"
) -> Request:
    fields = () if host is None else ((b"Host", host),)
    return Request(
        b"GET",
        b"http",
        b"127.0.0.1",
        8080,
        path,
        b"HTTP/1.1",
        Headers.from_wire(fields, None),
        form,
        START,
    )


def connect() -> Request:
    headers = Headers(host="example.com:443")
    return Request(
        b"CONNECT", b"", b"example.com", 443, b"", b"HTTP/1.1", headers, "authority", START
    )


class RequestTests(SynchronousTestCase):
    def test_new_request(self) -> None:
        made = request()
        self.assertEqual("GET", made.method)
        self.assertEqual("http", made.scheme)
        self.assertEqual("127.0.0.1", made.host)
        self.assertEqual(8080, made.port)
        self.assertEqual("/a?b=c", made.path)
        self.assertEqual("HTTP/1.1", made.http_version)
        self.assertEqual("relative", made.first_line_format)
        self.assertEqual(START, made.timestamp_start)
        self.assertIsNone(made.timestamp_end)
        self.assertIsNone(made.raw_content)
        self.assertIsNone(made.trailers)
        self.assertEqual((), made.anomalies)
        self.assertIs(False, made.stream)
        self.assertEqual(0, made.body_size)
        self.assertFalse(hasattr(made, "__dict__"))

    def test_text_and_bytes_are_the_same_value(self) -> None:
        made = request()
        made.method, made.scheme, made.path = "PUT", "HTTPS", b"/x"
        self.assertEqual(b"PUT", made.method_bytes)
        self.assertEqual(b"https", made.scheme_bytes)
        made.path_bytes = b"/\xff"
        self.assertEqual("/\udcff", made.path)
        made.path = made.path
        self.assertEqual(b"/\xff", made.path_bytes)

    def test_faulty_values_are_refused(self) -> None:
        cases: list[tuple[str, Any]] = [
            ("method", "GET /"),
            ("method", ""),
            ("method", "A\r\n"),
            ("scheme", "ht tp"),
            ("scheme", ""),
            ("host", ""),
            ("host", "a b"),
            ("host", "a\r\nX: y"),
            ("host", "a/b"),
            ("host", "user@a"),
            ("host", "a:80"),
            ("host", "[::g]"),
            ("host", "[a]"),
            ("host", "a\0"),
            ("host", "::1%a b"),
            ("host", "x" * 300),
            ("port", 0),
            ("port", 65536),
            ("port", -1),
            ("path", "a"),
            ("path", "/a\r\nX: y"),
            ("path", "/a\0"),
            ("path", "http://other/"),
            ("url", "/a"),
            ("url", "ftp://a/"),
            ("url", "http:///a"),
            ("url", "http://a:b/"),
            ("url", "http://a:99999/"),
            ("url", "http://user:secret@a/"),
            ("url", "http://a\\@b/"),
            ("url", "http://a/\r\nX: y"),
            ("authority", "a b"),
        ]
        for name, value in cases:
            made = request()
            self.assertRaises(ValueError, setattr, made, name, value)
            self.assertTrue(made.same_as(request()), (name, value))

    def test_spaces_in_a_path_are_encoded(self) -> None:
        made = request()
        made.path = "/a b"
        self.assertEqual(b"/a%20b", made.path_bytes)

    def test_host_and_port_change_the_host_field(self) -> None:
        made = request()
        made.host = "other"
        self.assertEqual("other:8080", made.headers["Host"])
        made.port = 80
        self.assertEqual("other", made.headers["host"])
        self.assertEqual(b"Host", made.headers.fields[0][0])

    def test_no_host_field_is_made(self) -> None:
        made = request(host=None)
        made.host = "other"
        self.assertNotIn("host", made.headers)

    def test_ipv6(self) -> None:
        for text in ("::1", "[::1]"):
            made = request()
            made.host = text
            self.assertEqual("::1", made.host)
            self.assertEqual("[::1]:8080", made.headers["host"])
            self.assertEqual("http://[::1]:8080/a?b=c", made.url)

    def test_international_names(self) -> None:
        made = request()
        made.host = "bücher.example"
        self.assertEqual(b"xn--bcher-kva.example", made.host_bytes)
        made.url = "http://müller.example:81/ä"
        self.assertEqual(b"xn--mller-kva.example", made.host_bytes)
        self.assertEqual((81, "/ä"), (made.port, made.path))

    def test_url(self) -> None:
        made = request()
        self.assertEqual("http://127.0.0.1:8080/a?b=c", made.url)
        made.url = "HTTPS://Other.example?x=y#part"
        self.assertEqual("https", made.scheme)
        self.assertEqual("Other.example", made.host)
        self.assertEqual(443, made.port)
        self.assertEqual("/?x=y", made.path)
        self.assertEqual("Other.example", made.headers["host"])
        self.assertEqual("https://Other.example/?x=y", made.url)

    def test_url_of_asterisk_form(self) -> None:
        self.assertEqual("http://127.0.0.1:8080", request(path=b"*").url)

    def test_connect(self) -> None:
        made = connect()
        self.assertEqual("example.com:443", made.url)
        self.assertEqual("example.com:443", made.pretty_url)
        self.assertEqual("example.com:443", made.authority)
        made.host = "other"
        self.assertEqual("other:443", made.headers["host"])

    def test_pretty_host_and_url(self) -> None:
        made = request()
        self.assertEqual("www.example.com", made.pretty_host)
        self.assertEqual("http://www.example.com:8080/a?b=c", made.pretty_url)
        self.assertEqual(
            "http://www.example.com/a?b=c", request(host=b"www.example.com").pretty_url
        )

    def test_pretty_host_without_a_usable_field(self) -> None:
        for host in (None, b"", b"a b", b"a:b", b"[::g]"):
            made = request(host=host)
            self.assertEqual("127.0.0.1", made.pretty_host)
            self.assertEqual(made.url, made.pretty_url)

    def test_authority(self) -> None:
        made = request()
        self.assertEqual("", made.authority)
        self.assertEqual("127.0.0.1:8080", request(form="absolute").authority)
        made.authority = "example.com"
        made.host = "other"
        self.assertEqual("other:8080", made.authority)

    def test_host_header(self) -> None:
        made = request()
        self.assertEqual("www.example.com:8080", made.host_header)
        made.host_header = "a"
        self.assertEqual("a", made.headers["host"])
        made.host_header = None
        self.assertNotIn("host", made.headers)
        self.assertIsNone(made.host_header)

    def test_host_header_of_http_2(self) -> None:
        made = request()
        made.http_version = "HTTP/2.0"
        self.assertEqual("www.example.com:8080", made.host_header)
        made.authority = "b"
        self.assertEqual("b", made.host_header)
        self.assertEqual("b", made.pretty_host)
        made.host_header = "c"
        self.assertEqual(("c", "c"), (made.authority, made.headers["host"]))
        del made.headers["host"]
        made.host_header = "d"
        self.assertEqual("d", made.authority)
        self.assertNotIn("host", made.headers)

    def test_in_http_1_a_changed_host_field_counts(self) -> None:
        made = request(form="absolute")
        made.authority_bytes = b"www.example.com:8080"
        made.headers["Host"] = "other"
        self.assertEqual("other", made.pretty_host)
        del made.headers["Host"]
        self.assertEqual("www.example.com:8080", made.host_header)

    def test_repr(self) -> None:
        self.assertEqual("<Request GET http://127.0.0.1:8080/a?b=c>", repr(request()))

    def test_old_names(self) -> None:
        self.assertIs(Request, HTTPRequest)
        self.assertIs(Response, HTTPResponse)


class QueryTests(SynchronousTestCase):
    def test_reading(self) -> None:
        made = request(b"/p?a=1&b=%C3%A4+x&a=2&flag&=e")
        self.assertEqual("1", made.query["a"])
        self.assertEqual(["1", "2"], made.query.get_all("a"))
        self.assertEqual("ä x", made.query["b"])
        self.assertEqual("", made.query["flag"])
        self.assertEqual({"a": "1", "b": "ä x", "flag": "", "": "e"}, dict(made.query))
        self.assertEqual(0, len(request(b"/p").query))
        self.assertFalse(request(b"/p").query)

    def test_changes_are_written_back(self) -> None:
        made = request(b"/p?a=1")
        made.query["b"] = "x y&"
        self.assertEqual("/p?a=1&b=x+y%26", made.path)
        del made.query["a"]
        self.assertEqual("/p?b=x+y%26", made.path)
        made.query.clear()
        self.assertEqual("/p", made.path)

    def test_what_is_not_changed_keeps_its_bytes(self) -> None:
        made = request(b"/p?sig=%7e%2fx%20y&flag&x=1&raw=\xff&sig=%7E%2Fx+y")
        made.query["x"] = "2"
        self.assertEqual(b"/p?sig=%7e%2fx%20y&flag&x=2&raw=\xff&sig=%7E%2Fx+y", made.path_bytes)

    def test_assignment(self) -> None:
        made = request(b"/p?a=1")
        made.query = [("x", "1"), ("x", "2")]
        self.assertEqual("/p?x=1&x=2", made.path)
        made.query = {"y": "3"}
        self.assertEqual("/p?y=3", made.path)
        made.query = MultiDict([("z", "1"), ("z", "2")])
        self.assertEqual("/p?z=1&z=2", made.path)

    def test_a_copy_is_written_back_nowhere(self) -> None:
        made = request(b"/p?a=1")
        copied = made.query.copy()
        copied["a"] = "2"
        self.assertEqual("/p?a=1", made.path)

    def test_path_components(self) -> None:
        made = request(b"/a/b%2Fc//d?x=/y")
        self.assertEqual(("a", "b/c", "d"), made.path_components)
        made.path_components = ["x", "ä/?#", "~z"]
        self.assertEqual("/x/%C3%A4%2F%3F%23/~z?x=/y", made.path)
        self.assertEqual((), request(b"*").path_components)


class RequestCookieTests(SynchronousTestCase):
    def made(self, *lines: str) -> Request:
        made = request()
        made.headers.set_all("Cookie", lines)
        return made

    def test_reading(self) -> None:
        made = self.made('a=1; b="x y"; a=2', "c=d=e")
        self.assertEqual(
            [("a", "1"), ("b", '"x y"'), ("a", "2"), ("c", "d=e")],
            made.cookies.items(multi=True),
        )

    def test_changes_are_written_back_as_one_field(self) -> None:
        made = self.made("a=1; flag", "b=2")
        made.cookies["b"] = "3"
        self.assertEqual(["a=1; flag; b=3"], made.headers.get_all("cookie"))
        made.cookies = {"x": "y"}
        self.assertEqual("x=y", made.headers["cookie"])
        del made.cookies["x"]
        self.assertNotIn("cookie", made.headers)

    def test_what_would_end_a_pair_is_refused(self) -> None:
        made = self.made("a=1")
        for name, value in (("b", "x; y=z"), ("b", "x\r\ny"), ("b=c", "d"), ("b;", "d")):
            self.assertRaises(ValueError, made.cookies.__setitem__, name, value)
        self.assertEqual("a=1", made.headers["cookie"])


class FormTests(SynchronousTestCase):
    def made(self, content: bytes, kind: str) -> Request:
        made = request()
        made.headers["Content-Type"] = kind
        made.attach_body(content)
        return made

    def test_urlencoded(self) -> None:
        made = self.made(b"a=1&b=x+y\r\n", "application/x-www-form-urlencoded; charset=utf-8")
        self.assertEqual("x y", made.urlencoded_form["b"])
        made.urlencoded_form["a"] = "2"
        self.assertEqual(b"a=2&b=x+y", made.content)
        self.assertEqual("9", made.headers["content-length"])

    def test_other_content_is_no_form(self) -> None:
        made = self.made(b"a=1", "text/plain")
        self.assertFalse(made.urlencoded_form)
        self.assertFalse(made.multipart_form)

    def test_assignment_sets_the_type(self) -> None:
        made = self.made(b"{}", "application/json")
        made.urlencoded_form = [("a", "ä")]
        self.assertEqual(b"a=%C3%A4", made.content)
        self.assertEqual("application/x-www-form-urlencoded", made.headers["content-type"])

    MULTIPART = (
        b"--xx\r\n"
        b'Content-Disposition: form-data; name="text"\r\n\r\n'
        b"hello\r\n"
        b"--xx\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n"
        b"\x00\r\n\xff\r\n"
        b"--xx--\r\n"
    )

    def test_multipart(self) -> None:
        made = self.made(self.MULTIPART, "multipart/form-data; boundary=xx")
        self.assertEqual(
            [(b"text", b"hello"), (b"file", b"\x00\r\n\xff")],
            made.multipart_form.items(multi=True),
        )

    def test_multipart_parts_keep_their_headers(self) -> None:
        made = self.made(self.MULTIPART, "multipart/form-data; boundary=xx")
        made.multipart_form[b"text"] = b"bye"
        self.assertEqual(self.MULTIPART.replace(b"hello", b"bye"), made.content)
        made.multipart_form[b"file"] = b"new"
        self.assertIn(b'filename="a.bin"', made.content or b"")

    def test_multipart_boundary_never_occurs_in_a_part(self) -> None:
        made = self.made(self.MULTIPART, "multipart/form-data; boundary=xx")
        made.multipart_form[b"text"] = b"a\r\n--xx--\r\nb"
        self.assertEqual(b"a\r\n--xx--\r\nb", made.multipart_form[b"text"])
        self.assertEqual(b"\x00\r\n\xff", made.multipart_form[b"file"])

    def test_multipart_assignment_sets_the_type(self) -> None:
        made = self.made(b"", "text/plain")
        made.multipart_form = {b'a"\r\nb': b"1"}
        self.assertTrue(made.headers["content-type"].startswith("multipart/form-data; boundary="))
        self.assertEqual([(b"a%22%0D%0Ab", b"1")], made.multipart_form.items(multi=True))


class RequestConvenienceTests(SynchronousTestCase):
    def test_anticache(self) -> None:
        made = request()
        made.headers["If-None-Match"] = "x"
        made.headers["if-modified-since"] = "y"
        made.anticache()
        made.anticache()
        self.assertEqual(["Host"], list(made.headers))

    def test_anticomp(self) -> None:
        made = request()
        made.headers["accept-encoding"] = "gzip"
        made.anticomp()
        self.assertEqual("identity", made.headers["accept-encoding"])

    def test_constrain_encoding(self) -> None:
        for before, after in (
            ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
            ("gzip;q=0.5, sdch, BR", "gzip;q=0.5, BR"),
            ("sdch, *", "identity"),
            ("", "identity"),
        ):
            made = request()
            made.headers["Accept-Encoding"] = before
            made.constrain_encoding()
            self.assertEqual(after, made.headers["Accept-Encoding"])
        made = request()
        made.constrain_encoding()
        self.assertNotIn("accept-encoding", made.headers)

    def test_replace_includes_the_path(self) -> None:
        made = request(b"/foo?foo")
        made.attach_body(b"foo")
        self.assertEqual(2, made.replace("foo", "bar", count=2))
        self.assertEqual("/bar?bar", made.path)
        self.assertEqual(b"foo", made.content)
        self.assertRaises(ValueError, made.replace, "/bar", r"/\r\n")

    def test_make(self) -> None:
        made = Request.make("POST", "https://example.com:444/a", "hällo", {"X": "1"})
        self.assertEqual("https://example.com:444/a", made.url)
        self.assertEqual("example.com:444", made.headers["Host"])
        self.assertEqual("1", made.headers["x"])
        self.assertEqual("hällo", made.text)
        self.assertEqual("5", made.headers["content-length"])
        self.assertIsNotNone(made.timestamp_end)

    def test_make_keeps_a_host_field_and_needs_no_body(self) -> None:
        made = Request.make("GET", "http://a/", headers=[(b"host", b"b")])
        self.assertEqual([("host", "b")], made.headers.items(multi=True))
        self.assertEqual(b"", made.content)
        self.assertRaises(ValueError, Request.make, "GET", "a")
        self.assertRaises(ValueError, Request.make, "G T", "http://a/")
        self.assertRaises(ValueError, Request.make, "GET", "http://a/", b"", {"x": "\r\n"})


class ResponseTests(SynchronousTestCase):
    def test_grpc_status(self) -> None:
        made = Response.make()
        self.assertIsNone(made.grpc_status)
        for value, status in (("0", 0), ("14", 14), ("-1", None), ("x", None), ("9" * 99, None)):
            made.headers["grpc-status"] = value
            self.assertEqual(status, made.grpc_status)
        made.trailers = Headers([(b"Grpc-Status", b"5")])
        self.assertEqual(5, made.grpc_status)

    def test_make(self) -> None:
        made = Response.make(404, b"no", {"Content-Type": "text/plain"})
        self.assertEqual(404, made.status_code)
        self.assertEqual("Not Found", made.reason)
        self.assertEqual("HTTP/1.1", made.http_version)
        self.assertEqual(b"no", made.content)
        self.assertEqual("2", made.headers["content-length"])
        self.assertFalse(hasattr(made, "__dict__"))

    def test_make_with_text_and_byte_headers(self) -> None:
        made = Response.make(200, "hi", {b"X": b"1"})
        self.assertEqual("hi", made.text)
        self.assertEqual("1", made.headers["x"])
        headers = Headers(a="b")
        Response.make(200, b"hi", headers)
        self.assertNotIn("content-length", headers)

    def test_make_without_a_body(self) -> None:
        self.assertEqual("0", Response.make().headers["content-length"])
        self.assertEqual(b"", Response.make(200, None).content)
        self.assertNotIn("content-length", Response.make(204).headers)

    def test_make_refuses_what_is_no_status(self) -> None:
        self.assertRaises(ValueError, Response.make, 99)
        self.assertRaises(ValueError, Response.make, 600)
        self.assertEqual("", Response.make(599).reason)

    def test_reason(self) -> None:
        made = Response.make()
        made.reason = "Fine"
        self.assertEqual(b"Fine", made.reason_bytes)
        self.assertRaises(ValueError, setattr, made, "reason", "a\r\nX: y")

    def test_repr(self) -> None:
        made = Response.make(200, b"hi", {"Content-Type": "text/plain; charset=x"})
        self.assertEqual("<Response 200 text/plain, 2 bytes>", repr(made))
        made.attach_body(None)
        made.body_size = 77
        self.assertEqual("<Response 200 text/plain, 77 bytes>", repr(made))


class ResponseCookieTests(SynchronousTestCase):
    def made(self, *lines: str) -> Response:
        made = Response.make()
        made.headers.set_all("Set-Cookie", lines)
        return made

    def test_reading(self) -> None:
        made = self.made("a=1; Path=/; Secure;Max-Age = 5", "b=2")
        value, attributes = made.cookies["a"]
        self.assertEqual("1", value)
        self.assertEqual("/", attributes["path"])
        self.assertEqual("5", attributes["MAX-AGE"])
        self.assertIsNone(attributes["secure"])
        self.assertIn("SECURE", attributes)
        self.assertEqual(["a", "b"], list(made.cookies))

    def test_changes_are_written_back_and_the_rest_keeps_its_bytes(self) -> None:
        made = self.made("a=1;path=/ ;  secure", "b=2; Path=/")
        attributes = made.cookies["b"][1]
        attributes["HttpOnly"] = None
        made.cookies["b"] = ("3", attributes)
        self.assertEqual(
            ["a=1;path=/ ;  secure", "b=3; Path=/; HttpOnly"],
            made.headers.get_all("set-cookie"),
        )

    def test_assignment(self) -> None:
        made = self.made("a=1")
        cookies: Any = made.cookies
        cookies["b"] = "2"
        cookies.add("c", ("3", {"Path": "/", "Max-Age": 5}))
        self.assertEqual(
            ["a=1", "b=2", "c=3; Path=/; Max-Age=5"], made.headers.get_all("set-cookie")
        )
        made.cookies = {}
        self.assertNotIn("set-cookie", made.headers)

    def test_what_would_end_a_part_is_refused(self) -> None:
        made = self.made("a=1")
        for value in ("x;y", ("x", {"Path": "/; Secure"}), ("x", {"a=b": "c"}), "x\r\n"):
            self.assertRaises(ValueError, made.cookies.__setitem__, "b", value)
        self.assertEqual(["a=1"], made.headers.get_all("set-cookie"))


class RefreshTests(SynchronousTestCase):
    def test_dates_move_by_the_time_that_passed(self) -> None:
        made = Response(b"HTTP/1.1", 200, b"OK", Headers(), START)
        made.headers["Date"] = "Sun, 06 Nov 1994 08:49:37 GMT"
        made.headers["Expires"] = "Sun, 06 Nov 1994 09:49:37 GMT"
        made.headers["Last-Modified"] = "nonsense"
        made.headers.set_all(
            "Set-Cookie",
            ["a=1; path=/; expires=Sun, 06-Nov-1994 08:49:37 GMT; Secure", "b=2; Expires=0", "c=3"],
        )
        made.refresh(START + 86400)
        self.assertEqual("Mon, 07 Nov 1994 08:49:37 GMT", made.headers["date"])
        self.assertEqual("Mon, 07 Nov 1994 09:49:37 GMT", made.headers["expires"])
        self.assertEqual("nonsense", made.headers["last-modified"])
        self.assertEqual(
            [
                "a=1; path=/; expires=Mon, 07 Nov 1994 08:49:37 GMT; Secure",
                "b=2; Expires=0",
                "c=3",
            ],
            made.headers.get_all("set-cookie"),
        )

    def test_dates_out_of_range_stay(self) -> None:
        made = Response(b"HTTP/1.1", 200, b"OK", Headers(), START)
        made.headers["Expires"] = "Fri, 31 Dec 9999 23:59:59 GMT"
        made.refresh(START + 1e6)
        self.assertEqual("Fri, 31 Dec 9999 23:59:59 GMT", made.headers["expires"])

    def test_without_dates_nothing_changes(self) -> None:
        headers = Headers.from_wire(((b"a", b"b"),), b"a: b\r\n")
        made = Response(b"HTTP/1.1", 200, b"OK", headers, START)
        made.refresh()
        self.assertIsNotNone(made.headers.raw)
