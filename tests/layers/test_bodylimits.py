"""What gathered bodies may take in all, and how slowly bodies may come; in memory."""

from __future__ import annotations

import gzip
from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.layers.bodylimits import SMALL_BODY
from interceptor.model.body import Body
from interceptor.testing import EventRecorder, MemoryProxy
from tests.events.cases import OK, EventTestCase, Hooks, post

SIZE = 20_000


class MemoryTests(EventTestCase):
    """``body_memory_total`` and ``body_memory_overflow``."""

    def start(self, *events: str, **options: Any) -> tuple[MemoryProxy, EventRecorder]:
        recorder = EventRecorder("requestheaders", *events)
        proxy = self.proxy(recorder, **options)
        proxy.origin().respond(lambda request: Response.make(200, request.content or b"y" * SIZE))
        return proxy, recorder

    def spooled(self, flow: HTTPFlow) -> bool:
        body = flow.request.body_object
        return isinstance(body, Body) and body.spooled

    def test_bodies_are_counted_until_their_flow_ends(self):
        proxy, recorder = self.start("request", "response")
        memory = proxy.environment.body_memory
        client = proxy.client()
        client.send(post(SIZE) + b"x" * (SIZE - 1))
        self.assertEqual(memory.taken, SIZE - 1)
        client.send(b"x")
        self.assertEqual(memory.taken, 0)
        self.assertIn("response", recorder.names)

    def test_what_does_not_fit_goes_to_a_file(self):
        for chunk in (None, 1000):
            proxy, recorder = self.start("request", body_memory_total=30_000)
            first, second = proxy.client(), proxy.client(chunk)
            first.send(post(SIZE) + b"x" * (SIZE - 1))
            second.send(post(SIZE) + b"z" * (SIZE - 1))
            self.assertLessEqual(proxy.environment.body_memory.taken, 30_000)
            second.send(b"z")
            response = second.response()
            assert response is not None
            self.assertEqual(response.content, b"z" * SIZE)
            first.send(b"x")
            flows = recorder.arguments("request")
            self.assertEqual([self.spooled(flow) for flow in flows], [True, False])
            self.assertEqual(proxy.environment.body_memory.taken, 0)
            proxy.close()

    def test_refused_requests(self):
        options: dict[str, Any] = {
            "body_memory_total": 1000,
            "body_memory_overflow": "refuse",
        }
        proxy, _ = self.start("request", "error", **options)
        client = proxy.client()
        client.send(post(SIZE) + b"x" * SIZE)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 413 "))
        self.assertIn(b"interceptor: body-memory-full", client.received)
        self.assertEqual(proxy.environment.body_memory.taken, 0)
        small = proxy.client()
        small.send(post(SMALL_BODY) + b"x" * SMALL_BODY)
        self.assertTrue(small.received.startswith(b"HTTP/1.1 200 "))

    def test_refused_responses(self):
        proxy, recorder = self.start(
            "response", "error", body_memory_total=1000, body_memory_overflow="refuse"
        )
        client = proxy.client()
        client.send(post(0))
        self.assertTrue(client.received.startswith(b"HTTP/1.1 502 "))
        [flow] = recorder.arguments("error")
        self.assertEqual(flow.error.code, "body-memory-full")
        self.assertEqual(proxy.environment.body_memory.taken, 0)

    def test_bodies_beyond_their_own_limit_are_not_counted(self):
        proxy, recorder = self.start("request", body_memory_limit=SMALL_BODY)
        client = proxy.client(1000)
        client.send(post(SIZE) + b"x" * (SIZE - 1))
        self.assertEqual(proxy.environment.body_memory.taken, 0)
        client.send(b"x")
        self.assertTrue(self.spooled(recorder.arguments("request")[0]))

    def test_copies_of_what_streams_are_counted(self):
        def stream(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.stream = True

        hooks = Hooks(responseheaders=stream)
        bodies: list[Any] = []
        recorder = EventRecorder(response=lambda flow: bodies.append(flow.response.body_object))
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * SIZE)
        for total, spooled in ((3 * SIZE, False), (SIZE, True)):
            for overflow in ("spool", "refuse"):
                proxy = self.proxy(
                    hooks,
                    recorder,
                    store_streamed_bodies=True,
                    body_memory_total=total,
                    body_memory_overflow=overflow,
                )
                origin, client = proxy.origin(), proxy.client()
                client.send(post(0))
                origin.send(head + b"y" * SIZE)
                taken = 0 if spooled and total < SIZE else SIZE
                self.assertEqual(proxy.environment.body_memory.taken, taken)
                origin.send(b"y" * SIZE)
                self.assertEqual(len(client.received), len(head) + 2 * SIZE)
                self.assertEqual(proxy.environment.body_memory.taken, 0)
                [body] = bodies
                bodies.clear()
                if spooled and overflow == "refuse":
                    # For want of a copy nothing is held up.
                    self.assertEqual(body.length, SIZE)
                else:
                    self.assertEqual((body.length, body.spooled), (2 * SIZE, spooled))

    def test_flows_that_fail_give_back(self):
        proxy, _ = self.start("request")
        client = proxy.client()
        client.send(post(SIZE) + b"x" * (SIZE - 1))
        client.abort()
        self.assertEqual(proxy.environment.body_memory.taken, 0)


class RequestRateTests(EventTestCase):
    """``request_body_rate``."""

    def drip(self, *events: str, seconds: float = 5.0, head: bytes = b"", **options: Any) -> Any:
        """Send a body a byte at a time; return how often until it was refused, and the answer."""
        proxy = self.proxy(EventRecorder("requestheaders", *events), body_timeout=10.0, **options)
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(head or post(1000))
        for count in range(1, 30):
            proxy.advance(seconds)
            client.send(b"1\r\nx\r\n" if head else b"x")
            if client.received:
                return count, client.received
        return None, b""

    def test_gathered_and_streamed(self):
        for events in (("request",), ()):
            count, answer = self.drip(*events)
            self.assertEqual(count, 3)
            self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
            self.assertIn(b"interceptor: body-too-slow", answer)

    def test_a_higher_rate_than_demanded(self):
        self.assertEqual(self.drip("request", request_body_rate=1, seconds=0.9), (None, b""))

    def test_no_rate(self):
        self.assertEqual(self.drip("request", request_body_rate=0), (None, b""))

    def test_what_streams_without_an_announced_length_may_take_its_time(self):
        head = post(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        self.assertEqual(self.drip(head=head), (None, b""))
        self.assertEqual(self.drip("request", head=head)[0], 3)

    def test_a_slow_server_is_not_the_clients_fault(self):
        proxy = self.proxy(EventRecorder("requestheaders"), body_timeout=10.0)
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(post(2) + b"x")
        proxy.advance(9)
        client.send(b"x")
        self.assertEqual(client.received, OK)


class ResponseRateTests(EventTestCase):
    """``response_body_rate``."""

    def drip(self, *events: str, **options: Any) -> tuple[int | None, Any]:
        recorder = EventRecorder("requestheaders", "error", *events)
        proxy = self.proxy(recorder, read_timeout=10.0, **options)
        origin = proxy.origin()
        client = proxy.client()
        client.send(post(0))
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for count in range(1, 30):
            proxy.advance(5)
            origin.send(b"x")
            for flow in recorder.arguments("error"):
                return count, flow.error.code
        return None, None

    def test_gathered_and_streamed(self):
        for events in (("response",), ()):
            self.assertEqual(self.drip(*events, response_body_rate=100), (3, "response-too-slow"))

    def test_no_rate_unless_asked_for(self):
        self.assertEqual(self.drip("response"), (None, None))


class DecodedTests(EventTestCase):
    """``decoded_size_limit``, ``decoded_ratio_limit``."""

    def test_the_option_bounds_what_hooks_see_of_either_message(self):
        seen: list[Any] = []

        def look(message: Any) -> None:
            seen.append((len(message.content), message.content_error))

        recorder = EventRecorder(
            request=lambda flow: look(flow.request), response=lambda flow: look(flow.response)
        )
        body = gzip.compress(bytes(50_000))
        for options, decoded in (
            ({"decoded_size_limit": "40k"}, False),
            ({"decoded_size_limit": "60k"}, True),
            ({"decoded_ratio_limit": 50, "decoded_ratio_free": "40k"}, False),
            ({"decoded_ratio_limit": 50, "decoded_ratio_free": "60k"}, True),
            ({"decoded_ratio_limit": 50}, True),
            ({"decoded_ratio_limit": 2000, "decoded_ratio_free": 0}, True),
            ({"decoded_ratio_limit": 0, "decoded_ratio_free": 0}, True),
        ):
            proxy = self.proxy(recorder, **options)
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            proxy.origin().respond(head % len(body) + body)
            client = proxy.client()
            client.send(post(len(body), b"Content-Encoding: gzip") + body)
            self.assertEqual(len(seen), 2)
            for length, error in seen:
                self.assertEqual(length, 50_000 if decoded else len(body))
                self.assertEqual(error is None, decoded)
            seen.clear()
