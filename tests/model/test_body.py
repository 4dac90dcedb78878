"""Tests of `interceptor.model.body`."""

from __future__ import annotations

import os
import stat
import tempfile
import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import InterceptorError
from interceptor.model.body import Body


def filled(limit: int, *pieces: bytes) -> Body:
    body = Body(limit)
    for piece in pieces:
        body.append(piece)
    return body


class BodyTests(SynchronousTestCase):
    def test_up_to_the_limit_it_stays_in_memory(self) -> None:
        body = filled(6, b"abc", b"", b"def")
        self.assertFalse(body.spooled)
        self.assertEqual(6, body.length)
        self.assertEqual(b"abcdef", body.getvalue())
        self.assertEqual([b"abcdef"], list(body.chunks()))

    def test_beyond_the_limit_it_goes_to_a_file(self) -> None:
        body = filled(6, b"abc", b"def", b"g", b"hi")
        self.assertTrue(body.spooled)
        self.assertEqual(9, len(body))
        self.assertEqual(b"abcdefghi", body.getvalue())

    def test_chunks_are_bounded_and_never_empty(self) -> None:
        for limit in (0, 100):
            body = filled(limit, b"abcde", b"fg")
            chunks = list(body.chunks(2))
            self.assertEqual(b"abcdefg", b"".join(chunks))
            self.assertTrue(all(0 < len(chunk) <= 2 for chunk in chunks))

    def test_small_pieces_take_little_more_than_their_bytes(self) -> None:
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for piece in (b"ab", b"x" * 1023):
            body = Body(1 << 20)
            for _ in range(500_000 // len(piece)):
                body.append(bytes(bytearray(piece)))
            taken = tracemalloc.get_traced_memory()[0]
            self.assertLess(taken, 700_000)
            self.assertEqual(body.length, len(body.getvalue()))
            self.assertEqual(body.getvalue(), piece * (500_000 // len(piece)))
            del body

    def test_small_and_large_pieces_keep_their_order(self) -> None:
        pieces = [b"%d" % number * size for number, size in enumerate((1, 2000, 5, 5, 1500, 3))]
        whole = b"".join(pieces)
        for limit in (0, 2500, 1 << 20):
            body = filled(limit, *pieces)
            self.assertEqual(body.copy().getvalue(), whole)
            self.assertEqual(b"".join(body.chunks(700)), whole)
            self.assertEqual(body, filled(0, whole))
            body.append(b"z")
            self.assertEqual((body.getvalue(), body.length), (whole + b"z", len(whole) + 1))
            body.spool()
            self.assertEqual(body.getvalue(), whole + b"z")
            body.close()
            self.assertEqual(body.getvalue(), b"")

    def test_empty(self) -> None:
        body = Body(0)
        self.assertEqual(b"", body.getvalue())
        self.assertEqual([], list(body.chunks()))
        self.assertFalse(body)
        self.assertTrue(filled(9, b"x"))

    def test_the_file_is_private_and_has_no_name(self) -> None:
        body = filled(0, b"secret")
        status = os.fstat(body._fd)
        self.assertEqual(0o600, stat.S_IMODE(status.st_mode))
        self.assertEqual(0, status.st_nlink)

    def test_close_gives_the_file_back(self) -> None:
        body = filled(0, b"x")
        fd = body._fd
        body.close()
        self.assertRaises(OSError, os.fstat, fd)
        self.assertEqual(b"", body.getvalue())
        body.close()

    def test_dropping_it_gives_the_file_back(self) -> None:
        body = filled(0, b"x")
        fd = body._fd
        del body
        self.assertRaises(OSError, os.fstat, fd)

    def test_a_copy_outlives_the_original(self) -> None:
        for limit in (0, 100):
            body = filled(limit, b"abc")
            copied = body.copy()
            body.append(b"more")
            body.close()
            self.assertEqual(b"abc", copied.getvalue())

    def test_a_copy_cannot_be_added_to(self) -> None:
        for limit in (0, 100):
            copied = filled(limit, b"abc").copy()
            self.assertRaises(ValueError, copied.append, b"x")

    def test_equality_is_of_bytes(self) -> None:
        bodies = [filled(0, b"ab", b"c"), filled(100, b"a", b"bc"), filled(100, b"abc")]
        for one in bodies:
            for other in bodies:
                self.assertEqual(one, other)
            self.assertNotEqual(one, filled(0, b"abd"))
            self.assertNotEqual(one, filled(100, b"abcd"))
            self.assertNotEqual(one, b"abc")

    def test_long_bodies_compare_across_chunks(self) -> None:
        self.assertEqual(filled(0, b"x" * 200_000), filled(1 << 20, b"x" * 200_000))
        self.assertNotEqual(filled(0, b"x" * 200_000), filled(1 << 20, b"x" * 199_999, b"y"))

    def test_repr(self) -> None:
        self.assertEqual("<Body 1 bytes in memory>", repr(filled(1, b"x")))
        self.assertEqual("<Body 1 bytes in a file>", repr(filled(0, b"x")))


class BodyFailureTests(SynchronousTestCase):
    def assert_spool_failed(self, function: object, *arguments: object) -> None:
        error = self.assertRaises(InterceptorError, function, *arguments)
        self.assertEqual("body-spool-failed", error.code)

    def no_space(self, *arguments: object, **keywords: object) -> object:
        raise OSError(28, "No space left on device")

    def test_no_file(self) -> None:
        self.patch(tempfile, "TemporaryFile", self.no_space)
        self.assert_spool_failed(Body(0).append, b"x")

    def test_full_disk(self) -> None:
        body = filled(0, b"x")
        self.patch(os, "pwrite", self.no_space)
        self.assert_spool_failed(body.append, b"y")

    def test_unreadable(self) -> None:
        body = filled(0, b"x")
        self.patch(os, "pread", self.no_space)
        self.assert_spool_failed(body.getvalue)

    def test_shortened(self) -> None:
        body = filled(0, b"xyz")
        os.ftruncate(body._fd, 1)
        self.assert_spool_failed(body.getvalue)

    def test_no_descriptor_for_a_copy(self) -> None:
        body = filled(0, b"x")
        self.patch(os, "dup", self.no_space)
        self.assert_spool_failed(body.copy)
