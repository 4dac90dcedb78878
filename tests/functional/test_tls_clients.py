"""Programs that trust the proxy's authority, on https origins, in regular and in reverse mode.

A script marks each response, so that a program that found its own way to the origin is caught.
"""

from __future__ import annotations

import hashlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from twisted.web.resource import Resource
from twisted.web.static import Data, File

from tests.functional import test_clients
from tests.functional.harness import require
from tests.functional.origins import Chunked, Echo, Fixed, tree
from tests.functional.pki import PKITestCase
from tests.functional.test_browser import BROWSE, PAGE, PICTURE
from tests.functional.test_browser import SCRIPT as PAGE_SCRIPT
from tests.functional.test_clients import GitBackend

LARGE = bytes(range(256)) * 4096

MARK = """
from interceptor import http


def http_connect(flow):
    # Browsers ask for hosts of their makers by themselves.
    if flow.request.host != "localhost":
        flow.response = http.Response.make(403)


def responseheaders(flow):
    assert flow.request.scheme == "https"
    flow.response.headers["X-Marked"] = "yes"
"""


class ClientTestCase(PKITestCase):
    """An https origin behind a proxy with two listeners, a regular one and one in reverse mode."""

    async def start(self, **resources: Any) -> None:
        resources.setdefault("echo", Echo())
        resources.setdefault("chunked", Chunked(b"one,", b"two"))
        resources.setdefault("large", File(str(self.write("large", LARGE))))
        await self.start_site_behind(tree(**resources))

    async def start_site_behind(self, site: Any) -> None:
        origin = await self.start_tls_site(site)
        self.proxy = await self.start_tls_proxy(
            "regular",
            f"reverse:https://localhost:{origin.port}",
            scripts=[self.write("mark.py", MARK)],
        )
        self.origin = origin
        # What a client is given: the URL, and the proxy if there is one to be used.
        front = f"https://localhost:{self.proxy.listeners[1].port}"
        self.ways = ((f"https://localhost:{origin.port}", self.proxy.url), (front, ""))


class CurlTests(ClientTestCase):
    """curl."""

    async def test_both_modes(self):
        curl = require("curl")
        await self.start()
        for url, proxy in self.ways:
            shared = ["-sS", "--max-time", "30", "--cacert", str(self.ca_file)]
            shared += ["-x", proxy] if proxy else []
            completed = await self.check_program(
                curl, *shared, "-w", "%header{x-marked} %{http_version} %{ssl_verify_result}",
                "-o", "large.out", f"{url}/large",
                "-o", "chunked.out", f"{url}/chunked",
            )  # fmt: skip
            self.assertEqual(completed.out, b"yes 1.1 0" * 2)
            self.assertEqual((self.directory / "large.out").read_bytes(), LARGE)
            self.assertEqual((self.directory / "chunked.out").read_bytes(), b"one,two")
            # Above 1 MiB curl expects to be told to continue.
            body = self.write("body", LARGE * 2)
            completed = await self.check_program(
                curl, *shared, "--data-binary", f"@{body}", f"{url}/echo"
            )
            self.assertEqual(json.loads(completed.out)["length"], len(LARGE) * 2)


PYTHON = """
import asyncio, json, sys
url, proxy, ca = sys.argv[1:]
large = bytes(range(256)) * 4096

def check(headers):
    assert headers["X-Marked"] == "yes", headers

"""


class PythonTests(ClientTestCase):
    """Python's libraries, each told of the authority in its own way."""

    async def check(self, program: str) -> None:
        await self.start()
        for url, proxy in self.ways:
            text = PYTHON + textwrap.dedent(program)
            await self.check_program(sys.executable, "-c", text, url, proxy, self.ca_file)

    async def test_urllib(self):
        await self.check(
            """
            import ssl, urllib.request
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({"https": proxy} if proxy else {}),
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
            )
            with opener.open(url + "/large") as answer:
                assert answer.read() == large
                check(answer.headers)
            """
        )

    async def test_requests(self):
        await self.check(
            """
            import requests
            with requests.Session() as session:
                session.proxies = {"https": proxy} if proxy else {}
                session.verify = ca
                answer = session.get(url + "/large", timeout=20)
                assert answer.content == large
                check(answer.headers)
                seen = session.post(url + "/echo", data={"a": "b c"}, timeout=20).json()
                assert seen["body"] == "a=b+c", seen
                assert session.get(url + "/chunked", timeout=20).text == "one,two"
            """
        )

    async def test_httpx(self):
        await self.check(
            """
            import httpx, ssl
            context = ssl.create_default_context(cafile=ca)
            with httpx.Client(proxy=proxy or None, verify=context, timeout=20) as client:
                answer = client.get(url + "/large")
                assert answer.content == large
                check(answer.headers)
                seen = client.post(url + "/echo", json={"a": 1}).json()
                assert seen["body"].replace(" ", "") == '{"a":1}', seen
            """
        )

    async def test_aiohttp(self):
        await self.check(
            """
            import aiohttp, ssl
            context = ssl.create_default_context(cafile=ca)

            async def main():
                async with aiohttp.ClientSession() as session:
                    async def get(path):
                        settings = {"proxy": proxy or None, "ssl": context}
                        async with session.get(url + path, **settings) as answer:
                            check(answer.headers)
                            return await answer.read()
                    answers = await asyncio.gather(*(get("/large") for _ in range(8)))
                    assert all(answer == large for answer in answers)
                    assert await get("/chunked") == b"one,two"

            asyncio.run(main())
            """
        )


NODE = """
const http = require('http'), https = require('https'), tls = require('tls');
const [url, proxy] = process.argv.slice(2);

// A tunnel by hand: fetch of this version knows of no proxies.
function tunnelled(target) {
  return new Promise((resolve, reject) => {
    const {hostname, port} = new URL(target), way = new URL(proxy);
    const connect = http.request({
      host: way.hostname, port: way.port, method: 'CONNECT', path: `${hostname}:${port}`,
    });
    connect.on('error', reject);
    connect.on('connect', (answer, socket) => {
      if (answer.statusCode !== 200) return reject(new Error(answer.statusCode));
      const secured = tls.connect({socket, servername: hostname, ALPNProtocols: ['http/1.1']});
      https.get(target, {createConnection: () => secured}, async (response) => {
        const parts = [];
        for await (const part of response) parts.push(part);
        resolve([response.headers['x-marked'], Buffer.concat(parts).length]);
      }).on('error', reject);
    });
    connect.end();
  });
}

async function fetched(target) {
  const answer = await fetch(target);
  return [answer.headers.get('x-marked'), (await answer.arrayBuffer()).byteLength];
}

(async () => {
  const get = proxy ? tunnelled : fetched;
  console.log(JSON.stringify([await get(`${url}/large`), await get(`${url}/chunked`)]));
})();
"""


class NodeTests(ClientTestCase):
    """Node's https module in a tunnel, and its fetch; ``interceptor run`` proxies fetch too."""

    async def test_both_modes(self):
        node = require("node", "nodejs")
        await self.start()
        program = self.write("client.js", NODE)
        for url, proxy in self.ways:
            completed = await self.check_program(
                node, program, url, proxy, NODE_EXTRA_CA_CERTS=str(self.ca_file)
            )
            self.assertEqual(json.loads(completed.out), [["yes", len(LARGE)], ["yes", 7]])


JAVA = """
import java.net.*;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var builder = HttpClient.newBuilder();
        if (arguments.length > 2) {
            var way = new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2]));
            builder.proxy(ProxySelector.of(way));
        }
        var client = builder.build();
        for (var path : new String[] {"/large", "/chunked"}) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0] + path)).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            System.out.println(answer.headers().firstValue("X-Marked").orElse("no") + " "
                + answer.body().length + " " + answer.version());
        }
    }
}
"""


class JavaTests(ClientTestCase):
    """The platform's HttpClient, with the authority's PKCS #12 file as its trust store."""

    async def test_both_modes(self):
        java = require("java")
        await self.start()
        source = self.write("Client.java", JAVA)
        for url, proxy in self.ways:
            way = ["127.0.0.1", str(self.proxy.port)] if proxy else []
            completed = await self.check_program(
                java, f"-Djavax.net.ssl.trustStore={self.ca_file.with_suffix('.p12')}",
                "-Djavax.net.ssl.trustStoreType=PKCS12", "-Djavax.net.ssl.trustStorePassword=",
                source, url, *way,
            )  # fmt: skip
            wanted = f"yes {len(LARGE)} HTTP_1_1\nyes 7 HTTP_1_1\n"
            self.assertEqual(completed.out.decode(), wanted)


class GitTests(ClientTestCase):
    """git over https: a clone by one way, a push and a fetch by the other."""

    timeout = 120

    async def git(self, *arguments: str | Path, cwd: Path | None = None) -> bytes:
        completed = await self.check_program(
            self.program,
            "-c", "user.name=Tester", "-c", "user.email=tester@example.invalid",
            "-c", "init.defaultBranch=main", *arguments,
            cwd=cwd, GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0",
        )  # fmt: skip
        return completed.out

    async def test_both_modes(self):
        self.program = require("git")
        backend = require("git-http-backend")
        served = self.directory / "served"
        await self.git("init", "-q", "--bare", served / "project.git")
        await self.git("config", "http.receivepack", "true", cwd=served / "project.git")
        await self.start(git=GitBackend(backend, served))
        for number, (url, proxy) in enumerate(self.ways):
            ours = ["-c", f"http.sslCAInfo={self.ca_file}", "-c", f"http.proxy={proxy}"]
            copy = self.directory / f"copy{number}"
            await self.git(*ours, "clone", "-q", f"{url}/git/project.git", copy)
            # Larger than git's http.postBuffer (1 MiB): the push is chunked.
            noise = b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(20_000))
            (copy / f"noise{number}").write_bytes(noise)
            await self.git("add", ".", cwd=copy)
            await self.git("commit", "-q", "-m", f"Change {number}", cwd=copy)
            await self.git(*ours, "push", "-q", "origin", "HEAD:main", cwd=copy)
        log = await self.git("log", "--format=%s", "main", cwd=served / "project.git")
        self.assertEqual(log, b"Change 1\nChange 0\n")


class PackageTests(ClientTestCase):
    """pip with an index of one package."""

    async def test_both_modes(self):
        files = self.directory / "files"
        files.mkdir()
        wheel = test_clients.PipTests().make_wheel(files)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        page = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'.encode()
        simple, project = Resource(), Resource()
        simple.putChild(b"trifle", project)
        project.putChild(b"", Data(page, "text/html"))
        await self.start(simple=simple, files=File(str(files)))
        for number, (url, proxy) in enumerate(self.ways):
            target = self.directory / f"target{number}"
            await self.check_program(
                sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input",
                *(["--proxy", proxy] if proxy else []), "--cert", self.ca_file,
                "install", "--quiet", "--no-cache-dir", "--retries", "0",
                "--index-url", f"{url}/simple/", "--target", target, "trifle",
                PIP_CONFIG_FILE="/dev/null",
            )  # fmt: skip
            self.assertEqual((target / "trifle.py").read_text(), "answer = 42\n")


class ChromiumTests(ClientTestCase):
    """Headless Chromium, with the authority in its NSS database."""

    timeout = 240

    async def test_both_modes(self):
        chromium = require("chromium", "chromium-browser", "google-chrome")
        driver, certutil = require("chromedriver"), require("certutil")
        answer = Fixed(b'{"answer": "by script"}', b"application/json")
        site: Any = tree(
            data_json=answer,
            script_js=Data(PAGE_SCRIPT.encode(), "text/javascript"),
            style_css=Data(b"body { color: rgb(1, 2, 3); }", "text/css"),
            picture_svg=Data(PICTURE, "image/svg+xml"),
        )
        site.putChild(b"", Data(PAGE.encode(), "text/html"))
        await self.start_site_behind(site)
        database = self.home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        await self.check_program(certutil, "-d", f"sql:{database}", "-N", "--empty-password")
        await self.check_program(
            certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "interceptor",
            "-i", self.ca_file,
        )  # fmt: skip
        for number, (url, proxy) in enumerate(self.ways):
            completed = await self.check_program(
                sys.executable, "-c", BROWSE, chromium, driver,
                self.directory / f"profile{number}", proxy or "direct://", f"{url}/",
                timeout=110,
            )  # fmt: skip
            shown = json.loads(completed.out)
            self.assertEqual(
                (shown["title"], shown["answer"], shown["width"], shown["color"]),
                ("loaded", "by script", 7, "rgb(1, 2, 3)"),
            )
        self.assertEqual(answer.requests, [b"/data.json"] * 2)
