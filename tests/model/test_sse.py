"""Server-sent events as hooks see them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import EventStreamError
from interceptor.http import EventStream, ServerSentEvent
from interceptor.testing import make_flow
from interceptor.wire.sse import parse_event


class EventTests(SynchronousTestCase):
    def received(self, raw: bytes) -> ServerSentEvent:
        event = parse_event(raw)
        assert event is not None
        return event

    def test_defaults(self):
        event = ServerSentEvent("x")
        self.assertEqual(
            (event.data, event.event, event.id, event.retry), ("x", "message", None, None)
        )
        self.assertTrue(event.modified)
        self.assertIsNone(event.raw)

    def test_modified(self):
        for name, value in (("data", "y"), ("event", "e"), ("id", ""), ("retry", 0)):
            event = self.received(b"data: x\n\n")
            self.assertFalse(event.modified)
            setattr(event, name, value)
            self.assertTrue(event.modified, name)

    def test_the_same_is_no_change(self):
        event = self.received(b"data: x\n\n")
        event.event = "message"
        event.data = "x"
        self.assertFalse(event.modified)
        event.event = None
        self.assertFalse(event.modified)

    def test_no_data_stays_no_data(self):
        event = self.received(b"retry: 5\n\n")
        event.data = event.data.replace("a", "b")
        self.assertFalse(event.dispatches)
        event.data = "x"
        self.assertTrue(event.dispatches)

    def test_what_cannot_be_sent_is_refused_at_once(self):
        event = ServerSentEvent("x")
        for name, value in (
            ("event", "a\nb"),
            ("event", "a\rb"),
            ("id", "a\nb"),
            ("id", "\0"),
            ("retry", -1),
            ("data", "\ud800"),
        ):
            with self.assertRaises(ValueError):
                setattr(event, name, value)
        others: tuple[Any, ...] = (b"x", 1)
        for other in others:
            with self.assertRaises(TypeError):
                event.data = other

    def test_copy_and_equality(self):
        event = self.received(b"data: x\nid: 1\n\n")
        copy = event.copy()
        self.assertEqual(copy, event)
        self.assertEqual(hash(copy), hash(event))
        copy.data = "y"
        self.assertNotEqual(copy, event)
        self.assertNotEqual(event, "x")

    def test_repr(self):
        self.assertEqual(repr(ServerSentEvent("x")), "<ServerSentEvent message 'x'>")
        self.assertIn("...", repr(ServerSentEvent("x" * 100)))


class StreamTests(SynchronousTestCase):
    def test_keeps_the_latest(self):
        stream = EventStream(1000)
        for number in range(10):
            stream.add(ServerSentEvent(str(number)))
        self.assertEqual(stream.events[-1].data, "9")
        self.assertEqual(stream.forgotten + len(stream.events), 10)
        self.assertGreater(stream.forgotten, 5)
        self.assertEqual(repr(stream), "<EventStream, 10 events>")

    def test_the_latest_is_kept_however_long_it_is(self):
        stream = EventStream(10)
        stream.add(ServerSentEvent("x" * 1000))
        self.assertEqual(len(stream.events), 1)

    def test_one_that_is_over(self):
        stream = EventStream()
        self.assertFalse(stream.live)
        with self.assertRaises(EventStreamError) as caught:
            stream.inject("x")
        self.assertEqual(caught.exception.code, "sse-ended")

    def test_of_a_flow(self):
        flow = make_flow(response=200)
        self.assertIsNone(flow.sse)
        self.assertIsNone(flow.copy().sse)
        flow.sse = EventStream()
        flow.sse.add(ServerSentEvent("x"))
        copy = flow.copy()
        assert copy.sse is not None
        copy.sse.events[0].data = "y"
        self.assertEqual(flow.sse.events[0].data, "x")
