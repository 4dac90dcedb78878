"""The upstream connector, the resolver and the loop guard on real sockets."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import socket
import tempfile
import weakref
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from interceptor.errors import LoopError, UpstreamError
from interceptor.model.connections import ServerConnection
from interceptor.model.modes import ListenSpec
from interceptor.net.addresses import as_pair
from interceptor.net.guard import LoopGuard
from interceptor.net.listen import listen
from interceptor.net.memory import Recorder, RecorderFactory
from interceptor.net.resolver import Address, Resolver
from interceptor.net.upstream import ConnectSettings, UpstreamConnector
from interceptor.threads import DaemonThreads


class ConnectorTestCase(TestCase):
    timeout = 30

    def setUp(self):
        self.guard = LoopGuard()
        self.resolver = Resolver(reactor, DaemonThreads(cast(Any, reactor), 2, "look-up"))
        self.addCleanup(self.resolver.stop)
        self.connector = UpstreamConnector(reactor, self.resolver, self.guard)
        self.accepted = RecorderFactory()

    def make_path(self):
        """A path short enough for a socket, which trial's own directories are not everywhere."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        return os.path.join(directory, "i.sock")

    async def listen(self, host="127.0.0.1", **more):
        spec = ListenSpec("endpoint", **more) if more else ListenSpec("tcp", host, 0)
        port = await listen(reactor, spec, self.accepted)
        self.addCleanup(port.stopListening)
        return port

    async def connect(self, host, port, **more):
        protocol: Any = await self.connector.connect((host, port), Recorder, timeout=10, **more)
        self.addCleanup(protocol.transport.abortConnection)
        return protocol

    async def failing(self, host, port, **more):
        try:
            await self.connect(host, port, **more)
        except UpstreamError as error:
            return error
        self.fail("it connected")


class UpstreamConnectorTests(ConnectorTestCase):
    async def test_own_connections_are_recognised(self):
        self.connector.settings = ConnectSettings(recognise=True)
        for host in ("127.0.0.1", "::1"):
            destination = as_pair((await self.listen(host)).getHost())
            before = set(self.accepted.protocols)
            connecting = self.connector.connect(destination, Recorder, timeout=10)
            # It counts from the moment in which the system has it.
            while not connecting.called and not self.connector._made:
                await deferLater(cast(Any, reactor), 0)
            protocol: Any = await connecting
            source = as_pair(protocol.transport.getHost())
            self.assertTrue(self.connector.made(source, destination))
            self.assertFalse(self.connector.made(source, (destination[0], 1)))
            self.assertFalse(self.connector.made((source[0], 1), destination))
            protocol.transport.loseConnection()
            while self.connector.made(source, destination):
                await deferLater(cast(Any, reactor), 0.001)
            self.assertLessEqual(len(before), 1)

    async def test_connects_to_an_address(self):
        port = as_pair((await self.listen()).getHost())[1]
        server = ServerConnection(("127.0.0.1", port))
        protocol = await self.connect("127.0.0.1", port, server_connection=server)
        self.assertEqual(server.ip_address, ("127.0.0.1", port))
        self.assertEqual(server.source_address, as_pair(protocol.transport.getHost()))
        self.assertTrue(protocol.transport.getTcpNoDelay())

    async def test_connects_to_localhost_in_whichever_family_it_listens(self):
        port = as_pair((await self.listen()).getHost())[1]
        for _ in range(2):
            protocol = await self.connect("localhost", port)
            self.assertEqual(as_pair(protocol.transport.getPeer()), ("127.0.0.1", port))

    async def test_connects_from_an_address(self):
        port = as_pair((await self.listen()).getHost())[1]
        protocol = await self.connect("127.0.0.1", port, source_address=("127.0.0.3", 0))
        self.assertEqual(as_pair(protocol.transport.getHost())[0], "127.0.0.3")

    async def test_connects_to_a_path(self):
        path = self.make_path()
        await self.listen(description=f"unix:{path}")
        server = ServerConnection((path, 0))
        await self.connect(path, 0, server_connection=server)
        self.assertEqual(server.ip_address, (path, 0))

    async def test_refused(self):
        port = await self.listen()
        number = as_pair(port.getHost())[1]
        await port.stopListening()
        error = await self.failing("localhost", number)
        self.assertEqual(error.code, "connect-refused")
        self.assertIn(f"[::1]:{number}: ", str(error))
        self.assertIn(f"127.0.0.1:{number}: connection refused", str(error))

    async def test_a_name_that_does_not_exist(self):
        error = await self.failing("no-such-host.invalid", 80)
        self.assertEqual(error.code, "dns-failed")

    async def test_what_the_system_refuses(self):
        for host, port in (("127.0.0.1", 99999), ("fe80::1%nosuch", 80), ("/no/such/path", 0)):
            error = await self.failing(host, port)
            self.assertEqual(error.code, "connect-failed", host)

    async def test_a_source_address_that_is_not_ours(self):
        port = as_pair((await self.listen()).getHost())[1]
        error = await self.failing("127.0.0.1", port, source_address=("192.0.2.1", 0))
        self.assertEqual(error.code, "connect-failed")

    async def test_cancelled(self):
        port = as_pair((await self.listen()).getHost())[1]
        connecting = self.connector.connect(("127.0.0.1", port), Recorder, timeout=10)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)

    async def test_connects_to_an_address_of_ipv6(self):
        number = as_pair((await self.listen("::1")).getHost())[1]
        server = ServerConnection(("0:0:0:0:0:0:0:1", number))
        await self.connect("0:0:0:0:0:0:0:1", number, server_connection=server)
        self.assertEqual(server.ip_address, ("::1", number))
        self.assertEqual(cast(Any, server.source_address)[0], "::1")

    async def test_no_answer_in_time(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            number = listener.getsockname()[1]
            # Nobody accepts, and there is no room for more to wait.
            for _ in range(4):
                waiting = socket.socket()
                self.addCleanup(waiting.close)
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", number))
            connecting = self.connector.connect(("127.0.0.1", number), Recorder, timeout=0.2)
            error: Any = await self.assertFailure(connecting, UpstreamError)
        self.assertEqual((error.code, error.status), ("connect-timeout", 504))

    async def test_no_descriptors_left(self):
        def none_left(*_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(socket, "socket", none_left)
        connecting = self.connector.connect(("127.0.0.1", 1), Recorder, timeout=10)
        self.assertNoResult(connecting)
        error: Any = await self.assertFailure(connecting, UpstreamError)
        self.assertIn("no socket to connect with: too many open files", str(error))

    async def test_a_name_with_more_addresses_than_calls_may_be_nested(self):
        # Connecting to groups fails at once.
        many = [Address(socket.AF_INET, f"224.1.{n // 256}.{n % 256}") for n in range(1200)]
        self.patch(self.resolver, "_look_up", lambda name: many)
        error = await self.failing("many.test", 80)
        self.assertIn("224.1.4.175:80", str(error))

    async def test_a_closed_connection_leaves_no_garbage(self):
        port = as_pair((await self.listen()).getHost())[1]
        gc.disable()
        self.addCleanup(gc.enable)
        protocol: Any = await self.connector.connect(("127.0.0.1", port), Recorder, timeout=10)
        transport = weakref.ref(protocol.transport)
        protocol.close()
        while protocol.lost is None:
            await deferLater(reactor, 0.001)
        protocol = None
        self.assertIs(transport(), None)


class LoopGuardTests(ConnectorTestCase):
    async def guarded(self, host):
        port = await self.listen(host)
        self.guard.add(port)
        return as_pair(port.getHost())[1]

    async def assert_refused(self, number, *hosts):
        for host in hosts:
            error = await self.failing(host, number)
            self.assertIsInstance(error, LoopError, f"{host}: {error}")
        self.assertEqual(self.accepted.protocols, [])

    async def test_loopback_under_all_its_names(self):
        number = await self.guarded("127.0.0.1")
        hosts = ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "localhost", "127.1", "0x7f000001")
        await self.assert_refused(number, *hosts)

    async def test_a_wildcard_under_all_addresses_of_the_machine(self):
        number = await self.guarded("0.0.0.0")
        hosts = {"127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1", "0.0.0.0", "localhost"}
        hosts.add(socket.gethostname())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
                hosts.add(probe.getsockname()[0])
            except OSError:
                pass  # No network, and so no address on one.
        await self.assert_refused(number, *hosts)

    async def test_an_ipv6_wildcard(self):
        number = await self.guarded("::")
        await self.assert_refused(number, "::1", "::", "127.0.0.1", "localhost")

    async def test_another_listener_is_no_loop(self):
        await self.guarded("127.0.0.1")
        other = as_pair((await self.listen()).getHost())[1]
        await self.connect("127.0.0.1", other)

    async def test_a_path(self):
        path = self.make_path()
        self.guard.add(await self.listen(description=f"unix:{path}"))
        self.assertIsInstance(await self.failing(path, 0), LoopError)
