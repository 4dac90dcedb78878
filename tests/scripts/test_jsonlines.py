from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from interceptor.http import HTTPFlow, Response
from interceptor.testing import MemoryProxy
from tests.events.cases import CONNECT, GET, POST
from tests.scripts.cases import ScriptTestCase, spec


class JSONLinesTests(ScriptTestCase):
    script = "jsonlines.py"

    def setUp(self) -> None:
        self.file = Path(self.mktemp())

    def lines(self, proxy: MemoryProxy) -> list[dict[str, Any]]:
        """What has been written after a while."""
        proxy.advance(0.1)
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def test_response(self) -> None:
        proxy, origin = self.run_script(str(self.file))
        origin.respond(Response.make(201, b"hello", {"Content-Type": "text/plain; charset=x"}))
        client = proxy.client()
        client.send(POST)
        [line] = self.lines(proxy)
        self.assertEqual(
            {name: line[name] for name in line if name not in ("time", "milliseconds")},
            {
                "client": "127.0.0.1",
                "method": "POST",
                "url": "http://example.test/",
                "status": 201,
                "type": "text/plain",
                "request_bytes": 5,
                "response_bytes": 5,
            },
        )
        self.assertGreater(line["time"], 1e9)
        self.assertGreaterEqual(line["milliseconds"], 0)

    def test_error(self) -> None:
        proxy, _ = self.run_script(str(self.file))
        proxy.get("http://nobody.test/")
        [line] = self.lines(proxy)
        self.assertIsNone(line["status"])
        self.assertEqual(line["error"]["code"], "connect-refused")
        self.assertIn("connection refused", line["error"]["message"])

    def test_bodies_stream_and_are_counted(self) -> None:
        proxy, origin = self.run_script(str(self.file))
        client = proxy.client()
        client.send(POST[:-1])
        self.assertTrue(origin.received.endswith(b"hell"))
        client.send(POST[-1:])
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde")
        self.assertTrue(client.received.endswith(b"abcde"))
        origin.send(b"fghij")
        [line] = self.lines(proxy)
        self.assertEqual((line["request_bytes"], line["response_bytes"]), (5, 10))

    def test_secrets_are_left_out(self) -> None:
        proxy, origin = self.run_script(str(self.file))
        origin.respond(Response.make(200))
        proxy.get("http://example.test/?a=1&access_token=xyzzy&Password=xyzzy&b=2")
        [line] = self.lines(proxy)
        self.assertNotIn("xyzzy", line["url"])
        self.assertTrue(line["url"].endswith("&b=2"))

    def test_filter(self) -> None:
        proxy, origin = self.run_script(str(self.file), "~c >= 400 | ~e")
        origin.respond(Response.make(200), Response.make(404))
        proxy.get("http://example.test/")
        proxy.get("http://example.test/")
        proxy.get("http://nobody.test/")
        self.assertEqual([line["status"] for line in self.lines(proxy)], [404, None])

    def test_tunnels(self) -> None:
        """A CONNECT is written when the tunnel is there, or cannot be had."""
        proxy, _ = self.run_script(str(self.file))
        self.raw_origin(proxy)
        proxy.client().send(CONNECT)
        [line] = self.lines(proxy)
        self.assertEqual((line["method"], line["url"]), ("CONNECT", "example.test:80"))
        proxy.client().send(CONNECT.replace(b"example", b"nobody"))
        self.assertEqual(
            [line.get("error", {}).get("code") for line in self.lines(proxy)],
            [None, "connect-refused"],
        )

    def test_a_refused_tunnel(self) -> None:
        class Refuse:
            def http_connect(self, flow: HTTPFlow) -> None:
                flow.response = Response.make(403)

        proxy = self.proxy(Refuse(), spec(self.script, str(self.file)))
        proxy.client().send(CONNECT)
        self.assertEqual([line["status"] for line in self.lines(proxy)], [403])

    def test_written_within_a_tick_and_at_the_end(self) -> None:
        proxy, origin = self.run_script(str(self.file))
        origin.respond(Response.make(200))
        client = proxy.client()
        client.send(GET + GET)
        self.assertEqual(self.file.read_text(), "")
        proxy.advance(0.1)
        self.assertEqual(len(self.file.read_text().splitlines()), 2)
        client.send(GET)
        proxy.tester.close()
        self.assertEqual(len(self.file.read_text().splitlines()), 3)

    def test_file_is_added_to_and_private(self) -> None:
        for _ in range(2):
            proxy, origin = self.run_script(str(self.file))
            origin.respond(Response.make(200))
            proxy.get("http://example.test/")
            proxy.close()
        self.assertEqual(len(self.file.read_text().splitlines()), 2)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)

    def test_full_disk_is_reported(self) -> None:
        messages = self.messages()
        proxy, origin = self.run_script("/dev/full")
        origin.respond(Response.make(200))
        proxy.get("http://example.test/")
        proxy.advance(0.1)
        self.assertTrue(any("1 flows were not written" in text for text in messages.texts))
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            (str(self.file), "~a", "more"),
            ("/no/such/directory/flows.jsonl",),
            (str(self.file), "~c ("),
            (str(self.file), "~b body"),
        )
