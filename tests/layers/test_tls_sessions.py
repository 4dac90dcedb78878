"""TLS sessions are resumed on both legs, and never across a line that trust draws."""

from __future__ import annotations

import ssl
from typing import Any

from interceptor.net.memorytls import client_context
from interceptor.testing import MemoryClient, MemoryOrigin, MemoryProxy
from tests.events.cases import Hooks
from tests.layers.tlscases import HOST, OK, TLSLayerTestCase
from tests.net.certificates import Certified, authority, issue

ROOT = authority()


class UpstreamTests(TLSLayerTestCase):
    """With servers, from one client's connection to the next."""

    def started(self, *addons: object, version: Any = None, **options: Any) -> Any:
        options.setdefault("ssl_verify_upstream_trusted_ca", self.trusted(ROOT))
        self.proxy_, _ = self.tls(*addons, **options)
        self.origin_ = self.listen(self.proxy_, version=version)
        return self.proxy_, self.origin_

    def listen(
        self,
        proxy: MemoryProxy,
        host: str = HOST,
        port: int = 443,
        *,
        certified: Certified | None = None,
        context: ssl.SSLContext | None = None,
        version: Any = None,
    ) -> MemoryOrigin:
        if context is None:
            names = (HOST, "other.test")
            context = self.server_context(certified or issue(*names, issuer=ROOT))
        if version is not None:
            context.maximum_version = version
        self.context = context
        return proxy.tls_origin(host, port, context=context).respond(OK)

    def visit(self, origin: MemoryOrigin, host: str = HOST, port: int = 443, **tls: Any) -> bool:
        """Send one request on a connection of its own, and tell whether its session was resumed."""
        client = self.proxy_.tls_client(host, port, **tls)
        self.assertEqual(self.get(client).status_code, 200)
        client.close()
        self.proxy_.advance(10)
        return bool(origin.handshakes[-1].tls.session_reused)

    def test_the_next_connection_resumes(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            _, origin = self.started(version=version)
            self.assertEqual(
                [self.visit(origin) for _ in range(4)], [False, True, True, True], version
            )

    def test_lazily_too(self):
        _, origin = self.started(connection_strategy="lazy")
        self.assertEqual([self.visit(origin) for _ in range(3)], [False, True, True])

    def test_a_resumed_connection_is_described_as_the_first_was(self):
        seen = []
        _, origin = self.started(
            Hooks(response=lambda flow: seen.append(flow.server_conn)),
        )
        self.visit(origin)
        self.assertTrue(self.visit(origin))
        self.assertEqual(seen[0].cert, seen[1].cert)
        self.assertEqual(seen[0].tls_version, seen[1].tls_version)

    def test_never_with_another_host(self):
        proxy, origin = self.started()
        other = self.listen(proxy, "other.test", context=self.context)
        self.visit(origin)
        self.assertFalse(self.visit(other, "other.test"))

    def test_never_with_another_port(self):
        proxy, origin = self.started()
        other = self.listen(proxy, port=8443, context=self.context)
        self.visit(origin)
        self.assertFalse(self.visit(other, port=8443))

    def test_never_with_another_server_name(self):
        proxy, origin = self.started()
        self.visit(origin)
        client = proxy.client().connect(HOST, 443).start_tls("other.test")
        self.assertEqual(self.get(client).status_code, 200)
        self.assertFalse(origin.handshakes[-1].tls.session_reused)

    def test_never_without_the_server_name(self):
        proxy, origin = self.started()
        self.visit(origin)
        client = proxy.client().connect(HOST, 443).start_tls(None)
        self.assertEqual(self.get(client).status_code, 200)
        self.assertFalse(origin.handshakes[-1].tls.session_reused)

    def test_never_with_another_offer_of_protocols(self):
        _, origin = self.started(http2=False)
        self.visit(origin, alpn=("http/1.1",))
        self.assertFalse(self.visit(origin, alpn=()))
        self.assertFalse(self.visit(origin, alpn=("http/1.1", "http/1.0")))
        # What is taken out of the offer makes no difference to the server.
        self.assertTrue(self.visit(origin, alpn=("h2", "http/1.1")))

    def crossing(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """A session made under one configuration is of no use under another one."""
        proxy, origin = self.started(**before)
        self.visit(origin)
        proxy.options.update(**after)
        self.assertFalse(self.visit(origin))

    def test_never_with_other_roots(self):
        self.crossing({}, {"ssl_verify_upstream_trusted_ca": self.trusted(ROOT, authority(44))})

    def test_never_with_a_client_certificate(self):
        self.crossing({}, {"client_certs": self.pem(issue("me", issuer=ROOT))})

    def test_never_with_another_client_certificate(self):
        self.crossing(
            {"client_certs": self.pem(issue("me", issuer=ROOT))},
            {"client_certs": self.pem(issue("you", issuer=ROOT))},
        )

    def test_never_with_other_versions_or_ciphers(self):
        self.crossing({}, {"tls_version_server_min": "tls1.3"})
        self.crossing({}, {"ciphers_server": "ECDHE+AESGCM"})
        self.crossing({}, {"tls_legacy_hosts": ["example"]})

    def test_never_from_a_server_that_was_not_verified(self):
        for before in ({"ssl_insecure": True}, {"ssl_insecure_hosts": ["example"]}):
            self.crossing(before, {"ssl_insecure": False, "ssl_insecure_hosts": []})

    def test_never_to_a_server_that_is_not_verified(self):
        for after in ({"ssl_insecure": True}, {"ssl_insecure_hosts": ["example"]}):
            self.crossing({}, after)

    def test_never_among_servers_that_are_not_verified(self):
        _, origin = self.started(ssl_insecure=True)
        self.assertEqual([self.visit(origin) for _ in range(3)], [False] * 3)

    def test_a_bad_server_stays_bad(self):
        # Nothing that an exception let in is there when the exception is gone.
        proxy, _ = self.started(ssl_insecure_hosts=["example"])
        origin = self.listen(proxy, certified=issue(HOST))
        self.visit(origin)
        proxy.options.update(ssl_insecure_hosts=[])
        self.assertEqual(self.get(proxy.tls_client()).status_code, 502)

    def test_no_cache(self):
        _, origin = self.started(tls_session_cache=0)
        self.assertEqual([self.visit(origin) for _ in range(3)], [False] * 3)

    def test_a_request_that_failed_keeps_the_session(self):
        proxy, origin = self.started()
        self.visit(origin)
        client = proxy.tls_client()
        client.abort()
        proxy.advance(10)
        self.assertTrue(self.visit(origin))


class DownstreamTests(TLSLayerTestCase):
    """With clients."""

    def served(self, **options: Any) -> MemoryProxy:
        proxy, _ = self.tls(**options)
        proxy.tls_origin().respond(OK)
        proxy.tls_origin("other.test").respond(OK)
        return proxy

    def visit(
        self,
        proxy: MemoryProxy,
        context: ssl.SSLContext,
        session: Any = None,
        host: str = HOST,
    ) -> MemoryClient:
        client = proxy.tls_client(host, context=context, session=session)
        self.assertTrue(client.tls.established, client.tls.error)
        self.assertEqual(self.get(client).status_code, 200)
        return client

    def context(self, proxy: MemoryProxy, version: Any = None) -> ssl.SSLContext:
        context = client_context(proxy.ca_file, ("http/1.1",))
        if version is not None:
            context.maximum_version = version
        return context

    def test_the_next_connection_resumes(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            proxy = self.served()
            context = self.context(proxy, version)
            session = self.visit(proxy, context).tls.tls.session
            client = self.visit(proxy, context, session)
            self.assertTrue(client.tls.tls.session_reused, version)

    def test_never_across_a_change_of_what_we_are(self):
        for change in ({"tls_version_client_min": "tls1.3"}, {"ssl_insecure": True}):
            proxy = self.served()
            context = self.context(proxy)
            session = self.visit(proxy, context).tls.tls.session
            proxy.options.update(**change)
            self.assertFalse(self.visit(proxy, context, session).tls.tls.session_reused)

    def test_never_with_another_proxy(self):
        # The same authority, another process, so to say.
        proxy = self.served()
        context = self.context(proxy)
        session = self.visit(proxy, context).tls.tls.session
        self.assertFalse(self.visit(self.served(), context, session).tls.tls.session_reused)

    def test_a_new_failure_upstream_is_told_in_a_resumed_session(self):
        proxy = self.served()
        context = self.context(proxy)
        session = self.visit(proxy, context).tls.tls.session
        self.addCleanup(proxy.network.restore, (HOST, 443))
        proxy.tls_origin(context=self.server_context(issue(HOST)))
        client = proxy.tls_client(context=context, session=session)
        self.assertTrue(client.tls.tls.session_reused)
        self.assertEqual(self.get(client).status_code, 502)
