from __future__ import annotations

from pathlib import Path

from interceptor.http import Response
from tests.scripts.cases import ScriptTestCase


class AnswerTests(ScriptTestCase):
    script = "answer.py"

    def test_from_the_proxy(self) -> None:
        proxy, origin = self.run_script("/api/health", "200", '{"ok": true}', "application/json")
        response = proxy.get("http://example.test/api/health")
        self.assertEqual((response.status_code, response.content), (200, b'{"ok": true}'))
        self.assertEqual(response.headers["Content-Type"], "application/json")
        self.assertEqual(response.headers["Cache-Control"], "no-store")
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(origin.requests, [])

    def test_others_go_through(self) -> None:
        proxy, origin = self.run_script("/api/health", "200", "ok")
        origin.respond(Response.make(404))
        self.assertEqual(proxy.get("http://example.test/other").status_code, 404)

    def test_file(self) -> None:
        page = Path(self.mktemp() + ".html")
        page.write_text("<h1>closed</h1>")
        proxy, _ = self.run_script("~d example", "503", f"@{page}")
        response = proxy.get("http://example.test/")
        self.assertEqual((response.status_code, response.text), (503, "<h1>closed</h1>"))
        self.assertEqual(response.headers["Content-Type"], "text/html")

    def test_text_is_plain_utf_8(self) -> None:
        proxy, _ = self.run_script("~all", "200", "grün")
        response = proxy.get("http://example.test/")
        self.assertEqual(response.text, "grün")
        self.assertEqual(response.headers["Content-Type"], "text/plain; charset=utf-8")

    def test_head(self) -> None:
        proxy, _ = self.run_script("~all", "200", "hello")
        client = proxy.client()
        client.send(b"HEAD http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assertIn(b"Content-Length: 5\r\n", client.received)

    def test_body_is_not_waited_for(self) -> None:
        proxy, _ = self.run_script("~all", "200", "hello")
        client = proxy.client()
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        )
        self.assertEqual(self.response(client, b"POST").content, b"hello")

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("~all", "200"),
            ("~all", "200", "body", "text/plain", "more"),
            ("~all", "ok", "body"),
            ("~all", "99", "body"),
            ("~all", "101", "body"),
            ("~all", "600", "body"),
            ("~c (", "200", "body"),
            ("~b body", "200", "body"),
            ("~all", "200", "@/no/such/file"),
            ("~all", "200", "body", "text/plain\r\nX-Evil: 1"),
        )
