"""Redis through a proxy in memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor import redis
from interceptor.addons.protocols import PROTOCOL_HOOKS, declare_protocols
from interceptor.hooks.declarations import Declarations
from interceptor.hooks.events import EVENTS, read_events
from interceptor.model.options import Options
from interceptor.model.protocoloptions import PROTOCOL_OPTIONS
from interceptor.testing import EventRecorder, HookTester, MemoryProxy


class RedisTests(SynchronousTestCase):
    def start(self, *addons: object, **options: Any) -> None:
        options.setdefault("mode", "reverse:redis://cache.test")
        self.proxy = MemoryProxy(*addons, **options)
        self.addCleanup(self.proxy.close)
        self.origin = self.proxy.origin("cache.test", 6379)
        self.client = self.proxy.client()

    def test_every_step(self) -> None:
        names = ["redis_start", "redis_command", "redis_reply", "redis_end"]
        recorder = EventRecorder(*names)
        self.start(recorder)
        self.client.send(b"PING\r\n")
        self.origin.send(b"+PONG\r\n")
        self.client.close()
        self.origin.close()
        self.assertEqual(recorder.names, names)
        (flow,) = recorder.arguments("redis_end")
        self.assertEqual([str(each) for each in flow.messages], ["PING", "PONG"])
        self.assertEqual(flow.type, "redis")

    def test_changes(self) -> None:
        def edit(flow: Any) -> None:
            flow.message.arguments.append("EX")
            flow.message.arguments.append("10")

        def hide(flow: Any) -> None:
            flow.message.value = redis.Status(b"MAYBE")

        self.start(EventRecorder(redis_command=edit, redis_reply=hide))
        self.client.send(b"SET a 1\r\n")
        self.assertEqual(
            self.origin.received,
            b"*5\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n$2\r\nEX\r\n$2\r\n10\r\n",
        )
        self.origin.send(b"+OK\r\n")
        self.assertEqual(self.client.received, b"+MAYBE\r\n")

    def test_what_is_not_changed_stays_as_it_came(self) -> None:
        self.start(EventRecorder("redis_command", "redis_reply"))
        self.client.send(b"set  a 1\n")
        self.origin.send(b",1.50e0\r\n")
        self.assertEqual(
            (self.origin.received, self.client.received), (b"set  a 1\n", b",1.50e0\r\n")
        )

    def test_a_server_of_hooks_alone(self) -> None:
        recorder = EventRecorder(
            "redis_reply",
            redis_command=lambda flow: flow.message.answer([flow.message.name, 1, None]),
        )
        self.start(recorder)
        self.client.send(b"PING\r\n")
        self.assertEqual(self.client.received, b"*3\r\n$4\r\nPING\r\n:1\r\n$-1\r\n")
        self.assertEqual(self.origin.connections, [])
        self.assertEqual(recorder.names, ["redis_command", "redis_reply"])

    def test_asking_the_server(self) -> None:
        def ask(flow: Any) -> None:
            flow.inject(False, redis.Command("GET", "key"))

        recorder = EventRecorder("redis_reply", redis_command=ask)
        self.start(recorder)
        self.client.send(b"PING\r\n")
        self.assertEqual(self.origin.received, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING\r\n")
        self.origin.send(b"$1\r\n1\r\n+PONG\r\n")
        self.assertEqual(self.client.received, b"+PONG\r\n")
        self.assertEqual(len(recorder.arguments("redis_reply")), 2)

    def test_replication(self) -> None:
        recorder = EventRecorder("redis_command", "redis_end", "tcp_start")
        self.start(recorder)
        self.client.send(b"PSYNC ? -1\r\n")
        self.origin.send(b"+FULLRESYNC x 0\r\n$3\r\nabc*1\r\n")
        self.assertEqual(self.client.received, b"+FULLRESYNC x 0\r\n$3\r\nabc*1\r\n")
        self.assertEqual(recorder.names, ["redis_command", "redis_end", "tcp_start"])

    def test_what_is_no_redis(self) -> None:
        recorder = EventRecorder("redis_error")
        self.start(recorder)
        self.client.send(b"PING\r\n")
        self.origin.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertIn(b"-ERR proxy: redis-malformed: ", self.client.received)
        self.assertEqual(recorder.arguments("redis_error")[0].error.code, "redis-malformed")

    def test_a_hook_that_makes_nonsense(self) -> None:
        def spoil(flow: Any) -> None:
            flow.message.value = object()

        self.start(EventRecorder(redis_reply=spoil))
        self.client.send(b"PING\r\n")
        self.origin.send(b"+PONG\r\n")
        self.assertIn(b"redis-invalid", self.client.received)

    def test_tls(self) -> None:
        recorder = EventRecorder("redis_command")
        self.start(recorder, mode="reverse:rediss://cache.test:6390")
        origin = self.proxy.tls_origin("cache.test", 6390, alpn=())
        self.client.start_tls("cache.test", alpn=()).send(b"PING\r\n")
        self.assertEqual((origin.received, recorder.names), (b"PING\r\n", ["redis_command"]))


class ReferenceTests(SynchronousTestCase):
    def test_all_events_are_declared_and_documented(self) -> None:
        tester = HookTester()
        self.addCleanup(tester.close)
        documented = {event.name for each in PROTOCOL_HOOKS for event in read_events(each)}
        self.assertEqual(set(tester.chain.bus.declared.events) - set(EVENTS), documented)

    def test_the_options_are_those_of_the_layers(self) -> None:
        options, declared = Options(PROTOCOL_OPTIONS), Declarations()
        declare_protocols(options, declared)
        self.assertEqual(
            {layer.option for layer in declared.layers.values()},
            {option.name for option in PROTOCOL_OPTIONS},
        )
        self.assertEqual(options.options(), PROTOCOL_OPTIONS)
