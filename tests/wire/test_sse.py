"""Event streams: taken apart as browsers do it, and put together again."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.sse import ServerSentEvent
from interceptor.wire.sse import MOST_LINES, EventStreamParser, encode_event, parse_event

Item = bytes | ServerSentEvent

PIECES = [
    b"\n",
    b"\r",
    b"\r\n",
    b":",
    b" ",
    b"data",
    b"data: ",
    b"event: x",
    b"id: 7",
    b"id: \0",
    b"retry: 10",
    b"retry: -1",
    b"odd",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xef",
    "ü".encode(),
]


def read(pieces: list[bytes], limit: int = 1000) -> list[Item]:
    """Parse pieces, the end of the stream included; bytes that follow each other are joined."""
    parser = EventStreamParser(limit)
    items: list[Item] = []
    for piece in pieces:
        items += parser.feed(piece)
    items += parser.finish()
    joined: list[Item] = []
    for item in items:
        if isinstance(item, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


def events(data: bytes) -> list[ServerSentEvent]:
    return [item for item in read([data]) if isinstance(item, ServerSentEvent)]


def written(items: list[Item]) -> bytes:
    return b"".join([i if isinstance(i, bytes) else encode_event(i) for i in items])


def reference(data: bytes) -> list[tuple[str, str, str]]:
    """The (type, data, last event id) that a client dispatches: the standard's text, line by line.

    WHATWG HTML, section 9.2.6.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # What is not ended by a line end is no line.
    lines.pop()
    found = []
    buffer, kind, last_id = "", "", ""
    for line in lines:
        if not line:
            if buffer:
                found.append((kind or "message", buffer[:-1], last_id))
            buffer, kind = "", ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            buffer += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return found


def dispatched(items: list[Item]) -> list[tuple[str, str, str]]:
    """The same of what was parsed."""
    found = []
    last_id = ""
    for item in items:
        if isinstance(item, ServerSentEvent) and item.raw is not None:
            complete = re.search(rb"(\r\n?+|\n)(\r\n?+|\n)\Z", item.raw) is not None
            if item.id is not None and (complete or item.raw.endswith((b"\n", b"\r"))):
                last_id = item.id
            if item.dispatches and complete:
                found.append((item.event, item.data, last_id))
    return found


class ParsingTests(SynchronousTestCase):
    """What is an event, and what it says."""

    def test_the_example_of_the_standard(self):
        data = (
            b": test stream\n\ndata: first event\nid: 1\n\n"
            b"data:second event\nid\n\ndata:  third event\n\n"
        )
        found = events(data)
        self.assertEqual(
            [event.data for event in found], ["first event", "second event", " third event"]
        )
        self.assertEqual([event.id for event in found], ["1", "", None])

    def test_data_without_value(self):
        self.assertEqual([e.data for e in events(b"data\n\ndata\ndata\n\ndata:\n")], ["", "\n", ""])

    def test_fields(self):
        [event] = events(b"event: add\ndata: a\ndata: b\nid: 3\nretry: 1500\n\n")
        self.assertEqual(
            (event.event, event.data, event.id, event.retry), ("add", "a\nb", "3", 1500)
        )
        self.assertTrue(event.dispatches)

    def test_default_type(self):
        for data in (b"data: x\n\n", b"event\ndata: x\n\n", b"event:\ndata: x\n\n"):
            self.assertEqual([event.event for event in events(data)], ["message"])

    def test_without_data(self):
        [event] = events(b"retry: 3000\n\n")
        self.assertEqual((event.data, event.retry, event.dispatches), ("", 3000, False))

    def test_invalid_values(self):
        for line in (b"retry: 1s", b"retry: -1", "retry: ١".encode(), b"retry:", b"id: a\0b"):
            self.assertEqual(events(line + b"\n\n"), [], line)
        self.assertEqual(events(b"retry: " + b"9" * 5000 + b"\n\n"), [])

    def test_unknown_fields_are_no_event(self):
        self.assertEqual(events(b"Data: x\n data: y\nother\n\n"), [])

    def test_line_ends(self):
        for end in (b"\n", b"\r", b"\r\n"):
            data = end.join([b"data: a", b"data: b", b"", b"data: c", b"", b""])
            self.assertEqual([event.data for event in events(data)], ["a\nb", "c"], end)

    def test_mixed_line_ends(self):
        self.assertEqual(
            [e.data for e in events(b"data: a\r\n\ndata: b\n\rdata: c\r\r")], ["a", "b", "c"]
        )

    def test_mark(self):
        for mark in (b"\xef\xbb\xbf", b""):
            items = read([mark + b"data: x\n\n"])
            self.assertEqual([i.data for i in items if isinstance(i, ServerSentEvent)], ["x"])
        # Only the first one is one.
        self.assertEqual(events(b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n"), [])

    def test_bytes_that_are_no_utf_8(self):
        [event] = events(b"data: \xff\n\n")
        self.assertEqual(event.data, "\udcff")

    def test_an_event_that_is_not_ended(self):
        items = read([b"data: a\n\ndata: b"])
        self.assertEqual([i.data for i in items if isinstance(i, ServerSentEvent)], ["a", "b"])
        self.assertEqual(written(items), b"data: a\n\ndata: b")

    def test_as_clients_do(self):
        @settings(max_examples=400, deadline=None, database=None)
        @given(st.lists(st.sampled_from(PIECES), max_size=24), st.integers(1, 7))
        def check(pieces: list[bytes], step: int) -> None:
            data = b"".join(pieces)
            items = read([data])
            self.assertEqual(dispatched(items), reference(data))
            self.assertEqual(written(items), data)
            split = read([data[i : i + step] for i in range(0, len(data), step)])
            self.assertEqual(dispatched(split), reference(data))
            self.assertEqual(written(split), data)

        check()


class HoldingTests(SynchronousTestCase):
    """Nothing is held back but an event whose end has not come."""

    def feed(self, *pieces: bytes) -> list[list[Item]]:
        parser = EventStreamParser(1000)
        return [parser.feed(piece) for piece in pieces]

    def test_comments_go_at_once(self):
        self.assertEqual(
            self.feed(b":", b" hea", b"rt\r", b"\n\n"),
            [[b":"], [b" hea"], [b"rt\r"], [b"\n", b"\n"]],
        )

    def test_an_event_goes_with_its_last_byte(self):
        for end in (b"\n\n", b"\r\r", b"\r\n\r", b"\n\r"):
            parser = EventStreamParser(1000)
            self.assertEqual(parser.feed(b"data: x" + end[:-1]), [])
            [event] = parser.feed(end[-1:])
            self.assertEqual(event, ServerSentEvent("x"), end)

    def test_the_rest_of_a_line_end_follows(self):
        parser = EventStreamParser(1000)
        parser.feed(b"data: x\r\n\r")
        self.assertEqual(parser.feed(b"\n"), [b"\n"])

    def test_a_mark_in_pieces(self):
        self.assertEqual(
            self.feed(b"\xef", b"\xbb", b"\xbf", b":x"), [[], [], [b"\xef\xbb\xbf"], [b":x"]]
        )

    def test_what_begins_like_a_mark(self):
        [event] = [
            i
            for i in read([b"\xef", b"data: y\n", b"data: x\n\n"])
            if isinstance(i, ServerSentEvent)
        ]
        self.assertEqual(event.data, "x")
        self.assertEqual(event.raw, b"\xefdata: y\ndata: x\n\n")

    def test_nothing_else_may_come_in_between(self):
        parser = EventStreamParser(1000)
        self.assertFalse(parser.between)
        parser.feed(b"data: x")
        self.assertTrue(parser.between)
        parser.feed(b"\n\n: comm")
        self.assertFalse(parser.between)
        parser.feed(b"ent\n")
        self.assertTrue(parser.between)

    def test_dropped_mark(self):
        for data, rest in ((b"\xef\xbb\xbf:x", [b":x"]), (b"\n", [b"\n"])):
            parser = EventStreamParser(1000)
            parser.drop_mark()
            self.assertTrue(parser.between)
            self.assertEqual(parser.feed(data), rest)
            parser.drop_mark()
            self.assertEqual(parser.feed(b"\n"), [b"\n"])
            self.assertTrue(parser.between)


class LengthTests(SynchronousTestCase):
    """Events that are too long."""

    def test_too_many_lines(self):
        for newline in (b"\n", b"\r", b"\r\n"):
            for count, read in ((MOST_LINES - 1, True), (MOST_LINES + 1, False)):
                block = (b"data:" + newline) * count
                for ended in (True, False):
                    parser = EventStreamParser(1 << 20)
                    items = parser.feed(block + (newline if ended else b"")) + parser.finish()
                    self.assertEqual(isinstance(items[0], ServerSentEvent), read, (newline, count))
                    self.assertEqual(parser.too_long, not read)

    def test_passes_as_bytes(self):
        parser = EventStreamParser(10)
        self.assertEqual(parser.feed(b"data: 1234"), [])
        self.assertEqual(parser.feed(b"5"), [b"data: 12345"])
        self.assertEqual(parser.too_long, 1)
        self.assertFalse(parser.between)
        self.assertEqual(parser.feed(b"678\n"), [b"678\n"])
        self.assertEqual(parser.feed(b"data\n"), [b"data\n"])
        self.assertEqual(parser.feed(b"\ndata: x\n\n"), [b"\n", ServerSentEvent("x")])
        self.assertTrue(parser.between)

    def test_how_it_comes_makes_no_difference(self):
        for line_end in (b"\n", b"\r", b"\r\n"):
            for size, kept in ((9, True), (10, True), (11, False)):
                data = b"data:" + b"x" * (size - 5) + line_end * 2 + b"data: y\n\n"
                for step in (1, 2, 5, 100):
                    items = read([data[i : i + step] for i in range(0, len(data), step)], limit=10)
                    found = [item for item in items if isinstance(item, ServerSentEvent)]
                    self.assertEqual(len(found), 2 if kept else 1, (line_end, size, step))
                    self.assertEqual(written(items), data)

    def test_its_end_is_found_however_it_comes(self):
        for end in (b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n"):
            data = b"data: " + b"x" * 20 + b"\r\nmore: x" + end + b"data: y\n\n"
            for step in (1, 2, 3, 5, 100):
                items = read([data[i : i + step] for i in range(0, len(data), step)], limit=12)
                self.assertEqual(written(items), data)
                self.assertEqual(items[-1], ServerSentEvent("y"), (end, step))

    def test_no_byte_is_looked_at_again_and_again(self):
        parser = EventStreamParser(1 << 30)
        parser.feed(b"data: ")
        for _ in range(20_000):
            parser.feed(b"x" * 100)
        [event] = parser.feed(b"\n\n")
        assert isinstance(event, ServerSentEvent)
        self.assertEqual(len(event.data), 2_000_000)


class EncodingTests(SynchronousTestCase):
    """Events as bytes: changed in as little as can be."""

    def event(self, raw: bytes) -> ServerSentEvent:
        event = parse_event(raw)
        assert event is not None
        return event

    def test_own(self):
        event = ServerSentEvent("a\nb\r\nc\rd", "add", "7", 100)
        self.assertEqual(
            encode_event(event),
            b"data: a\ndata: b\ndata: c\ndata: d\nevent: add\nid: 7\nretry: 100\n\n",
        )
        self.assertEqual(encode_event(ServerSentEvent("")), b"data: \n\n")
        self.assertEqual(encode_event(ServerSentEvent(retry=5)), b"retry: 5\n\n")

    def test_untouched(self):
        raw = b"data:x\r: c\rdata: y\nodd\r\n\r\n"
        self.assertEqual(encode_event(self.event(raw)), raw)

    def test_changed_back(self):
        event = self.event(b"data:x\n\n")
        event.data = "y"
        event.data = "x"
        self.assertEqual(encode_event(event), b"data:x\n\n")

    def test_only_what_is_changed(self):
        event = self.event(b"id:1\r\ndata:a\r\n: note\r\ndata:b\r\nodd:1\r\nevent:e\r\n\r\n")
        event.data = "c"
        self.assertEqual(
            encode_event(event), b"id:1\r\ndata: c\r\n: note\r\nodd:1\r\nevent:e\r\n\r\n"
        )

    def test_added_and_removed(self):
        event = self.event(b"data: a\nevent: e\nid: 1\n\n")
        event.event = None
        event.retry = 7
        event.id = "2"
        self.assertEqual(encode_event(event), b"data: a\nid: 2\nretry: 7\n\n")

    def test_a_last_event_stays_without_end(self):
        event = self.event(b"data: a\nid: 1")
        event.data = "b"
        self.assertEqual(encode_event(event), b"data: b\nid: 1\n")

    def test_what_is_written_is_read(self):
        text = st.text(max_size=20)
        line = text.map(lambda value: "".join(value.split("\r")).replace("\n", ""))

        @settings(max_examples=200, deadline=None, database=None)
        @given(text, line, line.map(lambda v: v.replace("\0", "")), st.integers(0, 10**9))
        def check(data: str, kind: str, id: str, retry: int) -> None:
            event = ServerSentEvent(data, kind, id, retry)
            [found] = read([encode_event(event)])
            assert isinstance(found, ServerSentEvent)
            self.assertEqual(found.data, data.replace("\r\n", "\n").replace("\r", "\n"))
            self.assertEqual((found.event, found.id, found.retry), (event.event, id, retry))

        check()
