"""The page of ``http://interceptor.internal/``."""

from __future__ import annotations

import base64
import hashlib
import os
from html.parser import HTMLParser
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from twisted.trial.unittest import SynchronousTestCase

from interceptor.addons.onboarding import Onboarding
from interceptor.addons.onboardingpage import DOWNLOADS, Facts, render_notice, render_page
from interceptor.errors import AuthorityError, OptionsError
from interceptor.http import Request, Response
from interceptor.net.authority import Authority
from interceptor.testing import MemoryProxy
from interceptor.trusthelp import GUIDES

FACTS = Facts("interceptor CA 1234", "AB:CD:EF", "2036-01-02", ("192.0.2.7", 8080))
VOID = frozenset(("br", "meta", "wbr"))


class Page(HTMLParser):
    """Reads a page; every element that is opened has to be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.style = ""
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.unfolded: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag == "details" and "open" in values:
            self.unfolded.append(values["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data


class PageTests(SynchronousTestCase):
    """The page as HTML."""

    def test_it_tells_of_the_certificate_and_of_the_proxy(self):
        text = Page(render_page(FACTS)).text
        for fact in ("interceptor CA 1234", "AB:CD:EF", "2036-01-02", "192.0.2.7", "8080"):
            self.assertIn(fact, text)

    def test_it_has_every_guide(self):
        text = Page(render_page(FACTS)).text
        for guide in GUIDES:
            self.assertIn(guide.title, text)
        for placeholder in ("{pem}", "{cer}", "{p12}", "{name}"):
            self.assertNotIn(placeholder, text)

    def test_it_leads_to_the_downloads_and_nowhere_else(self):
        self.assertEqual(set(Page(render_page(FACTS)).links), set(DOWNLOADS))

    def test_it_needs_neither_scripts_nor_other_files(self):
        forbidden = {"script", "img", "link", "iframe", "form", "object", "video"}
        self.assertEqual(Page(render_page(FACTS)).tags & forbidden, set())

    def test_the_guide_of_the_device_is_unfolded(self):
        for agent, keys in (
            ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/126.0 Mobile", ["android"]),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Safari/604.1", ["ios"]),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Firefox/127.0", None),
            ("curl/8.8.0", []),
        ):
            expected = sorted(keys if keys is not None else ["firefox", "windows"])
            page = Page(render_page(FACTS, agent))
            self.assertEqual(sorted(page.unfolded), expected)

    def test_markup_in_names_stays_text(self):
        facts = Facts('<b a="1">&amp;', "AB", "2036-01-02", ("<i>", 1))
        page = Page(render_page(facts))
        self.assertIn('<b a="1">&amp;', page.text)
        self.assertNotIn("i", page.tags)
        self.assertIn("<u>", Page(render_notice("<u>", "text")).text)

    def test_a_reverse_proxy_is_not_to_be_set(self):
        facts = Facts("name", "AB", "2036-01-02", None)
        self.assertNotIn("HTTPS_PROXY", render_page(facts))


class OnboardingTests(SynchronousTestCase):
    """The addon in a proxy."""

    def setUp(self):
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.authority = Authority.load(self.directory)
        self.proxy = self.start()

    def start(self, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(**options)
        self.addCleanup(proxy.close)
        proxy.tester.chain.add(Onboarding(proxy.environment.internal_hosts, self.current))
        return proxy

    def current(self) -> Authority:
        return self.authority

    def get(self, path: str, method: str = "GET") -> Response:
        return self.proxy.send(Request.make(method, f"http://interceptor.internal{path}"))

    def test_the_page(self):
        response = self.get("/?from=a+phone")
        self.assertEqual(response.status_code, 200)
        page = Page(response.text or "")
        self.assertIn(self.authority.fingerprint(), page.text)
        self.assertIn("proxy.test", page.text)

    def test_the_policy_lets_the_style_through(self):
        response = self.get("/")
        style = Page(response.text or "").style.encode()
        digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
        policy = response.headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertIn(f"style-src 'sha256-{digest}'", policy)

    def test_nothing_is_kept(self):
        for path in ("/", "/ca.pem", "/other"):
            fields = self.get(path).headers
            self.assertEqual(fields["Cache-Control"], "no-store")
            self.assertEqual(fields["X-Content-Type-Options"], "nosniff")

    def test_downloads(self):
        readers = {
            "pem": x509.load_pem_x509_certificate,
            "cer": x509.load_der_x509_certificate,
            "p12": lambda data: pkcs12.load_pkcs12(data, None).additional_certs[0].certificate,
        }
        kinds = {
            "pem": "application/pem-certificate-chain",
            "cer": "application/x-x509-ca-cert",
            "p12": "application/x-pkcs12",
        }
        for form, read in readers.items():
            response = self.get(f"/ca.{form}")
            assert response.raw_content is not None
            self.assertEqual(read(response.raw_content), self.authority.anchor)
            self.assertEqual(response.headers["Content-Type"], kinds[form])
            self.assertEqual(
                response.headers["Content-Disposition"],
                f'attachment; filename="interceptor-ca-cert.{form}"',
            )
            self.assertNotIn(b"PRIVATE", response.raw_content)

    def test_head(self):
        whole = self.get("/ca.cer")
        head = self.get("/ca.cer", "HEAD")
        self.assertEqual((head.status_code, head.raw_content), (200, b""))
        self.assertEqual(head.headers["Content-Length"], whole.headers["Content-Length"])

    def test_other_paths(self):
        for path in ("/other", "/ca.key", "/ca.pem/", "/../ca.pem"):
            self.assertEqual(self.get(path).status_code, 404)

    def test_other_methods(self):
        response = self.get("/", "POST")
        self.assertEqual((response.status_code, response.headers["Allow"]), (405, "GET, HEAD"))

    def test_an_authority_that_cannot_be_used(self):
        def fail() -> Authority:
            raise AuthorityError("the CA file <x> is missing", "ca-missing")

        proxy = MemoryProxy()
        self.addCleanup(proxy.close)
        proxy.tester.chain.add(Onboarding(proxy.environment.internal_hosts, fail))
        response = proxy.get("http://interceptor.internal/")
        self.assertEqual(response.status_code, 503)
        self.assertIn("the CA file <x> is missing", Page(response.text or "").text)

    def test_it_can_be_off(self):
        proxy = self.start(onboarding=False)
        proxy.origin("interceptor.internal").respond(Response.make(200, b"a server's"))
        self.assertEqual(proxy.get("http://interceptor.internal/").text, "a server's")
        proxy.options.update(onboarding=True)
        self.assertIn("Trust interceptor", proxy.get("http://interceptor.internal/").text or "")
        proxy.options.update(onboarding=False)
        self.assertEqual(proxy.get("http://interceptor.internal/").text, "a server's")

    def test_the_host_can_be_another(self):
        self.proxy.options.update(onboarding_host="Trust.Test")
        self.assertEqual(self.proxy.get("http://trust.test/").status_code, 200)
        self.assertEqual(self.proxy.get("http://interceptor.internal/").status_code, 502)

    def test_a_faulty_host_is_refused(self):
        error = self.assertRaises(OptionsError, self.proxy.options.update, onboarding_host="a b")
        self.assertIn("option `onboarding_host`: ", str(error))
        self.assertEqual(self.get("/").status_code, 200)

    def test_it_leaves_with_the_chain(self):
        self.proxy.tester.close()
        self.assertEqual(self.proxy.environment.internal_hosts, {})

    def test_in_reverse_mode(self):
        self.proxy = self.start(mode="reverse:http://example.test")
        client = self.proxy.client().send(
            b"GET / HTTP/1.1\r\nHost: interceptor.internal:8080\r\n\r\n"
        )
        response = client.response()
        assert response is not None
        page = Page(response.text or "")
        self.assertIn(self.authority.fingerprint(), page.text)
        self.assertNotIn("HTTPS_PROXY", page.text)
