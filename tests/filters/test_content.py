"""Bounded looks at bodies."""

from __future__ import annotations

import gzip
import os

from twisted.trial.unittest import SynchronousTestCase

from interceptor.filters.content import (
    SEARCH_LIMIT,
    body_length,
    decoded_head,
    searchable_content,
)
from interceptor.filters.expression import parse
from interceptor.model.body import Body
from interceptor.model.http import Response
from tests.filters.flows import answered


def coded(body: bytes | Body | None, coding: str = "gzip") -> Response:
    """A response with this body, as it came from the wire."""
    response = Response.make(200, b"", {"Content-Encoding": coding} if coding else {})
    response.attach_body(body)
    return response


def spooled(data: bytes) -> Body:
    """A body in a file."""
    body = Body(0)
    body.append(data)
    return body


class SearchTests(SynchronousTestCase):
    """What ``~b`` sees."""

    def test_body_that_is_not_there(self):
        self.assertIsNone(searchable_content(coded(None)))

    def test_plain_body(self):
        self.assertEqual(b"abc", searchable_content(coded(b"abc", "")))

    def test_coding_is_removed(self):
        self.assertEqual(b"abc", searchable_content(coded(gzip.compress(b"abc"))))

    def test_coding_is_removed_from_a_body_in_a_file(self):
        response = coded(spooled(gzip.compress(b"abc" * 9999)))
        self.assertEqual(b"abc" * 9999, searchable_content(response))

    def test_decoded_once_for_the_message_too(self):
        response = coded(gzip.compress(b"abc"))
        self.assertIs(searchable_content(response), response.content)

    def test_damaged_body_is_searched_as_it_is(self):
        self.assertEqual(b"no gzip", searchable_content(coded(b"no gzip")))

    def test_unknown_coding_is_searched_as_it_is(self):
        self.assertEqual(b"abc", searchable_content(coded(b"abc", "unheard-of")))

    def test_body_that_breaks_off(self):
        data = gzip.compress(os.urandom(100_000))[:50_000]
        found = searchable_content(coded(data)) or b""
        self.assertGreater(len(found), 40_000)
        self.assertNotEqual(data[:100], found[:100])

    def test_failure_leaves_no_trace_on_the_message(self):
        response = coded(b"no gzip")
        searchable_content(response)
        self.assertIsNone(response.content_error)

    def test_bomb_is_searched_in_its_beginning_only(self):
        bomb = gzip.compress(b"needle" + bytes(4 * SEARCH_LIMIT), 9)
        flow = answered()
        flow.response = coded(bomb)
        self.assertEqual(SEARCH_LIMIT, len(searchable_content(flow.response) or b""))
        self.assertTrue(parse("~b needle")(flow))
        self.assertIsNone(flow.response.content_error)

    def test_nested_bomb_does_not_raise(self):
        bomb = gzip.compress(gzip.compress(gzip.compress(bytes(1 << 26), 9), 9), 9)
        self.assertIsNotNone(searchable_content(coded(bomb, "gzip, gzip, gzip")))

    def test_large_plain_body_is_searched_in_its_beginning_only(self):
        for body in (bytes(SEARCH_LIMIT + 5), spooled(bytes(SEARCH_LIMIT + 5))):
            self.assertEqual(SEARCH_LIMIT, len(searchable_content(coded(body, "")) or b""))


class HeadTests(SynchronousTestCase):
    """The beginning of a body."""

    def test_no_more_than_was_asked_for(self):
        for response in (
            coded(b"abcdef", ""),
            coded(spooled(b"abcdef"), ""),
            coded(gzip.compress(b"abcdef")),
            coded(spooled(gzip.compress(b"abcdef"))),
        ):
            self.assertEqual(b"abc", decoded_head(response, 3))

    def test_file_that_went_wrong(self):
        body = spooled(b"abcdef")
        response = coded(body, "")
        body.length += 5  # the file is shorter than it should be
        self.assertEqual(b"abcdef", decoded_head(response, 100))

    def test_no_body(self):
        self.assertIsNone(decoded_head(coded(None), 3))


class LengthTests(SynchronousTestCase):
    """How many bytes a body has."""

    def test_held_body(self):
        self.assertEqual(3, body_length(coded(b"abc")))
        self.assertEqual(3, body_length(coded(spooled(b"abc"))))

    def test_body_that_streamed_by(self):
        response = coded(None)
        response.body_size = 4711
        self.assertEqual(4711, body_length(response))

    def test_body_of_which_a_part_was_kept(self):
        response = coded(b"abc")
        response.stream, response.body_size = True, 4711
        self.assertEqual(4711, body_length(response))
