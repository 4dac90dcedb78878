"""wget, Python's HTTP libraries, git and pip through the proxy."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

from twisted.web.resource import Resource
from twisted.web.static import Data, File
from twisted.web.twcgi import CGIScript

from tests.functional.harness import FunctionalTestCase, require
from tests.functional.origins import Chunked, Echo, tree

LARGE = bytes(range(256)) * 4096 * 4


class WgetTests(FunctionalTestCase):
    """GNU wget."""

    async def start(self) -> None:
        self.wget = require("wget")
        self.files = self.directory / "files"
        self.files.mkdir()
        (self.files / "large.bin").write_bytes(LARGE)
        (self.files / "page.html").write_text('<a href="other.html">other</a>')
        (self.files / "other.html").write_text("other")
        self.origin = await self.start_site(File(str(self.files)))
        self.proxy = await self.start_proxy()
        self.downloads = self.directory / "downloads"
        self.downloads.mkdir()

    async def fetch(self, *arguments: str) -> None:
        await self.check_program(
            self.wget, "--quiet", "--tries=1", "--timeout=20", *arguments,
            cwd=self.downloads, http_proxy=self.proxy.url,
        )  # fmt: skip

    async def test_download(self):
        await self.start()
        await self.fetch(f"{self.origin.url}/large.bin")
        self.assertEqual((self.downloads / "large.bin").read_bytes(), LARGE)

    async def test_continue_a_download(self):
        await self.start()
        (self.downloads / "large.bin").write_bytes(LARGE[:1_000_000])
        await self.fetch("--continue", f"{self.origin.url}/large.bin")
        self.assertEqual((self.downloads / "large.bin").read_bytes(), LARGE)

    async def test_follow_links_over_one_connection(self):
        await self.start()
        await self.fetch(
            "--recursive", "--no-host-directories", "-e", "robots=off",
            f"{self.origin.url}/page.html",
        )  # fmt: skip
        self.assertEqual((self.downloads / "other.html").read_text(), "other")
        self.assertEqual(self.origin.accepted, 1)


PYTHON_CHECKS = """
import sys
proxy, origin = sys.argv[1:]
large = bytes(range(256)) * 4096

def parts():
    for _ in range(4):
        yield b"part"
"""
"""What each program below begins with; each one asserts and ends silently."""


class PythonClientTests(FunctionalTestCase):
    """Each library as its own process, so that the origin can live in the test's."""

    async def check(self, program: str) -> None:
        """Run a program that is given the proxy's and the origin's URLs."""
        origin = await self.start_site(
            tree(
                echo=Echo(),
                chunked=Chunked(b"one,", b"two"),
                large=File(str(self.write("large", bytes(range(256)) * 4096))),
            )
        )
        proxy = await self.start_proxy()
        text = PYTHON_CHECKS + textwrap.dedent(program)
        await self.check_program(sys.executable, "-c", text, proxy.url, origin.url)

    async def test_urllib(self):
        await self.check(
            """
            import json, urllib.request
            from urllib.error import HTTPError
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
            assert opener.open(origin + "/large").read() == large
            assert opener.open(origin + "/chunked").read() == b"one,two"
            with opener.open(origin + "/echo", data=b"posted") as answer:
                seen = json.load(answer)
            assert (seen["method"], seen["body"]) == ("POST", "posted"), seen
            request = urllib.request.Request(origin + "/echo", data=parts(), method="PUT")
            request.add_header("Transfer-Encoding", "chunked")
            assert json.load(opener.open(request))["body"] == "part" * 4
            try:
                opener.open(origin + "/missing")
            except HTTPError as error:
                assert error.code == 404
            else:
                raise AssertionError("no 404")
            """
        )

    async def test_requests(self):
        await self.check(
            """
            import requests
            with requests.Session() as session:
                session.proxies = {"http": proxy}
                assert session.get(origin + "/large", timeout=20).content == large
                assert session.get(origin + "/chunked", timeout=20).text == "one,two"
                seen = session.post(origin + "/echo", data={"a": "b c"}, timeout=20).json()
                assert seen["body"] == "a=b+c", seen
                seen = session.put(origin + "/echo", data=parts(), timeout=20).json()
                assert seen["body"] == "part" * 4, seen
                answer = session.head(origin + "/large", timeout=20)
                assert answer.headers["Content-Length"] == str(len(large)), answer.headers
                answer = session.get(origin + "/large", headers={"Range": "bytes=1-3"}, timeout=20)
                assert (answer.status_code, answer.content) == (206, bytes([1, 2, 3]))
            """
        )

    async def test_httpx(self):
        await self.check(
            """
            import httpx
            with httpx.Client(proxy=proxy, timeout=20) as client:
                assert client.get(origin + "/large").content == large
                seen = client.post(origin + "/echo", json={"a": 1}).json()
                assert seen["body"].replace(" ", "") == '{"a":1}', seen
                assert client.post(origin + "/echo", content=parts()).json()["body"] == "part" * 4
                with client.stream("GET", origin + "/chunked") as answer:
                    assert b"".join(answer.iter_raw()) == b"one,two"
            """
        )

    async def test_aiohttp(self):
        await self.check(
            """
            import asyncio, aiohttp

            async def main():
                async with aiohttp.ClientSession() as session:
                    async def get(path):
                        async with session.get(origin + path, proxy=proxy) as answer:
                            return await answer.read()

                    assert await get("/large") == large
                    answers = await asyncio.gather(*(get("/chunked") for _ in range(20)))
                    assert answers == [b"one,two"] * 20
                    url = origin + "/echo"
                    async with session.post(url, data=b"posted", proxy=proxy) as answer:
                        assert (await answer.json())["body"] == "posted"

                    async def slowly():
                        for part in parts():
                            await asyncio.sleep(0.01)
                            yield part

                    async with session.put(url, data=slowly(), proxy=proxy) as answer:
                        assert (await answer.json())["body"] == "part" * 4

            asyncio.run(main())
            """
        )


WEBSOCKET_ORIGIN = """
import asyncio
from aiohttp import web

async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket

async def main():
    application = web.Application()
    application.router.add_get("/echo", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

WEBSOCKET_CLIENT = """
import asyncio, sys
import aiohttp

async def main(url, proxy=None):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url + "/echo", proxy=proxy) as socket:
            for size in (0, 1, 125, 126, 65535, 65536, 500_000):
                await socket.send_bytes(bytes(size))
                assert await socket.receive_bytes(timeout=10) == bytes(size), size
            await socket.close()
            assert socket.close_code == 1000, socket.close_code

asyncio.run(main(*sys.argv[1:]))
"""


class UpgradeTests(FunctionalTestCase):
    """A protocol that the proxy does not speak, begun by an Upgrade."""

    async def test_websocket_messages_pass(self):
        process = self.start_process(sys.executable, "-c", WEBSOCKET_ORIGIN)
        await process.until(lambda p: p.out.endswith(b"\n"))
        origin = f"http://127.0.0.1:{int(process.out)}"
        proxy = await self.start_proxy("regular", f"reverse:{origin}")
        regular, reverse = (listener.url for listener in proxy.listeners)
        await self.check_program(sys.executable, "-c", WEBSOCKET_CLIENT, origin, regular)
        await self.check_program(sys.executable, "-c", WEBSOCKET_CLIENT, reverse)


class GitBackend(CGIScript):
    """git's own CGI program, with the environment that it asks for."""

    def __init__(self, program: str, root: Path) -> None:
        super().__init__(program)
        self.root = root

    def render(self, request: Any) -> int:
        # CGIScript joins the segments to a text.
        request.postpath = [segment.decode() for segment in request.postpath]
        result: int = super().render(request)
        return result

    def runProcess(self, env: dict[str, Any], request: Any, qargs: Any = ()) -> None:
        env.update(GIT_PROJECT_ROOT=str(self.root), GIT_HTTP_EXPORT_ALL="1", HOME=str(self.root))
        super().runProcess(env, request, list(qargs))


class GitTests(FunctionalTestCase):
    """git over http."""

    timeout = 120

    async def git(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        completed = await self.check_program(
            self.program,
            "-c", "user.name=Tester", "-c", "user.email=tester@example.invalid",
            "-c", "init.defaultBranch=main", "-c", "protocol.version=2", *self.proxied, *arguments,
            cwd=cwd, GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0",
        )  # fmt: skip
        return completed.out.decode().strip()

    async def test_clone_push_and_fetch(self):
        self.program = require("git")
        backend = require("git-http-backend")
        self.proxied: list[str] = []
        served = self.directory / "served"
        await self.git("init", "--bare", served / "project.git")
        await self.git("config", "http.receivepack", "true", cwd=served / "project.git")
        origin = await self.start_site(tree(git=GitBackend(backend, served)))
        proxy = await self.start_proxy()
        self.proxied = ["-c", f"http.proxy={proxy.url}"]
        url = f"{origin.url}/git/project.git"

        await self.git("clone", url, "first")
        first, second = self.directory / "first", self.directory / "second"
        # Larger than git's http.postBuffer (1 MiB): the push is chunked.
        noise = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(40_000))
        (first / "noise.bin").write_bytes(noise)
        await self.git("add", ".", cwd=first)
        await self.git("commit", "-q", "-m", "Add noise", cwd=first)
        await self.git("push", "-q", "origin", "HEAD:main", cwd=first)

        await self.git("clone", "-q", "-b", "main", url, "second")
        self.assertEqual((second / "noise.bin").read_bytes(), noise)

        (second / "words.txt").write_text("words\n")
        await self.git("add", ".", cwd=second)
        await self.git("commit", "-q", "-m", "Add words", cwd=second)
        await self.git("push", "-q", "origin", "HEAD:main", cwd=second)
        await self.git("pull", "-q", "origin", "main", cwd=first)
        self.assertEqual((first / "words.txt").read_text(), "words\n")


class PipTests(FunctionalTestCase):
    """pip with a package index of one package."""

    def make_wheel(self, directory: Path) -> Path:
        """Write a wheel by hand; it holds one module."""
        name = directory / "trifle-1.0-py3-none-any.whl"
        files = {
            "trifle.py": b"answer = 42\n",
            "trifle-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: trifle\nVersion: 1.0\n",
            "trifle-1.0.dist-info/WHEEL": (
                b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            ),
        }
        record = ""
        with zipfile.ZipFile(name, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                record += f"{path},sha256={digest.decode()},{len(data)}\n"
            record += "trifle-1.0.dist-info/RECORD,,\n"
            archive.writestr("trifle-1.0.dist-info/RECORD", record)
        return name

    async def test_install_from_an_index(self):
        files = self.directory / "files"
        files.mkdir()
        wheel = self.make_wheel(files)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        page = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'.encode()
        simple, project = Resource(), Resource()
        simple.putChild(b"trifle", project)
        project.putChild(b"", Data(page, "text/html"))
        origin = await self.start_site(tree(simple=simple, files=File(str(files))))
        proxy = await self.start_proxy()
        target = self.directory / "target"
        await self.check_program(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input",
            "--proxy", proxy.url, "install", "--quiet", "--no-cache-dir", "--retries", "0",
            "--index-url", f"{origin.url}/simple/", "--target", target, "trifle",
            PIP_CONFIG_FILE="/dev/null",
        )  # fmt: skip
        self.assertEqual((target / "trifle.py").read_text(), "answer = 42\n")
        self.assertGreaterEqual(origin.accepted, 1)


class ScriptedClientTests(FunctionalTestCase):
    """A hook script changes what an ordinary client gets."""

    async def test_request_and_response_are_changed(self):
        script = self.write(
            "change.py",
            """\
def request(flow):
    flow.request.headers["X-Added"] = "by the script"


def response(flow):
    flow.response.headers["X-Seen"] = flow.request.method
    flow.response.text = flow.response.text.replace("by the script", "for the client")
""",
        )
        origin = await self.start_site(tree(echo=Echo()))
        proxy = await self.start_proxy(scripts=[script])
        completed = await self.check_program(
            require("curl"), "--silent", "--include", "-x", proxy.url, f"{origin.url}/echo"
        )
        head, _, body = completed.out.partition(b"\r\n\r\n")
        self.assertIn(b"X-Seen: GET", head)
        named = dict(json.loads(body)["headers"])
        self.assertEqual(named["x-added"], "for the client")
