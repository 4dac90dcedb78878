"""``responseheaders`` and ``response``: arguments, guarantees, and what a hook may change."""

from __future__ import annotations

import gzip
from typing import Any

from interceptor.http import Headers, HTTPFlow, Response
from tests.events.cases import (
    GET,
    LAST_CHUNK,
    OK,
    OK_CHUNKED,
    EventTestCase,
    Guard,
    Waiting,
    answering,
    chunk,
    set_stream,
)

UNTIL_EOF = b"HTTP/1.0 200 OK\r\n\r\nhello"


class ResponseHeadersTests(EventTestCase):
    """``responseheaders(flow)``: the head is there, the body is not."""

    def test_argument(self) -> None:
        seen: list[Any] = []

        def responseheaders(flow: HTTPFlow) -> None:
            response = flow.response
            assert response is not None
            seen.append(
                (
                    flow.request.url,
                    response.status_code,
                    response.reason,
                    response.http_version,
                    response.headers["X-A"],
                    response.raw_content,
                    response.timestamp_end,
                    flow.server_conn.address,
                )
            )

        proxy, client, _ = self.hooked(responseheaders=responseheaders)
        proxy.origin().respond(b"HTTP/1.1 404 Not here\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nno")
        client.send(GET)
        url, address = "http://example.test/", ("example.test", 80)
        self.assertEqual(seen, [(url, 404, "Not here", "HTTP/1.1", "1", None, None, address)])

    def test_before_the_body_is_read(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        client.send(GET)
        self.assertEqual(recorder.names[-1], "responseheaders")
        origin.send(b"hello")
        self.assertEqual(recorder.names[-1], "response")

    def test_waited_for(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(responseheaders=waiting)
            proxy.origin().respond(OK)
            client.send(GET)
            self.assertEqual(client.received, b"")
            waiting.arguments[0].response.headers["X-Added"] = "1"
            waiting.go_on()
            proxy.flush()
            self.assertEqual(self.response(client).headers["X-Added"], "1")

    def test_changes_reach_the_client(self) -> None:
        def responseheaders(flow: HTTPFlow) -> None:
            response = flow.response
            assert response is not None
            response.status_code = 203
            response.reason = "Changed"
            response.headers["X-Added"] = "1"

        for hooks in ({}, {"response": lambda flow: None}):
            proxy, client, _ = self.hooked(responseheaders=responseheaders, **hooks)
            proxy.origin().respond(OK)
            client.send(GET)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 203 Changed\r\n"))
            response = self.response(client)
            self.assertEqual((response.headers["X-Added"], response.content), ("1", b"ok"))

    def test_answer_in_the_servers_place(self) -> None:
        proxy, client, recorder = self.hooked(responseheaders=answering())
        proxy.origin().respond(OK)
        client.send(GET + GET)
        self.assertEqual([self.response(client).content for _ in range(2)], [b"mine", b"mine"])
        self.assertEqual(self.ends(recorder), ["response", "response"])

    def test_response_taken_away(self) -> None:
        """``response`` guarantees that there is one: it does not come then."""
        proxy, client, recorder = self.hooked(
            responseheaders=lambda flow: setattr(flow, "response", None)
        )
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.code(recorder), "response-removed")
        self.assertEqual(self.ends(recorder), ["error"])

    def test_fails_closed(self) -> None:
        for hook in (lambda flow: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(responseheaders=hook), hook_timeout=3)
            proxy.origin().respond(OK)
            client.send(GET)
            proxy.advance(3)
            self.assertEqual(self.response(client).status_code, 502)
            self.assertEqual(self.code(recorder), "hook-failed")


class ResponseTests(EventTestCase):
    """``response(flow)``: all of the response is there, and none of it was sent."""

    def test_body(self) -> None:
        self.check_body(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        self.check_body(OK_CHUNKED + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK)

    def check_body(self, whole: bytes) -> None:
        seen: list[Any] = []

        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            seen.append((flow.response.raw_content, flow.response.body, flow.response.text))
            seen.append((flow.response.timestamp_end is not None, client.received))

        proxy, client, _ = self.hooked({"chunk": 1}, response=response)
        proxy.origin().respond(whole)
        client.send(GET)
        self.assertEqual(seen, [(b"hello", b"hello", "hello"), (True, b"")])
        self.assertEqual(self.response(client).content, b"hello")

    def test_body_until_the_end_of_the_connection(self) -> None:
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(UNTIL_EOF)
        client.send(GET)
        self.assertNotIn("response", recorder.names)
        origin.close()
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.raw_content, b"hello")
        self.assertIn(b"Content-Length: 5\r\n", client.received)
        self.assertFalse(client.closed)

    def test_waited_for(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(response=waiting)
            proxy.origin().respond(OK)
            client.send(GET)
            self.assertEqual(client.received, b"")
            waiting.arguments[0].response.text = "changed"
            waiting.go_on()
            proxy.flush()
            self.assertEqual(self.response(client).content, b"changed")

    def test_another_response(self) -> None:
        proxy, client, _ = self.hooked(response=answering(410, b"gone"))
        proxy.origin().respond(OK)
        client.send(GET + GET)
        for _ in range(2):
            response = self.response(client)
            self.assertEqual((response.status_code, response.content), (410, b"gone"))

    def test_response_taken_away(self) -> None:
        proxy, client, recorder = self.hooked(response=lambda flow: setattr(flow, "response", None))
        proxy.origin().respond(OK)
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.ends(recorder), ["response"])
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.error.code, "response-removed")

    def test_content_codings(self) -> None:
        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.text = (flow.response.text or "").upper()

        proxy, client, _ = self.hooked(response=response)
        proxy.origin().respond(Response.make(200, b"hello", {"Content-Encoding": "gzip"}))
        client.send(GET)
        answer = self.response(client)
        self.assertEqual(gzip.decompress(answer.raw_content or b""), b"HELLO")
        self.assertEqual(answer.content, b"HELLO")

    def test_damaged_coding_never_raises(self) -> None:
        seen: list[Any] = []

        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            seen.append((flow.response.content, flow.response.content_error))

        proxy, client, _ = self.hooked(response=response)
        damaged = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        proxy.origin().respond(damaged)
        client.send(GET)
        [(content, error)] = seen
        self.assertEqual(content, b"abc")
        self.assertTrue(error.startswith("content-damaged"))
        self.assertEqual(client.received, damaged)

    def test_untouched_message_leaves_as_it_came(self) -> None:
        proxy, client, _ = self.hooked(
            responseheaders=lambda flow: None,
            response=lambda flow: flow.response.content,
        )
        odd = b"HTTP/1.1 200 \r\nx-B:1\r\nX-a:   2\r\nX-B: 3\r\ncontent-LENGTH: 2\r\n\r\nok"
        proxy.origin().respond(odd)
        client.send(GET)
        self.assertEqual(client.received, odd)

    def test_trailers(self) -> None:
        seen: list[Any] = []

        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None and flow.response.trailers is not None
            seen.append(flow.response.trailers["X-Sum"])
            flow.response.trailers["X-Sum"] = "2"

        proxy, client, _ = self.hooked(response=response)
        proxy.origin().respond(OK_CHUNKED + chunk(b"hello") + b"0\r\nX-Sum: 1\r\n\r\n")
        client.send(GET)
        self.assertEqual(seen, ["1"])
        self.assertTrue(client.received.endswith(b"5\r\nhello\r\n0\r\nX-Sum: 2\r\n\r\n"))

    def test_trailers_of_the_hooks_own(self) -> None:
        def response(flow: HTTPFlow) -> None:
            assert flow.response is not None
            flow.response.trailers = Headers([(b"X-Sum", b"3")])

        proxy, client, _ = self.hooked(response=response)
        proxy.origin().respond(OK)
        client.send(GET)
        answer = self.response(client)
        assert answer.trailers is not None
        self.assertEqual((answer.content, answer.trailers["X-Sum"]), (b"ok", "3"))

    def test_streamed_response_comes_after_its_last_byte(self) -> None:
        seen: list[Any] = []
        proxy, client, recorder = self.hooked(
            responseheaders=set_stream("response"),
            response=lambda flow: seen.append((client.received, flow.response.raw_content)),
        )
        origin = proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        client.send(GET)
        self.assertTrue(client.received.endswith(b"hel"))
        self.assertNotIn("response", recorder.names)
        origin.send(b"lo")
        self.assertEqual(len(seen), 1)
        self.assertIsNone(seen[0][1])
        self.assertEqual(self.response(client).content, b"hello")

    def test_next_request_waits_for_the_hook_of_a_streamed_response(self) -> None:
        waiting = Waiting()
        proxy, client, recorder = self.hooked(
            responseheaders=set_stream("response"), response=waiting
        )
        proxy.origin().respond(OK)
        client.send(GET + GET)
        self.assertEqual(recorder.names.count("requestheaders"), 1)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(recorder.names.count("requestheaders"), 2)

    def test_fails_closed(self) -> None:
        for hook in (lambda flow: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(response=hook), hook_timeout=3)
            proxy.origin().respond(OK)
            client.send(GET)
            proxy.advance(3)
            self.assertEqual(self.response(client).status_code, 502)
            # `response` has begun: it is this flow's end, and `error` does not follow.
            self.assertEqual(self.ends(recorder), ["response"])
            [flow] = recorder.arguments("response")
            self.assertEqual(flow.error.code, "hook-failed")
