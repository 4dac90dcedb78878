from __future__ import annotations

import gzip

from interceptor.http import Response
from tests.events.cases import GET, LAST_CHUNK, chunk
from tests.scripts.cases import ScriptTestCase

HTML = {"Content-Type": "text/html; charset=utf-8"}


class RewriteBodyTests(ScriptTestCase):
    script = "rewrite_body.py"

    def rewritten(self, response: Response | bytes, *arguments: str) -> Response:
        proxy, origin = self.run_script(*arguments)
        origin.respond(response)
        return proxy.get("http://example.test/")

    def test_pattern(self) -> None:
        response = self.rewritten(
            Response.make(200, "A colour, a color.", HTML), "colou?r", "farbe"
        )
        self.assertEqual(response.text, "A farbe, a farbe.")
        self.assertEqual(response.headers["Content-Length"], "17")

    def test_groups(self) -> None:
        response = self.rewritten(Response.make(200, "ab", HTML), "(a)(b)", r"\2\1")
        self.assertEqual(response.text, "ba")

    def test_content_coding(self) -> None:
        response = self.rewritten(
            Response.make(200, "a colour", {**HTML, "Content-Encoding": "gzip"}), "colour", "farbe"
        )
        self.assertEqual(gzip.decompress(response.raw_content or b""), b"a farbe")

    def test_charset(self) -> None:
        response = self.rewritten(
            Response.make(
                200, "grün".encode("latin-1"), {"Content-Type": "text/plain; charset=latin-1"}
            ),
            "ü",
            "ö",
        )
        self.assertEqual(response.raw_content, "grön".encode("latin-1"))

    def test_what_was_true_of_the_old_body_goes(self) -> None:
        stale = {"ETag": '"x"', "Content-MD5": "x", "Digest": "x"}
        response = self.rewritten(Response.make(200, "old", {**HTML, **stale}), "old", "new")
        for name in stale:
            self.assertNotIn(name, response.headers)
        response = self.rewritten(Response.make(200, "other", {**HTML, **stale}), "old", "new")
        self.assertIn("ETag", response.headers)

    def test_only_text_unless_told(self) -> None:
        for kind, searched in (
            ("text/plain", True),
            ("application/json", True),
            ("application/problem+json", True),
            ("application/javascript", True),
            ("image/svg+xml", True),
            ("image/png", False),
            ("application/octet-stream", False),
        ):
            response = self.rewritten(
                Response.make(200, b"old", {"Content-Type": kind}), "old", "new"
            )
            self.assertEqual(response.content, b"new" if searched else b"old", kind)

    def test_filter(self) -> None:
        other = Response.make(200, b"old", {"Content-Type": "image/png"})
        self.assertEqual(self.rewritten(other, "old", "new", "~c 200").content, b"new")
        self.assertEqual(self.rewritten(other, "old", "new", "~c 404").content, b"old")

    def test_server_is_asked_for_what_can_be_rewritten(self) -> None:
        proxy, origin = self.run_script("old", "new")
        origin.respond(Response.make(200, "old", HTML))
        proxy.get("http://example.test/", {"Accept-Encoding": "gzip, zz", "Range": "bytes=0-10"})
        [request] = origin.requests
        self.assertEqual(request.headers["Accept-Encoding"], "gzip")
        self.assertNotIn("Range", request.headers)

    def test_damaged_body_passes_as_it_is(self) -> None:
        damaged = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 3\r\n\r\nold"
        )
        self.assertEqual(self.rewritten(damaged, "old", "new").raw_content, b"old")

    def test_event_streams_pass_at_once(self) -> None:
        proxy, origin = self.run_script("old", "new")
        client = proxy.client()
        client.send(GET)
        origin.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"data: old\n\n")
        )
        self.assertTrue(client.received.endswith(chunk(b"data: old\n\n")))
        origin.send(LAST_CHUNK)
        self.assertEqual(self.response(client).content, b"data: old\n\n")

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("old",),
            ("old", "new", "~all", "more"),
            ("(", "new"),
            ("old", r"\1"),
            ("old", r"\g<name>"),
            ("old", "new", "~c ("),
        )
