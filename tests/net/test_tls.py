"""TLS on a side: handshakes, both directions, their ends, back-pressure and failures."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from zope.interface.verify import verifyObject

from interceptor.errors import TLSError
from interceptor.net.gate import HOOK
from interceptor.net.memory import HalfCloseRecorder, MemoryLink, Recorder
from interceptor.net.sides import Side
from interceptor.net.tls import TLSTransport
from interceptor.net.tlscontext import DEFAULT_PROFILE, TLSProfile
from interceptor.wire.tlsalert import alert_record
from tests.net.tlspairs import TLS12, End, TLSCase

BODY = bytes(range(256)) * 1000


class _TransferMixin(TLSCase):
    """What has to work whatever the version."""

    def test_both_directions_arrive(self) -> None:
        link, client, server = self.pair()
        client.above.write(b"question")
        server.above.write(b"answer")
        self.flush(link)
        self.assertEqual((server.spoken.data, client.spoken.data), (b"question", b"answer"))

    def test_any_cut_will_do(self) -> None:
        for chunk in (1, 5, 100, 16_389):
            link, client, server = self.pair(chunk=chunk)
            client.above.write(b"question")
            server.above.write(BODY[:20_000])
            self.flush(link)
            self.assertEqual(server.spoken.data, b"question", chunk)
            self.assertEqual(client.spoken.data, BODY[:20_000], chunk)

    def test_a_large_write_arrives_in_few_pieces(self) -> None:
        link, client, server = self.pair()
        server.above.write(BODY)
        self.flush(link)
        self.assertEqual(client.spoken.data, BODY)
        self.assertLess(len(client.spoken.chunks), 8)

    def test_one_write_is_one_write_below(self) -> None:
        link, client, _ = self.pair()
        writes: list[bytes] = []
        client.transport._write_below = writes.append
        client.above.write(BODY[:60_000])
        self.assertEqual(len(writes), 1)
        link.client.write(writes[0])
        self.flush(link)

    def test_every_size_of_a_write_leaves_whole(self) -> None:
        link, client, server = self.pair()
        for size in (1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 131_073):
            server.spoken.chunks.clear()
            client.above.write(BODY[:size])
            self.flush(link)
            self.assertEqual(server.spoken.data, BODY[:size], size)

    def test_an_empty_write_sends_nothing(self) -> None:
        link, client, _ = self.pair()
        before = link.client.bytes_written
        client.transport.write(b"")
        self.assertEqual(link.client.bytes_written, before)

    def test_a_sequence_is_one_write(self) -> None:
        link, client, server = self.pair()
        client.transport.writeSequence([b"a", b"b"])
        self.flush(link)
        self.assertEqual(server.spoken.chunks, [b"ab"])

    def test_a_half_close_leaves_the_other_direction_open(self) -> None:
        link, client, server = self.pair()
        client.above.write(b"question")
        client.above.half_close()
        self.flush(link)
        self.assertTrue(server.spoken.ended)
        self.assertFalse(server.transport.truncated)
        server.above.write(BODY)
        self.flush(link)
        self.assertEqual(client.spoken.data, BODY)
        self.assertIsNone(client.spoken.lost)

    def test_both_half_closes_close_the_connection(self) -> None:
        link, client, server = self.pair()
        client.above.half_close()
        self.flush(link)
        server.above.write(b"last")
        server.above.half_close()
        self.flush(link)
        self.assertEqual(client.spoken.data, b"last")
        for end in (client, server):
            assert end.spoken.lost is not None
            self.assertTrue(end.spoken.lost.check(ConnectionDone))
            self.assertFalse(end.transport.truncated)
        self.assertFalse(link.open)

    def test_closing_sends_what_was_written(self) -> None:
        link, client, server = self.pair()
        server.above.write(BODY)
        server.above.close()
        self.flush(link)
        self.assertEqual(client.spoken.data, BODY)
        self.assertTrue(client.spoken.ended)
        self.assertFalse(client.transport.truncated)

    def test_unsent_bytes_survive_the_end_of_the_peer(self) -> None:
        link, client, server = self.pair()
        server.above.write(BODY)
        client.above.half_close()
        self.flush(link)
        server.above.write(b"more")
        server.above.close()
        self.flush(link)
        self.assertEqual(client.spoken.data, BODY + b"more")

    def test_a_fin_without_close_notify_is_a_loss(self) -> None:
        link, client, _ = self.pair()
        link.server.write(b"")
        link.server.loseConnection()
        self.flush(link)
        self.assertTrue(client.transport.truncated)
        assert client.spoken.lost is not None
        self.assertTrue(client.spoken.lost.check(ConnectionLost))

    def test_what_came_before_a_missing_close_notify_is_delivered_first(self) -> None:
        link, client, server = self.pair()
        client.above.reading.pause(HOOK)
        server.above.write(b"the whole answer")
        link.flush()
        link.server.producer = None
        link.server.loseConnection()
        self.flush(link)
        self.assertIsNone(client.spoken.lost)
        client.above.reading.resume(HOOK)
        self.flush(link)
        self.assertEqual(client.spoken.data, b"the whole answer")
        assert client.spoken.lost is not None
        self.assertTrue(client.spoken.lost.check(ConnectionLost))

    def test_a_cut_record_is_a_loss(self) -> None:
        link, client, server = self.pair()
        server.above.write(b"the whole answer")
        del link.server.buffer[-1]
        link.server.producer = None
        link.server.loseConnection()
        self.flush(link)
        self.assertEqual(client.spoken.data, b"")
        self.assertTrue(client.transport.truncated)

    def test_a_damaged_record_is_an_error(self) -> None:
        link, client, server = self.pair()
        server.above.write(b"the whole answer")
        link.server.buffer[-1] ^= 1
        self.flush(link)
        assert client.spoken.lost is not None
        self.assertTrue(client.spoken.lost.check(TLSError))
        assert client.transport.error is not None
        self.assertEqual(client.transport.error.code, "tls-session-failed")
        # The server learns of it by an alert.
        assert server.transport.error is not None
        self.assertEqual(server.transport.error.code, "tls-alert-bad-record-mac")
        self.assertTrue(server.transport.error.received)

    def test_an_abort_resets(self) -> None:
        link, client, server = self.pair()
        client.above.abort()
        self.flush(link)
        assert client.spoken.lost is not None
        assert server.spoken.lost is not None
        self.assertTrue(client.spoken.lost.check(ConnectionAborted))
        self.assertTrue(server.spoken.lost.check(ConnectionLost))

    def test_a_lingering_close_ends_with_the_peer(self) -> None:
        link, client, server = self.pair()
        server.above.write(b"last")
        server.above.close(linger=True)
        self.flush(link)
        self.assertTrue(client.spoken.ended)
        client.above.close()
        self.flush(link)
        self.assertFalse(link.open)

    def test_a_reader_that_stops_stops_the_writer(self) -> None:
        link, client, server = self.pair()
        client.above.reading.pause(HOOK)
        self.assertFalse(link.client.reading)
        for _ in range(3):
            server.above.write(BODY)
        self.flush(link)
        self.assertEqual(client.spoken.data, b"")
        self.assertTrue(server.above.writing.paused)
        waiting = server.above.writing.wait()
        self.assertNoResult(waiting)
        client.above.reading.resume(HOOK)
        self.flush(link)
        self.assertEqual(client.spoken.data, BODY * 3)
        self.successResultOf(waiting)
        self.assertFalse(server.above.writing.paused)

    def test_a_reader_can_stop_between_two_pieces(self) -> None:
        link, client, server = self.pair()
        taken: list[bytes] = []

        def take(data: bytes) -> None:
            taken.append(data)
            client.above.reading.pause(HOOK)

        self.patch(client.spoken, "dataReceived", take)
        server.above.write(BODY)
        rounds = 0
        while sum(map(len, taken)) < len(BODY):
            rounds += 1
            self.flush(link)
            self.assertEqual(len(taken), rounds)
            client.above.reading.resume(HOOK)
            # Never from within the call that resumes.
            self.assertEqual(len(taken), rounds)
        self.assertEqual(b"".join(taken), BODY)

    def test_pausing_and_resuming_while_reading_reads_on(self) -> None:
        link, client, server = self.pair()
        taken: list[bytes] = []

        def take(data: bytes) -> None:
            client.above.reading.pause(HOOK)
            taken.append(data)
            client.above.reading.resume(HOOK)

        self.patch(client.spoken, "dataReceived", take)
        server.above.write(BODY)
        self.flush(link)
        server.above.write(b"more")
        self.flush(link)
        self.assertEqual(b"".join(taken), BODY + b"more")

    def test_the_end_waits_for_a_reader_that_stopped(self) -> None:
        link, client, server = self.pair()
        client.above.reading.pause(HOOK)
        server.above.write(b"last")
        server.above.half_close()
        self.flush(link)
        self.assertFalse(client.spoken.ended)
        client.above.reading.resume(HOOK)
        self.flush(link)
        self.assertEqual(client.spoken.data, b"last")
        self.assertTrue(client.spoken.ended)

    def test_closing_while_reading_delivers_no_more(self) -> None:
        link, client, server = self.pair()
        taken: list[bytes] = []

        def take(data: bytes) -> None:
            taken.append(data)
            client.above.close()

        self.patch(client.spoken, "dataReceived", take)
        server.above.write(BODY)
        self.flush(link)
        self.assertEqual(len(taken), 1)

    def test_writing_after_the_end_does_nothing(self) -> None:
        link, client, server = self.pair()
        client.above.half_close()
        client.transport.write(b"late")
        self.flush(link)
        self.assertEqual(server.spoken.data, b"")
        server.above.abort()
        self.flush(link)
        client.transport.write(b"later")
        client.transport.loseConnection()
        client.transport.abortConnection()

    def test_tls_works_within_tls(self) -> None:
        link, client, server = self.pair()
        inner_client, inner_server = End(self.clock), End(self.clock)
        inner_client.below, inner_server.below = client.above, server.above
        inner_server.begin(self.servers.connection(self.leaf), "client")
        inner_client.begin(self.clients.connection(self.identity()), "server")
        self.flush(link)
        inner_client.above.write(b"question")
        inner_server.above.write(BODY)
        self.flush(link)
        self.assertEqual(inner_server.spoken.data, b"question")
        self.assertEqual(inner_client.spoken.data, BODY)
        inner_server.above.close()
        self.flush(link)
        self.assertTrue(inner_client.spoken.ended)
        inner_client.above.close()
        self.flush(link)
        self.assertFalse(link.open)

    def test_a_protocol_without_half_close_is_closed(self) -> None:
        link, client, server = self.link()
        recorder = Recorder()
        self.patch(server, "above", recorder)
        self.patch(server, "_established", lambda transport: None)
        server.begin(self.servers.connection(self.leaf), "client")
        client.begin(self.clients.connection(self.identity()), "server")
        self.flush(link)
        client.above.half_close()
        self.flush(link)
        self.assertIs(recorder.lost_with, ConnectionDone)
        self.assertFalse(link.open)


class TLS13TransferTests(_TransferMixin):
    """Over TLS 1.3."""

    profile = DEFAULT_PROFILE


class TLS12TransferTests(_TransferMixin):
    """Over TLS 1.2."""

    profile = TLS12


del _TransferMixin


class TransportTests(TLSCase):
    """What a transport has to be."""

    def test_it_is_a_transport(self) -> None:
        _, client, _ = self.pair()
        verifyObject(ITCPTransport, client.transport)

    def test_addresses_and_options_are_those_below(self) -> None:
        link, client, _ = self.pair()
        self.assertEqual(client.transport.getPeer(), link.client.getPeer())
        self.assertEqual(client.transport.getHost(), link.client.getHost())
        client.transport.setTcpKeepAlive(True)
        self.assertTrue(link.client.keep_alive)
        self.assertTrue(client.transport.getTcpKeepAlive())
        client.transport.setTcpNoDelay(True)
        self.assertTrue(link.client.getTcpNoDelay())
        self.assertTrue(client.transport.getTcpNoDelay())

    def test_a_second_producer_is_refused(self) -> None:
        _, client, _ = self.pair()
        self.assertRaises(
            RuntimeError, client.transport.registerProducer, client.above.writing, True
        )

    def test_a_pulling_producer_is_refused(self) -> None:
        _, client, _ = self.pair()
        client.transport.unregisterProducer()
        self.assertRaises(
            ValueError, client.transport.registerProducer, client.above.writing, False
        )

    def test_nothing_is_left_to_do_when_it_is_gone(self) -> None:
        link, client, server = self.pair()
        client.above.close()
        self.flush(link)
        server.above.close()
        self.flush(link)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_peer_that_does_not_read_is_given_up(self) -> None:
        link, client, server = self.pair()
        client.below.reading.pause(HOOK)
        server.above.write(BODY)
        server.above.close()
        link.flush()
        self.assertIsNone(server.spoken.lost)
        self.clock.advance(301)
        self.flush(link)
        self.assertIsNotNone(server.spoken.lost)

    def test_bytes_peeked_before_are_replayed(self) -> None:
        link, client, server = self.link()
        client.begin(self.clients.connection(self.identity()), "server")
        link.flush()
        received: Any = server.below.protocol
        hello = received.data
        self.assertTrue(hello)
        server.begin(self.servers.connection(self.leaf), "client", hello)
        self.flush(link)
        self.assertEqual((client.established, server.established), (1, 1))

    def test_early_data_of_the_application_follows_the_handshake(self) -> None:
        # The client's last flight and its first request arrive as one piece.
        link, client, server = self.link()

        def established(transport: TLSTransport) -> None:
            client.above.use(client.spoken)
            client.above.write(b"at once")

        self.patch(client, "_established", established)
        server.begin(self.servers.connection(self.leaf), "client")
        client.begin(self.clients.connection(self.identity()), "server")
        self.flush(link)
        self.assertEqual(server.spoken.data, b"at once")

    def test_what_is_written_before_the_handshake_is_sent_after_it(self) -> None:
        link, client, server = self.link()
        server.begin(self.servers.connection(self.leaf), "client")
        client.begin(self.clients.connection(self.identity()), "server")
        client.transport.write(b"early ")
        client.transport.write(b"bird")
        self.flush(link)
        self.assertEqual(server.spoken.chunks, [b"early bird"])

    def test_what_is_written_before_the_handshake_is_bounded(self) -> None:
        link, client, _server = self.link()
        client.begin(self.clients.connection(self.identity()), "server")
        for _ in range(5):
            client.transport.write(BODY)
        self.flush(link)
        self.assertTrue(client.below.lost)
        self.assertEqual(client.errors, [])

    def test_closing_during_the_handshake_calls_nobody(self) -> None:
        link, client, _server = self.link()
        client.begin(self.clients.connection(self.identity()), "server")
        client.transport.loseConnection()
        self.flush(link)
        self.assertEqual((client.errors, client.established), ([], 0))

    def test_a_new_handshake_asked_for_by_the_server_delays_writes(self) -> None:
        self.profile = TLS12
        link, client, server = self.pair()
        server.transport.connection.renegotiate()
        try:
            server.transport.connection.do_handshake()
        except SSL.WantReadError:
            pass
        server.transport._flush()
        link.flush()
        client.above.write(b"after it")
        server.above.write(b"the same")
        self.flush(link)
        self.assertEqual(server.spoken.data, b"after it")
        self.assertEqual(client.spoken.data, b"the same")
        self.assertFalse(client.above.writing.paused)


class HandshakeFailureTests(TLSCase):
    """Each failure has a code, and nothing above hears of it."""

    def failing(self, data: bytes, *, server: bool = False) -> End:
        """Let a peer that is not TLS answer with `data`, and close."""
        end = End(self.clock)
        peer = HalfCloseRecorder()
        if server:
            link = MemoryLink(peer, end.below)
            end.begin(self.servers.connection(self.leaf), "client")
        else:
            link = MemoryLink(end.below, peer)
            end.begin(self.clients.connection(self.identity()), "server")
        link.flush()
        peer.transport.write(data)
        peer.transport.loseWriteConnection()
        link.flush()
        self.assertEqual(end.established, 0)
        return end

    def test_a_server_that_speaks_plain_http(self) -> None:
        end = self.failing(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(end.code, "tls-not-tls")
        self.assertIn("plain HTTP", str(end.errors[0]))

    def test_a_client_that_speaks_plain_http(self) -> None:
        end = self.failing(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", server=True)
        self.assertEqual(end.code, "tls-not-tls")
        self.assertEqual(end.errors[0].peer, "client")

    def test_a_peer_that_says_nothing_sensible(self) -> None:
        self.assertEqual(self.failing(b"\x00\x01\x02\x03\x04\x05\x06\x07").code, "tls-not-tls")

    def test_a_peer_that_closes(self) -> None:
        end = self.failing(b"")
        self.assertEqual(end.code, "tls-closed")
        self.assertEqual(len(end.errors), 1)

    def test_a_peer_that_closes_within_a_record(self) -> None:
        self.assertEqual(self.failing(b"\x16\x03\x03\x00\x50\x02").code, "tls-closed")

    def test_an_alert(self) -> None:
        for number, code in (
            (40, "tls-alert-handshake-failure"),
            (48, "tls-alert-unknown-ca"),
            (46, "tls-alert-certificate-unknown"),
            (42, "tls-alert-bad-certificate"),
            (70, "tls-alert-protocol-version"),
            (112, "tls-alert-unrecognized-name"),
            (120, "tls-alert-no-application-protocol"),
            (80, "tls-alert-internal-error"),
            (90, "tls-alert-user-canceled"),
            (121, "tls-alert-ech-required"),
        ):
            end = self.failing(alert_record(number))
            self.assertEqual(end.code, code)
            self.assertEqual(end.errors[0].alert, number)
            self.assertTrue(end.errors[0].received)

    def test_an_end_of_tls_instead_of_a_handshake(self) -> None:
        end = self.failing(alert_record(0, fatal=False))
        self.assertEqual(end.code, "tls-closed")

    def test_a_peer_that_resets(self) -> None:
        link, client, _ = self.link()
        client.begin(self.clients.connection(self.identity()), "server")
        link.server.abortConnection()
        self.flush(link)
        self.assertEqual(client.code, "tls-closed")

    def test_a_peer_that_hangs(self) -> None:
        link, client, _ = self.link()
        client.begin(self.clients.connection(self.identity()), "server", handshake_timeout=10.0)
        link.flush()
        self.clock.advance(9.9)
        self.assertEqual(client.errors, [])
        self.clock.advance(0.2)
        self.assertEqual(client.code, "tls-timeout")

    def test_a_finished_handshake_has_no_deadline(self) -> None:
        link, client, server = self.link()
        server.begin(self.servers.connection(self.leaf), "client", handshake_timeout=10.0)
        client.begin(self.clients.connection(self.identity()), "server")
        link.flush()
        self.clock.advance(11)
        self.assertEqual((server.established, server.errors), (1, []))
        self.assertIsNone(server.spoken.lost)

    def test_no_common_version(self) -> None:
        old = TLSProfile(maximum="tls1.2")
        new = TLSProfile(minimum="tls1.3")
        _, client, server = self.pair(
            identity=self.identity(profile=old),
            server_connection=self.servers.connection(self.leaf, profile=new),
        )
        self.assertEqual(server.code, "tls-version")
        self.assertEqual(server.errors[0].alert, 70)
        self.assertEqual(client.code, "tls-alert-protocol-version")

    def test_no_common_cipher(self) -> None:
        theirs = TLSProfile(maximum="tls1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
        ours = TLSProfile(maximum="tls1.2", ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
        _, client, server = self.pair(
            identity=self.identity(profile=theirs),
            server_connection=self.servers.connection(self.leaf, profile=ours),
        )
        self.assertEqual(server.code, "tls-no-shared-cipher")
        self.assertEqual(client.code, "tls-alert-handshake-failure")

    def test_whether_a_byte_was_sent_is_known(self) -> None:
        _link, client, server = self.link()
        server.begin(self.servers.connection(self.leaf), "client")
        self.assertFalse(server.transport.bytes_sent)
        client.begin(self.clients.connection(self.identity()), "server")
        self.assertTrue(client.transport.bytes_sent)

    def test_the_side_below_is_left_to_the_owner(self) -> None:
        end = self.failing(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertFalse(end.below.closing)
        end.below.close()
        self.assertIsInstance(end.below, Side)
