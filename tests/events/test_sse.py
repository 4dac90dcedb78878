"""``sse_event``: event streams, event by event."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import brotli
import zstandard

from interceptor.errors import EventStreamError
from interceptor.http import HTTPFlow, ServerSentEvent
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import GET, EventTestCase, Guard, Hooks, Waiting, chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"


class Listener:
    """Notes the data of each event, and does to it what ``change`` does."""

    def __init__(self, change: Any = None) -> None:
        self.seen: list[str] = []
        self._change = change

    def sse_event(self, flow: HTTPFlow) -> Any:
        event = latest(flow)
        self.seen.append(event.data)
        return None if self._change is None else self._change(event)


def latest(flow: HTTPFlow) -> ServerSentEvent:
    assert flow.sse is not None
    return flow.sse.events[-1]


class StreamTestCase(EventTestCase):
    """An origin that sends an event stream."""

    def begin(
        self, *addons: object, head: bytes = CHUNKED, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        proxy, client, recorder = self.started(*addons, **options)
        self.origin = proxy.origin()
        client.send(GET)
        self.origin.send(head + b"\r\n")
        self.assertIn(b"200 OK", client.take())
        return proxy, client, recorder

    def send(self, data: bytes) -> None:
        self.origin.send(chunk(data))

    def end(self) -> None:
        self.origin.send(b"0\r\n\r\n")


class PassingTests(StreamTestCase):
    """When what goes on, and as which bytes."""

    def test_each_event_at_once(self) -> None:
        listener = Listener()
        _, client, recorder = self.begin(listener)
        for number in range(5):
            data = b"data: %d\n\n" % number
            self.send(data)
            self.assertEqual(client.take(), chunk(data))
        self.assertEqual(listener.seen, ["0", "1", "2", "3", "4"])
        self.assertNotIn("response", recorder.names)
        self.end()
        self.assertEqual(client.take(), b"0\r\n\r\n")
        self.assertEqual(recorder.names[-2:], ["sse_event", "response"])

    def test_order_of_events(self) -> None:
        _, _, recorder = self.begin()
        self.send(b"data: x\n\n")
        self.end()
        names = [name for name in recorder.names if name in HTTP_EVENTS]
        self.assertEqual(names, list(HTTP_EVENTS))

    def test_only_the_unfinished_event_waits(self) -> None:
        _, client, _ = self.begin(Listener())
        self.send(b": ping\n\ndata: a\n\n:x\n\ndata: b")
        self.assertEqual(client.take(), chunk(b": ping\n\ndata: a\n\n:x\n\n"))
        self.send(b": no comment")
        self.assertEqual(client.take(), b"")
        self.send(b"\n\n: ping")
        self.assertEqual(client.take(), chunk(b"data: b: no comment\n\n: ping"))

    def test_nothing_waits_without_a_listener(self) -> None:
        client, recorder = self.plain()
        self.send(b"data: a\n\ndata: b")
        self.assertEqual(client.take(), chunk(b"data: a\n\ndata: b"))
        self.end()
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.sse)

    def plain(self) -> tuple[MemoryClient, EventRecorder]:
        recorder = EventRecorder("response")
        proxy = self.proxy(recorder)
        client = proxy.client()
        self.origin = proxy.origin()
        client.send(GET)
        self.origin.send(CHUNKED + b"\r\n")
        client.take()
        return client, recorder

    def test_bytes_are_kept(self) -> None:
        body = b"\xef\xbb\xbf:c\r\rdata:x\r\nid\r\n\r\nodd\n\ndata: y\n\nretry: 5\r\r\ndata:z"
        _, client, _ = self.begin(Listener(), head=HEAD + b"Content-Length: %d\r\n" % len(body))
        for index in range(len(body)):
            self.origin.send(body[index : index + 1])
        received = self.response_body(client)
        self.assertEqual(received, body)

    def response_body(self, client: MemoryClient) -> bytes:
        data = client.take()
        body = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            body += data[: int(size, 16)]
            data = data[int(size, 16) + 2 :]
        return body

    def test_all_at_once_with_a_length(self) -> None:
        proxy, client, _ = self.started(Listener(lambda event: event.drop()))
        body = b"data: a\n\n: c\n\n"
        proxy.origin().respond(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        client.send(GET)
        response = self.response(client)
        self.assertEqual(response.content, b": c\n\n")
        self.assertNotIn("content-length", response.headers)

    def test_an_event_without_end_is_shown_too(self) -> None:
        listener = Listener(lambda event: setattr(event, "data", "b"))
        _, client, _ = self.begin(listener)
        self.send(b"data: a")
        self.assertEqual(client.take(), b"")
        self.end()
        self.assertEqual(client.take(), chunk(b"data: b\n") + b"0\r\n\r\n")

    def test_other_types_are_not_looked_at(self) -> None:
        listener = Listener()
        proxy, client, _ = self.started(listener)
        origin = proxy.origin()
        client.send(GET)
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n")
        origin.send(b"data: a\n\n\n")
        self.assertEqual(self.response(client).content, b"data: a\n\n\n")
        self.assertEqual(listener.seen, [])

    def test_copy_of_what_was_sent(self) -> None:
        _, _, recorder = self.begin(
            Listener(lambda event: setattr(event, "data", "b")), store_streamed_bodies=True
        )
        self.send(b"data: a\n\n")
        self.end()
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.raw_content, b"data: b\n\n")
        self.assertEqual(flow.response.body_size, 9)

    def test_the_latest_events_are_kept(self) -> None:
        _, _, recorder = self.begin(body_memory_limit=2000)
        for number in range(100):
            self.send(b"data: %d\n\n" % number)
        [flow] = set(recorder.arguments("sse_event"))
        self.assertEqual(flow.sse.events[-1].data, "99")
        self.assertEqual(flow.sse.forgotten + len(flow.sse.events), 100)
        self.assertLess(len(flow.sse.events), 10)


HTTP_EVENTS = ("requestheaders", "request", "responseheaders", "sse_event", "response")


class HookTests(StreamTestCase):
    """What hooks may do."""

    def test_edit(self) -> None:
        _, client, _ = self.begin(Listener(lambda event: setattr(event, "data", "a\nb")))
        self.send(b"id: 1\ndata: x\n\n")
        self.assertEqual(client.take(), chunk(b"id: 1\ndata: a\ndata: b\n\n"))

    def test_drop(self) -> None:
        def change(event: ServerSentEvent) -> None:
            if event.data == "b":
                event.drop()

        _, client, _ = self.begin(Listener(change))
        self.send(b"data: a\n\ndata: b\n\ndata: c\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\ndata: c\n\n"))

    def test_waiting_holds_what_follows_and_nothing_else(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.begin(Hooks(sse_event=waiting))
        self.send(b": c\n\ndata: a\n\n")
        self.assertEqual(client.take(), chunk(b": c\n\n"))
        self.send(b"data: b\n\n")
        self.assertEqual(client.take(), b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.assertEqual(len(waiting.arguments), 2)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: b\n\n"))

    def test_kill(self) -> None:
        def hook(flow: HTTPFlow) -> None:
            if latest(flow).data == "b":
                flow.kill()

        _, client, recorder = self.begin(Hooks(sse_event=hook))
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.send(b"data: b\n\ndata: c\n\n")
        self.assertEqual(client.take(), b"")
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "killed")

    def test_intercept(self) -> None:
        flows: list[HTTPFlow] = []

        def hook(flow: HTTPFlow) -> None:
            flows.append(flow)
            flow.intercept()

        proxy, client, recorder = self.begin(Hooks(sse_event=hook))
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), b"")
        self.assertEqual(recorder.names[-1], "intercept")
        flows[0].resume()
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))

    def test_failure(self) -> None:
        def hook(flow: HTTPFlow) -> None:
            raise ZeroDivisionError

        _, client, _ = self.begin(Hooks(sse_event=hook))
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.flushLoggedErrors()

    def test_failure_of_a_guard(self) -> None:
        def hook(flow: HTTPFlow) -> None:
            raise ZeroDivisionError

        _, client, recorder = self.begin(Guard(sse_event=hook))
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), b"")
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "hook-failed")

    def test_a_stream_callable_comes_first(self) -> None:
        listener = Listener()
        stream = Hooks(responseheaders=lambda flow: setattr(flow.response, "stream", upper_and_end))
        _, client, _ = self.begin(stream, listener)
        self.send(b"data: a\n\nda")
        self.assertEqual(client.take(), chunk(b"DATA: A\n\n"))
        self.send(b"ta: b\n\n")
        client.take()
        self.end()
        self.assertEqual(client.take(), chunk(b"data: end\n\n") + b"0\r\n\r\n")
        self.assertEqual(listener.seen, ["end"])

    def test_loss_of_the_server(self) -> None:
        _, client, recorder = self.begin(Listener())
        self.send(b"data: a\n\ndata: b")
        self.origin.close()
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.assertEqual(self.code(recorder), "response-truncated")
        [flow] = set(recorder.arguments("sse_event"))
        self.assertFalse(flow.sse.live)


def upper_and_end(data: bytes) -> bytes:
    return data.upper() if data else b"data: end\n\n"


class InjectionTests(StreamTestCase):
    """Events of one's own."""

    def begin_to_inject(self, **options: Any) -> tuple[MemoryProxy, MemoryClient, HTTPFlow]:
        proxy, client, recorder = self.begin(**options)
        self.send(b"data: a\n\n")
        client.take()
        [flow] = recorder.arguments("sse_event")
        return proxy, client, flow

    def test_at_any_time(self) -> None:
        proxy, client, flow = self.begin_to_inject()
        assert flow.sse is not None
        event = flow.sse.inject("mine", "note", "7")
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: mine\nevent: note\nid: 7\n\n"))
        self.assertIs(flow.sse.events[-1], event)
        self.send(b"data: b")
        flow.sse.inject(ServerSentEvent("more"))
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: more\n\n"))
        self.send(b"\n\n")
        self.assertEqual(client.take(), chunk(b"data: b\n\n"))

    def test_from_a_hook(self) -> None:
        def hook(flow: HTTPFlow) -> None:
            assert flow.sse is not None
            if latest(flow).data == "a":
                flow.sse.inject("after a")

        _, client, _ = self.begin(Hooks(sse_event=hook))
        self.send(b"data: a\n\ndata: b\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\ndata: after a\n\ndata: b\n\n"))

    def test_behind_an_event_that_waits(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.begin(Hooks(sse_event=waiting))
        self.send(b"data: a\n\n")
        waiting.arguments[0].sse.inject("b")
        proxy.flush()
        self.assertEqual(client.take(), b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: a\n\ndata: b\n\n"))

    def test_never_into_a_comment(self) -> None:
        proxy, client, flow = self.begin_to_inject()
        assert flow.sse is not None
        self.send(b": com")
        client.take()
        flow.sse.inject("b")
        proxy.flush()
        self.assertEqual(client.take(), b"")
        self.send(b"ment\n")
        self.assertEqual(client.take(), chunk(b"ment\ndata: b\n\n"))

    def test_before_the_first_byte(self) -> None:
        flows: list[HTTPFlow] = []
        proxy, client, _ = self.begin(Hooks(responseheaders=flows.append, sse_event=flows.append))
        assert flows[0].sse is not None
        flows[0].sse.inject("first")
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: first\n\n"))
        # A byte order mark would not be one any more.
        self.send(b"\xef\xbb\xbfdata: x\n\n")
        self.assertEqual(client.take(), chunk(b"data: x\n\n"))

    def test_when_the_stream_is_over(self) -> None:
        _, _, flow = self.begin_to_inject()
        self.end()
        assert flow.sse is not None
        self.assertFalse(flow.sse.live)
        with self.assertRaises(EventStreamError):
            flow.sse.inject("b")

    def test_a_client_that_does_not_read(self) -> None:
        proxy, client, flow = self.begin_to_inject(body_memory_limit=100_000)
        assert flow.sse is not None
        client.peer.transport.pauseProducing()
        with self.assertRaises(EventStreamError) as caught:
            for _ in range(1000):
                flow.sse.inject("x" * 1000)
                proxy.flush()
        self.assertEqual(caught.exception.code, "sse-backlog")
        client.peer.transport.resumeProducing()
        proxy.flush()
        client.take()
        flow.sse.inject("b")
        proxy.flush()
        self.assertEqual(client.take(), chunk(b"data: b\n\n"))

    def test_many_wait_behind_a_hook(self) -> None:
        waiting = Waiting()
        self.begin(Hooks(sse_event=waiting), body_memory_limit=10_000)
        self.send(b"data: a\n\n")
        stream = waiting.arguments[0].sse
        with self.assertRaises(EventStreamError) as caught:
            for _ in range(20):
                stream.inject("x" * 1000)
        self.assertEqual(caught.exception.code, "sse-backlog")


class LimitTests(StreamTestCase):
    """Events over ``sse_event_limit``."""

    def test_passes_unseen(self) -> None:
        messages = self.messages()
        listener = Listener()
        _, client, _ = self.begin(listener, sse_event_limit=100)
        self.send(b"data: " + b"x" * 200)
        self.assertEqual(client.take(), chunk(b"data: " + b"x" * 200))
        self.send(b"x\n\ndata: y\n\n")
        self.assertEqual(client.take(), chunk(b"x\n\ndata: y\n\n"))
        self.assertEqual(listener.seen, ["y"])
        warnings = [text for text in messages.texts if "sse-event-too-large" in text]
        self.assertEqual(len(warnings), 1)

    def test_ends_the_flow_of_a_guard(self) -> None:
        _, client, recorder = self.begin(Guard(sse_event=lambda flow: None), sse_event_limit=100)
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.send(b"data: " + b"x" * 200)
        self.assertEqual(client.take(), b"")
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "sse-event-too-large")


class PatienceTests(StreamTestCase):
    """An event stream may be silent for longer than other responses."""

    def test_as_long_as_a_tunnel(self) -> None:
        recorder = EventRecorder("error")
        proxy = self.proxy(recorder, read_timeout=10, tunnel_idle_timeout=100)
        client = proxy.client()
        self.origin = proxy.origin()
        client.send(GET)
        self.origin.send(CHUNKED + b"\r\n")
        proxy.advance(99)
        self.send(b"data: a\n\n")
        proxy.advance(99)
        self.assertFalse(client.closed)
        proxy.advance(2)
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "read-timeout")

    def test_not_for_the_next_response(self) -> None:
        recorder = EventRecorder("error")
        proxy = self.proxy(recorder, read_timeout=10, tunnel_idle_timeout=100)
        client = proxy.client()
        self.origin = proxy.origin()
        client.send(GET)
        self.origin.send(CHUNKED + b"\r\n")
        self.end()
        client.take()
        client.send(GET)
        self.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual(len(self.origin.connections), 1)
        proxy.advance(11)
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "read-timeout")


class CodingTests(StreamTestCase):
    """Compressed streams."""

    def check(self, coding: bytes, first: bytes, second: bytes, end: bytes) -> None:
        listener = Listener()
        _, client, recorder = self.begin(
            listener, head=CHUNKED + b"Content-Encoding: %b\r\n" % coding
        )
        self.send(first)
        self.assertEqual(client.take(), chunk(b"data: a\n\n"), coding)
        self.send(second)
        self.assertEqual(client.take(), chunk(b"data: b\n\n"), coding)
        self.send(end)
        self.end()
        self.assertEqual(client.take(), b"0\r\n\r\n")
        [flow] = recorder.arguments("response")
        self.assertNotIn("content-encoding", flow.response.headers)
        self.assertEqual(flow.metadata["sse_decoded"], coding.decode())
        self.assertEqual(listener.seen, ["a", "b"])

    def test_each_event_at_once(self) -> None:
        gzipped = zlib.compressobj(wbits=31)
        deflated = zlib.compressobj()
        zstd = zstandard.ZstdCompressor().compressobj()
        br = brotli.Compressor()
        first, second = b"data: a\n\n", b"data: b\n\n"
        sync = zlib.Z_SYNC_FLUSH
        for coding, compress, flush, end in (
            (b"gzip", gzipped.compress, lambda: gzipped.flush(sync), gzipped.flush),
            (b"deflate", deflated.compress, lambda: deflated.flush(sync), deflated.flush),
            (
                b"zstd",
                zstd.compress,
                lambda: zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
                zstd.flush,
            ),
            (b"br", br.process, br.flush, br.finish),
        ):
            parts = [compress(first) + flush(), compress(second) + flush(), end()]
            self.check(coding, *parts)

    def test_is_told_in_the_head(self) -> None:
        proxy, client, _ = self.started(Listener())
        body = gzip.compress(b"data: a\n\n")
        proxy.origin().respond(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        client.send(GET)
        response = self.response(client)
        self.assertEqual(response.raw_content, b"data: a\n\n")
        self.assertNotIn("content-encoding", response.headers)

    def test_goes_on_for_ever(self) -> None:
        # More than a body may decode to: what counts is what comes at once.
        listener = Listener()
        self.begin(
            listener,
            head=CHUNKED + b"Content-Encoding: gzip\r\n",
            decoded_size_limit=1000,
        )
        compress = zlib.compressobj(wbits=31)
        for _ in range(200):
            data = compress.compress(b"data: %b\n\n" % (b"x" * 1000))
            self.send(data + compress.flush(zlib.Z_SYNC_FLUSH))
        self.assertEqual(len(listener.seen), 200)

    def test_bomb(self) -> None:
        _, client, recorder = self.begin(
            Listener(), head=CHUNKED + b"Content-Encoding: br\r\n", body_size_limit=1000
        )
        self.send(brotli.compress(b"data: " + b"x" * 50_000_000, quality=1))
        self.assertTrue(client.closed)
        self.assertEqual(self.code(recorder), "content-too-large")

    def test_damage(self) -> None:
        _, client, recorder = self.begin(Listener(), head=CHUNKED + b"Content-Encoding: gzip\r\n")
        self.send(b"data: a\n\n")
        self.assertTrue(client.closed)
        self.assertEqual(client.take(), b"")
        self.assertEqual(self.code(recorder), "content-damaged")

    def test_unknown(self) -> None:
        messages = self.messages()
        listener = Listener()
        _, client, _ = self.begin(listener, head=CHUNKED + b"Content-Encoding: odd\r\n")
        self.send(b"data: a\n\n")
        self.assertEqual(client.take(), chunk(b"data: a\n\n"))
        self.assertEqual(listener.seen, [])
        self.assertEqual(
            len([text for text in messages.texts if "content-coding-unknown" in text]), 1
        )

    def test_unknown_to_a_guard(self) -> None:
        proxy, client, recorder = self.started(Guard(sse_event=lambda flow: None))
        proxy.origin().respond(CHUNKED + b"Content-Encoding: odd\r\n\r\n")
        client.send(GET)
        self.assertEqual(self.code(recorder), "content-coding-unknown")
        self.assertNotIn(b"200 OK", client.received)

    def test_without_a_listener(self) -> None:
        recorder = EventRecorder("response")
        proxy = self.proxy(recorder)
        client = proxy.client()
        body = gzip.compress(b"data: a\n\n")
        proxy.origin().respond(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        client.send(GET)
        self.assertEqual(self.response(client).raw_content, body)
