"""What a peer may do without end, and what it may not; and that nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.http2 import HTTP2Limits, HTTP2ServerCodec
from interceptor.wire.http2limits import Budget, Rate
from interceptor.wire.httpevents import NEED_DATA, Data, StreamReset
from tests.wire.http2feeding import (
    GET,
    HELLO,
    POST,
    PRIORITY,
    SETTINGS_ACK,
    Codec,
    Compressor,
    Result,
    build,
    data,
    feed,
    headers,
    new_client,
    new_pair,
    new_request,
    new_response,
    new_server,
    ping,
    rst_stream,
    settings,
    window_update,
)

ENHANCE_YOUR_CALM = 11


def always(frame: bytes) -> Callable[[int], bytes]:
    """Return what makes the same frame each time."""
    return lambda number: frame


def odd(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Return what makes a frame for the stream with that number."""
    return lambda number: make(2 * number + 1)


class BudgetTests(SynchronousTestCase):
    def test_burst(self):
        budget = Budget(Rate(3, 1))
        self.assertEqual([budget.spend(5.0, 0) for _ in range(4)], [False] * 3 + [True])

    def test_time_gives_more(self):
        budget = Budget(Rate(2, 8))
        for _ in range(2):
            self.assertFalse(budget.spend(5.0, 0))
        self.assertFalse(budget.spend(5.125, 0))
        self.assertTrue(budget.spend(5.1875, 0))

    def test_never_more_than_the_burst(self):
        budget = Budget(Rate(2, 10))
        budget.spend(0.0, 0)
        found = [budget.spend(1000.0, 0) for _ in range(3)]
        self.assertEqual(found, [False, False, True])

    def test_work_gives_more(self):
        budget = Budget(Rate(1, 0, 2))
        self.assertFalse(budget.spend(0.0, 10))
        self.assertFalse(budget.spend(0.0, 11))
        self.assertTrue(budget.spend(0.0, 11))

    def test_work_is_saved(self):
        budget = Budget(Rate(1, 0, 2, 3))
        found = [budget.spend(0.0, 10) for _ in range(5)]
        self.assertEqual(found, [False] * 4 + [True])

    def test_a_clock_that_goes_back(self):
        budget = Budget(Rate(1, 1))
        budget.spend(100.0, 0)
        self.assertTrue(budget.spend(50.0, 0))
        self.assertFalse(budget.spend(53.0, 0))


class FloodTests(SynchronousTestCase):
    """Each has a burst of three here, and no more."""

    rate = Rate(3, 1)

    def check(
        self,
        code: str,
        codec: Codec,
        frame: Callable[[int], bytes],
        then: bytes = b"",
        spare: int = 3,
    ) -> None:
        for number in range(spare):
            self.assertIsNone(feed(codec, frame(number)).error)
        result = feed(codec, frame(spare), then)
        self.assertIsNotNone(result.error, code)
        self.assertEqual(result.code, code)
        assert result.goaway is not None
        self.assertEqual(result.goaway[1], ENHANCE_YOUR_CALM)

    def test_pings(self):
        self.check("h2-ping-flood", new_server(pings=self.rate), lambda n: ping())
        self.check("h2-ping-flood", new_client(pings=self.rate), lambda n: ping(ack=True))

    def test_settings(self):
        for frame in (settings(), settings((4, 1)), settings((4, 65535))):
            codec = new_server(settings=self.rate)
            self.check("h2-settings-flood", codec, always(frame))
        self.check("h2-settings-flood", new_server(settings=self.rate), lambda n: SETTINGS_ACK)

    def test_settings_without_end(self):
        pairs = [(1000 + number, 1) for number in range(65)]
        self.assertEqual(feed(new_server(), settings(*pairs)).code, "h2-settings-flood")

    def test_many_settings_at_once(self):
        """Each of them would change the windows of all streams."""
        pairs = [(4, number) for number in range(65)]
        self.assertIsNone(feed(new_server(), settings(*pairs[:64])).code)
        self.assertEqual(feed(new_server(), settings(*pairs)).code, "h2-settings-flood")

    def test_window_updates(self):
        codec = new_server(window_updates=self.rate)
        self.check("h2-window-flood", codec, lambda n: window_update(0, 1))

    def test_window_updates_for_each_4_kib(self):
        """What clients written in Go do: both windows are opened for each little that is read."""
        for size in (1000, 16 << 20):
            codec = new_server(window_updates=Rate(10, 0, 16, 65536))
            feed(codec, headers(1, GET, True) + window_update(0, 1 << 30))
            feed(codec, window_update(1, 1 << 30))
            codec.send_response(1, new_request(), new_response(), False, None)
            for _ in range((1 << 24) // size):
                codec.send_data(1, bytes(size), False)
            updates = window_update(0, 4096) + window_update(1, 4096)
            result = feed(codec, updates * 4096)
            self.assertIsNone(result.error)

    def test_empty_data(self):
        for frame in (data(1, b""), data(1, b"", padding=9)):
            codec = new_server(empty_frames=self.rate)
            feed(codec, headers(1, POST))
            self.check("h2-empty-frames", codec, always(frame))

    def test_frames_without_use(self):
        codec = new_server(idle_frames=self.rate)
        self.check("h2-idle-frames", codec, lambda n: build(PRIORITY, 0, 7, bytes(5)))
        codec = new_server(idle_frames=self.rate)
        self.check("h2-idle-frames", codec, lambda n: build(99, 0, 0, b"x"))
        client = new_client(idle_frames=self.rate)
        self.check("h2-idle-frames", client, lambda n: build(10, 0, 0, b"\0\0"))
        codec = new_server(idle_frames=self.rate)
        feed(codec, headers(1, POST))
        codec.reset(1)
        self.check("h2-idle-frames", codec, lambda n: rst_stream(1, 8))

    def test_rapid_reset(self):
        compressor = Compressor()
        self.check(
            "h2-rapid-reset",
            new_server(resets=self.rate),
            lambda n: compressor.headers(2 * n + 1, GET, True) + rst_stream(2 * n + 1, 8),
        )

    def test_resets_that_we_are_made_to_send(self):
        def malformed(compressor: Compressor, stream_id: int) -> bytes:
            return compressor.headers(stream_id, GET[:1], True)

        def closed_window(compressor: Compressor, stream_id: int) -> bytes:
            return compressor.headers(stream_id, POST) + window_update(stream_id, 0)

        def short_priority(compressor: Compressor, stream_id: int) -> bytes:
            return compressor.headers(stream_id, POST) + build(PRIORITY, 0, stream_id, b"1234")

        for make in (malformed, closed_window, short_priority):
            frame = partial(make, Compressor())
            codec = new_server(resets=self.rate)
            self.check("h2-rapid-reset", codec, odd(frame))

    def test_streams_that_we_are_made_to_refuse(self):
        compressor = Compressor()
        codec = new_server(resets=self.rate, concurrent_streams=0)
        self.check("h2-rapid-reset", codec, lambda n: compressor.headers(2 * n + 1, GET, True))

    def test_streams_of_a_client_that_has_not_seen_our_limit(self):
        codec = HTTP2ServerCodec(HTTP2Limits(resets=self.rate, concurrent_streams=2), "repair")
        compressor = Compressor()
        sent = HELLO[: -len(SETTINGS_ACK)]
        sent += b"".join(compressor.headers(2 * n + 1, GET, True) for n in range(20))
        result = feed(codec, sent)
        self.assertIsNone(result.error)
        self.assertEqual(list(result.resets.values()), [7] * 18)
        for number in range(20, 1010):
            result = feed(codec, compressor.headers(2 * number + 1, GET, True))
        self.assertEqual(result.code, "h2-rapid-reset")

    def test_a_server_that_resets(self):
        codec = new_client(*["GET"] * 4, resets=self.rate)
        self.check("h2-rapid-reset", codec, lambda n: rst_stream(2 * n + 1, 8))

    def test_honest_peers_are_not_hindered(self):
        codec, compressor = new_server(), Compressor()
        feed(codec, window_update(0, 2**30))
        for number in range(3000):
            stream_id = 2 * number + 1
            sent = compressor.headers(stream_id, POST) + data(stream_id, b"x", True)
            sent += ping() + window_update(0, 1) * 2 + window_update(stream_id, 1)
            result = feed(codec, sent + build(PRIORITY, 0, stream_id, bytes(5)))
            self.assertIsNone(result.error)
            codec.send_response(stream_id, None, new_response())
            codec.send_data(stream_id, b"y", True)
            codec.acknowledge(stream_id, 1)


class FlatnessTests(SynchronousTestCase):
    """Streams leave nothing behind."""

    def sizes(self, codec: Any) -> dict[str, int]:
        found = {
            name: len(value) for name, value in vars(codec).items() if hasattr(value, "__len__")
        }
        found["entries"] = len(codec._decoder._entries)
        found["memo"] = len(codec._decoder.memo)
        found["fields"] = len(codec._encoder._fields)
        return found

    def exchange(self, client: Any, server: Any, number: int) -> None:
        stream_id = client.send_request(
            new_request("POST", fields=[(b"x-n", b"%d" % (number % 9))])
        )
        client.send_data(stream_id, b"question")
        if number % 7:
            client.end_stream(stream_id)
        result = feed(server, client.data_to_send())
        self.assertEqual(result.body(stream_id), b"question")
        server.acknowledge(stream_id, 8)
        if number % 5 == 0:
            server.reset(stream_id)
        else:
            server.send_response(stream_id, None, new_response())
            server.send_data(stream_id, b"answer", True)
        result = feed(client, server.data_to_send())
        client.acknowledge(stream_id, len(result.body(stream_id)))
        client.reset(stream_id)
        feed(server, client.data_to_send())

    def test_many_streams(self):
        unlimited = Rate(10**9, 0)
        client, server = new_pair(resets=unlimited)
        for number in range(6000):
            self.exchange(client, server, number)
        before = self.sizes(client), self.sizes(server)
        for number in range(6000, 9000):
            self.exchange(client, server, number)
        self.assertEqual((self.sizes(client), self.sizes(server)), before)
        self.assertEqual((client.open_streams, server.open_streams), (0, 0))
        for codec in (client, server):
            self.assertEqual(codec._held, 0)
            self.assertEqual(codec._receive_window + codec._credit, codec._window_size)

    def test_a_large_head_that_trickles_in_is_bounded(self):
        codec = new_server(header_list_size=1000, continuations=10**9)
        result = Result()
        codec.receive_data(build(1, 0, 1, bytes(1000)))
        size = 0
        while result.error is None and size < 100000:
            codec.receive_data(build(9, 0, 1, bytes(10)))
            size += 10
            result.pull(codec)
        self.assertLess(size, 2000)

    def test_what_is_not_pulled_is_not_made(self):
        codec = new_server()
        codec.receive_data(headers(1, GET, True) + ping() * 50)
        self.assertFalse(codec.has_output)
        event = codec.next_event(0.0)
        self.assertIsNot(event, NEED_DATA)
        self.assertFalse(codec.has_output)

    def test_reset_streams_are_remembered_for_a_while_only(self):
        codec, compressor = new_server(resets=Rate(10**9, 0)), Compressor()
        for number in range(3000):
            feed(codec, compressor.headers(2 * number + 1, POST))
            codec.reset(2 * number + 1)
        self.assertEqual(len(codec._reset), 1024)
        self.assertIsNone(feed(codec, data(5999, b"x")).error)
        self.assertEqual(feed(codec, data(1, b"x")).code, "h2-stream-closed")

    def test_a_response_as_it_goes_on(self):
        client, server = new_pair()
        client.send_request(new_request(), True)
        feed(server, client.data_to_send())
        server.send_response(1, None, new_response())
        total = 0
        while total < 50_000_000:
            room = server.sendable(1)
            self.assertGreater(room, 0)
            server.send_data(1, bytes(room))
            for _, event in feed(client, server.data_to_send()).events:
                if isinstance(event, Data):
                    total += len(event.data)
                    client.acknowledge(1, len(event.data))
                else:
                    self.assertNotIsInstance(event, StreamReset)
            feed(server, client.data_to_send())
        self.assertLess(len(client._buffer) - client._position, 100)

    def test_requests_are_not_shared(self):
        self.assertIsNot(new_request(), new_request())
