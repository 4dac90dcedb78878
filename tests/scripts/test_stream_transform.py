from __future__ import annotations

from itertools import combinations

from interceptor.http import Response
from tests.events.cases import GET, LAST_CHUNK, OK_CHUNKED, chunk
from tests.scripts.cases import ScriptTestCase

HEAD = OK_CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n")


class StreamTransformTests(ScriptTestCase):
    script = "stream_transform.py"

    def transformed(self, *parts: bytes, old: str = "abab", new: str = "X") -> bytes:
        proxy, origin = self.run_script(old, new)
        client = proxy.client()
        client.send(GET)
        origin.send(HEAD)
        for part in parts:
            origin.send(chunk(part))
        origin.send(LAST_CHUNK)
        return self.response(client).content or b""

    def test_in_one_piece(self) -> None:
        self.assertEqual(self.transformed(b"..abab..abab"), b"..X..X")

    def test_however_it_is_cut(self) -> None:
        whole = b"abaababab.ab"
        expected = whole.replace(b"abab", b"X")
        for first, second in combinations(range(1, len(whole)), 2):
            parts = whole[:first], whole[first:second], whole[second:]
            self.assertEqual(self.transformed(*parts), expected, parts)

    def test_byte_by_byte(self) -> None:
        whole = b"ab.abab.ababab"
        parts = [bytes((byte,)) for byte in whole]
        self.assertEqual(self.transformed(*parts), whole.replace(b"abab", b"X"))

    def test_beginning_of_a_match_at_the_end(self) -> None:
        self.assertEqual(self.transformed(b"..aba"), b"..aba")

    def test_nothing_is_gathered(self) -> None:
        proxy, origin = self.run_script("secret", "hidden")
        client = proxy.client()
        client.send(GET)
        origin.send(HEAD + chunk(b"one"))
        self.assertTrue(client.received.endswith(chunk(b"one")))
        origin.send(chunk(b"two sec"))
        self.assertTrue(client.received.endswith(chunk(b"two ")))
        origin.send(chunk(b"ret"))
        self.assertTrue(client.received.endswith(chunk(b"hidden")))

    def test_length_and_validators_go(self) -> None:
        proxy, origin = self.run_script("old", "newer")
        origin.respond(Response.make(200, b"old", {"Content-Type": "text/plain", "ETag": '"x"'}))
        response = proxy.get("http://example.test/")
        self.assertEqual(response.content, b"newer")
        self.assertNotIn("ETag", response.headers)
        self.assertNotIn("Content-Length", response.headers)

    def test_server_is_asked_for_plain_and_whole_bodies(self) -> None:
        proxy, origin = self.run_script("old", "new")
        origin.respond(Response.make(200))
        proxy.get("http://example.test/", {"Accept-Encoding": "br", "Range": "bytes=0-10"})
        [request] = origin.requests
        self.assertEqual(request.headers.get("Accept-Encoding", "identity"), "identity")
        self.assertNotIn("Range", request.headers)

    def test_what_passes_unchanged(self) -> None:
        plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nold"
        for whole in (
            plain.replace(b"text/plain", b"image/png"),
            plain.replace(b"200", b"206"),
            plain.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n"),
        ):
            proxy, origin = self.run_script("old", "new")
            client = proxy.client()
            origin.respond(whole)
            client.send(GET)
            self.assertEqual(client.received, whole)

    def test_filter(self) -> None:
        proxy, origin = self.run_script("old", "new", "~u /this")
        origin.respond(Response.make(200, b"old"))
        self.assertEqual(proxy.get("http://example.test/this").content, b"new")
        self.assertEqual(proxy.get("http://example.test/that").content, b"old")

    def test_responses_do_not_meet(self) -> None:
        """What one response held back is not the next one's."""
        proxy, origin = self.run_script("abab", "X")
        origin.respond(Response.make(200, b"aba", {"Content-Type": "text/plain"}))
        client = proxy.client()
        client.send(GET + GET)
        self.assertEqual([self.response(client).content for _ in range(2)], [b"aba", b"aba"])

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("old",),
            ("old", "new", "~all", "more"),
            ("", "new"),
            ("old", "new", "~c ("),
        )
