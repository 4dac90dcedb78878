from __future__ import annotations

from interceptor.http import Response
from tests.events.cases import CONNECT
from tests.scripts.cases import ScriptTestCase


class RedirectHostTests(ScriptTestCase):
    script = "redirect_host.py"

    def check(self, argument: str, url: str, address: tuple[str, int], host: str) -> None:
        proxy, _ = self.run_script(argument)
        origin = proxy.origin(*address).respond(Response.make(200))
        self.assertEqual(proxy.get(url).status_code, 200)
        self.assertEqual(origin.requests[0].headers["Host"], host)

    def test_other_host(self) -> None:
        self.check("a.test=b.test", "http://a.test/", ("b.test", 80), "b.test")

    def test_other_port(self) -> None:
        self.check("a.test=b.test:3000", "http://a.test/", ("b.test", 3000), "b.test:3000")

    def test_port_that_was_asked_for_is_kept(self) -> None:
        self.check("a.test=b.test", "http://a.test:81/", ("b.test", 81), "b.test:81")

    def test_only_one_port(self) -> None:
        self.check("a.test:81=b.test", "http://a.test:81/", ("b.test", 81), "b.test:81")
        self.check("a.test:81=b.test", "http://a.test/", ("a.test", 80), "a.test")

    def test_exact_port_comes_before_any(self) -> None:
        proxy, _ = self.run_script("a.test=b.test", "a.test:81=c.test:82")
        origin = proxy.origin("c.test", 82).respond(Response.make(200))
        self.assertEqual(proxy.get("http://a.test:81/").status_code, 200)
        self.assertEqual(len(origin.requests), 1)

    def test_addresses(self) -> None:
        self.check("[::1]:80=[::2]:8080", "http://[::1]/", ("::2", 8080), "[::2]:8080")

    def test_case(self) -> None:
        self.check("A.test=b.test", "http://a.TEST/", ("b.test", 80), "b.test")

    def test_others_go_where_they_want(self) -> None:
        self.check("a.test=b.test", "http://www.a.test/", ("www.a.test", 80), "www.a.test")

    def test_tunnels(self) -> None:
        proxy, _ = self.run_script("example.test:80=other.test:8000")
        other = self.raw_origin(proxy, "other.test", 8000)
        client = proxy.client()
        client.send(CONNECT)
        client.take()
        client.send(b"\0hello")
        self.assertEqual(other.protocols[0].data, b"\0hello")

    def test_arguments(self) -> None:
        self.check_refusals(
            (),
            ("a.test",),
            ("a.test=",),
            ("=b.test",),
            ("a.test=b.test:0",),
            ("a.test=b.test:65536",),
            ("a.test=http://b.test/",),
            ("a.test=b.test=c.test",),
            ("a.test=::1",),
            ("a test=b.test",),
        )
