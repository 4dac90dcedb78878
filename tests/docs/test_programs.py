"""Examples of the manual that need a real reactor: whole programs, threads, time, files."""

from __future__ import annotations

import hashlib
import os
import signal
import sys

from tests.docs.manual import EXAMPLES, example
from tests.functional.harness import (
    STOP_TIMEOUT,
    FunctionalTestCase,
    Listener,
    RunningProcess,
    parse_listening,
    require,
)
from tests.functional.origins import Fixed, TLSMaterial, tree


class CurlTestCase(FunctionalTestCase):
    """A test with curl as the client."""

    async def curl(self, proxy: str, *arguments: str) -> str:
        done = await self.check_program(
            require("curl"), "--silent", "--include", "--proxy", proxy, *arguments
        )
        return done.out.decode()


class EmbeddingTests(CurlTestCase):
    async def start(self, name: str, count: int = 1) -> tuple[RunningProcess, list[Listener]]:
        process = self.start_process(sys.executable, "-u", EXAMPLES / name)
        await process.until(lambda p: len(parse_listening(p.out)) == count)
        return process, parse_listening(process.out)

    async def stop(self, process: RunningProcess, *statuses: int) -> None:
        process.signal(signal.SIGTERM)
        ended = await process.ended(STOP_TIMEOUT)
        self.assertIn(ended.status, statuses, process.report())
        self.assertNotIn(b"Traceback", ended.err, process.report())

    async def greets(self, name: str, *statuses: int) -> None:
        origin = await self.start_site(tree(page=Fixed(b"page")))
        process, (listener,) = await self.start(name)
        answer = await self.curl(listener.url, f"{origin.url}/page")
        self.assertIn("X-Greeting: hello\r\n", answer)
        self.assertTrue(answer.endswith("\r\n\r\npage"))
        await self.stop(process, *statuses)

    async def test_in_a_twisted_program(self):
        await self.greets("embed_twisted.py", 0, -signal.SIGTERM)

    async def test_in_an_asyncio_program(self):
        await self.greets("embed_asyncio.py", 0)

    async def test_two_in_one_process(self):
        origin = await self.start_site(tree(page=Fixed(b"page")))
        process, listeners = await self.start("embed_two.py", 2)
        for listener, label in zip(listeners, ("first", "second"), strict=True):
            answer = await self.curl(listener.url, f"{origin.url}/page")
            self.assertIn(f"X-Label: {label}\r\n", answer)
        await self.stop(process, 0, -signal.SIGTERM)


class TrialTests(FunctionalTestCase):
    async def test_examples_are_tests_that_trial_runs(self):
        """In a directory of the reader's, by the command in the manual."""
        for name, count in (("tutorial", 2), ("memo", 3)):
            for file in (f"{name}.py", f"test_{name}.py"):
                self.write(file, (EXAMPLES / file).read_bytes())
            trial = (sys.executable, "-m", "twisted.trial", f"./test_{name}.py")
            done = await self.check_program(*trial)
            self.assertIn(f"Ran {count} tests".encode(), done.out)


class TutorialTests(CurlTestCase):
    async def test_from_the_first_script_to_its_change(self):
        origin = await self.start_site(tree(other=Fixed(b"other")))
        script = self.write("first.py", (EXAMPLES / "tutorial.py").read_bytes())
        proxy = await self.start_proxy(scripts=[script])

        answer = await self.curl(proxy.url, "http://example.com/hello")
        self.assertTrue(answer.endswith("\r\n\r\nHello from the proxy!\n"))
        answer = await self.curl(proxy.url, f"{origin.url}/other")
        self.assertIn("X-Seen-By: interceptor\r\n", answer)
        await proxy.process.until(lambda p: f"GET {origin.url}/other 200".encode() in p.out)
        self.assertRegex(
            proxy.process.out.decode(),
            r"(?m)^127\.0\.0\.1:\d+ GET http://example\.com/hello 200 - 22b \d+(\.\d)?ms$",
        )
        self.assertIn(f"info: {origin.url}/other got 200", proxy.log)

        changed = (EXAMPLES / "tutorial.py").read_text().replace("the proxy!", "the new version!")
        self.write("first.py", changed)
        await proxy.process.until(lambda p: b"was loaded again" in p.err)
        answer = await self.curl(proxy.url, "http://example.com/hello")
        self.assertTrue(answer.endswith("Hello from the new version!\n"))

        self.write("first.py", "def request(flow:\n")
        await proxy.process.until(lambda p: b"the old version goes on" in p.err)
        answer = await self.curl(proxy.url, "http://example.com/hello")
        self.assertTrue(answer.endswith("Hello from the new version!\n"))


class HookTests(CurlTestCase):
    async def test_a_hook_that_blocks(self):
        origin = await self.start_site(tree(page=Fixed(b"page")))
        kept = self.directory / "kept"
        os.mkdir(kept)
        proxy = await self.start_proxy(scripts=[example("blocking.py", str(kept))])
        await self.curl(proxy.url, f"{origin.url}/page")
        name = hashlib.sha256(b"page").hexdigest()
        self.assertEqual((kept / name).read_bytes(), b"page")

    async def test_a_slow_stream(self):
        origin = await self.start_site(tree(page=Fixed(b"page")))
        proxy = await self.start_proxy(scripts=[example("slow_stream.py")])
        answer = await self.curl(proxy.url, f"{origin.url}/page")
        self.assertTrue(answer.endswith("\r\n\r\npage"))
        self.assertNotIn("error", proxy.log)


class TLSTests(CurlTestCase):
    """What the manual says of https, with curl."""

    async def test_the_script_of_the_tutorial_changes_an_https_page(self):
        material = TLSMaterial(self.directory)
        origin = await self.start_site(tree(page=Fixed(b"page")), material.contexts())
        command = [sys.executable, "-m", "interceptor", "run", "-s", str(EXAMPLES / "tutorial.py")]
        command += ["--set", f"confdir={self.directory / 'conf'}"]
        command += ["--set", f"ssl_verify_upstream_trusted_ca={material.certificate_file}"]
        curl = [require("curl"), "--silent", "--include", f"{origin.tls_url}/page"]
        done = await self.check_program(*command, "~c 200", "--", *curl)
        self.assertIn(b"\r\nx-seen-by: interceptor\r\n", done.out)
        self.assertTrue(done.out.endswith(b"page"))
        self.assertIn(f"GET {origin.tls_url}/page 200 text/plain 4b".encode(), done.err)

    async def test_a_client_that_pins_and_what_is_learned_of_it(self):
        material = TLSMaterial(self.directory)
        origin = await self.start_site(tree(page=Fixed(b"page")), material.contexts())
        proxy = await self.start_proxy(
            scripts=[example("learned.py")], arguments=["--set", "tls_passthrough_learn=true"]
        )
        pinned = [require("curl"), "-sS", "--cacert", str(material.certificate_file)]
        pinned += ["--proxy", proxy.url, f"{origin.tls_url}/page"]
        self.assertEqual((await self.run_program(*pinned)).status, 60)
        self.assertEqual((await self.check_program(*pinned)).out, b"page")
        await proxy.process.until(lambda p: b"passes through from now on" in p.err)

        host = f"127.0.0.1:{origin.port}"
        listed = await self.curl(proxy.url, "http://learned.internal/")
        self.assertRegex(listed, rf"\r\n\r\n{host} 3\d\d\ds\n\Z")
        removed = await self.curl(proxy.url, "-X", "DELETE", f"http://learned.internal/{host}")
        self.assertTrue(removed.startswith("HTTP/1.1 204 "))
        self.assertEqual((await self.run_program(*pinned)).status, 60)
