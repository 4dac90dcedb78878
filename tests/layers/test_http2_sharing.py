"""What the streams of an HTTP/2 connection share, and must not take from each other."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import HTTPFlow
from interceptor.testing import EventRecorder, MemoryProxy
from tests.layers.h2peers import H2Client, H2Origin, H2Peer, ok

REFUSED, CALM = 7, 11

SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


class SharingTestCase(SynchronousTestCase):
    """Makes proxies that speak HTTP/2 without TLS on both sides."""

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        options.setdefault("h2_cleartext", True)
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy


class WindowTests(SharingTestCase):
    """A connection's window, where one stream could use it up."""

    def test_hook_that_holds_a_response(self):
        held: Deferred[None] = Deferred()

        class Hooks:
            def responseheaders(self, flow: HTTPFlow) -> Deferred[None] | None:
                assert flow.response is not None
                flow.response.stream = True
                return held if flow.request.path == "/held" else None

        def answer(peer: H2Peer, stream: int) -> None:
            size = 65535 if peer.field(stream, b":path") == b"/held" else 3000
            peer.h2.send_headers(stream, [(":status", "200")])
            body = bytes(size)
            while body:
                room = min(peer.h2.local_flow_control_window(stream), 16384)
                if not room:
                    break
                piece, body = body[:room], body[room:]
                peer.h2.send_data(stream, piece, end_stream=not body)
            peer.flush()

        # A client that shows the smallest windows, and the same to a server.
        proxy = self.proxy(Hooks())
        origin = H2Origin(proxy, answer)
        client = H2Client(proxy)
        waiting = client.request("/held")
        quick = client.request("/quick")
        self.assertIn(quick, client.finished)
        self.assertEqual(len(client.bodies[waiting]), 0)
        # Nobody has taken what is held: its own window stays shut.
        self.assertEqual(len(origin.peers), 1)
        held.callback(None)
        proxy.flush()
        self.assertEqual(len(client.bodies[waiting]), 65535)

    def test_there_is_an_end(self):
        held: Deferred[None] = Deferred()

        class Hooks:
            def responseheaders(self, flow: HTTPFlow) -> Deferred[None]:
                assert flow.response is not None
                flow.response.stream = True
                return held

        received = []

        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.send_headers(stream, [(":status", "200")])
            while room := min(peer.h2.local_flow_control_window(stream), 16384):
                peer.h2.send_data(stream, bytes(room))
                received.append(room)
            peer.flush()

        proxy = self.proxy(Hooks(), h2_connection_window=100000)
        H2Origin(proxy, answer)
        client = H2Client(proxy)
        for _ in range(10):
            client.request("/held")
        self.assertLessEqual(sum(received), 65535 + 100000)
        self.assertGreater(sum(received), 100000)


class FewStreamsTests(SharingTestCase):
    """Servers that allow few streams, beside each other."""

    def test_who_waits_for_another_server(self):
        proxy = self.proxy()
        full = H2Origin(proxy, host="full.test", max_concurrent_streams=1)
        free = H2Origin(proxy, host="free.test", max_concurrent_streams=1)
        client = H2Client(proxy)
        for number in range(5):
            client.request(f"/{number}", host="full.test")
        streams = [client.request(f"/{number}", host="free.test") for number in range(5)]
        self.assertEqual(len(full.requests), 4)
        for peer, stream in tuple(free.requests):
            ok(peer, stream)
        free.go()
        self.assertEqual(len(free.requests), 5)
        ok(*free.requests[-1])
        free.go()
        self.assertEqual(client.finished, set(streams))

    def test_more_become_allowed(self):
        proxy = self.proxy()
        origin = H2Origin(proxy, max_concurrent_streams=1)
        client = H2Client(proxy)
        for number in range(8):
            client.request(f"/{number}")
        self.assertEqual(len(origin.requests), 4)
        origin.peers[0].h2.update_settings({3: 10})
        origin.go()
        self.assertEqual(len(origin.requests), 8)

    def test_refused_more_than_once(self):
        refused: list[int] = []

        def answer(peer: H2Peer, stream: int) -> None:
            if len(refused) < 3:
                refused.append(stream)
                peer.h2.reset_stream(stream, REFUSED)
                peer.flush()
            else:
                ok(peer, stream)

        # Its body is gathered for the hooks, so that it can be sent again.
        proxy = self.proxy(EventRecorder())
        origin = H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream = client.request(method="POST", body=b"once")
        self.assertEqual(client.status(stream), b"200")
        self.assertEqual(len(origin.requests), 4)

    def test_refused_for_ever(self):
        def answer(peer: H2Peer, stream: int) -> None:
            peer.h2.reset_stream(stream, REFUSED)
            peer.flush()

        proxy = self.proxy()
        origin = H2Origin(proxy, answer)
        client = H2Client(proxy)
        stream = client.request()
        self.assertEqual(client.resets, {stream: REFUSED})
        self.assertEqual(len(origin.requests), 4)

    def test_no_stream_in_time(self):
        proxy = self.proxy(recorder := EventRecorder(), read_timeout=5.0)
        origin = H2Origin(proxy, host="full.test", max_concurrent_streams=1)
        client = H2Client(proxy)
        for number in range(5):
            client.request(f"/{number}", host="full.test")
        # Streams that end elsewhere give it no more time, nor do those that go on.
        H2Origin(proxy, ok, host="free.test")
        for peer in origin.peers:
            peer.h2.send_headers(1, [(":status", "200")])
        for _ in range(3):
            for peer in origin.peers:
                peer.h2.send_data(1, b"more")
            origin.go()
            client.request(host="free.test")
            proxy.advance(2.0)
        codes = [flow.error.code for flow in recorder.arguments("error")]
        self.assertEqual(codes, ["stream-limit"])
        self.assertEqual(len(origin.requests), 4)


class CalmTests(SharingTestCase):
    """A server that asks for calm."""

    def test_goaway(self):
        proxy = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        payload = (0).to_bytes(4, "big") + CALM.to_bytes(4, "big") + b"too_many"
        origin.peers[0].write(len(payload).to_bytes(3, "big") + b"\x07\0\0\0\0\0" + payload)
        proxy.flush()
        # It is for the client to try again, later.
        self.assertEqual(len(origin.peers), 1)
        self.assertEqual(client.resets, {stream: CALM})

    def test_stream(self):
        proxy = self.proxy()
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        # The second finds a connection that is there: it is not one that went stale.
        for stream in (1, 3):
            client.request()
            origin.peers[0].h2.reset_stream(stream, CALM)
            origin.go()
        self.assertEqual(len(origin.requests), 2)
        self.assertEqual(client.resets, {1: CALM, 3: CALM})


class BlameTests(SharingTestCase):
    """Whose fault it is."""

    def test_server_that_breaks_the_protocol(self):
        proxy = self.proxy(recorder := EventRecorder())
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        for frame in (
            b"\0\0\x04\x08\0\0\0\0\0" + bytes(4),
            b"\0\0\x04\x08\0\0\0\0\x01" + bytes(4),
        ):
            stream = client.request()
            origin.peers[-1].write(frame)
            proxy.flush()
            self.assertEqual(client.status(stream), b"502")
        codes = [flow.error.code for flow in recorder.arguments("error")]
        self.assertEqual(codes, ["h2-frame-invalid", "h2-frame-invalid"])


class TrickleTests(SharingTestCase):
    """What a peer begins to say has to be said in time."""

    def test_head(self):
        proxy = self.proxy(recorder := EventRecorder(), head_timeout=10.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        client.request()
        # A head that is never complete, though bytes of it keep coming.
        client.write(b"\0\0\x64\x01\x05\0\0\0\x03")
        for _ in range(3):
            proxy.advance(4.0)
            client.write(b"\x82")
            proxy.flush()
        self.assertEqual(len(client.goaway), 1)
        codes = [flow.error.code for flow in recorder.arguments("error")]
        self.assertEqual(codes, ["h2-timeout", "h2-timeout"])
        self.assertEqual(len(origin.requests), 1)

    def test_continuation(self):
        proxy = self.proxy(head_timeout=10.0)
        client = H2Client(proxy)
        client.write(b"\0\0\x01\x01\x01\0\0\0\x01\x82")
        for _ in range(3):
            proxy.advance(4.0)
            client.write(b"\0\0\x01\x09\0\0\0\0\x01\x86")
            proxy.flush()
        self.assertEqual(len(client.goaway), 1)

    def test_server(self):
        proxy = self.proxy(head_timeout=10.0, read_timeout=100.0)
        origin = H2Origin(proxy)
        client = H2Client(proxy)
        stream = client.request()
        origin.peers[0].write(b"\0\0\x64\x01\x05\0\0\0\x01\x88")
        proxy.advance(10.1)
        self.assertEqual(client.status(stream), b"502")

    def test_frames_in_pieces_that_are_completed(self):
        proxy = self.proxy(head_timeout=10.0)
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        for _ in range(5):
            client.write(SETTINGS[:5])
            proxy.advance(6.0)
            client.write(SETTINGS[5:])
            proxy.flush()
        self.assertIn(client.request(), client.finished)
        self.assertEqual(client.goaway, [])
