from __future__ import annotations

from pathlib import Path

from interceptor.http import Response
from tests.events.test_fail_closed import EVASIONS
from tests.scripts.cases import ScriptTestCase


class BlockTests(ScriptTestCase):
    script = "block.py"

    def test_matches_are_refused(self) -> None:
        proxy, origin = self.run_script("~d ads.example", "~m DELETE")
        proxy.origin("ads.example").respond(Response.make(200))
        origin.respond(Response.make(200))
        response = proxy.get("http://ads.example/")
        self.assertEqual((response.status_code, response.text), (403, "blocked by the proxy\n"))
        client = proxy.client()
        client.send(b"DELETE http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertEqual(self.response(client, b"DELETE").status_code, 403)
        self.assertEqual(proxy.network.attempts, [])
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)

    def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text("# a comment\n\n~d ads.example\n  ~u /track\n")
        proxy, origin = self.run_script(f"@{path}", "~m PUT")
        origin.respond(Response.make(200))
        self.assertEqual(proxy.get("http://ads.example/").status_code, 403)
        self.assertEqual(proxy.get("http://example.test/track").status_code, 403)
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)

    def test_tunnels(self) -> None:
        proxy, _ = self.run_script("~d ads.example")
        client = proxy.client()
        client.send(b"CONNECT ads.example:443 HTTP/1.1\r\nHost: ads.example:443\r\n\r\n")
        self.assertEqual(self.response(client, b"CONNECT").status_code, 403)
        self.assertTrue(client.closed)
        self.assertEqual(proxy.network.attempts, [])

    def test_false_host_field(self) -> None:
        proxy, _ = self.run_script(r"!~host ^www\.example\.com$")
        client = proxy.client()
        client.send(b"GET http://evil.test/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        self.assertEqual(self.response(client).status_code, 403)
        self.assertEqual(proxy.network.attempts, [])

    def test_no_way_of_sending_gets_round_it(self) -> None:
        for name, pieces in EVASIONS.items():
            proxy, _ = self.run_script("~host ^example.test$")
            client = proxy.client()
            for piece in pieces:
                client.send(piece)
            self.assertIn(b" 403 ", client.received, name)
            self.assertEqual(proxy.network.attempts, [], name)

    def test_fails_closed(self) -> None:
        proxy, _ = self.run_script("~d ads.example")
        self.check_failing_closed(proxy)

    def test_arguments(self) -> None:
        path = Path(self.mktemp())
        path.write_text("~m GET\n~c (\n")
        self.check_refusals((), ("~c (",), ("~b body",), ("@/no/such/file",))
        self.assertIn("line 2", self.refusal(f"@{path}"))
        path.write_bytes(b"\xff\xfe")
        self.refusal(f"@{path}")
