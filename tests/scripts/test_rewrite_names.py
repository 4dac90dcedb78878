from __future__ import annotations

from pathlib import Path

from interceptor import dns
from interceptor.testing import MemoryProxy
from tests.scripts.cases import ScriptTestCase, spec


class RewriteNamesTests(ScriptTestCase):
    script = "rewrite_names.py"

    def run_names(self, *arguments: str) -> MemoryProxy:
        """Return a proxy with the script, in front of a resolver that knows every name."""
        proxy = self.proxy(spec(self.script, *arguments), mode="dns:9.9.9.9")

        def answer(query: bytes) -> bytes:
            request = dns.Request.from_wire(query)
            return dns.Response.make(request, ["192.0.2.99", "2001:db8::99"]).to_wire()

        proxy.datagram_server("9.9.9.9", 53).answer = answer
        return proxy

    def ask(self, proxy: MemoryProxy, name: str, kind: str = "A") -> list[str]:
        """The data of the answers, or the code of the refusal."""
        client = proxy.datagram_client()
        client.send(dns.Request.make(name, kind).to_wire())
        [data] = client.received
        response = dns.Response.from_wire(data)
        if response.rcode != "NOERROR":
            return [response.rcode]
        return [record.data for record in response.answers]

    def test_addresses(self) -> None:
        proxy = self.run_names("api.example=127.0.0.1", "API.example.=127.0.0.2", "api.example=::1")
        self.assertEqual(self.ask(proxy, "Api.Example"), ["127.0.0.1", "127.0.0.2"])
        self.assertEqual(self.ask(proxy, "api.example", "AAAA"), ["::1"])
        self.assertEqual(self.ask(proxy, "api.example", "MX"), [])
        self.assertEqual(self.ask(proxy, "www.api.example"), ["192.0.2.99"])

    def test_other_names(self) -> None:
        proxy = self.run_names("api.example=staging.example")
        self.assertEqual(self.ask(proxy, "api.example"), ["staging.example", "192.0.2.99"])

    def test_hidden_names(self) -> None:
        proxy = self.run_names(
            "!.ads.example", "!exact.example", ".a.b=192.0.2.1", "c.a.b=192.0.2.2"
        )
        for name in ("ads.example", "x.ads.example", "y.x.ads.example", "exact.example"):
            self.assertEqual(self.ask(proxy, name), ["NXDOMAIN"], name)
        for name in ("bads.example", "x.exact.example", "example"):
            self.assertEqual(self.ask(proxy, name), ["192.0.2.99"], name)
        self.assertEqual(self.ask(proxy, "d.a.b"), ["192.0.2.1"])
        self.assertEqual(self.ask(proxy, "c.a.b"), ["192.0.2.2"])

    def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text("# names\n\napi.example = 127.0.0.1\n!ads.example\n")
        proxy = self.run_names(f"@{path}", "other.example=192.0.2.1")
        self.assertEqual(self.ask(proxy, "api.example"), ["127.0.0.1"])
        self.assertEqual(self.ask(proxy, "ads.example"), ["NXDOMAIN"])
        self.assertEqual(self.ask(proxy, "other.example"), ["192.0.2.1"])

    def test_fails_closed(self) -> None:
        proxy = self.run_names("a.example=192.0.2.1")
        assert proxy.bus.dns_request is not None
        self.assertTrue(proxy.bus.dns_request.fail_closed)

    def test_arguments(self) -> None:
        path = Path(self.mktemp())
        path.write_text("a.example=192.0.2.1\nb.example\n")
        self.check_refusals(
            (),
            ("a.example",),
            ("!a.example=1.2.3.4",),
            ("a..b=192.0.2.1",),
            ("a=b..c",),
            ("a=",),
            ("@/no/such/file",),
        )
        self.assertIn("line 2", self.refusal(f"@{path}"))
        path.write_bytes(b"\xff\xfe")
        self.refusal(f"@{path}")
