"""``http_connect``, and the tunnels behind it."""

from __future__ import annotations

from typing import Any

from interceptor.http import Headers, HTTPFlow, Response
from interceptor.net.memory import HalfCloseRecorder
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import (
    CONNECT,
    GET,
    OK,
    EventTestCase,
    Guard,
    Waiting,
)

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
REVERSE = "reverse:http://example.test"


class HTTPConnectTests(EventTestCase):
    """``http_connect(flow)``."""

    def test_argument(self) -> None:
        seen: list[Any] = []

        def http_connect(flow: HTTPFlow) -> None:
            request = flow.request
            seen.append((request.method, request.host, request.port, request.first_line_format))
            seen.append((flow.requestheaders is request.headers, request.headers["X-A"]))
            seen.append((flow.response, flow.live, list(proxy.network.attempts)))

        proxy, client, _ = self.hooked(http_connect=http_connect)
        self.raw_origin(proxy)
        client.send(CONNECT.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\n\r\n"))
        self.assertEqual(
            seen,
            [("CONNECT", "example.test", 80, "authority"), (True, "1"), (None, True, [])],
        )

    def test_instead_of_the_usual_events(self) -> None:
        proxy, client, recorder = self.started()
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertEqual(client.received, ESTABLISHED)
        self.assertEqual(
            recorder.names,
            ["next_layer", "http_connect", "serverconnect", "serverconnected", "http_connected"],
        )
        [flow] = recorder.arguments("http_connect")
        self.assertEqual(flow.response.status_code, 200)
        self.assertFalse(flow.live)
        self.assertEqual(recorder.arguments("serverconnected"), [flow.server_conn])

    def test_waited_for(self) -> None:
        for coroutine in (False, True):
            waiting = Waiting(coroutine)
            proxy, client, _ = self.hooked(http_connect=waiting)
            self.raw_origin(proxy)
            client.send(CONNECT)
            self.assertEqual((client.received, proxy.network.attempts), (b"", []))
            waiting.go_on()
            proxy.flush()
            self.assertEqual(client.received, ESTABLISHED)

    def test_redirected(self) -> None:
        def http_connect(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"
            flow.request.port = 8000

        proxy, client, _ = self.hooked(http_connect=http_connect)
        other = self.raw_origin(proxy, "other.test", 8000)
        client.send(CONNECT)
        client.take()
        client.send(b"\0hello")
        self.assertEqual(other.protocols[0].data, b"\0hello")

    def test_refused_with_a_page(self) -> None:
        for status in (403, 407, 302, 500):
            proxy, client, recorder = self.hooked(
                http_connect=lambda flow, status=status: setattr(
                    flow, "response", Response.make(status, b"not for you")
                )
            )
            client.send(CONNECT)
            response = self.response(client, b"CONNECT")
            self.assertEqual((response.status_code, response.content), (status, b"not for you"))
            self.assertEqual(response.headers["Connection"], "close")
            self.assertTrue(client.closed)
            self.assertEqual(proxy.network.attempts, [])
            # None of the usual events: the flow has ended with its one.
            self.assertEqual(
                recorder.names, ["next_layer", "http_connect", "clientdisconnect"], status
            )

    def test_nothing_behind_a_refused_one_is_looked_at(self) -> None:
        proxy, client, recorder = self.hooked(
            http_connect=lambda flow: setattr(flow, "response", Response.make(403))
        )
        client.send(CONNECT + GET)
        self.assertNotIn("requestheaders", recorder.names)
        self.assertEqual(proxy.network.attempts, [])

    def test_response_of_the_hooks_own(self) -> None:
        def http_connect(flow: HTTPFlow) -> None:
            flow.response = Response.make(200, b"ignored", {"X-Proxy": "ours"})

        proxy, client, _ = self.hooked(http_connect=http_connect)
        origin = self.raw_origin(proxy)
        client.send(CONNECT)
        # RFC 9110 section 9.3.6: no content, and no field that announces any.
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nX-Proxy: ours\r\n\r\n")
        client.send(b"\0hello")
        self.assertEqual(origin.protocols[0].data, b"\0hello")

    def test_other_success(self) -> None:
        proxy, client, _ = self.hooked(
            http_connect=lambda flow: setattr(flow, "response", Response.make(204))
        )
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 204 "))
        self.assertEqual(len(proxy.network.attempts), 1)

    def test_killed(self) -> None:
        proxy, client, recorder = self.hooked(http_connect=lambda flow: flow.kill())
        client.send(CONNECT)
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(self.code(recorder), "killed")

    def test_paused(self) -> None:
        proxy, client, recorder = self.hooked(http_connect=lambda flow: flow.intercept())
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertEqual((client.received, proxy.network.attempts), (b"", []))
        recorder.arguments("intercept")[0].resume()
        proxy.flush()
        self.assertEqual(client.received, ESTABLISHED)

    def test_fails_closed(self) -> None:
        for hook in (lambda flow: 1 / 0, Waiting()):
            proxy, client, recorder = self.started(Guard(http_connect=hook), hook_timeout=3)
            client.send(CONNECT)
            proxy.advance(3)
            self.assertEqual(self.response(client, b"CONNECT").status_code, 502)
            self.assertEqual(proxy.network.attempts, [])
            self.assertEqual(self.code(recorder), "hook-failed")

    def test_server_that_cannot_be_reached(self) -> None:
        _, client, recorder = self.started()
        client.send(CONNECT)
        response = self.response(client, b"CONNECT")
        self.assertEqual(response.status_code, 502)
        self.assertIn("connect-refused", response.text or "")
        self.assertEqual(self.code(recorder), "connect-refused")

    def test_kept_connection(self) -> None:
        """Requests may come before a CONNECT on the same connection."""
        proxy, client, recorder = self.started()
        proxy.origin().respond(OK)
        client.send(GET + CONNECT)
        self.assertEqual(client.received, OK + ESTABLISHED)
        self.assertEqual(recorder.names.count("http_connect"), 1)

    def test_http_1_0(self) -> None:
        proxy, client, _ = self.started()
        origin = self.raw_origin(proxy)
        client.send(b"CONNECT example.test:80 HTTP/1.0\r\n\r\n")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
        client.send(b"\0hello")
        self.assertEqual(origin.protocols[0].data, b"\0hello")

    def test_only_for_proxies(self) -> None:
        proxy, client, recorder = self.started(mode=REVERSE)
        client.send(CONNECT)
        response = self.response(client, b"CONNECT")
        self.assertEqual(response.status_code, 405)
        self.assertIn("connect-not-allowed", response.text or "")
        self.assertEqual(proxy.network.attempts, [])
        self.assertNotIn("http_connect", recorder.names)
        self.assertEqual(self.code(recorder), "connect-not-allowed")
        self.assertTrue(client.closed)

    def test_not_inside_of_a_tunnel(self) -> None:
        proxy, client, recorder = self.started()
        origin = self.raw_origin(proxy)
        client.send(CONNECT)
        client.take()
        client.send(CONNECT)
        self.assertEqual(self.response(client, b"CONNECT").status_code, 405)
        self.assertEqual(recorder.names.count("http_connect"), 1)
        self.assertEqual(origin.protocols[0].data, b"")


class TunnelTestCase(EventTestCase):
    """Opens a tunnel to an origin that speaks no HTTP."""

    def tunnel(
        self, **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, HalfCloseRecorder, EventRecorder]:
        proxy, client, recorder = self.started(**options)
        origin = self.raw_origin(proxy)
        client.send(CONNECT)
        client.take()
        return proxy, client, origin.protocols[0], recorder


class TunnelTests(TunnelTestCase):
    """Bytes that are not understood pass untouched."""

    def test_both_ways(self) -> None:
        proxy, client, origin, recorder = self.tunnel()
        client.send(b"\0one")
        origin.write(b"two")
        proxy.flush()
        client.send(b"three")
        self.assertEqual((origin.data, client.received), (b"\0onethree", b"two"))
        names = recorder.names
        self.assertEqual(names[names.index("tcp_start") - 1], "next_layer")
        self.assertEqual(recorder.arguments("next_layer")[-1].name, "tcp")

    def test_bytes_behind_the_connect(self) -> None:
        proxy, client, _ = self.started()
        origin = self.raw_origin(proxy)
        client.send(CONNECT + b"\0early")
        self.assertEqual(origin.protocols[0].data, b"\0early")

    def test_server_that_speaks_first(self) -> None:
        proxy, client, origin, _ = self.tunnel()
        origin.write(b"220 hello\r\n")
        proxy.flush()
        self.assertEqual(client.received, b"220 hello\r\n")
        # Whatever it looks like, it is no request: the server has spoken first.
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(origin.data, b"GET / HTTP/1.1\r\n\r\n")

    def test_byte_by_byte(self) -> None:
        _, client, origin, _ = self.tunnel(chunk=1)
        for byte in b"SSH-2.0-client\r\n":
            client.send(bytes((byte,)))
        self.assertEqual(origin.data, b"SSH-2.0-client\r\n")

    def test_http_is_met_by_the_hooks(self) -> None:
        recorder = EventRecorder(
            requestheaders=lambda flow: flow.request.headers.add("X-Seen", "1")
        )
        proxy = self.proxy(recorder)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        client.send(CONNECT)
        client.take()
        client.send(b"GET /a HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(client.received, OK)
        self.assertEqual(origin.requests[0].headers["X-Seen"], "1")
        [flow] = recorder.arguments("request")
        self.assertEqual(flow.request.url, "http://example.test/a")
        # The tunnel's own connection is used.
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_host_field_decides_nothing(self) -> None:
        """The request goes to the tunnel's end, whatever it says it is for."""
        proxy, client, recorder = self.started()
        origin = proxy.origin().respond(OK)
        client.send(CONNECT)
        client.send(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
        self.assertEqual(len(origin.requests), 1)
        [flow] = recorder.arguments("request")
        self.assertEqual(
            (flow.request.host, flow.request.pretty_host), ("example.test", "other.test")
        )
        self.assertEqual(proxy.network.attempts, [("example.test", 80)])


class HalfCloseTests(TunnelTestCase):
    """The end of one direction is not that of the other."""

    def test_client_ends_first(self) -> None:
        proxy, client, origin, _ = self.tunnel()
        client.send(b"\0all")
        client.end()
        self.assertEqual((origin.data, origin.ended, origin.lost), (b"\0all", True, None))
        origin.write(b"answer")
        proxy.flush()
        self.assertEqual((client.received, client.closed), (b"answer", False))
        origin.close()
        proxy.flush()
        self.assertTrue(client.closed)

    def test_server_ends_first(self) -> None:
        proxy, client, origin, recorder = self.tunnel()
        client.send(b"\0")
        origin.write(b"bye")
        origin.close_write()
        proxy.flush()
        self.assertEqual((client.received, client.peer.ended), (b"bye", True))
        self.assertIsNone(client.peer.lost)
        client.send(b"more")
        self.assertEqual(origin.data, b"\0more")
        client.close()
        self.assertTrue(origin.ended)
        self.assertEqual(recorder.names.count("serverdisconnect"), 1)
        self.assertEqual(recorder.names.count("clientdisconnect"), 1)

    def test_client_that_only_ends(self) -> None:
        proxy, client, origin, _ = self.tunnel()
        client.end()
        self.assertTrue(origin.ended)
        origin.write(b"still here")
        proxy.flush()
        self.assertEqual(client.received, b"still here")

    def test_before_the_tunnel_is_open(self) -> None:
        proxy, client, _ = self.started()
        proxy.network.delay(("example.test", 80), 5)
        origin = self.raw_origin(proxy)
        client.send(CONNECT + b"\0all")
        client.end()
        proxy.advance(5)
        self.assertEqual(origin.protocols[0].data, b"\0all")
        self.assertTrue(origin.protocols[0].ended)

    def test_reset_is_passed_on(self) -> None:
        proxy, client, origin, _ = self.tunnel()
        client.send(b"\0")
        origin.transport.abortConnection()
        proxy.flush()
        self.assertEqual((client.peer.lost_with or object).__name__, "ConnectionLost")

    def test_slow_reader_stops_the_writer(self) -> None:
        proxy, client, origin, _ = self.tunnel()
        client.send(b"\0")
        client.link.client.pauseProducing()
        origin.write(bytes(1_000_000))
        proxy.flush()
        self.assertGreater(len(origin.transport.buffer), 500_000)
        client.link.client.resumeProducing()
        proxy.flush()
        self.assertEqual(len(client.received), 1_000_000)

    def test_idle(self) -> None:
        proxy, client, origin, _ = self.tunnel(tunnel_idle_timeout=100)
        client.send(b"\0")
        proxy.advance(99)
        origin.write(b"x")
        proxy.flush()
        proxy.advance(99)
        self.assertFalse(client.closed)
        proxy.advance(1)
        self.assertTrue(client.closed)
        self.assertTrue(origin.ended)


class UpgradeTests(EventTestCase):
    """Upgrade (RFC 9110 section 7.8): with 101 the connection becomes a tunnel."""

    UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
    SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"

    def upgraded(self, *addons: object) -> tuple[MemoryProxy, MemoryClient, Any, EventRecorder]:
        proxy, client, recorder = self.started(*addons)
        origin = self.raw_origin(proxy)
        client.send(self.UPGRADE)
        return proxy, client, origin.protocols[0], recorder

    def test_becomes_a_tunnel(self) -> None:
        proxy, client, origin, recorder = self.upgraded()
        request = origin.take()
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: other\r\n", request)
        origin.write(self.SWITCHING)
        proxy.flush()
        self.assertEqual(client.take(), self.SWITCHING)
        client.send(b"hello")
        origin.write(b"there")
        proxy.flush()
        self.assertEqual((origin.data, client.received), (b"hello", b"there"))
        names = recorder.names
        before = names[: names.index("tcp_start")]
        self.assertEqual(before[-3:], ["responseheaders", "response", "next_layer"])
        self.assertEqual(recorder.arguments("next_layer")[-1].name, "tcp")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.response.status_code, 101)

    def test_bytes_behind_the_101(self) -> None:
        proxy, client, origin, _ = self.upgraded()
        origin.write(self.SWITCHING + b"early")
        proxy.flush()
        self.assertEqual(client.received, self.SWITCHING + b"early")

    def test_bytes_while_a_hook_waits(self) -> None:
        waiting = Waiting()
        addon = Guard(response=waiting)
        proxy, client, origin, _ = self.upgraded(addon)
        origin.write(self.SWITCHING + b"ear")
        proxy.flush()
        origin.write(b"ly")
        origin.close_write()
        client.send(b"too")
        self.assertEqual(client.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, self.SWITCHING + b"early")
        self.assertTrue(origin.data.endswith(b"too"))
        self.assertTrue(client.peer.ended)

    def test_headers_may_be_changed(self) -> None:
        addon = Guard(responseheaders=lambda flow: flow.response.headers.add("X-Seen", "1"))
        proxy, client, origin, _ = self.upgraded(addon)
        origin.write(self.SWITCHING)
        proxy.flush()
        self.assertIn(b"X-Seen: 1\r\n", client.received)

    def test_refused_by_the_server(self) -> None:
        proxy, client, origin, recorder = self.upgraded()
        origin.write(OK)
        proxy.flush()
        self.assertEqual(client.take(), OK)
        origin.take()
        # HTTP goes on, on both sides.
        client.send(GET)
        self.assertTrue(origin.data.startswith(b"GET / HTTP/1.1\r\n"))
        self.assertEqual(recorder.names.count("serverconnect"), 1)

    def test_refused_by_a_hook(self) -> None:
        def responseheaders(flow: HTTPFlow) -> None:
            flow.response = Response.make(403, b"no")

        proxy, client, origin, _ = self.upgraded(Guard(responseheaders=responseheaders))
        origin.write(self.SWITCHING)
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 403)
        self.assertIsNotNone(origin.lost)

    def test_offer_taken_away_by_a_hook(self) -> None:
        def requestheaders(flow: HTTPFlow) -> None:
            flow.request.headers = Headers([(b"Host", b"example.test")])

        proxy, client, origin, recorder = self.upgraded(Guard(requestheaders=requestheaders))
        self.assertNotIn(b"pgrade", origin.data)
        origin.write(self.SWITCHING)
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.ends(recorder), ["error"])

    def test_unasked(self) -> None:
        proxy, client, recorder = self.started()
        origin = self.raw_origin(proxy)
        client.send(GET)
        origin.protocols[0].write(self.SWITCHING)
        proxy.flush()
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.ends(recorder), ["error"])

    def test_killed_in_response(self) -> None:
        proxy, client, origin, recorder = self.upgraded(Guard(response=lambda flow: flow.kill()))
        origin.write(self.SWITCHING)
        proxy.flush()
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertIsNotNone(origin.lost)
        self.assertEqual(self.ends(recorder), ["response"])


class HTTPConnectedTests(EventTestCase):
    """``http_connected(flow)``."""

    def test_before_the_client_hears_of_it(self) -> None:
        seen: list[object] = []

        def http_connected(flow: HTTPFlow) -> None:
            assert flow.response is not None
            seen.append((flow.response.status_code, flow.live, client.received))
            flow.response.headers["X-A"] = "1"

        proxy, client, _ = self.hooked(http_connected=http_connected)
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertEqual(seen, [(200, True, b"")])
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"\r\nX-A: 1\r\n", client.received)

    def test_waited_for(self) -> None:
        waiting = Waiting(False)
        proxy, client, _ = self.hooked(http_connected=waiting)
        self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertEqual(client.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(client.received, ESTABLISHED)

    def test_killed(self) -> None:
        proxy, client, recorder = self.hooked(http_connected=lambda flow: flow.kill())
        origin = self.raw_origin(proxy)
        client.send(CONNECT)
        self.assertTrue(client.closed)
        self.assertEqual(client.received, b"")
        self.assertEqual(recorder.arguments("error")[0].error.code, "killed")
        proxy.flush()
        self.assertTrue(origin.protocols[0].ended)

    def test_not_where_there_is_no_tunnel(self) -> None:
        for action in (None, lambda flow: setattr(flow, "response", Response.make(403))):
            actions = {} if action is None else {"http_connect": action}
            _, client, recorder = self.hooked(**actions)
            client.send(CONNECT)
            self.assertNotIn(b" 200 ", client.received)
            self.assertNotIn("http_connected", recorder.names)

    def test_lazily(self) -> None:
        proxy, client, recorder = self.started(connection_strategy="lazy")
        client.send(CONNECT)
        self.assertEqual(client.received, ESTABLISHED)
        self.assertIn("http_connected", recorder.names)
        self.assertEqual(proxy.network.attempts, [])
