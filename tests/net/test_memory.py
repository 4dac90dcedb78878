"""Tests of `interceptor.net.memory`: the link must be as honest as a socket."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from interceptor.errors import UpstreamError
from interceptor.interfaces import IUpstreamConnector
from interceptor.model.connections import ServerConnection
from interceptor.net import memory
from interceptor.net.addresses import as_pair
from interceptor.net.memory import (
    HalfCloseRecorder,
    MemoryLink,
    MemoryNetwork,
    Recorder,
    RecorderFactory,
)
from tests.net.producers import NotingProducer

ORIGIN = ("origin.test", 80)


@implementer(IPullProducer)
class PullProducer:
    """Writes one of its pieces each time it is asked."""

    def __init__(self, transport, pieces):
        self.transport = transport
        self.pieces = list(pieces)

    def resumeProducing(self):
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self):
        self.pieces.clear()


class EchoOnce(Recorder):
    """Answers its first bytes and closes."""

    def dataReceived(self, data):
        super().dataReceived(data)
        self.write(b"<" + data + b">")
        self.close()


class LinkTestCase(SynchronousTestCase):
    """A link between two recorders that know half-closes."""

    def setUp(self):
        self.client = HalfCloseRecorder()
        self.server = HalfCloseRecorder()
        self.link = MemoryLink(self.client, self.server)


class MemoryTransportTests(LinkTestCase):
    def test_provides_what_a_tcp_transport_provides(self):
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.link.client)

    def test_nothing_moves_before_a_pump(self):
        self.client.write(b"hello")
        self.assertEqual(self.server.data, b"")

    def test_bytes_travel_both_ways(self):
        self.client.write(b"hello")
        self.server.write(b"welcome")
        self.link.flush()
        self.assertEqual((self.server.data, self.client.data), (b"hello", b"welcome"))

    def test_text_is_not_bytes(self):
        self.assertRaises(TypeError, self.link.client.write, "text")

    def test_addresses_are_each_others(self):
        self.assertEqual(self.link.client.getPeer(), self.link.server.getHost())
        self.assertEqual(self.link.server.getPeer(), self.link.client.getHost())

    def test_write_sequence_joins(self):
        self.link.client.writeSequence([b"a", b"b"])
        self.link.flush()
        self.assertEqual(self.server.chunks, [b"ab"])

    def test_a_read_is_bounded(self):
        self.client.write(b"x" * 100_000)
        self.link.flush()
        self.assertEqual([len(chunk) for chunk in self.server.chunks], [65536, 34464])

    def test_byte_by_byte(self):
        self.link.chunk = 1
        self.client.write(b"abc")
        self.link.flush()
        self.assertEqual(self.server.chunks, [b"a", b"b", b"c"])

    def test_given_cuts_hold_for_each_direction(self):
        self.link.chunk = [1, 2]
        self.client.write(b"abcdef")
        self.server.write(b"uvwxyz")
        self.link.flush()
        self.assertEqual(self.server.chunks, [b"a", b"bc", b"def"])
        self.assertEqual(self.client.chunks, [b"u", b"vw", b"xyz"])

    def test_what_is_written_while_delivering_is_delivered(self):
        link = MemoryLink(client := Recorder(), EchoOnce())
        client.write(b"ping")
        link.flush()
        self.assertEqual(client.data, b"<ping>")

    def test_an_exchange_without_end_is_reported(self):
        class Echo(Recorder):
            def dataReceived(self, data):
                self.write(data)

        self.patch(memory, "_STEPS", 100)
        link = MemoryLink(client := Echo(), Echo())
        client.write(b"x")
        self.assertRaises(RuntimeError, link.flush)

    def test_options_are_kept(self):
        self.link.client.setTcpNoDelay(True)
        self.link.client.setTcpKeepAlive(True)
        self.assertTrue(self.link.client.getTcpNoDelay())
        self.assertTrue(self.link.client.getTcpKeepAlive())


class PausingTests(LinkTestCase):
    def test_a_paused_end_gets_nothing(self):
        self.link.server.pauseProducing()
        self.client.write(b"hello")
        self.link.flush()
        self.assertEqual(self.server.data, b"")

    def test_a_resumed_end_gets_what_waited(self):
        self.link.server.pauseProducing()
        self.client.write(b"hello")
        self.link.flush()
        self.link.server.resumeProducing()
        self.link.flush()
        self.assertEqual(self.server.data, b"hello")

    def test_pausing_between_chunks_holds_the_rest(self):
        class PauseAtOnce(Recorder):
            def dataReceived(self, data):
                super().dataReceived(data)
                self.transport.pauseProducing()

        link = MemoryLink(client := Recorder(), server := PauseAtOnce(), chunk=2)
        client.write(b"abcd")
        link.flush()
        self.assertEqual(server.data, b"ab")

    def test_a_paused_end_does_not_notice_the_others_end(self):
        self.link.server.pauseProducing()
        self.client.close()
        self.link.flush()
        self.assertFalse(self.server.ended)

    def test_a_resumed_end_notices_it(self):
        self.link.server.pauseProducing()
        self.client.close()
        self.link.flush()
        self.link.server.resumeProducing()
        self.link.flush()
        self.assertTrue(self.server.ended)

    def test_resuming_after_closing_is_nothing(self):
        self.server.close()
        self.link.server.resumeProducing()
        self.assertFalse(self.link.server.reading)


class ProducerTests(LinkTestCase):
    def test_a_streaming_producer_is_paused_above_the_mark(self):
        producer = NotingProducer()
        self.link.client.registerProducer(producer, True)
        self.client.write(b"x" * 65536)
        self.assertEqual(producer.calls, [])
        self.client.write(b"x")
        self.assertEqual(producer.calls, ["pause"])

    def test_and_resumed_when_all_has_been_taken(self):
        producer = NotingProducer()
        self.link.client.registerProducer(producer, True)
        self.client.write(b"x" * 100_000)
        self.link.pump()
        self.assertEqual(producer.calls, ["pause"])
        self.link.flush()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_a_pull_producer_is_asked_until_it_unregisters(self):
        transport = self.link.client
        transport.registerProducer(PullProducer(transport, [b"a", b"b", b"c"]), False)
        self.link.flush()
        self.assertEqual(self.server.chunks, [b"a", b"b", b"c"])
        self.assertIs(transport.producer, None)

    def test_two_producers_are_too_many(self):
        self.link.client.registerProducer(NotingProducer(), True)
        self.assertRaises(RuntimeError, self.link.client.registerProducer, NotingProducer(), True)

    def test_a_lost_transport_stops_its_producer(self):
        producer = NotingProducer()
        self.link.client.registerProducer(producer, True)
        self.link.client.abortConnection()
        self.link.flush()
        self.assertEqual(producer.calls, ["stop"])

    def test_a_producer_that_comes_too_late_is_stopped(self):
        self.link.client.abortConnection()
        self.link.flush()
        producer = NotingProducer()
        self.link.client.registerProducer(producer, True)
        self.assertEqual(producer.calls, ["stop"])

    def test_closing_waits_for_a_paused_producer(self):
        self.link.client.registerProducer(NotingProducer(), True)
        self.client.write(b"x" * 100_000)
        self.client.close()
        self.link.flush()
        self.assertIs(self.client.lost, None)
        self.link.client.unregisterProducer()
        self.link.flush()
        self.assertIs(self.client.lost_with, ConnectionDone)

    def test_closing_does_not_wait_for_one_that_is_not_paused(self):
        self.link.client.registerProducer(NotingProducer(), True)
        self.client.close()
        self.link.flush()
        self.assertIs(self.client.lost_with, ConnectionDone)

    def test_half_closing_is_forgotten_with_a_paused_producer(self):
        self.link.client.registerProducer(NotingProducer(), True)
        self.client.write(b"x" * 100_000)
        self.client.close_write()
        self.link.flush()
        self.assertFalse(self.server.ended)


class ClosingTests(LinkTestCase):
    def test_what_was_written_arrives_before_the_end(self):
        self.client.write(b"bye")
        self.client.close()
        self.link.flush()
        self.assertEqual((self.server.data, self.server.ended), (b"bye", True))

    def test_closing_stops_reading(self):
        self.server.write(b"late")
        self.client.close()
        self.link.flush()
        self.assertEqual(self.client.data, b"")

    def test_closing_waits_for_a_slow_peer(self):
        self.link.server.pauseProducing()
        self.client.write(b"bye")
        self.client.close()
        self.link.flush()
        self.assertIs(self.client.lost, None)

    def test_a_protocol_without_half_closes_is_lost_with_its_peer(self):
        link = MemoryLink(client := Recorder(), server := Recorder())
        client.close()
        link.flush()
        self.assertIs(client.lost_with, ConnectionDone)
        self.assertIs(server.lost_with, ConnectionDone)
        self.assertFalse(link.open)

    def test_half_closing_leaves_the_other_direction(self):
        self.client.write(b"question")
        self.client.close_write()
        self.link.flush()
        self.assertTrue(self.client.write_ended)
        self.assertTrue(self.server.ended)
        self.server.write(b"answer")
        self.link.flush()
        self.assertEqual(self.client.data, b"answer")

    def test_both_halves_closed_and_lost(self):
        self.client.close_write()
        self.link.flush()
        self.server.close()
        self.link.flush()
        self.assertIs(self.server.lost_with, ConnectionDone)
        self.assertTrue(self.client.ended)
        self.client.close()
        self.assertIs(self.client.lost_with, ConnectionDone)

    def test_nothing_is_sent_after_a_half_close(self):
        self.client.close_write()
        self.link.flush()
        self.client.write(b"late")
        self.link.flush()
        self.assertEqual(self.server.data, b"")

    def test_the_end_is_reported_once(self):
        ends = []
        self.patch(self.server, "readConnectionLost", lambda: ends.append(1))
        self.client.close_write()
        self.link.flush()
        self.link.server.resumeProducing()
        self.link.flush()
        self.assertEqual(ends, [1])

    def test_an_abort_drops_what_was_written(self):
        self.client.write(b"never")
        self.link.client.abortConnection()
        self.link.flush()
        self.assertIs(self.client.lost_with, ConnectionAborted)
        self.assertIs(self.server.lost_with, ConnectionLost)
        self.assertEqual(self.server.data, b"")

    def test_an_abort_takes_a_pump(self):
        self.link.client.abortConnection()
        self.assertIs(self.client.lost, None)

    def test_writing_to_a_closed_peer_loses_the_connection(self):
        self.client.close()
        self.link.flush()
        self.server.write(b"anybody there?")
        self.link.flush()
        self.assertIs(self.server.lost_with, ConnectionLost)

    def test_a_lost_transport_takes_no_more(self):
        self.client.close()
        self.link.flush()
        self.client.write(b"late")
        self.client.close()
        self.link.client.abortConnection()
        self.assertFalse(self.link.pump())


class MemoryNetworkTests(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork()
        self.origin = RecorderFactory()
        self.port = self.network.listen(ORIGIN, self.origin)

    def connect(self, address=ORIGIN, **more):
        return self.network.connect(address, Recorder, timeout=10, **more)

    def assert_fails(self, connecting, code):
        failure = self.failureResultOf(connecting, UpstreamError)
        self.assertEqual(failure.value.code, code)

    def test_interfaces(self):
        verifyObject(IUpstreamConnector, self.network)
        verifyObject(IListeningPort, self.port)

    def test_connects_with_a_flush(self):
        connecting = self.connect()
        self.assertNoResult(connecting)
        self.network.flush()
        self.successResultOf(connecting).write(b"hello")
        self.network.flush()
        self.assertEqual(self.origin.protocols[0].data, b"hello")

    def test_notes_what_the_real_connector_notes(self):
        server = ServerConnection(ORIGIN)
        self.network.delay(ORIGIN, 2)
        self.connect(server_connection=server, source_address=("192.0.2.9", 4000))
        self.network.advance(2)
        self.assertEqual((server.timestamp_start, server.timestamp_tcp_setup), (0, 2))
        self.assertEqual(server.ip_address, ORIGIN)
        self.assertEqual(server.source_address, ("192.0.2.9", 4000))

    def test_nobody_listens(self):
        connecting = self.connect(("nowhere.test", 80))
        self.network.flush()
        self.assert_fails(connecting, "connect-refused")

    def test_refuses_on_demand(self):
        self.network.refuse(ORIGIN)
        connecting = self.connect()
        self.network.flush()
        self.assert_fails(connecting, "connect-refused")

    def test_fails_on_demand(self):
        self.network.fail(ORIGIN, UpstreamError("no such name", "dns-failed"))
        connecting = self.connect()
        self.network.flush()
        self.assert_fails(connecting, "dns-failed")

    def test_stalls_until_the_timeout(self):
        self.network.stall(ORIGIN)
        connecting = self.connect()
        self.network.advance(9.9)
        self.assertNoResult(connecting)
        self.network.advance(0.2)
        self.assert_fails(connecting, "connect-timeout")

    def test_restores(self):
        self.network.refuse(ORIGIN)
        self.network.restore(ORIGIN)
        connecting = self.connect()
        self.network.flush()
        self.successResultOf(connecting)

    def test_a_cancelled_connect_never_comes(self):
        connecting = self.connect()
        connecting.cancel()
        self.network.flush()
        self.failureResultOf(connecting)
        self.assertEqual(self.origin.protocols, [])

    def test_a_cancelled_delay_leaves_no_timer(self):
        self.network.delay(ORIGIN, 5)
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_attempts_and_links_are_kept(self):
        refused = self.connect(("nowhere.test", 80))
        self.connect()
        self.network.flush()
        self.assert_fails(refused, "connect-refused")
        self.assertEqual(self.network.attempts, [("nowhere.test", 80), ORIGIN])
        self.assertEqual(len(self.network.links), 1)

    def test_a_client_dials_in(self):
        client = Recorder()
        link = self.network.dial(ORIGIN, client, client_address=("192.0.2.7", 4321))
        client.write(b"hi")
        self.network.flush()
        self.assertEqual(self.origin.protocols[0].data, b"hi")
        self.assertEqual(as_pair(link.server.getPeer()), ("192.0.2.7", 4321))

    def test_dialling_where_nobody_listens(self):
        self.port.stopListening()
        self.assertRaises(UpstreamError, self.network.dial, ORIGIN, Recorder())

    def test_a_factory_may_decline(self):
        class Declining(Factory):
            def buildProtocol(self, addr):
                return None

        self.network.listen(ORIGIN, Declining())
        client = Recorder()
        self.network.dial(ORIGIN, client)
        self.network.flush()
        self.assertIs(client.lost_with, ConnectionDone)

    def test_the_networks_chunks_are_each_links(self):
        network = MemoryNetwork(chunk=1)
        network.listen(ORIGIN, self.origin)
        client = Recorder()
        network.dial(ORIGIN, client)
        client.write(b"ab")
        network.flush()
        self.assertEqual(self.origin.protocols[0].chunks, [b"a", b"b"])
