"""Tests of `interceptor.model.urls`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model import urls


class AuthorityTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        for authority, expected in (
            (b"a", (b"a", None)),
            (b"a:80", (b"a", 80)),
            (b"a:", (b"a", None)),
            (b"A.example.", (b"A.example.", None)),
            (b"under_score:1", (b"under_score", 1)),
            (b"127.0.0.1:65535", (b"127.0.0.1", 65535)),
            (b"[::1]", (b"::1", None)),
            (b"[fe80::1%eth0]:8", (b"fe80::1%eth0", 8)),
        ):
            self.assertEqual(expected, urls.parse_authority(authority))

    def test_refused(self) -> None:
        for authority in (
            b"",
            b":80",
            b"a:b",
            b"a:0",
            b"a:65536",
            b"a:-1",
            b"a:+1",
            b"a:080800",
            b"a b",
            b"a@b",
            b"a/b",
            b"a\\b",
            b"a\n",
            b"::1",
            b"[::1",
            b"[::1]x",
            b"[::1]]",
            b"[127.0.0.1]",
            b"[::1%a/b]",
            b"\xff",
            b"a:\xd9\xa1",
        ):
            self.assertRaises(ValueError, urls.parse_authority, authority)

    def test_hostport(self) -> None:
        self.assertEqual(b"a", urls.hostport(b"http", b"a", 80))
        self.assertEqual(b"a:80", urls.hostport(b"https", b"a", 80))
        self.assertEqual(b"[::1]", urls.hostport(b"https", b"::1", 443))
        self.assertEqual(b"a:443", urls.hostport(b"", b"a", 443))


class ParseTests(SynchronousTestCase):
    def test_parts(self) -> None:
        for url, expected in (
            ("http://a", (b"http", b"a", 80, b"/")),
            (b"https://a/b?c#d", (b"https", b"a", 443, b"/b?c")),
            ("HTTP://a:81?x", (b"http", b"a", 81, b"/?x")),
            ("http://[::1]:8080/x y", (b"http", b"::1", 8080, b"/x%20y")),
            ("http://a/#/b@c", (b"http", b"a", 80, b"/")),
        ):
            self.assertEqual(expected, urls.parse(url))

    @given(
        st.sampled_from([b"http", b"https"]),
        st.sampled_from([b"a", b"a.example", b"::1", b"127.0.0.1"]),
        st.integers(1, 65535),
        st.binary().map(lambda data: b"/" + bytes(b for b in data if b > 32 and b not in b"#\x7f")),
    )
    def test_what_is_written_is_read_back(
        self, scheme: bytes, host: bytes, port: int, path: bytes
    ) -> None:
        url = urls.unparse(scheme, host, port, path)
        self.assertEqual((scheme, host, port, path), urls.parse(url))

    @given(st.text())
    def test_nothing_but_value_error(self, text: str) -> None:
        for url in (text, f"http://{text}", f"http://a/{text}"):
            try:
                urls.parse(url)
            except ValueError:
                continue


class FormTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.text(), st.text())))
    def test_what_is_written_is_read_back(self, pairs: list[tuple[str, str]]) -> None:
        self.assertEqual(tuple(pairs), urls.decode_form(urls.encode_form(pairs)))

    @given(st.binary())
    def test_an_unchanged_form_keeps_its_bytes(self, data: bytes) -> None:
        segments = [segment for segment in data.split(b"&") if segment]
        self.assertEqual(b"&".join(segments), urls.encode_form(urls.decode_form(data), data))

    @given(st.lists(st.text(min_size=1)))
    def test_path_components_are_read_back(self, components: list[str]) -> None:
        self.assertEqual(tuple(components), urls.decode_path(urls.encode_path(components)))
