"""The stand-ins for wrk, nginx and slow peers: the protocol parts, without a network."""

from __future__ import annotations

import asyncio
import socket
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench.errors import BenchError
from bench.pyload import LoadProtocol, Opening, Tally, connect_opening, socks_opening
from bench.pyorigin import OriginProtocol
from bench.slow import read_head

SIZES = {b"1k": 1024, b"big": 1024 * 1024}


class RecordingTransport(asyncio.Transport):
    """Keeps what is written and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class OriginProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = RecordingTransport()
        self.protocol = OriginProtocol(SIZES)
        self.protocol.connection_made(self.transport)

    def test_answers_origin_and_absolute_form_alike(self) -> None:
        self.protocol.data_received(b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n")
        first = self.transport.written
        self.protocol.data_received(b"GET http://x/1k HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.transport.written, first * 2)
        self.assertTrue(first.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n"))

    def test_a_head_may_come_byte_by_byte(self) -> None:
        for byte in b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n":
            self.protocol.data_received(bytes([byte]))
        self.assertTrue(self.transport.written.endswith(bytes(1024)))

    def test_a_full_transport_is_waited_for(self) -> None:
        self.protocol.pause_writing()
        self.protocol.data_received(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertLess(len(self.transport.written), 1024)
        self.protocol.resume_writing()
        self.assertTrue(self.transport.written.endswith(bytes(1024 * 1024)))

    def test_an_unknown_name_is_not_found(self) -> None:
        self.protocol.data_received(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(self.transport.written.startswith(b"HTTP/1.1 404 "))

    def test_closes_when_asked_to(self) -> None:
        self.protocol.data_received(b"GET /1k HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertIn(b"Connection: close\r\n", self.transport.written)
        self.assertTrue(self.transport.closed)


class LoadProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        # The protocol makes one Future for its owner; a loop that never runs is enough.
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.tally = Tally()
        self.transport = RecordingTransport()
        with mock.patch("asyncio.get_running_loop", return_value=loop):
            self.protocol = LoadProtocol(b"ask;", self.tally)
        self.protocol.connection_made(self.transport)

    def test_asks_again_after_each_whole_response(self) -> None:
        self.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.assertEqual(self.transport.written, b"ask;")
        self.protocol.data_received(b"cd")
        self.assertEqual((self.transport.written, self.tally.requests), (b"ask;ask;", 1))

    def tunnel(self, opening: Opening) -> LoadProtocol:
        """Begin again, in a tunnel."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.transport = RecordingTransport()
        with mock.patch("asyncio.get_running_loop", return_value=loop):
            protocol = LoadProtocol(b"ask;", self.tally, opening)
        protocol.connection_made(self.transport)
        return protocol

    def test_a_tunnel_of_connect_comes_first(self) -> None:
        protocol = self.tunnel(connect_opening("127.0.0.1", 80))
        asked = b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"
        self.assertEqual(self.transport.written, asked)
        for byte in b"HTTP/1.1 200 Connection established\r\n\r\n":
            self.assertEqual(self.transport.written, asked)
            protocol.data_received(bytes([byte]))
        self.assertEqual((self.transport.written, self.tally.received), (asked + b"ask;", 0))

    def test_a_tunnel_of_socks_comes_first(self) -> None:
        protocol = self.tunnel(socks_opening("127.0.0.1", 80))
        asked = b"\5\1\0\5\1\0\1\x7f\0\0\1\0\x50"
        self.assertEqual(self.transport.written, asked)
        protocol.data_received(b"\5\0")
        protocol.data_received(b"\5\0\0\1\x7f\0\0\1\1\1")
        self.assertEqual(self.transport.written, asked + b"ask;")

    def test_a_tunnel_that_is_refused_is_an_error(self) -> None:
        protocol = self.tunnel(connect_opening("127.0.0.1", 80))
        protocol.data_received(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        self.assertEqual(self.tally.errors["tunnel"], 1)
        self.assertTrue(self.transport.closed)

    def test_a_closing_response_ends_the_connection_without_error(self) -> None:
        self.protocol.data_received(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
        )
        self.protocol.connection_lost(None)
        self.assertTrue(self.transport.closed)
        self.assertEqual(self.tally.errors.total(), 0)

    def test_another_status_is_an_error(self) -> None:
        self.protocol.data_received(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.tally.errors["status"], 1)

    def test_a_cut_response_is_an_error(self) -> None:
        self.protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.protocol.connection_lost(None)
        self.assertEqual(self.tally.errors["read"], 1)

    def test_a_response_cut_by_the_end_of_the_run_is_none(self) -> None:
        self.tally.stopped = True
        self.protocol.connection_lost(None)
        self.assertEqual(self.tally.errors.total(), 0)


class ReadHeadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here, self.there = socket.socketpair()
        self.addCleanup(self.here.close)
        self.addCleanup(self.there.close)

    def test_gives_the_head_and_the_start_of_the_body(self) -> None:
        self.there.sendall(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody")
        self.assertEqual(read_head(self.here), (b"HTTP/1.1 200 OK\r\nA: b", b"body"))

    def test_an_end_before_the_head_does_is_an_error(self) -> None:
        self.there.sendall(b"HTTP/1.1 200 OK\r\n")
        self.there.shutdown(socket.SHUT_WR)
        self.assertRaises(BenchError, read_head, self.here)
