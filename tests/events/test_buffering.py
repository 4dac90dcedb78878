"""What is gathered and what streams: limits, sizes, event streams, gRPC, addons that observe."""

from __future__ import annotations

from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.model.body import Body
from interceptor.testing import MemoryProxy
from tests.events.cases import (
    CHUNKED,
    GET,
    LAST_CHUNK,
    OK,
    OK_CHUNKED,
    POST,
    EventTestCase,
    Guard,
    Hooks,
    chunk,
    post,
    set_stream,
)

SIZES = {"body_size_limit": 1000, "body_memory_limit": 100}


def both() -> Hooks:
    """An addon that wants whole bodies."""
    return Hooks(request=lambda flow: None, response=lambda flow: None)


class SizeLimitTests(EventTestCase):
    """``body_size_limit``: requests are refused, responses stream on."""

    def test_largest_request(self) -> None:
        for data in (post(1000) + bytes(1000), CHUNKED + chunk(bytes(1000)) + LAST_CHUNK):
            proxy, client, _ = self.started(**SIZES)
            origin = proxy.origin().respond(OK)
            client.send(data)
            self.assertEqual(client.received, OK)
            self.assertEqual(origin.requests[0].content, bytes(1000))

    def test_request_that_is_too_large(self) -> None:
        wholes = (
            post(1001),
            CHUNKED + chunk(bytes(1001)) + LAST_CHUNK,
            CHUNKED + chunk(bytes(600)) + chunk(bytes(600)),
        )
        for data in wholes:
            proxy, client, recorder = self.started(**SIZES)
            client.send(data)
            response = self.response(client, b"POST")
            self.assertEqual(response.status_code, 413)
            self.assertIn("body-too-large", response.text or "")
            self.assertTrue(client.closed)
            self.assertEqual(proxy.network.attempts, [])
            self.assertNotIn("request", recorder.names)
            self.assertEqual(self.code(recorder), "body-too-large")

    def test_streamed_request_has_no_limit(self) -> None:
        proxy, client, _ = self.started(Hooks(requestheaders=set_stream("request")), **SIZES)
        origin = proxy.origin().respond(OK)
        client.send(post(5000) + bytes(5000))
        self.assertEqual(len(origin.requests[0].content or b""), 5000)

    def test_response_that_says_so(self) -> None:
        proxy, client, recorder = self.started(**SIZES)
        origin = proxy.origin().respond(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + bytes(500)
        )
        client.send(GET)
        self.assertTrue(client.received.endswith(bytes(500)))
        origin.send(bytes(501))
        self.assertEqual(self.response(client).content, bytes(1001))
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.response.raw_content)

    def test_response_that_turns_out_so(self) -> None:
        messages = self.messages()
        proxy, client, recorder = self.started(**SIZES)
        origin = proxy.origin().respond(OK_CHUNKED + chunk(bytes(1000)))
        client.send(GET)
        self.assertEqual(client.received, b"")
        origin.send(chunk(b"x"))
        self.assertIn(bytes(1000), client.received)
        origin.send(chunk(b"y") + b"0\r\nX-Sum: 1\r\n\r\n")
        response = self.response(client)
        self.assertEqual(response.content, bytes(1000) + b"xy")
        assert response.trailers is not None
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.response.raw_content)
        self.assertEqual(flow.response.body_size, 1002)
        [text] = [text for text in messages.texts if "body_size_limit" in text]
        self.assertEqual(messages.levels[messages.texts.index(text)], "warn")


class OverflowTests(EventTestCase):
    """``body_size_overflow``: what becomes of bodies over ``body_size_limit``."""

    def test_request_that_says_so_streams(self) -> None:
        proxy, client, recorder = self.started(**SIZES, body_size_overflow="stream")
        origin = proxy.origin().respond(OK)
        client.send(post(1001) + bytes(500))
        self.assertTrue(origin.received.endswith(bytes(500)))
        self.assertNotIn("request", recorder.names)
        client.send(bytes(501))
        self.assertEqual(self.response(client, b"POST").status_code, 200)
        self.assertEqual(origin.requests[0].content, bytes(1001))
        [flow] = recorder.arguments("request")
        self.assertIsNone(flow.request.raw_content)
        self.assertEqual(flow.request.body_size, 1001)

    def test_request_that_turns_out_so_streams(self) -> None:
        messages = self.messages()
        proxy, client, recorder = self.started(**SIZES, body_size_overflow="stream")
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + chunk(bytes(1000)))
        self.assertEqual(proxy.network.attempts, [])
        client.send(chunk(b"x"))
        self.assertIn(bytes(1000), origin.received)
        client.send(chunk(b"y") + LAST_CHUNK)
        self.assertEqual(self.response(client, b"POST").status_code, 200)
        self.assertEqual(origin.requests[0].content, bytes(1000) + b"xy")
        [flow] = recorder.arguments("request")
        self.assertEqual(flow.request.body_size, 1002)
        [text] = [text for text in messages.texts if "body_size_limit" in text]
        self.assertIn("the request is over", text)
        self.assertEqual(messages.levels[messages.texts.index(text)], "warn")

    def test_no_request_streams_past_a_hook_that_fails_closed(self) -> None:
        seen: list[HTTPFlow] = []
        guard = Guard(request=lambda flow: seen.append(flow))
        for data in (post(1001), CHUNKED + chunk(bytes(1001)), CHUNKED + chunk(bytes(600)) * 2):
            proxy, client, recorder = self.started(guard, **SIZES, body_size_overflow="stream")
            client.send(data)
            self.assertEqual(self.response(client, b"POST").status_code, 413)
            self.assertEqual(self.code(recorder), "body-too-large")
            self.assertEqual((seen, proxy.network.attempts), ([], []))

    def test_a_hook_that_fails_closed_and_comes_late_is_not_passed_by(self) -> None:
        proxy, client, recorder = self.started(**SIZES, body_size_overflow="stream")
        client.send(CHUNKED + chunk(bytes(600)))
        proxy.tester.chain.add(Guard(request=lambda flow: None))
        client.send(chunk(bytes(600)))
        self.assertEqual(self.response(client, b"POST").status_code, 413)
        self.assertEqual(self.code(recorder), "body-too-large")
        self.assertEqual(proxy.network.attempts, [])

    def test_requests_are_refused(self) -> None:
        for data in (post(1001), CHUNKED + chunk(bytes(600)) * 2):
            proxy, client, recorder = self.started(**SIZES, body_size_overflow="refuse")
            client.send(data)
            self.assertEqual(self.response(client, b"POST").status_code, 413)
            self.assertEqual(self.code(recorder), "body-too-large")
            self.assertEqual(proxy.network.attempts, [])

    def test_responses_are_refused(self) -> None:
        announced = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
        for data in (
            announced,
            announced + bytes(500),
            announced + bytes(1001),
            OK_CHUNKED + chunk(bytes(600)) * 2,
            OK_CHUNKED + chunk(bytes(1001)) + LAST_CHUNK,
        ):
            proxy, client, recorder = self.started(
                body_size_limit=1000, body_size_overflow="refuse"
            )
            proxy.origin().respond(data)
            client.send(GET)
            response = self.response(client)
            self.assertEqual(response.status_code, 502)
            self.assertIn("body-too-large", response.text or "")
            self.assertIn("the response body is over body_size_limit", response.text or "")
            self.assertNotIn("response", recorder.names)
            self.assertEqual(self.code(recorder), "body-too-large")

    def test_largest_response(self) -> None:
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(1000),
            OK_CHUNKED + chunk(bytes(1000)) + LAST_CHUNK,
        ):
            proxy, client, recorder = self.started(**SIZES, body_size_overflow="refuse")
            proxy.origin().respond(data)
            client.send(GET)
            self.assertEqual(self.response(client).content, bytes(1000))
            self.assertEqual(self.ends(recorder), ["response"])

    def test_a_length_without_a_body_is_not_refused(self) -> None:
        proxy, client, _ = self.started(**SIZES, body_size_overflow="refuse")
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
        client.send(GET.replace(b"GET", b"HEAD"))
        self.assertEqual(self.response(client, b"HEAD").status_code, 200)

    def test_what_streams_anyway_is_not_refused(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n"
        plain, chunked = head + b"\r\n", OK_CHUNKED + chunk(bytes(1001)) + LAST_CHUNK
        events = head + b"Content-Type: text/event-stream\r\n\r\n"
        set_by_hook = Hooks(responseheaders=set_stream("response"))
        for addons, options, data in (
            ((set_by_hook,), {}, plain + bytes(1001)),
            ((), {"stream_large_bodies": 10}, plain + bytes(1001)),
            ((), {"stream_large_bodies": 10}, chunked),
            ((), {}, events + bytes(1001)),
        ):
            proxy, client, _ = self.started(
                *addons, **SIZES, **options, body_size_overflow="refuse"
            )
            proxy.origin().respond(data)
            client.send(GET)
            self.assertEqual(len(self.response(client).content or b""), 1001)


class MemoryLimitTests(EventTestCase):
    """``body_memory_limit``: larger bodies wait in a file, and are whole all the same."""

    WHOLE = bytes(range(256)) * 2

    def spooled(self, **hooks: Any) -> tuple[MemoryProxy, Any]:
        proxy = self.proxy(Hooks(**hooks), **SIZES, chunk=50)
        origin = proxy.origin().respond(Response.make(200, self.WHOLE))
        return proxy, origin

    def exchange(self, proxy: MemoryProxy) -> bytes:
        client = proxy.client()
        client.send(post(512) + self.WHOLE)
        return self.response(client).content or b""

    def test_untouched(self) -> None:
        kinds: list[type] = []
        proxy, origin = self.spooled(
            request=lambda flow: kinds.append(type(flow.request.body_object)),
            response=lambda flow: kinds.append(type(flow.response.body_object)),
        )
        self.assertEqual(self.exchange(proxy), self.WHOLE)
        self.assertEqual(origin.requests[0].content, self.WHOLE)
        self.assertEqual(kinds, [Body, Body])
        self.assertNotIn(b"chunked", origin.received)

    def test_read(self) -> None:
        seen: list[bytes] = []
        proxy, origin = self.spooled(
            request=lambda flow: seen.append(flow.request.content),
            response=lambda flow: seen.append(flow.response.content),
        )
        self.assertEqual(self.exchange(proxy), self.WHOLE)
        self.assertEqual(seen, [self.WHOLE, self.WHOLE])
        self.assertEqual(origin.requests[0].content, self.WHOLE)

    def test_changed(self) -> None:
        def request(flow: HTTPFlow) -> None:
            flow.request.content = (flow.request.content or b"")[::-1]

        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.content = b"small"

        proxy, origin = self.spooled(request=request, response=response)
        self.assertEqual(self.exchange(proxy), b"small")
        self.assertEqual(origin.requests[0].content, self.WHOLE[::-1])

    def test_repeated_on_a_fresh_connection(self) -> None:
        """A request that found a dead connection is sent again from the file."""
        proxy, client, _ = self.started(**SIZES)
        origin = proxy.origin().respond(OK, lambda request: origin.connections[0].close(), OK)
        client.send(GET)
        client.take()
        client.send(post(512).replace(b"POST", b"PUT") + self.WHOLE)
        self.assertEqual(client.received, OK)
        self.assertEqual([len(each.content or b"") for each in origin.requests], [0, 512, 512])


class StreamLargeTests(EventTestCase):
    """``stream_large_bodies``."""

    def test_known_lengths(self) -> None:
        proxy, client, recorder = self.started(stream_large_bodies=10)
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello")
        client.send(post(11) + b"hello")
        self.assertTrue(origin.received.endswith(b"hello"))
        client.send(b" world")
        self.assertTrue(client.received.endswith(b"hello"))
        origin.send(b" world")
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.request.raw_content)
        self.assertIsNone(flow.response.raw_content)
        self.assertEqual(self.response(client).content, b"hello world")

    def test_lengths_within(self) -> None:
        proxy, client, recorder = self.started(stream_large_bodies=10)
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        client.send(post(10) + b"hello")
        self.assertEqual(proxy.network.attempts, [])
        client.send(b"world")
        self.assertEqual(client.received, b"")
        origin.send(b"world")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.raw_content, b"helloworld")
        self.assertEqual(flow.response.raw_content, b"helloworld")

    def test_response_of_unknown_length(self) -> None:
        messages = self.messages()
        proxy, client, recorder = self.started(stream_large_bodies=10)
        origin = proxy.origin().respond(OK_CHUNKED + chunk(b"0123456789"))
        client.send(GET)
        self.assertEqual(client.received, b"")
        origin.send(chunk(b"x"))
        self.assertIn(b"0123456789", client.received)
        origin.send(chunk(b"y"))
        self.assertTrue(client.received.endswith(chunk(b"y")))
        origin.send(LAST_CHUNK)
        self.assertEqual(self.response(client).content, b"0123456789xy")
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.response.raw_content)
        # It is what was asked for: nobody needs to be warned.
        self.assertNotIn("warn", messages.levels)

    def test_request_of_unknown_length(self) -> None:
        proxy, client, recorder = self.started(stream_large_bodies=10)
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED + chunk(b"0123456789"))
        self.assertEqual(proxy.network.attempts, [])
        client.send(chunk(b"x"))
        self.assertIn(b"0123456789", origin.received)
        client.send(chunk(b"y"))
        self.assertTrue(origin.received.endswith(chunk(b"y")))
        self.assertNotIn("request", recorder.names)
        client.send(b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(origin.requests[0].content, b"0123456789xy")
        assert origin.requests[0].trailers is not None
        self.assertEqual(client.received, OK)
        [flow] = recorder.arguments("request")
        self.assertIsNone(flow.request.raw_content)
        self.assertEqual(flow.request.body_size, 12)

    def test_request_of_unknown_length_from_a_file(self) -> None:
        proxy, client, _ = self.started(stream_large_bodies=300, body_memory_limit=100)
        origin = proxy.origin().respond(OK)
        client.send(CHUNKED)
        for _ in range(10):
            client.send(chunk(bytes(50)))
        client.send(LAST_CHUNK)
        self.assertEqual(origin.requests[0].content, bytes(500))

    def test_request_of_unknown_length_is_not_sent_twice(self) -> None:
        proxy, client, _ = self.started(stream_large_bodies=3)
        origin = proxy.origin().respond(OK, lambda request: origin.connections[0].close(), OK)
        client.send(GET)
        client.take()
        client.send(CHUNKED.replace(b"POST", b"PUT") + chunk(b"hello"))
        client.send(LAST_CHUNK)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(len(origin.requests), 2)

    def test_copy_is_kept(self) -> None:
        proxy, client, recorder = self.started(stream_large_bodies=3, store_streamed_bodies=True)
        proxy.origin().respond(OK_CHUNKED + chunk(b"abc") + chunk(b"def") + LAST_CHUNK)
        client.send(CHUNKED + chunk(b"ghi") + chunk(b"jkl") + LAST_CHUNK)
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.raw_content, b"ghijkl")
        self.assertEqual(flow.response.raw_content, b"abcdef")

    def test_limit_beyond_which_requests_are_refused(self) -> None:
        """Where one chunk passes both limits, there is nothing left to stream."""
        _, client, _ = self.started(stream_large_bodies=10, body_size_limit=20)
        client.send(CHUNKED + chunk(bytes(30)))
        self.assertEqual(self.response(client).status_code, 413)


class EventStreamTests(EventTestCase):
    """``text/event-stream``: at once, though somebody wants whole bodies."""

    def test_event_by_event(self) -> None:
        for kind in (b"text/event-stream", b"Text/Event-Stream; charset=utf-8"):
            proxy, client, recorder = self.started(both())
            origin = proxy.origin().respond(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
            )
            client.send(GET)
            for number in range(5):
                event = chunk(b"data: %d\n\n" % number)
                client.take()
                origin.send(event)
                self.assertEqual(client.received, event)
            self.assertNotIn("response", recorder.names)
            origin.send(LAST_CHUNK)
            self.assertEqual(recorder.names[-1], "response")
            [flow] = recorder.arguments("response")
            self.assertIsNone(flow.response.raw_content)

    def test_until_the_end_of_the_connection(self) -> None:
        proxy, client, recorder = self.started(both())
        origin = proxy.origin().respond(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        )
        client.send(GET)
        client.take()
        origin.send(b"data: 1\n\n")
        self.assertEqual(client.received, chunk(b"data: 1\n\n"))
        origin.close()
        self.assertEqual(self.ends(recorder), ["response"])


class GRPCTests(EventTestCase):
    """``application/grpc`` streams, unless ``stream_grpc`` is off."""

    HEAD = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: application/grpc+proto\r\n\r\n")
    ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    def test_both_ways(self) -> None:
        proxy, client, recorder = self.started(both())
        origin = proxy.origin()
        client.send(self.HEAD + chunk(b"one"))
        self.assertTrue(origin.received.endswith(chunk(b"one")))
        origin.send(self.ANSWER + chunk(b"1"))
        self.assertTrue(client.received.endswith(chunk(b"1")))
        client.send(chunk(b"two") + LAST_CHUNK)
        self.assertEqual(recorder.names[-1], "request")
        origin.send(b"0\r\ngrpc-status: 0\r\n\r\n")
        self.assertTrue(client.received.endswith(b"0\r\ngrpc-status: 0\r\n\r\n"))
        self.assertEqual(self.ends(recorder), ["response"])

    def test_switched_off(self) -> None:
        proxy, client, _ = self.started(both(), stream_grpc=False)
        origin = proxy.origin().respond(self.ANSWER + chunk(b"1"))
        client.send(self.HEAD + chunk(b"one"))
        self.assertEqual(proxy.network.attempts, [])
        client.send(LAST_CHUNK)
        self.assertEqual(origin.requests[0].content, b"one")
        self.assertEqual(client.received, b"")

    def test_other_types_that_look_alike(self) -> None:
        proxy, client, _ = self.started(both())
        client.send(self.HEAD.replace(b"application/grpc", b"x-application/grpc") + chunk(b"one"))
        self.assertEqual(proxy.network.attempts, [])


class ObserversTests(EventTestCase):
    """``observes_only``: an addon that changes nothing makes nothing wait."""

    def observer(self, kind: type[Hooks] = Hooks) -> Any:
        self.seen: list[Any] = []
        addon: Any = kind(
            request=lambda flow: self.seen.append(flow.request.raw_content),
            response=lambda flow: self.seen.append(flow.response.raw_content),
        )
        addon.observes_only = True
        return addon

    def test_bodies_stream(self) -> None:
        proxy = self.proxy(self.observer())
        origin = proxy.origin()
        client = proxy.client()
        client.send(POST[:-2])
        self.assertTrue(origin.received.endswith(b"hel"))
        client.send(POST[-2:])
        origin.send(OK[:-1])
        self.assertTrue(client.received.endswith(b"o"))
        origin.send(b"k")
        # Its hooks are called all the same, once there is nothing more to come.
        self.assertEqual(self.seen, [None, None])

    def test_not_where_somebody_else_wants_the_whole(self) -> None:
        proxy = self.proxy(self.observer(), both())
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(POST[:-2])
        self.assertEqual(proxy.network.attempts, [])
        client.send(POST[-2:])
        self.assertEqual(self.seen, [b"hello", b"ok"])

    def test_one_that_fails_closed_has_agreed_by_that(self) -> None:
        proxy = self.proxy(self.observer(Guard))
        origin = proxy.origin()
        proxy.client().send(POST[:-2])
        self.assertTrue(origin.received.endswith(b"hel"))
