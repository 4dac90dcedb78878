"""Frames: every type, right and wrong; RFC 9113 sections 3 to 6."""

from __future__ import annotations

from interceptor.errors import RemoteProtocolError
from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2ServerCodec
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.httpevents import ResponseHead, StreamReset
from tests.wire.http2feeding import (
    CONTINUATION,
    DATA,
    GET,
    GOAWAY,
    HEADERS,
    HELLO,
    OK,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    Compressor,
    ConnectionTestCase,
    build,
    data,
    decode_heads,
    describe,
    feed,
    feed_every_way,
    headers,
    new_client,
    new_request,
    new_response,
    new_server,
    parse,
    ping,
    read_requests,
    read_responses,
    rst_stream,
    settings,
    window_update,
)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11


class PrefaceTests(ConnectionTestCase):
    def test_settings_of_a_server(self):
        codec = HTTP2ServerCodec(HTTP2Limits(), "repair")
        first, second = parse(codec.data_to_send())
        self.assertEqual(first.kind, SETTINGS)
        self.assertEqual(first.payload, settings((3, 100), (4, 262144), (6, 65536))[9:])
        self.assertEqual(second, (WINDOW_UPDATE, 0, 0, (26214400 - 65535).to_bytes(4, "big")))

    def test_settings_that_are_not_usual(self):
        limits = HTTP2Limits(table_size=1024, frame_size=32768, connection_window=65535)
        codec = HTTP2ServerCodec(limits, "repair", connect_protocol=True)
        (frame,) = parse(codec.data_to_send())
        self.assertTrue(frame.payload.endswith(settings((1, 1024), (5, 32768), (8, 1))[9:]))

    def test_preface_of_a_client(self):
        output = HTTP2ClientCodec(HTTP2Limits(), "repair").data_to_send()
        self.assertTrue(output.startswith(PREFACE))
        first, _ = parse(output)
        self.assertEqual(first.payload, settings((2, 0), (4, 262144), (6, 65536))[9:])

    def test_connect_protocol_offered_later(self):
        codec = new_server()
        codec.enable_connect_protocol()
        codec.enable_connect_protocol()
        self.assertEqual(codec.data_to_send(), settings((8, 1)))
        fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]]
        result = feed(codec, SETTINGS_ACK + headers(1, fields))
        self.assertEqual(result.of(1)[0].protocol, b"websocket")

    def test_settings_are_acknowledged(self):
        result = feed_every_way(
            lambda: HTTP2ServerCodec(HTTP2Limits(), "repair"), PREFACE + settings((3, 7))
        )
        self.assertEqual(describe(result.events[0][1]), ("SettingsChanged", True))
        self.assertTrue(result.output.endswith(SETTINGS_ACK))

    def test_what_is_no_preface(self):
        for sent in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01",
            PREFACE[:-1] + b"X",
            PREFACE + ping(),
            PREFACE + SETTINGS_ACK,
            PREFACE + headers(1, GET, True),
        ):
            result = feed_every_way(lambda: HTTP2ServerCodec(HTTP2Limits(), "repair"), sent)
            self.fails(result, "h2-preface-invalid", PROTOCOL_ERROR)

    def test_a_preface_that_is_not_whole(self):
        result = feed_every_way(lambda: HTTP2ServerCodec(HTTP2Limits(), "repair"), PREFACE[:-1])
        self.assertEqual((result.events, result.error), ([], None))

    def test_what_no_server_begins_with(self):
        for sent in (b"HTTP/1.1 400 Bad Request\r\n\r\n", ping(), SETTINGS_ACK):
            result = feed_every_way(lambda: HTTP2ClientCodec(HTTP2Limits(), "repair"), sent)
            self.assertIn(result.code, ("h2-preface-invalid", "h2-frame-size"))

    def test_nothing_is_taken_after_a_fault(self):
        codec = HTTP2ServerCodec(HTTP2Limits(), "repair")
        feed(codec, b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(codec.closed)
        codec.receive_data(HELLO)
        with self.assertRaises(RemoteProtocolError):
            codec.next_event(0.0)
        self.assertEqual(codec.data_to_send(), b"")

    def test_events_before_a_fault_are_delivered(self):
        result = read_requests(headers(1, GET, True) + headers(3, GET, True) + build(PING, 0, 1))
        self.assertEqual([stream_id for stream_id, _ in result.events], [1, 3])
        self.fails(result, "h2-frame-invalid", PROTOCOL_ERROR, 3)


class SizeTests(ConnectionTestCase):
    def test_frames_larger_than_allowed(self):
        self.refuse(headers(1, POST) + data(1, bytes(16385)), "h2-frame-size", FRAME_SIZE_ERROR, 1)
        self.refuse(build(77, 0, 0, bytes(16385)), "h2-frame-size", FRAME_SIZE_ERROR)

    def test_frames_as_large_as_allowed(self):
        result = read_requests(headers(1, POST) + data(1, bytes(16384), True))
        self.assertEqual(len(result.body(1)), 16384)

    def test_larger_frames_where_they_are_allowed(self):
        result = feed(
            new_server(frame_size=100000), headers(1, POST) + data(1, bytes(100000), True)
        )
        self.assertEqual(len(result.body(1)), 100000)

    def test_only_data_may_be_very_large(self):
        codec = new_server(frame_size=1000000)
        result = feed(codec, build(HEADERS, 5, 1, bytes(70000)))
        self.fails(result, "h2-frame-size", ENHANCE_YOUR_CALM)

    def test_fixed_sizes(self):
        for frame in (
            build(RST_STREAM, 0, 1, bytes(3)),
            build(RST_STREAM, 0, 1, bytes(5)),
            build(SETTINGS, 0, 0, bytes(5)),
            build(SETTINGS, 1, 0, bytes(6)),
            build(PING, 0, 0, bytes(7)),
            build(PING, 0, 0, bytes(9)),
            build(GOAWAY, 0, 0, bytes(7)),
            build(WINDOW_UPDATE, 0, 0, bytes(3)),
            build(WINDOW_UPDATE, 0, 1, bytes(5)),
            build(PRIORITY, 0, 9, bytes(4)),
            build(DATA, 8, 1, b""),
            build(HEADERS, 12, 3, b""),
        ):
            self.refuse(headers(1, POST) + frame, "h2-frame-size", FRAME_SIZE_ERROR, 1)

    def test_priority_of_a_stream_with_a_wrong_size(self):
        result = read_requests(
            headers(1, POST) + build(PRIORITY, 0, 1, bytes(4)) + headers(3, GET, True)
        )
        self.assertIsNone(result.error)
        self.assertEqual(result.resets, {1: FRAME_SIZE_ERROR})
        self.assertEqual(result.of(1)[-1].error.code, "h2-frame-size")

    def test_padding_longer_than_its_frame(self):
        self.refuse(headers(1, POST) + build(DATA, 8, 1, b"\x05abcd"), "h2-frame-invalid", last=1)
        self.refuse(build(HEADERS, 12, 1, b"\x05abcd"), "h2-frame-invalid")
        self.refuse(build(HEADERS, 0x24, 1, b"abcd"), "h2-frame-invalid")


class StreamIdTests(ConnectionTestCase):
    def test_frames_that_belong_to_streams(self):
        for frame in (
            build(HEADERS, 5, 0, b"\x82"),
            build(PRIORITY, 0, 0, bytes(5)),
            build(RST_STREAM, 0, 0, bytes(4)),
        ):
            self.refuse(frame, "h2-frame-invalid")
        self.refuse(data(0, b"abc"), "h2-frame-unexpected")
        self.refuse(build(CONTINUATION, 4, 0), "h2-frame-unexpected")

    def test_frames_that_belong_to_the_connection(self):
        for frame in (
            build(SETTINGS, 0, 1),
            build(PING, 0, 1, bytes(8)),
            build(GOAWAY, 0, 1, bytes(8)),
        ):
            self.refuse(frame, "h2-frame-invalid")

    def test_frames_on_idle_streams(self):
        for frame in (data(1, b"abc"), rst_stream(1, 8), window_update(1, 1)):
            self.refuse(frame, "h2-frame-unexpected")

    def test_priority_on_an_idle_stream(self):
        result = read_requests(build(PRIORITY, 0, 5, bytes(5)) + headers(1, GET, True))
        self.assertIsInstance(result.of(1)[0], HTTP2RequestHead)

    def test_streams_that_a_client_cannot_open(self):
        self.refuse(headers(2, GET, True), "h2-frame-unexpected")

    def test_streams_that_go_back(self):
        compressor = Compressor()
        sent = compressor.headers(5, GET, True) + compressor.headers(3, GET, True)
        self.refuse(sent, "h2-stream-closed", STREAM_CLOSED, 5)

    def test_reserved_bit_is_ignored(self):
        frame = bytearray(headers(1, GET, True))
        frame[5] |= 0x80
        self.assertIsInstance(read_requests(bytes(frame)).of(1)[0], HTTP2RequestHead)

    def test_frames_on_streams_that_nobody_asked_for(self):
        for frame in (headers(3, OK, True), headers(2, OK, True), data(3, b"abc")):
            self.fails(read_responses(frame), "h2-frame-unexpected", PROTOCOL_ERROR)


class ClosedStreamTests(ConnectionTestCase):
    def test_half_closed(self):
        trailers: list[tuple[bytes, bytes]] = [(b"x-name", b"value")]
        for make in (
            lambda compressor: data(1, b"abc"),
            lambda compressor: compressor.headers(1, trailers, True),
        ):
            compressor = Compressor()
            sent = compressor.headers(1, GET, True) + make(compressor)
            result = feed(new_server(), sent + compressor.headers(3, GET, True))
            self.assertIsNone(result.error)
            self.assertEqual(result.resets, {1: STREAM_CLOSED})
            self.assertEqual(result.of(1)[-1].error.code, "h2-stream-closed")

    def answered(self) -> tuple[HTTP2ServerCodec, Compressor]:
        codec, compressor = new_server(), Compressor()
        (head,) = feed(codec, compressor.headers(1, GET, True)).of(1)
        codec.send_response(1, head.request, new_response(), True)
        codec.data_to_send()
        self.assertEqual(codec.open_streams, 0)
        return codec, compressor

    def test_closed(self):
        for make in (
            lambda compressor: data(1, b"abc"),
            lambda compressor: compressor.headers(1, GET, True),
        ):
            codec, compressor = self.answered()
            self.fails(feed(codec, make(compressor)), "h2-stream-closed", STREAM_CLOSED, 1)

    def test_what_may_still_be_under_way(self):
        codec, compressor = self.answered()
        sent = window_update(1, 100) + rst_stream(1, 8) + build(PRIORITY, 0, 1, bytes(5))
        result = feed(codec, sent + compressor.headers(3, GET, True))
        self.assertIsNone(result.error)
        self.assertEqual([stream_id for stream_id, _ in result.events], [3])

    def test_late_frames_after_our_reset(self):
        codec, compressor = new_server(), Compressor()
        feed(codec, compressor.headers(1, POST))
        codec.reset(1, 8)
        self.assertEqual(parse(codec.data_to_send()), [(RST_STREAM, 0, 1, b"\0\0\0\x08")])
        late = data(1, b"abc") + compressor.headers(1, [(b"x-name", b"value")], True)
        late += window_update(1, 5) + rst_stream(1, 8)
        result = feed(codec, late + compressor.headers(3, [*GET, (b"x-name", b"value")], True))
        self.assertIsNone(result.error)
        self.assertEqual(result.resets, {})
        # The header that came too late is known to the compressor.
        self.assertEqual(result.of(3)[0].request.headers["x-name"], "value")
        self.assertEqual(result.of(1), [])

    def test_late_frames_after_a_reset_of_theirs(self):
        codec, compressor = new_server(), Compressor()
        feed(codec, compressor.headers(1, POST) + rst_stream(1, 8))
        result = feed(codec, data(1, b"abc"))
        self.assertEqual((result.error, result.resets), (None, {1: STREAM_CLOSED}))

    def test_resetting_again_does_nothing(self):
        codec = new_server()
        feed(codec, headers(1, POST))
        codec.reset(1)
        codec.data_to_send()
        codec.reset(1)
        codec.reset(99)
        self.assertFalse(codec.has_output)


class ResetTests(ConnectionTestCase):
    def test_by_a_client(self):
        result = read_requests(headers(1, POST) + rst_stream(1, 8))
        self.assertEqual(describe(result.of(1)[-1]), ("StreamReset", 8, None, False))

    def test_refused_by_a_server(self):
        result = read_responses(rst_stream(1, 7))
        self.assertEqual(describe(result.of(1)[-1]), ("StreamReset", 7, None, True))

    def test_after_the_whole_response(self):
        result = read_responses(headers(1, OK, True) + rst_stream(1, 0), "POST")
        self.assertIsInstance(result.of(1)[0], ResponseHead)
        self.assertEqual(describe(result.of(1)[1]), ("StreamReset", 0, None, False))

    def test_codes_that_nobody_knows(self):
        result = read_requests(headers(1, POST) + rst_stream(1, 0xFFFFFFFF))
        self.assertEqual(result.of(1)[-1].code, 0xFFFFFFFF)
        self.assertIn("0xffffffff", result.of(1)[-1].message)


class HeaderBlockTests(ConnectionTestCase):
    def test_padding_priority_and_continuation(self):
        for padding in (None, 0, 200):
            for priority in (b"", b"\x80\x00\x00\x00\xff"):
                for pieces in (1, 2, 5):
                    sent = headers(1, GET, True, padding=padding, priority=priority, pieces=pieces)
                    (event,) = read_requests(sent).of(1)
                    self.assertEqual(event.request.path, "/path?q=1")
                    self.assertEqual(event.priority, priority)
                    self.assertTrue(event.end_of_message)

    def test_empty_first_frame(self):
        block = headers(1, GET, True)[9:]
        sent = build(HEADERS, 1, 1) + build(CONTINUATION, 0, 1) + build(CONTINUATION, 4, 1, block)
        self.assertEqual(read_requests(sent).of(1)[0].request.path, "/path?q=1")

    def test_what_is_owed(self):
        for make in (lambda: HTTP2ServerCodec(HTTP2Limits(), "repair"), new_server):
            self.assertFalse(make().unfinished)
        codec = new_server()
        block = headers(1, POST, pieces=2)
        for piece, owed in (
            (block[:5], True),
            (block[5:20], True),
            (block[20:], False),
            (data(1, b"abc")[:8], True),
            (data(1, b"abc")[8:10], False),
            (data(1, b"abc")[10:], False),
        ):
            feed(codec, piece)
            self.assertEqual(bool(codec.unfinished), owed)
        first = headers(3, GET, True, pieces=2)
        feed(codec, first[: first.index(build(CONTINUATION, 4, 3)[3:9]) - 3])
        self.assertTrue(codec.unfinished)

    def test_what_is_owed_for_long(self):
        codec = new_server()
        block = headers(1, GET, True)
        owed = []
        for at in range(len(block) - 1):
            feed(codec, block[at : at + 1])
            owed.append(codec.unfinished)
        # The same thing from beginning to end, and then another.
        self.assertEqual(len(set(owed[1:])), 1)
        feed(codec, block[-1:] + block[:3])
        self.assertNotIn(codec.unfinished, (0, owed[-1]))

    def test_interrupted(self):
        first = headers(1, GET, True, pieces=2)
        second = first.index(build(CONTINUATION, 4, 1)[3:9]) - 3
        for frame in (
            ping(),
            data(1, b""),
            settings(),
            window_update(0, 1),
            headers(3, GET, True),
            build(77, 0, 0),
            build(CONTINUATION, 4, 3),
        ):
            self.refuse(first[:second] + frame + first[second:], "h2-frame-unexpected")

    def test_continuation_of_nothing(self):
        self.refuse(build(CONTINUATION, 4, 1, b"\x82"), "h2-frame-unexpected")
        sent = headers(1, POST) + build(CONTINUATION, 4, 1, b"\x82")
        self.refuse(sent, "h2-frame-unexpected", last=1)

    def test_too_many_continuations(self):
        sent = build(HEADERS, 1, 1, b"") + build(CONTINUATION, 0, 1) * 17
        self.refuse(sent, "h2-continuation-flood", ENHANCE_YOUR_CALM)
        block = headers(1, GET, True)[9:]
        sent = build(HEADERS, 1, 1, b"") + build(CONTINUATION, 0, 1) * 15
        sent += build(CONTINUATION, 4, 1, block)
        self.assertIsNone(read_requests(sent).error)

    def test_damaged(self):
        self.refuse(build(HEADERS, 5, 1, b"\x80"), "h2-compression", COMPRESSION_ERROR, 1)
        self.refuse(build(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), "h2-compression", 9, 1)
        self.fails(read_responses(build(HEADERS, 5, 1, b"\xc6")), "h2-compression", 9)

    def test_bomb(self):
        block = b"\x00\x01a\x7f\xa1\x1e" + b"v" * 4000
        block = b"\x40" + block[1:]
        codec = new_server()
        feed(codec, build(HEADERS, 5, 1, block))
        result = feed(codec, build(HEADERS, 5, 3, b"\xbe" * 16000))
        self.fails(result, "h2-head-too-large", ENHANCE_YOUR_CALM, 3)

    def test_promises_from_clients(self):
        self.refuse(build(PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82"), "h2-frame-unexpected")


class OtherFrameTests(ConnectionTestCase):
    def test_unknown_frames_and_flags_are_ignored(self):
        sent = build(77, 0xFF, 3, b"abc") + build(78, 0, 0, bytes(16384)) + headers(1, GET, True)
        self.assertEqual(read_requests(sent).kinds(), [(1, "HTTP2RequestHead")])

    def test_ping(self):
        result = read_requests(ping(b"abcdefgh"))
        self.assertEqual((result.events, result.output), ([], ping(b"abcdefgh", True)))

    def test_ping_of_our_own(self):
        codec = new_server()
        codec.ping(b"abcdefgh")
        self.assertEqual(codec.data_to_send(), ping(b"abcdefgh"))
        result = feed(codec, ping(b"abcdefgh", True))
        self.assertEqual([describe(e) for e in result.of(0)], [("PingAcknowledged", b"abcdefgh")])
        self.assertEqual(result.output, b"")

    def test_alternative_services(self):
        frame = build(10, 0, 0, b"\x00\x13https://example.com" + b'h3=":443"')
        result = read_responses(frame + build(10, 0, 1, b"\x00\x00clear"))
        self.assertEqual(
            describe(result.of(0)[0]), ("AltSvc", b"https://example.com", b'h3=":443"')
        )
        self.assertEqual(describe(result.of(1)[0]), ("AltSvc", b"", b"clear"))

    def test_alternative_services_that_make_no_sense(self):
        sent = (
            build(10, 0, 0, b"\x00\x00x")
            + build(10, 0, 1, b"\x00\x01ax")
            + build(10, 0, 0, b"\xff")
        )
        self.assertEqual(read_responses(sent).events, [])
        self.assertEqual(read_requests(build(10, 0, 0, b"\x00\x01ax")).events, [])

    def test_settings_that_cannot_be(self):
        for identifier, value, code in (
            (2, 2, PROTOCOL_ERROR),
            (4, 2**31, FLOW_CONTROL_ERROR),
            (5, 16383, PROTOCOL_ERROR),
            (5, 2**24, PROTOCOL_ERROR),
            (8, 2, PROTOCOL_ERROR),
        ):
            self.refuse(settings((identifier, value)), "h2-settings-invalid", code)
        self.fails(read_responses(settings((2, 1))), "h2-settings-invalid", PROTOCOL_ERROR)
        self.fails(read_responses(settings((8, 1), (8, 0))), "h2-settings-invalid", PROTOCOL_ERROR)

    def test_settings_that_nobody_knows(self):
        codec = new_server()
        result = feed(codec, settings((0xFAFA, 7), (9, 1)))
        self.assertEqual(result.kinds(), [(0, "SettingsChanged")])
        self.assertEqual(codec.peer_settings, {0xFAFA: 7, 9: 1})

    def test_extended_connect_offered_by_a_server(self):
        codec = new_client()
        self.assertFalse(codec.connect_protocol)
        feed(codec, settings((8, 1)))
        self.assertTrue(codec.connect_protocol)

    def test_smaller_compression_table(self):
        codec = new_client()
        feed(codec, settings((1, 0)))
        codec.send_request(new_request(fields=[(b"x-name", b"value")]), True)
        codec.send_request(new_request(fields=[(b"x-name", b"value")]), True)
        frames = parse(codec.data_to_send())
        self.assertEqual(frames[0].payload[:1], b"\x20")
        self.assertEqual(decode_heads(frames)[1][2][-1], (b"x-name", b"value"))


class UnknownStreamTests(ConnectionTestCase):
    def test_malformed_requests_are_told_of(self):
        result = read_requests(headers(1, GET[:1], True))
        (event,) = result.of(1)
        self.assertIsInstance(event, StreamReset)
        self.assertEqual(event.error.code, "head-malformed")
