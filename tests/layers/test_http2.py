"""HTTP/2 on either leg, and on both: streams, windows, resets, GOAWAY, limits, deadlines."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import HTTPFlow, Response
from interceptor.layers.http2stream import HTTP2Stream
from interceptor.testing import EventRecorder, MemoryProxy
from interceptor.wire.httpevents import Data
from tests.layers.h2peers import H2Client, H2Origin, H2Peer, ok

CANCEL, REFUSED, NO_ERROR, INTERNAL = 8, 7, 0, 2

_STREAMING = ("requestheaders", "responseheaders", "error", "serverconnect", "serverdisconnect")
"""Events for which no body is gathered."""


class HTTP2TestCase(SynchronousTestCase):
    """Makes proxies that speak HTTP/2 without TLS on both sides."""

    def proxy(
        self, *addons: object, streaming: bool = False, **options: Any
    ) -> tuple[MemoryProxy, EventRecorder]:
        """Return a proxy and its recorder, which lets bodies stream if ``streaming``."""
        recorder = EventRecorder(*_STREAMING) if streaming else EventRecorder()
        options.setdefault("h2_cleartext", True)
        proxy = MemoryProxy(recorder, *addons, **options)
        self.addCleanup(proxy.close)
        return proxy, recorder

    def ends(self, recorder: EventRecorder) -> list[str]:
        return [name for name in recorder.names if name in ("response", "error")]

    def codes(self, recorder: EventRecorder) -> list[str]:
        return [flow.error.code for flow in recorder.arguments("error")]


class StreamTests(HTTP2TestCase):
    """Each stream is a flow of its own."""

    def test_events(self):
        proxy, recorder = self.proxy()
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        recorder.events.clear()
        stream = client.request("/a")
        self.assertEqual(
            recorder.names,
            [
                "requestheaders",
                "request",
                "serverconnect",
                "serverconnected",
                "responseheaders",
                "response",
            ],
        )
        self.assertEqual(client.status(stream), b"200")
        self.assertEqual(client.bodies[stream], b"/a")
        self.assertIn(stream, client.finished)
        flow = recorder.arguments("response")[0]
        self.assertEqual(flow.request.http_version, "HTTP/2.0")
        self.assertEqual(flow.request.pretty_url, "http://example.test/a")

    def test_streams_share_a_connection(self):
        proxy, recorder = self.proxy()
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy)
        streams = [client.request(f"/{number}") for number in range(20)]
        self.assertEqual(len(origin.peers), 1)
        for number, stream in enumerate(streams):
            self.assertEqual(client.bodies[stream], b"/%d" % number)
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_streams_that_come_at_once_share_a_connection(self):
        proxy, _ = self.proxy()
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy)
        for number in range(1, 20, 2):
            head = [
                (":method", "GET"),
                (":authority", "example.test"),
                (":scheme", "http"),
                (":path", f"/{number}"),
            ]
            client.h2.send_headers(number, head, end_stream=True)
        client.go()
        self.assertEqual(len(origin.peers), 1)
        self.assertEqual(len(client.finished), 10)

    def test_different_origins_on_one_connection(self):
        proxy, _ = self.proxy()
        first = H2Origin(proxy, ok)
        second = H2Origin(proxy, ok, host="other.test")
        client = H2Client(proxy)
        client.request("/1")
        client.request("/2", host="other.test")
        self.assertEqual([len(first.requests), len(second.requests)], [1, 1])
        self.assertEqual(len(client.finished), 2)

    def test_to_http1(self):
        proxy, _ = self.proxy(h2_upstream="never")
        origin = proxy.origin().respond(Response.make(200, b"hello", {"X-Mixed": "1"}))
        client = H2Client(proxy)
        stream = client.request("/x", ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"))
        self.assertEqual(client.bodies[stream], b"hello")
        self.assertEqual(client.field(stream, b"x-mixed"), b"1")
        self.assertTrue(origin.received.startswith(b"GET /x HTTP/1.1\r\n"))
        request = origin.requests[0]
        self.assertEqual(request.headers["Host"], "example.test")
        self.assertEqual(request.headers.get_all("cookie"), ["a=1; b=2"])

    def test_host_field_of_a_hook(self):
        def request(flow: HTTPFlow) -> None:
            flow.request.headers["Host"] = "other.test"

        proxy, _ = self.proxy(_Hooks(request=request))
        answers = H2Origin(proxy, ok)
        H2Client(proxy).request()
        [(peer, stream)] = answers.requests
        self.assertEqual(peer.field(stream, b":authority"), b"other.test")
        proxy, _ = self.proxy(_Hooks(request=request), h2_upstream="never")
        origin = proxy.origin().respond(Response.make(200))
        H2Client(proxy).request()
        self.assertEqual(origin.requests[0].headers["Host"], "other.test")

    def test_from_http1(self):
        proxy, _ = self.proxy(h2_upstream="always")
        origin = H2Origin(proxy, ok)
        client = proxy.client()
        client.send(
            b"GET http://example.test/x HTTP/1.1\r\nHost: example.test\r\nX-Mixed: 1\r\n"
            b"Connection: keep-alive, X-Hop\r\nX-Hop: gone\r\n\r\n"
        )
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.http_version, "HTTP/1.1")
        self.assertEqual(response.content, b"/x")
        [(peer, stream)] = origin.requests
        self.assertEqual(
            peer.heads[stream][0],
            [
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"example.test"),
                (b":path", b"/x"),
                (b"x-mixed", b"1"),
            ],
        )

    def test_bodies_and_trailers_both_ways(self):
        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "200")])
            peer.h2.send_data(stream, peer.bodies[stream][::-1])
            peer.h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
            peer.flush()

        proxy, recorder = self.proxy()
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream = client.request(method="POST", body=b"hello", end=False)
        client.h2.send_headers(stream, [("x-end", "1")], end_stream=True)
        client.go()
        self.assertEqual(client.bodies[stream], b"olleh")
        self.assertEqual(client.trailers[stream], [(b"grpc-status", b"0")])
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.trailers["x-end"], "1")
        self.assertEqual(flow.response.trailers["grpc-status"], "0")

    def test_hook_answers(self):
        def request(flow: HTTPFlow) -> None:
            flow.response = Response.make(418, b"teapot")

        proxy, recorder = self.proxy(_Hooks(request=request))
        client = H2Client(proxy)
        stream = client.request()
        self.assertEqual(client.status(stream), b"418")
        self.assertEqual(client.bodies[stream], b"teapot")
        self.assertEqual(self.ends(recorder), ["response"])

    def test_head(self):
        def answer(peer: H2Peer, stream: int) -> None:
            head = [(":status", "200"), ("content-length", "1000")]
            peer.h2.send_headers(stream, head, end_stream=True)
            peer.flush()

        proxy, _ = self.proxy()
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream = client.request(method="HEAD")
        self.assertEqual(client.field(stream, b"content-length"), b"1000")
        self.assertIn(stream, client.finished)

    def test_informational(self):
        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
            ok(peer, stream)

        proxy, _ = self.proxy()
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream = client.request()
        statuses = [dict(head)[b":status"] for head in client.heads[stream]]
        self.assertEqual(statuses, [b"103", b"200"])


class _Hooks:
    def __init__(self, **hooks: Any) -> None:
        for name, hook in hooks.items():
            setattr(self, name, hook)


class IsolationTests(HTTP2TestCase):
    """What one stream waits for, no other waits for."""

    def test_hook_that_waits(self):
        waiting: Deferred[None] = Deferred()
        proxy, _ = self.proxy(
            _Hooks(request=lambda flow: waiting if flow.request.path == "/slow" else None)
        )
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        slow = client.request("/slow")
        quick = client.request("/quick")
        self.assertIn(quick, client.finished)
        self.assertNotIn(slow, client.finished)
        waiting.callback(None)
        client.go()
        self.assertIn(slow, client.finished)

    def test_client_that_does_not_take_one_response(self):
        body = bytes(200000)

        def answer(peer: H2Peer, stream: int) -> None:
            if peer.field(stream, b":path") != b"/large":
                ok(peer, stream)
                return
            peer.h2.send_headers(stream, [(":status", "200")])
            sent = 0
            while sent < len(body):
                size = min(16384, peer.h2.local_flow_control_window(stream), len(body) - sent)
                if not size:
                    break
                peer.h2.send_data(stream, body[sent : sent + size])
                sent += size
            peer.flush()

        proxy, _ = self.proxy(streaming=True)
        origin = H2Origin(proxy, answer)
        client = H2Client(proxy)
        client.h2.increment_flow_control_window(1 << 20)
        client.credit = False
        large = client.request("/large")
        quick = client.request("/quick")
        self.assertIn(quick, client.finished)
        self.assertEqual(len(client.bodies[large]), 65535)
        # Nothing is taken from the server that has nowhere to go: its window stays closed.
        window = origin.peers[0].h2.local_flow_control_window(1)
        self.assertLessEqual(window, 65535)

    def test_upload_is_credited_as_the_server_takes_it(self):
        proxy, _ = self.proxy(streaming=True, h2_window=65535, h2_connection_window=1 << 20)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        origin_peers = origin.peers
        stream = client.request(method="POST", end=False)
        origin_peers[0].credit = False
        client.send_body(stream, bytes(65535))
        other = client.request("/quick")
        self.assertIn((origin_peers[0], 3), origin.requests)
        self.assertEqual(len(origin_peers[0].bodies[1]), 65535)
        # The server has credited nothing, so one more window is all that we take.
        more = client.h2.local_flow_control_window(stream)
        client.send_body(stream, bytes(min(more, 65535)))
        self.assertEqual(len(origin_peers[0].bodies[1]), 65535)
        self.assertEqual(client.h2.local_flow_control_window(stream), 0)
        del other

    def test_window_edges(self):
        for size in (0, 1, 16383, 16384, 16385, 65534, 65535, 65536, 65537, 200001):
            proxy, _ = self.proxy()
            origin = H2Origin(proxy, ok)
            client = H2Client(proxy)
            stream = client.request(method="POST", body=bytes(size))
            self.assertEqual(len(origin.peers[0].bodies[1]), size)
            self.assertIn(stream, client.finished)

    def test_settings_in_the_middle(self):
        proxy, _ = self.proxy(streaming=True)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        peer = origin.peers[0]
        peer.h2.send_headers(1, [(":status", "200")])
        peer.h2.send_data(1, bytes(16384))
        origin.go()
        client.h2.update_settings({4: 10})
        client.go()
        for size in (16384, 16384, 16383):
            peer.h2.send_data(1, bytes(size))
            origin.go()
        client.h2.update_settings({4: 100000})
        client.go()
        peer.h2.send_data(1, b"end", end_stream=True)
        origin.go()
        self.assertEqual(len(client.bodies[stream]), 65538)
        self.assertIn(stream, client.finished)


class SmallFrameTests(HTTP2TestCase):
    """DATA frames that nobody has taken yet: what is in them is held, not the frames."""

    def test_they_are_joined_while_they_wait(self):
        class Stream(HTTP2Stream):
            def was_reset(self, event: object) -> None:
                raise AssertionError

            def timed_out(self, *, reading: bool) -> None:
                raise AssertionError

            def _expect(self) -> None:
                raise AssertionError

        protocol = Mock()
        stream = Stream(protocol, 1)
        pieces = [b"%04d" % number for number in range(10_000)] + [b"x" * 5000, b"y", b"z" * 2000]
        for piece in pieces:
            stream.received(Data(piece, piece[:1] == b"z"))
        taken: list[Data] = []
        while not taken or not taken[-1].end_of_message:
            taken.append(stream.next_event())
        self.assertEqual(b"".join(event.data for event in taken), b"".join(pieces))
        self.assertLess(len(taken), 20)
        credited = sum(call.args[1] for call in protocol.acknowledge.call_args_list)
        self.assertEqual(credited + len(taken[-1].data), 40_000 + 5000 + 1 + 2000)

    def test_a_body_in_them(self):
        waiting: Deferred[None] = Deferred()
        proxy, recorder = self.proxy(_Hooks(requestheaders=lambda flow: waiting))
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        stream = client.request(method="POST", body=b"", end=False)
        for number in range(150):
            client.h2.send_data(stream, b"%03d" % number)
        client.h2.end_stream(stream)
        client.go()
        waiting.callback(None)
        client.go()
        self.assertIn(stream, client.finished)
        [flow] = recorder.arguments("request")
        self.assertEqual(flow.request.content, b"".join(b"%03d" % n for n in range(150)))


class ResetTests(HTTP2TestCase):
    """RST_STREAM ends one flow, and its code goes across."""

    def test_client_resets(self):
        proxy, recorder = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        client.h2.reset_stream(stream, CANCEL)
        client.go()
        self.assertEqual(origin.peers[0].resets, {1: CANCEL})
        self.assertEqual(self.ends(recorder), ["error"])
        self.assertEqual(self.codes(recorder), ["client-disconnected"])

    def test_client_resets_while_a_hook_is_waited_for(self):
        cancelled: list[Any] = []
        waiting: Deferred[None] = Deferred(cancelled.append)
        proxy, recorder = self.proxy(_Hooks(request=lambda flow: waiting))
        client = H2Client(proxy)
        stream = client.request()
        client.h2.reset_stream(stream, CANCEL)
        client.go()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.ends(recorder), ["error"])

    def test_server_resets(self):
        proxy, recorder = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        origin.peers[0].h2.reset_stream(1, 11)
        origin.go()
        self.assertEqual(client.resets, {stream: 11})
        self.assertEqual(self.codes(recorder), ["stream-reset"])

    def test_server_resets_in_the_body(self):
        proxy, _ = self.proxy(streaming=True)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        peer = origin.peers[0]
        peer.h2.send_headers(1, [(":status", "200"), ("content-type", "text/event-stream")])
        peer.h2.send_data(1, b"data: 1\n\n")
        origin.go()
        self.assertEqual(client.bodies[stream], b"data: 1\n\n")
        peer.h2.reset_stream(1, INTERNAL)
        origin.go()
        self.assertEqual(client.resets, {stream: INTERNAL})

    def test_http1_client_gets_an_answer(self):
        proxy, recorder = self.proxy(h2_upstream="always")
        origin = H2Origin(proxy)
        client = proxy.client()
        client.send(b"GET http://example.test/x HTTP/1.1\r\nHost: example.test\r\n\r\n")
        origin.peers[0].h2.reset_stream(1, 11)
        origin.go()
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 502)
        self.assertEqual(self.codes(recorder), ["stream-reset"])

    def test_refused_stream_is_sent_again(self):
        refused: list[int] = []

        def answer(peer: H2Peer, stream: int) -> None:
            if not refused:
                refused.append(stream)
                peer.h2.reset_stream(stream, REFUSED)
                peer.flush()
            else:
                ok(peer, stream)

        proxy, recorder = self.proxy()
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        # Not idempotent, but the server has not looked at it.
        stream = client.request(method="POST", body=b"once")
        self.assertEqual(client.status(stream), b"200")
        self.assertEqual(self.ends(recorder), ["response"])

    def test_kill(self):
        proxy, recorder = self.proxy(_Hooks(response=lambda flow: flow.kill()))
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        stream = client.request()
        self.assertIn(stream, client.resets)
        self.assertEqual(self.ends(recorder), ["response"])
        self.assertEqual(recorder.arguments("response")[0].error.code, "killed")

    def test_response_before_the_request_is_complete(self):
        proxy, _ = self.proxy(streaming=True)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request(method="POST", end=False)
        client.send_body(stream, b"begin")
        [peer] = origin.peers
        peer.h2.send_headers(1, [(":status", "413")], end_stream=True)
        origin.go()
        self.assertEqual(client.status(stream), b"413")
        self.assertEqual(client.resets, {stream: NO_ERROR})
        self.assertIn(1, peer.resets)


class GoAwayTests(HTTP2TestCase):
    """Streams that the server took finish; the others go to another connection."""

    def test_streams_finish_and_others_are_sent_again(self):
        proxy, recorder = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        first, second = client.request("/1"), client.request("/2")
        peer = origin.peers[0]
        # By hand, since h2 takes its own GOAWAY for the end.
        peer.write(b"\0\0\x08\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + bytes(4))
        proxy.flush()
        self.assertEqual(len(origin.peers), 2)
        ok(peer, 1)
        again = origin.peers[1]
        ok(again, 1)
        origin.go()
        self.assertEqual(client.bodies[first], b"/1")
        self.assertEqual(client.bodies[second], b"/2")
        self.assertEqual(self.ends(recorder), ["response", "response"])
        self.assertTrue(peer.ended or peer.lost is not None)

    def test_new_requests_go_elsewhere(self):
        proxy, _ = self.proxy()
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy)
        client.request("/1")
        origin.peers[0].write(b"\0\0\x08\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + bytes(4))
        proxy.flush()
        second = client.request("/2")
        self.assertEqual(len(origin.peers), 2)
        self.assertEqual(client.bodies[second], b"/2")

    def test_ours_on_shutdown(self):
        proxy, _ = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request("/1")
        for session in tuple(proxy.environment.sessions):
            session.shut_down()
        proxy.flush()
        self.assertEqual(client.goaway[0].last_stream_id, 2**31 - 1)
        ok(origin.peers[0], 1)
        origin.go()
        self.assertEqual(client.bodies[stream], b"/1")
        self.assertEqual([each.last_stream_id for each in client.goaway][-1], stream)
        self.assertTrue(client.finished)

    def test_ours_where_nothing_is_under_way(self):
        proxy, _ = self.proxy()
        client = H2Client(proxy)
        client.go()
        for session in tuple(proxy.environment.sessions):
            session.shut_down()
        proxy.flush()
        self.assertEqual([each.last_stream_id for each in client.goaway], [2**31 - 1, 0])
        self.assertTrue(client.ended)

    def test_ours_while_a_request_is_on_its_way(self):
        """It was sent when nothing was known of an end: it is served."""
        proxy, _ = self.proxy()
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        client.go()
        for session in tuple(proxy.environment.sessions):
            session.shut_down()
        stream = client.request("/late")
        self.assertEqual(client.bodies[stream], b"/late")
        self.assertIn(stream, client.finished)
        self.assertEqual(client.goaway[0].last_stream_id, 2**31 - 1)
        self.assertTrue(client.ended)


class DeadlineTests(HTTP2TestCase):
    """Every wait of a stream has an end, which is nobody else's."""

    def test_server_does_not_answer(self):
        proxy, recorder = self.proxy(read_timeout=5.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        proxy.advance(5.1)
        self.assertEqual(client.status(stream), b"504")
        self.assertEqual(self.codes(recorder), ["read-timeout"])
        self.assertEqual(origin.peers[0].resets, {1: CANCEL})

    def test_client_does_not_send_its_body(self):
        proxy, recorder = self.proxy(body_timeout=5.0)
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        slow = client.request(method="POST", end=False)
        proxy.advance(5.1)
        self.assertEqual(client.status(slow), b"408")
        self.assertEqual(self.codes(recorder), ["body-timeout"])
        quick = client.request()
        self.assertIn(quick, client.finished)

    def test_client_does_not_read(self):
        proxy, recorder = self.proxy(streaming=True, write_timeout=5.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        client.credit = False
        stream = client.request()
        peer = origin.peers[0]
        peer.h2.send_headers(1, [(":status", "200")])
        for size in (16384, 16384, 16384, 16383):
            peer.h2.send_data(1, bytes(size))
        origin.go()
        peer.h2.send_data(1, b"more")
        origin.go()
        proxy.advance(5.1)
        self.assertEqual(client.resets, {stream: CANCEL})
        self.assertEqual(self.codes(recorder), ["client-not-reading"])
        self.assertEqual(peer.resets, {1: CANCEL})

    def test_idle_connection(self):
        proxy, _ = self.proxy(idle_timeout=20.0)
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        client.request()
        proxy.advance(20.1)
        self.assertEqual(len(client.goaway), 1)

    def test_half_dead_client(self):
        proxy, recorder = self.proxy(h2_ping_interval=10.0, read_timeout=100.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        client.request()
        del origin
        # Its answers get lost.
        self.patch(client, "write", lambda data: None)
        proxy.advance(10.1)
        proxy.advance(10.1)
        self.assertEqual(self.codes(recorder), ["client-not-answering"])

    def test_half_dead_server(self):
        proxy, recorder = self.proxy(h2_ping_interval=10.0, read_timeout=100.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        self.patch(origin.peers[0], "write", lambda data: None)
        proxy.advance(10.1)
        proxy.advance(10.1)
        self.assertEqual(self.codes(recorder), ["server-not-answering"])
        self.assertEqual(client.status(stream), b"504")


class LimitTests(HTTP2TestCase):
    """What is too much ends the offender, with the right code."""

    def test_concurrent_streams(self):
        proxy, recorder = self.proxy(h2_max_streams=2)
        H2Origin(proxy)
        client = H2Client(proxy)
        for _ in range(2):
            client.request()
        # By hand, since h2 keeps to the limit.
        client.write(b"\0\0\x06\x01\x05\0\0\0\x05" + b"\x82\x86\x84\x41\x01a")
        proxy.flush()
        self.assertIn(b"\0\0\x04\x03\0\0\0\0\x05\0\0\0\x07", client.data)
        self.assertEqual(recorder.names.count("requestheaders"), 2)

    def test_server_with_few_streams(self):
        proxy, _ = self.proxy()
        origin = H2Origin(proxy, max_concurrent_streams=1)
        client = H2Client(proxy)
        streams = [client.request(f"/{number}") for number in range(6)]
        self.assertEqual(len(origin.peers), 4)
        for _ in range(6):
            for peer in origin.peers:
                for stream in sorted(peer.finished):
                    peer.finished.discard(stream)
                    ok(peer, stream)
            origin.go()
        for number, stream in enumerate(streams):
            self.assertEqual(client.bodies[stream], b"/%d" % number)

    def test_malformed_request(self):
        proxy, recorder = self.proxy()
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        bad = client.request("/", ("Upper", "case"))
        self.assertEqual(client.resets, {bad: 1})
        self.assertEqual(self.ends(recorder), ["error"])
        good = client.request("/")
        self.assertIn(good, client.finished)

    def test_broken_connection(self):
        proxy, recorder = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        client.request()
        client.write(b"\0\0\x04\x08\0\0\0\0\0" + bytes(4))
        proxy.flush()
        self.assertEqual(len(client.goaway), 1)
        self.assertEqual(client.goaway[0].error_code, 1)
        self.assertIn("error", recorder.names)
        self.assertEqual(origin.peers[0].resets, {1: CANCEL})

    def test_bystander(self):
        proxy, _ = self.proxy()
        H2Origin(proxy, ok)
        offender, bystander = H2Client(proxy), H2Client(proxy)
        offender.write(b"\0\0\x04\x08\0\0\0\0\0" + bytes(4))
        proxy.flush()
        self.assertIn(bystander.request(), bystander.finished)


class AlternativeTests(HTTP2TestCase):
    """ALTSVC frames do not lead clients to QUIC, past the proxy (RFC 7838 section 4)."""

    def offered(self, value: bytes, *, stream: int = 1, **options: Any) -> tuple[bytes, HTTPFlow]:
        origin_name = b"" if stream else b"http://example.test"
        payload = len(origin_name).to_bytes(2, "big") + origin_name + value

        def answer(peer: H2Peer, number: int) -> None:
            peer.write(_frame(10, stream, payload))
            ok(peer, number)

        proxy, recorder = self.proxy(**options)
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream_id = client.request()
        self.assertIn(stream_id, client.finished)
        found = client.data.partition(_frame(10, 0, b"")[3:])[2]
        [flow] = recorder.arguments("response")
        return found, flow

    def test_http3_is_taken_out(self):
        sent, flow = self.offered(b'h3=":443"')
        self.assertEqual(sent, b"")
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":443"'])

    def test_of_the_connection(self):
        sent, flow = self.offered(b'h3=":443"', stream=0)
        self.assertEqual(sent, b"")
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":443"'])

    def test_others_are_passed_on(self):
        sent, flow = self.offered(b'h3=":443", h2=":8443"')
        self.assertTrue(sent.startswith(b'\0\x13http://example.testh2=":8443"'), sent)
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":443"'])

    def test_option(self):
        sent, flow = self.offered(b'h3=":443"', keep_h3_offers=True)
        self.assertTrue(sent.startswith(b'\0\x13http://example.testh3=":443"'), sent)
        self.assertNotIn("alt_svc_removed", flow.metadata)


def _frame(kind: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream.to_bytes(4, "big")
    return head + payload


class MirrorTests(HTTP2TestCase):
    """Servers see the client's ways."""

    def test_settings_and_window(self):
        proxy, _ = self.proxy()
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy, initial_window_size=131072, max_concurrent_streams=7)
        client.h2.increment_flow_control_window(1000000)
        client.request()
        settings = origin.peers[0].h2.remote_settings
        self.assertEqual(settings.initial_window_size, 131072)
        self.assertEqual(settings.max_concurrent_streams, 7)
        # Less the one byte of the answer.
        self.assertEqual(origin.peers[0].h2.outbound_flow_control_window, 65535 + 1000000 - 1)

    def test_over_the_budget(self):
        proxy, recorder = self.proxy(h2_mirror_budget=100000)
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy)
        client.h2.increment_flow_control_window(1000000)
        client.request()
        self.assertLessEqual(origin.peers[0].h2.outbound_flow_control_window, 100000)
        [flow] = recorder.arguments("response")
        self.assertTrue(flow.metadata["h2_window_reduced"])

    def test_over_the_budget_of_all(self):
        proxy, recorder = self.proxy(h2_mirror_total=1500000, h2_connection_window=65535)
        origin = H2Origin(proxy, ok)
        clients = [H2Client(proxy) for _ in range(2)]
        for client in clients:
            client.h2.increment_flow_control_window(1000000)
            client.request()
        marks = [flow.metadata.get("h2_window_reduced") for flow in recorder.arguments("response")]
        self.assertEqual(marks, [None, True])
        self.assertLessEqual(origin.peers[1].h2.outbound_flow_control_window, 65535)
        # What the first one took is free again when it is gone.
        clients[0].close()
        proxy.flush()
        client = H2Client(proxy)
        client.h2.increment_flow_control_window(1000000)
        client.request()
        flow = recorder.arguments("response")[-1]
        self.assertNotIn("h2_window_reduced", flow.metadata)

    def test_switched_off(self):
        proxy, _ = self.proxy(h2_mirror=False)
        origin = H2Origin(proxy, ok)
        client = H2Client(proxy, initial_window_size=131072)
        client.request()
        self.assertEqual(origin.peers[0].h2.remote_settings.initial_window_size, 1 << 20)


class ConnectTests(HTTP2TestCase):
    """CONNECT turns a stream into a connection."""

    def test_tunnel(self):
        proxy, recorder = self.proxy(h2_upstream="never")
        origin = proxy.origin().respond(Response.make(200, b"inside"))
        client = H2Client(proxy)
        recorder.events.clear()
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":authority", "example.test:80")]
        client.h2.send_headers(stream, head)
        client.go()
        self.assertEqual(client.status(stream), b"200")
        self.assertIn("http_connect", recorder.names)
        client.send_body(stream, b"GET /in HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertTrue(client.bodies[stream].endswith(b"inside"), client.bodies[stream])
        self.assertEqual(origin.requests[0].path, "/in")
        client.h2.reset_stream(stream, CANCEL)
        client.go()
        self.assertIn("serverdisconnect", recorder.names)
        other = client.request(host="example.test")
        self.assertIn(other, client.finished)

    def test_refused(self):
        def refuse(flow: HTTPFlow) -> None:
            flow.response = Response.make(403, b"no")

        proxy, _ = self.proxy(_Hooks(http_connect=refuse))
        client = H2Client(proxy)
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":authority", "example.test:80")]
        client.h2.send_headers(stream, head)
        client.go()
        self.assertEqual(client.status(stream), b"403")

    def test_unreachable(self):
        proxy, recorder = self.proxy()
        client = H2Client(proxy)
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":authority", "nowhere.test:80")]
        client.h2.send_headers(stream, head)
        client.go()
        self.assertEqual(client.status(stream), b"502")
        self.assertEqual(self.ends(recorder), ["error"])
