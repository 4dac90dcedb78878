"""Conversations of any kind with h2, in both roles: everything arrives, and neither complains."""

from __future__ import annotations

import contextlib
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.model.headers import Headers
from interceptor.wire.http2 import HTTP2ClientCodec, HTTP2Limits, HTTP2ServerCodec, Rate
from interceptor.wire.http2events import HTTP2RequestHead
from interceptor.wire.httpevents import NEED_DATA, Data, EndOfMessage, ResponseHead, StreamReset
from tests.wire.http2feeding import GET, Codec, new_request, new_response

TRAILERS = [(b"x-sum", b"1"), (b"grpc-status", b"0")]
EASY = Rate(10**6, 0)


class Told:
    """What one side was told of a stream."""

    def __init__(self) -> None:
        self.head: Any = None
        self.body = b""
        self.trailers: Any = None
        self.ended = False
        self.reset: int | None = None


class SideBase:
    """One end of the conversation: what it was told, and what it may still say."""

    def __init__(self) -> None:
        self.told: dict[int, Told] = {}
        self.unacknowledged: dict[int, int] = {}
        # Streams on which this side may still send.
        self.sending: set[int] = set()

    def of(self, stream_id: int) -> Told:
        return self.told.setdefault(stream_id, Told())

    def owes(self, stream_id: int) -> bool:
        """Whether the window is negative: h2 takes no data then, not even none."""
        return False

    def got(self, stream_id: int, data: bytes, counted: int) -> None:
        self.of(stream_id).body += data
        self.unacknowledged[stream_id] = self.unacknowledged.get(stream_id, 0) + counted

    def was_reset(self, stream_id: int, code: int) -> None:
        self.of(stream_id).reset = code
        self.sending.discard(stream_id)


class Own(SideBase):
    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec: Any = codec

    def output(self) -> bytes:
        data: bytes = self.codec.data_to_send()
        return data

    def receive(self, data: bytes) -> None:
        self.codec.receive_data(data)
        while True:
            found = self.codec.next_event(0.0)
            if found is NEED_DATA:
                return
            stream_id, event = found
            told = self.of(stream_id)
            match event:
                case HTTP2RequestHead():
                    told.head = event.request.headers.fields
                    self.sending.add(stream_id)
                    self.codec.send_response(stream_id, event.request, new_response())
                case ResponseHead():
                    told.head = event.response.headers.fields
                case Data():
                    self.got(stream_id, event.data, len(event.data))
                case EndOfMessage():
                    assert event.trailers is not None
                    told.trailers = list(event.trailers.fields)
                    told.ended = True
                case StreamReset():
                    assert event.error is None, event.message
                    self.was_reset(stream_id, event.code)
            if getattr(event, "end_of_message", False):
                told.ended = True

    def owes(self, stream_id: int) -> bool:
        negative: bool = self.codec._streams[stream_id].send_window < 0
        return negative

    def open(self) -> int:
        stream_id: int = self.codec.send_request(
            new_request("POST", fields=[(b"x-name", b"value")])
        )
        self.sending.add(stream_id)
        return stream_id

    def room(self, stream_id: int) -> int:
        room: int = self.codec.sendable(stream_id)
        return room

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        self.codec.send_data(stream_id, data, end)

    def trailers(self, stream_id: int) -> None:
        self.codec.send_trailers(stream_id, Headers.from_wire(tuple(TRAILERS), None))

    def reset(self, stream_id: int) -> None:
        self.codec.reset(stream_id, 8)

    def acknowledge(self, stream_id: int, size: int) -> None:
        self.codec.acknowledge(stream_id, size)

    def ping(self) -> None:
        self.codec.ping()

    def change_window(self, size: int) -> None:
        """Ours does not change in the middle of a connection."""


class Oracle(SideBase):
    def __init__(self, client: bool) -> None:
        super().__init__()
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.h2: Any = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.unconfirmed = True

    def output(self) -> bytes:
        data: bytes = self.h2.data_to_send()
        return data

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self.of(event.stream_id).head = event.headers
                    # What came behind the head in the same chunk is known to h2 already.
                    with contextlib.suppress(h2.exceptions.ProtocolError):
                        self.h2.send_headers(event.stream_id, [(b":status", b"200")])
                        self.sending.add(event.stream_id)
                case h2.events.ResponseReceived():
                    self.of(event.stream_id).head = event.headers
                case h2.events.DataReceived():
                    self.got(event.stream_id, event.data, event.flow_controlled_length)
                case h2.events.TrailersReceived():
                    self.of(event.stream_id).trailers = [
                        (bytes(n), bytes(v)) for n, v in event.headers
                    ]
                case h2.events.StreamEnded():
                    self.of(event.stream_id).ended = True
                case h2.events.SettingsAcknowledged():
                    self.unconfirmed = False
                case h2.events.StreamReset():
                    self.was_reset(event.stream_id, event.error_code)

    def open(self) -> int:
        stream_id: int = self.h2.get_next_available_stream_id()
        head = [(b":method", b"POST"), *GET[1:], (b"x-name", b"value")]
        self.h2.send_headers(stream_id, head)
        self.sending.add(stream_id)
        return stream_id

    def room(self, stream_id: int) -> int:
        return max(0, self.h2.local_flow_control_window(stream_id))

    def send(self, stream_id: int, data: bytes, end: bool) -> None:
        most = self.h2.max_outbound_frame_size
        while len(data) > most:
            self.h2.send_data(stream_id, data[:most])
            data = data[most:]
        # Padding as well, where there is room for it.
        padding = 3 if self.room(stream_id) >= len(data) + 4 and len(data) + 4 <= most else None
        self.h2.send_data(stream_id, data, end, pad_length=padding)

    def trailers(self, stream_id: int) -> None:
        self.h2.send_headers(stream_id, TRAILERS, end_stream=True)

    def reset(self, stream_id: int) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self.h2.reset_stream(stream_id, 8)

    def acknowledge(self, stream_id: int, size: int) -> None:
        self.h2.acknowledge_received_data(size, stream_id)

    def ping(self) -> None:
        self.h2.ping(bytes(8))

    def change_window(self, size: int) -> None:
        # h2 takes any acknowledgement for that of all settings which it has sent.
        if not self.unconfirmed:
            self.unconfirmed = True
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: size})


class Conversation:
    """Two sides, the bytes between them, and what was said."""

    def __init__(self, client: Any, server: Any) -> None:
        self.sides = (client, server)
        self.wires = [b"", b""]
        self.said: list[dict[int, bytes]] = [{}, {}]
        self.ended: list[set[int]] = [set(), set()]
        self.trailed: list[set[int]] = [set(), set()]
        self.streams: list[int] = []
        self.dead: set[int] = set()

    def run(self, steps: list[tuple[Any, ...]]) -> None:
        for which in (0, 1, 0):
            self.deliver(which, 10**9)
        for name, *arguments in steps:
            getattr(self, name)(*arguments)
        for _ in range(3):
            for which in (0, 1):
                self.deliver(which, 10**9)
                self.acknowledge(which)

    def open(self) -> None:
        self.streams.append(self.sides[0].open())

    def _pick(self, which: int, number: int) -> int | None:
        """Return a stream on which a side may send."""
        if not self.streams:
            return None
        stream_id = self.streams[number % len(self.streams)]
        return stream_id if stream_id in self.sides[which].sending else None

    def send(self, which: int, number: int, size: int, end: bool) -> None:
        stream_id = self._pick(which, number)
        if stream_id is None:
            return
        side = self.sides[which]
        size = min(size, side.room(stream_id))
        if not size and side.owes(stream_id):
            return
        said = self.said[which]
        data = bytes((len(said.get(stream_id, b"")) + each) % 251 for each in range(size))
        side.send(stream_id, data, end)
        said[stream_id] = said.get(stream_id, b"") + data
        if end:
            self._end(which, stream_id)

    def _end(self, which: int, stream_id: int) -> None:
        self.ended[which].add(stream_id)
        self.sides[which].sending.discard(stream_id)

    def trailers(self, which: int, number: int) -> None:
        stream_id = self._pick(which, number)
        if stream_id is not None:
            self.sides[which].trailers(stream_id)
            self.trailed[which].add(stream_id)
            self._end(which, stream_id)

    def reset(self, which: int, number: int) -> None:
        stream_id = self._pick(which, number)
        if stream_id is not None:
            self.sides[which].reset(stream_id)
            self.sides[which].sending.discard(stream_id)
            self.dead.add(stream_id)

    def ping(self, which: int) -> None:
        self.sides[which].ping()

    def window(self, which: int, size: int) -> None:
        self.sides[which].change_window(size)

    def acknowledge(self, which: int) -> None:
        side = self.sides[which]
        for stream_id, size in side.unacknowledged.items():
            if size:
                side.acknowledge(stream_id, size)
        side.unacknowledged.clear()

    def deliver(self, which: int, size: int) -> None:
        """Bring some of what a side has said to the other one."""
        wire = self.wires[which] + self.sides[which].output()
        self.wires[which] = wire[size:]
        self.sides[1 - which].receive(wire[:size])


WHICH = st.integers(0, 1)
NUMBER = st.integers(0, 9)
SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([16383, 16384, 16385, 30000, 65535, 65536, 200000])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open")),
        st.tuples(st.just("send"), WHICH, NUMBER, SIZES, st.booleans()),
        st.tuples(st.just("send"), WHICH, NUMBER, SIZES, st.just(False)),
        st.tuples(st.just("trailers"), WHICH, NUMBER),
        st.tuples(st.just("reset"), WHICH, NUMBER),
        st.tuples(st.just("ping"), WHICH),
        st.tuples(st.just("window"), WHICH, st.sampled_from([0, 1, 100, 16384, 65535, 100000])),
        st.tuples(st.just("acknowledge"), WHICH),
        st.tuples(st.just("deliver"), WHICH, st.one_of(st.integers(1, 60), st.just(10**9))),
        st.tuples(st.just("deliver"), WHICH, st.just(10**9)),
    ),
    max_size=50,
)


class OracleTests(SynchronousTestCase):
    def check(self, conversation: Conversation, steps: list[tuple[Any, ...]]) -> None:
        conversation.run([("open",), *steps])
        for which in (0, 1):
            other = conversation.sides[1 - which]
            for stream_id in conversation.streams:
                told = other.of(stream_id)
                said = conversation.said[which].get(stream_id, b"")
                if stream_id in conversation.dead:
                    self.assertTrue(said.startswith(told.body))
                    continue
                self.assertIsNone(told.reset)
                self.assertIsNotNone(told.head)
                self.assertEqual(told.body, said)
                self.assertEqual(told.ended, stream_id in conversation.ended[which])
                trailers = TRAILERS if stream_id in conversation.trailed[which] else None
                self.assertEqual(told.trailers, trailers)

    def windows_are_whole(self, own: Own) -> None:
        codec = own.codec
        self.assertEqual(codec._held, 0)
        self.assertEqual(codec._receive_window + codec._credit, codec._window_size)

    @settings(deadline=None, max_examples=100)
    @given(STEPS, st.sampled_from([100, 16384, 65535, 262144]))
    def test_as_a_server(self, steps, window):
        limits = HTTP2Limits(initial_window=window, connection_window=70000, resets=EASY)
        own = Own(HTTP2ServerCodec(limits, "repair"))
        self.check(Conversation(Oracle(True), own), steps)
        self.windows_are_whole(own)

    @settings(deadline=None, max_examples=100)
    @given(STEPS, st.sampled_from([100, 16384, 65535, 262144]))
    def test_as_a_client(self, steps, window):
        limits = HTTP2Limits(initial_window=window, connection_window=70000, resets=EASY)
        own = Own(HTTP2ClientCodec(limits, "repair"))
        self.check(Conversation(own, Oracle(False)), steps)
        self.windows_are_whole(own)

    @settings(deadline=None, max_examples=100)
    @given(STEPS, st.sampled_from([100, 16384, 65535, 262144]))
    def test_with_itself(self, steps, window):
        limits = HTTP2Limits(initial_window=window, connection_window=70000, resets=EASY)
        client = Own(HTTP2ClientCodec(limits, "repair"))
        server = Own(HTTP2ServerCodec(limits, "repair"))
        self.check(Conversation(client, server), steps)
        self.windows_are_whole(client)
        self.windows_are_whole(server)
