"""nginx, Python's and Node's servers behind the proxy, in regular and in reverse mode."""

from __future__ import annotations

from typing import Any

from tests.functional.harness import Completed, FunctionalTestCase, require
from tests.functional.origins import start_nginx, start_node, start_python

TEXT = b"All work and no play makes Jack a dull boy.\n" * 50
LARGE = bytes(range(256)) * 4096 * 4


class OriginTestCase(FunctionalTestCase):
    """Two files, served by the origin that a test starts, fetched by curl in both modes."""

    def setUp(self) -> None:
        super().setUp()
        self.curl_program = require("curl")
        self.write("files/small.txt", TEXT)
        self.write("files/large.bin", LARGE)
        self.files = self.directory / "files"

    async def start_both(self, port: int) -> None:
        """Start one proxy that listens in both modes."""
        origin = f"http://127.0.0.1:{port}"
        proxy = await self.start_proxy("regular", f"reverse:{origin}")
        regular, reverse = proxy.listeners
        self.assertEqual(regular.mode, "regular")
        # What curl is told in each mode: the proxy, if any, and where the origin seems to be.
        self.ways = [(["--proxy", regular.url], origin), ([], reverse.url)]

    async def fetch(self, *arguments: Any, stdin: bytes = b"") -> list[Completed]:
        """Run curl in both modes; ``ORIGIN`` in an argument stands for the origin's URL."""
        results = []
        for proxy, origin in self.ways:
            words = [
                word.replace("ORIGIN", origin) if isinstance(word, str) else word
                for word in arguments
            ]
            results.append(
                await self.check_program(
                    self.curl_program,
                    *("--silent", "--show-error", "--max-time", "30"),
                    *proxy,
                    *words,
                    stdin=stdin,
                )
            )
        return results

    async def check_files(self) -> None:
        """Fetch both files, together and apart."""
        for completed in await self.fetch("ORIGIN/small.txt", "ORIGIN/large.bin"):
            self.assertEqual(completed.out, TEXT + LARGE)
        for completed in await self.fetch("--head", "ORIGIN/small.txt"):
            self.assertIn(b" 200 ", completed.out.partition(b"\r\n")[0])
        for completed in await self.fetch("--write-out", "%{http_code}", "ORIGIN/missing"):
            self.assertTrue(completed.out.endswith(b"404"), completed.out)


class NginxTests(OriginTestCase):
    async def test_files(self):
        await self.start_both(await start_nginx(self, self.files))
        await self.check_files()

    async def test_range(self):
        await self.start_both(await start_nginx(self, self.files))
        for completed in await self.fetch("--range", "4-7", "ORIGIN/small.txt"):
            self.assertEqual(completed.out, b"work")

    async def test_several_ranges(self):
        await self.start_both(await start_nginx(self, self.files))
        for completed in await self.fetch("--range", "0-2,4-7", "--include", "ORIGIN/small.txt"):
            self.assertIn(b"multipart/byteranges", completed.out)

    async def test_not_modified(self):
        await self.start_both(await start_nginx(self, self.files))
        stamp = "If-None-Match: *"
        results = await self.fetch(
            "-H", stamp, "--write-out", "%{http_code};", "ORIGIN/small.txt", "ORIGIN/small.txt"
        )
        for completed in results:
            self.assertEqual(completed.out, b"304;304;")

    async def test_compressed_and_chunked(self):
        await self.start_both(await start_nginx(self, self.files))
        for completed in await self.fetch("--compressed", "--include", "ORIGIN/small.txt"):
            head, _, body = completed.out.partition(b"\r\n\r\n")
            self.assertIn(b"content-encoding: gzip", head.lower())
            self.assertEqual(body, TEXT)

    async def test_methods_and_fields(self):
        await self.start_both(await start_nginx(self, self.files))
        results = await self.fetch("--request", "PURGE", "-H", "X-Probe: seen", "ORIGIN/method")
        for completed in results:
            self.assertEqual(completed.out, b"PURGE seen\n")

    async def test_uploads(self):
        await self.start_both(await start_nginx(self, self.files))
        for form in (["--data-binary", "@-"], ["--upload-file", "-"]):
            for completed in await self.fetch(*form, "ORIGIN/upload", stdin=LARGE):
                self.assertIn(completed.out.split()[0], (b"POST", b"PUT"))

    async def test_a_refusal_in_the_middle_of_an_upload(self):
        await self.start_both(await start_nginx(self, self.files))
        path = self.write("great.bin", LARGE * 4)
        for expect in ("Expect: 100-continue", "Expect:"):
            results = await self.fetch(
                *("-H", expect, "--upload-file", path, "--output", "/dev/null"),
                *("--write-out", "%{http_code}", "ORIGIN/small"),
            )
            for completed in results:
                self.assertEqual(completed.out, b"413")


class PythonTests(OriginTestCase):
    async def test_files_by_http_1_1(self):
        await self.start_both(await start_python(self, self.files, "HTTP/1.1"))
        await self.check_files()

    async def test_files_by_http_1_0(self):
        await self.start_both(await start_python(self, self.files, "HTTP/1.0"))
        await self.check_files()


class NodeTests(OriginTestCase):
    async def test_files(self):
        await self.start_both(await start_node(self, self.files))
        await self.check_files()

    async def test_a_chunked_echo(self):
        await self.start_both(await start_node(self, self.files))
        results = await self.fetch("--upload-file", "-", "ORIGIN/echo", stdin=LARGE)
        for completed in results:
            self.assertEqual(completed.out, LARGE)

    async def test_trailers_are_forwarded(self):
        await self.start_both(await start_node(self, self.files))
        results = await self.fetch(
            # --raw shows the chunks as they came, and with them the trailers.
            "--raw", "-H", "TE: trailers", "--data-binary", "12345", "ORIGIN/echo",
        )  # fmt: skip
        for completed in results:
            self.assertTrue(
                completed.out.lower().endswith(b"0\r\nx-count: 5\r\n\r\n"), completed.out
            )
