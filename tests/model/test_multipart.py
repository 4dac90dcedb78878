"""Tests of `interceptor.model.multipart`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model import multipart
from interceptor.model.multipart import Part


class BoundaryTests(SynchronousTestCase):
    def test_found(self) -> None:
        for kind in (
            "multipart/form-data; boundary=x-1",
            'Multipart/Form-Data ; charset=utf-8; Boundary="x-1"',
            "multipart/form-data;boundary=x-1 ; a=b",
        ):
            self.assertEqual(b"x-1", multipart.boundary_of(kind), kind)

    def test_not_found(self) -> None:
        for kind in (
            "",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=x",
            'multipart/form-data; a="; boundary=x"',
            f"multipart/form-data; boundary={'x' * 71}",
        ):
            self.assertIsNone(multipart.boundary_of(kind), kind)


class DecodeTests(SynchronousTestCase):
    def names(self, *heads: bytes) -> list[bytes]:
        content = b"".join(b"--b\r\n%b\r\n\r\nx\r\n" % head for head in heads) + b"--b--"
        return [part.name for part in multipart.decode(content, b"b")]

    def test_names(self) -> None:
        self.assertEqual(
            [b"a", b"a b", b"c", b'd\\"e', b"", b"f"],
            self.names(
                b"Content-Disposition: form-data; name=a",
                b'content-disposition:form-data;name="a b"',
                b'X: y\r\nContent-Disposition: form-data; filename="; name=no"; name="c"',
                b'Content-Disposition: form-data; name="d\\"e"',
                b"X: y",
                b'Content-Disposition: form-data; NAME = "f"',
            ),
        )

    def test_preamble_epilogue_and_padding_are_dropped(self) -> None:
        content = b"before\r\n--b \t\r\nA: b\r\n\r\nx\r\n--b--\r\nafter --b\r\n\r\ny"
        self.assertEqual((Part(b"", b"x", b"A: b"),), multipart.decode(content, b"b"))

    def test_a_part_may_have_no_headers_and_no_content(self) -> None:
        self.assertEqual(
            (Part(b"", b"", b""), Part(b"", b"x", b"")),
            multipart.decode(b"--b\r\n\r\n\r\n--b\r\n\r\nx\r\n--b--", b"b"),
        )

    def test_a_longer_delimiter_is_another_one(self) -> None:
        self.assertEqual((), multipart.decode(b"--bb\r\n\r\nx\r\n--bb--", b"b"))

    def test_what_has_no_end_is_still_read(self) -> None:
        self.assertEqual((Part(b"", b"x", b""),), multipart.decode(b"--b\r\n\r\nx", b"b"))

    @given(st.binary())
    def test_nothing_raises(self, content: bytes) -> None:
        multipart.decode(content, b"b")
        multipart.decode(b"--b\r\nContent-Disposition: form-data; " + content, b"b")

    @given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary())))
    def test_what_is_written_is_read_back(self, pairs: list[tuple[bytes, bytes]]) -> None:
        parts = multipart.merge(pairs, ())
        boundary = multipart.new_boundary()
        self.assertTrue(multipart.fits(boundary, parts))
        self.assertEqual(parts, multipart.decode(multipart.encode(parts, boundary), boundary))


class MergeTests(SynchronousTestCase):
    BEFORE = (Part(b"a", b"1", b"H1"), Part(b"a", b"2", b"H2"), Part(b"b", b"3", b"H3"))

    def test_the_same_parts_stay_the_same(self) -> None:
        pairs = [(part.name, part.content) for part in self.BEFORE]
        self.assertEqual(self.BEFORE, multipart.merge(pairs, self.BEFORE))

    def test_the_same_content_keeps_its_head(self) -> None:
        merged = multipart.merge([(b"a", b"9"), (b"a", b"1")], self.BEFORE)
        self.assertEqual((Part(b"a", b"9", b"H2"), Part(b"a", b"1", b"H1")), merged)

    def test_each_head_is_used_once(self) -> None:
        merged = multipart.merge([(b"b", b"3"), (b"b", b"3"), (b"c", b"")], self.BEFORE)
        self.assertEqual(b"H3", merged[0].head)
        self.assertEqual(b'Content-Disposition: form-data; name="b"', merged[1].head)
        self.assertEqual(b'Content-Disposition: form-data; name="c"', merged[2].head)

    def test_fits(self) -> None:
        self.assertFalse(multipart.fits(b"x", [Part(b"", b"a--xb", b"")]))
        self.assertFalse(multipart.fits(b"x", [Part(b"", b"", b"--x")]))
        self.assertTrue(multipart.fits(b"x", [Part(b"", b"x", b"x")]))
