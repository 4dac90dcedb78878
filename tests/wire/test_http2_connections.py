"""Connections as a whole: their looks, their ends, how many streams they carry."""

from __future__ import annotations

from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2Mirror, HTTP2ServerCodec
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.httpevents import NEED_DATA, ResponseHead
from tests.wire.http2feeding import (
    CONTINUATION,
    GET,
    GOAWAY,
    HEADERS,
    OK,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    SETTINGS,
    WINDOW_UPDATE,
    Compressor,
    ConnectionTestCase,
    build,
    data,
    decode_heads,
    describe,
    feed,
    goaway,
    headers,
    new_client,
    new_request,
    new_response,
    new_server,
    parse,
    settings,
    window_update,
)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11


class MirrorTests(ConnectionTestCase):
    def connect(self) -> HTTP2Mirror:
        codec = HTTP2ServerCodec(HTTP2Limits(), "repair")
        self.assertIsNone(codec.mirror)
        sent = PREFACE + settings((1, 65536), (2, 0), (4, 6291456), (6, 262144), (0x2A2A, 1))
        sent += window_update(0, 15663105) + build(PRIORITY, 0, 3, b"\x00\x00\x00\x00\xc8")
        order = [GET[0], GET[2], GET[1], GET[3]]
        sent += headers(5, order, True, priority=b"\x80\x00\x00\x00\xff") + window_update(0, 9)
        feed(codec, sent)
        mirror = codec.mirror
        assert mirror is not None
        return mirror

    def test_what_a_client_shows(self):
        mirror = self.connect()
        self.assertEqual(
            mirror.settings, ((1, 65536), (2, 0), (4, 6291456), (6, 262144), (0x2A2A, 1))
        )
        self.assertEqual(mirror.window_update, 15663105)
        self.assertEqual(mirror.priorities, ((3, b"\x00\x00\x00\x00\xc8"),))
        self.assertEqual(mirror.pseudo_order, (b":method", b":authority", b":scheme", b":path"))
        self.assertEqual(mirror.priority, b"\x80\x00\x00\x00\xff")

    def test_window_among_priorities(self):
        """Where the window is opened between priorities, ours is too."""
        priorities = [build(PRIORITY, 0, stream, b"\x00\x00\x00\x00\xc8") for stream in (3, 5, 7)]
        opening = [*priorities[:2], window_update(0, 1000), *priorities[2:]]
        codec = HTTP2ServerCodec(HTTP2Limits(), "repair")
        feed(codec, PREFACE + settings((4, 70000)) + b"".join(opening) + headers(13, GET, True))
        assert codec.mirror is not None
        self.assertEqual(codec.mirror.window_after, 2)
        client = HTTP2ClientCodec(HTTP2Limits(), "repair", codec.mirror)
        sent = client.data_to_send()
        self.assertTrue(sent.endswith(settings((4, 70000)) + b"".join(opening)), sent)

    def test_metadata_of_grpc_stays_encoded(self):
        """What gRPC's peers would send else are fields that HTTP does not have."""
        codec = HTTP2ServerCodec(HTTP2Limits(), "repair")
        feed(codec, PREFACE + settings((4, 70000), (0xFE03, 1)) + headers(1, GET, True))
        assert codec.mirror is not None
        self.assertEqual(codec.mirror.settings, ((4, 70000), (0xFE03, 0)))

    def test_is_shown_to_servers(self):
        codec = HTTP2ClientCodec(HTTP2Limits(), "repair", self.connect())
        self.assertTrue(codec.mirrored_exactly)
        codec.send_request(new_request(), True)
        frames = parse(codec.data_to_send())
        self.assertEqual(
            [(frame.kind, frame.stream_id) for frame in frames],
            [(SETTINGS, 0), (WINDOW_UPDATE, 0), (PRIORITY, 3), (HEADERS, 5)],
        )
        self.assertEqual(
            frames[0].payload,
            settings((1, 65536), (2, 0), (4, 6291456), (6, 262144), (0x2A2A, 1))[9:],
        )
        self.assertEqual(frames[1].payload, (15663105).to_bytes(4, "big"))
        self.assertEqual(frames[2].payload, b"\x00\x00\x00\x00\xc8")
        self.assertEqual(frames[3].flags, 0x25)
        self.assertEqual(frames[3].payload[:5], b"\x80\x00\x00\x00\xff")
        ((_, _, fields),) = decode_heads(frames)
        self.assertEqual(
            [name for name, _ in fields], [b":method", b":authority", b":scheme", b":path"]
        )

    def test_a_dependency_on_a_stream_elsewhere_is_not_shown(self):
        codec = new_client()
        codec.send_request(new_request(), True, priority=b"\x80\x00\x00\x01\x0f")
        (frame,) = parse(codec.data_to_send())
        self.assertEqual(frame.payload[:5], b"\x80\x00\x00\x00\x0f")

    def test_is_bounded(self):
        mirror = HTTP2Mirror(((1, 2**32 - 1), (4, 2**31 - 1)), 2**31 - 65536)
        limits = HTTP2Limits(
            mirrored_window=1000, mirrored_connection_window=100000, mirrored_table_size=5000
        )
        codec = HTTP2ClientCodec(limits, "repair", mirror)
        self.assertFalse(codec.mirrored_exactly)
        frames = parse(codec.data_to_send())
        self.assertEqual(frames[0].payload, settings((1, 5000), (4, 1000))[9:])
        self.assertEqual(int.from_bytes(frames[1].payload, "big"), 100000 - 65535)

    def test_larger_table_and_frames(self):
        mirror = HTTP2Mirror(((1, 65536), (5, 100000)))
        codec = new_client("GET", mirror=mirror)
        compressor = Compressor()
        compressor.encoder.header_table_size = 65536
        fields = [*OK, *[(b"x-%d" % number, b"v" * 900) for number in range(20)]]
        result = feed(codec, compressor.headers(1, fields) + data(1, bytes(50000), True))
        self.assertEqual(len(result.body(1)), 50000)
        codec.send_request(new_request(), True)
        result = feed(codec, compressor.headers(3, fields, True))
        self.assertEqual(len(result.of(3)[0].response.headers.fields), 20)

    def test_pushes_that_the_client_would_allow_are_refused(self):
        codec = new_client("GET", "GET", mirror=HTTP2Mirror(((2, 1),)))
        compressor = Compressor()
        promise = build(
            PUSH_PROMISE, 4, 1, b"\0\0\0\x02" + compressor.block([*GET, (b"x-a", b"b")])
        )
        pushed = compressor.headers(2, OK) + data(2, b"abc", True)
        result = feed(codec, promise + pushed + compressor.headers(1, [*OK, (b"x-a", b"b")], True))
        self.assertIsNone(result.error)
        self.assertEqual(result.resets, {2: 8})
        self.assertEqual(result.of(1)[0].response.headers["x-a"], "b")

    def test_promises_in_pieces(self):
        codec = new_client("GET", mirror=HTTP2Mirror(()))
        block = Compressor().block(GET)
        sent = build(PUSH_PROMISE, 8, 1, b"\x02\0\0\0\x02" + block[:5] + b"\0\0")
        result = feed(codec, sent + build(CONTINUATION, 4, 1, block[5:]))
        self.assertEqual((result.error, result.resets), (None, {2: 8}))

    def test_promises_that_cannot_be(self):
        for stream_id, promised in ((1, 3), (1, 0), (3, 2)):
            codec = new_client("GET", mirror=HTTP2Mirror(()))
            frame = build(PUSH_PROMISE, 4, stream_id, promised.to_bytes(4, "big") + b"\x82")
            self.fails(feed(codec, frame), "h2-frame-unexpected", PROTOCOL_ERROR)


class GoAwayTests(ConnectionTestCase):
    def test_streams_up_to_the_last_finish(self):
        codec = new_client("GET", "POST", "GET", "GET")
        result = feed(codec, goaway(3, 0, b"bye"))
        self.assertEqual(describe(result.of(0)[0]), ("GoAway", 3, 0, b"bye"))
        for stream_id in (5, 7):
            self.assertEqual(describe(result.of(stream_id)[0]), ("StreamReset", 7, None, True))
        self.assertEqual(result.resets, {})
        self.assertTrue(codec.going_away)
        self.assertFalse(codec.may_open)
        codec.send_data(3, b"abc", True)
        compressor = Compressor()
        result = feed(
            codec,
            compressor.headers(1, OK) + data(1, b"a", True) + compressor.headers(3, OK, True),
        )
        self.assertIsNone(result.error)
        self.assertEqual(result.body(1), b"a")
        self.assertEqual(codec.open_streams, 0)

    def test_graceful(self):
        codec = new_client("GET", "GET")
        result = feed(codec, goaway(2**31 - 1))
        self.assertEqual(result.kinds(), [(0, "GoAway")])
        self.assertFalse(codec.may_open)
        result = feed(codec, goaway(1))
        self.assertEqual(result.kinds(), [(0, "GoAway"), (3, "StreamReset")])
        # It must not rise.
        self.assertEqual(feed(codec, goaway(5)).of(0)[0].last_stream_id, 1)

    def test_late_frames_on_refused_streams(self):
        codec = new_client("GET")
        result = feed(codec, goaway(0) + headers(1, OK) + data(1, b"abc", True))
        self.assertIsNone(result.error)
        self.assertEqual(result.kinds(), [(0, "GoAway"), (1, "StreamReset")])

    def test_from_a_client(self):
        codec = new_server()
        compressor = Compressor()
        sent = compressor.headers(1, POST) + goaway(0) + data(1, b"abc", True)
        result = feed(codec, sent)
        self.assertEqual(result.body(1), b"abc")
        codec.send_response(1, None, new_response(), True)
        self.assertEqual(codec.open_streams, 0)

    def test_of_our_own(self):
        codec, compressor = new_server(), Compressor()
        feed(codec, compressor.headers(1, POST))
        codec.goaway(2**31 - 1)
        self.assertEqual(
            parse(codec.data_to_send()), [(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4))]
        )
        result = feed(codec, compressor.headers(3, POST))
        self.assertIsInstance(result.of(3)[0], HTTP2RequestHead)
        codec.goaway(debug=b"later")
        self.assertEqual(parse(codec.data_to_send()), [(GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0later")])
        late = compressor.headers(5, [*POST, (b"x-a", b"b")]) + data(5, b"abc", True)
        result = feed(codec, late + data(1, b"abc", True) + data(3, b"def", True))
        self.assertIsNone(result.error)
        self.assertEqual((result.body(1), result.body(3), result.of(5)), (b"abc", b"def", []))
        for stream_id in (1, 3):
            codec.send_response(stream_id, None, new_response(), True)
        self.assertEqual(codec.open_streams, 0)
        self.assertFalse(codec.closed)

    def test_of_our_own_towards_a_server(self):
        codec = new_client("GET")
        codec.goaway()
        self.assertEqual(parse(codec.data_to_send()), [(GOAWAY, 0, 0, bytes(8))])
        self.assertIsInstance(feed(codec, headers(1, OK, True)).of(1)[0], ResponseHead)

    def test_with_an_error(self):
        result = feed(new_client("GET"), goaway(1, ENHANCE_YOUR_CALM, b"too_many_pings"))
        self.assertEqual(result.of(0)[0].code, ENHANCE_YOUR_CALM)

    def test_nothing_is_needed_after_it(self):
        codec = new_client()
        feed(codec, goaway(0))
        self.assertIs(codec.next_event(0.0), NEED_DATA)
        self.assertFalse(codec.closed)


class ConcurrencyTests(ConnectionTestCase):
    def test_streams_beyond_the_limit_are_refused(self):
        codec, compressor = new_server(concurrent_streams=2), Compressor()
        result = feed(codec, b"".join(compressor.headers(number, POST) for number in (1, 3, 5)))
        self.assertEqual(result.resets, {5: 7})
        self.assertEqual(result.of(5), [])
        self.assertIsNone(feed(codec, data(5, b"late", True)).error)
        codec.reset(1)
        result = feed(codec, compressor.headers(7, POST))
        self.assertIsInstance(result.of(7)[0], HTTP2RequestHead)

    def test_streams_that_a_server_allows(self):
        codec = new_client()
        feed(codec, settings((3, 2)))
        for _ in range(2):
            self.assertTrue(codec.may_open)
            codec.send_request(new_request(), True)
        self.assertFalse(codec.may_open)
        result = feed(codec, headers(1, OK, True))
        self.assertTrue(codec.may_open)
        self.assertIsInstance(result.of(1)[0], ResponseHead)

    def test_before_the_servers_settings(self):
        codec = HTTP2ClientCodec(HTTP2Limits(), "repair")
        for _ in range(100):
            codec.send_request(new_request(), True)
        self.assertFalse(codec.may_open)
        feed(codec, settings())
        self.assertTrue(codec.may_open)

    def test_streams_run_out(self):
        codec = new_client()
        codec._next_id = 2**31 - 1
        self.assertFalse(codec.may_open)
