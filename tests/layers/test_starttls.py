"""TLS that begins in the middle of a connection: opened on both legs, in the same flow."""

from __future__ import annotations

from typing import Any

from interceptor import tcp
from interceptor.net.memory import HalfCloseRecorder
from interceptor.net.memorytls import client_context, origin_authority
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy, MemoryTLS
from interceptor.wire.tlsalert import alert_record
from tests.events.cases import Guard, Hooks, Waiting
from tests.layers.tlscases import TLSLayerTestCase
from tests.wire.hellos import by_pyopenssl
from tests.wire.test_channelbinding import STARTUP, response
from tests.wire.test_starttls import CONVERSATIONS, SSL_REQUEST, mysql_greeting, mysql_request

HOST = "example.test"
PORT = 25
EITHER_WAY: tuple[dict[str, Any], ...] = ({}, {"chunk": 1})
"""Bytes arrive as they are sent, or one by one."""

TCP_EVENTS = ("tcp_start", "tcp_message", "tcp_error", "tcp_end")

SOCKS = b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes((len(HOST),)) + HOST.encode() + b"\0\x19"


class Session:
    """A client and a server that know each other through a proxy."""

    def __init__(self, case: StartTLSTestCase, proxy: MemoryProxy, mode: str) -> None:
        self.proxy = proxy
        host = HOST
        if mode == "transparent":
            host = "192.0.2.25"
            proxy.environment.original_destination = lambda _: (host, PORT)
        self.factory = case.raw_origin(proxy, host, PORT)
        self.client: MemoryClient = proxy.client()
        if mode in ("regular", "auto"):
            self.client.connect(HOST, PORT)
        elif mode == "socks5":
            self.client.send(SOCKS[:3]).send(SOCKS[3:])
            self.client.take()
        else:
            proxy.advance(1)
        self.server: Any = self.factory.protocols[0]

    def talk(self, conversation: list[tuple[bool, bytes]]) -> Session:
        """Let the two say something; each has to hear it as it was said."""
        for from_client, data in conversation:
            heard = self.server if from_client else self.client.peer
            before = len(heard.data)
            if from_client:
                self.client.send(data)
            else:
                self.server.write(data)
                self.proxy.flush()
            assert heard.data[before:] == data, (data, heard.data)
        return self

    @property
    def server_gone(self) -> bool:
        """Whether the proxy closed its connection to the server."""
        return self.server.ended or self.server.lost is not None

    def say(self, data: bytes) -> None:
        """Let the server say something."""
        self.server.write(data)
        self.proxy.flush()

    def serve_tls(self, context: Any = None, **options: Any) -> MemoryTLS:
        """Let the server speak TLS from now on."""
        tls = MemoryTLS(
            context or origin_authority().context(HOST, **options), HalfCloseRecorder(), server=True
        )
        tls.take_over(self.server.transport)
        self.server = tls.protocol
        return tls

    def start_tls(self, **options: Any) -> Session:
        """Let both speak TLS from now on."""
        self.tls = self.serve_tls()
        self.client.start_tls(HOST, alpn=(), **options)
        return self


class StartTLSTestCase(TLSLayerTestCase):
    mode = "regular"

    def session(
        self, *addons: object, mode: str = "regular", **options: Any
    ) -> tuple[Session, EventRecorder]:
        recorder = EventRecorder()
        proxy = self.proxy(
            recorder,
            *addons,
            mode="reverse:tcp://example.test:25" if mode == "reverse" else mode,
            **options,
        )
        return Session(self, proxy, mode), recorder

    def smtp(self, *addons: object, **options: Any) -> tuple[Session, EventRecorder]:
        """A session in which TLS has been agreed on."""
        session, recorder = self.session(*addons, **options)
        return session.talk(CONVERSATIONS["smtp"]), recorder

    def names(self, recorder: EventRecorder) -> list[str]:
        return [name for name in recorder.names if name in TCP_EVENTS]

    def flow(self, recorder: EventRecorder) -> tcp.TCPFlow:
        """The one flow there is."""
        [flow] = recorder.arguments("tcp_start")
        return flow

    def works(self, session: Session) -> None:
        """What is said now arrives, in both directions."""
        session.talk([(True, b"inside\r\n"), (False, b"as well\r\n")])

    def ended_with(self, recorder: EventRecorder, code: str) -> None:
        flow = self.flow(recorder)
        assert flow.error is not None
        self.assertEqual(flow.error.code, code)
        self.assertEqual(self.names(recorder)[-2:], ["tcp_error", "tcp_end"])


class OpenedTests(StartTLSTestCase):
    """The session goes on inside."""

    def test_each_protocol_in_each_mode(self):
        for mode in ("regular", "socks5", "reverse", "transparent", "auto"):
            for name, conversation in CONVERSATIONS.items():
                session, recorder = self.session(mode=mode)
                session.talk(conversation).start_tls()
                self.assertTrue(session.client.tls.established, (mode, name))
                self.assertTrue(session.tls.established)
                self.works(session)
                flow = self.flow(recorder)
                self.assertEqual(flow.metadata, {"starttls": name})
                self.assertEqual(
                    [(message.from_client, message.content) for message in flow.messages],
                    [*conversation, (True, b"inside\r\n"), (False, b"as well\r\n")],
                )
                self.assertEqual(set(self.names(recorder)), {"tcp_start", "tcp_message"})

    def test_any_other_protocol(self):
        session, recorder = self.session()
        session.talk([(False, b"hello!\n"), (True, b"TLS?\n"), (False, b"yes\n")]).start_tls()
        self.works(session)
        self.assertEqual(self.flow(recorder).metadata, {"starttls": "generic"})

    def test_byte_by_byte(self):
        for name, conversation in CONVERSATIONS.items():
            session, recorder = self.session(chunk=1)
            session.talk(conversation).start_tls()
            self.works(session)
            self.assertEqual(self.flow(recorder).metadata, {"starttls": name})

    def test_without_anybody_who_listens(self):
        for options in EITHER_WAY:
            proxy = self.proxy(**options)
            self.assertIsNone(proxy.bus.tcp_end)
            session = Session(self, proxy, "regular")
            session.talk(CONVERSATIONS["smtp"]).start_tls()
            self.works(session)

    def test_out_of_the_blue_without_anybody_who_listens(self):
        noise = [(True, b"\0some bytes"), (False, b"\0others that last longer")] * 3
        session = Session(self, self.proxy(), "regular").talk([*noise, *noise]).start_tls()
        self.works(session)

    def test_without_message_hooks(self):
        recorder = EventRecorder("tcp_end")
        for conversation in (CONVERSATIONS["pop3"], [(True, b"\0one"), (False, b"twotwotwo")]):
            proxy = self.proxy(recorder)
            session = Session(self, proxy, "regular").talk(conversation).start_tls()
            self.works(session)
            session.client.close()
            session.server.close()
            proxy.flush()
        flows = recorder.arguments("tcp_end")
        for flow, plain in zip(flows, (b"CAPA\r\nSTLS\r\n", b"\0one"), strict=True):
            self.assertEqual(flow.bytes_from_client, len(plain + b"inside\r\n"))
            self.assertTrue(flow.server_conn.tls_established)

    def test_the_connections_tell(self):
        session, recorder = self.smtp()
        flow = self.flow(recorder)
        self.assertFalse(flow.client_conn.tls_established)
        session.start_tls()
        for conn in (flow.client_conn, flow.server_conn):
            self.assertTrue(conn.tls_established)
            self.assertEqual((conn.sni, conn.alpn), (HOST, None))
            assert conn.timestamp_tls_setup is not None
            self.assertGreaterEqual(conn.timestamp_tls_setup, flow.messages[-1].timestamp)
        self.assertEqual(
            [name for name in recorder.names if name.startswith("tls_")],
            ["tls_clienthello", "tls_established", "tls_established"],
        )
        [hello] = recorder.arguments("tls_clienthello")
        self.assertEqual((hello.host, hello.port, hello.sni), (HOST, PORT, HOST))
        self.assertEqual([layer.name for layer in hello.context.layers][-2:], ["tcp", "starttls"])
        self.assertEqual(len(recorder.arguments("serverconnect")), 1)

    def test_the_certificate_is_that_of_the_server_s_name(self):
        session, _ = self.smtp()
        session.start_tls()
        certificate = session.client.tls.certificate
        self.assertNotEqual(certificate, origin_authority().certificate)
        self.assertIn("interceptor", certificate.issuer.rfc4514_string())

    def test_application_protocols_are_mirrored(self):
        session, recorder = self.session()
        session.talk(CONVERSATIONS["xmpp"])
        session.serve_tls(alpn=("xmpp-client",))
        session.client.start_tls(HOST, alpn=("other", "xmpp-client"))
        self.assertEqual(session.client.tls.tls.selected_alpn_protocol(), "xmpp-client")
        self.assertEqual(self.flow(recorder).server_conn.alpn, b"xmpp-client")

    def test_the_end(self):
        session, recorder = self.smtp()
        session.start_tls()
        session.client.peer.close_write()
        session.proxy.flush()
        self.assertTrue(session.server.ended)
        session.say(b"221 bye\r\n")
        session.server.close()
        session.proxy.flush()
        self.assertEqual(session.client.received, b"221 bye\r\n")
        self.assertEqual(self.names(recorder)[-1], "tcp_end")
        self.assertIsNone(self.flow(recorder).error)
        self.assertEqual(session.proxy.environment.sessions, set())

    def test_peers_that_end_tls_by_closing_the_connection_below(self):
        for addons in ((EventRecorder(),), ()):
            proxy = self.proxy(*addons)
            for from_client in (True, False):
                session = Session(self, proxy, "regular").talk(CONVERSATIONS["smtp"]).start_tls()
                ends = session.client.tls, session.tls
                leaving, staying = ends if from_client else ends[::-1]
                heard: Any = staying.protocol
                leaving.write(b"QUIT\r\n")
                leaving.transport.loseConnection()
                proxy.flush()
                self.assertEqual(heard.take(), b"QUIT\r\n")
                # What may be missing there may be missing here.
                self.assertTrue(staying.truncated)
            for recorder in addons:
                flows = recorder.arguments("tcp_end")
                self.assertEqual([flow.error for flow in flows], [None, None])

    def test_much_inside(self):
        session, _ = self.smtp()
        session.start_tls()
        data = bytes(range(256)) * 4096
        session.talk([(True, data), (False, data)])

    def test_a_server_that_is_slow_to_take_what_was_said_before(self):
        session, _ = self.session()
        session.talk(CONVERSATIONS["smtp"][:-2])
        session.server.transport.pauseProducing()
        session.client.send(b"NOOP\r\n" * 50_000 + b"STARTTLS\r\n")
        session.server.transport.resumeProducing()
        session.proxy.flush()
        session.say(b"250 ok\r\n" * 50_000 + b"220 go\r\n")
        session.client.take()
        session.server.take()
        session.start_tls()
        self.works(session)


class HookTests(StartTLSTestCase):
    """Hooks see and change what is said, before and after."""

    def test_edit(self):
        def shout(flow: tcp.TCPFlow) -> None:
            message = flow.messages[-1]
            if flow.client_conn.tls_established:
                message.content = message.content.upper()

        session, _ = self.smtp(Hooks(tcp_message=shout))
        session.start_tls()
        session.client.send(b"mail from\r\n")
        session.say(b"250 go ahead\r\n")
        self.assertEqual(session.server.data, b"MAIL FROM\r\n")
        self.assertEqual(session.client.received, b"250 GO AHEAD\r\n")

    def test_slow_hooks(self):
        for conversation in CONVERSATIONS.values():
            waiting = Waiting()
            session, _ = self.session(Hooks(tcp_message=waiting))
            for from_client, data in conversation:
                if from_client:
                    session.client.send(data)
                else:
                    session.say(data)
                waiting.go_on()
                session.proxy.flush()
            self.assertEqual(
                session.server.data, b"".join(data for who, data in conversation if who)
            )
            session.server.take()
            session.start_tls()
            session.client.send(b"slowly\r\n")
            self.assertEqual(session.server.data, b"")
            waiting.go_on()
            session.proxy.flush()
            self.assertEqual(session.server.data, b"slowly\r\n")

    def test_a_hello_while_a_hook_is_busy_with_the_request(self):
        waiting = Waiting()
        session, _ = self.session(Hooks(tcp_message=waiting))
        session.say(mysql_greeting())
        waiting.go_on()
        session.client.send(mysql_request())
        session.client.start_tls(HOST, alpn=())
        waiting.go_on()
        session.proxy.flush()
        hello = session.server.data[len(mysql_request()) :]
        session.serve_tls().dataReceived(hello)
        session.proxy.flush()
        self.assertTrue(session.client.tls.established)

    def test_capabilities_can_be_taken_away(self):
        def strip(flow: tcp.TCPFlow) -> None:
            message = flow.messages[-1]
            message.content = message.content.replace(b"250 STARTTLS", b"250 NOTHING")

        session, _ = self.session(Hooks(tcp_message=strip))
        session.talk(CONVERSATIONS["smtp"][:2])
        session.say(CONVERSATIONS["smtp"][2][1])
        self.assertTrue(session.client.received.endswith(b"250 NOTHING\r\n"))

    def test_a_request_that_is_dropped_was_never_made(self):
        def drop(flow: tcp.TCPFlow) -> None:
            message = flow.messages[-1]
            if message.content == b"STARTTLS\r\n":
                message.content = b""

        session, _ = self.session(Hooks(tcp_message=drop))
        session.talk(CONVERSATIONS["smtp"][:-2])
        session.server.take()
        session.client.send(b"STARTTLS\r\nNOOP\r\n")
        session.client.send(b"NOOP\r\n")
        self.assertEqual(session.server.data, b"NOOP\r\nNOOP\r\n")

    def test_what_scripts_send_waits_for_tls(self):
        session, recorder = self.session()
        session.talk(CONVERSATIONS["smtp"][:-2])
        flow = self.flow(recorder)
        session.talk(CONVERSATIONS["smtp"][-2:-1])
        session.server.take()
        session.client.take()
        flow.inject(b"RSET\r\n")
        session.proxy.flush()
        self.assertEqual(session.server.data, b"")
        session.say(b"220 go\r\n")
        flow.inject(b"250 mine\r\n", to_client=True)
        session.proxy.flush()
        self.assertEqual((session.server.data, session.client.received), (b"", b"220 go\r\n"))
        session.start_tls()
        self.assertEqual(session.server.data, b"RSET\r\n")
        self.assertEqual(session.client.received, b"250 mine\r\n")

    def test_what_scripts_send_goes_on_after_a_refusal(self):
        session, recorder = self.session()
        session.talk(CONVERSATIONS["smtp"][:-1])
        session.server.take()
        self.flow(recorder).inject(b"RSET\r\n")
        session.say(b"454 no\r\n")
        self.assertEqual(session.server.data, b"RSET\r\n")

    def test_killed_at_any_moment(self):
        for stage in range(3):
            session, recorder = self.smtp()
            if stage:
                session.client.send(by_pyopenssl() if stage == 2 else by_pyopenssl()[:40])
            flow = self.flow(recorder)
            flow.kill()
            session.proxy.flush()
            self.ended_with(recorder, "killed")
            self.assertEqual(self.names(recorder).count("tcp_end"), 1)
            self.assertTrue(session.client.closed)
            self.assertTrue(session.server_gone)
            self.assertEqual(session.proxy.environment.sessions, set())

    def test_a_hook_that_fails_closed(self):
        def fail(hello: Any) -> None:
            raise ValueError("no")

        session, recorder = self.smtp(Guard(tls_clienthello=fail))
        session.client.start_tls(HOST)
        self.ended_with(recorder, "hook-failed")
        self.assertTrue(session.client.closed)
        self.assertTrue(session.server_gone)

    def test_intercepted(self):
        session, recorder = self.smtp()
        session.start_tls()
        flow = self.flow(recorder)
        flow.intercept()
        session.client.send(b"wait\r\n")
        self.assertEqual(session.server.data, b"")
        flow.resume()
        session.proxy.flush()
        self.assertEqual(session.server.data, b"wait\r\n")


class RefusedTests(StartTLSTestCase):
    """Nothing that is not TLS gets through the moment."""

    def injected(self, session: Session, recorder: EventRecorder) -> None:
        self.ended_with(recorder, "starttls-injection")
        self.assertTrue(session.client.closed)
        self.assertTrue(session.server_gone)

    def test_behind_the_request(self):
        for options in EITHER_WAY:
            session, recorder = self.session(**options)
            session.talk(CONVERSATIONS["smtp"][:-2])
            session.server.take()
            session.client.send(b"STARTTLS\r\nMAIL FROM:<evil>\r\n")
            self.assertEqual(session.server.data, b"STARTTLS\r\n")
            session.say(b"220 go\r\n")
            self.injected(session, recorder)
            self.assertEqual(session.server.data, b"STARTTLS\r\n")

    def test_behind_the_request_without_anybody_who_listens(self):
        messages = self.messages()
        session = Session(self, self.proxy(), "regular").talk(CONVERSATIONS["smtp"][:-2])
        session.client.send(b"STARTTLS\r\nMAIL FROM:<evil>\r\n")
        session.say(b"220 go\r\n")
        self.assertTrue(session.client.closed)
        self.assertTrue(session.server_gone)
        self.assertTrue(any("starttls-injection" in text for text in messages.texts))

    def test_behind_the_consent(self):
        session, recorder = self.session()
        session.talk(CONVERSATIONS["smtp"][:-1])
        session.client.take()
        session.say(b"220 go\r\n250 injected\r\n")
        self.injected(session, recorder)
        self.assertEqual(session.client.received, b"")

    def test_after_the_consent(self):
        session, recorder = self.smtp()
        session.client.take()
        session.say(b"250 injected\r\n")
        session.client.start_tls(HOST, alpn=())
        self.assertTrue(session.client.closed)
        self.ended_with(recorder, "starttls-injection")
        self.assertFalse(session.client.tls.established)

    def test_while_a_hook_is_busy(self):
        for from_client in (True, False):
            waiting = Waiting()
            session, recorder = self.session(Hooks(tcp_message=waiting))
            for who, data in CONVERSATIONS["smtp"]:
                session.client.send(data) if who else session.say(data)
                if data != CONVERSATIONS["smtp"][-1][1]:
                    waiting.go_on()
                    session.proxy.flush()
            session.client.send(b"RSET\r\n") if from_client else session.say(b"250 x\r\n")
            waiting.go_on()
            session.proxy.flush()
            if not from_client:
                session.client.start_tls(HOST)
            self.injected(session, recorder)

    def test_plain_text_instead_of_a_hello(self):
        session, recorder = self.smtp()
        session.client.send(b"RSET\r\n")
        self.ended_with(recorder, "starttls-injection")
        self.assertTrue(session.client.closed)

    def test_no_hello_comes(self):
        session, recorder = self.smtp()
        session.proxy.advance(11)
        self.ended_with(recorder, "tls-timeout")
        self.assertTrue(session.client.closed)

    def test_the_client_leaves(self):
        for sent in (b"", by_pyopenssl()[:30]):
            session, recorder = self.smtp()
            if sent:
                session.client.send(sent)
            session.client.close()
            self.ended_with(recorder, "tls-truncated")
            session.proxy.advance(10)
            self.assertEqual(session.proxy.environment.sessions, set())

    def test_the_client_s_connection_breaks(self):
        for sent in (b"", by_pyopenssl()[:30]):
            session, recorder = self.smtp()
            if sent:
                session.client.send(sent)
            session.client.abort()
            session.proxy.flush()
            self.ended_with(recorder, "client-disconnected")
            self.assertTrue(session.server_gone)

    def test_a_refusal_lets_what_was_held_back_go_on(self):
        for options in EITHER_WAY:
            session, recorder = self.session(**options)
            session.talk(CONVERSATIONS["smtp"][:-2])
            session.server.take()
            session.client.send(b"STARTTLS\r\nMAIL FROM:<me>\r\n")
            session.say(b"454 no\r\n")
            self.assertEqual(session.server.data, b"STARTTLS\r\nMAIL FROM:<me>\r\n")
            session.talk([(False, b"250 ok\r\n"), (True, b"QUIT\r\n")])
            self.assertNotIn("starttls", self.flow(recorder).metadata)

    def test_not_a_hello_after_all(self):
        for hooks in (EventRecorder(), EventRecorder("tcp_end"), Hooks(done=lambda: None)):
            proxy = self.proxy(hooks)
            session = Session(self, proxy, "regular")
            session.talk([(True, b"\0one"), (False, b"\0two that lasts longer")])
            session.server.take()
            session.client.take()
            session.client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            self.assertEqual(session.server.data, b"")
            proxy.advance(11)
            self.assertEqual(session.server.data, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            session.talk([(False, b"go on"), (True, b"\x16no TLS"), (False, b"yes")])
            session.client.send(b"\x16\x03\x01")
            session.client.end()
            self.assertTrue(session.server.data.endswith(b"\x16\x03\x01"))
            self.assertTrue(session.server.ended)


class FailureTests(StartTLSTestCase):
    """Handshakes that fail, on either leg."""

    def test_a_server_that_is_not_trusted(self):
        messages = self.messages()
        session, recorder = self.smtp(ssl_verify_upstream_trusted_ca=None)
        session.start_tls()
        self.ended_with(recorder, "cert-unknown-issuer")
        self.assertIsNotNone(session.client.tls.error)
        self.assertTrue(session.client.closed)
        self.assertEqual(sum("cert-unknown-issuer" in text for text in messages.texts), 1)
        [conn] = recorder.arguments("tls_failed")
        self.assertIs(conn, self.flow(recorder).server_conn)

    def test_a_server_that_is_trusted_all_the_same(self):
        session, _ = self.smtp(
            ssl_verify_upstream_trusted_ca=None, ssl_insecure_hosts=[r"^example\.test:25$"]
        )
        session.start_tls()
        self.works(session)

    def test_a_server_without_listeners(self):
        messages = self.messages()
        proxy = self.proxy(ssl_verify_upstream_trusted_ca=None)
        session = Session(self, proxy, "regular").talk(CONVERSATIONS["smtp"]).start_tls()
        self.assertTrue(session.client.closed)
        self.assertEqual(sum("cert-unknown-issuer" in text for text in messages.texts), 1)

    def test_a_server_that_leaves(self):
        session, recorder = self.smtp()
        session.server.close()
        session.proxy.flush()
        session.client.start_tls(HOST, alpn=())
        self.assertTrue(session.client.closed)
        self.ended_with(recorder, "tls-closed")

    def test_a_server_that_does_not_answer(self):
        session, recorder = self.smtp()
        session.client.start_tls(HOST, alpn=())
        session.proxy.advance(11)
        self.ended_with(recorder, "tls-timeout")

    def test_a_client_that_does_not_trust_us(self):
        session, recorder = self.smtp()
        session.serve_tls()
        session.client.start_tls(HOST, context=client_context(origin_authority().path))
        self.ended_with(recorder, "client-distrusts-ca")
        self.assertTrue(session.server_gone)


class PassthroughTests(StartTLSTestCase):
    """What is left alone elsewhere is left alone here."""

    def passes(self, session: Session) -> bool:
        session.serve_tls()
        session.client.start_tls(HOST, alpn=(), context=client_context(origin_authority().path))
        if session.client.tls.established:
            self.works(session)
        return session.client.tls.established

    def test_opened_otherwise(self):
        session, _ = self.smtp()
        self.assertFalse(self.passes(session))

    def test_ignored(self):
        for options in EITHER_WAY:
            session, recorder = self.smtp(ignore_hosts=[r"^example\.test:25$"], **options)
            self.assertTrue(self.passes(session))
            self.assertEqual(recorder.arguments("tls_clienthello"), [])

    def test_not_allowed(self):
        session, recorder = self.smtp(allow_hosts=[r"^other\.test:25$"])
        self.assertTrue(self.passes(session))
        flow = self.flow(recorder)
        self.assertEqual(flow.metadata, {"passthrough": "allow_hosts"})
        self.assertEqual(self.names(recorder).count("tcp_start"), 1)
        [hello] = recorder.arguments("tls_clienthello")
        self.assertIn(hello.client_hello.raw, [each.content for each in flow.messages])

    def test_a_hook(self):
        def leave(hello: Any) -> None:
            hello.passthrough = True

        session, recorder = self.smtp(Hooks(tls_clienthello=leave))
        self.assertTrue(self.passes(session))
        self.assertEqual(self.flow(recorder).metadata, {"passthrough": "tls_clienthello"})
        session.client.close()
        session.proxy.advance(10)
        self.assertEqual(self.names(recorder).count("tcp_end"), 1)

    def test_a_hook_without_anybody_who_listens(self):
        def leave(hello: Any) -> None:
            hello.passthrough = True

        proxy = self.proxy(Hooks(tls_clienthello=leave))
        session = Session(self, proxy, "regular").talk(CONVERSATIONS["imap"])
        self.assertTrue(self.passes(session))

    def test_learned(self):
        recorder = EventRecorder()
        proxy = self.proxy(recorder, tls_passthrough_learn=True)
        session = Session(self, proxy, "regular").talk(CONVERSATIONS["smtp"])
        self.assertFalse(self.passes(session))
        self.assertEqual(list(proxy.environment.passthrough.entries()), ["example.test:25"])
        client = proxy.client().connect(HOST, PORT)
        session.client, session.server = client, session.factory.protocols[1]
        self.assertTrue(self.passes(session.talk(CONVERSATIONS["smtp"])))

    def test_switched_off(self):
        for starttls in ([], ["imap", "xmpp"]):
            session, recorder = self.smtp(starttls=starttls)
            self.assertTrue(self.passes(session))
            self.assertEqual(self.flow(recorder).metadata, {})

    def test_alerts_before_the_handshake_go_on(self):
        session, _ = self.smtp(starttls=[])
        session.talk([(True, alert_record(40))])


class BindingTests(StartTLSTestCase):
    """A client that binds its authentication to our certificate is told so."""

    BOUND = STARTUP + response(b"SCRAM-SHA-256-PLUS")

    def start(self, *addons: object, **options: Any) -> tuple[Session, EventRecorder]:
        session, recorder = self.session(*addons, **options)
        return session.talk(CONVERSATIONS["postgresql"]).start_tls(), recorder

    def test_postgresql(self):
        for options in EITHER_WAY:
            session, recorder = self.start(**options)
            session.talk([(True, STARTUP), (False, b"R\0\0\0\x2aSASL")])
            session.server.take()
            session.client.send(response(b"SCRAM-SHA-256-PLUS"))
            self.assertIn(b"interceptor: scram-channel-binding: ", session.client.received)
            self.assertIn(b"channel_binding=disable", session.client.received)
            self.assertTrue(session.client.closed)
            self.assertTrue(session.server_gone)
            self.ended_with(recorder, "scram-channel-binding")
            self.assertLess(len(session.server.data), len(response(b"SCRAM-SHA-256-PLUS")))

    def test_postgresql_without(self):
        session, _ = self.start()
        data = STARTUP + response(b"SCRAM-SHA-256")
        session.talk([(True, data), (False, b"R\0\0\0\x08\0\0\0\0"), (True, b"Q\0\0\0\x05\0")])

    def test_postgresql_that_begins_with_tls(self):
        recorder = EventRecorder()
        messages = self.messages()
        for addons in ((recorder,), ()):
            proxy = self.proxy(*addons)
            origin = proxy.tls_origin(HOST, 5432, alpn=("postgresql",))
            client = proxy.tls_client(HOST, 5432, alpn=("postgresql",))
            client.send(self.BOUND)
            self.assertIn(b"scram-channel-binding", client.received)
            self.assertTrue(client.closed)
            self.assertEqual(origin.received, b"")
        self.ended_with(recorder, "scram-channel-binding")
        self.assertEqual(sum("scram-channel-binding" in text for text in messages.texts), 2)

    def test_other_protocols_are_left_to_their_servers(self):
        messages = self.messages()
        session, recorder = self.smtp()
        session.start_tls()
        session.talk([(True, b"EHLO me\r\n"), (True, b"AUTH SCRAM-SHA-256-PLUS cD10\r\n")])
        session.talk([(False, b"535 no\r\n"), (True, b"AUTH SCRAM-SHA-256-PLUS cD10\r\n")])
        self.assertEqual(sum("scram-channel-binding" in text for text in messages.texts), 1)
        self.assertIsNone(self.flow(recorder).error)

    def test_a_certificate_that_is_the_server_s_own(self):
        context = origin_authority().certify(HOST)
        session, _ = self.session(certs=[f"{HOST}={context}"])
        session.talk(CONVERSATIONS["postgresql"])
        session.serve_tls()
        session.client.start_tls(HOST, alpn=(), context=client_context(origin_authority().path))
        session.talk([(True, self.BOUND)])

    def test_left_alone(self):
        session, _ = self.session(ignore_hosts=["example"])
        session.talk(CONVERSATIONS["postgresql"])
        session.serve_tls()
        session.client.start_tls(HOST, alpn=(), context=client_context(origin_authority().path))
        session.talk([(True, self.BOUND)])

    def test_requests_in_plain_text_are_no_business_of_it(self):
        session, _ = self.session()
        session.talk([(True, SSL_REQUEST), (False, b"N"), (True, self.BOUND)])
