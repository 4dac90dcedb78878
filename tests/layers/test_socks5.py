"""Mode ``socks5``: from the greeting to what is spoken in the tunnel."""

from __future__ import annotations

import errno
from typing import Any

from interceptor.errors import LoopError, UpstreamError
from interceptor.http import HTTPFlow, Response
from interceptor.layers.socks5 import reply_for
from interceptor.model.connections import ServerConnection
from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import OK, EventTestCase, Waiting

GREETING = b"\x05\x01\x00"
CHOSEN = b"\x05\x00"
REQUEST = b"\x05\x01\x00\x03\x0cexample.test\x00\x50"
GET = b"GET /page HTTP/1.1\r\nHost: example.test\r\n\r\n"
NOWHERE = b"\x01" + bytes(6)
OK_RESPONSE = Response.make(200, b"inside")


def reply(code: int) -> bytes:
    """A reply without an address."""
    return b"\x05" + bytes((code,)) + b"\x00" + NOWHERE


class SOCKSTestCase(EventTestCase):
    """Makes proxies in mode ``socks5``."""

    def start(
        self, *addons: object, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        return self.started(*addons, mode="socks5", **options)

    def connected(self, client: MemoryClient, request: bytes = REQUEST) -> None:
        """Ask for a tunnel, which has to be there then."""
        client.send(GREETING)
        self.assertEqual(client.take(), CHOSEN)
        client.send(request)
        self.assertEqual(client.take()[:3], b"\x05\x00\x00")

    def refused(self, client: MemoryClient, request: bytes = REQUEST) -> int:
        """Ask for a tunnel, which there must not be; return the reply."""
        client.send(GREETING + request)
        answer = client.take()
        self.assertEqual((answer[:3], answer[4:]), (CHOSEN + b"\x05", b"\x00" + NOWHERE))
        self.assertTrue(client.closed)
        return answer[3]


class TunnelTests(SOCKSTestCase):
    """What is spoken in the tunnel."""

    def test_http(self):
        proxy, client, recorder = self.start()
        origin = proxy.origin().respond(OK)
        self.connected(client)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        [flow] = recorder.arguments("response")
        self.assertEqual((flow.mode, flow.request.url), ("socks5", "http://example.test/page"))
        self.assertEqual([request.path for request in origin.requests], ["/page"])
        self.assertEqual(len(origin.connections), 1)

    def test_https(self):
        proxy, client, recorder = self.start()
        proxy.tls_origin().respond(OK)
        self.connected(client, REQUEST[:-2] + b"\x01\xbb")
        client.start_tls("example.test").send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.request.url, "https://example.test/page")

    def test_neither(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy)
        self.connected(client)
        client.send(b"\0hello")
        origin.protocols[0].write(b"\0you too")
        proxy.flush()
        self.assertEqual((origin.protocols[0].data, client.received), (b"\0hello", b"\0you too"))

    def test_a_server_that_speaks_first(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy)
        self.connected(client)
        origin.protocols[0].write(b"220 ready\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 ready\r\n")

    def test_everything_at_once(self):
        for chunk in (None, 1):
            proxy, client, _ = self.start(chunk=chunk)
            proxy.origin().respond(OK)
            client.send(GREETING + REQUEST + GET)
            self.assertEqual(client.received[:2], CHOSEN)
            self.assertTrue(client.received.endswith(b"ok"))

    def test_half_close(self):
        proxy, client, _ = self.start()
        origin = self.raw_origin(proxy)
        client.send(GREETING + REQUEST + b"\0all").end()
        [peer] = origin.protocols
        assert isinstance(peer, HalfCloseRecorder)
        self.assertEqual((peer.data, peer.ended), (b"\0all", True))
        peer.write(b"answer")
        proxy.flush()
        self.assertTrue(client.received.endswith(b"answer"))

    def test_the_proxy_s_own_end_is_told(self):
        proxy, client, recorder = self.start()
        self.raw_origin(proxy)
        client.send(GREETING + REQUEST)
        [server_conn] = recorder.arguments("serverconnected")
        host, port = server_conn.source_address
        address = bytes(map(int, host.split("."))) + port.to_bytes(2, "big")
        self.assertEqual(client.received, CHOSEN + b"\x05\x00\x00\x01" + address)

    def test_addresses(self):
        for request, host in (
            (b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "192.0.2.1"),
            (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", "::1"),
        ):
            proxy, client, recorder = self.start()
            self.raw_origin(proxy, host)
            self.connected(client, request)
            [server_conn] = recorder.arguments("serverconnect")
            self.assertEqual(server_conn.address, (host, 80))

    def test_in_tls(self):
        proxy, client, _ = self.start()
        proxy.origin().respond(OK)
        client.start_tls(None)
        self.connected(client)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")

    def test_clients_that_insist_on_credentials(self):
        proxy, client, recorder = self.start()
        self.raw_origin(proxy)
        client.send(b"\x05\x01\x02" + b"\x01\x01a\x01b" + REQUEST)
        self.assertEqual(client.received[:7], b"\x05\x02\x01\x00\x05\x00\x00")
        self.assertEqual(recorder.names.count("serverconnected"), 1)


class HookTests(SOCKSTestCase):
    """The events of the connection."""

    def test_their_order(self):
        proxy, client, recorder = self.start()
        proxy.origin().respond(OK)
        client.send(GREETING + REQUEST + GET)
        self.assertEqual(
            recorder.names[:6],
            [
                "next_layer",
                "serverconnect",
                "serverconnected",
                "next_layer",
                "requestheaders",
                "request",
            ],
        )
        layers = [layer.name for layer in recorder.arguments("next_layer")]
        self.assertEqual(layers, ["socks5", "http"])

    def test_waited_for(self):
        waiting = Waiting()
        proxy, client, _ = self.hooked(
            {"mode": "socks5"},
            serverconnect=waiting,
        )
        self.raw_origin(proxy)
        client.send(GREETING + REQUEST)
        self.assertEqual((client.take(), proxy.network.attempts), (CHOSEN, []))
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received[:2], b"\x05\x00")

    def test_redirected(self):
        def serverconnect(server_conn: ServerConnection) -> None:
            server_conn.address = ("other.test", 8000)

        proxy, client, _ = self.hooked({"mode": "socks5"}, serverconnect=serverconnect)
        other = self.raw_origin(proxy, "other.test", 8000)
        self.connected(client)
        client.send(b"\0hello")
        self.assertEqual(other.protocols[0].data, b"\0hello")

    def test_refused(self):
        proxy, client, recorder = self.hooked(
            {"mode": "socks5"}, serverconnect=lambda server_conn: server_conn.refuse("not there")
        )
        self.assertEqual(self.refused(client), 2)
        self.assertEqual(proxy.network.attempts, [])
        [layer] = recorder.arguments("next_layer")
        self.assertIn("not there", layer.client_conn.error)

    def test_a_client_that_leaves_while_they_are_asked(self):
        waiting = Waiting()
        proxy, client, recorder = self.hooked({"mode": "socks5"}, serverconnect=waiting)
        client.send(GREETING + REQUEST)
        client.abort()
        self.assertEqual((waiting.cancelled, proxy.network.attempts), (1, []))
        self.assertEqual(recorder.names[-1], "clientdisconnect")

    def test_requests_can_be_answered(self):
        def request(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"

        proxy, client, _ = self.hooked({"mode": "socks5"}, request=request)
        self.raw_origin(proxy)
        proxy.origin("other.test").respond(OK)
        self.connected(client)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")


class LazyTests(SOCKSTestCase):
    """``connection_strategy=lazy``, and hosts that no server is asked for."""

    def test_success_is_told_at_once(self):
        proxy, client, recorder = self.start(connection_strategy="lazy")
        proxy.origin().respond(OK)
        client.send(GREETING + REQUEST)
        self.assertEqual(client.take(), CHOSEN + reply(0))
        self.assertNotIn("serverconnect", recorder.names)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"ok")
        names = recorder.names
        self.assertLess(names.index("request"), names.index("serverconnect"))

    def test_failure_is_told_by_http(self):
        proxy, client, _ = self.start(connection_strategy="lazy")
        proxy.network.refuse(("example.test", 80))
        client.send(GREETING + REQUEST)
        self.assertEqual(client.take(), CHOSEN + reply(0))
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)

    def test_the_proxy_s_own_page(self):
        proxy, client, recorder = self.start()
        proxy.environment.internal_hosts[b"example.test"] = lambda request, conn: OK_RESPONSE
        self.connected(client)
        client.send(GET)
        self.assertEqual(self.response(client).content, b"inside")
        self.assertNotIn("serverconnect", recorder.names)


class FailureTests(SOCKSTestCase):
    """Servers that cannot be reached."""

    def test_replies(self):
        unreachable = UpstreamError("no route", "connect-unreachable")
        for error, expected in (
            (UpstreamError("?", "connect-failed"), 1),
            (LoopError("our own listener"), 2),
            (unreachable, 4),
            (UpstreamError("no such name", "dns-failed"), 4),
            (UpstreamError("refused", "connect-refused"), 5),
            (UpstreamError("no answer", "connect-timeout", 504), 6),
            (UpstreamError("no answer", "dns-timeout", 504), 6),
        ):
            proxy, client, recorder = self.start()
            proxy.network.fail(("example.test", 80), error)
            self.assertEqual(self.refused(client), expected)
            self.assertEqual(recorder.names.count("serverconnect_failed"), 1)

    def test_networks_and_hosts_that_cannot_be_reached(self):
        for number, expected in ((errno.ENETUNREACH, 3), (errno.EHOSTUNREACH, 4), (None, 4)):
            error = UpstreamError("unreachable", "connect-unreachable")
            error.os_error = number
            self.assertEqual(reply_for(error), expected)

    def test_one_that_does_not_answer(self):
        proxy, client, _ = self.start()
        proxy.network.stall(("example.test", 80))
        client.send(GREETING + REQUEST)
        self.assertEqual(client.take(), CHOSEN)
        proxy.advance(10)
        self.assertEqual(client.take(), reply(6))

    def test_it_is_logged(self):
        messages = self.messages()
        proxy, client, _ = self.start()
        proxy.network.refuse(("example.test", 80))
        self.refused(client)
        [line] = [text for text in messages.texts if "connect-refused" in text]
        self.assertIn("example.test:80", line)


class BadInputTests(SOCKSTestCase):
    """Clients that do not do what they should."""

    def test_faults(self):
        for data, answer in (
            (b"GET / HTTP/1.1\r\n\r\n", b""),
            (b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00", b"\x00\x5b" + bytes(6)),
            (b"\x05\x00", b"\x05\xff"),
            (b"\x05\x01\x01", b"\x05\xff"),
            (GREETING + b"\x05\x02" + REQUEST[2:], CHOSEN + reply(7)),
            (GREETING + b"\x05\x03" + REQUEST[2:], CHOSEN + reply(7)),
            (GREETING + b"\x05\x01\x00\x09", CHOSEN + reply(8)),
            (GREETING + b"\x05\x01\x00\x03\x0f/run/docker.soc\x00\x50", CHOSEN + reply(1)),
        ):
            proxy, client, recorder = self.start()
            client.send(data)
            self.assertEqual((client.received, client.closed), (answer, True))
            self.assertEqual(proxy.network.attempts, [])
            [layer] = recorder.arguments("next_layer")
            self.assertIn("client", layer.client_conn.error)

    def test_one_that_leaves_in_the_middle(self):
        _, client, recorder = self.start()
        client.send(GREETING + REQUEST[:7]).end()
        self.assertEqual((client.received, client.closed), (CHOSEN, True))
        [layer] = recorder.arguments("next_layer")
        self.assertIn("middle", layer.client_conn.error)

    def test_one_that_is_too_slow(self):
        for data in (b"\x05", GREETING, GREETING + REQUEST[:-1]):
            proxy, client, _ = self.start(head_timeout=7)
            client.send(data)
            proxy.advance(6.9)
            self.assertFalse(client.closed)
            proxy.advance(0.2)
            self.assertTrue(client.closed)

    def test_one_that_never_speaks(self):
        proxy, client, _ = self.start(idle_timeout=7)
        proxy.advance(7)
        self.assertTrue(client.closed)

    def test_one_that_sends_ahead_is_not_read_without_end(self):
        waiting = Waiting()
        proxy, client, _ = self.hooked({"mode": "socks5"}, serverconnect=waiting)
        origin = self.raw_origin(proxy)
        data = b"\0" * 500_000
        client.send(GREETING + REQUEST + data)
        [session] = proxy.environment.sessions
        self.assertTrue(session.side.reading.paused)
        waiting.go_on()
        proxy.flush()
        self.assertEqual(len(origin.protocols[0].data), len(data))

    def test_the_end_of_the_proxy(self):
        proxy, client, _ = self.start()
        proxy.network.stall(("example.test", 80))
        client.send(GREETING + REQUEST)
        [session] = proxy.environment.sessions
        session.shut_down()
        proxy.flush()
        self.assertFalse(client.closed)
        session.abort()
        proxy.flush()
        self.assertTrue(client.closed)
        self.assertEqual(proxy.environment.sessions, set())
