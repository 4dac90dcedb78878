"""Ends of connections that wait in the socket, unseen by the reactor, with TLS and without."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from interceptor.net.memorytls import origin_authority
from interceptor.net.sides import Side, SideProtocol
from interceptor.net.tls import TLSTransport
from interceptor.net.tlscontext import ClientContexts, ServerIdentity
from interceptor.net.trust import TrustStore
from interceptor.net.unseen import ended_unseen
from tests.functional.harness import FunctionalTestCase, reactor, sleep


class Idle(SideProtocol):
    """Nothing is due: whatever comes ends the connection, as with idle ones to servers."""

    def dataReceived(self, data: bytes) -> None:
        self.side.abort()


class UnseenTestCase(FunctionalTestCase):
    """A side of ours, and a peer whose socket is used without the reactor."""

    async def connected(self) -> tuple[Side, socket.socket]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        class SideFactory(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Side:
                side = Side(reactor())
                side.protocol = Idle()
                return side

        endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", listener.getsockname()[1])
        side: Any = await endpoint.connect(SideFactory())
        side.use(Idle())
        self.addCleanup(self.gone, side)
        peer, _ = listener.accept()
        # What is said behind a ticket comes at once.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(peer.close)
        return side, peer

    def assert_ended(self, side: Side) -> None:
        """Something has come, or is about to, and the end is found without the reactor's help."""
        transport: Any = side.transport
        while isinstance(transport, TLSTransport):
            transport = transport.below
        self.assertTrue(select.select([transport.socket], [], [], 5)[0])
        self.assertTrue(ended_unseen(side))

    async def gone(self, side: Side) -> None:
        """Let the reactor forget a side."""
        side.abort()
        while not side.lost:
            await sleep(0.005)


class PlainTests(UnseenTestCase):
    """Without TLS."""

    async def test_nothing_has_happened(self):
        side, _ = await self.connected()
        self.assertFalse(ended_unseen(side))

    async def test_closed(self):
        side, peer = await self.connected()
        peer.close()
        self.assertFalse(side.read_ended)
        self.assert_ended(side)

    async def test_reset(self):
        side, peer = await self.connected()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        self.assert_ended(side)

    async def test_said_something_and_closed(self):
        side, peer = await self.connected()
        peer.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        peer.close()
        self.assert_ended(side)


class TLSTests(UnseenTestCase):
    """With TLS, where tickets look like ends until they are decrypted."""

    async def secured(self, version: ssl.TLSVersion) -> tuple[Side, ssl.SSLSocket]:
        below, peer = await self.connected()
        context = origin_authority().context("localhost")
        context.maximum_version = version
        done: Deferred[None] = Deferred()
        above = Side(reactor())

        def established(transport: TLSTransport) -> None:
            above.use(Idle())
            done.callback(None)

        contexts = ClientContexts(TrustStore(origin_authority().path))
        transport = TLSTransport(
            contexts.connection(ServerIdentity("localhost", 443)),
            above,
            peer="server",
            on_established=established,
            on_failed=lambda transport, error: done.errback(error),
        )
        serving = deferToThread(context.wrap_socket, peer, server_side=True)
        below.use(transport)
        await done
        served: ssl.SSLSocket = await serving
        self.addCleanup(served.close)
        return above, served

    async def each_version(self) -> list[tuple[Side, ssl.SSLSocket]]:
        versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        return [await self.secured(version) for version in versions]

    async def test_nothing_has_happened(self):
        for side, _ in await self.each_version():
            self.assertFalse(ended_unseen(side))
            self.assertFalse(side.closing)

    async def test_tls_ended(self):
        for side, peer in await self.each_version():
            peer.settimeout(0.05)
            # It says its word, and waits for ours in vain.
            self.assertRaises(OSError, peer.unwrap)
            self.assert_ended(side)

    async def test_closed_without_a_word(self):
        for side, peer in await self.each_version():
            peer.close()
            self.assert_ended(side)

    async def test_said_something(self):
        for side, peer in await self.each_version():
            peer.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            self.assert_ended(side)
