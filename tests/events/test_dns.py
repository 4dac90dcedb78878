"""The events of DNS: ``dns_request``, ``dns_response``, ``dns_error``, over UDP and TCP."""

from __future__ import annotations

from typing import Any

from interceptor import dns
from interceptor.names.streams import MessageReader, frame
from interceptor.names.wire import with_id
from interceptor.net.memory import HalfCloseRecorder, RecorderFactory
from interceptor.net.memorydatagrams import DatagramClient, DatagramServer
from interceptor.net.sides import LAST_CALL
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import EventTestCase, Guard, Hooks, Waiting
from tests.names.test_message import ANSWER, OPT
from tests.names.test_wire import QUESTION, message

EVENTS = (
    "dns_request",
    "dns_response",
    "dns_error",
    "serverconnect",
    "serverconnected",
    "serverconnect_failed",
    "serverdisconnect",
)
ASK = message(QUESTION + OPT, 1, 0, 0, 1, number=0x1234)
RESOLVER = ("9.9.9.9", 53)


def answering(query: bytes) -> bytes:
    """What an honest resolver says, with bits and bytes that nobody would make up."""
    reply = message(QUESTION + ANSWER + OPT, 1, 1, 0, 1, flags=0x81C0) + b"behind"
    return with_id(reply, int.from_bytes(query[:2], "big"))


def reply_to(query: bytes, **settings: Any) -> bytes:
    """A response to a query, made like one of a hook's."""
    return dns.Response.make(dns.Request.from_wire(query), **settings).to_wire()


class Resolver(HalfCloseRecorder):
    """A resolver that is spoken to over TCP."""

    silent = False

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[bytes] = []
        self._reader = MessageReader()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        for query in self._reader.receive(data):
            self.queries.append(query)
            if not self.silent:
                self.write(frame(answering(query)))


class DNSTestCase(EventTestCase):
    """A proxy in front of one resolver, and clients."""

    def start(
        self, *addons: object, mode: str = "dns:9.9.9.9", **options: Any
    ) -> tuple[MemoryProxy, DatagramClient, DatagramServer, EventRecorder]:
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder, *addons, mode=mode, **options)
        server = proxy.datagram_server(*RESOLVER)
        server.answer = answering
        return proxy, proxy.datagram_client(), server, recorder

    def with_hooks(self, **hooks: Any) -> Any:
        return self.start(Hooks(**hooks))

    def resolver(self, proxy: MemoryProxy, address: tuple[str, int] = RESOLVER) -> RecorderFactory:
        """Let a resolver listen for TCP."""
        factory = RecorderFactory(Resolver)
        proxy.network.listen(address, factory)
        return factory

    def answer(self, client: DatagramClient) -> dns.Response:
        """Take the one answer that came over UDP."""
        [data] = client.take()
        return dns.Response.from_wire(data)

    def answers(self, client: MemoryClient) -> list[dns.Response]:
        """Take the answers that came over TCP."""
        return [dns.Response.from_wire(each) for each in MessageReader().receive(client.take())]

    def code(self, recorder: EventRecorder) -> str:
        [flow] = recorder.arguments("dns_error")
        return str(flow.error.code)


class OrderTests(DNSTestCase):
    def test_a_question(self):
        proxy, client, server, recorder = self.start()
        client.send(ASK)
        self.assertEqual(
            recorder.names,
            ["dns_request", "serverconnect", "serverconnected", "serverdisconnect", "dns_response"],
        )
        # Both as they were, but for the id, which nobody can guess.
        self.assertEqual(server.received[0][2:], ASK[2:])
        self.assertEqual(client.received, [with_id(answering(ASK), 0x1234)])
        [flow] = recorder.arguments("dns_response")
        self.assertEqual((flow.type, flow.mode, flow.transport), ("dns", "dns:9.9.9.9:53", "udp"))
        self.assertEqual((flow.request.name, flow.request.type), ("www.example.com", "A"))
        self.assertEqual(flow.response.answers[0].data, "192.0.2.1")
        self.assertEqual((flow.request.id, flow.response.id), (0x1234, 0x1234))
        self.assertEqual(flow.server_conn.address, RESOLVER)
        self.assertEqual((flow.client_conn.address, flow.live), (client.address, False))
        self.assertEqual(proxy.environment.sessions, set())

    def test_nobody_listens(self):
        proxy = self.proxy(mode="dns:9.9.9.9")
        proxy.datagram_server(*RESOLVER).answer = answering
        client = proxy.datagram_client()
        client.send(ASK)
        self.assertEqual(client.received, [answering(ASK)])

    def test_ids_are_random(self):
        _proxy, client, server, _ = self.start()
        for _ in range(20):
            client.send(ASK)
        self.assertGreater(len({query[:2] for query in server.received}), 15)
        self.assertEqual({data[:2] for data in client.received}, {ASK[:2]})

    def test_the_case_of_letters_is_kept(self):
        _proxy, client, server, recorder = self.start()
        asked = ASK.replace(b"example", b"eXaMpLe")
        # Some resolvers answer in the case that they like best.
        client.send(asked)
        self.assertIn(b"eXaMpLe", server.received[0])
        [flow] = recorder.arguments("dns_response")
        self.assertEqual(flow.request.name, "www.eXaMpLe.com")
        self.assertEqual(client.received, [answering(ASK)])

    def test_others_are_served_while_a_hook_waits(self):
        waiting = Waiting()
        _proxy, client, _, _ = self.with_hooks(
            dns_request=lambda flow: waiting(flow) if flow.request.id == 0x1234 else None
        )
        client.send(ASK)
        client.send(with_id(ASK, 2))
        self.assertEqual([data[:2] for data in client.received], [b"\0\2"])
        waiting.go_on()
        self.assertEqual(client.received[1:], [answering(ASK)])

    def test_other_operations_are_passed_on(self):
        _, client, server, recorder = self.start()
        notify = message(QUESTION, 1, flags=0x2400)
        server.answer = lambda query: query[:2] + b"\xa4\0" + query[4:]
        client.send(notify)
        self.assertEqual(client.received, [notify[:2] + b"\xa4\0" + notify[4:]])
        self.assertEqual(recorder.arguments("dns_response")[0].request.opcode, "NOTIFY")


class HookTests(DNSTestCase):
    def test_answers(self):
        def request(flow):
            flow.response = dns.Response.make(flow.request, ["192.0.2.7", "2001:db8::7"], ttl=9)

        proxy, client, _server, recorder = self.with_hooks(dns_request=request)
        client.send(ASK)
        answer = self.answer(client)
        self.assertEqual(
            [str(each) for each in answer.answers], ["www.example.com 9 IN A 192.0.2.7"]
        )
        self.assertEqual((answer.id, answer.edns), (0x1234, True))
        self.assertEqual(recorder.names, ["dns_request", "dns_response"])
        self.assertEqual(proxy.datagrams.attempts, [])

    def test_refusals(self):
        def request(flow):
            flow.response = dns.Response.make(flow.request, rcode="REFUSED")

        _, client, _, _ = self.with_hooks(dns_request=request)
        client.send(ASK)
        self.assertEqual(self.answer(client).rcode, "REFUSED")

    def test_changes(self):
        def response(flow):
            flow.response.answers[0].data = "192.0.2.8"

        _, client, _, _ = self.with_hooks(dns_response=response)
        client.send(ASK)
        answer = self.answer(client)
        self.assertEqual((answer.answers[0].data, answer.id), ("192.0.2.8", 0x1234))
        self.assertTrue(answer.edns)

    def test_another_name(self):
        def request(flow):
            flow.request.name = "other.example"

        _, client, server, _recorder = self.with_hooks(dns_request=request)
        server.answer = lambda query: reply_to(query, answers="192.0.2.9")
        client.send(ASK)
        self.assertIn(b"\5other\7example\0", server.received[0])
        answer = self.answer(client)
        self.assertEqual(answer.name, "www.example.com")
        self.assertEqual(
            [(each.name, each.type, each.data) for each in answer.answers],
            [
                ("www.example.com", "CNAME", "other.example"),
                ("other.example", "A", "192.0.2.9"),
            ],
        )

    def test_another_resolver(self):
        def request(flow):
            flow.server_conn.address = ("8.8.8.8", 5353)

        proxy, client, server, _ = self.with_hooks(dns_request=request)
        other = proxy.datagram_server("8.8.8.8", 5353)
        other.answer = answering
        client.send(ASK)
        self.assertEqual((len(server.received), len(other.received)), (0, 1))
        self.assertEqual(client.received, [answering(ASK)])

    def test_kills(self):
        for event in ("dns_request", "dns_response"):
            _, client, _, recorder = self.with_hooks(**{event: lambda flow: flow.kill()})
            client.send(ASK)
            self.assertEqual(client.received, [])
            [flow] = recorder.arguments("dns_request")
            self.assertEqual(flow.error.code, "killed")
            # Exactly one of the two ends.
            self.assertEqual(recorder.names[-1], {"dns_request": "dns_error"}.get(event, event))

    def test_a_kill_while_the_resolver_is_silent(self):
        _, client, server, recorder = self.start()
        server.answer = None
        client.send(ASK)
        recorder.arguments("dns_request")[0].kill()
        self.assertEqual(recorder.names[-2:], ["serverdisconnect", "dns_error"])
        self.assertEqual(client.received, [])

    def test_intercepting(self):
        _, client, _, recorder = self.with_hooks(dns_request=lambda flow: flow.intercept())
        client.send(ASK)
        self.assertEqual(client.received, [])
        recorder.arguments("dns_request")[0].resume()
        self.assertEqual(client.received, [answering(ASK)])

    def test_what_hooks_must_not_do(self):
        def take(name):
            return lambda flow: setattr(flow, name, None)

        def nonsense(flow):
            flow.response = "yes"

        def too_much(flow):
            flow.response.answers = [dns.Record("a", "TXT", "x" * 255)] * 300

        for hooks, code in (
            ({"dns_request": take("request")}, "request-removed"),
            ({"dns_request": nonsense}, "response-removed"),
            ({"dns_response": take("response")}, "response-removed"),
            ({"dns_response": too_much}, "dns-message-invalid"),
            (
                {"dns_request": lambda flow: setattr(flow.server_conn, "address", None)},
                "no-destination",
            ),
        ):
            _, client, _, recorder = self.with_hooks(**hooks)
            client.send(ASK)
            self.assertEqual(self.answer(client).rcode, "SERVFAIL")
            [flow] = recorder.arguments("dns_request")
            self.assertEqual(flow.error.code, code)

    def test_a_guard_that_fails(self):
        def fail(flow):
            raise RuntimeError("no")

        proxy, client, _, recorder = self.start(Guard(dns_request=fail))
        client.send(ASK)
        self.assertEqual(self.answer(client).rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "hook-failed")
        self.assertEqual(proxy.datagrams.attempts, [])

    def test_a_resolver_that_is_refused(self):
        _, client, _, recorder = self.with_hooks(serverconnect=lambda conn: conn.refuse("no"))
        client.send(ASK)
        self.assertEqual(self.answer(client).rcode, "REFUSED")
        self.assertEqual(self.code(recorder), "refused-by-hook")


class SizeTests(DNSTestCase):
    """What does not fit into a datagram."""

    def many(self, flow: Any) -> None:
        flow.response = dns.Response.make(
            flow.request, [f"192.0.2.{number}" for number in range(100)]
        )

    def test_a_large_answer_is_truncated(self):
        _, client, _, _ = self.with_hooks(dns_request=self.many)
        client.send(ASK)
        answer = self.answer(client)
        self.assertTrue(answer.truncated and answer.edns)
        self.assertEqual((answer.answers, answer.name), ([], "www.example.com"))

    def test_over_tcp_it_is_whole(self):
        proxy, _, _, _ = self.with_hooks(dns_request=self.many)
        client = proxy.client().send(frame(ASK))
        [answer] = self.answers(client)
        self.assertEqual((len(answer.answers), answer.truncated), (100, False))

    def test_the_client_says_how_much_it_takes(self):
        def some(flow):
            flow.response = dns.Response.make(flow.request, [f"192.0.2.{n}" for n in range(40)])

        _proxy, client, _, _ = self.with_hooks(dns_request=some)
        client.send(ASK)
        self.assertEqual(len(self.answer(client).answers), 40)
        client.send(message(number=5))
        self.assertTrue(self.answer(client).truncated)

    def test_what_the_resolver_truncated_is_passed_on(self):
        _, client, server, recorder = self.start()
        cut = message(QUESTION + ANSWER[:5], 1, 9, flags=0x8380)
        server.answer = lambda query: with_id(cut, int.from_bytes(query[:2], "big"))
        client.send(ASK)
        self.assertEqual(client.received, [with_id(cut, 0x1234)])
        [flow] = recorder.arguments("dns_response")
        self.assertTrue(flow.response.truncated)


class ResolverTests(DNSTestCase):
    """Resolvers that are silent, wrong, gone, or somebody else."""

    def test_silence(self):
        proxy, client, server, recorder = self.start()
        server.answer = None
        client.send(ASK)
        proxy.advance(4.4)
        self.assertEqual(client.received, [])
        proxy.advance(0.2)
        self.assertEqual(self.answer(client).rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "dns-query-timeout")
        server.send(answering(ASK))
        self.assertEqual(client.received, [])

    def test_repeated_questions_are_repeated(self):
        _proxy, client, server, recorder = self.start()
        server.answer = None
        client.send(ASK)
        client.send(ASK)
        self.assertEqual(len(server.received), 2)
        self.assertEqual(server.received[0], server.received[1])
        self.assertEqual(recorder.names.count("dns_request"), 1)
        server.send(answering(server.received[0]))
        self.assertEqual(client.received, [answering(ASK)])

    def test_the_next_one_is_asked(self):
        proxy, client, _, recorder = self.start(
            mode="dns", dns_servers=["9.9.9.9", "8.8.8.8", "[2001:db8::1]:54"]
        )
        proxy.datagrams.servers.clear()
        silent = proxy.datagram_server("8.8.8.8", 53)
        last = proxy.datagram_server("2001:db8::1", 54)
        last.answer = answering
        client.send(ASK)
        self.assertEqual((len(silent.received), client.received), (1, []))
        proxy.advance(1.5)
        self.assertEqual(client.received, [answering(ASK)])
        self.assertEqual(recorder.names.count("serverconnect"), 3)
        self.assertEqual(recorder.names.count("serverconnect_failed"), 1)
        [flow] = recorder.arguments("dns_response")
        self.assertEqual(flow.server_conn.address, ("2001:db8::1", 54))

    def test_one_that_is_gone(self):
        _, client, server, recorder = self.start()
        server.answer = None
        client.send(ASK)
        server.refuse()
        self.assertEqual(self.answer(client).rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "connect-refused")

    def test_answers_to_other_questions_are_not_heard(self):
        _, client, server, _ = self.start()
        server.answer = None
        client.send(ASK)
        query = server.received[0]
        number = int.from_bytes(query[:2], "big")
        other = QUESTION.replace(b"www", b"ftp")
        for forged in (
            answering(with_id(query, number ^ 1)),
            query,
            message(other + ANSWER, 1, 1, flags=0x8180, number=number),
            message(QUESTION[:-4] + b"\0\x1c\0\1", 1, flags=0x8180, number=number),
            message(QUESTION, 1, flags=0xA180, number=number),
            message(b"", 0, flags=0x8180, number=number),
            query[:1],
            b"",
        ):
            server.send(forged)
        self.assertEqual(client.received, [])
        server.send(answering(query))
        self.assertEqual(client.received, [answering(ASK)])

    def test_refusals_without_the_question(self):
        _, client, server, _ = self.start()
        server.answer = lambda query: query[:2] + b"\x81\1" + bytes(8)
        client.send(ASK)
        self.assertEqual(client.received, [ASK[:2] + b"\x81\1" + bytes(8)])

    def test_nonsense(self):
        _, client, server, recorder = self.start()
        server.answer = lambda query: message(
            QUESTION + b"\xff", 1, 1, flags=0x8180, number=int.from_bytes(query[:2], "big")
        )
        client.send(ASK)
        self.assertEqual(self.answer(client).rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "dns-answer-malformed")

    def test_none_is_known(self):
        proxy, client, _, recorder = self.start(mode="dns")
        proxy.environment.name_servers.resolv_conf = "/no/such/file"
        client.send(ASK)
        self.assertEqual(self.answer(client).rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "dns-no-server")

    def test_a_hook_may_know_one(self):
        def request(flow):
            flow.server_conn.address = RESOLVER

        proxy, client, _, _ = self.start(Hooks(dns_request=request), mode="dns")
        proxy.environment.name_servers.resolv_conf = "/no/such/file"
        client.send(ASK)
        self.assertEqual(client.received, [answering(ASK)])

    def test_next_hops_have_a_way_for_tcp_only(self):
        proxy, client, _, recorder = self.start(upstream_proxy="socks5h://hop.test:1080")
        client.send(ASK)
        self.assertTrue(self.answer(client).truncated)
        self.assertEqual(proxy.datagrams.attempts, [])
        self.assertEqual(recorder.names[-2:], ["serverconnect_failed", "dns_response"])
        proxy.client().send(frame(ASK))
        self.assertEqual(proxy.network.attempts, [("hop.test", 1080)])

    def test_transfers(self):
        _, client, _, recorder = self.start()
        client.send(message(QUESTION[:-4] + b"\0\xfc\0\1"))
        self.assertEqual(self.answer(client).rcode, "NOTIMP")
        self.assertEqual(self.code(recorder), "dns-transfer")


class MalformedTests(DNSTestCase):
    def test_over_udp(self):
        _, client, _, recorder = self.start()
        messages = self.messages()
        for bad in (message(QUESTION[:5]), message(QUESTION * 2, 2), message(b"\xc0\x0c\0\1\0\1")):
            client.send(bad)
            # The header and nothing else: never more than was sent.
            self.assertEqual(client.take(), [b"\0\7\x81\1" + bytes(8)])
        for mute in (b"", b"\0", ASK[:11], answering(ASK)):
            client.send(mute)
            self.assertEqual(client.take(), [])
        self.assertEqual(recorder.names, [])
        [_line] = [text for text in messages.texts if "dns-malformed" in text]
        client.send(ASK)
        self.assertEqual(client.received, [answering(ASK)])

    def test_over_tcp(self):
        proxy, _, _, recorder = self.start()
        for bad, answer in (
            (message(QUESTION[:5]), frame(b"\0\7\x81\1" + bytes(8))),
            (b"", b""),
            (answering(ASK), b""),
        ):
            client = proxy.client().send(frame(bad))
            self.assertEqual((client.received, client.closed), (answer, True))
        self.assertEqual(recorder.names, [])


class TCPTests(DNSTestCase):
    """Clients over TCP, and resolvers."""

    def test_a_question_byte_by_byte(self):
        proxy, _, _, recorder = self.start(chunk=1)
        resolvers = self.resolver(proxy)
        client = proxy.client().send(frame(ASK))
        self.assertEqual(client.received, frame(answering(ASK)))
        [peer] = resolvers.protocols
        self.assertEqual(peer.queries[0][2:], ASK[2:])
        self.assertEqual(
            recorder.names, ["dns_request", "serverconnect", "serverconnected", "dns_response"]
        )
        [flow] = recorder.arguments("dns_response")
        self.assertEqual(flow.transport, "tcp")
        client.close()
        self.assertEqual(recorder.names[-1], "serverdisconnect")

    def test_one_connection_for_many(self):
        proxy, _, _, recorder = self.start()
        resolvers = self.resolver(proxy)
        client = proxy.client()
        for number in range(200):
            client.send(frame(with_id(ASK, number)))
        self.assertEqual([each.id for each in self.answers(client)], list(range(200)))
        self.assertEqual(len(resolvers.protocols), 1)
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_all_at_once(self):
        waiting = Waiting()
        proxy, _, _, _recorder = self.start(Hooks(dns_request=waiting))
        self.resolver(proxy)
        client = proxy.client().send(b"".join(frame(with_id(ASK, n)) for n in range(200)))
        # No more than so many at a time.
        self.assertEqual(len(waiting.arguments), 64)
        for _ in range(200):
            waiting.go_on()
            proxy.flush()
        self.assertEqual(sorted(each.id for each in self.answers(client)), list(range(200)))

    def test_all_at_once_without_waiting(self):
        def request(flow):
            flow.response = dns.Response.make(flow.request, "192.0.2.1")

        proxy, _, _, _ = self.with_hooks(dns_request=request)
        client = proxy.client().send(b"".join(frame(with_id(ASK, n)) for n in range(3000)))
        self.assertEqual([each.id for each in self.answers(client)], list(range(3000)))

    def test_answers_may_overtake(self):
        waiting = Waiting()
        proxy, _, _, _ = self.with_hooks(
            dns_request=lambda flow: waiting(flow) if flow.request.id == 1 else None
        )
        self.resolver(proxy)
        client = proxy.client().send(frame(with_id(ASK, 1)) + frame(with_id(ASK, 2)))
        self.assertEqual([each.id for each in self.answers(client)], [2])
        waiting.go_on()
        proxy.flush()
        self.assertEqual([each.id for each in self.answers(client)], [1])

    def test_a_resolver_that_has_closed_in_between(self):
        proxy, _, _, _recorder = self.start()
        resolvers = self.resolver(proxy)
        client = proxy.client().send(frame(ASK))
        resolvers.protocols[0].close()
        proxy.flush()
        client.send(frame(ASK))
        self.assertEqual(len(self.answers(client)), 2)
        self.assertEqual(len(resolvers.protocols), 2)

    def test_a_resolver_that_closes_instead_of_answering(self):
        proxy, _, _, recorder = self.start()
        resolvers = self.resolver(proxy)
        self.patch(Resolver, "silent", True)
        client = proxy.client().send(frame(ASK))
        resolvers.protocols[0].close()
        proxy.flush()
        [answer] = self.answers(client)
        self.assertEqual(answer.rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "server-disconnected")

    def test_a_silent_resolver(self):
        proxy, _, _, recorder = self.start()
        self.resolver(proxy)
        self.patch(Resolver, "silent", True)
        client = proxy.client().send(frame(ASK))
        proxy.advance(5)
        self.assertEqual(self.answers(client)[0].rcode, "SERVFAIL")
        self.assertEqual(self.code(recorder), "dns-query-timeout")

    def test_silent_clients(self):
        proxy, _, _, _ = self.start()
        for data, seconds in ((b"", 300), (frame(ASK)[:5], 30)):
            client = proxy.client().send(data)
            proxy.advance(seconds - 1)
            self.assertFalse(client.closed)
            proxy.advance(2)
            self.assertTrue(client.closed)

    def test_a_client_that_closes_its_direction(self):
        waiting = Waiting()
        proxy, _, _, _ = self.with_hooks(dns_request=waiting)
        self.resolver(proxy)
        client = proxy.client().send(frame(ASK))
        client.end()
        self.assertFalse(client.closed)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(self.answers(client)), 1)
        self.assertTrue(client.closed)

    def test_a_client_that_is_gone(self):
        waiting = Waiting()
        proxy, _, _, recorder = self.with_hooks(dns_request=waiting)
        client = proxy.client().send(frame(ASK))
        client.abort()
        self.assertEqual(waiting.cancelled, 1)
        self.assertEqual(self.code(recorder), "client-disconnected")
        self.assertEqual(proxy.environment.sessions, set())

    def test_killed_questions_end_the_connection(self):
        proxy, _, _, _ = self.with_hooks(dns_request=lambda flow: flow.kill())
        client = proxy.client().send(frame(ASK))
        self.assertEqual((client.received, client.closed), (b"", True))

    def test_in_a_tunnel(self):
        recorder = EventRecorder(*EVENTS)
        proxy = self.proxy(recorder)
        self.resolver(proxy)
        client = proxy.client().connect("9.9.9.9", 53)
        client.send(frame(ASK))
        self.assertEqual(client.received, frame(answering(ASK)))
        [flow] = recorder.arguments("dns_response")
        self.assertEqual((flow.mode, flow.server_conn.address), ("regular", RESOLVER))

    def test_other_bytes_to_that_port_are_passed_on(self):
        recorder = EventRecorder("dns_request", "tcp_start")
        proxy = self.proxy(recorder)
        origin = self.raw_origin(proxy, "9.9.9.9", 53)
        proxy.client().connect("9.9.9.9", 53).send(b"\0\x03abc")
        self.assertEqual(origin.protocols[0].data, b"\0\x03abc")
        self.assertEqual(recorder.names, ["tcp_start"])

    def test_inside_of_tls(self):
        # Who wants to may encrypt the way to the proxy (RFC 7858).
        proxy, _, _, _ = self.start()
        self.resolver(proxy)
        client = proxy.tls_client("resolver.test").send(frame(ASK))
        self.assertEqual(client.received, frame(answering(ASK)))

    def test_the_proxy_stops(self):
        waiting = Waiting()
        proxy, _, _, _ = self.with_hooks(dns_request=waiting)
        self.resolver(proxy)
        client = proxy.client().send(frame(ASK))
        idle = proxy.client()
        for session in tuple(proxy.environment.sessions):
            session.shut_down()
        proxy.advance(LAST_CALL)
        self.assertEqual((client.closed, idle.closed), (False, True))
        waiting.go_on()
        proxy.flush()
        self.assertEqual((len(self.answers(client)), client.closed), (1, True))


class BoundTests(DNSTestCase):
    def test_questions_at_once(self):
        proxy, client, server, _recorder = self.start(udp_flow_limit=3)
        server.answer = None
        for number in range(5):
            client.send(with_id(ASK, number))
        self.assertEqual(len(server.received), 3)
        proxy.advance(5)
        client.send(with_id(ASK, 9))
        self.assertEqual(len(server.received), 4)

    def test_the_proxy_stops(self):
        proxy, client, server, recorder = self.start()
        server.answer = None
        client.send(ASK)
        [session] = proxy.environment.sessions
        session.shut_down()
        self.assertEqual(len(proxy.environment.sessions), 1)
        proxy.environment.overdue = True
        session.abort()
        self.assertEqual(proxy.environment.sessions, set())
        self.assertEqual(self.code(recorder), "shutting-down")

    def test_the_proxy_stops_and_the_answer_comes(self):
        proxy, client, _, recorder = self.with_hooks(dns_request=lambda flow: flow.intercept())
        client.send(ASK)
        flow = recorder.arguments("dns_request")[0]
        [session] = proxy.environment.sessions
        session.shut_down()
        flow.resume()
        self.assertEqual(client.received, [answering(ASK)])
