"""curl through the proxy: every kind of request that its options can make."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twisted.web.static import Data, File

from tests.functional.harness import (
    Completed,
    FunctionalTestCase,
    Origin,
    ProxyProcess,
    reactor,
    require,
)
from tests.functional.origins import (
    Chunked,
    Echo,
    Endless,
    Fixed,
    ScriptedFactory,
    TLSMaterial,
    free_port,
    tree,
)

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 100
LARGE = bytes(range(256)) * 4096 * 8
UNTOUCHED = ("--set", r"ignore_hosts=^127\.0\.0\.1:")
"""Arguments with which TLS to the origins passes through."""

HOOKS = """\
def response(flow):
    flow.response.headers["X-Opened"] = flow.request.scheme
"""


class CurlTestCase(FunctionalTestCase):
    """A proxy in regular mode and one origin."""

    proxy: ProxyProcess
    origin: Origin

    async def start(self, *arguments: str) -> None:
        """Start both, the proxy with more arguments; the origin has something for every test."""
        self.curl_program = require("curl")
        self.fixed = Fixed(b"fixed\n")
        self.origin = await self.start_site(
            tree(
                echo=Echo(),
                fixed=self.fixed,
                text=File(str(self.write("text", TEXT)), "text/plain"),
                large=File(str(self.write("large", LARGE))),
                chunked=Chunked(b"one\n", b"two\n", b"three\n"),
            )
        )
        self.proxy = await self.start_proxy(arguments=arguments)

    async def curl(self, *arguments: Any, stdin: bytes = b"") -> Completed:
        """Run curl through the proxy; it has to succeed."""
        return await self.check_program(
            self.curl_program,
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--proxy",
            self.proxy.url,
            *arguments,
            stdin=stdin,
        )

    async def echo(self, *arguments: Any, stdin: bytes = b"") -> dict[str, Any]:
        """Send a request to the echo resource; give what the origin saw."""
        completed = await self.curl(*arguments, f"{self.origin.url}/echo", stdin=stdin)
        answer: dict[str, Any] = json.loads(completed.out)
        answer["named"] = dict(answer["headers"])
        return answer


class CurlTests(CurlTestCase):
    """Plain HTTP."""

    async def test_get(self):
        await self.start()
        seen = await self.echo("-H", "X-Probe: Value")
        self.assertEqual((seen["method"], seen["target"]), ("GET", "/echo"))
        self.assertEqual(seen["version"], "HTTP/1.1")
        self.assertEqual(seen["named"]["x-probe"], "Value")
        self.assertEqual(seen["named"]["host"], f"127.0.0.1:{self.origin.port}")

    async def test_hop_by_hop_fields_stay_behind(self):
        await self.start()
        seen = await self.echo(
            "--proxy-user", "user:secret", "-H", "Connection: X-Private", "-H", "X-Private: here"
        )
        for name in ("proxy-authorization", "proxy-connection", "x-private"):
            self.assertNotIn(name, seen["named"])

    async def test_offers_of_http_3_stay_behind(self):
        await self.start()
        factory = ScriptedFactory(
            b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"; ma=60\r\nConnection: close\r\n\r\nok'
        )
        origin = await self.listen(factory)
        completed = await self.curl("--include", f"{origin.url}/")
        self.assertNotIn(b"alt-svc", completed.out.lower())
        self.assertTrue(completed.out.endswith(b"\r\n\r\nok"))

    async def test_query_and_odd_characters_travel_unchanged(self):
        await self.start()
        seen = await self.curl(f"{self.origin.url}/echo/a%2Fb//c;d?e=f&g=%20h&&i=+'")
        self.assertEqual(json.loads(seen.out)["target"], "/echo/a%2Fb//c;d?e=f&g=%20h&&i=+'")

    async def test_post(self):
        await self.start()
        seen = await self.echo("--data", "name=value")
        self.assertEqual((seen["method"], seen["body"]), ("POST", "name=value"))
        self.assertEqual(seen["named"]["content-length"], "10")

    async def test_post_of_an_empty_body(self):
        await self.start()
        seen = await self.echo("--data", "")
        self.assertEqual((seen["method"], seen["length"]), ("POST", 0))
        self.assertEqual(seen["named"]["content-length"], "0")

    async def test_multipart_form(self):
        await self.start()
        path = self.write("upload.bin", LARGE[:100_000])
        seen = await self.echo("--form", "name=value", "--form", f"file=@{path}")
        self.assertIn("multipart/form-data; boundary=", seen["named"]["content-type"])
        self.assertGreater(seen["length"], 100_000)
        self.assertIn('form-data; name="name"', seen["body"])

    async def test_upload_of_unknown_length_is_chunked(self):
        await self.start()
        seen = await self.echo("--upload-file", "-", stdin=TEXT * 20)
        self.assertEqual((seen["method"], seen["length"]), ("PUT", len(TEXT) * 20))
        self.assertEqual(seen["named"]["transfer-encoding"], "chunked")
        self.assertNotIn("content-length", seen["named"])

    async def test_upload_of_a_large_file(self):
        await self.start()
        path = self.write("upload.bin", LARGE)
        seen = await self.echo("--upload-file", path)
        self.assertEqual((seen["method"], seen["length"]), ("PUT", len(LARGE)))
        self.assertEqual(seen["named"]["content-length"], str(len(LARGE)))

    async def test_expect_100_continue(self):
        await self.start()
        completed = await self.curl(
            "--verbose",
            "-H",
            "Expect: 100-continue",
            # Longer than the test has: curl must not go on by itself.
            "--expect100-timeout",
            "60",
            "--data",
            "waited for",
            f"{self.origin.url}/echo",
        )
        self.assertEqual(json.loads(completed.out)["body"], "waited for")
        self.assertIn(b"HTTP/1.1 100 Continue", completed.err)

    async def test_methods(self):
        await self.start()
        for method in ("DELETE", "OPTIONS", "PATCH", "PROPFIND"):
            seen = await self.echo("--request", method)
            self.assertEqual(seen["method"], method)

    async def test_head(self):
        await self.start()
        completed = await self.curl("--head", f"{self.origin.url}/text")
        head = completed.out.decode().lower()
        self.assertTrue(head.startswith("http/1.1 200 "), head)
        self.assertIn(f"content-length: {len(TEXT)}\r\n", head)

    async def test_a_connection_survives_head(self):
        await self.start()
        url = f"{self.origin.url}/text"
        completed = await self.curl("--head", url, "--next", "--silent", "-x", self.proxy.url, url)
        self.assertTrue(completed.out.endswith(b"\r\n\r\n" + TEXT))
        self.assertEqual(self.origin.accepted, 1)

    async def test_range(self):
        await self.start()
        completed = await self.curl("--range", "4-8", "--include", f"{self.origin.url}/text")
        self.assertTrue(completed.out.startswith(b"HTTP/1.1 206 "), completed.out)
        self.assertTrue(completed.out.endswith(b"\r\n\r\nquick"), completed.out)

    async def test_chunked_response(self):
        await self.start()
        completed = await self.curl(f"{self.origin.url}/chunked")
        self.assertEqual(completed.out, b"one\ntwo\nthree\n")

    async def test_large_response(self):
        await self.start()
        completed = await self.curl(f"{self.origin.url}/large")
        self.assertEqual(hashlib.sha256(completed.out).digest(), hashlib.sha256(LARGE).digest())

    async def test_several_urls_share_one_connection_on_either_side(self):
        await self.start()
        urls = [f"{self.origin.url}/fixed?{number}" for number in range(5)]
        completed = await self.curl("--write-out", "%{num_connects}\n", *urls)
        self.assertEqual(completed.out, b"fixed\n1\n" + b"fixed\n0\n" * 4)
        self.assertEqual(self.origin.accepted, 1)
        self.assertEqual(len(self.fixed.requests), 5)

    async def test_parallel_transfers(self):
        await self.start()
        urls = [f"{self.origin.url}/text?{number}" for number in range(20)]
        completed = await self.curl("--parallel", "--parallel-immediate", *urls)
        self.assertEqual(len(completed.out), len(TEXT) * 20)

    async def test_http_1_0(self):
        await self.start()
        completed = await self.curl("--http1.0", "--include", f"{self.origin.url}/chunked")
        head, _, body = completed.out.partition(b"\r\n\r\n")
        self.assertNotIn(b"transfer-encoding", head.lower())
        self.assertEqual(body, b"one\ntwo\nthree\n")

    async def test_an_unreachable_server_is_a_bad_gateway(self):
        await self.start()
        completed = await self.curl(
            "--write-out", "\n%{http_code}", f"http://127.0.0.1:{free_port()}/"
        )
        self.assertTrue(completed.out.endswith(b"\n502"), completed.out)

    async def test_a_truncated_response_is_not_a_complete_one(self):
        await self.start()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo little"
        origin = await self.listen(ScriptedFactory(answer))
        completed = await self.run_program(
            self.curl_program, "--silent", "--max-time", "20", "-x", self.proxy.url, origin.url
        )
        # 18: transferred a partial file; 56: failure with receiving.
        self.assertIn(completed.status, (18, 56))

    async def test_header_bytes_of_a_response_arrive_as_sent(self):
        await self.start()
        head = b"HTTP/1.1 200 Fine\r\nx-MiXeD:  spaced\r\nX-B: 2\r\nx-b: 1\r\nCONTENT-length: 2\r\n"
        origin = await self.listen(ScriptedFactory(head + b"\r\nok"))
        completed = await self.curl("--include", "--raw", origin.url)
        for line in head.split(b"\r\n"):
            self.assertIn(line, completed.out)

    async def test_a_body_until_the_end_of_the_connection(self):
        await self.start()
        origin = await self.listen(ScriptedFactory(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"))
        completed = await self.curl(origin.url, origin.url)
        self.assertEqual(completed.out, b"until the end" * 2)

    async def test_a_client_that_goes_takes_the_servers_connection_with_it(self):
        await self.start()
        endless = Endless()
        origin = await self.start_site(endless)
        completed = await self.run_program(
            self.curl_program, "--silent", "--max-time", "1", "--proxy", self.proxy.url, origin.url
        )
        self.assertEqual(completed.status, 28)
        self.assertIn(b"more more ", completed.out)
        await endless.gone.addTimeout(5, reactor())


class CurlTunnelTests(CurlTestCase):
    """CONNECT."""

    async def test_plain_http_in_a_tunnel(self):
        await self.start()
        completed = await self.curl(
            "--proxytunnel", "--verbose", "--data", "inside", f"{self.origin.url}/echo"
        )
        self.assertEqual(json.loads(completed.out)["body"], "inside")
        self.assertIn(b"CONNECT 127.0.0.1:", completed.err)

    async def test_several_requests_in_a_tunnel(self):
        await self.start()
        urls = [f"{self.origin.url}/fixed?{number}" for number in range(3)]
        completed = await self.curl("--proxytunnel", *urls)
        self.assertEqual(completed.out, b"fixed\n" * 3)
        self.assertEqual(self.origin.accepted, 1)

    async def test_ignored_tls_in_a_tunnel_is_the_servers_own(self):
        await self.start(*UNTOUCHED)
        material = TLSMaterial(self.directory)
        origin = await self.start_site(
            tree(echo=Echo(), large=Data(LARGE, "application/octet-stream")), material.contexts()
        )
        # curl trusts nothing but the origin's certificate: nobody else's could be presented.
        trust = ["--cacert", material.certificate_file]
        completed = await self.curl(*trust, "--data", "sealed", f"{origin.tls_url}/echo")
        self.assertEqual(json.loads(completed.out)["body"], "sealed")
        completed = await self.curl(*trust, f"{origin.tls_url}/large")
        self.assertEqual(hashlib.sha256(completed.out).digest(), hashlib.sha256(LARGE).digest())

    async def test_ignored_tls_of_openssl_in_a_tunnel(self):
        await self.start(*UNTOUCHED)
        openssl = require("openssl")
        material = TLSMaterial(self.directory)
        port = free_port()
        self.start_process(
            openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet",
            "-cert", material.certificate_file, "-key", material.key_file,
        )  # fmt: skip
        await self.wait_for_port(port)
        completed = await self.curl(
            "--cacert", material.certificate_file, f"https://127.0.0.1:{port}/"
        )
        self.assertIn(b"s_server", completed.out)

    async def test_tls_in_a_tunnel_is_opened_for_those_who_trust_the_authority(self):
        material = TLSMaterial(self.directory)
        trusted = f"ssl_verify_upstream_trusted_ca={material.certificate_file}"
        await self.start("--set", trusted, "-s", str(self.write("hooks.py", HOOKS)))
        origin = await self.start_site(tree(echo=Echo()), material.contexts())
        completed = await self.curl(
            *("--cacert", self.directory / "conf" / "interceptor-ca-cert.pem", "--include"),
            *("--data", "sealed", f"{origin.tls_url}/echo"),
        )
        self.assertIn(b"\r\nx-opened: https\r\n", completed.out)
        self.assertTrue(completed.out.endswith(b'"body": "sealed"}'), completed.out)

    async def test_a_server_that_nobody_vouches_for_is_not_talked_to(self):
        await self.start()
        material = TLSMaterial(self.directory)
        fixed = Fixed(b"secret")
        origin = await self.start_site(tree(fixed=fixed), material.contexts())
        completed = await self.curl(
            *("--cacert", self.directory / "conf" / "interceptor-ca-cert.pem"),
            *("--write-out", "%{http_code}", f"{origin.tls_url}/fixed"),
        )
        self.assertTrue(completed.out.endswith(b"502"), completed.out)
        self.assertEqual(fixed.requests, [])

    async def test_a_tunnel_to_nowhere_is_refused(self):
        await self.start()
        completed = await self.run_program(
            self.curl_program, "--silent", "--max-time", "20", "--proxytunnel",
            "--write-out", "%{http_connect}", "-x", self.proxy.url,
            f"http://127.0.0.1:{free_port()}/",
        )  # fmt: skip
        # The proxy may find out before it answers CONNECT or only when the client speaks.
        self.assertIn(completed.out[-3:], (b"502", b"200"))
        self.assertTrue(completed.status == 56 or b"502" in completed.out, completed)


class CurlReverseTests(CurlTestCase):
    """Reverse mode: curl knows of no proxy."""

    async def start(self, *arguments: str) -> None:
        await super().start(*arguments)
        self.proxy = await self.start_proxy(f"reverse:{self.origin.url}")

    async def curl(self, *arguments: Any, stdin: bytes = b"") -> Completed:
        here = [
            argument.replace(self.origin.url, self.proxy.url)
            if isinstance(argument, str)
            else argument
            for argument in arguments
        ]
        return await self.check_program(
            self.curl_program, "--silent", "--show-error", "--max-time", "30", *here, stdin=stdin
        )

    async def test_get(self):
        await self.start()
        seen = await self.echo()
        self.assertEqual((seen["method"], seen["target"]), ("GET", "/echo"))
        self.assertEqual(seen["named"]["host"], f"127.0.0.1:{self.origin.port}")

    async def test_chunked_upload(self):
        await self.start()
        seen = await self.echo("--upload-file", "-", stdin=TEXT)
        self.assertEqual((seen["method"], seen["length"]), ("PUT", len(TEXT)))

    async def test_several_urls_share_one_connection_on_either_side(self):
        await self.start()
        urls = [f"{self.origin.url}/fixed?{number}" for number in range(5)]
        completed = await self.curl("--write-out", "%{num_connects}\n", *urls)
        self.assertEqual(completed.out, b"fixed\n1\n" + b"fixed\n0\n" * 4)
        self.assertEqual(self.origin.accepted, 1)
