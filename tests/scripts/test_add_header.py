from __future__ import annotations

from interceptor.http import Response
from tests.scripts.cases import ScriptTestCase


class AddHeaderTests(ScriptTestCase):
    script = "add_header.py"

    def test_request(self) -> None:
        proxy, origin = self.run_script("request", "X-Added", "some value")
        origin.respond(Response.make(200))
        response = proxy.get("http://example.test/", {"x-added": "of the client"})
        self.assertEqual(origin.requests[0].headers.get_all("X-Added"), ["some value"])
        self.assertNotIn("X-Added", response.headers)

    def test_response(self) -> None:
        proxy, origin = self.run_script("response", "X-Added", "some value")
        origin.respond(Response.make(200, b"", {"X-Added": "of the server"}))
        response = proxy.get("http://example.test/")
        self.assertEqual(response.headers.get_all("X-Added"), ["some value"])
        self.assertNotIn("X-Added", origin.requests[0].headers)

    def test_filter(self) -> None:
        proxy, origin = self.run_script("response", "X-Frame-Options", "DENY", "~t html")
        origin.respond(
            Response.make(200, b"", {"Content-Type": "text/html"}),
            Response.make(200, b"", {"Content-Type": "text/plain"}),
        )
        self.assertIn("X-Frame-Options", proxy.get("http://example.test/").headers)
        self.assertNotIn("X-Frame-Options", proxy.get("http://example.test/").headers)

    def test_bodies_are_not_waited_for(self) -> None:
        proxy, origin = self.run_script("response", "X-Added", "1")
        client = proxy.client()
        client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        self.assertTrue(client.received.endswith(b"X-Added: 1\r\n\r\nhel"))

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("request", "X-Added"),
            ("request", "X-Added", "1", "~a", "more"),
            ("both", "X-Added", "1"),
            ("request", "X Added", "1"),
            ("request", "X-Added", "1\r\nX-Evil: 2"),
            ("request", "X-Added", "1", "~c ("),
            ("request", "X-Added", "1", "~b body"),
        )
