"""Flow control; RFC 9113 sections 5.2 and 6.9."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError
from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2ServerCodec
from interceptor.wire.httpevents import StreamReset
from tests.wire.http2feeding import (
    DATA,
    GET,
    HELLO,
    POST,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    Compressor,
    Result,
    build,
    data,
    describe,
    feed,
    headers,
    new_client,
    new_pair,
    new_request,
    new_response,
    new_server,
    parse,
    rst_stream,
    settings,
    window_update,
)

FLOW_CONTROL_ERROR = 3
NOT_OPENED = "h2-flow-control"


def updates(result: Result) -> list[tuple[int, int]]:
    """Return the windows that were opened, and by how much."""
    return [
        (frame.stream_id, int.from_bytes(frame.payload, "big"))
        for frame in result.frames
        if frame.kind == WINDOW_UPDATE
    ]


def chunks(stream_id: int, size: int, end: bool = False) -> bytes:
    """Return DATA with this much, in frames of the usual size."""
    sizes = [min(16384, size - begin) for begin in range(0, size, 16384)]
    return b"".join(
        data(stream_id, bytes(each), end and number == len(sizes))
        for number, each in enumerate(sizes, 1)
    )


class ReceivingTests(SynchronousTestCase):
    """What we let the peer send."""

    def server(self, window: int = 1000, connection: int = 65535) -> HTTP2ServerCodec:
        codec = new_server(initial_window=window, connection_window=connection)
        codec.data_to_send()
        return codec

    def test_nothing_is_credited_before_it_was_acknowledged(self):
        codec = self.server()
        result = feed(codec, headers(1, POST) + data(1, bytes(1000)))
        self.assertEqual(updates(result), [])
        codec.acknowledge(1, 499)
        self.assertFalse(codec.has_output)
        codec.acknowledge(1, 1)
        self.assertEqual(codec.data_to_send(), window_update(1, 500))

    def test_the_connection_is_credited_by_halves(self):
        codec = self.server(window=65535)
        feed(codec, headers(1, POST) + chunks(1, 40000))
        codec.acknowledge(1, 32766)
        self.assertEqual(codec.data_to_send(), b"")
        codec.acknowledge(1, 1)
        self.assertEqual(codec.data_to_send(), window_update(1, 32767) + window_update(0, 32767))

    def test_more_than_the_streams_window(self):
        codec, compressor = self.server(), Compressor()
        sent = compressor.headers(1, POST) + data(1, bytes(600)) + data(1, bytes(401))
        result = feed(codec, sent + compressor.headers(3, GET, True))
        self.assertIsNone(result.error)
        self.assertEqual(result.resets, {1: FLOW_CONTROL_ERROR})
        self.assertEqual(result.of(1)[-1].error.code, NOT_OPENED)
        self.assertEqual(len(result.body(1)), 600)
        self.assertEqual(len(result.of(3)), 1)

    def test_more_than_the_connections_window(self):
        codec, compressor = self.server(window=40000), Compressor()
        sent = compressor.headers(1, POST) + compressor.headers(3, POST)
        result = feed(codec, sent + chunks(1, 40000) + chunks(3, 25536))
        self.assertEqual(result.code, NOT_OPENED)
        self.assertEqual(result.goaway, (3, FLOW_CONTROL_ERROR))

    def test_as_much_as_the_windows_let_through(self):
        codec, compressor = self.server(window=40000), Compressor()
        sent = compressor.headers(1, POST) + compressor.headers(3, POST)
        result = feed(codec, sent + chunks(1, 40000) + chunks(3, 25535))
        self.assertIsNone(result.error)
        self.assertEqual((len(result.body(1)), len(result.body(3))), (40000, 25535))

    def test_padding_counts_and_is_credited_at_once(self):
        codec = self.server()
        result = feed(codec, headers(1, POST) + data(1, b"abc", padding=255) * 3)
        self.assertEqual(result.body(1), b"abc" * 3)
        self.assertEqual(updates(result), [(1, 512)])
        # 1000 - 3 * 259 + 512 are left.
        self.assertIsNone(feed(codec, data(1, bytes(735))).error)
        self.assertEqual(feed(codec, data(1, b"x")).resets, {1: FLOW_CONTROL_ERROR})

    def test_padding_alone(self):
        codec = self.server()
        result = feed(codec, headers(1, POST) + data(1, b"", padding=255) * 2)
        self.assertEqual(len(result.of(1)), 1)
        self.assertEqual(updates(result), [(1, 512)])
        result = feed(codec, data(1, b"", True, padding=5))
        self.assertEqual(describe(result.of(1)[0]), ("Data", b"", True))

    def test_an_ended_stream_is_not_credited(self):
        codec = self.server()
        feed(codec, headers(1, POST) + data(1, bytes(1000), True))
        codec.acknowledge(1, 1000)
        self.assertEqual(codec.data_to_send(), b"")

    def test_a_stream_that_is_over_is_acknowledged_to_the_connection(self):
        codec = new_client("GET")
        window = 26214400
        feed(codec, Compressor().headers(1, [(b":status", b"200")]) + data(1, bytes(5000), True))
        self.assertEqual(codec.open_streams, 0)
        self.assertEqual(codec._receive_window, window - 5000)
        codec.acknowledge(1, 5000)
        self.assertEqual(codec._receive_window + codec._credit, window)

    def test_what_was_not_acknowledged_of_a_reset_stream_is_credited(self):
        for end in (rst_stream(1, 8), data(1, bytes(2000)), None):
            codec = self.server()
            feed(codec, headers(1, POST) + data(1, bytes(900)))
            codec.acknowledge(1, 100)
            if end is None:
                codec.reset(1)
            else:
                feed(codec, end)
            self.assertEqual(codec._receive_window + codec._credit, 65535)
            # It may have been on its way to be acknowledged.
            codec.acknowledge(1, 800)
            self.assertEqual(codec._receive_window + codec._credit, 65535)

    def test_a_frame_of_which_a_part_came_before_its_stream_was_reset(self):
        codec, compressor = self.server(), Compressor()
        frame = data(1, bytes(900))
        feed(codec, compressor.headers(1, POST) + frame[:100])
        codec.reset(1)
        self.assertEqual(codec._receive_window + codec._credit, 65535)
        result = feed(codec, frame[100:] + compressor.headers(3, GET, True))
        self.assertEqual([stream_id for stream_id, _ in result.events], [3])

    def test_late_data_on_a_reset_stream_counts_and_is_credited(self):
        codec = self.server(window=65535)
        feed(codec, headers(1, POST))
        codec.reset(1)
        codec.data_to_send()
        result = feed(codec, chunks(1, 40000))
        self.assertIsNone(result.error)
        self.assertEqual([stream_id for stream_id, _ in updates(result)], [0])
        self.assertEqual(codec._receive_window + codec._credit, 65535)

    def test_a_smaller_window_is_in_force_when_it_is_acknowledged(self):
        codec = HTTP2ServerCodec(HTTP2Limits(initial_window=10), "repair")
        compressor = Compressor()
        greeting = HELLO[: -len(SETTINGS_ACK)]
        result = feed(codec, greeting + compressor.headers(1, POST) + data(1, bytes(100)))
        self.assertEqual(len(result.body(1)), 100)
        # The window is negative now.
        self.assertIsNone(feed(codec, SETTINGS_ACK).error)
        result = feed(codec, data(1, b"x"))
        self.assertEqual(result.resets, {1: FLOW_CONTROL_ERROR})
        self.assertEqual(
            feed(codec, compressor.headers(3, POST) + data(3, bytes(11))).resets, {3: 3}
        )

    def test_a_larger_window_is_in_force_when_it_is_acknowledged(self):
        codec = HTTP2ServerCodec(HTTP2Limits(initial_window=100000), "repair")
        greeting = HELLO[: -len(SETTINGS_ACK)]
        result = feed(codec, greeting + headers(1, POST) + chunks(1, 65535))
        self.assertEqual(len(result.body(1)), 65535)
        result = feed(codec, SETTINGS_ACK + chunks(1, 34465, True))
        self.assertIsNone(result.error)
        self.assertEqual(result.resets, {})

    def test_bodies_around_the_usual_window(self):
        for size in (65534, 65535, 65536, 65537, 200000):
            sender, codec = new_pair(initial_window=65535, connection_window=65535)
            sender.send_request(new_request("POST"))
            result = feed(codec, sender.data_to_send())
            left, got = size, 0
            while left:
                room = min(left, sender.sendable(1))
                self.assertGreater(room, 0)
                sender.send_data(1, bytes(room), room == left)
                left -= room
                more = feed(codec, sender.data_to_send())
                self.assertIsNone(more.error)
                got += len(more.body(1))
                codec.acknowledge(1, len(more.body(1)))
                feed(sender, codec.data_to_send())
                result = more
            self.assertEqual(got, size)
            self.assertTrue(result.of(1)[-1].end_of_message)


class SendingTests(SynchronousTestCase):
    """What the peer lets us send."""

    def client(self, *pairs: tuple[int, int]) -> HTTP2ClientCodec:
        codec = new_client()
        feed(codec, settings(*pairs))
        codec.send_request(new_request("POST"))
        codec.data_to_send()
        return codec

    def test_within_the_window(self):
        codec = self.client()
        self.assertEqual(codec.sendable(1), 65535)
        codec.send_data(1, bytes(65535))
        self.assertEqual(codec.sendable(1), 0)
        with self.assertRaises(LocalProtocolError):
            codec.send_data(1, b"x")
        codec.end_stream(1)
        frames = parse(codec.data_to_send())
        self.assertEqual([len(frame.payload) for frame in frames], [16384] * 3 + [16383, 0])
        self.assertEqual([frame.flags for frame in frames], [0, 0, 0, 0, 1])

    def test_frames_as_large_as_the_peer_wants_them(self):
        codec = self.client((5, 20000))
        codec.send_data(1, memoryview(bytes(40001)), True)
        frames = parse(codec.data_to_send())
        self.assertEqual([len(frame.payload) for frame in frames], [20000, 20000, 1])
        self.assertEqual([frame.flags for frame in frames], [0, 0, 1])
        self.assertEqual({frame.kind for frame in frames}, {DATA})

    def test_a_stream_that_is_over(self):
        codec = self.client()
        codec.end_stream(1)
        self.assertEqual(codec.sendable(1), 0)
        self.assertEqual(codec.sendable(99), 0)
        for stream_id in (1, 99):
            with self.assertRaises(LocalProtocolError):
                codec.send_data(stream_id, b"x")

    def test_windows_that_open(self):
        codec = self.client()
        codec.send_data(1, bytes(65535))
        self.assertEqual(feed(codec, window_update(1, 10)).kinds(), [(1, "WindowOpened")])
        self.assertEqual(codec.sendable(1), 0)
        self.assertEqual(feed(codec, window_update(0, 5)).kinds(), [(0, "WindowOpened")])
        self.assertEqual(codec.sendable(1), 5)
        # There was room already.
        self.assertEqual(feed(codec, window_update(0, 5) + window_update(1, 5)).kinds(), [])
        self.assertEqual(codec.sendable(1), 10)

    def test_settings_change_windows_mid_flight(self):
        codec = self.client((4, 100))
        self.assertEqual(codec.sendable(1), 100)
        codec.send_data(1, bytes(80))
        self.assertEqual(feed(codec, settings((4, 50))).kinds(), [(0, "SettingsChanged")])
        # 50 - 80
        self.assertEqual(codec.sendable(1), 0)
        self.assertEqual(feed(codec, window_update(1, 30)).kinds(), [])
        self.assertEqual(codec.sendable(1), 0)
        self.assertEqual(feed(codec, window_update(1, 7)).kinds(), [(1, "WindowOpened")])
        self.assertEqual(codec.sendable(1), 7)
        codec.send_data(1, bytes(7))
        result = feed(codec, settings((4, 1000)))
        self.assertEqual(result.kinds(), [(0, "SettingsChanged"), (0, "WindowOpened")])
        self.assertEqual(codec.sendable(1), 950)

    def test_the_connections_window_is_not_changed_by_settings(self):
        codec = self.client((4, 2**31 - 1))
        self.assertEqual(codec.sendable(1), 65535)

    def test_several_settings_of_one_frame_are_obeyed_in_order(self):
        codec = self.client((4, 5), (4, 7))
        self.assertEqual(codec.sendable(1), 7)

    def test_windows_opened_too_far(self):
        result = feed(self.client(), window_update(0, 2**31 - 1))
        self.assertEqual((result.code, result.goaway), (NOT_OPENED, (0, FLOW_CONTROL_ERROR)))
        result = feed(self.client(), window_update(1, 2**31 - 1))
        self.assertEqual((result.error, result.resets), (None, {1: FLOW_CONTROL_ERROR}))
        self.assertEqual(result.of(1)[0].error.code, NOT_OPENED)

    def test_windows_opened_too_far_by_settings(self):
        codec = self.client()
        feed(codec, window_update(1, 2**31 - 1 - 65535))
        result = feed(codec, settings((4, 65536)))
        self.assertEqual((result.code, result.goaway), (NOT_OPENED, (0, FLOW_CONTROL_ERROR)))

    def test_windows_opened_by_nothing(self):
        result = feed(self.client(), window_update(0, 0))
        self.assertEqual((result.code, result.goaway), ("h2-frame-invalid", (0, 1)))
        result = feed(self.client(), window_update(1, 0))
        self.assertIsInstance(result.of(1)[0], StreamReset)
        self.assertEqual(result.resets, {1: 1})

    def test_reserved_bit_of_an_increment(self):
        codec = self.client()
        feed(codec, build(WINDOW_UPDATE, 0, 1, b"\x80\x00\x00\x01"))
        feed(codec, window_update(0, 100))
        self.assertEqual(codec.sendable(1), 65536)

    def test_a_stalled_stream_leaves_room_for_others(self):
        codec = new_server()
        compressor = Compressor()
        feed(codec, settings((4, 10)) + window_update(0, 1000))
        feed(codec, compressor.headers(1, GET, True) + compressor.headers(3, GET, True))
        for stream_id in (1, 3):
            codec.send_response(stream_id, None, new_response())
        codec.send_data(1, bytes(10))
        self.assertEqual((codec.sendable(1), codec.sendable(3)), (0, 10))
        self.assertEqual(feed(codec, window_update(3, 5)).kinds(), [])
        self.assertEqual(codec.sendable(3), 15)
