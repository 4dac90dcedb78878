"""Limits as options, each hit in memory; those that other tests do not hit by their names."""

from __future__ import annotations

import gzip
from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.testing import EventRecorder, MemoryProxy
from tests.events.cases import GET, EventTestCase, Hooks, post
from tests.layers.h2peers import H2Client, H2Origin, ok

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = b"\x82\x86\x84\x41\x01a"
"""GET, http, ``/`` and the authority ``a`` (RFC 7541)."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2 (RFC 9113 section 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


class HeadTests(EventTestCase):
    """``head_size_limit`` and ``header_count_limit``."""

    def answers(self, fields: bytes, count: int, **options: Any) -> tuple[bytes, bytes, bool]:
        """How a large HTTP/1 request and a large response are answered; whether HTTP/2 ends."""
        recorder = EventRecorder("error")
        proxy = self.proxy(recorder, h2_cleartext=True, **options)
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")
        client = proxy.client()
        client.send(GET[:-2] + fields + b"\r\n")
        request = client.received
        other = proxy.client()
        other.send(GET)
        h2 = H2Client(proxy)
        stream = h2.request("/", *[("x", "y" * 10)] * count)
        return request, other.received, stream in h2.resets or bool(h2.goaway)

    def test_size(self):
        fields = b"X: yyyyyyyyyy\r\n" * 60
        request, response, reset = self.answers(fields, 60, head_size_limit=500)
        self.assertTrue(request.startswith(b"HTTP/1.1 431 "), request)
        self.assertIn(b"interceptor: head-too-large", request)
        self.assertTrue(response.startswith(b"HTTP/1.1 502 "), response)
        self.assertIn(b"interceptor: response-head-too-large", response)
        self.assertTrue(reset)

    def test_what_hpack_makes_of_few_bytes_counts(self):
        proxy = self.proxy(EventRecorder("error"), h2_cleartext=True, head_size_limit=5000)
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        # The first one goes into the table; each of the others is a byte.
        fields = [("x", "y" * 1000)]
        first = client.request("/", *fields)
        bomb = client.request("/", *fields * 50)
        self.assertEqual((client.status(first), client.status(bomb)), (b"200", None))
        # It is not decoded to its end, so that the table is of no more use.
        self.assertEqual([goaway.error_code for goaway in client.goaway], [11])

    def test_count(self):
        request, response, reset = self.answers(b"X: y\r\n" * 20, 20, header_count_limit=10)
        self.assertTrue(request.startswith(b"HTTP/1.1 431 "), request)
        self.assertIn(b"interceptor: too-many-fields", request)
        self.assertIn(b"interceptor: response-too-many-fields", response)
        self.assertTrue(reset)


class HTTP2Tests(EventTestCase):
    """What HTTP/2 peers may do that costs them nothing."""

    def ended(self, sent: bytes, **options: Any) -> int | None:
        """The error that GOAWAY names in answer to what was ``sent``; None where it does not."""
        proxy = self.proxy(EventRecorder("error"), h2_cleartext=True, **options)
        H2Origin(proxy, ok, host="a")
        client = proxy.client()
        client.send(PREFACE + frame(4, 0, 0) + sent)
        data, code = client.received, None
        proxy.close()
        while len(data) >= 9:
            length = int.from_bytes(data[:3], "big")
            if data[3] == 7:
                code = int.from_bytes(data[13:17], "big")
            data = data[9 + length :]
        return code

    def test_continuations(self):
        for count, code in ((3, None), (4, 11)):
            sent = frame(1, 1, 1, REQUEST) + frame(9, 0, 1, b"\0\1x\1y") * (count - 1)
            sent += frame(9, 4, 1, b"\0\1x\1y")
            self.assertEqual(self.ended(sent, h2_continuation_limit=3), code, count)

    def test_resets(self):
        for count, code in ((5, None), (7, 11)):
            sent = b"".join(
                frame(1, 5, stream, REQUEST) + frame(3, 0, stream, b"\0\0\0\x08")
                for stream in range(1, 2 * count, 2)
            )
            self.assertEqual(self.ended(sent, h2_reset_limit=5), code, count)

    def test_what_carries_nothing(self):
        begin = frame(1, 4, 1, b"\x83" + REQUEST[1:])
        floods = {
            "SETTINGS": (b"", frame(4, 0, 0)),
            "PING": (b"", frame(6, 0, 0, b"12345678")),
            "PRIORITY": (b"", frame(2, 0, 5, b"\0\0\0\0\x10")),
            "empty DATA": (begin, frame(0, 0, 1)),
            "DATA of padding": (begin, frame(0, 8, 1, b"\x05" + bytes(5))),
            "unknown frames": (b"", frame(99, 0, 0)),
        }
        for name, (first, each) in floods.items():
            self.assertEqual(self.ended(first + each * 30, h2_control_limit=10), 11, name)
            self.assertIsNone(self.ended(first + each * 5, h2_control_limit=10), name)

    def test_table(self):
        proxy = self.proxy(EventRecorder("error"), h2_cleartext=True, h2_table_size=8192)
        client = proxy.client()
        client.send(PREFACE + frame(4, 0, 0))
        self.assertIn(b"\0\x01" + (8192).to_bytes(4, "big"), client.received)


class WorkTests(EventTestCase):
    """What takes too long, or comes too much at once."""

    def test_decode_timeout(self):
        errors: list[str | None] = []

        def look(flow: HTTPFlow) -> None:
            assert flow.request.content
            errors.append(flow.request.content_error)

        body = gzip.compress(b"") * 30_000 + gzip.compress(b"x")
        for timeout, code in ((0.001, "content-too-slow"), (0.0, None)):
            proxy: MemoryProxy = self.proxy(Hooks(request=look), decode_timeout=timeout)
            proxy.origin().respond(lambda request: Response.make(200))
            proxy.client().send(post(len(body), b"Content-Encoding: gzip") + body)
            [error] = errors
            self.assertEqual(error.partition(":")[0] if error else None, code)
            errors.clear()
            proxy.close()

    def test_descriptor_headroom(self):
        proxy = self.proxy(descriptor_headroom=7)
        proxy.environment.prepare()
        self.assertEqual(proxy.environment.descriptors.headroom, 7)
        proxy.options.update(descriptor_headroom=9)
        proxy.environment.options_changed({"descriptor_headroom"})
        self.assertEqual(proxy.environment.descriptors.headroom, 9)
