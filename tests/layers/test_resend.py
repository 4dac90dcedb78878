"""Requests whose bodies stream, where a server over HTTP/2 refuses them unseen."""

from __future__ import annotations

from typing import Any

from h2.events import RequestReceived
from twisted.trial.unittest import SynchronousTestCase

from interceptor.layers.resend import RESEND_LIMIT
from interceptor.testing import EventRecorder, MemoryProxy
from tests.layers.h2peers import H2Client, H2Origin, H2Peer, ok

REFUSED = 7


class ResendTests(SynchronousTestCase):
    """No hook wants the body: it goes on as it comes."""

    def setUp(self):
        self.proxy = MemoryProxy(EventRecorder("error"), h2_cleartext=True)
        self.addCleanup(self.proxy.close)
        self.refused: list[int] = []

    def refuse(self, peer: H2Peer, stream: int) -> None:
        self.refused.append(stream)
        peer.h2.reset_stream(stream, REFUSED)
        peer.flush()
        self.proxy.network.flush()

    def origin(self, times: int = 1, **settings: Any) -> H2Origin:
        """Start a server that refuses some complete requests, and answers the next."""

        def answer(peer: H2Peer, stream: int) -> None:
            (self.refuse if len(self.refused) < times else ok)(peer, stream)

        return H2Origin(self.proxy, answer, **settings)

    def seen(self, origin: H2Origin) -> tuple[H2Peer, int]:
        """Return the stream whose head came last."""
        return next(
            (peer, event.stream_id)
            for peer in reversed(origin.peers)
            for event in reversed(peer.events)
            if isinstance(event, RequestReceived)
        )

    def assert_answered(self, client: H2Client, stream: int, origin: H2Origin, body: bytes) -> None:
        peer, asked = origin.requests[-1]
        self.assertEqual((client.status(stream), client.resets), (b"200", {}))
        self.assertEqual(peer.bodies[asked], body)

    def test_a_whole_one(self):
        origin = self.origin(times=3)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"once")
        self.assertEqual(len(origin.requests), 4)
        self.assert_answered(client, stream, origin, b"once")

    def test_trailers_too(self):
        origin = self.origin()
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"once", end=False)
        client.h2.send_headers(stream, [("checksum", "1")], end_stream=True)
        client.go()
        self.assert_answered(client, stream, origin, b"once")
        peer, asked = origin.requests[-1]
        self.assertEqual(peer.trailers[asked], [(b"checksum", b"1")])

    def test_one_that_goes_on_while_it_is_refused(self):
        origin = self.origin(times=0)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"first,", end=False)
        for piece in (b"second,", b"third,"):
            self.refuse(*self.seen(origin))
            client.send_body(stream, piece)
        self.refuse(*self.seen(origin))
        client.send_body(stream, b"last", end=True)
        self.assert_answered(client, stream, origin, b"first,second,third,last")

    def test_nothing_of_it_was_there_yet(self):
        origin = self.origin(times=0)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", end=False)
        self.refuse(*self.seen(origin))
        client.send_body(stream, b"all", end=True)
        self.assert_answered(client, stream, origin, b"all")

    def test_the_server_takes_nothing_meanwhile(self):
        # Its window is shut: whoever sends waits, on a stream that then ends.
        origin = self.origin(times=0, initial_window_size=4)
        client = H2Client(self.proxy)
        # From the first answer on, its window is known.
        client.request()
        origin.peers[0].credit = False
        stream = client.request(method="POST", body=b"0123456789")
        self.assertEqual(origin.requests[1:], [])
        origin.peers[0].credit = True
        self.refuse(*self.seen(origin))
        self.assert_answered(client, stream, origin, b"0123456789")

    def test_the_connection_goes_away(self):
        origin = self.origin(times=0)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"begun", end=False)
        peer, _ = self.seen(origin)
        peer.h2.close_connection(error_code=0, last_stream_id=0)
        peer.flush()
        self.proxy.network.flush()
        client.send_body(stream, b" and ended", end=True)
        self.assertEqual(len(origin.peers), 2)
        self.assert_answered(client, stream, origin, b"begun and ended")

    def test_what_is_kept_has_a_limit(self):
        origin = self.origin(times=0, initial_window_size=1 << 20)
        for size, answered in ((RESEND_LIMIT, True), (RESEND_LIMIT + 1, False)):
            client = H2Client(self.proxy)
            stream = client.request(method="POST", end=False)
            for peer in origin.peers:
                peer.h2.increment_flow_control_window(1 << 18)
            origin.go()
            sent = 0
            while sent < size:
                piece = bytes(min(16000, size - sent))
                client.send_body(stream, piece)
                sent += len(piece)
            self.refuse(*self.seen(origin))
            client.go()
            if answered:
                client.send_body(stream, b"end", end=True)
                self.assert_answered(client, stream, origin, bytes(size) + b"end")
            else:
                self.assertEqual(client.resets, {stream: REFUSED})

    def test_an_answer_has_begun(self):
        origin = self.origin(times=0)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"a", end=False)
        peer, asked = self.seen(origin)
        peer.h2.send_headers(asked, [(":status", "200")])
        peer.flush()
        self.proxy.network.flush()
        self.refuse(peer, asked)
        self.assertEqual(client.resets, {stream: REFUSED})
        self.assertEqual(len(origin.peers), 1)

    def test_a_callable_is_asked_once(self):
        asked: list[bytes] = []

        class Hooks:
            def requestheaders(self, flow: Any) -> None:
                def change(data: bytes) -> bytes:
                    asked.append(data)
                    return data

                flow.request.stream = change

        self.proxy = MemoryProxy(Hooks(), h2_cleartext=True)
        self.addCleanup(self.proxy.close)
        self.origin()
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"once")
        self.assertEqual(client.resets, {stream: REFUSED})
        self.assertEqual(asked, [b"once", b""])

    def test_a_flow_killed_between_two_streams(self):
        flows: list[Any] = []

        class Hooks:
            def requestheaders(self, flow: Any) -> None:
                flow.request.stream = True
                flows.append(flow)

        self.proxy = MemoryProxy(Hooks(), h2_cleartext=True)
        self.addCleanup(self.proxy.close)
        origin = self.origin(times=0, max_concurrent_streams=1)
        client = H2Client(self.proxy)
        stream = client.request(method="POST", body=b"once", end=False)
        self.refuse(*self.seen(origin))
        flows[0].kill()
        self.proxy.flush()
        self.assertIn(stream, client.resets)
        self.assertEqual(flows[0].error.code, "killed")
