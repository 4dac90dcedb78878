"""Event streams and offers of HTTP/3, where one side or both speak HTTP/2."""

from __future__ import annotations

import zlib
from typing import Any

from interceptor.http import HTTPFlow
from interceptor.testing import EventRecorder, MemoryProxy
from tests.events.cases import EventTestCase, Hooks, Waiting
from tests.layers.h2peers import H2Client, H2Origin

TYPE = (b"content-type", b"text/event-stream")


class HTTP2EventStreamTests(EventTestCase):
    """The same as over HTTP/1, for streams that share a connection."""

    def begin(
        self, *addons: object, upstream: str = "mirror", **options: Any
    ) -> tuple[MemoryProxy, H2Client, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(recorder, *addons, h2_cleartext=True, h2_upstream=upstream, **options)
        if upstream == "never":
            self.plain = proxy.origin()
        else:
            self.origin = H2Origin(proxy)
        return proxy, H2Client(proxy), recorder

    def head(self, index: int, *fields: tuple[bytes, bytes]) -> None:
        """Begin the response to the request of that index."""
        peer, stream = self.origin.requests[index]
        peer.h2.send_headers(stream, [(b":status", b"200"), *fields])
        self.origin.go()

    def send(self, index: int, data: bytes, end: bool = False) -> None:
        peer, stream = self.origin.requests[index]
        peer.h2.send_data(stream, data, end_stream=end)
        self.origin.go()

    def test_each_event_at_once(self) -> None:
        def hook(flow: HTTPFlow) -> None:
            assert flow.sse is not None
            event = flow.sse.events[-1]
            if event.data == "b":
                event.drop()
            event.data += "!"

        _, client, recorder = self.begin(Hooks(sse_event=hook))
        stream = client.request()
        self.head(0, TYPE)
        self.send(0, b": c\n\ndata: a\n\nda")
        self.assertEqual(client.bodies[stream], b": c\n\ndata: a!\n\n")
        self.send(0, b"ta: b\n\ndata: c\n\n")
        self.assertEqual(client.bodies[stream], b": c\n\ndata: a!\n\ndata: c!\n\n")
        self.send(0, b"", end=True)
        self.assertIn(stream, client.finished)
        self.assertEqual(recorder.names[-1], "response")

    def test_a_hook_that_waits_delays_no_other_stream(self) -> None:
        waiting = Waiting()
        proxy, client, _ = self.begin(Hooks(sse_event=waiting))
        first, second = client.request("/1"), client.request("/2")
        for index in (0, 1):
            self.head(index, TYPE)
            self.send(index, b"data: %d\n\n" % index)
        self.assertEqual(len(waiting.arguments), 2)
        waiting._deferreds.pop(1).callback(None)
        proxy.flush()
        self.assertEqual((client.bodies[first], client.bodies[second]), (b"", b"data: 1\n\n"))
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.bodies[first], b"data: 0\n\n")

    def test_injected(self) -> None:
        proxy, client, recorder = self.begin()
        stream = client.request()
        self.head(0, TYPE)
        self.send(0, b"data: a\n\n")
        [flow] = recorder.arguments("sse_event")
        flow.sse.inject("b")
        proxy.flush()
        client.go()
        self.assertEqual(client.bodies[stream], b"data: a\n\ndata: b\n\n")

    def test_compressed(self) -> None:
        _, client, _ = self.begin(Hooks(sse_event=lambda flow: None))
        stream = client.request()
        self.head(0, TYPE, (b"content-encoding", b"gzip"))
        packer = zlib.compressobj(wbits=31)
        self.send(0, packer.compress(b"data: a\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        self.assertEqual(client.bodies[stream], b"data: a\n\n")
        self.assertIsNone(client.field(stream, b"content-encoding"))

    def test_silent_for_long(self) -> None:
        proxy, client, _ = self.begin(
            read_timeout=10, tunnel_idle_timeout=100, h2_ping_interval=1000
        )
        stream = client.request()
        self.head(0, TYPE)
        proxy.advance(90)
        self.send(0, b"data: a\n\n")
        proxy.advance(90)
        self.send(0, b"data: b\n\n")
        self.assertEqual(client.bodies[stream], b"data: a\n\ndata: b\n\n")
        proxy.advance(101)
        self.assertIn(stream, client.resets)

    def test_from_http1(self) -> None:
        _, client, _ = self.begin(Hooks(sse_event=lambda flow: None), upstream="never")
        stream = client.request()
        self.plain.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\ndata: b"
        )
        self.assertEqual(client.bodies[stream], b"data: a\n\n")

    def test_to_http1(self) -> None:
        proxy, _, _ = self.begin(Hooks(sse_event=lambda flow: None), upstream="always")
        client = proxy.client()
        client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.head(0, TYPE)
        self.send(0, b"data: a\n\ndata: b")
        self.assertTrue(client.received.endswith(b"\r\n\r\n9\r\ndata: a\n\n\r\n"))

    def test_offers_of_http_3(self) -> None:
        _, client, recorder = self.begin()
        stream = client.request()
        self.head(0, (b"alt-svc", b'h3=":443", h2=":444"'), (b"x", b"y"))
        self.send(0, b"ok", end=True)
        self.assertEqual(client.field(stream, b"alt-svc"), b'h2=":444"')
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.metadata["alt_svc_removed"], ['h3=":443"'])

    def test_offers_of_http_3_in_frames(self) -> None:
        _, client, _ = self.begin()
        client.request()
        peer, _stream = self.origin.requests[0]
        peer.h2.advertise_alternative_service(b'h3=":443"', origin=b"http://example.test")
        self.origin.go()
        self.head(0)
        self.send(0, b"ok", end=True)
        names = [type(event).__name__ for event in client.events]
        self.assertIn("StreamEnded", names)
        self.assertNotIn("AlternativeServiceAvailable", names)
