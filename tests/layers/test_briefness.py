"""What a peer sends does not fill error pages, flows and the log."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from interceptor.errors import LocalProtocolError, RemoteProtocolError, UpstreamError, brief
from interceptor.http import HTTPFlow
from interceptor.testing import MemoryProxy

MOST = 301
LONG = b"y" * 40_000


class Watching:
    """Keeps the flows that failed."""

    def __init__(self) -> None:
        self.failed: list[HTTPFlow] = []

    def error(self, flow: HTTPFlow) -> None:
        self.failed.append(flow)


class BriefTests(SynchronousTestCase):
    """`brief` and the errors that use it."""

    def test_length(self):
        for length in (0, 1, 300, MOST):
            self.assertEqual(brief("x" * length), "x" * length)
        cut = brief("begin" + "x" * 1000 + "end")
        self.assertEqual(len(cut), MOST)
        self.assertTrue(cut.startswith("beginx") and cut.endswith("xend"))
        self.assertIn("x\N{HORIZONTAL ELLIPSIS}x", cut)
        self.assertEqual(brief(cut), cut)

    def test_errors(self):
        for kind in (LocalProtocolError, RemoteProtocolError, UpstreamError):
            error = kind("x" * 1000, "a-code")
            self.assertEqual((len(str(error)), error.code), (MOST, "a-code"))


class PeerTests(SynchronousTestCase):
    """Peers that send much of what is wrong."""

    def test_clients_and_servers(self):
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        watching = Watching()
        proxy = MemoryProxy(watching)
        self.addCleanup(proxy.close)
        proxy.origin().respond(b"HTTP/1.1 " + LONG + b"\r\n\r\n")
        proxy.origin("field.test").respond(
            b"HTTP/1.1 200 OK\r\nContent-Length: " + LONG + b"\r\n\r\n"
        )
        host = b"Host: example.test\r\n"
        heads = (
            LONG + b" / HTTP/1.1\r\n" + host,
            b"GET " + LONG + b" HTTP/1.1\r\n" + host,
            b"GET http://" + LONG + b"/ HTTP/1.1\r\n" + host,
            b"GET http://example.test/ " + LONG + b"\r\n" + host,
            b"GET http://example.test/ HTTP/1.1\r\nHost: " + LONG + b"\r\n",
            b"GET http://example.test/ HTTP/1.1\r\n" + host + LONG + b"\r\n",
            b"GET http://example.test/ HTTP/1.1\r\n" + host + LONG + b"(: x\r\n",
            b"GET http://example.test/ HTTP/1.1\r\n" + host + b"Content-Length: " + LONG + b"\r\n",
            b"GET http://example.test/ HTTP/1.1\r\n"
            + (host + b"Transfer-Encoding: " + LONG + b"\r\n"),
            b"GET http://example.test/" + LONG + b" HTTP/1.1\r\n" + host,
            b"GET http://field.test/ HTTP/1.1\r\nHost: field.test\r\n",
            b"GET http://nobody.test/" + LONG + b" HTTP/1.1\r\nHost: nobody.test\r\n",
        )
        for number, head in enumerate(heads):
            client = proxy.client()
            client.send(head + b"\r\n")
            answer = client.take()
            self.assertRegex(answer[:13], rb"^HTTP/1\.1 [45]", head[:50])
            self.assertLess(len(answer), 1000, head[:50])
            self.assertIn(b"interceptor: ", answer)
            self.assertEqual(len(watching.failed), number + 1, head[:50])
        for flow in watching.failed:
            assert flow.error is not None
            self.assertLessEqual(len(flow.error.msg), MOST)
        self.assertGreaterEqual(len(lines), len(heads))
        for line in lines:
            self.assertLess(len(line), 1000)
