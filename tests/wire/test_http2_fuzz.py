"""Frames of any kind, in any order: each is an event, nothing, or a fault with its code."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.http2 import HTTP2Mirror
from tests.wire.http2feeding import (
    GET,
    OK,
    POST,
    Codec,
    Compressor,
    Result,
    build,
    data,
    feed,
    headers,
    new_client,
    new_server,
    parse,
)

BLOCKS = st.one_of(
    st.sampled_from([Compressor().block(fields) for fields in (GET, POST, OK, OK[:0])]),
    st.lists(
        st.tuples(
            st.sampled_from([b":path", b":status", b"host", b"content-length", b"x", b"X", b"te"]),
            st.sampled_from([b"", b"200", b"3", b"/", b"a\r\n", b"\xff", b" a", b"trailers"]),
        ),
        max_size=4,
    ).map(Compressor().block),
    st.binary(max_size=12),
)
FRAMES = st.one_of(
    st.builds(
        build,
        st.integers(0, 12),
        st.integers(0, 255),
        st.sampled_from([0, 1, 2, 3, 5, 0x80000001]),
        st.one_of(st.binary(max_size=20), BLOCKS),
    ),
    st.builds(build, st.just(1), st.sampled_from([4, 5]), st.sampled_from([1, 3, 5]), BLOCKS),
    st.builds(data, st.sampled_from([1, 3, 5]), st.binary(max_size=9), st.booleans()),
    st.binary(max_size=30),
)


class FuzzTests(SynchronousTestCase):
    def check(self, make: object, sent: bytes) -> None:
        assert callable(make)
        whole = feed(make(), sent)
        pieces = [sent[begin : begin + 5] for begin in range(0, len(sent), 5)]
        self.assertEqual(feed(make(), *pieces).key(), whole.key())
        self.sane(whole)

    def sane(self, result: Result) -> None:
        parse(result.output)
        self.assertEqual(result.error is not None, result.goaway is not None)
        if result.error is not None:
            self.assertIn("-", result.code)
        for _, event in result.events:
            error = getattr(event, "error", None)
            if error is not None:
                self.assertIn("-", error.code)

    def windows_are_whole(self, codec: Codec, result: Result) -> None:
        """Whatever came is held for somebody, credited, or still the peer's to send."""
        if result.error is None:
            left = codec._receive_window + codec._credit + codec._held
            self.assertEqual(left, codec._window_size)

    @settings(deadline=None, max_examples=200)
    @given(st.lists(FRAMES, max_size=12).map(b"".join))
    @example(headers(1, POST) + build(0, 8, 1, b"\x00"))
    def test_towards_a_server(self, sent):
        self.check(new_server, sent)
        codec = new_server()
        self.windows_are_whole(codec, feed(codec, sent))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(FRAMES, max_size=12).map(b"".join))
    def test_towards_a_client(self, sent):
        self.check(lambda: new_client("GET", "POST", "HEAD"), sent)
        codec = new_client("GET", "POST", "CONNECT", mirror=HTTP2Mirror(()))
        self.windows_are_whole(codec, feed(codec, sent))
