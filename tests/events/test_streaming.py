"""``stream``: bodies that pass by as they come, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost

from interceptor.http import HTTPFlow
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    OK,
    OK_CHUNKED,
    POST,
    EventTestCase,
    Hooks,
    chunk,
    post,
    set_stream,
)


class Noting:
    """A stream callable that notes what it is given, and returns what ``make`` makes of it."""

    def __init__(self, make: Callable[[bytes], Any] = lambda data: data) -> None:
        self.given: list[bytes] = []
        self._make = make

    def __call__(self, data: bytes) -> Any:
        self.given.append(data)
        return self._make(data)


class StreamingTestCase(EventTestCase):
    """Lets a request or a response stream, with or without a hook that wants the whole."""

    def streamed(
        self, side: str, stream: Any = True, *others: object, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        addon = Hooks(**{f"{side}headers": set_stream(side, stream)})
        return self.started(addon, *others, **options)


class RequestTests(StreamingTestCase):
    """Requests, with ``True``."""

    def test_leaves_as_it_comes(self) -> None:
        proxy, client, _ = self.streamed("request")
        origin = proxy.origin().respond(OK)
        client.send(post(6))
        head = origin.received
        self.assertTrue(head.endswith(b"Content-Length: 6\r\n\r\n"))
        for part in (b"ab", b"cd", b"ef"):
            before = origin.received
            client.send(part)
            self.assertEqual(origin.received, before + part)
        self.assertEqual(client.received, OK)

    def test_chunked(self) -> None:
        proxy, client, _ = self.streamed("request")
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + chunk(b"ab"))
        client.send(chunk(b"cdef") + LAST_CHUNK)
        self.assertTrue(origin.received.endswith(chunk(b"ab") + chunk(b"cdef") + LAST_CHUNK))
        self.assertEqual(client.received, OK)

    def test_trailers(self) -> None:
        proxy, client, recorder = self.streamed("request")
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + chunk(b"ab") + b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertTrue(origin.received.endswith(b"0\r\nX-Sum: 1\r\n\r\n"))
        [flow] = recorder.arguments("request")
        self.assertEqual(flow.request.trailers["X-Sum"], "1")

    def test_no_content_afterwards(self) -> None:
        proxy, client, recorder = self.streamed("request")
        proxy.origin().respond(OK)
        client.send(POST)
        [flow] = recorder.arguments("request")
        self.assertIsNone(flow.request.raw_content)
        self.assertIsNone(flow.request.text)
        self.assertEqual(flow.request.body_size, 5)
        self.assertIsNotNone(flow.request.timestamp_end)

    def test_without_a_hook_that_wants_the_whole(self) -> None:
        proxy = self.proxy(Hooks(requestheaders=lambda flow: None, response=lambda flow: None))
        origin = proxy.origin()
        client = proxy.client()
        client.send(POST[:-2])
        self.assertTrue(origin.received.endswith(b"hel"))

    def test_body_set_in_requestheaders_is_not_taken_for_the_clients(self) -> None:
        flows: list[HTTPFlow] = []

        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.content = b"early"
            flows.append(flow)

        proxy = self.proxy(Hooks(requestheaders=requestheaders))
        origin = proxy.origin().respond(OK)
        proxy.client().send(POST)
        self.assertEqual(origin.requests[0].content, b"hello")
        self.assertIsNone(flows[0].request.raw_content)

    def test_slow_server_stops_the_client(self) -> None:
        proxy, client, _ = self.streamed("request")
        origin = proxy.origin()
        client.send(post(1_000_000))
        origin.connections[0].transport.pauseProducing()
        client.send(bytes(1_000_000))
        left = len(client.link.client.buffer)
        self.assertGreater(left, 500_000)
        origin.connections[0].transport.resumeProducing()
        proxy.flush()
        self.assertEqual(len(origin.requests[0].content or b""), 1_000_000)

    def test_early_answer_ends_the_request(self) -> None:
        proxy, client, recorder = self.streamed("request")
        origin = proxy.origin()
        client.send(post(1000) + b"some")
        origin.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        response = self.response(client)
        self.assertEqual((response.status_code, response.content), (403, b"no"))
        self.assertEqual(response.headers["Connection"], "close")
        self.assertTrue(client.closed)
        # The request was never there as a whole.
        self.assertNotIn("request", recorder.names)
        self.assertEqual(self.ends(recorder), ["response"])

    def test_early_answer_and_the_rest_of_the_body(self) -> None:
        proxy, client, recorder = self.streamed("request")
        origin = proxy.origin()
        client.send(post(5) + b"hel")
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        client.send(b"lo" + GET)
        origin.send(b"ok")
        self.assertEqual(origin.requests[0].content, b"hello")
        self.assertEqual(self.ends(recorder), ["response"])
        self.assertEqual(len(origin.requests), 2)


class ResponseTests(StreamingTestCase):
    """Responses, with ``True``."""

    def test_leaves_as_it_comes(self) -> None:
        proxy, client, recorder = self.streamed("response")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        client.send(GET)
        self.assertTrue(client.take().endswith(b"Content-Length: 6\r\n\r\n"))
        for part in (b"ab", b"cd", b"ef"):
            self.assertNotIn("response", recorder.names)
            origin.send(part)
            self.assertEqual(client.take(), part)
        self.assertEqual(recorder.names[-1], "response")

    def test_until_the_end_of_the_connection(self) -> None:
        proxy, client, recorder = self.streamed("response")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\n\r\nhel")
        client.send(GET)
        origin.send(b"lo")
        origin.close()
        self.assertEqual(self.response(client).content, b"hello")
        self.assertFalse(client.closed)
        self.assertEqual(self.ends(recorder), ["response"])

    def test_trailers(self) -> None:
        proxy, client, recorder = self.streamed("response")
        proxy.origin().respond(OK_CHUNKED + chunk(b"ab") + b"0\r\nX-Sum: 1\r\n\r\n")
        client.send(GET)
        self.assertTrue(client.received.endswith(b"0\r\nX-Sum: 1\r\n\r\n"))
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.trailers["X-Sum"], "1")

    def test_no_content_afterwards(self) -> None:
        for data in (OK, OK[:-1], OK_CHUNKED + chunk(b"ok") + LAST_CHUNK):
            proxy, client, recorder = self.streamed("response")
            origin = proxy.origin().respond(data)
            client.send(GET)
            if data == OK[:-1]:
                origin.send(b"k")
            [flow] = recorder.arguments("response")
            self.assertIsNone(flow.response.raw_content)
            self.assertEqual(flow.response.body_size, 2)
            self.assertIsNotNone(flow.response.timestamp_end)

    def test_slow_client_stops_the_server(self) -> None:
        proxy, client, _ = self.streamed("response")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        client.send(GET)
        client.link.client.pauseProducing()
        origin.send(bytes(1_000_000))
        self.assertGreater(len(origin.connections[0].transport.buffer), 500_000)
        client.link.client.resumeProducing()
        proxy.flush()
        self.assertEqual(len(self.response(client).content or b""), 1_000_000)

    def test_paused_in_the_middle(self) -> None:
        proxy, client, recorder = self.streamed("response")
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na")
        client.send(GET)
        [flow] = recorder.arguments("responseheaders")
        flow.intercept()
        origin.send(b"b")
        before = client.received
        origin.send(b"c")
        self.assertEqual(client.received, before)
        self.assertEqual(recorder.names[-1], "intercept")
        flow.resume()
        origin.send(b"d")
        self.assertTrue(client.received.endswith(b"abcd"))
        self.assertEqual(recorder.names[-2:], ["resume", "response"])


class CallableTestCase(StreamingTestCase):
    """Sends ``hello`` in three pieces through a callable, and returns what came out."""

    def through(self, side: str, stream: Any) -> bytes:
        proxy, client, _ = self.streamed(side, stream)
        pieces = (b"he", b"ll", b"o")
        if side == "request":
            origin = proxy.origin().respond(OK)
            client.send(post(5))
            for piece in pieces:
                client.send(piece)
            self.assertEqual(client.received, OK)
            return origin.requests[0].content or b""
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        client.send(GET)
        for piece in pieces:
            origin.send(piece)
        return self.response(client).content or b""


class CallableTests(CallableTestCase):
    """Callables that work."""

    def check(self, make: Callable[[bytes], Any], expected: bytes) -> None:
        for side in ("request", "response"):
            noting = Noting(make)
            self.assertEqual(self.through(side, noting), expected, side)
            self.assertEqual(noting.given, [b"he", b"ll", b"o", b""], side)

    def test_bytes(self) -> None:
        self.check(bytes.upper, b"HELLO")

    def test_other_bytes(self) -> None:
        self.check(lambda data: bytearray(data.upper()), b"HELLO")
        self.check(lambda data: memoryview(data), b"hello")

    def test_more_bytes_than_came(self) -> None:
        self.check(lambda data: data * 3, b"hehehellllllooo")

    def test_nothing(self) -> None:
        self.check(lambda data: b"", b"")
        self.check(lambda data: None, b"")

    def test_everything_at_the_end(self) -> None:
        kept: list[bytes] = []

        def keep(data: bytes) -> bytes:
            if data:
                kept.append(data)
                return b""
            whole = b"".join(kept)
            kept.clear()
            return whole[::-1]

        self.check(keep, b"olleh")

    def test_several_chunks(self) -> None:
        self.check(lambda data: [data, b"", b"-"], b"he-ll-o--")
        self.check(lambda data: (bytes((byte,)) for byte in data), b"hello")

    def test_deferred(self) -> None:
        self.check(lambda data: succeed(data.upper()), b"HELLO")
        self.check(lambda data: succeed([data, data]), b"hehelllloo")

    def test_coroutine(self) -> None:
        async def shout(data: bytes) -> bytes:
            return data.upper()

        self.check(shout, b"HELLO")

    def test_end_comes_once_for_a_chunked_body_without_content(self) -> None:
        noting = Noting(lambda data: data or b"end")
        proxy, client, _ = self.streamed("request", noting)
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + LAST_CHUNK)
        self.assertEqual(noting.given, [b""])
        self.assertEqual(origin.requests[0].content, b"end")

    def test_no_body_no_call(self) -> None:
        """A message without content does not stream, so that its framing stays as it is."""
        noting = Noting()
        proxy, client, _ = self.started(
            Hooks(
                requestheaders=set_stream("request", noting),
                responseheaders=set_stream("response", noting),
            )
        )
        empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        proxy.origin().respond(empty)
        client.send(GET)
        self.assertEqual(noting.given, [])
        self.assertEqual(client.received, empty)

    def test_trailers_follow(self) -> None:
        proxy, client, _ = self.streamed("response", bytes.upper)
        proxy.origin().respond(OK_CHUNKED + chunk(b"ab") + b"0\r\nX-Sum: 1\r\n\r\n")
        client.send(GET)
        self.assertTrue(client.received.endswith(chunk(b"AB") + b"0\r\nX-Sum: 1\r\n\r\n"))

    def test_whole_body_that_came_with_the_head(self) -> None:
        for side in ("request", "response"):
            proxy, client, _ = self.streamed(side, bytes.upper)
            origin = proxy.origin().respond(OK)
            client.send(POST)
            self.assertEqual(
                origin.requests[0].content, b"HELLO" if side == "request" else b"hello"
            )
            self.assertEqual(self.response(client).content, b"OK" if side == "response" else b"ok")


class SlowCallableTests(StreamingTestCase):
    """Callables that answer later."""

    def slow(self, side: str) -> tuple[list[Deferred[Any]], MemoryProxy, MemoryClient, Any]:
        waiting: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

        def stream(data: bytes) -> Deferred[Any]:
            waiting.append(Deferred(self.cancelled.append))
            return waiting[-1]

        proxy, client, recorder = self.streamed(side, stream)
        return waiting, proxy, client, recorder

    def test_request_waits(self) -> None:
        waiting, proxy, client, _ = self.slow("request")
        origin = proxy.origin().respond(OK)
        client.send(post(4) + b"ab")
        client.send(b"cd")
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(b"AB")
        proxy.flush()
        self.assertTrue(origin.received.endswith(chunk(b"AB")))
        waiting[1].callback(b"CD")
        waiting[2].callback(b"!")
        proxy.flush()
        self.assertEqual(origin.requests[0].content, b"ABCD!")
        self.assertEqual(client.received, OK)

    def test_response_waits(self) -> None:
        waiting, proxy, client, recorder = self.slow("response")
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        waiting[0].callback([b"O", b"K"])
        proxy.flush()
        self.assertTrue(client.received.endswith(chunk(b"O") + chunk(b"K")))
        self.assertNotIn("response", recorder.names)
        waiting[1].callback(None)
        proxy.flush()
        self.assertEqual(self.response(client).content, b"OK")
        self.assertEqual(recorder.names[-1], "response")

    def test_client_leaves_meanwhile(self) -> None:
        for side in ("request", "response"):
            waiting, proxy, client, recorder = self.slow(side)
            proxy.origin().respond(OK)
            client.send(POST)
            client.abort()
            self.assertEqual(self.cancelled, waiting, side)
            self.assertEqual(self.code(recorder), "client-disconnected")

    def test_killed_meanwhile(self) -> None:
        for side in ("request", "response"):
            waiting, proxy, client, recorder = self.slow(side)
            proxy.origin().respond(OK)
            client.send(POST)
            recorder.arguments("requestheaders")[0].kill()
            proxy.flush()
            self.assertEqual(self.cancelled, waiting, side)
            self.assertEqual(self.code(recorder), "killed", side)
            self.assertEqual(self.ends(recorder), ["error"])
            self.assertTrue(client.closed)


class FailingCallableTests(StreamingTestCase):
    """Callables that raise, or return what cannot be sent: never a clean end."""

    FAULTS: tuple[Callable[[bytes], Any], ...] = (
        lambda data: 1 / 0,
        lambda data: "text",
        lambda data: 5,
        lambda data: [data, 5],
        lambda data: (1 / 0 for _ in data),
    )

    def check_request(self, stream: Any) -> None:
        proxy, client, recorder = self.streamed("request", stream)
        origin = proxy.origin().respond(OK)
        client.send(POST)
        response = self.response(client)
        self.assertEqual(response.status_code, 502)
        self.assertIn("stream-failed", response.text or "")
        self.assertEqual(origin.requests, [])
        self.assertEqual(self.code(recorder), "stream-failed")
        self.assertEqual(self.ends(recorder), ["error"])

    def check_response(self, stream: Any) -> None:
        proxy, client, recorder = self.streamed("response", stream)
        proxy.origin().respond(OK)
        client.send(GET)
        # The reset may overtake the head, but there is nothing after that.
        self.assertEqual(client.received.partition(b"\r\n\r\n")[2], b"")
        self.assertIs(client.peer.lost_with, ConnectionLost)
        self.assertEqual(self.code(recorder), "stream-failed")
        self.assertEqual(self.ends(recorder), ["error"])

    def test_at_once(self) -> None:
        for fault in self.FAULTS:
            self.check_request(fault)
            self.check_response(fault)

    def test_later(self) -> None:
        async def fail(data: bytes) -> bytes:
            raise ValueError("no good")

        self.check_request(fail)
        self.check_response(fail)

    def test_at_the_end(self) -> None:
        for side in ("request", "response"):
            proxy, client, recorder = self.streamed(side, lambda data: data or 1 / 0)
            origin = proxy.origin().respond(OK[:-1])
            client.send(POST[:-1])
            client.send(POST[-1:])
            if side == "request":
                self.assertTrue(origin.received.endswith(chunk(b"hell")))
            else:
                origin.send(b"k")
                self.assertTrue(client.received.endswith(chunk(b"o")))
            self.assertTrue(client.closed)
            self.assertEqual(self.ends(recorder), ["error"])

    def test_traceback_is_logged(self) -> None:
        messages = self.messages()
        self.check_response(lambda data: 1 / 0)
        [text] = [text for text in messages.texts if "stream callable failed\n" in text]
        self.assertIn("test_streaming.py", text)
        self.assertIn("ZeroDivisionError", text)
        self.assertNotIn("bodies.py", text)
        self.assertEqual(messages.levels[messages.texts.index(text)], "error")


class KillingCallableTests(StreamingTestCase):
    """Callables that kill their flow: what they return is not sent."""

    def killing(self, side: str, at: bytes) -> tuple[Any, MemoryClient, EventRecorder]:
        """Send ``ab`` in two pieces; the flow is killed at the one that is ``at``."""

        def headers(flow: HTTPFlow) -> None:
            def stream(data: bytes) -> bytes:
                if data == at:
                    flow.kill()
                return b"SECRET"

            getattr(flow, side).stream = stream

        proxy, client, recorder = self.started(Hooks(**{f"{side}headers": headers}))
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        for piece in (post(2), b"a", b"b"):
            client.send(piece)
        if side == "response":
            for piece in (b"a", b"b"):
                origin.send(piece)
        return origin, client, recorder

    def test_request(self) -> None:
        for at, sent in ((b"a", 0), (b"b", 1), (b"", 1)):
            origin, client, recorder = self.killing("request", at)
            self.assertEqual(origin.received.count(b"SECRET"), sent, at)
            self.assertEqual(origin.requests, [])
            self.assertEqual(client.received, b"")
            self.assertTrue(client.closed)
            self.assertEqual(self.code(recorder), "killed")
            self.assertNotIn("request", recorder.names)

    def test_response(self) -> None:
        for at, sent in ((b"a", 0), (b"b", 1), (b"", 1)):
            _, client, recorder = self.killing("response", at)
            self.assertEqual(client.received.count(b"SECRET"), sent, at)
            self.assertNotIn(LAST_CHUNK, client.received)
            self.assertIs(client.peer.lost_with, ConnectionLost)
            self.assertEqual(self.code(recorder), "killed")
            self.assertEqual(self.ends(recorder), ["error"])


class StoredTests(StreamingTestCase):
    """``store_streamed_bodies``."""

    def test_kept_whole(self) -> None:
        proxy = self.proxy(
            Hooks(
                requestheaders=set_stream("request"),
                responseheaders=set_stream("response"),
                request=lambda flow: seen.append(flow.request.raw_content),
                response=lambda flow: seen.append(flow.response.raw_content),
            ),
            store_streamed_bodies=True,
        )
        seen: list[bytes] = []
        proxy.origin().respond(OK, OK_CHUNKED + chunk(b"o") + chunk(b"k") + LAST_CHUNK)
        client = proxy.client()
        client.send(POST + POST)
        self.assertEqual(seen, [b"hello", b"ok"] * 2)

    def test_what_left_is_kept(self) -> None:
        proxy, client, recorder = self.streamed("response", bytes.upper, store_streamed_bodies=True)
        proxy.origin().respond(OK)
        client.send(GET)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.raw_content, b"OK")

    def test_overflow_is_marked(self) -> None:
        for side in ("request", "response"):
            proxy, client, recorder = self.streamed(
                side, store_streamed_bodies=True, store_streamed_limit=1
            )
            proxy.origin().respond(OK)
            client.send(POST)
            [flow] = recorder.arguments(side)
            self.assertEqual(len(getattr(flow, side).raw_content), 1)
            self.assertIs(flow.metadata[f"{side}_truncated"], True)
            self.assertEqual(client.received, OK)
