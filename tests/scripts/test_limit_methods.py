from __future__ import annotations

from interceptor.http import Response
from tests.events.cases import CONNECT, GET
from tests.scripts.cases import ScriptTestCase


class LimitMethodsTests(ScriptTestCase):
    script = "limit_methods.py"

    def status(self, method: bytes, *arguments: str, url: bytes = b"http://example.test/") -> int:
        proxy, origin = self.run_script(*arguments)
        origin.respond(Response.make(200))
        client = proxy.client()
        client.send(GET.replace(b"GET http://example.test/", method + b" " + url))
        response = self.response(client, method)
        if response.status_code == 405:
            self.assertEqual(proxy.network.attempts, [])
            allowed = [each for each in arguments if each.isupper()]
            self.assertEqual(response.headers["Allow"], ", ".join(allowed))
        return response.status_code

    def test_allowed(self) -> None:
        for method in (b"GET", b"HEAD", b"M-SEARCH"):
            self.assertEqual(self.status(method, "GET", "HEAD", "M-SEARCH"), 200)

    def test_others(self) -> None:
        for method in (b"POST", b"DELETE", b"get", b"GETS", b"TRACE"):
            self.assertEqual(self.status(method, "GET", "HEAD"), 405)

    def test_filter(self) -> None:
        arguments = ("GET", "--filter", "~u", "/wiki/")
        self.assertEqual(self.status(b"POST", *arguments), 200)
        self.assertEqual(
            self.status(b"POST", *arguments, url=b"http://example.test/wiki/Page"), 405
        )

    def test_tunnels(self) -> None:
        for arguments, status in ((("GET",), b"405"), (("GET", "CONNECT"), b"200")):
            proxy, _ = self.run_script(*arguments)
            client = proxy.client()
            client.send(CONNECT)
            self.assertEqual(client.received.split()[1], status)

    def test_inside_of_a_tunnel(self) -> None:
        proxy, origin = self.run_script("GET", "CONNECT")
        client = proxy.client()
        client.send(CONNECT)
        client.take()
        client.send(b"PUT / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.response(client, b"PUT").status_code, 405)
        self.assertEqual(origin.received, b"")

    def test_body_is_not_waited_for(self) -> None:
        proxy, _ = self.run_script("GET")
        client = proxy.client()
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        )
        self.assertEqual(self.response(client, b"POST").status_code, 405)

    def test_fails_closed(self) -> None:
        proxy, _ = self.run_script("GET")
        self.check_failing_closed(proxy)

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("get",),
            ("GET POST",),
            ("GET", "--filter"),
            ("--filter", "~all"),
            ("GET", "--filter", "~c ("),
            ("GET", "--filter", "~b body"),
        )
