"""What the client with a stuck stream says, read by h2."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
from twisted.trial.unittest import SynchronousTestCase

from bench.h2stalled import request_head
from bench.http2workloads import percentile
from interceptor.wire import http2frames as frames


class RequestTests(SynchronousTestCase):
    def test_is_a_get(self):
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        server.initiate_connection()
        flags = frames.END_HEADERS | frames.END_STREAM
        head = request_head("/1k", "127.0.0.1")
        events = server.receive_data(
            frames.PREFACE
            + frames.settings_frame(())
            + frames.frame(frames.HEADERS, flags, 1, head)
        )
        [request] = [each for each in events if isinstance(each, h2.events.RequestReceived)]
        self.assertEqual(
            request.headers,
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"127.0.0.1"),
                (b":path", b"/1k"),
            ],
        )


class PercentileTests(SynchronousTestCase):
    def test_of_few_and_of_many(self):
        self.assertEqual(percentile([0.5], 99), 0.5)
        self.assertEqual(percentile([number / 1000 for number in range(1000)], 99), 0.99)
