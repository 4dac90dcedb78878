"""The relay that everything is measured against, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bench.relay import RelayFactory

ADDRESS = IPv4Address("TCP", "127.0.0.1", 50000)


class TCPStringTransport(StringTransport):
    """A `StringTransport` that has the one socket option that the relay sets."""

    no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        factory = RelayFactory(self.reactor, "127.0.0.1", 8000)
        self.downstream = factory.buildProtocol(ADDRESS)
        self.client = TCPStringTransport()
        self.downstream.makeConnection(self.client)
        host, port, self.connecting, _, _ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("127.0.0.1", 8000))

    def connect_upstream(self) -> Protocol:
        upstream: Any = self.connecting.buildProtocol(ADDRESS)
        self.server = TCPStringTransport()
        upstream.makeConnection(self.server)
        return upstream

    def test_reads_nothing_before_the_server_is_there(self) -> None:
        self.assertEqual(self.client.producerState, "paused")
        self.connect_upstream()
        self.assertEqual(self.client.producerState, "producing")

    def test_copies_bytes_both_ways(self) -> None:
        upstream = self.connect_upstream()
        self.downstream.dataReceived(b"question")
        upstream.dataReceived(b"answer")
        self.assertEqual(self.server.value(), b"question")
        self.assertEqual(self.client.value(), b"answer")

    def test_small_writes_are_not_held_back(self) -> None:
        self.connect_upstream()
        self.assertTrue(self.client.no_delay and self.server.no_delay)

    def test_a_full_end_pauses_the_other(self) -> None:
        self.connect_upstream()
        self.assertIs(self.client.producer, self.server)
        self.assertIs(self.server.producer, self.client)
        self.assertTrue(self.client.streaming)

    def test_a_lost_server_closes_the_client(self) -> None:
        self.connect_upstream().connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.client.disconnecting)

    def test_a_lost_client_closes_the_server(self) -> None:
        self.connect_upstream()
        self.downstream.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.server.disconnecting)

    def test_a_refusing_server_aborts_the_client(self) -> None:
        connector = self.reactor.connectors[0]
        self.connecting.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        self.assertTrue(self.client.disconnected or self.client.disconnecting)

    def test_a_client_that_leaves_early_stops_the_connect(self) -> None:
        connector: Any = self.reactor.connectors[0]
        self.downstream.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(connector._disconnected)
