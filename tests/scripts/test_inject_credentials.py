from __future__ import annotations

import os
from pathlib import Path

from interceptor.http import HTTPFlow, Response
from interceptor.testing import MemoryProxy
from tests.events.cases import Hooks
from tests.scripts.cases import ScriptTestCase, spec

TOKEN = "Bearer 0123abcd"


class InjectCredentialsTests(ScriptTestCase):
    script = "inject_credentials.py"

    def setUp(self) -> None:
        self.setenv("API_AUTH", TOKEN)

    def setenv(self, name: str, value: str) -> None:
        self.patch(os, "environ", {**os.environ, name: value})

    def test_from_the_environment(self) -> None:
        proxy, origin = self.run_script("example.test=env:API_AUTH")
        origin.respond(Response.make(200))
        proxy.get("http://example.test/")
        self.assertEqual(origin.requests[0].headers["Authorization"], TOKEN)

    def test_from_a_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text("Basic dXNlcjpwYXNz\n")
        proxy, origin = self.run_script(f"Example.TEST=file:{path}")
        origin.respond(Response.make(200))
        proxy.get("http://example.test/")
        self.assertEqual(origin.requests[0].headers["Authorization"], "Basic dXNlcjpwYXNz")

    def test_other_hosts_get_nothing(self) -> None:
        proxy, _ = self.run_script("example.test=env:API_AUTH")
        for host in ("other.test", "www.example.test", "example.test.evil.test"):
            origin = proxy.origin(host).respond(Response.make(200))
            proxy.get(f"http://{host}/")
            self.assertNotIn("Authorization", origin.requests[0].headers)

    def test_false_host_field_gets_nothing(self) -> None:
        proxy, _ = self.run_script("example.test=env:API_AUTH")
        evil = proxy.origin("evil.test").respond(Response.make(200))
        client = proxy.client()
        client.send(b"GET http://evil.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n")
        self.assertNotIn(b"Authorization", evil.received)

    def test_redirected_request_gets_those_of_its_real_host(self) -> None:
        def elsewhere(flow: HTTPFlow) -> None:
            flow.request.host = "other.test"

        proxy = self.proxy(
            Hooks(requestheaders=elsewhere), spec(self.script, "example.test=env:API_AUTH")
        )
        other = proxy.origin("other.test").respond(Response.make(200))
        proxy.get("http://example.test/")
        self.assertNotIn("Authorization", other.requests[0].headers)

    def test_clients_own_is_left_alone(self) -> None:
        proxy, origin = self.run_script("example.test=env:API_AUTH")
        origin.respond(Response.make(200))
        proxy.get("http://example.test/", {"authorization": "Bearer mine"})
        self.assertEqual(origin.requests[0].headers.get_all("Authorization"), ["Bearer mine"])

    def test_arguments(self) -> None:
        self.setenv("EMPTY", " ")
        self.setenv("TWO_LINES", "a\r\nX-Evil: 1")
        self.check_refusals(
            (),
            ("example.test",),
            ("=env:API_AUTH",),
            ("example.test=API_AUTH",),
            ("example.test=env:",),
            ("example.test=env:NO_SUCH_VARIABLE",),
            ("example.test=env:EMPTY",),
            ("example.test=env:TWO_LINES",),
            ("example.test=file:/no/such/file",),
            ("example.test=env:API_AUTH", "other.test=secret"),
        )

    def test_secrets_are_told_nobody(self) -> None:
        messages = self.messages()
        self.setenv("TWO_LINES", f"{TOKEN}\r\nX-Evil: 1")
        self.assertNotIn("0123abcd", self.refusal("example.test=env:TWO_LINES"))
        proxy, origin = self.run_script("example.test=env:API_AUTH")
        origin.respond(b"not HTTP\r\n\r\n")
        proxy.get("http://example.test/")
        self.assertNotIn("0123abcd", "\n".join(messages.texts))


class DoubleTests(ScriptTestCase):
    """The script given twice."""

    script = "inject_credentials.py"

    def test_first_one_wins(self) -> None:
        first, second = Path(self.mktemp()), Path(self.mktemp())
        first.write_text("one")
        second.write_text("two")
        proxy: MemoryProxy = self.proxy(
            spec(self.script, f"example.test=file:{first}"),
            spec(self.script, f"example.test=file:{second}"),
        )
        origin = proxy.origin().respond(Response.make(200))
        proxy.get("http://example.test/")
        self.assertEqual(origin.requests[0].headers.get_all("Authorization"), ["one"])
