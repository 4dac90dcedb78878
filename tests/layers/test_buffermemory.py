"""What waits in the proxy, under one bound: ``buffer_memory_total``; in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from interceptor import layers
from interceptor.layers.allowances import Allowances
from interceptor.layers.buffermemory import FREE, Account, BufferMemory
from interceptor.service import make_options
from interceptor.testing import EventRecorder, MemoryProxy
from tests.events.cases import GET, EventTestCase, Hooks, chunk
from tests.layers.h2peers import H2Client, H2Origin, ok
from tests.layers.linecodec import LineCodec, LineLayer
from tests.websockets import BINARY, CONTINUATION, WebSocketPair, frame

TOTAL = 3 * FREE
K = 1024


class LongLineCodec(LineCodec):
    """Lines may be long."""

    def read(self, buffer: layers.Buffer, from_client: bool) -> layers.Message | None:
        line = buffer.take_until(b"\n", 1 << 20)
        return None if line is None else layers.BytesMessage(from_client, line[:-1])


class LongLineLayer(LineLayer):
    """Speaks them."""

    name = "long"
    codec = LongLineCodec


class LongLines:
    """The addon that declares it."""

    def load(self, loader: Any) -> None:
        loader.add_layer(LongLineLayer)


class AccountTests(SynchronousTestCase):
    def memory(self, total: int) -> BufferMemory:
        allowances = Allowances(Clock())
        memory = BufferMemory(allowances)
        allowances.configure(make_options(buffer_memory_total=total))
        return memory

    def test_little_is_not_counted(self) -> None:
        memory = self.memory(100_000)
        account = Account(memory)
        self.assertTrue(account.update(FREE))
        self.assertEqual(memory.taken, 0)
        self.assertTrue(account.update(FREE + 1))
        self.assertEqual(memory.taken, FREE + 1)
        self.assertTrue(account.update(10))
        self.assertEqual(memory.taken, 0)

    def test_all_hold_it_together(self) -> None:
        memory = self.memory(200_000)
        first, second = Account(memory), Account(memory)
        self.assertTrue(first.update(150_000))
        self.assertFalse(second.update(70_000))
        # Who lets go of something is not told that it is too much.
        self.assertTrue(first.update(140_000))
        first.close()
        self.assertTrue(second.update(80_000))

    def test_who_waits_is_told_when_there_is_room(self) -> None:
        memory = self.memory(200_000)
        first, second = Account(memory), Account(memory)
        told: list[int] = []
        first.update(300_000)
        memory.when_room(lambda: told.append(1))
        forgotten = lambda: told.append(2)  # noqa: E731 - it has to be named to be forgotten
        memory.when_room(forgotten)
        memory.forget(forgotten)
        first.update(250_000)
        second.close()
        self.assertEqual(told, [])
        first.update(200_000)
        first.update(100_000)
        self.assertEqual(told, [1])

    def test_room_for_what_is_kept(self) -> None:
        memory = self.memory(2 * FREE)
        account = Account(memory)
        self.assertEqual(account.room(100, 1 << 20), FREE)
        self.assertEqual(account.room(FREE + 1, 1 << 20), 2 * FREE)
        self.assertEqual(account.room(2 * FREE + 1, 1 << 20), 2 * FREE)
        self.assertEqual(memory.taken, 2 * FREE)
        self.assertEqual(Account(memory).room(FREE + 1, 1 << 20), FREE)
        self.assertEqual(account.room(100_000, 1000), 1000)


class HeldTests(EventTestCase):
    """What each protocol does where there is no room."""

    def taken(self, proxy: MemoryProxy) -> int:
        return proxy.environment.buffer_memory.taken

    def test_messages_of_websockets(self) -> None:
        recorder = EventRecorder("websocket_message", "websocket_end")
        proxy = self.proxy(recorder, buffer_memory_total=TOTAL)
        first, second = WebSocketPair(proxy), WebSocketPair(proxy)
        whole = frame(BINARY, b"x" * 150 * K)
        first.client.send(whole[: 100 * K])
        self.assertEqual(self.taken(proxy), 100 * K)
        second.client.send(frame(BINARY, b"x" * 60 * K, fin=False))
        self.assertEqual(self.taken(proxy), 100 * K)
        # Whose message it is that does not fit any more closes with 1009, and with nobody else.
        for _ in range(3):
            second.client.send(frame(CONTINUATION, b"x" * 60 * K, fin=False))
        flow = recorder.arguments("websocket_end")[0]
        self.assertEqual((flow.error.code, flow.websocket.close_code), ("buffer-memory-full", 1009))
        self.assertEqual(self.taken(proxy), 100 * K)
        first.client.send(whole[100 * K :])
        self.assertEqual(first.at_origin(), whole)
        # It stays on its flow while it is the latest.
        self.assertEqual(self.taken(proxy) // K, 150)
        first.client.close()
        proxy.flush()
        self.assertEqual(self.taken(proxy), 0)

    def test_what_flows_keep_of_websockets(self) -> None:
        proxy = self.proxy(EventRecorder("websocket_message"), buffer_memory_total=TOTAL)
        pairs = [WebSocketPair(proxy) for _ in range(5)]
        for _ in range(400):
            for pair in pairs:
                pair.client.send(frame(BINARY, b"x" * K))
            self.assertLessEqual(self.taken(proxy), TOTAL)
        self.assertGreater(self.taken(proxy), TOTAL // 2)

    def test_what_flows_keep_of_tcp(self) -> None:
        recorder = EventRecorder("tcp_message")
        proxy = self.proxy(recorder, mode="reverse:tcp://any.test:7", buffer_memory_total=TOTAL)
        proxy.origin("any.test", 7)
        clients = [proxy.client() for _ in range(5)]
        for _ in range(200):
            for client in clients:
                client.send(b"\0" + b"x" * 2 * K)
            self.assertLessEqual(self.taken(proxy), TOTAL)
        flows = {id(flow): flow for flow in recorder.arguments("tcp_message")}.values()
        self.assertEqual(len(flows), 5)
        for flow in flows:
            self.assertGreater(flow.forgotten, 0)
            self.assertGreater(len(flow.messages), 10)
        for client in clients:
            client.abort()
        self.assertEqual(self.taken(proxy), 0)

    def test_messages_of_other_protocols(self) -> None:
        recorder = EventRecorder("long_error")
        proxy = self.proxy(
            LongLines(), recorder, mode="reverse:long://any.test", buffer_memory_total=100 * K
        )
        proxy.origin("any.test", 7)
        first, second = proxy.client(), proxy.client()
        first.send(b"x" * 80 * K)
        self.assertEqual(self.taken(proxy), 80 * K)
        second.send(b"x" * 70 * K)
        [flow] = recorder.arguments("long_error")
        self.assertEqual(flow.error.code, "buffer-memory-full")
        self.assertTrue(second.closed)
        first.send(b"\n")
        self.assertFalse(first.closed)
        first.close()
        proxy.flush()
        self.assertEqual(self.taken(proxy), 0)

    def test_event_streams(self) -> None:
        seen: list[int] = []
        hooks = Hooks(sse_event=lambda flow: seen.append(len(flow.sse.events[-1].data)))
        proxy = self.proxy(hooks, buffer_memory_total=100 * K)
        client, origin = proxy.client(), proxy.origin()
        client.send(GET)
        origin.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        origin.send(chunk(b"data: " + b"x" * 90 * K + b"\n\n"))
        self.assertEqual(seen, [90 * K])
        # This one passes unseen.
        origin.send(chunk(b"data: " + b"y" * 500 * K + b"\n\n"))
        self.assertEqual(seen, [90 * K])
        self.assertIn(b"y" * 4 * K, client.received)
        self.assertLess(self.taken(proxy), 200 * K)
        self.flushLoggedErrors()
        client.abort()
        self.assertEqual(self.taken(proxy), 0)


class HTTP2Tests(EventTestCase):
    """Data that nobody takes."""

    def test_connections_are_not_read_from_until_there_is_room(self) -> None:
        waiting: list[Deferred[None]] = []

        def wait(flow: Any) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        recorder = EventRecorder("requestheaders", "request")
        proxy = self.proxy(
            Hooks(requestheaders=wait), recorder, h2_cleartext=True, buffer_memory_total=200 * K
        )
        H2Origin(proxy, ok)
        clients = [H2Client(proxy) for _ in range(3)]
        streams = []
        for client in clients:
            stream = client.request(method="POST", body=b"", end=False)
            streams.append(stream)
            sent = 0
            while sent < 400 * K:
                room = min(client.h2.local_flow_control_window(stream), 16 * K, 400 * K - sent)
                if not room:
                    break
                client.h2.send_data(stream, b"x" * room)
                sent += room
                client.go()
            client.h2.end_stream(stream)
            client.go()
        # What was on its way when the reading stopped is all that goes beyond.
        memory = proxy.environment.buffer_memory
        self.assertGreater(memory.taken, 200 * K)
        self.assertLess(memory.taken, 400 * K)
        for answer in waiting:
            answer.callback(None)
        for client, stream in zip(clients, streams, strict=True):
            client.go()
            self.assertIn(stream, client.finished)
        self.assertEqual(memory.taken, 0)
        sizes = [len(flow.request.content) for flow in recorder.arguments("request")]
        self.assertEqual(len(set(sizes)), 1)

    def test_a_client_that_goes_gives_back(self) -> None:
        waiting: Deferred[None] = Deferred()
        proxy = self.proxy(
            Hooks(requestheaders=lambda flow: waiting), EventRecorder("request"), h2_cleartext=True
        )
        H2Origin(proxy, ok)
        client = H2Client(proxy)
        stream = client.request(method="POST", body=b"", end=False)
        for _ in range(12):
            client.h2.send_data(stream, b"x" * 16 * K)
        client.go()
        memory = proxy.environment.buffer_memory
        self.assertEqual(memory.taken, 192 * K)
        client.h2.reset_stream(stream)
        client.go()
        self.assertEqual(memory.taken, 0)
