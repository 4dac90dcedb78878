"""Tests of `interceptor.model.message`, on requests and responses alike."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

import brotli
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import DecodeError
from interceptor.model import codings, elsewhere
from interceptor.model.body import Body
from interceptor.model.headers import Headers
from interceptor.model.http import Response


def response(body: bytes | Body | None, **headers: str) -> Response:
    made = Response(b"HTTP/1.1", 200, b"OK", Headers((), **headers), 1.0)
    made.attach_body(body)
    return made


def spooled(data: bytes) -> Body:
    body = Body(0)
    body.append(data)
    return body


class LoadTests(SynchronousTestCase):
    """``load_content`` where a proxy runs."""

    def load(self, message: Response, **arguments: int) -> bytes | None:
        calls: list[Callable[[], object]] = []

        def run(function: Callable[..., object], *args: object) -> Deferred[object]:
            waiting: Deferred[object] = Deferred()
            calls.append(lambda: waiting.callback(function(*args)))
            return waiting

        self.patch(elsewhere, "_runner", run)
        loading = Deferred.fromCoroutine(message.load_content(**arguments))
        for call in calls:
            self.assertNoResult(loading)
            call()
        self.calls = len(calls)
        return self.successResultOf(loading)

    def test_decoded_elsewhere_it_stays(self) -> None:
        coded = gzip.compress(b"x" * 1000)
        for body in (coded, spooled(coded)):
            message = response(body, content_encoding="gzip")
            message.content_limit = 10
            self.assertEqual(b"x" * 1000, self.load(message))
            self.assertEqual(1, self.calls)
            self.assertEqual((b"x" * 1000, None), (message.content, message.content_error))
            self.assertEqual("x" * 1000, message.text)
            self.assertEqual(b"x" * 1000, self.load(message))
            self.assertEqual(0, self.calls)

    def test_its_limit(self) -> None:
        coded = gzip.compress(b"x" * 1000)
        message = response(spooled(coded), content_encoding="gzip")
        self.assertEqual(coded, self.load(message, limit=999))
        self.assertTrue((message.content_error or "").startswith("content-too-large: "))
        self.assertEqual(b"x" * 1000, self.load(message, limit=1000))

    def test_what_has_no_coding_is_read_elsewhere_if_it_is_in_a_file(self) -> None:
        for body, calls in ((b"abc", 0), (spooled(b"abc"), 1), (b"", 0)):
            message = response(body)
            self.assertEqual(message.raw_content, self.load(message))
            self.assertEqual(calls, self.calls)
        self.assertIsNone(self.load(response(None)))

    def test_a_body_that_was_changed_meanwhile(self) -> None:
        message = response(gzip.compress(b"old"), content_encoding="gzip")
        waiting: Deferred[None] = Deferred()

        async def run(function: Callable[..., object], *args: object) -> object:
            await waiting
            return function(*args)

        self.patch(elsewhere, "_runner", run)
        loading = Deferred.fromCoroutine(message.load_content())
        message.content = b"new"
        waiting.callback(None)
        self.assertEqual(b"old", self.successResultOf(loading))
        self.assertEqual(b"new", message.content)

    def test_without_a_proxy(self) -> None:
        self.patch(elsewhere, "_runner", None)
        message = response(gzip.compress(b"x"), content_encoding="gzip")
        self.failureResultOf(Deferred.fromCoroutine(message.load_content()), RuntimeError)


class RawContentTests(SynchronousTestCase):
    def test_attached_body_leaves_the_headers_alone(self) -> None:
        message = response(b"abc", content_length="99")
        self.assertEqual(b"abc", message.raw_content)
        self.assertEqual("99", message.headers["content-length"])

    def test_assignment_sets_the_length(self) -> None:
        message = response(None)
        message.raw_content = b"abc"
        self.assertEqual("3", message.headers["Content-Length"])
        message.body = b"abcd"
        self.assertEqual(b"abcd", message.body)
        self.assertEqual(["4"], message.headers.get_all("Content-Length"))

    def test_assignment_of_the_same_length_keeps_the_raw_headers(self) -> None:
        message = response(b"abc")
        message.headers = Headers.from_wire(((b"content-length", b"3"),), b"content-length: 3\r\n")
        message.raw_content = b"xyz"
        self.assertIsNotNone(message.headers.raw)

    def test_transfer_encoding_is_left_alone(self) -> None:
        message = response(b"abc", transfer_encoding="chunked")
        message.raw_content = b"xyz"
        self.assertNotIn("content-length", message.headers)

    def test_none_means_no_body(self) -> None:
        message = response(b"abc", content_length="3")
        message.raw_content = None
        self.assertIsNone(message.raw_content)
        self.assertIsNone(message.content)
        self.assertIsNone(message.text)
        self.assertEqual("3", message.headers["content-length"])

    def test_spooled_body_is_read(self) -> None:
        body = spooled(b"abc")
        message = response(body)
        self.assertEqual(b"abc", message.raw_content)
        self.assertEqual(b"abc", message.content)
        self.assertIs(body, message.body_object)

    def test_buffers_are_accepted_and_text_is_not(self) -> None:
        message = response(None)
        content: Any = bytearray(b"abc")
        message.raw_content = content
        self.assertEqual(b"abc", message.raw_content)
        for name in ("raw_content", "content"):
            error = self.assertRaises(TypeError, setattr, message, name, "abc")
            self.assertIn(".text", str(error))


class ContentTests(SynchronousTestCase):
    def test_codings_are_removed(self) -> None:
        for coding in ("gzip", "deflate", "br", "zstd", "gzip, br", "identity", "GZIP"):
            message = response(codings.encode(b"hello", coding), content_encoding=coding)
            self.assertEqual(b"hello", message.content, coding)
            self.assertIsNone(message.content_error)

    def test_it_is_decoded_once(self) -> None:
        message = response(gzip.compress(b"hello"), content_encoding="gzip")
        self.assertIs(message.content, message.content)

    def test_a_new_body_is_decoded_anew(self) -> None:
        message = response(gzip.compress(b"hello"), content_encoding="gzip")
        message.get_content()
        message.attach_body(gzip.compress(b"other"))
        self.assertEqual(b"other", message.content)
        message.attach_body(brotli.compress(b"third"))
        message.headers["content-encoding"] = "br"
        self.assertEqual(b"third", message.content)

    def test_damage_gives_the_raw_bytes_and_the_reason(self) -> None:
        message = response(b"plain", content_encoding="gzip")
        for _ in range(2):
            self.assertEqual(b"plain", message.content)
            self.assertTrue((message.content_error or "").startswith("content-damaged: "))

    def test_strict_raises_each_time(self) -> None:
        message = response(b"plain", content_encoding="gzip")
        for _ in range(2):
            error = self.assertRaises(DecodeError, message.get_content, strict=True)
            self.assertEqual("content-damaged", error.code)
            message.get_content()

    def test_unknown_coding_gives_the_raw_bytes(self) -> None:
        message = response(b"plain", content_encoding="compress")
        self.assertEqual(b"plain", message.content)
        self.assertTrue((message.content_error or "").startswith("content-coding-unknown: "))

    def test_limit_as_argument_and_as_attribute(self) -> None:
        coded = gzip.compress(b"x" * 1000)
        message = response(coded, content_encoding="gzip")
        self.assertEqual(coded, message.get_content(limit=999))
        self.assertTrue((message.content_error or "").startswith("content-too-large: "))
        self.assertEqual(b"x" * 1000, message.get_content(limit=1000))
        self.assertIsNone(message.content_error)
        message.content_limit = 10
        self.assertEqual(coded, message.content)

    def test_what_was_decoded_under_a_higher_limit_is_there(self) -> None:
        message = response(gzip.compress(b"x" * 1000), content_encoding="gzip")
        message.content_limit = 10
        self.assertNotEqual(b"x" * 1000, message.content)
        self.assertEqual(b"x" * 1000, message.get_content(limit=1000))
        self.assertEqual(b"x" * 1000, message.content)
        self.assertNotEqual(b"x" * 1000, message.get_content(limit=10))

    def test_it_may_take_some_time_only(self) -> None:
        coded = gzip.compress(b"") * 20_000 + gzip.compress(b"x")
        for body in (coded, spooled(coded)):
            message = response(body, content_encoding="gzip")
            message.decode_limits = codings.DecodeLimits(1000, 0.0001)
            self.assertEqual(coded, message.content)
            self.assertTrue((message.content_error or "").startswith("content-too-slow: "))
            # It is not tried again and again.
            self.patch(codings, "decode", None)
            self.assertEqual(coded, message.content)
            self.doCleanups()
            # Who names a limit has all the time.
            self.assertEqual(b"x", message.get_content(limit=1000))

    def test_the_ratio_holds_whatever_limit_is_named(self) -> None:
        coded = gzip.compress(bytes(10_000))
        message = response(coded, content_encoding="gzip")
        message.decode_limits = codings.DecodeLimits(ratio=10, ratio_free=100)
        self.assertEqual(coded, message.content)
        self.assertEqual(coded, message.get_content(limit=1 << 20))
        self.assertIn("10 times its size", message.content_error or "")

    def test_error_goes_with_the_body(self) -> None:
        message = response(b"plain", content_encoding="gzip")
        message.get_content()
        message.attach_body(b"x")
        self.assertIsNone(message.content_error)

    def test_a_coded_body_in_a_file_is_decoded(self) -> None:
        message = response(spooled(gzip.compress(b"hello")), content_encoding="gzip")
        self.assertEqual(b"hello", message.content)

    def test_an_empty_coded_body_is_empty(self) -> None:
        message = response(b"", content_encoding="gzip")
        self.assertEqual(b"", message.content)
        self.assertIsNone(message.content_error)

    def test_assignment_applies_the_coding(self) -> None:
        message = response(b"", content_encoding="gzip")
        message.content = b"hello"
        self.assertEqual(b"hello", gzip.decompress(message.raw_content or b""))
        self.assertEqual(str(len(message.raw_content or b"")), message.headers["content-length"])
        self.assertEqual(b"hello", message.content)

    def test_assignment_under_an_unknown_coding_removes_the_header(self) -> None:
        message = response(b"", content_encoding="compress")
        message.content = b"hello"
        self.assertEqual(b"hello", message.raw_content)
        self.assertNotIn("content-encoding", message.headers)


class DecodeEncodeTests(SynchronousTestCase):
    def test_decode_removes_coding_and_header(self) -> None:
        message = response(gzip.compress(b"hello"), content_encoding="gzip")
        message.decode()
        self.assertEqual(b"hello", message.raw_content)
        self.assertNotIn("content-encoding", message.headers)
        self.assertEqual("5", message.headers["content-length"])

    def test_decode_of_damage_changes_nothing(self) -> None:
        message = response(b"plain", content_encoding="gzip")
        self.assertRaises(DecodeError, message.decode)
        message.decode(strict=False)
        self.assertEqual(b"plain", message.raw_content)
        self.assertEqual("gzip", message.headers["content-encoding"])

    def test_a_body_that_is_not_there_is_left_alone(self) -> None:
        message = response(None, content_encoding="gzip")
        message.decode()
        message.encode("br")
        self.assertEqual("gzip", message.headers["content-encoding"])
        self.assertNotIn("content-length", message.headers)

    def test_encode_replaces_the_coding(self) -> None:
        message = response(gzip.compress(b"hello"), content_encoding="gzip")
        message.encode("br")
        self.assertEqual("br", message.headers["content-encoding"])
        self.assertEqual(b"hello", brotli.decompress(message.raw_content or b""))
        message.encode("identity")
        self.assertNotIn("content-encoding", message.headers)
        self.assertEqual(b"hello", message.raw_content)

    def test_encode_with_an_unknown_coding_changes_nothing(self) -> None:
        message = response(b"hello")
        self.assertRaises(DecodeError, message.encode, "rot13")
        self.assertEqual(b"hello", message.raw_content)
        self.assertNotIn("content-encoding", message.headers)


class TextTests(SynchronousTestCase):
    # content type, content, text
    CASES = (
        ("text/plain; charset=utf-8", b"\xc3\xa4", "ä"),
        ("text/plain; charset=iso-8859-1", b"\xe4", "ä"),
        ('text/plain; charset="UTF-8"', b"\xc3\xa4", "ä"),
        ("text/plain;charset=shift_jis", b"\x82\xa0", "あ"),
        ("text/html; charset=gb2312", "€".encode("gb18030"), "€"),
        ("text/plain", b"\xe4", "ä"),
        ("text/plain", b"\xc3\xa4", "ä"),
        ("", b"\xe4", "ä"),
        ("application/json", b"\xc3\xa4", "ä"),
        ("application/problem+json", b"\xc3\xa4", "ä"),
        ("text/html", b"\xc3\xa4", "ä"),
        ("text/html", b'<meta charset="windows-1252">\x80', '<meta charset="windows-1252">€'),
        (
            "text/html",
            b'<meta http-equiv=content-type content="text/html; charset=koi8-r">\xc1',
            '<meta http-equiv=content-type content="text/html; charset=koi8-r">\u0430',
        ),
        ("text/html", b'<meta charset="utf-16">\xc3\xa4', '<meta charset="utf-16">ä'),
        (
            "application/xml",
            b'<?xml version="1.0" encoding="latin1"?>\xe4',
            '<?xml version="1.0" encoding="latin1"?>ä',
        ),
        ("text/css", b'@charset "latin1";\xe4', '@charset "latin1";ä'),
        ("text/plain", b"\xef\xbb\xbf\xc3\xa4", "ä"),
        ("text/plain", b"\xff\xfea\x00", "a"),
        ("text/plain; charset=nonsense", b"\xe4", "ä"),
        ("text/plain; charset=", b"\xe4", "ä"),
        ("text/plain; charset=utf-8", b"a\xff", "a\udcff"),
        ("application/json", b"\xff", "\udcff"),
    )

    def test_guesses(self) -> None:
        for kind, content, text in self.CASES:
            message = response(content, content_type=kind)
            self.assertEqual(text, message.text, (kind, content))

    def test_writing_back_what_was_read_changes_nothing(self) -> None:
        for kind, content, text in self.CASES:
            if content[:2] == b"\xff\xfe":
                continue
            message = response(content, content_type=kind)
            message.text = text
            self.assertEqual(content, message.raw_content, (kind, content))
            self.assertEqual(kind, message.headers["content-type"], (kind, content))

    def test_codecs_that_are_no_charsets_are_not_used(self) -> None:
        for name in ("idna", "punycode", "unicode_escape", "rot13", "zlib", "utf-7", "a\0b", "hex"):
            kind = f"text/plain; charset={name}"
            message = Response(
                b"HTTP/1.1",
                200,
                b"",
                Headers.from_wire(((b"content-type", kind.encode()),), None),
                1,
            )
            message.attach_body(b"a\\u0041")
            self.assertEqual("a\\u0041", message.text, name)

    def test_strict_raises(self) -> None:
        message = response(b"\xff", content_type="text/plain; charset=utf-8")
        self.assertRaises(ValueError, message.get_text, strict=True)

    def test_what_the_charset_lacks_makes_it_utf_8(self) -> None:
        message = response(b"", content_type="text/plain; charset=latin-1; x=y")
        message.text = "€"
        self.assertEqual("€".encode(), message.raw_content)
        self.assertEqual("text/plain; charset=utf-8; x=y", message.headers["content-type"])

    def test_no_content_type(self) -> None:
        message = response(b"")
        message.text = "ä"
        self.assertNotIn("content-type", message.headers)
        message.text = "€"
        self.assertEqual("text/plain; charset=utf-8", message.headers["content-type"])

    def test_text_is_coded(self) -> None:
        message = response(b"", content_encoding="gzip")
        message.text = "hello"
        self.assertEqual(b"hello", gzip.decompress(message.raw_content or b""))
        self.assertEqual("hello", message.text)

    def test_none(self) -> None:
        message = response(b"x")
        message.text = None
        self.assertIsNone(message.raw_content)

    @given(
        st.text().filter(lambda text: not text.startswith("\ufeff")),
        st.sampled_from(
            [
                "",
                "text/plain",
                "text/html",
                "text/html; charset=latin1",
                "text/plain; charset=utf-16",
                "application/json",
                "image/png",
            ]
        ),
        st.binary(max_size=20),
    )
    def test_what_is_written_is_read_back(self, text: str, kind: str, before: bytes) -> None:
        message = response(before, content_type=kind)
        message.text = text
        self.assertEqual(text, message.text)

    @given(st.binary(), st.text())
    def test_reading_never_raises(self, content: bytes, kind: str) -> None:
        field = (b"content-type", kind.encode("utf-8", "surrogateescape"))
        message = Response(b"HTTP/1.1", 200, b"", Headers.from_wire((field,), None), 1.0)
        message.attach_body(content)
        self.assertIsInstance(message.text, str)


class ReplaceTests(SynchronousTestCase):
    def test_headers_and_body(self) -> None:
        message = response(b"foo foo", x="foo")
        self.assertEqual(3, message.replace("fo+", "bar"))
        self.assertEqual(b"bar bar", message.content)
        self.assertEqual("bar", message.headers["x"])

    def test_coded_body(self) -> None:
        message = response(gzip.compress(b"foo"), content_encoding="gzip")
        self.assertEqual(1, message.replace(b"foo", b"bar"))
        self.assertEqual(b"bar", gzip.decompress(message.raw_content or b""))

    def test_count_bounds_everything(self) -> None:
        message = response(b"foo foo", x="foo")
        self.assertEqual(2, message.replace("foo", "bar", count=2))
        self.assertEqual(b"bar foo", message.content)
        self.assertEqual(0, response(b"foo").replace("bar", "x", count=1))

    def test_flags_groups_and_callables(self) -> None:
        message = response(b"Xyy")
        self.assertEqual(1, message.replace("x(y+)", r"\1", flags=re.IGNORECASE))
        self.assertEqual(b"yy", message.content)
        self.assertEqual(1, message.replace("y+", lambda found: found[0].upper()))
        self.assertEqual(b"YY", message.content)

    def test_damaged_body_is_left_alone(self) -> None:
        message = response(b"foo", content_encoding="gzip")
        self.assertEqual(0, message.replace("foo", "bar"))
        self.assertEqual(b"foo", message.raw_content)

    def test_no_body(self) -> None:
        self.assertEqual(0, response(None).replace("foo", "bar"))


class CopyTests(SynchronousTestCase):
    def test_a_copy_is_the_same_and_independent(self) -> None:
        message = response(b"abc", x="1")
        message.trailers = Headers(t="1")
        message.anomalies = ("odd",)
        copied = message.copy()
        self.assertTrue(copied.same_as(message))
        self.assertEqual(("odd",), copied.anomalies)
        copied.headers["x"] = "2"
        assert copied.trailers is not None
        copied.trailers["t"] = "2"
        copied.raw_content = b"d"
        self.assertEqual("1", message.headers["x"])
        self.assertEqual("1", message.trailers["t"])
        self.assertEqual(b"abc", message.raw_content)
        self.assertFalse(copied.same_as(message))

    def test_a_spooled_body_is_copied_too(self) -> None:
        body = spooled(b"abc")
        message = response(body)
        copied = message.copy()
        self.assertTrue(copied.same_as(message))
        body.close()
        self.assertEqual(b"abc", copied.raw_content)

    def test_there_is_no_dictionary(self) -> None:
        self.assertFalse(hasattr(response(b""), "__dict__"))

    def test_version(self) -> None:
        message = response(b"")
        message.http_version = "HTTP/1.0"
        self.assertEqual(b"HTTP/1.0", message.http_version_bytes)
        self.assertEqual("HTTP/1.0", message.http_version)
        self.assertRaises(ValueError, setattr, message, "http_version", "HTTP/1.1\r\nx: y")
