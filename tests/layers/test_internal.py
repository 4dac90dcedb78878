"""Hosts that the proxy answers for by itself."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.http import Request, Response
from interceptor.model.connections import ClientConnection
from interceptor.testing import PROXY_ADDRESS, EventRecorder, MemoryProxy

GET = b"GET http://inside.test/page HTTP/1.1\r\nHost: inside.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class InternalTestCase(SynchronousTestCase):
    """Makes proxies that answer for ``inside.test``; no such server is in their network."""

    def start(self, *addons: object, **options: Any) -> tuple[MemoryProxy, EventRecorder]:
        self.asked: list[Request] = []
        recorder = EventRecorder()
        proxy = MemoryProxy(recorder, *addons, **options)
        self.addCleanup(proxy.close)
        proxy.environment.internal_hosts[b"inside.test"] = self.answer
        return proxy, recorder

    def answer(self, request: Request, client_conn: ClientConnection) -> Response:
        self.asked.append(request)
        assert client_conn.sockname == PROXY_ADDRESS
        return Response.make(200, b"the page", {"X-Inside": "yes"})


class ProxyTests(InternalTestCase):
    """Requests that name the host."""

    def test_no_server_is_asked(self):
        proxy, recorder = self.start()
        response = proxy.get("http://inside.test/page")
        self.assertEqual((response.text, response.headers["X-Inside"]), ("the page", "yes"))
        self.assertNotIn("serverconnect", recorder.names)

    def test_hooks_see_an_ordinary_exchange(self):
        proxy, recorder = self.start()
        proxy.get("http://inside.test/page")
        names = [name for name in recorder.names if name.startswith(("request", "response"))]
        self.assertEqual(names, ["requestheaders", "request", "responseheaders", "response"])
        [flow] = recorder.arguments("response")
        self.assertIsNone(flow.server_conn.address)
        self.assertFalse(flow.server_conn.connected())

    def test_case_and_port_do_not_matter(self):
        proxy, _ = self.start()
        self.assertEqual(proxy.get("http://INSIDE.test:8000/page").text, "the page")

    def test_other_hosts_are_servers(self):
        proxy, _ = self.start()
        proxy.origin("outside.test").respond(OK)
        client = proxy.client().send(GET)
        client.take()
        client.send(b"GET http://outside.test/ HTTP/1.1\r\nHost: inside.test\r\n\r\n")
        self.assertEqual(client.take(), OK)

    def test_head_has_the_length_and_no_body(self):
        proxy, _ = self.start()
        client = proxy.client().send(GET.replace(b"GET", b"HEAD"))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: 8", head)
        self.assertEqual(rest, b"")
        client.send(GET)
        self.assertTrue(client.take().endswith(b"\r\n\r\nthe page"))

    def test_a_body_is_taken_and_forgotten(self):
        for streams in (False, True):
            proxy, _ = self.start(stream_large_bodies=10 if streams else None)
            body = b"Content-Length: 40000\r\n\r\n" + bytes(40000)
            client = proxy.client().send(GET.replace(b"GET", b"POST")[:-2] + body + GET)
            self.assertEqual(client.take().count(b"the page"), 2)

    def test_hooks_may_send_a_request_there(self):
        class Redirect:
            def request(self, flow: Any) -> None:
                flow.request.host = "inside.test"

        proxy, _ = self.start(Redirect())
        self.assertEqual(proxy.get("http://outside.test/").text, "the page")

    def test_hooks_may_edit_the_response(self):
        class Edit:
            def response(self, flow: Any) -> None:
                flow.response.text = "edited"

        proxy, _ = self.start(Edit())
        self.assertEqual(proxy.get("http://inside.test/page").text, "edited")


class TunnelTests(InternalTestCase):
    """CONNECT to the host."""

    def test_nobody_is_connected_to(self):
        for strategy in ("auto", "eager", "lazy"):
            proxy, recorder = self.start(connection_strategy=strategy)
            client = proxy.client().send(b"CONNECT inside.test:80 HTTP/1.1\r\n\r\n")
            self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
            client.send(b"GET /page HTTP/1.1\r\nHost: inside.test\r\n\r\n")
            self.assertTrue(client.take().endswith(b"the page"))
            self.assertNotIn("serverconnect", recorder.names)


class ReverseTests(InternalTestCase):
    """A reverse proxy, which tells the host by the Host field."""

    def reverse(self, **options: Any) -> MemoryProxy:
        proxy, _ = self.start(mode="reverse:http://example.test", **options)
        self.origin = proxy.origin().respond(OK)
        return proxy

    def test_the_host_field_decides(self):
        for keep in (False, True):
            client = self.reverse(keep_host_header=keep).client()
            for host in (b"inside.test", b"Inside.Test:8080"):
                client.send(b"GET /page HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
                self.assertTrue(client.take().endswith(b"the page"))
            self.assertEqual([request.path for request in self.asked], ["/page", "/page"])
            self.assertEqual(self.asked[1].headers["Host"], "Inside.Test:8080")
            self.assertEqual(self.origin.requests, [])

    def test_other_hosts_are_the_server(self):
        for host, keep, seen in (
            (b"proxy.test:8080", False, "example.test"),
            (b"proxy.test:8080", True, "proxy.test:8080"),
            (b"example.test", False, "example.test"),
        ):
            client = self.reverse(keep_host_header=keep).client()
            client.send(b"GET /page HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            self.assertEqual(client.take(), OK)
            self.assertEqual([each.headers["Host"] for each in self.origin.requests], [seen])
