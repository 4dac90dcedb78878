"""Tests of `interceptor.net.transports`: that there are transports as sides expect them."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp, unix
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from interceptor.layers.http2transport import StreamTransport
from interceptor.layers.pairtransport import PairTransport
from interceptor.net.memorytransport import MemoryTransport
from interceptor.net.tls import TLSTransport
from interceptor.net.transports import ISocketTransport, IStreamTransport


class StreamTransportTests(SynchronousTestCase):
    def test_ours(self):
        ours: tuple[Any, ...] = (StreamTransport, TLSTransport, MemoryTransport)
        for transport in ours:
            self.assertTrue(verifyClass(IStreamTransport, transport))
        self.assertTrue(ISocketTransport.implementedBy(MemoryTransport))

    def test_those_that_do_not_say_so(self):
        theirs: tuple[Any, ...] = (tcp.Server, tcp.Client, unix.Server, unix.Client, PairTransport)
        for transport in theirs:
            self.assertTrue(verifyClass(IStreamTransport, transport, tentative=True))
