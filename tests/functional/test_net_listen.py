"""Listeners on real sockets."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from interceptor.errors import ListenError
from interceptor.model.modes import ListenSpec
from interceptor.net.addresses import as_pair
from interceptor.net.listen import describe, listen
from interceptor.net.memory import RecorderFactory


class ListenTests(TestCase):
    timeout = 30

    def setUp(self):
        self.accepted = RecorderFactory()

    async def listen(self, spec):
        port = await listen(reactor, spec, self.accepted)
        self.addCleanup(port.stopListening)
        return port

    async def failing(self, spec):
        try:
            await self.listen(spec)
        except ListenError as error:
            self.assertEqual(error.code, "listen-failed")
            return str(error)
        self.fail("it listens")

    async def accept_one(self, address, family=socket.AF_INET):
        """Connect to the listener; returns the transport that it made for that."""
        client = socket.socket(family)
        self.addCleanup(client.close)
        client.connect(address)
        while not self.accepted.protocols:
            await deferLater(reactor, 0.001)
        transport = self.accepted.protocols[0].transport
        self.addCleanup(transport.abortConnection)
        return transport

    async def test_a_port_of_the_systems_choice(self):
        port = await self.listen(ListenSpec("tcp", "127.0.0.1", 0))
        number = as_pair(port.getHost())[1]
        self.assertEqual(describe(port), f"127.0.0.1:{number}")
        self.assertGreater(number, 0)

    async def test_ipv6(self):
        port = await self.listen(ListenSpec("tcp", "::1", 0))
        self.assertRegex(describe(port), r"^\[::1\]:\d+$")

    async def test_a_name(self):
        port = await self.listen(ListenSpec("tcp", "localhost", 0))
        self.assertIn(as_pair(port.getHost())[0], ("127.0.0.1", "::1"))

    async def test_an_endpoint(self):
        spec = ListenSpec("endpoint", description=r"tcp:0:interface=\:\:1")
        self.assertRegex(describe(await self.listen(spec)), r"^\[::1\]:\d+$")

    async def test_an_endpoint_with_a_bare_address(self):
        for description in (
            "tcp:0:interface=::1",
            "tcp:0:interface=::1:backlog=7",
            "tcp:interface=0:0:0:0:0:0:0:1:port=0",
            "tcp:port=0:interface=::ffff:127.0.0.1",
        ):
            port = await self.listen(ListenSpec("endpoint", description=description))
            self.assertRegex(describe(port), r"^\[::(1|ffff:.*)\]:\d+$")

    async def test_a_path(self):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "i.sock")
        port = await self.listen(ListenSpec("endpoint", description=f"unix:{path}"))
        self.assertEqual(describe(port), f"unix:{path}")
        await self.accept_one(path, socket.AF_UNIX)

    async def test_accepted_connections_do_not_wait_to_fill_segments(self):
        port = await self.listen(ListenSpec("tcp", "127.0.0.1", 0))
        transport = await self.accept_one(as_pair(port.getHost()))
        self.assertTrue(transport.getTcpNoDelay())

    async def test_an_address_that_is_taken(self):
        port = await self.listen(ListenSpec("tcp", "127.0.0.1", 0))
        taken = ListenSpec("tcp", *as_pair(port.getHost()))
        self.assertEqual(
            await self.failing(taken), f"cannot listen on {taken}: address already in use"
        )

    async def test_an_address_that_is_not_ours(self):
        text = await self.failing(ListenSpec("tcp", "192.0.2.1", 0))
        self.assertEqual(text, "cannot listen on 192.0.2.1:0: cannot assign requested address")

    async def test_a_name_that_does_not_exist(self):
        text = await self.failing(ListenSpec("tcp", "no-such-host.invalid", 0))
        self.assertStartsWith(text, "cannot listen on no-such-host.invalid:0: ")

    async def test_a_name_that_is_nearly_an_endpoint_s(self):
        text = await self.failing(ListenSpec("tcp", "tpc", 8080))
        self.assertStartsWith(text, "cannot listen on tpc:8080: ")
        self.assertEqual(text.rpartition(": ")[2], "did you mean `tcp`?")

    async def test_a_port_that_cannot_be(self):
        text = await self.failing(ListenSpec("tcp", "127.0.0.1", 99999))
        self.assertIn("0-65535", text)

    async def test_endpoints_that_cannot_be(self):
        for description, reason in (
            ("nosuch:1", "unknown endpoint type: 'nosuch'"),
            ("tcp:http", "a number was expected"),
            ("tcp:0:color=red", "it takes no argument color="),
            ("tcp:0:interface=:::1", "arguments are missing or too many"),
            ("unix", "arguments are missing or too many"),
            ("unix:/no/such/directory/i.sock", "no such file or directory"),
            ("systemd:domain=INET:index=7", "there is no such socket"),
        ):
            text = await self.failing(ListenSpec("endpoint", description=description))
            self.assertEqual(text, f"cannot listen on {description}: {reason}")

    def assertStartsWith(self, text, start):
        self.assertEqual(text[: len(start)], start)
